"""The persona recipe: let the model itself write the texts that a contrast is fitted to.

Source: persona vectors (Chen et al. 2025). Each question is asked twice, once under a system prompt
that calls for the trait and once under one that calls for its opposite; the model's responses are
traced without the system prompt's influence on the masks: only response tokens count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from aitia.concepts.concept import Concept
from aitia.concepts.directions import DEFAULT_RECIPE
from aitia.concepts.fitting import fit_concept
from aitia.engine import note, progress_bar
from aitia.errors import ConceptError
from aitia.models import LanguageModel, generate_responses
from aitia.records import Records, records_from_rows

Judge = Callable[[str, str], float]
"""Maps (question, response) to how strongly the response shows the trait, 0 to 100."""


def fit_persona(
    model: LanguageModel,
    *,
    positive_systems: Sequence[str],
    negative_systems: Sequence[str],
    questions: Sequence[str],
    name: str = "persona",
    judge: Judge | None = None,
    recipe: str = DEFAULT_RECIPE,
    sites: Sequence[str] | None = None,
    rollouts: int = 1,
    max_new_tokens: int = 96,
    temperature: float = 1.0,
    seed: int = 0,
) -> Concept:
    """Generate responses under opposite system prompts and fit a concept to them.

    Args:
        model: must have a chat template that takes a system turn.
        positive_systems: system prompts that call for the trait; each is used with every question.
        negative_systems: system prompts that call for its opposite.
        questions: the user turns.
        name: for people.
        judge: keeps positive responses that score at least 50 and negative ones under 50; default: all.
        recipe: see `fit_concept`.
        sites: where to look; default: all sites.
        rollouts: responses per question and system prompt.
        max_new_tokens: longest response.
        temperature: of the sampling.
        seed: of sampling and fitting.

    Returns:
        The concept, as `fit_concept` makes it.

    Raises:
        ConceptError: no response is left on a side: all were empty, or the judge took none.
    """
    positive, negative = (
        persona_responses(
            model,
            systems,
            questions,
            rollouts=rollouts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed + side,
        )
        for side, systems in enumerate((positive_systems, negative_systems))
    )
    if judge is not None:
        positive = [
            row
            for row in positive
            if judge(row["messages"][1]["content"], row["messages"][2]["content"]) >= 50
        ]
        negative = [
            row
            for row in negative
            if judge(row["messages"][1]["content"], row["messages"][2]["content"]) < 50
        ]
    if not positive or not negative:
        raise ConceptError(
            f"{len(positive)} positive and {len(negative)} negative responses are left to fit to; "
            "try stronger system prompts or more rollouts"
        )
    return fit_concept(
        model, _as_records(positive), _as_records(negative), name=name, recipe=recipe, sites=sites, seed=seed
    )


def persona_responses(
    model: LanguageModel,
    systems: Sequence[str],
    questions: Sequence[str],
    *,
    rollouts: int = 1,
    max_new_tokens: int = 96,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """What the model itself says to questions under system prompts: the texts that `fit_persona` fits to.

    Args:
        model: must have a chat template that takes a system turn.
        systems: system prompts; each is used with every question.
        questions: the user turns.
        rollouts: responses per question and system prompt.
        max_new_tokens: longest response.
        temperature: of the sampling.
        seed: of the sampling.

    Returns:
        Rows with `messages`: system, user and assistant. Empty responses are left out, and noted.
    """
    conversations = [
        [{"role": "system", "content": system}, {"role": "user", "content": question}]
        for system in systems
        for question in questions
        for _ in range(rollouts)
    ]
    prompts = [
        model.tokenizer.apply_chat_template(
            conversation, add_generation_prompt=True, return_dict=True, return_tensors="np"
        )["input_ids"][0]
        for conversation in conversations
    ]
    with progress_bar("Generating responses", len(prompts), unit="responses") as advance:
        responses = generate_responses(
            model,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            seed=seed,
            on_batch=advance,
        )
    rows: list[dict[str, Any]] = []
    for conversation, response in zip(conversations, responses, strict=True):
        text = model.tokenizer.decode(response, skip_special_tokens=True).strip()
        if text:
            rows.append({"messages": [*conversation, {"role": "assistant", "content": text}]})
    if len(rows) < len(responses):
        note(f"{len(responses) - len(rows)} of {len(responses)} responses were empty and are left out")
    return rows


def _as_records(rows: list[dict]) -> Records:
    return records_from_rows(rows, name="generated responses")
