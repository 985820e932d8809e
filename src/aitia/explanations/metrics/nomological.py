"""The nomological virtues: does the explanation rest on laws that hold beyond the instance?

The perspective is Ayonrinde and Jaburi's (2025), after Hempel and Oppenheim (1948); the measures are ours.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.core.settings import Settings
from aitia.explanations.core.variation import UNSAYABLE, premise_variants
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


def vacuous_laws(
    explanation: Explanation, laws: Sequence[str], models: Sequence[ModelUnderStudy], settings: Settings
) -> list[str]:
    """Those whose own test passes on networks of random weights as often as not: it would pass on anything."""
    drawn = [
        each
        for i in range(settings.controls)
        for model in models[:1]
        if (each := model.randomised(settings.seed + i)) is not None
    ]
    found = []
    for name in laws:
        holds = explanation.premises[name].holds
        if holds is not None and drawn and np.mean([holds(each) > 0 for each in drawn]) >= 0.5:
            found.append(name)
    return found


def uses_premise(explanation: Explanation, name: str, inputs: np.ndarray) -> np.ndarray:
    """[n] whether the prediction for each input changes when the premise does; that it is read is not enough."""
    before = explanation.predict(inputs).marginals
    used = np.zeros(len(inputs), dtype=bool)
    for variant in premise_variants(explanation, name):
        try:
            after = variant.explanation.predict(inputs).marginals
        except UNSAYABLE:
            continue
        except ExplanationError:  # it then predicts what cannot be observed
            return np.ones(len(inputs), dtype=bool)
        used |= ~np.isclose(before, after, equal_nan=True).all(axis=1)
    return used


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
    inputs = study.phenomenon.inputs[study.indices]
    idle = [name for name in laws if not uses_premise(explanation, name, inputs).any()]
    empty = vacuous_laws(explanation, laws, models, study.settings)
    if not (counted := [name for name in laws if name not in idle and name not in empty]):
        reason = (
            f"none of its laws counts: {', '.join(idle) or 'none'} changes no prediction, the test of "
            f"{', '.join(empty) or 'none'} passes on random weights too"
        )
        return [not_applicable("invariance", reason), not_applicable("law-support", reason), check]
    skills = {
        name: each
        for name, each in law_skills(explanation, models, study.settings).items()
        if name in counted
    }
    held = np.min(list(skills.values()), axis=0) > 0
    m = len(models)
    invariance = measured(
        "invariance",
        float(held.mean()),
        n=m,
        interval=clopper_pearson(int(held.sum()), m, study.settings.level),
        floor=0.0,
        ceiling=1.0,
        reason=f"left out: {', '.join([*idle, *empty])}" if idle or empty else "",
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
