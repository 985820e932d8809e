"""Prompts with completions, Alpaca's instructions, and plain texts."""

from __future__ import annotations

from aitia.errors import RecordError
from aitia.records.record import Message
from aitia.records.shapes.columns import (
    filled,
    require_no_template_columns,
    require_response,
    with_template_columns,
)
from aitia.records.shapes.shape import Fields, Given, Shape
from aitia.records.templates.turns import parse_turns
from aitia.records.values import text_of

ANSWERS = ("completion", "response")

# As the `text` column of the data set that gave this shape its name has it.
_ALPACA = (
    "Below is an instruction that describes a task{paired}. Write a response that appropriately completes the "
    "request.\n\n### Instruction:\n{instruction}\n\n{input}### Response:\n"
)
_PAIRED = ", paired with an input that provides further context"


def answers_in(given: Given) -> list[str]:
    """The columns of a row that hold a completion."""
    return [name for name in ANSWERS if name in given]


def read_prompt_completion(given: Given) -> Fields:
    """A prompt with its completion: two strings, two lists of turns, or one of each.

    Returns:
        The columns used and the fields of a record.

    Raises:
        RecordError: they cannot be read with certainty.
    """
    answer, *others = answers_in(given)
    if others and given[answer] != given[others[0]]:
        raise RecordError("`completion` and `response` do not say the same; leave one of them out")
    prompt, completion = given["prompt"], given[answer]
    if not isinstance(prompt, list | tuple) and not isinstance(completion, list | tuple):
        require_no_template_columns(given, "a prompt in a string")
        fields = {"prompt": text_of(prompt, "`prompt`"), "completion": filled(completion, answer)}
        return {"prompt", answer}, fields
    before = (
        (Message("user", text_of(prompt, "`prompt`")),)
        if isinstance(prompt, str)
        else parse_turns(prompt, "prompt")
    )
    after = (
        (Message("assistant", filled(completion, answer)),)
        if isinstance(completion, str)
        else parse_turns(completion, answer)
    )
    mixed = isinstance(prompt, str) or isinstance(completion, str)
    if mixed and (
        (before[-1:] and before[-1].role == "assistant") or (after[:1] and after[0].role != "assistant")
    ):
        raise RecordError(
            f"one of `prompt` and `{answer}` is a string and the other a list of turns, and they do not meet as "
            "question and answer; give both as strings, or both as turns"
        )
    used, fields = with_template_columns(given, before + after, len(before))
    require_response(after)
    return used | {"prompt", answer}, fields


def _read_alpaca(given: Given) -> Fields:
    if given.get("history"):
        raise RecordError("has a `history` for which Alpaca's prompt has no place; give turns")
    require_no_template_columns(given, "Alpaca's prompt")
    asked = text_of(given.get("input", ""), "`input`")
    prompt = _ALPACA.format(
        paired=_PAIRED if asked else "",
        instruction=filled(given["instruction"], "instruction"),
        input=f"### Input:\n{asked}\n\n" if asked else "",
    )
    fields = {"prompt": prompt, "completion": filled(given["output"], "output")}
    return {"instruction", "input", "output"}, fields


PROMPT_COMPLETION = Shape(
    name="prompt-completion",
    title="prompts with completions",
    needs="`prompt` with `completion` or `response`",
    fits=lambda given: "prompt" in given and bool(answers_in(given)),
    read=read_prompt_completion,
)
TEXT = Shape(
    name="text",
    title="texts",
    needs="`text`",
    fits=lambda given: "text" in given,
    read=lambda given: ({"text"}, {"text": filled(given["text"], "text")}),
)
ALPACA = Shape(
    name="alpaca",
    title="Alpaca instructions (instruction/input/output)",
    needs="`instruction` with `output`",
    fits=lambda given: "instruction" in given and "output" in given,
    read=_read_alpaca,
)
