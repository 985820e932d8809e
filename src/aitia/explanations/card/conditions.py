"""The four conditions of a mechanistic explanation, as a gate with evidence (Ayonrinde and Jaburi 2025; our reading).

Model-level: about the weights, not the system around them. Ontic: about structures that are really there. Causal-
mechanistic: a chain of causes, step by step. Falsifiable: something observable would refute it. These are
conditions, not scores: a hypothesis that fails one may be useful, but is no mechanistic explanation.

A test that an explanation fails clearly refutes it, whatever other tests say. So each of them can close the gate.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aitia.explanations.core.result import VirtueResult
from aitia.explanations.core.settings import Settings
from aitia.explanations.metrics.study import Evaluation
from aitia.statistics import wilson

MECHANISTIC, PREDICTIVE, REFUSED = "mechanistic", "predictive", "refused"
"""How an account stands: it passes the gate; it claims nothing of the inside; it does, and fails to pass."""


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One condition: whether it is met (None: it cannot be decided), and by what evidence."""

    name: str
    met: bool | None
    evidence: str


def conditions(study: Evaluation, results: Mapping[str, VirtueResult]) -> tuple[Condition, ...]:
    """The four conditions, from a study and its results by name."""
    return (
        _model_level(study, results),
        _ontic(results, study.settings),
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


def standing(gate: tuple[Condition, ...], *, aligned: bool) -> str:
    """How an account stands; `aligned` says whether it claims anything of the inside."""
    if all(each.met for each in gate):
        return MECHANISTIC
    return REFUSED if aligned else PREDICTIVE


def observational_refutations(results: Mapping[str, VirtueResult], settings: Settings) -> list[str]:
    """Which tests of what is held inside the explanation clearly fails, each in a few words."""
    found = []
    read = results["probing-agreement"]
    if _below(read, settings.mechanism):
        found.append(f"its maps read its values with an agreement of {read.value:.3f}")
    elif read.value is not None:
        scores = {name: score for name, score in read.details["by_variable"].items() if score is not None}
        wrong = [name for name, score in scores.items() if score <= 0]
        if wrong:
            found.append(f"its map reads {', '.join(wrong)} no better than chance")
    states = results["state-distinctions"]
    if states.value is not None and states.details["absent"]:
        found.append(states.reason)
    return found


def causal_refutations(results: Mapping[str, VirtueResult], settings: Settings) -> list[str]:
    """Which interventions clearly come out otherwise than the explanation says, each in a few words."""
    found = []
    for name, what in (
        ("interchange-intervention-accuracy", "interchange interventions"),
        ("causal-by-writing", "values written into the model"),
    ):
        result = results[name]
        if _below(result, settings.mechanism):
            found.append(f"{result.value:.3f} of {what} come out as it says")
        elif wrong := _wrong_variables(result, settings):
            found.append(f"{what} on {', '.join(wrong)} do not come out as it says")
    states = results["state-distinctions"]
    if states.value is not None and states.details["refuted"]:
        found.append(states.reason)
    leakage = results["leakage"]
    if (
        leakage.value is not None
        and leakage.interval is not None
        and leakage.interval.low > 1 - settings.mechanism
    ):
        found.append(f"{leakage.value:.3f} of disturbances of what it calls inert move the answer")
    return found


def _below(result: VirtueResult, threshold: float) -> bool:
    """Whether all of a result's interval lies below a threshold."""
    return result.value is not None and result.interval is not None and result.interval.high < threshold


def _wrong_variables(result: VirtueResult, settings: Settings) -> list[str]:
    """The variables whose own interventions clearly fall below the threshold, however well the others do."""
    if result.value is None or result.interval is None:
        return []
    scores = {name: score for name, score in result.details["by_variable"].items() if score is not None}
    n = result.n // max(len(scores), 1)
    exact = result.interval.method == "exact"
    return [
        name
        for name, score in scores.items()
        if (score if exact else wilson(score * n, n, settings.level).high) < settings.mechanism
    ]


def _model_level(study: Evaluation, results: Mapping[str, VirtueResult]) -> Condition:
    name, model = "model-level", study.phenomenon.model
    sites = sorted({each.site for each in study.explanation.aligned.values()})
    if not sites:
        return Condition(name=name, met=False, evidence="no variable is aligned with a site of the model")
    evidence = f"speaks of {', '.join(sites)} of {model.name} (weights {model.fingerprint[:12]})"
    causal = results["interchange-intervention-accuracy"]
    if causal.value is None or causal.interval is None:
        return Condition(name=name, met=False, evidence=f"{evidence}, where no intervention could be made")
    if causal.details["still"] == 1:
        return Condition(name=name, met=False, evidence=f"{evidence}, where no intervention moves an answer")
    random = next((each for each in causal.details["controls"] if each["name"] == "random weights"), None)
    if random is None or random["value"] is None or random["interval"] is None:
        return Condition(
            name=name, met=None, evidence=f"{evidence}; it was not tried on random weights: {_why(random)}"
        )
    evidence += f"; of networks with random weights {random['value']:.3f} comes out as it says"
    # What holds of random weights as well is said of the architecture, not of this model.
    return Condition(name=name, met=causal.interval.low > random["interval"]["high"], evidence=evidence)


def _why(control: Mapping[str, object] | None) -> str:
    return "no controls were asked for" if control is None else str(control["reason"] or "a single network")


def _ontic(results: Mapping[str, VirtueResult], settings: Settings) -> Condition:
    scores = [
        results[name]
        for name in ("probing-agreement", "interchange-intervention-accuracy")
        if results[name].value is not None
    ]
    if not scores:
        return Condition(name="ontic", met=False, evidence="no variable was found in the model")
    shown = "; ".join(f"{each.name} {each.value:.3f} beside {_controls(each)}" for each in scores)
    if refuted := observational_refutations(results, settings):
        return Condition(name="ontic", met=False, evidence=f"refuted: {'; '.join(refuted)}")
    held = [
        results[name]
        for name in ("probing-agreement", "state-distinctions")
        if results[name].value is not None
    ]
    if not held:
        return Condition(
            name="ontic", met=None, evidence=f"what its variables hold could not be tested: {shown}"
        )
    if any(each.discriminating for each in scores):
        return Condition(name="ontic", met=True, evidence=shown)
    refused = any(each.discriminating is False for each in scores)
    return Condition(
        name="ontic",
        met=False if refused else None,
        evidence=f"not discriminating: {shown}" if refused else shown,
    )


def _controls(result: VirtueResult) -> str:
    ran = [each for each in result.details.get("controls", ()) if each["value"] is not None]
    return ", ".join(f"{each['name']} {each['value']:.3f}" for each in ran) or "no control that could be run"


def _causal_mechanistic(study: Evaluation, results: Mapping[str, VirtueResult]) -> Condition:
    name, settings = "causal-mechanistic", study.settings
    causal, inside = results["interchange-intervention-accuracy"], results["informativeness"]
    if causal.value is None or causal.interval is None or causal.floor is None:
        return Condition(name=name, met=False, evidence=causal.reason)
    evidence = (
        f"{causal.value:.3f} of {causal.n} interchange interventions on {', '.join(study.explanation.aligned)} came "
        f"out as it says (from {causal.interval.low:.3f}); {settings.mechanism:g} are asked for, the better of "
        f"“nothing changes” and “the answer is the source's” gets {causal.floor:.3f}"
    )
    if refuted := causal_refutations(results, settings):
        return Condition(name=name, met=False, evidence=f"refuted: {'; '.join(refuted)}. {evidence}")
    if inside.value is not None:
        evidence += f"; {inside.value:.3f} bits beyond the trivial"
    if inside.discriminating is not True:
        return Condition(name=name, met=False, evidence=f"not told apart from the trivial: {evidence}")
    if causal.discriminating is False:
        return Condition(name=name, met=False, evidence=f"not discriminating: {evidence}")
    # The point estimate is held against the threshold: thirty perfect trials cannot lift an interval over 0.9.
    met = causal.interval.low > causal.floor and causal.value >= settings.mechanism
    return Condition(name=name, met=met, evidence=evidence)


def _falsifiable(results: Mapping[str, VirtueResult]) -> Condition:
    content = results["falsifiability"]
    value = content.value or 0.0
    evidence = f"it forbids {value:.1%} of what the null expects (outcomes of at most {content.details.get('delta')})"
    return Condition(name="falsifiable", met=value > 0, evidence=evidence)
