"""The rows that another trainer runs over, known by what they say, and matched with the user's data.

Only the inputs of the model say for certain what a step was made of: samplers, workers and collators are the trainer's
own, and columns that the model does not take are removed on the way. So a row is known by its tokens and by which of
them are predicted, a preference pair by those of both answers. Rows that are equal in all of this do the same to a
training; the data's places of such rows take turns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.errors import AitiaError, RecordError
from aitia.records import TokenizedRecord, TokenizedRecords
from aitia.records.losses import PLAIN, REFERENCES, LossSettings, loss_of

IGNORED = -100
"""The label of a token that is not predicted, in transformers and TRL."""

_USED = {"input_ids", "attention_mask", "labels"}
_HARMLESS = {"use_cache", "fused_lm_head", "num_items_in_batch", "return_dict"}
_REFERENCES = ("ref_chosen_logps", "ref_rejected_logps")
"""What TRL's collator of pairs hands on of a reference model that was asked before training."""
_PACKED = {"position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "seq_idx", "seq_lengths", "shift_labels"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenRow:
    """A row as a trainer gives it to the model.

    Attributes:
        tokens: [t] int32, without pads.
        predicted: [t] bool, True where the loss counts the token; never at position 0.
        rejected: of a preference pair, the other answer.
        references: log-probabilities of the answers by the reference model, where the batch holds them.
    """

    tokens: np.ndarray
    predicted: np.ndarray
    rejected: GivenRow | None = None
    references: tuple[float, ...] = ()

    @property
    def sides(self) -> tuple[GivenRow, ...]:
        """The answers that the loss compares."""
        return (self,) if self.rejected is None else (self, self.rejected)

    @property
    def key(self) -> Key:
        """What the row is to a training."""
        return (
            tuple(side.tokens.tobytes() for side in self.sides),
            tuple(side.predicted.tobytes() for side in self.sides),
        )


Key = tuple[tuple[bytes, ...], tuple[bytes, ...]]
"""Tokens of each side, and which of them are predicted."""


def given_rows(inputs: Mapping[str, Any], loss: LossSettings = PLAIN) -> list[GivenRow]:
    """The rows of a batch, from what the model is called with, or from what a collator makes.

    Args:
        inputs: of the model; of a loss that compares answers, all chosen ones and then all rejected ones, as TRL has
            them, with `labels` or a `completion_mask`.
        loss: of the rows.

    Returns:
        The rows, in order.

    Raises:
        AitiaError: it is no batch of the loss whose rows stand apart, padded on the right.
    """
    count = len(loss_of(loss).sides)
    if count == 1:
        return _single_rows(inputs)
    inputs, references = _without_references(inputs)
    rows = _single_rows(inputs)
    if len(rows) % count:
        raise AitiaError(f"recording: a batch has {len(rows)} answers, which are not those of whole pairs")
    size = len(rows) // count
    return [
        replace(rows[place], rejected=rows[size + place], references=tuple(found))
        for place, found in enumerate(references or [()] * size)
    ]


def _without_references(inputs: Mapping[str, Any]) -> tuple[dict[str, Any], list[list[float]]]:
    """A batch of pairs with labels, and the log-probabilities by the reference model that it holds, [b][2]."""
    found = dict(inputs)
    columns = [found.pop(name, None) for name in _REFERENCES]
    mask = found.pop("completion_mask", None)
    if mask is not None and "input_ids" in found:
        found["labels"] = found["input_ids"].masked_fill(mask == 0, IGNORED)
    if any(each is None for each in columns):
        return found, []
    return found, np.stack([each.detach().cpu().double().numpy() for each in columns], axis=1).tolist()


def _single_rows(inputs: Mapping[str, Any]) -> list[GivenRow]:
    names = {name for name, value in inputs.items() if value is not None and value is not False}
    if packed := sorted(names & _PACKED):
        raise AitiaError(
            f"recording: the batches have `{packed[0]}`: rows are packed together; switch packing and padding_free "
            "off"
        )
    if lacking := sorted({"input_ids", "labels"} - names):
        raise AitiaError(
            f"recording: the batches have no `{lacking[0]}`; only supervised fine-tuning with the model's "
            "cross-entropy, and DPO with TRL's own collator, can be recorded"
        )
    if others := sorted(names - _USED - _HARMLESS):
        raise AitiaError(
            f"recording: the model gets `{others[0]}` besides tokens and labels, which a replay does not know"
        )
    tokens, labels = (np.asarray(inputs[name].detach().cpu()) for name in ("input_ids", "labels"))
    if tokens.shape != labels.shape or tokens.ndim != 2:
        raise AitiaError(
            f"recording: labels of shape {labels.shape} for tokens of shape {tokens.shape}; give a label for each token"
        )
    attention = inputs.get("attention_mask")
    real = np.ones(tokens.shape, bool) if attention is None else np.asarray(attention.detach().cpu()) != 0
    return [_given_row(*each) for each in zip(tokens, labels, real, strict=True)]


def _given_row(tokens: np.ndarray, labels: np.ndarray, real: np.ndarray) -> GivenRow:
    length = int(real.sum())
    if not real[:length].all():
        raise AitiaError(
            "recording: rows are padded on the left; set the tokenizer's padding_side to 'right'"
        )
    predicted = labels != IGNORED
    if predicted[length:].any():
        raise AitiaError("recording: the loss counts pads; give them the label -100")
    wrong = predicted[:length] & (labels[:length] != tokens[:length])
    if wrong[1:].any():
        raise AitiaError(
            "recording: labels are other tokens than those of the rows; only the prediction of a row's own tokens can "
            "be replayed"
        )
    predicted = predicted[:length].copy()
    predicted[:1] = False
    return GivenRow(tokens=tokens[:length].astype(np.int32), predicted=predicted)


def rows_of_loader(loader: Any, loss: LossSettings = PLAIN) -> Iterator[GivenRow]:
    """Every row of a trainer's data set, collated alone.

    Args:
        loader: of the trainer.
        loss: of the rows.

    Yields:
        The rows, in order.

    Raises:
        AitiaError: a data set whose rows cannot be counted, or a row that is not collated to one row.
    """
    dataset = getattr(loader, "dataset", None)
    if dataset is None or not hasattr(dataset, "__len__") or not hasattr(dataset, "__getitem__"):
        raise AitiaError("recording: the train dataset is a stream; give one whose rows can be counted")
    for place in range(len(dataset)):
        try:
            found = given_rows(loader.collate_fn([dataset[place]]), loss)
        except AitiaError as error:
            raise AitiaError(f"{error} (row {place} of the train dataset)") from error
        if len(found) != 1:
            raise AitiaError(f"recording: the data collator makes {len(found)} rows of row {place}")
        yield found[0]


def match_rows(data: TokenizedRecords, given: Sequence[GivenRow]) -> TokenizedRecords:
    """The data with the masks that the trainer uses, once each row of either is found in the other.

    Args:
        data: n rows, with the masks of `aitia.records.tokenize`.
        given: the n rows of the trainer, in any order.

    Returns:
        The data, with the trainer's masks, and with the log-probabilities by the reference model that it holds.

    Raises:
        RecordError: a row of one is not in the other as often, or the masks of a pair differ; the first is named.
    """
    places: dict[tuple[bytes, ...], list[int]] = defaultdict(list)
    twins: dict[tuple[bytes, ...], list[GivenRow]] = defaultdict(list)
    for place, row in enumerate(data):
        places[_key(row)[0]].append(place)
    for number, row in enumerate(given):
        if row.key[0] not in places:
            raise RecordError(_not_in_the_data(number, row, data))
        if not all(side.predicted.any() for side in row.sides):
            raise RecordError(
                f"row {number} of the train dataset: no token of it is predicted; leave it out of the training"
            )
        twins[row.key[0]].append(row)
    found = list(data)
    for tokens, where in places.items():
        theirs = twins[tokens]
        if len(theirs) != len(where):
            more = data[where[-1]]
            raise RecordError(
                f"{more.location}: the data have row {more.id!r} {len(where)} time(s), the train dataset "
                f"{len(theirs)} time(s); give RecordingCallback the rows that are trained on, no others"
            )
        for place, row in zip(where, theirs, strict=True):
            known = dict(zip(REFERENCES, row.references, strict=False))
            found[place] = replace(found[place], numbers={**found[place].numbers, **known})
        masks = [row.key[1] for row in theirs]
        if sorted(masks) == sorted(_key(data[place])[1] for place in where):
            continue
        _require_one_mask(data[where[0]], theirs[0], masks)
        for place in where:
            first = found[place].response[:1]
            found[place] = replace(found[place], response=np.concatenate([first, theirs[0].predicted[1:]]))
    return replace(data, records=found)


def _require_one_mask(row: TokenizedRecord, given: GivenRow, masks: Sequence[tuple[bytes, ...]]) -> None:
    """Refuse masks that are not those of the data and cannot be put in their place."""
    if given.rejected is not None:
        counts = [
            f"{int(theirs.predicted.sum())} tokens of the {name} answer where the data have "
            f"{int(own.response[1:].sum())}"
            for name, own, theirs in zip(("chosen", "rejected"), row.sides, given.sides, strict=True)
        ]
        raise RecordError(
            f"{row.location}: the trainer predicts {' and '.join(counts)}; pairs are recorded where the trainer "
            "compares the whole answers: give the rows as they are trained on, without flags of turns"
        )
    if len(set(masks)) > 1:
        raise RecordError(
            f"{row.location}: the trainer has rows with the tokens of row {row.id!r} and different masks, which are "
            "not those of the data; it cannot be said which is which"
        )


def mask_spans(before: TokenizedRecords, after: TokenizedRecords) -> dict[str, list[list[int]]]:
    """Id -> [start, stop) of each stretch of trained tokens, of the rows whose masks differ."""
    found = {}
    for old, new in zip(before, after, strict=True):
        if not np.array_equal(old.response, new.response):
            steps = np.diff(np.concatenate([[0], new.response.astype(int), [0]]))
            edges = zip(np.flatnonzero(steps == 1), np.flatnonzero(steps == -1), strict=True)
            found[new.id] = [[int(start), int(stop)] for start, stop in edges]
    return found


def with_masks(data: TokenizedRecords, masks: Mapping[str, Any]) -> TokenizedRecords:
    """The rows, some with other masks than their own: the inverse of `mask_spans`."""
    if not masks:
        return data
    return replace(data, records=[_with_mask(row, masks.get(row.id)) for row in data])


def _with_mask(row: TokenizedRecord, spans: Any) -> TokenizedRecord:
    if spans is None:
        return row
    response = np.zeros(len(row.tokens), dtype=bool)
    for start, stop in spans:
        response[start:stop] = True
    return replace(row, response=response)


class RowBook:
    """Where among the data the rows of a training are."""

    def __init__(self, data: TokenizedRecords):
        self._data = data
        self._places: dict[Key, list[int]] = defaultdict(list)
        for place, row in enumerate(data):
            self._places[_key(row)].append(place)
        self._uses: dict[Key, int] = defaultdict(int)

    def count(self, places: Iterable[int]) -> None:
        """Take note of rows that were used before."""
        for place in places:
            self._uses[_key(self._data[place])] += 1

    def place(self, row: GivenRow) -> int:
        """The place of a row that is used now; equal rows take turns.

        Returns:
            Its place in the data.

        Raises:
            AitiaError: it is none of the data's, with this mask.
        """
        known = self._places.get(row.key)
        if known is None:
            raise AitiaError(
                f"recording: a row of {len(row.tokens)} tokens, {int(row.predicted.sum())} of them predicted, is not "
                "as the train dataset gave it before; collators and datasets that change rows cannot be recorded"
            )
        self._uses[row.key] += 1
        return known[(self._uses[row.key] - 1) % len(known)]


def _key(row: TokenizedRecord) -> Key:
    sides = row.sides
    tokens = tuple(np.ascontiguousarray(side.tokens, dtype=np.int32).tobytes() for side in sides)
    return tokens, tuple(_predicted(side).tobytes() for side in sides)


def _predicted(row: TokenizedRecord) -> np.ndarray:
    found = np.array(row.response, dtype=bool)
    found[:1] = False
    return found


def _not_in_the_data(number: int, given: GivenRow, data: TokenizedRecords) -> str:
    shared = [
        sum(_shared(one.tokens, other.tokens) for one, other in zip(given.sides, row.sides, strict=True))
        for row in data
    ]
    nearest = data[int(np.argmax(shared))]
    apart = zip(given.sides, nearest.sides, ("chosen", "rejected"), strict=False)
    theirs, own, name = next(each for each in apart if not np.array_equal(each[0].tokens, each[1].tokens))
    answer = f"{name} answer: " if given.rejected is not None else ""
    return (
        f"row {number} of the train dataset ({answer}{len(theirs.tokens)} tokens) is none of the data; nearest is "
        f"{nearest.location} ({len(own.tokens)} tokens), which differs from token {_shared(theirs.tokens, own.tokens)} "
        "on. Give RecordingCallback the rows that are trained on, and cut them into tokens as "
        "`aitia.records.tokenize` does: one text, by the chat template where there are turns, with the end token"
    )


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length
