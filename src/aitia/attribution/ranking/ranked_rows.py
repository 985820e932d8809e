"""Rows of a ranking as people look at them: with their place, score and text."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from aitia.notebook import SHOWN, Shaded, html_block, one_line
from aitia.records import RowIds

_COLUMNS = ("rank", "score", "id", "location", "prompt", "completion")


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedRow:
    """A row of a ranking.

    Attributes:
        rank: 1 for the most influential.
        score: by the deciding method.
        id: of the row.
        location: file and line.
        prompt: what comes before its last response; None where the text is not at hand.
        completion: what is trained on; None where the text is not at hand.
    """

    rank: int
    score: float
    id: str
    location: str
    prompt: str | None = None
    completion: str | None = None

    @property
    def line(self) -> str:
        """The row on one line, for a terminal."""
        text = "" if self.completion is None else f"  {one_line(self.completion, 80)}"
        return f"{self.rank:>5}  {self.score:>+11.4g}  {self.id}{text}"


class RankedIds(RowIds):
    """Ids of rows in the order of a ranking, which know the rows' scores and texts."""

    def __init__(
        self,
        ids: Iterable[str],
        contents: Mapping[str, str],
        look_up: Callable[[Sequence[int]], list[RankedRow]],
        places: Sequence[int],
    ):
        """Keep the ids, and how to look up their rows.

        Args:
            ids: [n].
            contents: id -> digest of the row's content.
            look_up: gives the rows at positions of the ranking.
            places: [n] the positions of these ids.
        """
        super().__init__(ids, contents, "the ranking")
        self._look_up, self._places = look_up, places

    @property
    def rows(self) -> list[RankedRow]:
        """[n] the rows, with texts where the training data are at hand."""
        return self._look_up(self._places)

    def _repr_html_(self) -> str:
        return rows_html(f"{len(self)} rows", {}, self._look_up(self._places[:SHOWN]))


def rows_html(
    title: str,
    facts: Mapping[str, object],
    rows: Sequence[RankedRow],
    shaded: Mapping[str, Shaded] | None = None,
) -> str:
    """Rows as a table for a notebook.

    Args:
        title: the first line.
        facts: name -> value.
        rows: of the ranking; columns of text are there only where one is known.
        shaded: id -> its completion with colours, to stand in the place of the plain one.

    Returns:
        HTML.
    """
    columns = _COLUMNS if any(row.completion is not None for row in rows) else _COLUMNS[:4]
    cells = []
    for row in rows:
        plain = {name: "" if (value := getattr(row, name)) is None else value for name in columns}
        coloured = (shaded or {}).get(row.id)
        cells.append(list((plain if coloured is None else plain | {"completion": coloured}).values()))
    return html_block(title, facts, columns, cells)
