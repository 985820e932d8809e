"""A ranking: every training row with its influence on a concept, by one method and beside the others."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.controls import (
    RANDOM_CONTROLS,
    Control,
    DirectionScores,
    control_directions,
    left_out_text,
    no_controls,
    score_controls,
)
from aitia.attribution.curvature import Curvature, Damping
from aitia.attribution.explaining import ranking_explanation
from aitia.attribution.gradients import FactorCache
from aitia.attribution.methods import (
    DEFAULT_METHOD,
    InfluenceMethod,
    PromptsMissingError,
    RowsAlikeError,
    available_methods,
    find_method,
    goes_through_concept,
    score_concepts,
    score_vectors,
)
from aitia.attribution.reporting import ROWS_SHOWN, build_report
from aitia.attribution.store import SignalStore
from aitia.attribution.store_influence import StoreInfluence
from aitia.attribution.tokens import token_shares
from aitia.concepts import Concept
from aitia.concepts.concept import require_same_base
from aitia.engine import LOCAL, Engine, keeping_workers, note
from aitia.errors import AitiaError, NumericalError, reason_of
from aitia.explanations import Direction, Explanation, Phenomenon
from aitia.explanations.alignment import REAL_BITS
from aitia.files import atomic_path, reading
from aitia.records import Records, RowIds, TokenizedRecord

if TYPE_CHECKING:
    from aitia.models import LanguageModel
    from aitia.report import GroupSection

_COLUMNS = ("id", "content", "row", "location", "score", "rank", "prompt_tokens", "response_tokens")


@dataclass(frozen=True, kw_only=True, eq=False)
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
        controls: the same method on directions that mean nothing.
        provenance: concept, store, model and data that it came from, and which controls were asked for and kept.
        concept: the concept, where the ranking was made in this process.
        store: the store, likewise.
        token_shares: gives each token's share of a row's score, likewise.
        direction_scores: scores the rows by the same method under other directions, [c, d] to [c, n], likewise; none
            where the method measures texts.
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
    provenance: Mapping[str, Any] = field(default_factory=dict)
    concept: Concept | None = None
    store: SignalStore | None = None
    token_shares: Callable[[TokenizedRecord], np.ndarray] | None = None
    direction_scores: DirectionScores | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def score(self) -> np.ndarray:
        """[n] scores by the deciding method."""
        return self.scores[self.method]

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

    def top(self, amount: float | int) -> RowIds:
        """Ids of the most influential rows: a share of them (0.2) or a number (20)."""
        return self._ids_at(self.order[: self._count(amount)])

    def bottom(self, amount: float | int) -> RowIds:
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

    def _ids_at(self, places: np.ndarray) -> RowIds:
        names = self.ids[places].tolist()
        return RowIds(names, dict(zip(names, self.contents[places].tolist(), strict=True)), "the ranking")

    def write(self, path: Path | str) -> Path:
        """Write a Parquet file: one row an example, one column a method; provenance in the file's metadata."""
        import pyarrow as pa
        import pyarrow.parquet as parquet

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
        table = pa.table(columns | dict(self.scores))
        saved = {"method": self.method, "provenance": self.provenance, "seconds": dict(self.seconds)}
        table = table.replace_schema_metadata({"aitia": json.dumps(saved, sort_keys=True)})
        with atomic_path(path) as temporary:
            parquet.write_table(table, temporary, write_page_checksum=True)
        return Path(path)

    def report(
        self,
        path: Path | str,
        *,
        label: str | None = None,
        shown: int = ROWS_SHOWN,
        baselines: Mapping[str, np.ndarray] | None = None,
        reproduce: str | None = None,
        groups: GroupSection | None = None,
    ) -> Path:
        """Write the HTML report of this ranking (see `aitia.attribution.reporting.build_report`)."""
        from aitia.report import write_report

        report = build_report(
            self, label=label, shown=shown, baselines=baselines, reproduce=reproduce, groups=groups
        )
        return write_report(report, path)

    def explanation(
        self, phenomenon: Phenomenon, name: str = "", *, direction: Direction | None = None
    ) -> Explanation:
        """The account that a behaviour comes from the rows that this ranking blames, for `aitia.judge`.

        Args:
            phenomenon: what became of the behaviour, by `removal_phenomenon`.
            name: default: the method's.
            direction: with what came of intervening on it; default: the concept's, not intervened on.
        """
        if direction is None and self.concept is not None and goes_through_concept(self.method):
            direction = Direction(name=self.concept.name, site=self.concept.site)
        bits = None if self.concept is None else float(self.concept.direction.size * REAL_BITS)
        return ranking_explanation(
            phenomenon, name or self.method, self.score, bits=bits, direction=direction
        )

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


def rank(
    store: SignalStore | Path | str,
    concept: Concept,
    *,
    method: str = DEFAULT_METHOD,
    others: Sequence[str] | None = None,
    queries: Records | Path | str | None = None,
    curvature: Curvature | Path | str | None = None,
    damping: Damping | None = None,
    cache: FactorCache | None = None,
    random_controls: int = RANDOM_CONTROLS,
    seed: int = 0,
    engine: Engine = LOCAL,
    model: LanguageModel | Path | str | None = None,
    adapter: Path | str | None = None,
    data: Records | Path | str | None = None,
    **cutting: Any,
) -> Ranking:
    """Rank the rows of a store by their influence on a concept.

    Args:
        store: a finished store, or its folder.
        concept: at a site that was scanned, of the same model (or another adapter of its base).
        method: decides the order.
        others: further methods, for comparison; default: all that the store's signals allow.
        queries: what `concept-influence` and `influence` measure: texts that show the behaviour, other than
            those the concept was fitted to.
        curvature: for these two; fitted, a file of it, or none to fit EK-FAC now (to the factors of the
            adapter where there is one, to the full weights otherwise).
        damping: for these two; default: a tenth of each layer's mean eigenvalue.
        cache: for these two, as `fit_curvature` left it from the same rows with empirical labels.
        random_controls: random directions to score as controls, beside the concept's shuffled ones. All are scored,
            except under `concept-influence` and `concept-gradient-product` where their gradients do not fit into
            one pass over the rows: then as many of either kind as fit, at least one. What is left out is said on
            standard error and in the provenance.
        seed: of the random directions.
        engine: where the influence methods make gradients; what reads the store alone takes seconds, here.
        model: the model that was scanned, or its folder, where it lies in another place than the store says.
        adapter: likewise, the folder of its adapter.
        data: likewise, the data that were scanned.
        cutting: `max_length`, `truncate` and `on_error` of the queries, as `aitia.models.in_tokens` takes them. The
            store's rows are cut as for its scan.

    Raises:
        ConceptError: the concept belongs to another model.
        StoreError: the store lacks the site or a signal; the message says how to get it.
    """
    from time import perf_counter

    store = store if isinstance(store, SignalStore) else SignalStore.open(store)
    find_method(method)
    require_concept_of_store(concept, store)
    store.give(model=model, adapter=adapter, data=data)
    wanted = available_methods(store) if others is None else others
    names = [method, *(name for name in wanted if name != method)]
    influences, scores, seconds = None, {}, {}
    left_out: dict[str, str] = {}
    with keeping_workers(engine):
        if any(isinstance(find_method(name), InfluenceMethod) for name in names):
            influences = StoreInfluence.prepare(
                store, concept, queries, curvature, damping, cache, engine, **cutting
            )
        for name in names:
            start = perf_counter()
            try:
                if isinstance(find_method(name), InfluenceMethod):
                    assert influences is not None
                    scores[name] = influences.scores(name)
                else:
                    scores[name] = score_concepts(store, [concept], name)[0]
            except (PromptsMissingError, RowsAlikeError) as error:
                if name == method:
                    raise
                left_out[name] = str(error)
                note(f"The comparison leaves out {name}: {error}")
                continue
            _require_finite(scores[name], name, store)
            seconds[name] = perf_counter() - start
        directions = control_directions(concept, random_controls, seed)
        if isinstance(find_method(method), InfluenceMethod):
            assert influences is not None
            token_parts = partial(influences.token_shares, method)
            room = influences.controls_that_fit(method)
            score = None if room is None else partial(influences.direction_scores, method)
        else:
            token_parts = partial(_token_shares, concept, store, method)
            room, score = None, partial(score_vectors, store, site=concept.site, method=method)
        if score is None:
            controls, account = [], no_controls(directions, f"{method} measures texts, not a direction")
        else:
            controls, account = score_controls(directions, score, room)
    controls_left_out = left_out_text(account)
    if controls_left_out is not None:
        note(controls_left_out)
    return Ranking(
        method=method,
        ids=store.column("id"),
        contents=store.column("content"),
        rows=store.column("row"),
        locations=store.column("location"),
        prompt_tokens=store.column("prompt_tokens"),
        response_tokens=store.column("response_tokens"),
        scores=scores,
        seconds=seconds,
        controls=controls,
        provenance={
            "store": str(store.path),
            "model": store.manifest["model"],
            "data": {key: store.manifest["data"][key] for key in ("source", "fingerprint", "rows")}
            | {"skipped": len(store.manifest["data"]["skipped"])},
            "concept": {
                "name": concept.name,
                "site": concept.site,
                "fingerprint": concept.fingerprint,
                "recipe": dict(concept.recipe),
            },
            "settings": store.manifest["settings"],
            "left_out": left_out,
            "controls": account,
            "queries_skipped": []
            if influences is None
            else [[row.location, row.reason] for row in influences.queries.skipped],
        },
        concept=concept,
        store=store,
        token_shares=token_parts,
        direction_scores=score,
    )


def read_ranking(path: Path | str) -> Ranking:
    """Read a ranking that `Ranking.write` wrote.

    Raises:
        AitiaError: the file is missing, damaged, or not a ranking.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        with reading(path):
            table = parquet.read_table(path, page_checksum_verification=True)
        saved = json.loads((table.schema.metadata or {})[b"aitia"])
        columns = {name: table[name].to_numpy() for name in table.column_names}
        scores = {name: values for name, values in columns.items() if name not in _COLUMNS}
        if not all(np.issubdtype(values.dtype, np.floating) for values in scores.values()):
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
            provenance=saved["provenance"],
        )
    except FileNotFoundError:
        raise AitiaError(f"{path}: no such ranking; make one with `aitia rank`") from None
    except (KeyError, ValueError, OSError, TypeError, RuntimeError, pa.ArrowException) as error:
        raise AitiaError(
            f"{path}: damaged, or not a ranking that aitia wrote ({reason_of(error)}); make one with `aitia rank`"
        ) from error


def require_concept_of_store(concept: Concept, store: SignalStore) -> None:
    """Refuse a concept that was fitted on another base model than the store's.

    Raises:
        ConceptError: naming both models, and their precisions.
    """
    model = store.manifest["model"]
    what = f"{model['name']}, which the store {store.path} was scanned with"
    require_same_base(concept, model["base_fingerprint"], model["dtype"], what)


def _require_finite(scores: np.ndarray, method: str, store: SignalStore) -> None:
    bad = np.flatnonzero(~np.isfinite(scores))
    if len(bad):
        raise NumericalError(
            f"{store.column('location')[bad[0]]}: the score by {method} is not finite ({len(bad)} such rows); where "
            "the method divides by a curvature, give a larger damping"
        )


def _token_shares(concept: Concept, store: SignalStore, method: str, row: TokenizedRecord) -> np.ndarray:
    return token_shares(store.load_model(), row, concept, store, method)
