"""A card in three sentences: whether it holds, how much of the inside it says, and how simple it is."""

from __future__ import annotations

from collections.abc import Mapping

from aitia.explanations.card.conditions import (
    MECHANISTIC,
    PREDICTIVE,
    Condition,
    causal_refutations,
    observational_refutations,
)
from aitia.explanations.core.result import Status, VirtueResult
from aitia.explanations.core.settings import Settings


def sentences(
    standing: str, gate: tuple[Condition, ...], results: Mapping[str, VirtueResult], settings: Settings
) -> tuple[str, str, str]:
    """Three sentences on an explanation, from its results.

    Args:
        standing: what the gate makes of it.
        gate: the four conditions.
        results: by the virtue's name.
        settings: how it was judged.

    Returns:
        True, refuted or trivial; how much of the inside; how simple.
    """
    return _truth(standing, gate, results, settings), _inside(results), _simplicity(results)


def _truth(
    standing: str, gate: tuple[Condition, ...], results: Mapping[str, VirtueResult], settings: Settings
) -> str:
    right = results["fidelity"].value or 0.0
    if standing == MECHANISTIC:
        return "No test refutes it, and interventions come out as it says where answers alone would not tell."
    if standing == PREDICTIVE:
        return f"It claims nothing of the inside; of the answers {right:.1%} are as it says."
    refuted = observational_refutations(results, settings) + causal_refutations(results, settings)
    if refuted:
        return f"It is refuted: {refuted[0]}."
    if results["informativeness"].discriminating is not True:
        return "It is not told apart from the trivial: what it predicts of interventions follows from answers alone."
    missing = ", ".join(each.name for each in gate if each.met is not True)
    return f"It is neither shown nor refuted; not met or not decided: {missing}."


def _inside(results: Mapping[str, VirtueResult]) -> str:
    found = results["informativeness"]
    if found.value is None:
        return "Of the inside it says nothing that could be tested."
    share = found.details["share_of_room"]
    if share is None:
        return "Of the inside it says nothing: at its places answers alone leave nothing open."
    places = len(found.details["counted"])
    return (
        f"Of the inside it says {found.value:.2f} bits beyond the trivial, {share:.0%} of what answers leave open at "
        f"its {places} place{'s' if places > 1 else ''}."
    )


def _simplicity(results: Mapping[str, VirtueResult]) -> str:
    found = results["description-length"]
    if found.value is None:
        return "How long it is cannot be said."
    how = "by its own word" if found.status == Status.DECLARED else "with its code and data"
    held = results["state-distinctions"]
    states = (
        f", and tells {held.details['shown'] + held.details['held']} of {held.n} pairs of states apart that are there"
        if held.value is not None
        else ""
    )
    return f"It is {found.value:,.0f} bits long {how}{states}."
