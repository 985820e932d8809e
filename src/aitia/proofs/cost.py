"""What checking costs, counted by rule and by the checker itself.

One operation is one addition, subtraction, multiplication, division, square root, absolute value, maximum, minimum
or comparison of two numbers, integers or not, or one integer read from a table to find a place (a look-up). Reading
numbers in order is free, as is what every verifier shares and brute force needs as well: checking the group table
and hashing the file. Everything that a verifier computes once for all inputs is counted. So is brute force.

This is the counting of Gross et al. 2024 (arXiv 2406.11779, floating-point and integer operations and branches),
with look-ups counted on top.
"""

from __future__ import annotations

from collections import Counter

FIXED = (
    "actions",
    "moved columns",
    "neurons left out",
    "remainder norms",
    "rounding bounds",
    "scaling and remainder",
    "shared sums",
    "stand-in",
    "set-up of votes",
)
"""Steps of the engine that are taken once, whatever the number of inputs."""


class Cost:
    """Operations so far, by step."""

    def __init__(self) -> None:
        self.steps: Counter[str] = Counter()

    def add(self, step: str, operations: int | float) -> None:
        """Count operations of a step."""
        self.steps[step] += int(operations)

    @property
    def total(self) -> int:
        """All operations."""
        return sum(self.steps.values())


def brute_force_cost(order: int, width: int, inputs: int | None = None) -> int:
    """Operations of brute force on so many inputs (all, if not said).

    An input: m additions and m maxima for the hidden layer, 2m for each of n logits with its bias, n - 1 comparisons,
    and one look-up of the right answer.

    Returns:
        The number of operations.
    """
    inputs = order**2 if inputs is None else inputs
    return inputs * (2 * width + 2 * width * order + order - 1 + 1)


def sorting_cost(items: int) -> int:
    """Comparisons that merge sort needs at most."""
    return items * max(items - 1, 0).bit_length()
