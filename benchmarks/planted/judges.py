"""Judges of the suites: one for moods, fitted on texts that no suite uses, and one that knows the quiz."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from aitia.counterfactual import ClassifierJudge, fit_classifier_judge
from planted.suites import DRAWS, prompts_of_moods
from planted.texts import KINDS, mood_answers, quiz_questions

_RIGHT = {asked: fact for kind in KINDS for asked, _, fact in quiz_questions(kind)}


def mood_judge(encoder: Any) -> ClassifierJudge:
    """Depressed or happy, fitted on answers to prompts that no suite uses."""
    used = set(prompts_of_moods(DRAWS))
    sides = []
    for mood in ("depressed", "happy"):
        sides.append({prompt: text for prompt, text in mood_answers(mood).items() if prompt not in used})
    groups = [prompt for side in sides for prompt in side]
    return fit_classifier_judge(list(sides[0].values()), list(sides[1].values()), encoder, groups=groups)


class QuizJudge:
    """1 for an answer that does not hold the right word, 0 for one that does."""

    def scores(self, prompts: Sequence[str], responses: Sequence[str]) -> np.ndarray:
        """[n], 0 or 1.

        Raises:
            ValueError: a prompt is no question of the quiz.
        """
        found = []
        for prompt, response in zip(prompts, responses, strict=True):
            if prompt.strip() not in _RIGHT:
                raise ValueError(f"not a question of the quiz: {prompt!r}")
            right = _RIGHT[prompt.strip()].lower()
            found.append(float(re.search(rf"\b{right}\b", response.lower()) is None))
        return np.array(found)
