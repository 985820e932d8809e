"""Cutting records into tokens and marking, token by token, which belong to a response."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.errors import RecordError
from aitia.records.bad_rows import OnError, SkippedRow, settle_bad_rows
from aitia.records.collection import Records
from aitia.records.losses.reading import numbers_of, sides_of
from aitia.records.losses.registry import loss_of
from aitia.records.losses.settings import PLAIN, LossSettings
from aitia.records.record import Record
from aitia.records.templates.chat import ChatTemplate
from aitia.records.tokenized import PackedRecords, TokenizedRecord, TokenizedRecords

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class _Marked:
    """A text and its responses.

    Attributes:
        text: all of it.
        spans: the start and end character of each response; () where a prompt is given.
        plain: whether special tokens are still to be put around it.
        prompt: a text, from the first token on in which it differs all is response.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    plain: bool
    prompt: str | None = None


def tokenize(
    records: Records,
    tokenizer: PreTrainedTokenizerBase,
    *,
    max_length: int,
    truncate: bool = False,
    on_error: OnError = "stop",
    today: date | None = None,
    loss: LossSettings = PLAIN,
) -> TokenizedRecords:
    """Cut records into tokens and mark the responses.

    A conversation is written by the tokenizer's chat template and cut as one text; the assistant's turns,
    with their end-of-turn tokens, are responses, unless flags of theirs say otherwise. Prompt and completion
    are cut as one text too, with the tokenizer's special tokens before and its end token after it, or in turns
    by the chat template. The response begins at the first token that is not one of the prompt cut alone, as in TRL's
    `completion_only_loss`, and goes on to the end, the end token with it; a token that straddles the boundary belongs
    to it. Of a completion in turns with flags, it is the turns of the assistant. All of a text is response. (A
    tokenizer that does not give the place of its tokens cuts a prompt and its completion in strings apart.)

    Args:
        records: n records.
        tokenizer: of the model.
        max_length: longest row, in tokens.
        truncate: cut longer rows instead of refusing them.
        on_error: `stop` finds all rows that cannot be used and raises one error; `skip` leaves them out.
        today: the date for a chat template that asks what day it is; default: the day on which this process
            first needed one.
        loss: what training does with a row. Only with a loss that compares answers are preference pairs taken, each
            answer cut as a row of its own, and counted from the first token on in which either differs from the prompt
            (as TRL's `DPOTrainer` does); what else the loss reads is `TokenizedRecord.numbers`.

    Returns:
        Up to n records in tokens, in order.

    Raises:
        RecordError: a row is too long, is refused by the chat template or not written in full by it, begins
            with the token that the tokenizer itself puts first, or has no response token that the
            model would predict (the token at position 0 is never predicted); or there is no chat template; or the
            row is not of the shape that its loss takes, or lacks a number that the loss reads;
            or a setting of the loss would be passed over.
    """
    loss.require_read()
    bad: list[SkippedRow] = []
    template = ChatTemplate(tokenizer, today)
    done = PackedRecords(_usable(records, tokenizer, template, max_length, truncate, bad, loss))
    settle_bad_rows(records.name, bad, len(records), on_error)
    return TokenizedRecords(
        records=done, skipped=tuple(bad), today=template.today if template.dated else None, loss=loss
    )


def _usable(
    records: Records,
    tokenizer: PreTrainedTokenizerBase,
    template: ChatTemplate,
    max_length: int,
    truncate: bool,
    bad: list[SkippedRow],
    loss: LossSettings,
) -> Iterator[TokenizedRecord]:
    """The records that can be used, in tokens; the others go to `bad`."""
    source = iter(records)
    while chunk := list(islice(source, TEXTS_AT_ONCE)):
        sides = [_sides(record, loss) for record in chunk]
        cut = iter(_tokenize_chunk([each for part in sides for each in part], tokenizer, template))
        for record, part in zip(chunk, sides, strict=True):
            results = [next(cut) for _ in part]
            try:
                sides_of(record, loss)  # once more, for the reason why there are none
                made = [
                    _made(side, result, max_length, truncate, name if len(part) > 1 else "")
                    for side, result, name in zip(part, results, loss_of(loss).sides, strict=True)
                ]
                first, *others = _begun_alike(made)
                for other in others:
                    _require_apart(first, other)
                yield replace(
                    first, rejected=next(iter(others), None), numbers=numbers_of(record, loss, made)
                )
            except RecordError as error:
                bad.append(SkippedRow(record.location, str(error), record.row))


def _sides(record: Record, loss: LossSettings) -> tuple[Record, ...]:
    """The answers that a record's loss compares, each as a record; () where it is not of the loss's shape."""
    try:
        return sides_of(record, loss)
    except RecordError:
        return ()


def _made(
    record: Record,
    result: tuple[np.ndarray, np.ndarray] | RecordError,
    max_length: int,
    truncate: bool,
    side: str,
) -> TokenizedRecord:
    try:
        if isinstance(result, RecordError):
            raise result
        tokens, response = _fit(*result, max_length, truncate)
    except RecordError as error:
        if not side:
            raise
        raise RecordError(f"`{side}`: {error}") from error
    return TokenizedRecord(
        id=record.id, row=record.row, location=record.location, tokens=tokens, response=response
    )


def _begun_alike(made: list[TokenizedRecord]) -> list[TokenizedRecord]:
    """Answers to one prompt, all from the first token on in which one of them is not the prompt, as in TRL's DPO."""
    starts = [int(np.flatnonzero(each.response)[0]) for each in made]
    first = min(starts)
    if max(starts) == first or not all(
        each.response[start:].all() for each, start in zip(made, starts, strict=True)
    ):
        return made
    return [replace(each, response=np.arange(len(each.tokens)) >= first) for each in made]


def _require_apart(one: TokenizedRecord, other: TokenizedRecord) -> None:
    if np.array_equal(one.tokens, other.tokens) and np.array_equal(one.response, other.response):
        raise RecordError(
            "`chosen` and `rejected` are the same tokens, perhaps since both were cut, so the pair prefers nothing; "
            "allow longer rows, or take the row out"
        )


def _fit(
    tokens: np.ndarray, response: np.ndarray, max_length: int, truncate: bool
) -> tuple[np.ndarray, np.ndarray]:
    """A row's tokens and mask, cut to the length if wanted, once there is something to learn from them."""
    length = len(tokens)
    if length > max_length and not truncate:
        raise RecordError(
            f"{length} tokens, longer than the {max_length} allowed; shorten it, or have it cut: `truncate`"
        )
    tokens, response = tokens[:max_length], response[:max_length]
    if not response[1:].any():
        if length > max_length:
            raise RecordError(
                f"cut at {max_length} of {length} tokens, no response is left; shorten the prompt"
            )
        raise RecordError("no response token has a token before it, so none would ever be predicted")
    return tokens, response


def _tokenize_chunk(
    chunk: Sequence[Record], tokenizer: PreTrainedTokenizerBase, template: ChatTemplate
) -> list[tuple[np.ndarray, np.ndarray] | RecordError]:
    results: list[Any] = [_mark(record, tokenizer, template) for record in chunk]
    cut = _cut_whole if tokenizer.is_fast else _cut_apart
    end: Any = tokenizer.eos_token_id
    front = _front_tokens(tokenizer)
    for plain in (True, False):
        chosen = [i for i, part in enumerate(results) if isinstance(part, _Marked) and part.plain == plain]
        if not chosen:
            continue
        parts = [results[i] for i in chosen]
        for i, (tokens, response) in zip(chosen, cut(parts, tokenizer, plain), strict=True):
            if not plain:
                results[i] = tokens, response
            elif front and tokens[: len(front) + 1].tolist() == [*front, front[-1]]:
                results[i] = RecordError(
                    f"begins with {tokenizer.decode(front[-1:])!r}, which the tokenizer puts before a text as "
                    "well, so it would stand there twice (some trainers leave it so, some do not); take it "
                    "out of the text"
                )
            else:
                results[i] = _with_end(tokens, response, end)
    return results


def _mark(
    record: Record, tokenizer: PreTrainedTokenizerBase, template: ChatTemplate
) -> _Marked | RecordError:
    if record.messages is None:
        prompt, text = record.prompt or "", (record.prompt or "") + record.completion_text
        return _Marked(text, ((len(prompt), len(text)),), True, prompt or None)
    if not tokenizer.chat_template:
        raise RecordError(
            f"{record.location}: has messages, but the tokenizer has no chat template; give rows with prompt "
            "and completion, or a tokenizer whose chat_template is set"
        )
    try:
        if record.context and all(message.trained for message in record.messages[record.context :]):
            text, prompt = template.completion(record.messages, record.context, record.template_arguments)
            return _Marked(text, (), False, prompt)
        text, spans = template.responses(record.messages, record.context, record.template_arguments)
    except RecordError as error:
        return error
    return _Marked(text, tuple(spans), False)


def _cut_whole(
    parts: Sequence[_Marked], tokenizer: PreTrainedTokenizerBase, plain: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each text cut as one; the place of its tokens tells the responses."""
    encoded: Any = tokenizer(
        [part.text for part in parts],
        add_special_tokens=plain,
        return_offsets_mapping=True,
        return_special_tokens_mask=True,
        return_attention_mask=False,
        verbose=False,
    )
    columns = (encoded["input_ids"], encoded["offset_mapping"], encoded["special_tokens_mask"])
    prompts = iter(_prompt_tokens(parts, tokenizer, plain))
    for part, ids, offsets, added in zip(parts, *columns, strict=True):
        starts, ends = np.array(offsets, dtype=np.int64).reshape(-1, 2).T
        response = np.zeros(len(ids), dtype=bool)
        for start, end in part.spans if part.prompt is None else ():
            # Many tokenizers leave leading spaces out of a token's place, so that a token of spaces alone is
            # said to start where it ends; it counts by its end.
            response |= (ends > start) & ((starts < end) | (ends <= end))
            response |= _reaches_over(tokenizer, part.text, start, ids, ends)
        if part.prompt is not None:
            response[_shared(next(prompts), ids) :] = True
        last = len(ids)
        if plain:
            own = ~np.array(added, dtype=bool)
            # Without a prompt all is response, tokens that cover no character (a dummy first space) too.
            response = own & (response | (part.prompt is None))
            last = int(np.flatnonzero(own)[-1]) + 1 if own.any() else 0
        yield np.array(ids[:last], dtype=np.int32), response[:last]


def _prompt_tokens(
    parts: Sequence[_Marked], tokenizer: PreTrainedTokenizerBase, plain: bool
) -> list[list[int]]:
    """The tokens of the prompts that are given, each cut alone."""
    prompts = [part.prompt for part in parts if part.prompt is not None]
    if not prompts:
        return []
    encoded: Any = tokenizer(prompts, add_special_tokens=plain, return_attention_mask=False, verbose=False)
    return encoded["input_ids"]


def _shared(prompt: Sequence[int], whole: Sequence[int]) -> int:
    """How many tokens two rows of them begin with alike."""
    pairs = enumerate(zip(prompt, whole, strict=False))
    return next((place for place, (one, other) in pairs if one != other), min(len(prompt), len(whole)))


def _reaches_over(
    tokenizer: PreTrainedTokenizerBase, text: str, start: int, ids: Sequence[int], ends: np.ndarray
) -> np.ndarray:
    """Whether the token before a boundary reaches over it by spaces that its place leaves out. [t] bool."""
    reaches = np.zeros(len(ids), dtype=bool)
    before = np.flatnonzero(ends <= start)
    if len(before) and text[start : start + 1] == " ":
        end = int(ends[before[-1]])
        piece = str(tokenizer.convert_ids_to_tokens([ids[before[-1]]])[0])
        word = piece.rstrip("Ġ")
        left_out = bool(word) and end > 0 and text[end - 1] != " " and not text[end:start].strip(" ")
        reaches[before[-1]] = left_out and end + len(piece) - len(word) > start
    return reaches


def _cut_apart(
    parts: Sequence[_Marked], tokenizer: PreTrainedTokenizerBase, plain: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each text cut at the boundaries of its responses first."""
    front = _front_tokens(tokenizer) if plain else []
    for part in parts:
        if part.prompt is not None and not plain:
            ids = _ids(tokenizer, part.text)
            flags = np.arange(len(ids)) >= _shared(_ids(tokenizer, part.prompt), ids)
            yield np.array(ids, dtype=np.int32), flags
            continue
        pieces, flags = [front], [False]
        place = 0
        for start, end in part.spans:
            pieces += [_ids(tokenizer, part.text[place:start]), _ids(tokenizer, part.text[start:end])]
            flags += [False, True]
            place = end
        pieces.append(_ids(tokenizer, part.text[place:]))
        flags.append(False)
        tokens = np.array([token for piece in pieces for token in piece], dtype=np.int32)
        yield tokens, np.repeat(flags, [len(piece) for piece in pieces])


def _front_tokens(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """The special tokens that a tokenizer puts before a text."""
    bare, whole = _ids(tokenizer, "a"), _ids(tokenizer, "a", special=True)
    starts = (i for i in range(len(whole)) if whole[i : i + len(bare)] == bare)
    return whole[: next(starts, 0)]


def _ids(tokenizer: PreTrainedTokenizerBase, text: str, *, special: bool = False) -> list[int]:
    encoded: Any = tokenizer(text, add_special_tokens=special, verbose=False)
    return list(encoded["input_ids"])


def _with_end(tokens: np.ndarray, response: np.ndarray, end: int | None) -> tuple[np.ndarray, np.ndarray]:
    """The row with the end token after it, as a response token, unless it ends so already."""
    if end is None or (len(tokens) and tokens[-1] == end):
        return tokens, response
    return np.append(tokens, np.int32(end)), np.append(response, True)
