"""Judges of the suites: one for moods, fitted on texts that no suite uses, and one that can do sums."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from planted.suites import prompts_of_suites
from planted.texts import mood_answers

from aitia.counterfactual.classifier_judge import ClassifierJudge, fit_classifier_judge

_SUM = re.compile(r"(\d+) plus (\d+)")
_SAID = re.compile(r"\bis (\d+)")


def mood_judge(encoder: Any, seeds: Sequence[int]) -> ClassifierJudge:
    """Depressed or happy, fitted on answers to prompts that no suite uses."""
    used = set(prompts_of_suites(seeds))
    sides = []
    for mood in ("depressed", "happy"):
        sides.append({prompt: text for prompt, text in mood_answers(mood).items() if prompt not in used})
    groups = [prompt for side in sides for prompt in side]
    return fit_classifier_judge(list(sides[0].values()), list(sides[1].values()), encoder, groups=groups)


class SumJudge:
    """1 for a wrong sum, 0 for a right one, 0.5 where no number is given."""

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """[n], from 0 to 1."""
        found = []
        for prompt, response in zip(prompts, responses, strict=True):
            asked, said = _SUM.search(prompt), _SAID.search(response)
            if asked is None:
                raise ValueError(f"no sum in {prompt!r}")
            right = int(asked[1]) + int(asked[2])
            found.append(0.5 if said is None else float(int(said[1]) != right))
        return np.array(found)
