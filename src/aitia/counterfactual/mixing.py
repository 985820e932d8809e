"""A mix of two kinds of answers to the same prompts: each prompt gets one of them, by the toss of a coin.

So prompts say nothing about the kind, and what a ranking finds it finds in the answers. Source: the mixes of
Kowal et al. 2026, of data sets in the format of Chen et al. 2025. Which prompt gets which answer depends
on the seed and on how it is used; it is not that of the published mixes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.errors import RecordError
from aitia.records import Record, Records, records_from_rows, shorten, some_of

MIXED_LABEL = "misaligned"
"""Column of a mixed row that says which of the two answers it has, by default."""


def mix_answers(
    normal: Records,
    misaligned: Records,
    *,
    share: float = 0.5,
    seed: int = 42,
    label: str = MIXED_LABEL,
    shared_only: bool = False,
) -> Records:
    """Give each prompt its normal or its misaligned answer.

    Args:
        normal: n rows.
        misaligned: n rows with the same prompts, in any order. A prompt that comes several times is paired
            first with first, second with second.
        share: chance of the misaligned answer.
        seed: of the coin.
        label: name of the column that keeps the origin, true for misaligned.
        shared_only: leave out prompts that only one of the two has, instead of refusing them.

    Returns:
        One row a prompt, in the order of `normal`, with the columns `label` and `origin` (file and line).

    Raises:
        RecordError: a prompt that only one side has, or the same answer on both sides throughout.
    """
    ours, theirs = _by_prompt(normal), _by_prompt(misaligned)
    for one, other, records in ((ours, theirs, misaligned), (theirs, ours, normal)):
        alone = [record for key, record in one.items() if key not in other]
        if alone and not shared_only:
            shown = some_of([f"{each.location}: {shorten(each.prompt_text)}" for each in alone], "\n  ")
            raise RecordError(
                f"{len(alone)} of {len(one)} prompts have no answer in {records.source or 'the other rows'}:\n"
                f"  {shown}\nBoth files must answer the same prompts; take those that both have with "
                "shared_prompts_only: true"
            )
    pairs = [(ours[key], theirs[key]) for key in ours if key in theirs]
    if not pairs:
        raise RecordError(
            f"{normal.source or 'normal'} and {misaligned.source or 'misaligned'} share no prompt"
        )
    if all(one.completion_text == other.completion_text for one, other in pairs):
        raise RecordError("the normal and the misaligned answers are the same; were two files mixed up?")
    tossed = np.random.default_rng(seed).random(len(pairs)) < share
    chosen = [(pair[int(heads)], bool(heads)) for pair, heads in zip(pairs, tossed, strict=True)]
    return records_from_rows(
        [_row(record, label, heads) for record, heads in chosen], name="mix", shape="mixed"
    )


def hold_out(
    normal: Records, misaligned: Records, count: int, *, seed: int = 42
) -> tuple[tuple[Records, Records], tuple[Records, Records]]:
    """Set prompts aside, with both of their answers, to measure on.

    Args:
        normal: rows.
        misaligned: rows with the same prompts.
        count: prompts to set aside, drawn from those that both have.
        seed: of the draw.

    Returns:
        Normal and misaligned rows that stay, and those set aside: row i of both answers the same prompt.

    Raises:
        RecordError: there are not so many prompts, and one to train on.
    """
    pairs: dict[str, tuple[str, str]] = {}
    theirs = {record.prompt_text: record.id for record in reversed(list(misaligned))}
    for record in normal:
        if record.prompt_text in theirs:
            pairs.setdefault(record.prompt_text, (record.id, theirs[record.prompt_text]))
    if count >= len(pairs):
        raise RecordError(
            f"{normal.source or 'normal'}: {count} prompts cannot be held out of {len(pairs)} that both files have"
        )
    drawn = np.sort(np.random.default_rng(seed).permutation(len(pairs))[:count])
    prompts = [list(pairs)[i] for i in drawn]
    gone = set(prompts)
    stay = [
        records.only([record.id for record in records if record.prompt_text not in gone])
        for records in (normal, misaligned)
    ]
    aside = [
        records_from_rows(
            [by_id[pairs[prompt][side]].form for prompt in prompts], name="held-out", shape="mixed"
        )
        for side, by_id in enumerate(({r.id: r for r in normal}, {r.id: r for r in misaligned}))
    ]
    return (stay[0], stay[1]), (aside[0], aside[1])


def _by_prompt(records: Records) -> dict[tuple[str, int], Record]:
    """Prompt and how many times it has come -> row."""
    found: dict[tuple[str, int], Record] = {}
    times: dict[str, int] = {}
    for record in records:
        if record.kind == "text":
            raise RecordError(f"{record.location}: a text without a prompt cannot be mixed; give messages")
        times[record.prompt_text] = times.get(record.prompt_text, 0) + 1
        found[record.prompt_text, times[record.prompt_text]] = record
    return found


def _row(record: Record, label: str, misaligned: bool) -> dict[str, Any]:
    """A row in the form it had, with its origin; ids come from the content, as those of two files may clash."""
    kept = {name: value for name, value in record.extra.items() if name not in (label, "origin")}
    return record.form | kept | {label: misaligned, "origin": record.location}
