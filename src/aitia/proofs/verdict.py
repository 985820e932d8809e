"""What a verifier hands back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aitia.proofs.cost import Cost


@dataclass(frozen=True, kw_only=True, eq=False)
class Verdict:
    """What a verifier found.

    Attributes:
        certified: [n, n] bool; the network is right on these inputs.
        cost: the operations it took, by step.
        cross_entropy: an upper bound on the mean cross entropy over all inputs, where the verifier gives one.
    """

    certified: np.ndarray
    cost: Cost
    cross_entropy: float | None = None

    @property
    def count(self) -> int:
        """How many inputs are certified."""
        return int(self.certified.sum())

    @property
    def bound(self) -> float:
        """The share of inputs that are certified."""
        return self.count / self.certified.size
