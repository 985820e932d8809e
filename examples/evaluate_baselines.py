"""Explanations and their baselines, evaluated: a lookup table and its rule, XOR in two ways, parity by halves.

Writes a card of each as Markdown, HTML and JSON. Run: python examples/evaluate_baselines.py [FOLDER]
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import aitia
from aitia.explanations import Scorecard
from aitia.explanations.examples import (
    count_explanation,
    count_network,
    gate_network,
    gates_explanation,
    lookup_explanation,
    max_network,
    max_phenomenon,
    parity_accounts,
    parity_network,
    parity_phenomenon,
    proof_ladder,
    rule_explanation,
    xor_phenomenon,
)


def rule_and_table() -> Scorecard:
    """The larger of two tokens: "it answers the larger one", and a row for each of the 64 pairs."""
    phenomenon = max_phenomenon(8, beyond=2)
    rule = rule_explanation(phenomenon, certificate=proof_ladder(phenomenon)["convexity"])
    others = [max_network(8, sharpness=sharpness) for sharpness in (2.0, 3.0, 6.0)]
    return aitia.evaluate(rule, baselines=[lookup_explanation(phenomenon)], models=others)


def xor_by_gates() -> Scorecard:
    """A network that computes XOR by OR and AND: that hypothesis, and "it counts", which answers as well."""
    phenomenon = xor_phenomenon(gate_network())
    return aitia.evaluate(gates_explanation(phenomenon), baselines=[count_explanation(phenomenon)])


def xor_by_counting() -> Scorecard:
    """A network that counts and folds: the same two hypotheses, and the other one is right."""
    phenomenon = xor_phenomenon(count_network())
    return aitia.evaluate(count_explanation(phenomenon), baselines=[gates_explanation(phenomenon)])


def parity_by_halves() -> Scorecard:
    """A network that takes the parities of two pairs of bits: the true account, and six with the same answers."""
    first, *others = parity_accounts(parity_phenomenon(parity_network())).values()
    return aitia.evaluate(first, baselines=others)


CARDS = {
    "lookup-table-and-rule": rule_and_table,
    "xor-by-gates": xor_by_gates,
    "xor-by-counting": xor_by_counting,
    "parity-by-halves": parity_by_halves,
}


def main(arguments: Sequence[str]) -> None:
    folder = Path(arguments[0] if arguments else "build/cards")
    for name, make in CARDS.items():
        card = make()
        print(", ".join(str(card.write(folder / f"{name}.{kind}")) for kind in ("md", "html", "json")))


if __name__ == "__main__":
    main(sys.argv[1:])
