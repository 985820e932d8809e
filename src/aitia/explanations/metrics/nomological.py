"""The nomological virtues: does the explanation rest on laws that hold beyond the instance?

The perspective is Ayonrinde and Jaburi's (2025), after Hempel and Oppenheim (1948); the measures are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.core.settings import Settings
from aitia.explanations.metrics.study import Evaluation, skill_on
from aitia.statistics import clopper_pearson, exact, wilson


def law_skills(
    explanation: Explanation, models: Sequence[ModelUnderStudy], settings: Settings
) -> dict[str, np.ndarray]:
    """Law -> [m] skill on each model, without fitting anything again.

    A law with a test of its own (`Premise.holds`) is asked that; any other has the skill of the whole explanation.

    Returns:
        Name of the law -> [m].
    """
    whole = None
    skills = {}
    for name, premise in explanation.premises.items():
        if premise.kind != "law":
            continue
        if premise.holds is not None:
            skills[name] = np.array([premise.holds(model) for model in models], dtype=float)
            continue
        if whole is None:
            moved = [explanation.of(explanation.phenomenon.of(model)) for model in models]
            whole = np.array([skill_on(each, settings) for each in moved], dtype=float)
        skills[name] = whole
    return skills


def uses_premise(explanation: Explanation, name: str, inputs: np.ndarray) -> np.ndarray:
    """[n] whether the prediction for each input changes when the premise is taken away."""
    before = explanation.predict(inputs).marginals
    after = explanation.without(name).predict(inputs).marginals
    return ~np.asarray(np.isclose(before, after, equal_nan=True).all(axis=1))


def measure_nomological(study: Evaluation, *, models: Sequence[ModelUnderStudy] = ()) -> list[VirtueResult]:
    """The nomological virtues of a study.

    Args:
        study: the explanation under test.
        models: other models, seeds or sizes that its laws should hold of.

    Returns:
        One result a virtue.
    """
    explanation = study.explanation
    laws = [name for name, each in explanation.premises.items() if each.kind == "law"]
    certificate = explanation.certificate
    if certificate is None or certificate.verify is None:
        check = not_applicable("deductive-check", "it brings no certificate that can be verified here")
    else:
        check = measured("deductive-check", float(certificate.verify()), n=1)
    if not laws:
        reason = "none of its premises is claimed to be a law"
        return [not_applicable("invariance", reason), not_applicable("law-support", reason), check]
    if not models:
        reason = "one model only: whether its laws hold elsewhere is not known"
        return [not_evaluable("invariance", reason), not_evaluable("law-support", reason), check]
    skills = law_skills(explanation, models, study.settings)
    held = np.min(list(skills.values()), axis=0) > 0
    m = len(models)
    invariance = measured(
        "invariance",
        float(held.mean()),
        n=m,
        interval=clopper_pearson(int(held.sum()), m, study.settings.level),
        floor=0.0,
        ceiling=1.0,
        details={
            name: {"min": float(each.min()), "mean": float(each.mean()), "held": int((each > 0).sum())}
            for name, each in skills.items()
        },
    )
    passed = [name for name, each in skills.items() if (each > 0).all()]
    return [invariance, _support(study, passed), check]


def _support(study: Evaluation, passed: Sequence[str]) -> VirtueResult:
    explanation, inputs = study.explanation, study.phenomenon.inputs[study.indices]
    used = np.zeros(len(inputs), dtype=bool)
    for name in passed:
        used |= uses_premise(explanation, name, inputs)
    value, n = float(study.weights @ used), len(inputs)
    bits = {name: each.length for name, each in explanation.premises.items()}
    total = sum(bits.values())
    return measured(
        "law-support",
        value,
        n=n,
        interval=exact(value) if study.exact else wilson(value * n, n, study.settings.level),
        floor=0.0,
        ceiling=1.0,
        reason="" if passed else "no law held on every model; untested and failed laws count as facts",
        details={
            "laws_that_held": list(passed),
            "share_of_bits": sum(bits[name] for name in passed) / total if total else None,
        },
        items=used.astype(float),
    )
