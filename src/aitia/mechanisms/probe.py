"""A probe: the answer can be read off the site by a linear map (logistic regression of scikit-learn)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from aitia.explanations import Alignment, Explanation, Premise, Variable
from aitia.explanations.core import REAL_BITS, Tap
from aitia.mechanisms.site import MECHANISMS_BELOW, SiteRecord


def probe_explanation(
    record: SiteRecord, *, strengths: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0)
) -> Explanation:
    """The hypothesis that the answer is held, linearly, in the subspace that a probe reads.

    Variable: the answer, in the span of the probe's directions; without an inverse.

    Args:
        record: the site.
        strengths: inverse penalties that are tried; the one that predicts best on held-back rows is kept.

    Returns:
        The explanation, with the variable `answer`.
    """
    from sklearn.linear_model import LogisticRegression

    fitted = ~record.checked
    middle = record.activations[fitted].mean(axis=0)
    scale = max(float(record.activations[fitted].std()), 1e-12)
    rows = (record.activations - middle) / scale
    known = np.unique(record.labels[fitted])

    def weights_of(calibrated_z: float) -> tuple[np.ndarray, np.ndarray]:
        if len(known) == 1:
            return np.zeros((1, record.width)), np.zeros(1)
        model = LogisticRegression(C=calibrated_z, max_iter=300).fit(rows[fitted], record.labels[fitted])
        if len(known) == 2:
            return np.concatenate([-model.coef_, model.coef_]) / 2, np.concatenate(
                [-model.intercept_, model.intercept_]
            ) / 2
        return model.coef_, model.intercept_

    def right(probe: tuple[np.ndarray, np.ndarray]) -> float:
        return float((known[(rows[record.checked] @ probe[0].T + probe[1]).argmax(axis=1)] == checked).mean())

    checked = record.labels[record.checked]
    weights, bias = max((weights_of(calibrated_z) for calibrated_z in strengths), key=right)
    directions, singular, _ = np.linalg.svd((weights - weights.mean(axis=0)).T, full_matrices=False)
    basis = directions[:, singular > 1e-9 * max(float(singular.max()), 1e-300)]
    basis = basis if basis.shape[1] else directions[:, :1]
    # In the subspace's own coordinates the probe reads the same answers: what it drops moves all logits alike.
    inner, offset = weights @ basis / scale, bias - weights @ middle / scale

    def read(part: np.ndarray) -> np.ndarray:
        return known[(part @ inner.T + offset).argmax(axis=1)]

    confidence = record.confidence(read(record.activations[record.checked] @ basis))

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> np.ndarray:
        state = record.trace(inputs) if premises[MECHANISMS_BELOW] else np.zeros((len(inputs), record.width))
        found = read(state @ basis) if premises["probe"] else np.full(len(inputs), known[0])
        return record.as_distribution(variable("answer", found), confidence)

    numbers = float((weights.size + bias.size) * REAL_BITS)
    return Explanation(
        name="probe",
        phenomenon=record.phenomenon,
        program=program,
        premises=record.premise_below | {"probe": Premise(kind="fact", bits=numbers)},
        variables={
            "answer": Variable(
                values=record.outcomes,
                alignment=Alignment(site=record.site, subspace=basis, read=read, bits=1.0),
            )
        },
    )
