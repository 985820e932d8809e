"""Sets of prompts that must not meet: those a concept is fitted to, those asked about, those measured.

A concept fitted to the very prompts that it is measured on finds what it was fitted to.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from aitia.errors import AitiaError
from aitia.records import Record, Records, read_records, records_from_rows, shorten
from aitia.remote_files import local_copy

UNANSWERED = "…"
"""Stands in the place of a response where a file has prompts alone; it is never measured or trained on."""


def shared_question(one: Sequence[Records], other: Sequence[Records]) -> tuple[Record, Record] | None:
    """The first two rows, one a side, that ask the same; letter case and white space do not tell questions apart."""
    asked = {_key(record): record for records in reversed(one) for record in records}
    for records in other:
        for record in records:
            if record.question and _key(record) in asked:
                return asked[_key(record)], record
    return None


def require_disjoint_prompts(sets: Mapping[str, Sequence[Records]]) -> None:
    """Refuse sets of texts that share a prompt.

    Args:
        sets: what the texts are for -> the texts.

    Raises:
        AitiaError: naming a shared prompt, both its places, and both uses.
    """
    for (name, one), (other_name, other) in combinations(sets.items(), 2):
        found = shared_question(one, other)
        if found is not None:
            first, second = found
            raise AitiaError(
                f"the prompt {shorten(first.question)} stands both among the texts to {name} ({first.location}) "
                f"and among those to {other_name} ({second.location}); fit, ask and measure on different prompts"
            )


def read_prompts(path: Path | str) -> Records:
    """Read rows whose responses do not matter: they may lack one.

    Beside the forms of `read_records`, lines of JSON may hold `messages` that end with a turn of the user, or
    `prompt` alone (a text, to be gone on with as it stands).

    Returns:
        One record a prompt; its response may be empty.

    Raises:
        RecordError: as for `read_records`.
    """
    path = local_copy(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines() if path.suffix == ".jsonl" else []
        rows = [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError, RecursionError):
        rows = []
    if not any(_is_unanswered(row) for row in rows):
        return read_records(path, shape="mixed")
    answered = [_answered(row) if _is_unanswered(row) else row for row in rows]
    return records_from_rows(answered, name=path.name, shape="mixed")


def _key(record: Record) -> str:
    return " ".join(record.question.split()).casefold()


def _is_unanswered(row: Any) -> bool:
    if not isinstance(row, dict):
        return False
    turns = row.get("messages")
    if isinstance(turns, list) and turns:
        return isinstance(turns[-1], dict) and turns[-1].get("role") == "user"
    return isinstance(row.get("prompt"), str) and row.get("completion", row.get("response")) is None


def _answered(row: dict[str, Any]) -> dict[str, Any]:
    if isinstance(row.get("messages"), list):
        return row | {"messages": [*row["messages"], {"role": "assistant", "content": UNANSWERED}]}
    return row | {"completion": UNANSWERED}
