"""Preferences: pairs of a chosen and a rejected answer, and answers that are marked as wanted or unwanted."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import takewhile
from typing import Any

from aitia.errors import RecordError
from aitia.records.record import Message
from aitia.records.shapes.columns import (
    filled,
    require_no_template_columns,
    require_response,
    with_template_columns,
)
from aitia.records.shapes.completions import PROMPT_COMPLETION, read_prompt_completion
from aitia.records.shapes.shape import Fields, Given, Shape
from aitia.records.templates.turns import parse_turns
from aitia.records.values import described, text_of

SIDES = ("chosen", "rejected")
_TALKS = ("messages", "conversations", "conversation")
_WORDS = {"true": True, "false": False}


def _read_pair(given: Given) -> Fields:
    beside = next((name for name in _TALKS if given.get(name)), None)
    if beside is not None:
        raise RecordError(
            f"has `{beside}` beside `chosen` and `rejected`; name it `prompt` if it is what both answer, or leave it "
            "out"
        )
    sides = [given[name] for name in SIDES]
    turns = [isinstance(side, list | tuple | Mapping) for side in sides]
    if turns[0] != turns[1]:
        raise RecordError("one of `chosen` and `rejected` is a string and the other turns; give both alike")
    return _turns(given) if turns[0] else _strings(given)


def _strings(given: Given) -> Fields:
    chosen, rejected = (filled(given[name], name) for name in SIDES)
    if chosen == rejected:
        raise _equal()
    prompt = given.get("prompt")
    if prompt is None:
        prompt = _shared_text(chosen, rejected)
        chosen, rejected = chosen[len(prompt) :], rejected[len(prompt) :]
        if not chosen.strip() or not rejected.strip():
            raise RecordError(
                "one of `chosen` and `rejected` begins with all of the other, so it is not known where the prompt "
                "ends; give the `prompt`"
            )
    elif not isinstance(prompt, str):
        raise RecordError(
            "`prompt` is a list of turns, but `chosen` and `rejected` are strings; give all three as turns"
        )
    require_no_template_columns(given, "a prompt in a string")
    fields = {"prompt": text_of(prompt, "`prompt`"), "completion": chosen, "rejected": rejected}
    return {"prompt", *SIDES} & given.keys(), fields


def _shared_text(one: str, other: str) -> str:
    """What both begin with, without a space at its end: where TRL's `extract_prompt` cuts."""
    pairs = zip(one, other, strict=False)
    shared = one[: sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))]
    return shared[:-1] if shared.endswith(" ") else shared


def _turns(given: Given) -> Fields:
    chosen, rejected = (
        parse_turns([given[name]] if isinstance(given[name], Mapping) else given[name], name)
        for name in SIDES
    )
    prompt = given.get("prompt")
    if isinstance(prompt, list | tuple):
        before = parse_turns(prompt, "prompt")
    else:
        before = tuple(
            one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(chosen, rejected, strict=False))
        )
        chosen, rejected = chosen[len(before) :], rejected[len(before) :]
        if isinstance(prompt, str):
            before = _with_prompt(before, prompt)
    if chosen == rejected:
        raise _equal()
    require_response(chosen, "`chosen`: ")
    require_response(rejected, "`rejected`: ")
    used, fields = with_template_columns(given, before + chosen, len(before))
    return used | ({"prompt", *SIDES} & given.keys()), fields | {"rejected": rejected}


def _with_prompt(before: tuple[Message, ...], prompt: str) -> tuple[Message, ...]:
    """The turns of the prompt, which a string beside them may only repeat, or be where there are none."""
    if not before:
        return (Message("user", prompt),)
    asked = [message.content for message in before if message.role == "user"]
    if prompt.strip() not in (asked[0].strip() if asked else "", asked[-1].strip() if asked else ""):
        raise RecordError(
            "`prompt` is not what the turns say with which `chosen` and `rejected` begin; leave one of them out"
        )
    return before


def _equal() -> RecordError:
    return RecordError(
        "`chosen` and `rejected` say the same, so the pair prefers nothing; mend one of them, or take the row out"
    )


def _read_unpaired(given: Given) -> Fields:
    label = _truth(given["label"])
    if label is None:
        raise RecordError(f"`label` must be true or false, not {described(given['label'])}")
    used, fields = read_prompt_completion(given)
    return used | {"label"}, fields | {"desirable": label}


def _truth(value: Any) -> bool | None:
    """True or false, also as NumPy has it, or as the word that a table without types holds."""
    if isinstance(value, str):
        return _WORDS.get(value.strip().lower())
    return bool(value) if type(value).__name__ in ("bool", "bool_") else None


PREFERENCE = Shape(
    name="preference",
    title="preference pairs (chosen/rejected)",
    needs="`chosen` with `rejected`, perhaps `prompt`",
    fits=lambda given: set(SIDES) <= given.keys(),
    read=_read_pair,
)
KTO = Shape(
    name="kto",
    title="answers marked as wanted or unwanted (prompt/completion/label)",
    needs="`prompt` with `completion` and a `label` that is true or false",
    fits=lambda given: PROMPT_COMPLETION.fits(given) and _truth(given.get("label")) is not None,
    read=_read_unpaired,
)


def one_side(fields: dict[str, Any], side: str) -> dict[str, Any]:
    """The fields of a pair's record as those of one side alone.

    Args:
        fields: of the pair.
        side: `chosen` or `rejected`.

    Returns:
        The fields of a record without preference.
    """
    alone = dict(fields)
    rejected = alone.pop("rejected")
    if side == "chosen":
        return alone
    if isinstance(rejected, str):
        return alone | {"completion": rejected}
    return alone | {"messages": (*alone["messages"][: alone.get("context", 0)], *rejected)}
