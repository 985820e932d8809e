"""The Kuhnian virtues: consistency, scope, fruitfulness (Kuhn 1977). He gives no formulas; these are ours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.core.predictive import agreement, as_distributions
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.metrics.bayesian import entropy
from aitia.explanations.metrics.study import Evaluation, filled_log_scores, log_scores, skill_on
from aitia.statistics import clopper_pearson, exact, weighted_mean_interval, wilson


@dataclass(frozen=True, kw_only=True, eq=False)
class Registration:
    """Predictions that were written down before they were tested.

    Attributes:
        inputs: [m, ...] what is predicted about.
        probabilities: [m, k] what is predicted.
        registered: when, in ISO 8601.
        digest: of inputs and predictions; a prediction changed afterwards does not fit it.
    """

    inputs: np.ndarray = field(repr=False)
    probabilities: np.ndarray = field(repr=False)
    registered: str
    digest: str


def register(explanation: Explanation, inputs: np.ndarray) -> Registration:
    """Register an explanation's predictions on new inputs, before the model is run on them.

    Returns:
        The registration: predictions, inputs and a digest of both.

    Raises:
        ExplanationError: it abstains on one of them.
    """
    inputs = np.asarray(inputs)
    probabilities = explanation.predict(inputs).marginals
    if np.isnan(probabilities).any():
        raise ExplanationError(f"explanation {explanation.name!r} abstains on inputs that it would register")
    return Registration(
        inputs=inputs,
        probabilities=probabilities,
        registered=datetime.now(UTC).isoformat(timespec="seconds"),
        digest=_registration_digest(inputs, probabilities),
    )


def _registration_digest(inputs: np.ndarray, probabilities: np.ndarray) -> str:
    content = repr((inputs.shape, inputs.tolist(), probabilities.round(12).tolist()))
    return hashlib.sha256(content.encode()).hexdigest()


def disagreement(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n] 1 where the likeliest outcomes of two predictions [n, k] differ, else 0; their mean is to be low."""
    return (first.argmax(axis=1) != second.argmax(axis=1)).astype(float)


def jensen_shannon(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """[n] Jensen-Shannon divergence in bits between distributions [n, k]. From 0 to 1, down."""
    return np.maximum(entropy((first + second) / 2) - (entropy(first) + entropy(second)) / 2, 0.0)


def scope(
    logs: np.ndarray, null_log_probs: np.ndarray, covered: np.ndarray, cases: np.ndarray, mass: np.ndarray
) -> float:
    """Mass of the cases in which it applies and beats the null; where it abstains it explains nothing.

    "Applies everywhere, with no skill" is 0. From 0 to 1, up.

    Args:
        logs: [n] log2 P(o), the null's where it abstains.
        null_log_probs: [n] log2 Q0(o).
        covered: [n] bool, where it predicts anything.
        cases: [n] which case each input belongs to.
        mass: [n] how much each counts, summing to one.

    Returns:
        The mass, from 0 to 1.
    """
    _, case = np.unique(cases, return_inverse=True)
    gain = np.bincount(case, weights=mass * (logs - null_log_probs))
    return float((mass * covered * (gain[case] > 1e-12)).sum())


def confirmed_bits(
    registration: Registration, observed: np.ndarray, null: np.ndarray, epsilon: float
) -> np.ndarray:
    """[m] log2 P(o) / Q0(o) of each registered prediction, floored. Bits, up."""
    floored = (1 - epsilon) * registration.probabilities + epsilon / null.shape[1]
    return log_scores(floored, observed) - log_scores(null, observed)


def measure_kuhnian(
    study: Evaluation, *, accepted: Sequence[Explanation] = (), models: Sequence[ModelUnderStudy] = ()
) -> list[VirtueResult]:
    """The Kuhnian virtues of a study.

    Args:
        study: the explanation under test.
        accepted: explanations of the same domain that are taken for true.
        models: other models that it should hold of, unchanged.

    Returns:
        One result a virtue.
    """
    return [
        _inner(study),
        _outer(study, accepted),
        _scope(study),
        _excess_scope(study),
        _model_scope(study, models),
        _fruitfulness(study),
    ]


def _inner(study: Evaluation) -> VirtueResult:
    explanation, inputs = study.explanation, study.phenomenon.inputs[study.indices]
    if not explanation.derivations:
        return not_applicable("inner-disagreement", "it has a single derivation")
    k = len(study.phenomenon.outcomes)
    own = study.predictive.marginals
    items = {}
    for name, derive in explanation.derivations.items():
        other = as_distributions(derive(inputs), len(inputs), k, who=f"{explanation.name}, derivation {name}")
        items[name] = disagreement(own, np.nan_to_num(other, nan=-1))
    worst = np.max(list(items.values()), axis=0)
    value = float(study.weights @ worst)
    return measured(
        "inner-disagreement",
        value,
        n=len(inputs),
        interval=exact(value)
        if study.exact
        else wilson(value * len(inputs), len(inputs), study.settings.level),
        floor=1.0,
        ceiling=0.0,
        details={name: float(study.weights @ each) for name, each in items.items()},
        items=worst,
    )


def _outer(study: Evaluation, accepted: Sequence[Explanation]) -> VirtueResult:
    if not accepted:
        return not_applicable("outer-disagreement", "no accepted explanations are given")
    inputs = study.phenomenon.inputs[study.indices]
    distances = {}
    for i, other in enumerate(accepted):
        theirs = other.predict(inputs).floored(study.settings.epsilon).marginals
        if theirs.shape != study.predictive.marginals.shape:
            raise ExplanationError(f"accepted explanation {other.name!r} predicts other outcomes")
        items = jensen_shannon(study.predictive.marginals, theirs)
        distances[f"{i + 1}. {other.name}"] = np.where(np.isnan(items), 0.0, items)
    items = np.mean(list(distances.values()), axis=0)
    return measured(
        "outer-disagreement",
        float(study.weights @ items),
        n=len(inputs),
        interval=study.interval(items),
        floor=1.0,
        ceiling=0.0,
        details={name: float(study.weights @ each) for name, each in distances.items()},
        items=items,
    )


def _scope(study: Evaluation) -> VirtueResult:
    phenomenon, test = study.phenomenon, study.test
    logs, null_log_probs = filled_log_scores(study.explanation, study.settings, test)
    cases = np.arange(len(phenomenon.inputs)) if phenomenon.cases is None else np.asarray(phenomenon.cases)
    mass = phenomenon.normalised_weights(test)
    value = scope(logs, null_log_probs, study.covered, cases[test], mass)
    n = len(test)
    interval = exact(value) if study.exact else wilson(value * n, n, study.settings.level)
    return measured("scope", value, n=n, interval=interval, floor=0.0, ceiling=1.0)


def _excess_scope(study: Evaluation) -> VirtueResult:
    phenomenon, explanation = study.phenomenon, study.explanation
    if phenomenon.beyond is None:
        return not_evaluable("excess-scope", "the phenomenon names no inputs beyond its domain")
    inputs = np.asarray(phenomenon.beyond)
    n = len(inputs)
    observed = phenomenon.observe(phenomenon.model, inputs)
    null_log_probs = log_scores(phenomenon.null_predictions(n=n), observed)
    predictive = explanation.predict(inputs)
    logs = log_scores(predictive.floored(study.settings.epsilon).marginals, observed)
    filled = np.where(predictive.covered, logs, null_log_probs)
    value = scope(filled, null_log_probs, predictive.covered, np.arange(n), np.full(n, 1 / n))
    interval = wilson(value * n, n, study.settings.level)
    return measured("excess-scope", value, n=n, interval=interval, floor=0.0, ceiling=1.0)


def _model_scope(study: Evaluation, models: Sequence[ModelUnderStudy]) -> VirtueResult:
    if not models:
        return not_evaluable("model-scope", "no other models are given")
    skills = [skill_on(study.explanation.of(study.phenomenon.of(model)), study.settings) for model in models]
    held = sum(skill > 0 for skill in skills)
    return measured(
        "model-scope",
        held / len(models),
        n=len(models),
        interval=clopper_pearson(held, len(models), study.settings.level),
        floor=0.0,
        ceiling=1.0,
        details={
            f"{i + 1}. {model.name}": s for i, (model, s) in enumerate(zip(models, skills, strict=True))
        },
    )


def _fruitfulness(study: Evaluation) -> VirtueResult:
    phenomenon, explanation = study.phenomenon, study.explanation
    if not explanation.registered:
        return not_evaluable("fruitfulness", "no predictions were registered before the test")
    domain = {row.tobytes() for row in phenomenon.inputs}
    seen = set(domain)
    bits, hits, refused, repeated = [], [], 0, 0
    # About one input the earliest prediction counts, once.
    for each in sorted(explanation.registered, key=lambda one: one.registered):
        if _registration_digest(each.inputs, each.probabilities) != each.digest:
            raise ExplanationError(f"a registration of {each.registered} was changed after it was made")
        rows = [row.tobytes() for row in each.inputs.astype(phenomenon.inputs.dtype)]
        novel = np.zeros(len(rows), dtype=bool)
        for i, row in enumerate(rows):
            novel[i] = row not in seen
            seen.add(row)
        refused += sum(row in domain for row in rows)
        repeated += sum(row not in domain for row in rows) - int(novel.sum())
        if not novel.any():
            continue
        observed = phenomenon.observe(phenomenon.model, each.inputs)
        null = phenomenon.null_predictions(n=len(each.inputs))
        bits.append(confirmed_bits(each, observed, null, study.settings.epsilon)[novel])
        hits.append(agreement(each.probabilities, observed)[novel])
    if not bits:
        return not_evaluable("fruitfulness", "every registered prediction is about an input of the domain")
    gained, right = np.concatenate(bits), np.concatenate(hits)
    return measured(
        "fruitfulness",
        float(gained.mean()),
        n=len(gained),
        seed=study.settings.seed,
        interval=weighted_mean_interval(gained, level=study.settings.level, seed=study.settings.seed),
        floor=0.0,
        details={
            "confirmed_share": float(right.mean()),
            "not_novel": refused,
            "repeated": repeated,
            "registered": [each.registered for each in explanation.registered],
        },
    )
