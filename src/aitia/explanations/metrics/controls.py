"""Vacuity controls: the same procedure where it must fail. Where it succeeds, a score does not discriminate.

* random weights: the alignment is fitted and scored on networks of random weights;
* permuted site: it is fitted and scored at components, or sites, that the explanation does not name;
* unrestricted map: on random weights, with a map that can memorise anything. It shows how much of a score a map
  can buy, and condemns explanations whose own map is of that kind.

After the model parameter randomisation test of Adebayo et al. (2018), and Sutter et al. (2025); details ours.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from aitia.explanations.core.alignment import MAPS, Alignment
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.metrics.faithfulness import interchange, mean_score, probing_agreement
from aitia.statistics import Interval, student_interval

Score = Callable[[Explanation, ModelUnderStudy], float]


@dataclass(frozen=True, kw_only=True)
class Control:
    """What the same procedure gives where it must fail.

    Attributes:
        name: which control.
        value: its mean score; None where it cannot be run.
        interval: over its repetitions.
        n: repetitions.
        reason: why it cannot be run.
    """

    name: str
    value: float | None = None
    interval: Interval | None = None
    n: int = 0
    reason: str = ""

    def passed_by(self, low: float) -> bool | None:
        """Whether a score whose interval starts at `low` lies above the control's; None where it was not run."""
        return None if self.value is None or self.interval is None else low > self.interval.high


def probing_agreement_score(indices: np.ndarray) -> Score:
    """Mean chance-corrected reading over the variables; a constant reading counts as chance."""

    def score(explanation: Explanation, model: ModelUnderStudy) -> float:
        readings = probing_agreement(explanation, model, indices).values()
        scores = [0.0 if np.isnan(each.score) else each.score for each in readings]
        return float(np.mean(scores)) if scores else float("nan")

    return score


def causal_score(bases: np.ndarray, sources: np.ndarray) -> Score:
    """Mean success of interchange interventions over the variables."""

    def score(explanation: Explanation, model: ModelUnderStudy) -> float:
        return mean_score(interchange(explanation, model, bases, sources))

    return score


def run_controls(explanation: Explanation, score: Score, *, repeats: int, seed: int) -> tuple[Control, ...]:
    """The three controls of a score.

    Args:
        explanation: the one under test.
        score: of an explanation on a model.
        repeats: networks and permutations.
        seed: of their draws.

    Returns:
        Random weights, permuted site and unrestricted map, each with its values or the reason why it was not run.
    """
    model = explanation.phenomenon.model
    networks = [model.randomised(seed + i) for i in range(repeats)]
    drawn = [each for each in networks if each is not None]
    permuted = [permute_sites(explanation, np.random.default_rng(seed + i)) for i in range(repeats)]
    elsewhere = [each for each in permuted if each is not None]
    memorising = with_map(explanation, "memorise")
    fit = explanation.phenomenon.fit_indices
    return (
        _control(
            "random weights", [score(explanation, each) for each in drawn], "the model has no weights to draw"
        ),
        _control(
            "permuted site",
            [score(each, model) for each in elsewhere],
            "the model has no other place of that size",
        ),
        _control(
            "unrestricted map",
            [score(memorising, each) for each in drawn] if len(fit) else [],
            "the phenomenon has no fit split for such a map",
        ),
    )


def discriminates(explanation: Explanation, low: float, controls: Sequence[Control]) -> bool | None:
    """Whether a score stands out from its controls; None where no control could be run.

    The unrestricted map counts against an explanation only if its own map is of that kind.

    Returns:
        True, False, or None.
    """
    free = any(isinstance(a.read, str) and not MAPS[a.read].restricted for a in explanation.aligned.values())
    counted = [each.passed_by(low) for each in controls if each.name != "unrestricted map" or free]
    known = [each for each in counted if each is not None]
    return all(known) if known else None


def with_map(explanation: Explanation, name: str) -> Explanation:
    """The explanation with every map replaced by a fitted one of a class."""

    def changed(alignment: Alignment) -> Alignment:
        return replace(alignment, read=name, write=None) if alignment.read is not None else alignment

    return _realigned(explanation, {name_: changed(each) for name_, each in explanation.aligned.items()})


def permute_sites(explanation: Explanation, generator: np.random.Generator) -> Explanation | None:
    """The explanation with each variable aligned to other components drawn at random, as many as it had.

    An oblique subspace is replaced by a random one at the same site. None where a variable has nowhere else to go.

    Returns:
        The explanation, or None where there is nothing to permute.
    """
    phenomenon = explanation.phenomenon
    model = phenomenon.model
    widths = {
        site: np.shape(value)[1] for site, value in model.trace(phenomenon.inputs[:1], model.sites).items()
    }
    moved = {}
    for name, each in explanation.aligned.items():
        subspace = None if each.subspace is None else np.asarray(each.subspace)
        if subspace is not None and subspace.ndim == 2:
            basis = np.linalg.qr(generator.normal(size=subspace.shape))[0]
            moved[name] = replace(each, subspace=basis)
            continue
        own = set(range(widths[each.site])) if subspace is None else set(subspace.tolist())
        size = len(own)
        free = {
            site: [i for i in range(width) if site != each.site or i not in own]
            for site, width in widths.items()
        }
        places = [site for site, left in free.items() if len(left) >= size]
        if not places:
            return None
        site = places[generator.integers(len(places))]
        chosen = np.sort(generator.choice(free[site], size=size, replace=False))
        moved[name] = replace(each, site=site, subspace=chosen)
    return _realigned(explanation, moved)


def _realigned(explanation: Explanation, alignments: dict[str, Alignment]) -> Explanation:
    variables = {
        name: replace(each, alignment=alignments.get(name, each.alignment))
        for name, each in explanation.variables.items()
    }
    return replace(explanation, variables=variables)


def _control(name: str, scores: list[float], reason: str) -> Control:
    found = np.array([each for each in scores if not np.isnan(each)])
    if len(found) == 0:
        return Control(name=name, reason=reason)
    interval = student_interval(found) if len(found) > 1 else None
    return Control(name=name, value=float(found.mean()), interval=interval, n=len(found))
