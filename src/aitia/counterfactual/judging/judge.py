"""Judges: how far does a response show the behaviour? One number from 0 to 1 for each.

A judge is anything with `scores`; the two here are a classifier that works offline
(`classifier_judge.py`) and a language model behind an endpoint (`endpoint_judge.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from aitia.errors import JudgeError


class Judge(Protocol):
    """Something that grades responses."""

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """Grade responses.

        Args:
            prompts: n texts.
            responses: n texts, the answers to them.

        Returns:
            [n] float64 in [0, 1], 1 for the behaviour; NaN where the judge gave no usable answer.

        Raises:
            JudgeError: the two differ in number, or the judge cannot be believed.
        """
        ...


def require_pairs(prompts: Sequence[str], responses: Sequence[str]) -> None:
    """Refuse lists that do not belong together.

    Raises:
        JudgeError: the two differ in number.
    """
    if len(prompts) != len(responses):
        raise JudgeError(
            f"{len(prompts)} prompts, but {len(responses)} responses: give one prompt for each response"
        )
