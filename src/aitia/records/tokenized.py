"""Records in tokens: with what of them is trained on, and with what their loss reads beside that."""

from __future__ import annotations

import hashlib
import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date
from typing import Any, SupportsIndex, overload

import numpy as np

from aitia.records.bad_rows import SkippedRow
from aitia.records.losses.settings import PLAIN, REFERENCES, LossSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenizedRecord:
    """A record in tokens.

    Attributes:
        id: of the record.
        row: of the record.
        location: of the record.
        tokens: [t] int32 token ids.
        response: [t] bool, True where the token belongs to a response.
        rejected: of a pair that is trained on as a pair, the other answer, after the same prompt.
        numbers: what the row's loss reads beside its text (see `aitia.records.losses`), such as its `weight`.
    """

    id: str
    row: int
    location: str
    tokens: np.ndarray
    response: np.ndarray
    rejected: TokenizedRecord | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)

    @property
    def sides(self) -> tuple[TokenizedRecord, ...]:
        """The answers that the loss compares, each as a row of supervised fine-tuning; one where it compares none."""
        if self.rejected is None:
            return (self if not self.numbers else replace(self, numbers={}),)
        return replace(self, rejected=None, numbers={}), self.rejected

    def identity(self, loss: LossSettings) -> list[Any]:
        """What the row is to a training beside its own tokens: plain data, empty in supervised fine-tuning."""
        # References of the base model follow from the rest.
        left_out = REFERENCES if loss.reference == "base" else ()
        found: list[Any] = [
            [name, value] for name, value in sorted(self.numbers.items()) if name not in left_out
        ]
        if self.rejected is not None:
            found += [self.rejected.tokens.tolist(), self.rejected.response.astype(int).tolist()]
        return found


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TokenizedRecords:
    """Records in tokens, in order.

    Attributes:
        records: those that can be used; where there are many, as `tokenize` packs them.
        skipped: those that were left out.
        today: the date that the chat template wrote into the rows; None where it writes none.
        loss: what training does with the rows.
    """

    records: Sequence[TokenizedRecord]
    skipped: tuple[SkippedRow, ...] = ()
    today: date | None = None
    loss: LossSettings = PLAIN

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[TokenizedRecord]:
        return iter(self.records)

    def __getitem__(self, index: SupportsIndex) -> TokenizedRecord:
        return self.records[int(index)]

    @property
    def answers(self) -> TokenizedRecords:
        """Every answer that the rows' loss compares as a row of supervised fine-tuning, those of a row together."""
        if self.loss.plain:
            return self
        flat = [side for record in self.records for side in record.sides]
        return TokenizedRecords(records=flat, skipped=self.skipped, today=self.today)

    @property
    def fingerprint(self) -> str:
        """Digest of ids, tokens and masks, in order; with another loss than the plain one, of all that it reads."""
        whole = hashlib.sha256()
        for record in self.records:
            whole.update(f"{record.id} {len(record.tokens)} ".encode("utf-8", "surrogatepass"))
            whole.update(record.tokens.astype("<i4").tobytes() + record.response.tobytes())
            if not self.loss.plain:
                whole.update(json.dumps(record.identity(self.loss)).encode())
        if not self.loss.plain:
            whole.update(json.dumps(self.loss.said, sort_keys=True).encode())
        return whole.hexdigest()


class PackedRecords(Sequence[TokenizedRecord]):
    """Tokenised records end to end in a few arrays, which takes a fifth of the memory of as many objects."""

    def __init__(self, records: Iterable[TokenizedRecord]):
        self._ids: list[str] = []
        self._locations: list[str] = []
        self._rows, self._ends = array("q"), array("q", [0])
        tokens, response = array("i"), bytearray()
        rejected: list[TokenizedRecord] = []
        numbers: dict[str, array[float]] = {}
        for record in records:
            if record.rejected is not None:
                rejected.append(record.rejected)
            for name, value in record.numbers.items():
                numbers.setdefault(name, array("d")).append(value)
            self._ids.append(record.id)
            self._locations.append(record.location)
            self._rows.append(record.row)
            tokens.frombytes(np.ascontiguousarray(record.tokens, dtype=np.int32).tobytes())
            response += np.ascontiguousarray(record.response, dtype=bool).tobytes()
            self._ends.append(len(tokens))
        self._tokens = np.frombuffer(tokens, dtype=np.int32)
        self._response = np.frombuffer(response, dtype=bool)
        # Of one loss, all rows are pairs or none, and give the same numbers.
        self._rejected: PackedRecords | None = PackedRecords(rejected) if rejected else None
        self._numbers = numbers

    def __len__(self) -> int:
        return len(self._ids)

    @overload
    def __getitem__(self, index: SupportsIndex) -> TokenizedRecord: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[TokenizedRecord]: ...

    def __getitem__(self, index: SupportsIndex | slice) -> TokenizedRecord | Sequence[TokenizedRecord]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        place = index.__index__()
        if place < 0:
            place += len(self)
        if not 0 <= place < len(self):
            raise IndexError(index)
        part = slice(self._ends[place], self._ends[place + 1])
        return TokenizedRecord(
            id=self._ids[place],
            row=self._rows[place],
            location=self._locations[place],
            tokens=self._tokens[part],
            response=self._response[part],
            rejected=None if self._rejected is None else self._rejected[place],
            numbers={name: values[place] for name, values in self._numbers.items()},
        )
