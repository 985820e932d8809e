"""Read rows: training data, or texts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from aitia.pipelines.steps.step import Results, Step
from aitia.records import OnError, ReadingSettings, Records, read_records


@dataclass(kw_only=True, eq=False, repr=False)
class ReadRecords(Step[Records]):
    """Rows, as they are read from a file, or as they were given.

    Attributes:
        name: `data` for the training data.
        path: the file or folder; none where the rows are given.
        reading: how the rows are read.
        on_error: `stop` at rows that cannot be used, or `skip` them.
        given: the rows, where they are at hand.
    """

    name: str = "data"
    path: Path | None = None
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    on_error: OnError = "stop"
    given: Records | None = None

    @cached_property
    def records(self) -> Records:
        """The rows, read when they are first asked for.

        Raises:
            RecordError: they cannot be read.
        """
        if self.given is not None:
            return self.given
        assert self.path is not None
        return read_records(self.path, self.reading, on_error=self.on_error)

    def depends(self) -> object:
        """See `Step.depends`."""
        return self.records.fingerprint

    def run(self, results: Results) -> Records:  # noqa: ARG002
        """See `Step.run`."""
        return self.records
