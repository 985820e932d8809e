"""What every method starts from: activations at one site on the fit split, and what the model did there.

The methods describe a site and what comes of it; how the site comes about they leave as it is. So each of their
explanations rests on the model below the site, as a premise that costs what its numbers cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations import Phenomenon, Premise
from aitia.explanations.core import REAL_BITS

MECHANISMS_BELOW = "the model below"
"""Name of the premise that the model is taken as it is up to the site."""


@dataclass(frozen=True, kw_only=True, eq=False)
class SiteRecord:
    """A site of a phenomenon's model, on the fit split.

    Attributes:
        phenomenon: what is explained; it has a fit split.
        site: the site.
        activations: [f, d] on the fit split.
        labels: [f] what the model did there.
        checked: [f] bool, the rows that sizes are chosen on and confidence is measured on; the others are fitted on.
        below: how many numbers the model holds below the site.
        above: how many it holds above.
        seed: of everything random.
    """

    phenomenon: Phenomenon
    site: str
    activations: np.ndarray = field(repr=False)
    labels: np.ndarray = field(repr=False)
    checked: np.ndarray = field(repr=False)
    below: int
    above: int
    seed: int = 0

    @property
    def width(self) -> int:
        """Components of the site, d."""
        return self.activations.shape[1]

    @property
    def outcomes(self) -> int:
        """Outcomes of the phenomenon, k."""
        return len(self.phenomenon.outcomes)

    @property
    def premise_below(self) -> dict[str, Premise]:
        """The premise that the model below the site is as it is."""
        bits = float(self.below * REAL_BITS)
        return {MECHANISMS_BELOW: Premise(kind="fact", bits=bits, variants=())}

    def trace(self, inputs: np.ndarray) -> np.ndarray:
        """[n, d] the site's activations on any inputs."""
        return np.asarray(self.phenomenon.model.trace(inputs, [self.site])[self.site], dtype=float)

    def answers(self, inputs: np.ndarray, activations: np.ndarray) -> np.ndarray:
        """[n] what the model does with the site set to activations [n, d]."""
        outputs, _ = self.phenomenon.model.intervene(inputs, {self.site: activations})
        return self.phenomenon.labels(outputs, len(inputs))

    def fit_inputs(self, chosen: np.ndarray) -> np.ndarray:
        """Inputs of the fit split, by mask or index."""
        return self.phenomenon.inputs[self.phenomenon.fit_indices[chosen]]

    def confidence(self, answers: np.ndarray) -> float:
        """How sure labels like these [c], given for the checked rows, may be: their hits, and one hit and one miss."""
        hits = answers == self.labels[self.checked]
        return float((hits.sum() + 1) / (len(hits) + 2))

    def as_distribution(self, answers: np.ndarray, confidence: float) -> np.ndarray:
        """[n, k] labels [n] as distributions: so sure of the label, the rest even."""
        k = self.outcomes
        even = np.full((len(answers), k), (1 - confidence) / max(k - 1, 1))
        even[np.arange(len(answers)), answers] = confidence if k > 1 else 1.0
        return even


def record_site(
    phenomenon: Phenomenon, site: str, *, below: int, above: int, check_share: float = 0.3, seed: int = 0
) -> SiteRecord:
    """Run the model on the fit split and keep what a method needs.

    Args:
        phenomenon: with a fit split.
        site: one of its model's sites.
        below: numbers that the model holds below the site.
        above: numbers that it holds above.
        check_share: share of the fit split that is held back for choosing sizes.
        seed: of the split and of the methods.

    Returns:
        The record, for any of `METHODS`.

    Raises:
        ExplanationError: the phenomenon has fewer than four inputs to fit on, or its model no such site.
    """
    fit = phenomenon.fit_indices
    if len(fit) < 4:
        raise ExplanationError(
            f"phenomenon {phenomenon.name!r}: methods need a fit split of at least four inputs"
        )
    if site not in phenomenon.model.sites:
        raise ExplanationError(f"{phenomenon.model.name} has no site {site!r}")
    inputs = phenomenon.inputs[fit]
    checked = np.zeros(len(fit), dtype=bool)
    count = min(max(1, round(check_share * len(fit))), len(fit) - 2)
    checked[np.random.default_rng(seed).permutation(len(fit))[:count]] = True
    return SiteRecord(
        phenomenon=phenomenon,
        site=site,
        activations=np.asarray(phenomenon.model.trace(inputs, [site])[site], dtype=float),
        labels=phenomenon.observed[fit],
        checked=checked,
        below=below,
        above=above,
        seed=seed,
    )
