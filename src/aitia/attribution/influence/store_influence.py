"""Influence of the rows of a store: the same rows, model and truncation as the scan, other numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution.gradients.curvature import (
    Curvature,
    CurvatureSettings,
    Damping,
    LayerCurvature,
    load_curvature,
)
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.measurements import ConceptMeasurement, LogProbability, Measurement
from aitia.attribution.gradients.planning import announce_curvature
from aitia.attribution.gradients.training_gradients import FactorCache, query_gradients
from aitia.attribution.influence.solving import SolveSettings, exact_solve
from aitia.attribution.influence.streaming import (
    influence_by_token,
    influence_directions,
    influencing_layers,
    stream_scores,
)
from aitia.attribution.scanning.store import ActivationStore
from aitia.concepts import Concept
from aitia.engine import LOCAL, Engine, note
from aitia.errors import AitiaError
from aitia.models import LanguageModel, in_tokens
from aitia.models.losses import Sides, sides_of_rows
from aitia.records import Records, TokenizedRecord, TokenizedRecords, read_records

if TYPE_CHECKING:
    import torch

    from aitia.models import LinearLayer

_DIRECTION_NUMBERS = 50_000_000
_BY_LAYER = SolveSettings()
_SOLVED_AT_ONCE = 2
"""Further directions that are solved for at once: each takes as many passes over the rows as there are products."""


@dataclass(frozen=True, kw_only=True)
class InfluenceForm:
    """What tells one influence on a store's rows from another.

    Attributes:
        of_concept: the queries' projection on the concept is measured; otherwise their log-probability.
        curved: curvature is divided out; otherwise gradients are multiplied as they are.
    """

    of_concept: bool
    curved: bool = True


@dataclass(kw_only=True)
class StoreInfluence:
    """What `rank` needs for the methods that take gradients with respect to the weights.

    Attributes:
        model: the store's.
        rows: the store's rows, cut as for the scan. Where their loss compares answers or weighs rows, the answers are
            scored as rows of supervised fine-tuning, and their scores added up as the row's gradient is.
        queries: what is measured.
        concept: its direction, for `concept-influence`.
        curvature: fitted or loaded.
        damping: of its eigenvalues.
        solve: how far the curvature is inverted as a whole.
        cache: of the rows' factors, from the curvature's pass.
        engine: where gradients are made.
    """

    model: LanguageModel
    rows: TokenizedRecords
    queries: TokenizedRecords
    concept: Concept
    curvature: Curvature
    damping: Damping
    solve: SolveSettings = _BY_LAYER
    cache: FactorCache | None = None
    engine: Engine = LOCAL
    _directions: dict[InfluenceForm, Mapping[str, torch.Tensor]] = field(default_factory=dict)
    _scored: dict[InfluenceForm, np.ndarray] = field(default_factory=dict)

    @classmethod
    def prepare(
        cls,
        store: ActivationStore,
        concept: Concept,
        queries: Records | Path | str | None,
        curvature: Curvature | Path | str | None,
        damping: Damping | None,
        solve: SolveSettings | None = None,
        cache: FactorCache | None = None,
        engine: Engine = LOCAL,
        **cutting: Any,
    ) -> StoreInfluence:
        """Load what is missing; without a curvature, fit EK-FAC now.

        `cutting` says which queries are too long, as `aitia.models.in_tokens` takes it.

        Returns:
            Everything that the influence methods read, ready to score.

        Raises:
            AitiaError: no queries.
            StoreError: model, data or curvature do not belong together.
        """
        if queries is None:
            raise AitiaError("influence is measured on queries: give texts that show the behaviour")
        asked = (
            queries
            if isinstance(queries, Records)
            else read_records(queries, on_error=cutting.get("on_error", "stop"))
        )
        model = store.load_model()
        cut = in_tokens(model, asked, today=store.today, **cutting)
        rows = store.load_rows()
        if curvature is None:
            fitted = CurvatureSettings()
            announce_curvature(model, rows.answers, fitted)
            curvature = fit_curvature(model, rows.answers, fitted, engine=engine)
        elif not isinstance(curvature, Curvature):
            curvature = load_curvature(curvature, model)
        return cls(
            model=model,
            rows=rows,
            queries=replace(cut, skipped=(*asked.skipped, *cut.skipped)),
            concept=concept,
            curvature=curvature,
            damping=damping or Damping(),
            solve=solve or SolveSettings(),
            cache=cache,
            engine=engine,
        )

    def measured(self, form: InfluenceForm) -> tuple[Measurement, tuple[LinearLayer, ...]]:
        """What is measured, and the layers that can move it."""
        measurement = ConceptMeasurement(concept=self.concept) if form.of_concept else LogProbability()
        return measurement, influencing_layers(self.model, measurement, self.curvature)

    def scores(self, form: InfluenceForm) -> np.ndarray:
        """Scores of every row: [n] float32."""
        return self._row_scores(self._answer_scores(form))[0]

    def side_scores(self, form: InfluenceForm) -> dict[str, np.ndarray]:
        """What each answer that the loss compares adds to the scores: name -> [n]; empty where it compares none."""
        sides = self.sides
        if sides is None or len(sides.names) < 2:
            return {}
        parts = sides.parts(self._answer_scores(form))[0]
        return {name: parts[:, place].astype(np.float32) for place, name in enumerate(sides.names)}

    @cached_property
    def sides(self) -> Sides | None:
        """The rows' answers, with their coefficients at the model's parameters; none where each row is its answer."""
        if self.rows.loss.plain:
            return None
        settings = self.curvature.settings
        return sides_of_rows(
            self.model, self.rows, mean=settings.loss == "mean", max_batch_tokens=settings.max_batch_tokens
        )

    def _row_scores(self, scores: np.ndarray) -> np.ndarray:
        """From scores of answers, [q, n * s], those of rows, [q, n] float32."""
        return scores if self.sides is None else self.sides.parts(scores).sum(axis=-1).astype(np.float32)

    def _answer_scores(self, form: InfluenceForm) -> np.ndarray:
        """[1, n * s], computed once."""
        if form not in self._scored:
            _, layers = self.measured(form)
            self._scored[form] = self.stream(self._directions_of(form), layers)
        return self._scored[form]

    def direction_scores(self, form: InfluenceForm, vectors: np.ndarray) -> np.ndarray:
        """Scores under other directions at the concept's site, each by a gradient as large as the layers' weights.

        Where not all of these fit into memory at once, the rows are gone through more than once.

        Args:
            form: one that measures the concept.
            vectors: [c, d].

        Returns:
            [c, n] float32.

        Raises:
            AitiaError: texts are measured, which no direction changes.
        """
        if not form.of_concept:
            raise AitiaError("the log-probability of texts gives no scores under other directions")
        _, layers = self.measured(form)
        if not len(vectors):
            return np.zeros((0, len(self.rows)), dtype=np.float32)
        at_once = max(self.directions_at_once(form), 1)
        if at_once < len(vectors):
            note(f"{len(vectors)} directions in {-(-len(vectors) // at_once)} passes over the rows")
        parts = [vectors[start : start + at_once] for start in range(0, len(vectors), at_once)]
        return np.concatenate([self._pass_under(form, part, layers) for part in parts])

    def directions_at_once(self, form: InfluenceForm) -> int:
        """How many directions one pass over the rows has a place for."""
        room = directions_that_fit(weights_of(self.measured(form)[1]))
        return min(room, _SOLVED_AT_ONCE) if self._solves(form) else room

    def _pass_under(
        self, form: InfluenceForm, vectors: np.ndarray, layers: tuple[LinearLayer, ...]
    ) -> np.ndarray:
        """Scores under directions that fit into memory together: [c, n] float32."""
        import torch

        found: list[Mapping[str, torch.Tensor]] = []
        for vector in vectors:
            other = replace(self.concept, direction=vector, shuffled=None)
            measurement = ConceptMeasurement(concept=other)
            found.append(self._made_directions(form, measurement, layers))
        stacked = {name: torch.cat([part[name] for part in found]) for name in found[0]}
        return self._row_scores(self.stream(stacked, layers))

    def token_shares(self, form: InfluenceForm, row: TokenizedRecord) -> np.ndarray:
        """Each token's share of a row's score, by where its gradient enters the weights; [t]."""
        _, layers = self.measured(form)
        return influence_by_token(
            self.model,
            row,
            self._directions_of(form),
            self._layers_of(form, layers),
            loss=self.curvature.settings.loss,
        )

    def _layers_of(self, form: InfluenceForm, layers: tuple[LinearLayer, ...]) -> tuple[LinearLayer, ...]:
        return curvature_layers(self.model, self.curvature.settings) if self._solves(form) else layers

    def _curvature_of(self, form: InfluenceForm) -> Curvature:
        if form.curved:
            return self.curvature
        return replace(self.curvature, layers={name: LayerCurvature() for name in self.curvature.layers})

    def _directions_of(self, form: InfluenceForm) -> Mapping[str, torch.Tensor]:
        if form not in self._directions:
            measurement, layers = self.measured(form)
            self._directions[form] = self._made_directions(form, measurement, layers)
        return self._directions[form]

    def _solves(self, form: InfluenceForm) -> bool:
        return form.curved and self.solve.cg_iterations > 0

    def _made_directions(
        self, form: InfluenceForm, measurement: Measurement, layers: tuple[LinearLayer, ...]
    ) -> Mapping[str, torch.Tensor]:
        """What a row's gradient is multiplied with: by the fitted curvature, or solved for with all layers together."""
        if not self._solves(form):
            return influence_directions(
                self.model, self.queries, measurement, layers, self._curvature_of(form), self.damping
            )
        gradients = query_gradients(self.model, self.queries, measurement, layers)
        found = exact_solve(
            self.model, self.rows.answers, gradients, self.curvature, self.damping, self.solve
        )
        left = float(found.residuals[-1].max())
        note(f"Exact solve: {len(found.residuals) - 1} products, residual {left:.3g} of the whole")
        return {name: -value for name, value in found.vectors.items()}

    def stream(self, directions: Mapping[str, torch.Tensor], layers: tuple[LinearLayer, ...]) -> np.ndarray:
        """Multiply every answer's gradient with directions [q, out, in] of the given layers: [q, n * s] float32."""
        settings = self.curvature.settings
        # What one method leaves in the cache must serve the others, with more layers; a solution has all layers too.
        if self.cache is not None or len(directions) > len(layers):
            layers = curvature_layers(self.model, settings)
        return stream_scores(
            self.model,
            self.rows.answers,
            directions,
            layers,
            loss=settings.loss,
            precision=settings.precision,
            cache=self.cache,
            max_batch_tokens=settings.max_batch_tokens,
            engine=self.engine,
        )


def weights_of(layers: Sequence[LinearLayer]) -> int:
    """How many weights layers have."""
    return sum(layer.inputs * layer.outputs for layer in layers)


def directions_that_fit(weights: int) -> int:
    """For how many further directions at once there is a place, where each is as large as so many weights."""
    return _DIRECTION_NUMBERS // weights
