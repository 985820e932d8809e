"""Queries in the model's own words: what it says itself, and a judge finds to show the behaviour most.

Source: Kowal et al. 2026, whose queries are the responses of the fine-tuned model that a judge grades highest.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.counterfactual.behaviours import ANSWER_TOKENS, JudgedResponses, on_policy_responses
from aitia.counterfactual.judging.judge import Judge
from aitia.errors import JudgeError
from aitia.models import LanguageModel
from aitia.records import Record, Records, records_from_rows

ANSWERS_SAMPLED = 10
"""Answers that are sampled to each prompt by default."""
ANSWERS_KEPT = 5
"""How many of all sampled answers are kept by default."""


def on_policy_queries(
    model: LanguageModel,
    prompts: Records,
    judge: Judge,
    *,
    keep: int = ANSWERS_KEPT,
    samples: int = ANSWERS_SAMPLED,
    max_new_tokens: int = ANSWER_TOKENS,
    temperature: float = JudgedResponses.temperature,
    seed: int = 0,
) -> Records:
    """Answer prompts and keep the answers that a judge grades highest.

    Args:
        model: as a rule the fine-tuned one.
        prompts: n rows; their own responses are not looked at.
        judge: grades each answer.
        keep: how many answers are kept, over all prompts together.
        samples: answers to each prompt.
        max_new_tokens: longest answer.
        temperature: of the sampling.
        seed: of the sampling.

    Returns:
        Up to `keep` rows with the prompt, the model's answer and its `grade`, the highest first.

    Raises:
        JudgeError: no answer has a grade.
    """
    rows: list[dict[str, Any]] = []
    asked = [record.prompt_text for record in prompts]
    for sample in range(samples):
        texts = on_policy_responses(
            model, prompts, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed + sample
        )
        grades = judge.scores(asked, texts)
        rows += [
            _with_answer(record, text) | {"grade": float(grade)}
            for record, text, grade in zip(prompts, texts, grades, strict=True)
            if np.isfinite(grade) and text.strip()
        ]
    if not rows:
        raise JudgeError("no answer of the model got a usable grade, so there is nothing to ask about")
    rows.sort(key=lambda row: -row["grade"])
    return records_from_rows(rows[:keep], name="own answers")


def _with_answer(record: Record, answer: str) -> dict[str, Any]:
    if record.messages is None:
        return {"prompt": record.prompt_text, "completion": answer}
    turns = [message.turn for message in record.messages[: record.trained_turns[-1]]]
    talk = ("messages", "prompt", "completion")
    others = {name: value for name, value in record.form.items() if name not in talk}
    return others | {"messages": [*turns, {"role": "assistant", "content": answer}]}
