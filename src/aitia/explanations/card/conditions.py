"""The four conditions of a mechanistic explanation, as a gate with evidence (Ayonrinde and Jaburi 2025; our reading).

Model-level: about the weights, not the system around them. Ontic: about structures that are really there. Causal-
mechanistic: a chain of causes, step by step. Falsifiable: something observable would refute it. These are
conditions, not scores: a hypothesis that fails one may be useful, but is no mechanistic explanation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aitia.explanations.core.result import VirtueResult
from aitia.explanations.metrics.study import Evaluation


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition: whether it is met (None: it cannot be decided), and by what evidence."""

    name: str
    met: bool | None
    evidence: str


def conditions(study: Evaluation, results: Mapping[str, VirtueResult]) -> tuple[Condition, ...]:
    """The four conditions, from a study and its results by name."""
    return (
        _model_level(study),
        _ontic(results),
        _causal_mechanistic(study, results),
        _falsifiable(results),
    )


def verdict(gate: tuple[Condition, ...]) -> str:
    """What a hypothesis that passes so much of the gate is, in a few words."""
    if all(each.met for each in gate):
        return "a mechanistic explanation: all four conditions are met"
    failed = [each.name for each in gate if each.met is not True]
    if {"ontic", "causal-mechanistic"} <= set(failed):
        return "a predictive model, not a mechanistic explanation"
    return f"not shown to be a mechanistic explanation: {', '.join(failed)}"


def _model_level(study: Evaluation) -> Condition:
    sites = sorted({each.site for each in study.explanation.aligned.values()})
    model = study.phenomenon.model
    if not sites:
        return Condition(
            name="model-level", met=False, evidence="no variable is aligned with a site of the model"
        )
    evidence = f"speaks of {', '.join(sites)} of {model.name} (weights {model.fingerprint[:12]})"
    return Condition(name="model-level", met=True, evidence=evidence)


def _ontic(results: Mapping[str, VirtueResult]) -> Condition:
    scores = [
        results[name]
        for name in ("probing-agreement", "interchange-intervention-accuracy")
        if results[name].value is not None
    ]
    if not scores:
        return Condition(name="ontic", met=False, evidence="no variable was found in the model")
    shown = "; ".join(f"{each.name} {each.value:.3f} beside {_controls(each)}" for each in scores)
    if any(each.discriminating for each in scores):
        return Condition(name="ontic", met=True, evidence=shown)
    refuted = any(each.discriminating is False for each in scores)
    return Condition(
        name="ontic",
        met=False if refuted else None,
        evidence=f"not discriminating: {shown}" if refuted else shown,
    )


def _controls(result: VirtueResult) -> str:
    ran = [each for each in result.details.get("controls", ()) if each["value"] is not None]
    return ", ".join(f"{each['name']} {each['value']:.3f}" for each in ran) or "no control that could be run"


def _causal_mechanistic(study: Evaluation, results: Mapping[str, VirtueResult]) -> Condition:
    causal = results["interchange-intervention-accuracy"]
    if causal.value is None or causal.interval is None or causal.floor is None:
        return Condition(name="causal-mechanistic", met=False, evidence=causal.reason)
    evidence = (
        f"{causal.value:.3f} of {causal.n} interchange interventions on {', '.join(study.explanation.aligned)} came "
        f"out as it says (from {causal.interval.low:.3f}); {study.settings.mechanism:g} are asked for, a blind "
        f"guess gets {causal.floor:.3f}"
    )
    if causal.discriminating is False:
        return Condition(name="causal-mechanistic", met=False, evidence=f"not discriminating: {evidence}")
    # The point estimate is held against the threshold: thirty perfect trials cannot lift an interval over 0.9.
    met = causal.interval.low > causal.floor and causal.value >= study.settings.mechanism
    return Condition(name="causal-mechanistic", met=met, evidence=evidence)


def _falsifiable(results: Mapping[str, VirtueResult]) -> Condition:
    content = results["falsifiability"]
    value = content.value or 0.0
    evidence = f"it forbids {value:.1%} of what the null expects (outcomes of at most {content.details.get('delta')})"
    return Condition(name="falsifiable", met=value > 0, evidence=evidence)
