"""Variants of an explanation, for the hard-to-vary test: the kernel is declared here, and is ours.

Each premise is moved to its alternatives (numbers by one step or 10 %, truth values negated), or dropped where the
program copes without it; two variables with as many values are swapped; a variable is read in another's place; two
outcomes are swapped. A program that merely reads a premise stops without it, which says nothing of its value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations, permutations
from typing import Any

import numpy as np

from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.taps import Tap, TappedFunction, run_tapped

UNSAYABLE = (ArithmeticError, LookupError, TypeError, ValueError)
"""What a program raises where a premise's other value makes no sense in it; such a variant is left out."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Variant:
    """An explanation with one thing changed.

    Attributes:
        change: what was changed.
        explanation: the result.
        structural: whether only its structure was changed; such a change may turn out to be notational.
    """

    change: str
    explanation: Explanation
    structural: bool


def variants(explanation: Explanation, *, limit: int, seed: int) -> list[Variant]:
    """All variants of the kernel, or `limit` of them drawn at random."""
    found = [each for name in explanation.premises for each in premise_variants(explanation, name)]
    sizes = {name: each.values for name, each in explanation.variables.items()}
    for first, second in combinations(sizes, 2):
        if sizes[first] == sizes[second]:
            found.append(
                _restructured(explanation, {first: second, second: first}, f"swap {first} and {second}")
            )
    for first, second in permutations(sizes, 2):
        if sizes[first] == sizes[second]:
            found.append(_restructured(explanation, {first: second}, f"read {second} for {first}"))
    k = len(explanation.phenomenon.outcomes)
    found += [_swapped_outcomes(explanation, i, (i + 1) % k) for i in range(k if k > 2 else k - 1)]
    if len(found) > limit:
        chosen = np.sort(np.random.default_rng(seed).choice(len(found), size=limit, replace=False))
        found = [found[i] for i in chosen]
    return found


def premise_variants(explanation: Explanation, name: str) -> list[Variant]:
    """One premise changed: dropped where the program copes without it, and moved to each of its alternatives."""
    premise = explanation.premises[name]
    found = []
    copes = not explanation.stops_without(name)
    if copes:
        found.append(Variant(change=f"drop {name}", explanation=explanation.without(name), structural=False))
    # Where a program asks whether a premise is there, the premise's truth value says nothing more.
    said = isinstance(premise.value, bool | np.bool_) and copes
    return found + [
        Variant(
            change=f"move {name} to {value!r}"[:120],
            explanation=explanation.with_values(**{name: value}),
            structural=False,
        )
        for value in premise.alternatives[1 if said else 0 :]
    ]


def is_notational(variant: Explanation, original: Explanation) -> bool:
    """Whether two explanations have the same predictions and states on the whole domain."""
    inputs = original.phenomenon.inputs
    (first, states), (second, others) = original.run(inputs), variant.run(inputs)
    same = np.array_equal(first, second, equal_nan=True) and states.keys() == others.keys()
    return same and all(np.array_equal(states[name], others[name]) for name in states)


def _restructured(explanation: Explanation, reads: Mapping[str, str], change: str) -> Variant:
    """Each key of `reads` takes the value that its variable has in the original."""
    original: TappedFunction = explanation.program

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> Any:
        _, states = run_tapped(original, premises, inputs)
        return original(
            premises,
            inputs,
            lambda name, value: variable(name, states[reads[name]] if name in reads else value),
        )

    changed = replace(explanation, program=program, code=explanation.source + change)
    return Variant(change=change, explanation=changed, structural=True)


def _swapped_outcomes(explanation: Explanation, first: int, second: int) -> Variant:
    original: TappedFunction = explanation.program

    def program(premises: Mapping[str, Any], inputs: np.ndarray, variable: Tap) -> Any:
        answer = np.array(original(premises, inputs, variable))
        if answer.ndim == 1:
            return np.where(answer == first, second, np.where(answer == second, first, answer))
        answer[:, [first, second]] = answer[:, [second, first]]
        return answer

    names = explanation.phenomenon.outcomes
    change = f"swap outcomes {names[first]} and {names[second]}"
    changed = replace(explanation, program=program, code=explanation.source + change)
    return Variant(change=change, explanation=changed, structural=True)
