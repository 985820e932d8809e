"""Discovery without a concept: the features whose activation training moved most, on the same texts.

Both models read the same texts, so that each text is its own control; what differs is what training did. A feature
that moved becomes a concept, and its rows are found as for any other (model diffing with a shared dictionary).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.attribution.slices.slice_statistics import adjusted
from aitia.concepts import SparseAutoencoder, feature_matrix
from aitia.errors import AitiaError
from aitia.models import LanguageModel
from aitia.models.losses import without_adapter
from aitia.records import Records, TokenizedRecords


@dataclass(frozen=True, kw_only=True)
class FeatureShift:
    """How far training moved a feature.

    Attributes:
        feature: its number.
        before: mean activation of the feature over texts, each text's being the mean over its response tokens,
            in the base model.
        after: the same in the fine-tuned model.
        t: of the paired differences; positive where the feature rose.
        p_value: two-sided, paired t-test over the texts; none where it was not testable.
        p_adjusted: over all tested features (Benjamini & Hochberg).
        not_testable: why there is no p-value.
    """

    feature: int
    before: float
    after: float
    t: float | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    not_testable: str | None = None


def feature_shifts(
    tuned: LanguageModel,
    texts: Records | TokenizedRecords,
    sae: SparseAutoencoder,
    *,
    base: LanguageModel | None = None,
    smallest: int = 5,
) -> list[FeatureShift]:
    """Features by how far they moved between the base and the fine-tuned model, the furthest first.

    Args:
        tuned: the fine-tuned model.
        texts: n texts, better not those it was trained on: held-out prompts with answers.
        sae: trained on the base model, or on either.
        base: the base model; default: `tuned` with its adapter turned off.
        smallest: a feature that differs on fewer texts is not tested.

    Returns:
        Tested features by |t|, then the others.

    Raises:
        AitiaError: no adapter to turn off and no base model given, or fewer than two texts.
        ConceptError: the autoencoder is of another width, site or model.
    """
    from scipy.stats import ttest_1samp

    if len(texts) < 2:
        raise AitiaError(f"{len(texts)} texts; a paired test needs more")
    after = feature_matrix(tuned, texts, sae, pooling="mean").values
    if base is not None:
        before = feature_matrix(base, texts, sae, pooling="mean").values
    else:
        with without_adapter(tuned) as bare:
            before = feature_matrix(bare, texts, sae, pooling="mean").values
    difference = (after - before).tocsc()
    means = [np.asarray(part.mean(axis=0)).ravel() for part in (before, after)]
    found: list[FeatureShift] = []
    tested: list[FeatureShift] = []
    for feature in range(sae.features):
        column = difference[:, [feature]].toarray().ravel()
        shift = FeatureShift(feature=feature, before=float(means[0][feature]), after=float(means[1][feature]))
        moved = int(np.count_nonzero(column))
        if shift.before == 0 and shift.after == 0:
            found.append(replace(shift, not_testable="dead: fires on no text in either model"))
        elif moved < smallest or column.std() == 0:
            found.append(replace(shift, not_testable=f"differs on {moved} texts, fewer than {smallest}"))
        else:
            test: Any = ttest_1samp(column, 0.0)
            tested.append(replace(shift, t=float(test.statistic), p_value=float(test.pvalue)))
    values = adjusted([shift.p_value for shift in tested])
    tested = [replace(shift, p_adjusted=float(p)) for shift, p in zip(tested, values, strict=True)]
    return sorted(tested, key=lambda shift: -abs(shift.t or 0.0)) + found
