"""From records to token ids, with a mask that says of each token whether it is part of a response.

The whole row is tokenised as one text, as in training, and the boundary is found by the characters
that each token covers: a token is part of a response when it ends inside it. A token that straddles
the boundary holds part of the response and so counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from aitia.records.parsing import RowProblem
from aitia.records.reading import OnError, check_on_error, stop_or_skip
from aitia.records.record import Record, Records, SkippedRow

_CHUNK = 1000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenizedRecord:
    """A record as the model sees it.

    Attributes:
        id: of the record.
        row: of the record.
        location: of the record.
        tokens: [t] int32.
        response: [t] bool, true for tokens of a response, its end-of-turn token among them.
    """

    id: str
    row: int
    location: str
    tokens: np.ndarray
    response: np.ndarray


class TokenizedRecords(tuple[TokenizedRecord, ...]):
    """Tokenised records in order, with the rows that were left out in `skipped`."""

    skipped: tuple[SkippedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class _Rendered:
    """A row as one text, with the character spans of its responses."""

    text: str
    spans: tuple[tuple[int, int], ...]
    templated: bool


def tokenize(
    records: Records | Sequence[Record],
    tokenizer: Any,
    *,
    max_length: int,
    truncate: bool = False,
    on_error: OnError = "stop",
) -> TokenizedRecords:
    """Tokenise records and mark their response tokens.

    Conversations go through the tokenizer's chat template. A completion, and a text, is followed by the
    end-of-sequence token, where the tokenizer has one, as in supervised fine-tuning.

    Args:
        records: n records.
        tokenizer: of the model.
        max_length: longest row, in tokens.
        truncate: cut longer rows at the end instead of refusing them.
        on_error: `stop` or `skip`, for rows that are too long or cannot be rendered.

    Returns:
        Up to n tokenised records, in order.

    Raises:
        RecordError: with `stop`, naming the rows.
    """
    check_on_error(on_error)
    kept: list[TokenizedRecord] = []
    problems: list[SkippedRow] = []
    for start in range(0, len(records), _CHUNK):
        chunk = list(records[start : start + _CHUNK])
        rendered: list[tuple[Record, _Rendered]] = []
        for record in chunk:
            try:
                rendered.append((record, _render(record, tokenizer)))
            except RowProblem as problem:
                problems.append(SkippedRow(location=record.location, reason=str(problem)))
        for (record, _), (tokens, response) in zip(
            rendered, _encode([row for _, row in rendered], tokenizer), strict=True
        ):
            try:
                kept.append(_checked(record, tokens, response, max_length, truncate))
            except RowProblem as problem:
                problems.append(SkippedRow(location=record.location, reason=str(problem)))
    found = TokenizedRecords(kept)
    name = str(getattr(records, "source", None) or "records")
    found.skipped = stop_or_skip(problems, on_error, name)
    return found


def _checked(
    record: Record,
    tokens: list[int],
    response: list[bool],
    max_length: int,
    truncate: bool,
) -> TokenizedRecord:
    if len(tokens) > max_length:
        if not truncate:
            raise RowProblem(f"{len(tokens)} tokens, longer than the {max_length} allowed")
        tokens, response = tokens[:max_length], response[:max_length]
    if not any(response[1:]):
        cut = f" within its first {max_length} tokens" if len(tokens) == max_length else ""
        raise RowProblem(f"no response token to predict{cut}")
    return TokenizedRecord(
        id=record.id,
        row=record.row,
        location=record.location,
        tokens=np.array(tokens, dtype=np.int32),
        response=np.array(response, dtype=bool),
    )


def _render(record: Record, tokenizer: Any) -> _Rendered:
    if record.messages is not None:
        return _render_conversation(record, tokenizer)
    prompt = record.prompt or ""
    text = prompt + record.completion_text
    end = tokenizer.eos_token or ""
    if end and not text.endswith(end):
        text += end
    return _Rendered(text, ((len(prompt), len(text)),), False)


def _render_conversation(record: Record, tokenizer: Any) -> _Rendered:
    from jinja2.exceptions import TemplateError

    if not getattr(tokenizer, "chat_template", None):
        raise RowProblem(
            "a conversation, but the tokenizer has no chat template; give prompt and completion instead"
        )
    assert record.messages is not None
    turns = [{"role": message.role, "content": message.content} for message in record.messages]
    last = max(i for i, turn in enumerate(turns) if turn["role"] == "assistant")
    turns = turns[: last + 1]

    def render(messages: list[dict[str, str]], prompt: bool) -> str:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)

    try:
        text = render(turns, False)
        spans = []
        for i, turn in enumerate(turns):
            if turn["role"] != "assistant":
                continue
            before, after = render(turns[:i], True) if i else "", render(turns[: i + 1], False)
            if not text.startswith(before) or not text.startswith(after):
                raise RowProblem(
                    "the chat template rewrites earlier turns once later ones follow, so the response of "
                    f"turn {i + 1} cannot be found; split the conversation into one row per response"
                )
            spans.append((len(before), _span_end(after, turn["content"])))
    except TemplateError as error:
        raise RowProblem(f"the chat template refuses it: {error}") from error
    return _Rendered(text, tuple(spans), True)


def _span_end(after: str, content: str) -> int:
    """Where a turn ends: after its end-of-turn token, before the whitespace that a template puts between turns."""
    stripped = after.rstrip()
    return len(after) if stripped.endswith(content.rstrip()) and not content.isspace() else len(stripped)


def _encode(rows: list[_Rendered], tokenizer: Any) -> list[tuple[list[int], list[bool]]]:
    if not rows:
        return []
    if not getattr(tokenizer, "is_fast", False):
        return [_encode_by_parts(row, tokenizer) for row in rows]
    found: list[Any] = [None] * len(rows)
    for templated in (True, False):
        chosen = [i for i, row in enumerate(rows) if row.templated == templated]
        if not chosen:
            continue
        encoded = tokenizer(
            [rows[i].text for i in chosen],
            add_special_tokens=not templated,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
            return_attention_mask=False,
            verbose=False,
        )
        for place, i in enumerate(chosen):
            offsets = encoded["offset_mapping"][place]
            tokens = list(encoded["input_ids"][place])
            response = [
                end > start and any(first < end <= stop for first, stop in rows[i].spans)
                for start, end in offsets
            ]
            found[i] = _without_double_end(tokens, response, tokenizer, offsets)
    return found


def _without_double_end(
    tokens: list[int], response: list[bool], tokenizer: Any, offsets: list[tuple[int, int]]
) -> tuple[list[int], list[bool]]:
    """Tokenizers that append an end token of their own would give a row two."""
    end = tokenizer.eos_token_id
    if len(tokens) > 1 and tokens[-1] == tokens[-2] == end and offsets[-1][0] == offsets[-1][1]:
        return tokens[:-1], response[:-1]
    return tokens, response


def _encode_by_parts(row: _Rendered, tokenizer: Any) -> tuple[list[int], list[bool]]:
    """Without offsets, tokenise prompt and responses apart and join them."""
    tokens: list[int] = []
    response: list[bool] = []
    cursor = 0
    for start, end in [*row.spans, (len(row.text), len(row.text))]:
        for text, inside in ((row.text[cursor:start], False), (row.text[start:end], True)):
            if not text and not (cursor == 0 and not inside and not row.templated):
                continue
            special = not row.templated and not inside and not tokens
            part = tokenizer.encode(text, add_special_tokens=False)
            if special:
                part = tokenizer.build_inputs_with_special_tokens(part)
                if part and part[-1] == tokenizer.eos_token_id:
                    part = part[:-1]
            tokens += part
            response += [inside] * len(part)
        cursor = end
    return tokens, response
