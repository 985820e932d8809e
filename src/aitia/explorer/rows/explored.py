"""Rows that can be explored, with their columns, texts and scores."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from aitia.attribution import ActivationStore
from aitia.errors import AitiaError
from aitia.explorer.rows.arrow import compute
from aitia.explorer.rows.columns import ScoreColumn
from aitia.explorer.rows.texts import Texts

if TYPE_CHECKING:
    import pyarrow as pa

OWN = ("id", "location", "row", "prompt_tokens", "response_tokens")
"""The columns that every table of rows has, of its own."""
_WORDS = ("id", "location")


@dataclass(eq=False)
class ExploredRows:
    """Rows that can be explored: those of a store, or of a ranking whose store is not found.

    Attributes:
        name: for people.
        folder: where the explorer writes what it is asked to write.
        table: id, location, row, prompt_tokens, response_tokens of the n rows.
        texts: of the rows.
        store: the finished store; None where there is none.
        lacking: why no concept can be asked, where none can.
        scores: key -> scores of the rows.
    """

    name: str
    folder: Path
    table: pa.Table
    texts: Texts
    store: ActivationStore | None = None
    lacking: str | None = None
    scores: dict[str, ScoreColumn] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.table.num_rows

    def column(self, name: str) -> np.ndarray | pa.ChunkedArray | pa.Array:
        """A column: numbers as an array [n], words and flags as Arrow has them.

        Returns:
            n values.

        Raises:
            AitiaError: there is none of this name.
        """
        if name in self.scores:
            return self.scores[name].values
        if name in _WORDS:
            return self.table[name]
        if name in self.table.column_names:
            return self.table[name].to_numpy()
        if name in self.texts.columns:
            return self.texts.columns[name]
        why = (
            ""
            if self.texts.ready
            else f"; the texts are {self.texts.state}, and with them the data's columns"
        )
        raise AitiaError(f"the rows have no column {name!r:.80}{why}")

    def kind(self, name: str) -> str:
        """The kind of a column: `words`, `number` or `flag`."""
        if name in _WORDS:
            return "words"
        return self.texts.kind(name) if name in self.texts.columns else "number"

    def chosen(self, positions: Iterable[int]) -> np.ndarray:
        """[n] bool, true at the positions.

        Returns:
            The mask.

        Raises:
            AitiaError: a position is beyond the rows.
        """
        mask = np.zeros(len(self), dtype=bool)
        found = np.fromiter(positions, dtype=np.int64)
        if len(found) and (found.max() >= len(self) or found.min() < 0):
            raise AitiaError(f"row {int(found.max())}: there are {len(self)} rows, counted from 0")
        mask[found] = True
        return mask

    def ids(self, positions: Sequence[int] | np.ndarray) -> list[str]:
        """The ids of rows."""
        return [
            str(each) for each in self.table["id"].take(np.asarray(positions, dtype=np.int64)).to_pylist()
        ]

    def positions_of(self, ids: Sequence[str]) -> list[int]:
        """The positions of rows with these ids; ids that no row has are left out."""
        import pyarrow as pa

        found = compute().index_in(pa.array(ids, pa.string()), value_set=self.table["id"].cast(pa.string()))
        return [each for each in found.to_pylist() if each is not None]

    def add(self, column: ScoreColumn) -> ScoreColumn:
        """Add scores under a key of their own; those with the same key are replaced."""
        self.scores[column.key] = column
        return column
