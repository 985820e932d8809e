"""The Deutschian virtues: what an explanation forbids, and whether its details could be otherwise.

Falsifiability after Popper (1959); hard-to-varyness after Deutsch (2011) and Elton (2020); the measures are ours.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy, turned
from aitia.explanations.core.phenomenon import Phenomenon
from aitia.explanations.core.predictive import Predictive
from aitia.explanations.core.result import VirtueResult, measured, not_applicable, not_evaluable
from aitia.explanations.core.variation import UNSAYABLE, is_notational, premise_variants, variants
from aitia.explanations.metrics.controls import causal_score
from aitia.explanations.metrics.faithfulness import interchange, probing_agreement
from aitia.explanations.metrics.study import Evaluation, skill_of, skill_on
from aitia.statistics import beta_cdf, clopper_pearson, exact, wilson


def forbidden_outcomes(
    explanation: Explanation, predictive: Predictive, inputs: np.ndarray, delta: float
) -> np.ndarray:
    """[n, k] bool, what it says will not be seen: as it declares, or what has a probability of at most delta."""
    if explanation.forbids is not None:
        return np.asarray(explanation.forbids(inputs), dtype=bool)
    return predictive.marginals <= delta


def forbidden_content(forbidden: np.ndarray, null: np.ndarray, mass: np.ndarray) -> tuple[float, float]:
    """How much it forbids: the mass Q0 gives to it, from 0 to 1, and -log2 Q0(allowed) in bits. Both up.

    Args:
        forbidden: [n, k] bool.
        null: [n, k] Q0.
        mass: [n] summing to one.

    Returns:
        The mass, from 0 to 1, and the bits.
    """
    share = (null * forbidden).sum(axis=1)
    with np.errstate(divide="ignore"):
        return float(mass @ share), float(mass @ -np.log2(np.maximum(1 - share, 0.0)))


def refutation_p_value(forbidden: np.ndarray, probabilities: np.ndarray, observed: np.ndarray) -> float:
    """Chance, were the explanation true, of at least as many forbidden outcomes as were seen.

    The count is at most binomial with the largest probability that it gives to what it forbids on any input.

    Args:
        forbidden: [n, k] bool.
        probabilities: [n, k] its floored predictions.
        observed: [n] labels.

    Returns:
        The p-value, from 0 to 1.
    """
    n = len(observed)
    seen = int(forbidden[np.arange(n), observed].sum())
    chance = float((probabilities * forbidden).sum(axis=1).max()) if forbidden.any() else 0.0
    return 1.0 if seen == 0 else beta_cdf(seen, n - seen + 1, chance)


def load_bearing(costs: np.ndarray, bits: np.ndarray, tolerance: float) -> tuple[float, float]:
    """Share of premises, and of their bits, without which predictions get worse by more than the tolerance. Up."""
    bearing = costs > tolerance
    total = float(bits.sum())
    return float(bearing.mean()), float(bits[bearing].sum() / total) if total else float("nan")


def cost_of(study: Evaluation, changed: Explanation) -> float:
    """Loss of skill by a change, on the test inputs whose prediction it changes; 0 where it changes none.

    Only these inputs count, so that a row of a long table bears its load as much as a law does.

    Returns:
        The loss, a difference of skills; 1 where what is then predicted cannot be observed.
    """
    phenomenon, settings = study.phenomenon, study.settings
    before = study.raw
    try:
        after = changed.predict(phenomenon.inputs[study.test])
    except ExplanationError:
        return 1.0
    same = np.isclose(before.marginals, after.marginals, equal_nan=True).all(axis=1)
    rows = np.flatnonzero(~np.asarray(same))
    if len(rows) == 0:
        return 0.0
    inputs = study.test[rows]
    skills = [skill_of(each.at(rows), phenomenon, settings, inputs) for each in (before, after)]
    return 0.0 if np.isnan(skills).any() else skills[0] - skills[1]


def premise_effects(study: Evaluation, name: str) -> tuple[float, frozenset[bytes]]:
    """The largest loss of skill by a change of one premise, and what its harmful changes come to, as digests.

    Returns:
        The loss, 0 where no change of it can be made, and the digests.
    """
    most, effects = 0.0, set()
    for variant in premise_variants(study.explanation, name):
        try:
            cost = cost_of(study, variant.explanation)
        except UNSAYABLE:
            continue
        most = max(most, cost)
        if cost > study.settings.tolerance:
            effects.add(_effect(variant.explanation))
    return most, frozenset(effects)


def conditional_bits(changed: Explanation, original: Explanation) -> float:
    """Bits of the premises of one explanation that another does not hold in the same form.

    A premise counts with its declared length at most: more than its value written out cannot change.

    Returns:
        The bits.
    """
    old = {name: (str(each.value), each.statement) for name, each in original.premises.items()}
    return sum(
        min(each.length, replace(each, bits=None).length)
        for name, each in changed.premises.items()
        if old.get(name) != (str(each.value), each.statement)
    )


def measure_deutschian(study: Evaluation, *, mutants: Sequence[ModelUnderStudy] = ()) -> list[VirtueResult]:
    """The Deutschian virtues of a study.

    Args:
        study: the explanation under test.
        mutants: models that work otherwise, which should refute it.

    Returns:
        One result a virtue.
    """
    return [
        _falsifiability(study),
        _mutation_score(study, mutants),
        _hard_to_vary(study),
        _load_bearing(study),
        _hard_to_patch(study),
    ]


def _falsifiability(study: Evaluation) -> VirtueResult:
    inputs = study.phenomenon.inputs[study.indices]
    raw = study.raw.at(np.flatnonzero(study.covered))
    forbidden = forbidden_outcomes(study.explanation, raw, inputs, study.settings.delta)
    share = (study.null * forbidden).sum(axis=1)
    value, bits = forbidden_content(forbidden, study.null, study.weights)
    return measured(
        "falsifiability",
        value,
        n=len(inputs),
        seed=study.settings.seed,
        interval=study.interval(share),
        floor=0.0,
        ceiling=float(study.weights @ (1 - study.null.min(axis=1))),
        details={
            "bits": bits if np.isfinite(bits) else None,
            "delta": study.settings.delta,
            "violated": float(study.weights @ forbidden[np.arange(len(inputs)), study.observed]),
        },
        items=share,
    )


def _mutation_score(study: Evaluation, mutants: Sequence[ModelUnderStudy]) -> VirtueResult:
    settings, phenomenon = study.settings, study.phenomenon
    inputs = phenomenon.inputs[study.indices]
    observations = _mutated(phenomenon, inputs, settings.mutants, settings.seed)
    observations += [("given", phenomenon.observe(each, inputs)) for each in mutants]
    if not observations and not phenomenon.model.sites:
        return not_evaluable("mutation-score", "the model has no weights to mutate, and no mutants are given")
    raw = study.raw.at(np.flatnonzero(study.covered))
    forbidden = forbidden_outcomes(study.explanation, raw, inputs, settings.delta)
    floored = study.predictive.marginals

    def refuted(observed: np.ndarray) -> bool:
        return refutation_p_value(forbidden, floored, observed) < settings.alpha

    found = [(kind, refuted(each)) for kind, each in observations]
    own = refuted(study.observed)
    if own:  # what its own model refutes already is not put to the test by others
        found = [(kind, False) for kind, _ in found]
    found += _other_insides(study)
    count, n = sum(each for _, each in found), len(found)
    same = sum(bool((each == study.observed).all()) for _, each in observations)
    kinds = {kind: [each for other, each in found if other == kind] for kind, _ in found}
    return measured(
        "mutation-score",
        count / n,
        n=n,
        seed=settings.seed,
        interval=clopper_pearson(count, n, settings.level),
        floor=0.0,
        ceiling=1 - same / n,
        reason="the unmutated model refutes it too" if own else "",
        details={
            "alpha": settings.alpha,
            "mutants_that_behave_the_same": same,
            "own_model_refutes": own,
            "refuted_by": {kind: f"{sum(each)} of {len(each)}" for kind, each in kinds.items()},
        },
    )


MOST_TRIALS = 128
"""Interventions on each variable of a mutant that works elsewhere."""


def _other_insides(study: Evaluation) -> list[tuple[str, bool]]:
    """Whether mutants with the same answers, held elsewhere, refute it: only what it claims of the inside can be.

    What its own model refutes already is not refuted by another.

    Returns:
        One entry a mutant.
    """
    settings, model = study.settings, study.phenomenon.model
    if not model.sites:
        return []
    tested = bool(study.explanation.aligned) and not _refuted_inside(study, model)
    mutants = [
        turned(model, study.phenomenon.inputs, settings.seed + i) if tested else None
        for i in range(settings.mutants)
    ]
    return [
        ("same answers, other inside", each is not None and _refuted_inside(study, each)) for each in mutants
    ]


def _refuted_inside(study: Evaluation, model: ModelUnderStudy) -> bool:
    """Whether interventions on a model, or readings, clearly come out otherwise than the explanation says."""
    settings = study.settings
    bases, sources, _ = study.pairs
    chosen = np.random.default_rng(settings.seed).permutation(len(bases))[:MOST_TRIALS]
    trials = interchange(study.explanation, model, bases[chosen], sources[chosen])
    hits = np.concatenate([np.nan_to_num(each.hits) for each in trials.values()] or [np.ones(1)])
    read = [each.score for each in probing_agreement(study.explanation, model, study.indices).values()]
    share = wilson(float(hits.sum()), len(hits), settings.level)
    return bool(share.high < settings.mechanism or np.nanmin([1.0, *read]) < settings.mechanism)


def _mutated(
    phenomenon: Phenomenon, inputs: np.ndarray, count: int, seed: int
) -> list[tuple[str, np.ndarray]]:
    """What mutants do: networks of random weights, and the model with each of its sites at zero."""
    model = phenomenon.model
    drawn = [model.randomised(seed + 1000 + i) for i in range(count)]
    found = [("random weights", phenomenon.observe(each, inputs)) for each in drawn if each is not None]
    traced = model.trace(inputs, model.sites) if model.sites else {}
    for site, values in traced.items():
        outputs, _ = model.intervene(inputs, {site: np.zeros_like(values)})
        found.append(("a site at zero", phenomenon.labels(outputs, len(inputs))))
    return found


def _hard_to_vary(study: Evaluation) -> VirtueResult:
    explanation, settings = study.explanation, study.settings
    skill = skill_on(explanation, settings)
    if not skill > 0:
        return not_applicable(
            "hard-to-vary", "it has no skill to lose: anything bad is hard to vary vacuously"
        )
    bases, sources, _ = study.pairs
    causal = causal_score(bases, sources)
    model = study.phenomenon.model
    before = causal(explanation, model) if explanation.aligned else float("nan")
    kept, changes, effects, left_out = [], {}, set(), 0
    for variant in variants(explanation, limit=settings.variants, seed=settings.seed):
        try:
            if variant.structural and is_notational(variant.explanation, explanation):
                continue
            effect = _effect(variant.explanation)
            keeps = skill_on(variant.explanation, settings) >= skill - settings.tolerance
            if keeps and not np.isnan(before):
                keeps = bool(causal(variant.explanation, model) >= before - settings.tolerance)
        except ExplanationError:  # it now predicts what cannot be observed
            keeps, effect = False, b""
        except UNSAYABLE:
            left_out += 1
            continue
        # Changes that spoil it in one and the same way say one and the same thing, however many premises are stacked.
        if not keeps and effect in effects:
            continue
        effects |= set() if keeps else {effect}
        kept.append(keeps)
        changes[variant.change] = keeps
    if not kept:
        return not_applicable("hard-to-vary", "it has no part that can be varied")
    value = 1 - float(np.mean(kept))
    return measured(
        "hard-to-vary",
        value,
        n=len(kept),
        seed=settings.seed,
        interval=exact(value)
        if study.exact and len(kept) < settings.variants
        else wilson(value * len(kept), len(kept), settings.level),
        floor=0.0,
        ceiling=1.0,
        details={
            "tolerance": settings.tolerance,
            "left_out": left_out,
            "harmless_changes": [c for c, ok in changes.items() if ok][:20],
        },
    )


def _effect(explanation: Explanation) -> bytes:
    """What an explanation predicts and holds on the whole domain, as a digest; empty where that cannot be observed."""
    try:
        predicted, states = explanation.run(explanation.phenomenon.inputs)
    except ExplanationError:
        return b""
    parts = [np.nan_to_num(predicted, nan=-1).round(9)]
    parts += [np.asarray(states[name], dtype=float).round(9) for name in sorted(states)]
    return hashlib.sha256(b"".join((each + 0.0).tobytes() for each in parts)).digest()


def _load_bearing(study: Evaluation) -> VirtueResult:
    premises, settings = study.explanation.premises, study.settings
    if not premises:
        return not_applicable("load-bearing", "it states no premises")
    names = list(premises)
    found = [premise_effects(study, name) for name in names]
    costs = np.array([cost for cost, _ in found])
    bits = np.array([premises[name].length for name in names])
    # Premises whose changes come to the same thing say the same thing: one of them counts, however many are stacked.
    counted = [i for i, (_, each) in enumerate(found) if not each or each not in [e for _, e in found[:i]]]
    share, _ = load_bearing(costs[counted], bits[counted], settings.tolerance)
    _, by_bits = load_bearing(costs, bits, settings.tolerance)
    idle = [name for name, cost in zip(names, costs, strict=True) if cost <= settings.tolerance]
    spare = [name for name in idle if not study.explanation.stops_without(name)][:12]
    backed = [
        pair
        for pair in combinations(spare, 2)
        if cost_of(study, study.explanation.without(*pair)) > settings.tolerance
    ]
    return measured(
        "load-bearing",
        share,
        n=len(names),
        interval=exact(share) if study.exact else wilson(share * len(names), len(names), settings.level),
        floor=0.0,
        ceiling=1.0,
        details={
            "share_of_bits": by_bits if np.isfinite(by_bits) else None,
            "idle": idle[:50],
            "come_to_the_same": len(names) - len(counted),
            "back_each_other": [list(pair) for pair in backed],
        },
    )


def _hard_to_patch(study: Evaluation, *, data_sets: int = 3) -> VirtueResult:
    explanation, settings = study.explanation, study.settings
    if explanation.refit is None:
        return not_evaluable("hard-to-patch", "it cannot be fitted to other data (no `refit`)")
    generator = np.random.default_rng(settings.seed)
    observed = study.phenomenon.observed
    bits, failed = [], 0
    for _ in range(data_sets):
        other = explanation.refit(generator.permutation(observed))
        if other is None:
            failed += 1
        else:
            bits.append(conditional_bits(other, explanation))
    if not bits:
        return not_applicable(
            "hard-to-patch", f"it could not be fitted to any of {data_sets} other data sets"
        )
    return measured(
        "hard-to-patch",
        float(np.mean(bits)),
        n=data_sets,
        seed=settings.seed,
        floor=0.0,
        details={"bits": bits, "could_not_be_fitted": failed},
    )
