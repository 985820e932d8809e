"""Everything that a scorecard depends on besides the explanation: kept in one place, and printed on the card."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from aitia.errors import ExplanationError
from aitia.files import digest


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How explanations are judged.

    Attributes:
        epsilon: share of the uniform mixed into predictions before their logarithm is taken.
        delta: an outcome of at most this probability is forbidden.
        tolerance: the loss of skill or interchange-intervention accuracy below which a change makes no difference.
        mechanism: share of interventions that must come out as the explanation says, for the causal condition.
        level: of confidence intervals.
        alpha: level at which a mutated model refutes an explanation.
        interventions: most interchange interventions a variable; all pairs are made where they are fewer.
        controls: networks of random weights, and permuted sites, that each score is held against.
        mutants: mutated models.
        variants: most variants of an explanation for hard-to-vary.
        joint_draws: draws for a joint entropy that cannot be summed.
        resamples: of the bootstrap.
        seed: of everything random.
    """

    epsilon: float = 1e-3
    delta: float = 0.01
    tolerance: float = 0.02
    mechanism: float = 0.9
    level: float = 0.95
    alpha: float = 0.05
    interventions: int = 1024
    controls: int = 8
    mutants: int = 16
    variants: int = 64
    joint_draws: int = 2000
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epsilon", "delta", "tolerance"):
            if not 0 <= getattr(self, name) < 1:
                raise ExplanationError(f"{name} {getattr(self, name)}: must be from 0 to below 1")
        for name in ("mechanism", "level", "alpha"):
            if not 0 < getattr(self, name) < 1:
                raise ExplanationError(f"{name} {getattr(self, name)}: must lie between 0 and 1")
        if min(self.interventions, self.joint_draws, self.resamples) < 2:
            raise ExplanationError("interventions, joint_draws and resamples must be at least 2")

    @property
    def fingerprint(self) -> str:
        """Digest of all settings."""
        return digest(asdict(self))
