"""Discovery without a concept: what training moved, and the rows behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution import ActivationStore
from aitia.attribution.ranking import require_concept_of_store
from aitia.attribution.scorers import DEFAULT_METHOD, find_activation_scorer, score_vectors
from aitia.attribution.slices import FeatureLabel, FeatureShift, feature_shifts, label_features
from aitia.concepts import SparseAutoencoder, concept_from_feature, feature_matrix
from aitia.files import write_json
from aitia.models import LanguageModel, in_tokens
from aitia.records import Records, SkippedRow

FALSE_DISCOVERY_RATE = 0.05
FEATURES_SHOWN = 10
"""Features that are labelled and looked for by default."""


@dataclass(frozen=True, kw_only=True, eq=False)
class DiscoveryResult:
    """The features that moved, the furthest first, and the training rows behind them.

    Attributes:
        shifts: of every feature.
        labels: feature -> label, for those shown.
        scores: feature -> [n], each training row's influence on it, positive where it moved the feature the way
            it went; empty without a store.
        ids: [n] of the training rows.
        method: of the scores.
        skipped: texts that were left out.
    """

    shifts: Sequence[FeatureShift]
    labels: Mapping[int, FeatureLabel]
    scores: Mapping[int, np.ndarray]
    ids: Sequence[str]
    method: str | None
    skipped: Sequence[SkippedRow] = ()

    @property
    def found(self) -> list[FeatureShift]:
        """The features that moved at a false-discovery rate of 5 %."""
        return [
            each
            for each in self.shifts
            if each.p_adjusted is not None and each.p_adjusted <= FALSE_DISCOVERY_RATE
        ]

    def top_rows(self, feature: int, count: int = 10) -> list[str]:
        """Ids of the rows that moved a feature most; empty without a store."""
        if feature not in self.scores:
            return []
        return [str(self.ids[i]) for i in np.argsort(-self.scores[feature], kind="stable")[:count]]

    def to_json(self) -> dict[str, Any]:
        """Everything, in plain data."""
        return {
            "found": len(self.found),
            "method": self.method,
            "skipped": [[row.location, row.reason] for row in self.skipped],
            "features": [
                asdict(shift)
                | {
                    "label": asdict(self.labels[shift.feature]) if shift.feature in self.labels else None,
                    "top_rows": self.top_rows(shift.feature),
                }
                for shift in self.shifts
                if shift.p_value is not None
            ],
            "not_testable": [
                {"feature": shift.feature, "reason": shift.not_testable}
                for shift in self.shifts
                if shift.not_testable is not None
            ],
        }

    def write(self, path: Path | str) -> Path:
        """Write `to_json` to a file, whole or not at all."""
        return write_json(path, self.to_json())


def discover(
    tuned: LanguageModel,
    texts: Records,
    sae: SparseAutoencoder,
    *,
    base: LanguageModel | None = None,
    store: ActivationStore | None = None,
    method: str = DEFAULT_METHOD,
    shown: int = FEATURES_SHOWN,
    max_length: int = 0,
    truncate: bool = False,
    on_error: str = "stop",
) -> DiscoveryResult:
    """Rank features by how far training moved them, label them, and look for the rows behind them.

    Args:
        tuned: the fine-tuned model.
        texts: n texts that both models read.
        sae: the autoencoder.
        base: the base model; default: `tuned` with its adapter turned off.
        store: a scan of the training data at the autoencoder's site, with the activation that `method` reads.
        method: of the fast family. A feature's direction is its encoder column.
        shown: how many features are labelled and looked for.
        max_length: longest text, in tokens; 0 for the model's context.
        truncate: cut longer texts instead of refusing them.
        on_error: `stop` at texts that cannot be used, or `skip` them.

    Raises:
        AitiaError: see `feature_shifts`.
        StoreError: the store lacks the site or the activation.
        ConceptError: the store is of another base model.
    """
    if store is not None:
        store.require(find_activation_scorer(method).reading.activations, sae.site)
        require_concept_of_store(concept_from_feature(sae, 0, tuned), store)
    rows = in_tokens(tuned, texts, max_length=max_length, truncate=truncate, on_error=on_error)
    used = texts.only([row.id for row in rows]) if rows.skipped else texts
    shifts = feature_shifts(tuned, rows, sae, base=base)
    moved = [shift for shift in shifts if shift.t is not None][:shown]
    matrix = feature_matrix(tuned, rows, sae, pooling="mean")
    slices = {shift.feature: np.flatnonzero(_column(matrix.values, shift.feature)) for shift in moved}
    labels = label_features(
        tuned,
        rows,
        [record.completion_text for record in used],
        sae,
        matrix,
        {feature: members for feature, members in slices.items() if len(members)},
    )
    scores: dict[int, np.ndarray] = {}
    if store is not None and moved:
        vectors = np.stack([concept_from_feature(sae, shift.feature, tuned).vector for shift in moved])
        signs = np.sign([shift.t or 0.0 for shift in moved])
        found = score_vectors(store, vectors, sae.site, method) * signs[:, None]
        scores = {shift.feature: part for shift, part in zip(moved, found, strict=True)}
    return DiscoveryResult(
        shifts=shifts,
        labels=labels,
        scores=scores,
        ids=[] if store is None else [str(name) for name in store.column("id")],
        method=None if store is None else method,
        skipped=[*texts.skipped, *rows.skipped],
    )


def discovery_table(result: DiscoveryResult, *, most: int = 10) -> str:
    """The table that `aitia discover` prints."""
    tested = [shift for shift in result.shifts if shift.t is not None]
    lines = [
        f"{len(tested)} features tested, {len(result.found)} moved at a false-discovery rate of "
        f"{FALSE_DISCOVERY_RATE:g}; {len(result.shifts) - len(tested)} not testable",
        "",
        f"{'feature':>8}{'before':>9}{'after':>9}{'t':>8}{'adjusted p':>12}  terms",
    ]
    for shift in tested[:most]:
        label = result.labels.get(shift.feature)
        lines.append(
            f"{shift.feature:>8}{shift.before:>9.3g}{shift.after:>9.3g}{shift.t:>+8.1f}{shift.p_adjusted:>12.2g}  "
            + (", ".join(label.terms[:6]) if label else "")
        )
        rows = result.top_rows(shift.feature, 5)
        if rows:
            lines.append(f"{'':>8}rows behind it: {', '.join(rows)}")
    return "\n".join(lines)


def _column(values: Any, feature: int) -> np.ndarray:
    return values[:, [feature]].toarray().ravel()
