"""Mixed interventions: several variables are set at once, each to its value on an input of its own.

A swap of one variable leaves open whether what was swapped is a part of the mechanism or all of it. So each trial
takes a base, sets some of the other variables from sources of their own (the background), and then swaps one variable
more. What is asked is what that last swap does. The scheme is ours; interchange itself is Geiger et al.'s (2021).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from aitia.explanations.core.alignment import Alignment
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy

BACKGROUNDS = 4
"""How many sets of other variables, drawn at random, a swap is made before."""
SHARED = 0.5
"""Two parts of a site overlap where the cosine between them exceeds this, at its largest."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Swaps:
    """Swaps of one variable, t of them, alone and after others.

    Attributes:
        name: the variable.
        bases: [t] indices of the inputs that are run.
        sources: variable -> [t] indices of the inputs that its value comes from.
        sets: the variables that are set, the swapped one among them; one entry for each group of trials.
        group: [t] which entry of `sets` each trial belongs to.
        hints: [t, h] what is known without the explanation: the model's answer before the swap, its answers to the
            source, to the base, and to the source of the background that comes last in the model.
        answers: [t] the model's answers after the swap.
    """

    name: str
    bases: np.ndarray
    sources: Mapping[str, np.ndarray]
    sets: Sequence[tuple[str, ...]]
    group: np.ndarray
    hints: np.ndarray
    answers: np.ndarray

    @property
    def alone(self) -> np.ndarray:
        """[t] whether nothing but the variable was set."""
        return np.array([len(each) == 1 for each in self.sets])[self.group]


def overlap(first: Alignment, second: Alignment, width: int) -> bool:
    """Whether two alignments share a part of a site that has `width` components."""
    if first.site != second.site:
        return False
    cosines = np.linalg.svd(_basis(first, width).T @ _basis(second, width), compute_uv=False)
    return bool(cosines.max(initial=0.0) > SHARED)


def _basis(alignment: Alignment, width: int) -> np.ndarray:
    """[width, d] the aligned part as orthonormal columns."""
    if alignment.subspace is None:
        return np.eye(width)
    subspace = np.asarray(alignment.subspace)
    return np.eye(width)[:, subspace] if subspace.ndim == 1 else np.linalg.qr(subspace)[0]


def set_together(
    explanation: Explanation,
    model: ModelUnderStudy,
    bases: np.ndarray,
    sources: Mapping[str, np.ndarray],
    traced: Mapping[str, np.ndarray],
) -> np.ndarray:
    """The model's answers with several variables' places set at once.

    Sites are set in the order of `model.sites`. What of a site is not set stays as it comes out after the sites
    before it were set.

    Args:
        explanation: whose alignments.
        model: where.
        bases: [t] indices of the inputs that are run.
        sources: variable -> [t] indices of the inputs that its place takes its activations from.
        traced: site -> [n, width] activations on the whole domain.

    Returns:
        [t] labels.
    """
    phenomenon, aligned = explanation.phenomenon, explanation.aligned
    inputs = phenomenon.inputs[bases]
    values: dict[str, np.ndarray] = {}
    for site in model.sites:
        here = [name for name in sources if aligned[name].site == site]
        if not here:
            continue
        natural = model.intervene(inputs, values, [site])[1][site] if values else traced[site][bases]
        new = np.asarray(natural, dtype=float)
        for name in here:
            new = aligned[name].put(new, aligned[name].part(traced[site][sources[name]]))
        values[site] = new
    outputs = model.intervene(inputs, values)[0] if values else model.run(inputs)
    return phenomenon.labels(outputs, len(bases))


def swap_all(
    explanation: Explanation,
    model: ModelUnderStudy,
    indices: np.ndarray,
    givers: np.ndarray,
    *,
    mass: np.ndarray,
    count: int,
    seed: int,
) -> list[Swaps]:
    """Swaps of every aligned variable, half of them alone and half after random sets of the others.

    Variables whose places overlap are never set together.

    Args:
        explanation: whose variables.
        model: where.
        indices: [n] inputs of the domain that bases are drawn from, by `mass`.
        givers: [m] inputs that sources are drawn from, evenly.
        mass: [n] how much each base counts, summing to one.
        count: swaps of each variable.
        seed: of the draws.

    Returns:
        One entry for each aligned variable that the program computes.
    """
    phenomenon, aligned = explanation.phenomenon, explanation.aligned
    states = explanation.states(phenomenon.inputs)
    names = [name for name in aligned if name in states]
    if not names:
        return []
    sites = sorted({aligned[name].site for name in names})
    traced = {
        site: np.asarray(each, dtype=float) for site, each in model.trace(phenomenon.inputs, sites).items()
    }
    plain = phenomenon.observe(model, phenomenon.inputs)
    generator = np.random.default_rng(seed)
    return [
        _swaps(
            explanation,
            model,
            name,
            [
                other
                for other in names
                if other != name
                and not overlap(aligned[name], aligned[other], traced[aligned[name].site].shape[1])
            ],
            _Drawn(indices=indices, givers=givers, mass=mass, count=count, generator=generator),
            traced,
            plain,
        )
        for name in names
    ]


@dataclass(frozen=True, kw_only=True)
class _Drawn:
    indices: np.ndarray
    givers: np.ndarray
    mass: np.ndarray
    count: int
    generator: np.random.Generator

    def bases(self) -> np.ndarray:
        return self.generator.choice(self.indices, size=self.count, p=self.mass)

    def sources(self) -> np.ndarray:
        return self.generator.choice(self.givers, size=self.count)


def _swaps(
    explanation: Explanation,
    model: ModelUnderStudy,
    name: str,
    others: Sequence[str],
    drawn: _Drawn,
    traced: Mapping[str, np.ndarray],
    plain: np.ndarray,
) -> Swaps:
    """The swaps of one variable."""
    aligned, order = explanation.aligned, list(model.sites)
    backgrounds = [(), *_backgrounds(explanation, others, traced, drawn.generator)]
    bases = drawn.bases()
    sources = {each: drawn.sources() for each in (name, *others)}
    # Half of the trials are of the variable alone; the others are shared among the backgrounds.
    group = np.arange(drawn.count) % 2
    group = np.where(group == 0, 0, 1 + np.arange(drawn.count) // 2 % max(len(backgrounds) - 1, 1))
    group = np.minimum(group, len(backgrounds) - 1)
    before, after, last = plain[bases].copy(), np.zeros(drawn.count, dtype=int), sources[name].copy()
    for i, background in enumerate(backgrounds):
        rows = np.flatnonzero(group == i)
        if len(rows) == 0:
            continue
        given = {each: sources[each][rows] for each in background}
        if background:
            before[rows] = set_together(explanation, model, bases[rows], given, traced)
            downmost = max(background, key=lambda each: order.index(aligned[each].site))
            last[rows] = sources[downmost][rows]
        after[rows] = set_together(
            explanation, model, bases[rows], given | {name: sources[name][rows]}, traced
        )
    return Swaps(
        name=name,
        bases=bases,
        sources=sources,
        sets=[(*background, name) for background in backgrounds],
        group=group,
        hints=np.stack([before, plain[sources[name]], plain[bases], plain[last]], axis=1),
        answers=after,
    )


def _backgrounds(
    explanation: Explanation,
    others: Sequence[str],
    traced: Mapping[str, np.ndarray],
    generator: np.random.Generator,
) -> list[tuple[str, ...]]:
    """Random sets of other variables, none empty, whose places do not overlap."""
    aligned = explanation.aligned
    found: dict[tuple[str, ...], None] = {}
    for _ in range(BACKGROUNDS if others else 0):
        wanted = [each for each in generator.permutation(others) if generator.random() < 0.5]
        kept: list[str] = []
        for each in wanted or [str(generator.choice(others))]:
            width = traced[aligned[each].site].shape[1]
            if not any(overlap(aligned[each], aligned[other], width) for other in kept):
                kept.append(str(each))
        found[tuple(sorted(kept))] = None
    return list(found)
