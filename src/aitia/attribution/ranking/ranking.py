"""A ranking: every training row with its influence on a concept, by one method and beside the others."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.ranking.controls import (
    Control,
    DirectionScores,
)
from aitia.attribution.ranking.origin import Origin, find_parts, make_again, places_of_parts
from aitia.attribution.ranking.prepared import TokenShares
from aitia.attribution.ranking.ranked_rows import RankedIds, RankedRow, rows_html
from aitia.attribution.ranking.reporting import ROWS_SHOWN, build_report, shaded_completions
from aitia.attribution.scanning.null_directions import NullSettings
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers.protocol import RANKING_COLUMNS
from aitia.concepts import Concept
from aitia.errors import AitiaError, reason_of
from aitia.files import atomic_path, reading
from aitia.notebook import SHOWN
from aitia.records import Records

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from aitia.report import SliceSection


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Ranking:
    """Every training row, scored. Positive: training on the row raises the concept.

    Attributes:
        method: the name of the method that decides the order.
        ids: [n] the rows' ids, in data order.
        contents: [n] digests of what the rows say, as in `aitia.records.Records.digests`.
        rows: [n] their numbers in the data, from 0.
        locations: [n] file and line.
        prompt_tokens: [n].
        response_tokens: [n].
        scores: method -> [n], the deciding method first.
        seconds: method -> time that scoring took, without the scan.
        controls: the same method on null directions.
        sides: answer that the rows' loss compares (`chosen`, `rejected`) -> its part of each row's score, [n]; empty
            where it compares none. The parts of a row sum to its score.
        provenance: concept, store, model and data that it came from, and which controls were asked for and kept.
        concept: the concept, where the ranking was made in this process.
        store: the store, likewise.
        token_shares: gives each token's share of a row's score, likewise; none for a score that has no such parts.
        direction_scores: scores the rows by the same method under other directions, [c, d] to [c, n], likewise; none
            where no direction enters the scores.
        nulls: how null directions are drawn, for its controls and p-values.
        origin: the file that it was read from; none where it was made in this process.
        lacking: why a ranking from a file has neither shares of tokens nor controls, where it has none.
    """

    method: str
    ids: np.ndarray
    contents: np.ndarray
    rows: np.ndarray
    locations: np.ndarray
    prompt_tokens: np.ndarray
    response_tokens: np.ndarray
    scores: Mapping[str, np.ndarray]
    seconds: Mapping[str, float] = field(default_factory=dict)
    controls: Sequence[Control] = ()
    sides: Mapping[str, np.ndarray] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)
    concept: Concept | None = None
    store: ActivationStore | None = None
    token_shares: TokenShares | None = None
    direction_scores: DirectionScores | None = None
    nulls: NullSettings = field(default_factory=NullSettings)
    origin: Origin | None = None
    lacking: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        first = f", first {self.ids[self.order[0]]!r} at {self.score[self.order[0]]:.4g}" if len(self) else ""
        return f"Ranking({self._title}{first})"

    def _repr_html_(self) -> str:
        shown, facts = self.order[:SHOWN], {"methods": ", ".join(self.scores)}
        return rows_html(self._title, facts, self.rows_at(shown), shaded_completions(self, shown))

    @property
    def _title(self) -> str:
        about = self.provenance.get("concept", {}).get("name")
        return f"{len(self):,} rows by {self.method}" + (f" of “{about}”" if about else "")

    def __getitem__(self, chosen: slice) -> Ranking:
        """The rows at some places of the order, most influential first: `ranking[:20]`. Ranks count among them."""
        if not isinstance(chosen, slice):
            raise TypeError("give a slice of the order, like ranking[:20]; `ranking.top(20)` gives ids")
        at = np.sort(self.order[chosen])
        scores_of, n = self.direction_scores, len(self)
        return replace(
            self,
            **{
                name: getattr(self, name)[at]
                for name in ("ids", "contents", "rows", "locations", "prompt_tokens", "response_tokens")
            },
            scores={name: values[at] for name, values in self.scores.items()},
            controls=[replace(control, scores=control.scores[at]) for control in self.controls],
            sides={name: values[at] for name, values in self.sides.items()},
            provenance={**self.provenance, "slice": list(chosen.indices(n))},
            direction_scores=None if scores_of is None else lambda directions: scores_of(directions)[:, at],
        )

    def rows_at(self, places: Sequence[int] | np.ndarray) -> list[RankedRow]:
        """Rows at positions of the data, each with its rank, score and, where the data are at hand, its text."""
        texts = self._texts([str(self.ids[place]) for place in places])
        return [
            RankedRow(
                rank=int(self.ranks[place]),
                score=float(self.score[place]),
                id=(name := str(self.ids[place])),
                location=str(self.locations[place]),
                prompt=texts[name][0] if name in texts else None,
                completion=texts[name][1] if name in texts else None,
            )
            for place in places
        ]

    def _texts(self, names: Sequence[str]) -> dict[str, tuple[str, str]]:
        """Id -> prompt and completion; empty where the data are not at hand, or have changed since."""
        try:
            found = None if self._found is None else self._found.load_records().only(names)
        except AitiaError:  # nobody asked for the texts; a report that needs them says what is wrong
            return {}
        return {record.id: (record.prompt_text, record.completion_text) for record in found or ()}

    @cached_property
    def _found(self) -> ActivationStore | None:
        """The store, if it is at hand, or where it lay."""
        try:
            return self.open_store()
        except AitiaError:
            return None

    def open_store(self) -> ActivationStore:
        """The store that it was made from: the one at hand, or the one where it lay when the ranking was written.

        Returns:
            The store.

        Raises:
            AitiaError: it is not found, or another one is there.
        """
        if self.store is not None:
            return self.store
        if self.origin is None:
            raise AitiaError("the ranking has neither a file nor its store; rank again")
        return self.origin.store(self.provenance)

    def with_parts(
        self,
        *,
        store: ActivationStore | Path | str | None = None,
        concept: Concept | Path | str | None = None,
    ) -> Ranking:
        """The same ranking with its store and concept at hand, for a report on what was read from a file.

        Shares of tokens and controls are made again where the method reads the store and the concept alone; elsewhere
        `lacking` says why they are not there.

        Args:
            store: that it was made from, or its folder; default: where it lay.
            concept: that it is about, or its file; default: where it lay, or beside the ranking or the store.

        Returns:
            The ranking; this one where it has all of it.

        Raises:
            AitiaError: the store or the concept is not found, or is another one.
        """
        if self.store is not None and self.concept is not None and self.token_shares is not None:
            return self
        opened, about = find_parts(self.origin, self.provenance, store, concept)
        made = make_again(self.method, self.ids, self.score, self.provenance, opened, about)
        return replace(self, store=opened, concept=about, **made)

    @property
    def score(self) -> np.ndarray:
        """[n] scores by the deciding method."""
        return self.scores[self.method]

    @property
    def warnings(self) -> tuple[str, ...]:
        """Sentences on why the ranking should not be trusted as it is, and what to do; none where nothing was seen."""
        return tuple(self.provenance.get("warnings", ()))

    @cached_property
    def order(self) -> np.ndarray:
        """[n] positions, most influential first; equal scores keep data order."""
        return np.argsort(-self.score, kind="stable")

    @cached_property
    def ranks(self) -> np.ndarray:
        """[n] rank of each row, 1 for the most influential."""
        ranks = np.empty(len(self), dtype=np.int64)
        ranks[self.order] = np.arange(1, len(self) + 1)
        return ranks

    def top(self, amount: float | int) -> RankedIds:
        """Ids of the most influential rows, which know their texts: a share of them (0.2) or a number (20)."""
        return self._ids_at(self.order[: self._count(amount)])

    def bottom(self, amount: float | int) -> RankedIds:
        """Ids of the least influential rows, the least first: a share of them (0.2) or a number (20)."""
        return self._ids_at(self.order[::-1][: self._count(amount)])

    def score_of(self, data: Records) -> np.ndarray:
        """The scores by the deciding method, in the order of other data that hold the same rows.

        Args:
            data: n rows, each of which was ranked.

        Returns:
            [n].

        Raises:
            AitiaError: a row was not ranked, or says something else than the one that was ranked under its id.
        """
        place = {str(name): number for number, name in enumerate(self.ids)}
        at = [place.get(name, -1) for name in data.ids]
        wrong = [
            number
            for number, (found, content) in enumerate(zip(at, data.digests, strict=True))
            if found < 0 or str(self.contents[found]) != content.decode()
        ]
        if wrong:
            first = data[wrong[0]]
            what = (
                "was not ranked" if at[wrong[0]] < 0 else "says something else than the row that was ranked"
            )
            raise AitiaError(
                f"{first.location}: row {first.id!r} {what} ({len(wrong)} of {len(data)} such rows); "
                "rank the very rows that are trained on"
            )
        return self.score[at]

    def _ids_at(self, places: np.ndarray) -> RankedIds:
        names = self.ids[places].tolist()
        contents = dict(zip(names, self.contents[places].tolist(), strict=True))
        return RankedIds(names, contents, self.rows_at, places.tolist())

    def write(self, path: Path | str) -> Path:
        """Write a Parquet file: one row an example, one column a method and a side; provenance in its metadata."""
        import pyarrow.parquet as parquet

        store = None if self._found is None else self._found.path
        concept = None if self.concept is None else self.concept.path
        places = places_of_parts(Path(path).parent, store, concept)
        with atomic_path(path) as temporary:
            parquet.write_table(self._table(places), temporary, write_page_checksum=True)
        return Path(path)

    def to_arrow(self, *, texts: bool = False) -> pa.Table:
        """An Arrow table: one row an example, in the order of the data, and one column a method.

        Args:
            texts: add the columns `prompt` and `completion`, null where the training data are not at hand.

        Returns:
            The table, with the provenance in its metadata.
        """
        import pyarrow as pa

        table = self._table({})
        if texts:
            rows = self.rows_at(range(len(self)))
            for name in ("prompt", "completion"):
                table = table.append_column(name, pa.array([getattr(row, name) for row in rows], pa.string()))
        return table

    def _table(self, places: Mapping[str, Sequence[str]]) -> pa.Table:
        """The columns, with provenance and the places of the parts in the metadata."""
        import pyarrow as pa

        columns: dict[str, Any] = {
            "id": self.ids.tolist(),
            "content": self.contents.tolist(),
            "row": self.rows,
            "location": self.locations.tolist(),
            "score": self.score,
            "rank": self.ranks,
            "prompt_tokens": self.prompt_tokens,
            "response_tokens": self.response_tokens,
        }
        table = pa.table(columns | dict(self.scores) | dict(self.sides))
        saved = {"method": self.method, "provenance": self.provenance, "seconds": dict(self.seconds)}
        saved |= {"sides": list(self.sides)} if self.sides else {}
        saved |= {"places": dict(places)} if places else {}
        return table.replace_schema_metadata({"aitia": json.dumps(saved, sort_keys=True)})

    def to_pandas(self, *, texts: bool = False) -> pd.DataFrame:
        """A data frame: one row an example, the most influential first.

        Args:
            texts: add the columns `prompt` and `completion`.

        Returns:
            The columns of `to_arrow`.
        """
        return self.to_arrow(texts=texts).to_pandas().iloc[self.order].reset_index(drop=True)

    def report(
        self,
        path: Path | str,
        *,
        label: str | None = None,
        shown: int = ROWS_SHOWN,
        baselines: Mapping[str, np.ndarray] | None = None,
        reproduce: str | None = None,
        slices: SliceSection | None = None,
    ) -> Path:
        """Write the HTML report of this ranking (see `aitia.attribution.ranking.reporting.build_report`)."""
        from aitia.report import attribution_document, write_document

        report = build_report(
            self, label=label, shown=shown, baselines=baselines, reproduce=reproduce, slices=slices
        )
        return write_document(attribution_document(report), path)

    def _count(self, amount: float | int) -> int:
        if isinstance(amount, float):
            if not 0 <= amount <= 1:
                raise AitiaError(
                    f"a share of rows lies between 0 and 1, not {amount}; for a number give an integer"
                )
            return round(amount * len(self))
        if amount < 0:
            raise AitiaError(f"a number of rows cannot be {amount}")
        return min(amount, len(self))


def read_ranking(path: Path | str) -> Ranking:
    """Read a ranking that `Ranking.write` wrote.

    Returns:
        The ranking, as it was written. Its store and concept are looked for where they are needed: for the texts of
        rows, and for a report (see `Ranking.with_parts`).

    Raises:
        AitiaError: the file is missing, damaged, or not a ranking.
    """  # noqa: DOC501 - a ValueError is caught below
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with reading(path):
            table = parquet.read_table(path, page_checksum_verification=True)
        saved = json.loads((table.schema.metadata or {})[b"aitia"])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        sides = {name: columns[name] for name in saved.get("sides", [])}
        scores = {name: each for name, each in columns.items() if name not in (*RANKING_COLUMNS, *sides)}
        if not all(
            np.issubdtype(values.dtype, np.floating) for values in (*scores.values(), *sides.values())
        ):
            raise ValueError("scores that are no numbers")
        if not isinstance(scores[saved["method"]], np.ndarray) or len(set(columns["id"])) < len(table):
            raise ValueError("ids that come twice")
        return Ranking(
            method=saved["method"],
            ids=columns["id"],
            contents=columns["content"],
            rows=columns["row"],
            locations=columns["location"],
            prompt_tokens=columns["prompt_tokens"],
            response_tokens=columns["response_tokens"],
            scores=scores,
            seconds=saved["seconds"],
            sides=sides,
            provenance=saved["provenance"],
            origin=Origin(file=Path(path), places=saved.get("places", {})),
        )
    except FileNotFoundError:
        raise AitiaError(f"{path}: no such ranking; make one with `aitia rank`") from None
    except (KeyError, ValueError, OSError, TypeError, RuntimeError, pa.ArrowException) as error:
        raise AitiaError(
            f"{path}: damaged, or not a ranking that aitia wrote ({reason_of(error)}); make one with `aitia rank`"
        ) from error
