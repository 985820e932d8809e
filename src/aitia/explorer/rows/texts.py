"""The texts of rows, read in the background into a file of columns that searches go through quickly."""

from __future__ import annotations

import os
import tempfile
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from aitia.errors import AitiaError, reason_of
from aitia.explorer.rows.arrow import compute
from aitia.records import Record, Records

if TYPE_CHECKING:
    import pyarrow as pa

State = Literal["reading", "ready", "absent"]
_AT_ONCE = 4096
_MOST_CATEGORIES = 50
PARTS = ("prompt", "response")
"""The parts of a row that are searched."""


class SearchTooSlowError(AitiaError):
    """A search that took longer than it may."""


class Texts:
    """Prompts, responses and further columns of n rows, in the order of the rows.

    They are written to a temporary file of columns, which is mapped into memory, so that texts larger than memory can
    be searched. The file goes with the object at the latest.

    Attributes:
        state: `reading`, `ready`, or `absent`.
        reason: why they are absent, in words.
        read: how many rows were read so far.
    """

    def __init__(
        self, load: Callable[[], Records] | None, ids: Callable[[], Sequence[str]], reason: str = ""
    ):
        """Begin to read.

        Args:
            load: gives the records, in any order; none where it is known that there are no texts.
            ids: gives the ids of the n rows, in order.
            reason: why there are no texts.
        """
        self.state: State = "absent" if load is None else "reading"
        self.reason, self.read = reason, 0
        self.records: Records | None = None
        self._columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        self._table: pa.Table | None = None
        self._ended = threading.Event()
        if load is None:
            self._ended.set()
            return
        threading.Thread(target=self._read, args=(load, ids), daemon=True).start()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait until they are read or known to be absent; whether that is so."""
        return self._ended.wait(seconds)

    def _read(self, load: Callable[[], Records], ids: Callable[[], Sequence[str]]) -> None:
        try:
            names, records = tuple(ids()), load()
            if records.ids != names:
                records = records.only(names)
            if records.ids != names:
                raise AitiaError("the rows of the data stand in another order than those of the store")
            del names
            self._table, self._columns = self._written(records)
            self.records, self.state = records, "ready"
        except AitiaError as error:
            self.state, self.reason = "absent", str(error)
        except Exception as error:  # said on the page, where the rest works on
            self.state, self.reason = "absent", f"the texts cannot be read: {reason_of(error)}"
        finally:
            self._ended.set()

    def _written(self, records: Records) -> tuple[pa.Table, dict[str, Any]]:
        """The texts in a file that is mapped into memory, and the other columns."""
        import pyarrow as pa

        folder = tempfile.TemporaryDirectory(prefix="aitia-explore-")
        file, schema = (
            Path(folder.name) / "texts.arrow",
            pa.schema([(name, pa.large_utf8()) for name in PARTS]),
        )
        more: dict[str, list[Any]] = {}
        each = iter(records)
        with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            while some := list(islice(each, _AT_ONCE)):
                parts = [[record.prompt_text for record in some], [record.completion_text for record in some]]
                arrays = [pa.array(map(whole_text, part), pa.large_utf8()) for part in parts]
                writer.write_batch(pa.record_batch(arrays, schema=schema))
                for place, record in enumerate(some, start=self.read):
                    for name, value in record.extra.items():
                        if isinstance(value, bool | int | float | str):
                            more.setdefault(name, [None] * len(records))[place] = value
                self.read += len(some)
        table = pa.ipc.open_file(pa.memory_map(str(file))).read_all()
        if os.name == "posix":  # what is mapped stays readable, and nothing is left behind whatever happens
            folder.cleanup()
        else:
            weakref.finalize(self, folder.cleanup)
        return table, {name: found for name, values in more.items() if (found := _column(values)) is not None}

    @property
    def ready(self) -> bool:
        """Whether the texts can be read."""
        return self.state == "ready"

    @property
    def columns(self) -> Mapping[str, pa.Array | pa.ChunkedArray]:
        """The further columns of the data that hold flags, numbers or words, by name; [n] each."""
        return self._columns if self.ready else {}

    def kind(self, name: str) -> str:
        """The kind of a further column: `flag`, `number` or `words`."""
        import pyarrow as pa

        kind = self._columns[name].type
        return "flag" if pa.types.is_boolean(kind) else "number" if pa.types.is_floating(kind) else "words"

    def categories(self, name: str) -> list[str] | None:
        """The words of a column, the most frequent first; None where there are more than fifty."""
        counted = compute().value_counts(self._columns[name]).to_pylist()
        if len(counted) > _MOST_CATEGORIES:
            return None
        counted.sort(key=lambda each: -each["counts"])
        return [str(each["values"]) for each in counted if each["values"] is not None]

    def beginnings(self, positions: np.ndarray, limit: int) -> list[dict[str, str]]:
        """The first characters of prompt and response of some rows."""
        if self._table is None or not self.ready:
            return [{} for _ in positions]
        some = self._table.take(positions)
        parts = [compute().utf8_slice_codeunits(some[name], 0, limit).to_pylist() for name in PARTS]
        return [dict(zip(PARTS, each, strict=True)) for each in zip(*parts, strict=True)]

    def record(self, position: int) -> Record | None:
        """A row with all that the data say of it; None where texts are absent."""
        return None if self.records is None else self.records[position]

    def matching(self, text: str, *, pattern: bool, part: str, seconds: float) -> np.ndarray:
        """The rows whose texts contain a text or match a regular expression, in either case of letters.

        Regular expressions are those of RE2, which takes time in proportion to the text whatever the expression.

        Args:
            text: to look for.
            pattern: whether it is a regular expression.
            part: `prompt`, `response`, or `both`.
            seconds: longest time that it may take.

        Returns:
            [n] bool.

        Raises:
            AitiaError: the texts are not there, or the expression is none.
            SearchTooSlowError: it took longer.
        """
        import pyarrow as pa

        if self._table is None or not self.ready:
            raise AitiaError(
                f"the texts cannot be searched: {self.reason or 'they are being read; try again soon'}"
            )
        match = compute().match_substring_regex if pattern else compute().match_substring
        end, found = monotonic() + seconds, []
        for batch in self._batches():
            if monotonic() > end:
                raise SearchTooSlowError(
                    f"the search took longer than {seconds:g} s and was stopped after {sum(map(len, found)):,} of "
                    f"{self._table.num_rows:,} rows; make it simpler, or give `aitia explore --search-seconds`"
                )
            hit = np.zeros(batch.num_rows, dtype=bool)
            for name in PARTS if part == "both" else (part,):
                try:
                    hit |= np.asarray(match(batch[name], text, ignore_case=True))
                except pa.ArrowInvalid as error:
                    raise AitiaError(
                        f"{text!r:.80} is no regular expression: {reason_of(error, 200)}"
                    ) from None
            found.append(hit)
        return np.concatenate(found) if found else np.zeros(0, dtype=bool)

    def _batches(self) -> Iterator[pa.RecordBatch]:
        assert self._table is not None
        yield from self._table.to_batches(max_chunksize=_AT_ONCE)


def whole_text(text: str) -> str:
    """A text that can be written as UTF-8: halves of surrogate pairs, which JSON lets pass, become question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")


def _column(values: list[Any]) -> Any:
    """A column of one kind; None where kinds are mixed, or nothing is in it."""
    import pyarrow as pa

    kinds = {type(value) for value in values if value is not None}
    if kinds == {bool}:
        return pa.array(values, pa.bool_())
    if kinds and kinds <= {int, float}:
        return pa.array([None if value is None else float(value) for value in values], pa.float64())
    if kinds == {str}:
        return pa.array([None if value is None else whole_text(value) for value in values], pa.large_utf8())
    return None
