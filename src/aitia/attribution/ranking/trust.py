"""What speaks against a ranking: controls that order the rows alike, scorers that disagree, a saturated AUC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from aitia.attribution.ranking.controls import Control, ControlKind
from aitia.attribution.scorers.registry import find_scorer
from aitia.concepts import SATURATED_AUC, Concept
from aitia.statistics import spearman_matrix

ALIKE = 0.5
"""|Spearman| with the ranking from which a null direction orders the rows alike: a quarter of the ranks' variance."""
BEYOND = 0.2
"""|Spearman| under which controls are no cause for a word, however far they are beyond matched ones."""
DISAGREE = 0.1
"""Mean Spearman of scorers under which they do not tell the same story (as in the shift diagnostic)."""
FEWEST_ROWS = 50
"""Of fewer rows no rank correlation says enough."""


def trust_warnings(
    method: str, scores: Mapping[str, np.ndarray], controls: Sequence[Control], concept: Concept
) -> list[str]:
    """All that speaks against a ranking, in sentences with figures and the mend.

    Args:
        method: the scorer that decides the order.
        scores: scorer -> [n].
        controls: the method on null directions.
        concept: what was asked.

    Returns:
        Sentences; none where nothing was seen.
    """
    found = [saturated(concept)]
    if len(scores[method]) >= FEWEST_ROWS:
        found += [controls_order_alike(scores[method], controls), scorers_disagree(method, scores)]
    return [each for each in found if each is not None]


def controls_order_alike(score: np.ndarray, controls: Sequence[Control]) -> str | None:
    """Whether null directions order the rows as a ranking does.

    They do where more than a tenth of the controls of a kind reach a |Spearman| of 0.5 with it. Shuffled labels also do
    where half of them go beyond all matched directions: then the recipe finds an order in the texts without their
    labels. The rule is ours.

    Args:
        score: [n] of the ranking.
        controls: of it.

    Returns:
        A warning, or none.
    """
    if not controls:
        return None
    sizes = np.abs(spearman_matrix([score, *(control.scores for control in controls)])[0, 1:])
    by_kind = {
        kind: sizes[[control.kind is kind for control in controls]]
        for kind in ControlKind
        if any(control.kind is kind for control in controls)
    }
    counts = {kind: int((each >= ALIKE).sum()) for kind, each in by_kind.items()}
    alike = [kind for kind, each in by_kind.items() if counts[kind] > len(each) / 10]
    mend = (
        "The ranking may be about these rows and not about the concept. Rank by whitened-projection-difference, "
        "which divides large dimensions out, fit the concept to texts that differ in nothing else, and hold the "
        "ranking against labelled rows (`aitia evaluate-ranking`) before you remove any."
    )
    if alike:
        shown = " and ".join(
            f"{counts[kind]} of {len(by_kind[kind])} ({kind.value}; largest {np.nanmax(by_kind[kind]):.2f})"
            for kind in alike
        )
        return (
            f"Controls order the rows much as the concept does: |Spearman| with the ranking is {ALIKE} or more for "
            f"{shown}. {mend}"
        )
    shuffled, matched = (by_kind.get(kind) for kind in (ControlKind.SHUFFLED, ControlKind.MATCHED))
    if shuffled is None or matched is None or min(len(shuffled), len(matched)) < 4:
        return None
    middle, most = float(np.nanmedian(shuffled)), float(np.nanmax(matched))
    if middle > max(most, BEYOND):
        return (
            "Directions fitted to shuffled labels order the rows as the concept does, beyond what null directions "
            f"give: half of them reach a |Spearman| of {middle:.2f}, the largest of {len(matched)} matched directions "
            f"{most:.2f}. {mend}"
        )
    return None


def scorers_disagree(method: str, scores: Mapping[str, np.ndarray]) -> str | None:
    """Whether scorers that ask about the same concept give orders that have nothing to do with each other.

    Args:
        method: the scorer that decides the order.
        scores: scorer -> [n]; baselines, and scorers through which no direction goes, are passed over.

    Returns:
        A warning, or none.
    """
    names = [name for name in scores if name == method or _asks_the_concept(name)]
    if len(names) < 3 or not _asks_the_concept(method):
        return None
    others = [name for name in names if name != method]
    agreement = spearman_matrix([scores[method], *(scores[name] for name in others)])[0, 1:]
    agreement = agreement[np.isfinite(agreement)]
    if not len(agreement) or agreement.mean() >= DISAGREE:
        return None
    return (
        f"The scorers disagree: {method} has a mean Spearman correlation of {agreement.mean():.2f} with the "
        f"{len(agreement)} other scorers of this concept (from {agreement.min():.2f} to {agreement.max():.2f}). They "
        "ask the same question, and nothing here says which of them is right. Trust none before you have held them "
        "against labelled rows (`aitia evaluate-ranking`) or trained again without the top rows "
        "(`aitia counterfactual`)."
    )


def saturated(concept: Concept) -> str | None:
    """Whether the held-out AUC says nothing about the site: at least half of the sites that were tried reach .99.

    Args:
        concept: with its held-out figures.

    Returns:
        A warning, or none.
    """
    separation = concept.separation
    if separation is None or len(separation.auc_by_site) < 2:
        return None
    sites = [site for site, auc in separation.auc_by_site.items() if auc >= SATURATED_AUC]
    if len(sites) < 2 or 2 * len(sites) < len(separation.auc_by_site):
        return None
    tried = len(separation.auc_by_site)
    return (
        f"The concept's held-out AUC is {SATURATED_AUC} or more at {len(sites)} of {tried} sites, so it says nothing "
        "about which site to take, nor whether the direction is the behaviour and not something else in which the "
        f"texts differ. {concept.site} was taken for its effect size. Rank at other sites too, and measure the "
        "direction on look-alikes: texts of both sides that differ in the behaviour alone."
    )


def _asks_the_concept(name: str) -> bool:
    scorer = find_scorer(name)
    return scorer.through_concept and not scorer.baseline
