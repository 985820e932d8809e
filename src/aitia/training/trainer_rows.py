"""The rows that another trainer runs over, known by what they say, and matched with the user's data.

Only the inputs of the model say for certain what a step was made of: samplers, workers and collators are the trainer's
own, and columns that the model does not take are removed on the way. So a row is known by its tokens and by which of
them are predicted. Rows that are equal in both do the same to a training; the data's places of such rows take turns.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aitia.errors import AitiaError, RecordError
from aitia.records import TokenizedRecord, TokenizedRecords

IGNORED = -100
"""The label of a token that is not predicted, in transformers and TRL."""

_USED = {"input_ids", "attention_mask", "labels"}
_HARMLESS = {"use_cache", "fused_lm_head", "num_items_in_batch", "return_dict"}
_PACKED = {"position_ids", "cu_seq_lens_q", "cu_seq_lens_k", "seq_idx", "seq_lengths", "shift_labels"}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GivenRow:
    """A row as a trainer gives it to the model.

    Attributes:
        tokens: [t] int32, without pads.
        predicted: [t] bool, True where the loss counts the token; never at position 0.
    """

    tokens: np.ndarray
    predicted: np.ndarray

    @property
    def key(self) -> tuple[bytes, bytes]:
        """What the row is to a training."""
        return self.tokens.tobytes(), self.predicted.tobytes()


def given_rows(inputs: Mapping[str, Any]) -> list[GivenRow]:
    """The rows of a batch, from what the model is called with.

    Returns:
        The rows, in order.

    Raises:
        AitiaError: it is no batch of supervised fine-tuning whose rows stand apart, padded on the right.
    """
    names = {name for name, value in inputs.items() if value is not None and value is not False}
    if packed := sorted(names & _PACKED):
        raise AitiaError(
            f"recording: the batches have `{packed[0]}`: rows are packed together; switch packing and padding_free "
            "off"
        )
    if lacking := sorted({"input_ids", "labels"} - names):
        raise AitiaError(
            f"recording: the batches have no `{lacking[0]}`; only supervised fine-tuning with the model's "
            "cross-entropy can be recorded"
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


def rows_of_loader(loader: Any) -> Iterator[GivenRow]:
    """Every row of a trainer's data set, collated alone.

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
            found = given_rows(loader.collate_fn([dataset[place]]))
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
        The data, with the trainer's masks.

    Raises:
        RecordError: a row of one is not in the other as often; the first is named.
    """
    places: dict[bytes, list[int]] = defaultdict(list)
    masks: dict[bytes, list[np.ndarray]] = defaultdict(list)
    for place, row in enumerate(data):
        places[_key(row)[0]].append(place)
    for number, row in enumerate(given):
        if row.key[0] not in places:
            raise RecordError(_not_in_the_data(number, row, data))
        if not row.predicted.any():
            raise RecordError(
                f"row {number} of the train dataset: no token of it is predicted; leave it out of the training"
            )
        masks[row.key[0]].append(row.predicted)
    found = list(data)
    for tokens, where in places.items():
        if len(masks[tokens]) != len(where):
            more = data[where[-1]]
            raise RecordError(
                f"{more.location}: the data have row {more.id!r} {len(where)} time(s), the train dataset "
                f"{len(masks[tokens])} time(s); give RecordingCallback the rows that are trained on, no others"
            )
        theirs = [each.tobytes() for each in masks[tokens]]
        if sorted(theirs) == sorted(_key(data[place])[1] for place in where):
            continue
        if len(set(theirs)) > 1:
            raise RecordError(
                f"{data[where[0]].location}: the trainer has rows with the tokens of row {data[where[0]].id!r} and "
                "different masks, which are not those of the data; it cannot be said which is which"
            )
        for place in where:
            first = found[place].response[:1]
            found[place] = replace(found[place], response=np.concatenate([first, masks[tokens][0][1:]]))
    return replace(data, records=found)


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
        self._places: dict[tuple[bytes, bytes], list[int]] = defaultdict(list)
        for place, row in enumerate(data):
            self._places[_key(row)].append(place)
        self._uses: dict[tuple[bytes, bytes], int] = defaultdict(int)

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


def _key(row: TokenizedRecord) -> tuple[bytes, bytes]:
    predicted = np.array(row.response, dtype=bool)
    predicted[:1] = False
    return np.ascontiguousarray(row.tokens, dtype=np.int32).tobytes(), predicted.tobytes()


def _not_in_the_data(number: int, given: GivenRow, data: TokenizedRecords) -> str:
    shared = [_shared(given.tokens, row.tokens) for row in data]
    nearest = data[int(np.argmax(shared))]
    return (
        f"row {number} of the train dataset ({len(given.tokens)} tokens) is none of the data; nearest is "
        f"{nearest.location} ({len(nearest.tokens)} tokens), which differs from token {max(shared)} on. Give "
        "RecordingCallback the rows that are trained on, and cut them into tokens as `aitia.records.tokenize` does: "
        "one text, by the chat template where there are turns, with the end token"
    )


def _shared(one: np.ndarray, other: np.ndarray) -> int:
    length = min(len(one), len(other))
    differs = np.flatnonzero(one[:length] != other[:length])
    return int(differs[0]) if len(differs) else length
