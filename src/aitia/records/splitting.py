"""Splitting data in two without losing a row: those that stay, those that go, and those nobody could read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from aitia.files import atomic_path, require_apart
from aitia.files import require_place as require_writable
from aitia.records.bad_rows import SkippedRow
from aitia.records.collection import Records
from aitia.records.exporting import Export
from aitia.records.formats.source import ENDINGS, require_place


@dataclass(frozen=True, kw_only=True)
class Split:
    """Data written in parts. Every row of the source is in one of them, byte for byte.

    Attributes:
        kept: where the rows that stay were written.
        removed: where the rows that go were written.
        left_out: where the rows that could not be read were written; none if there are none.
        rows_kept: how many stay.
        rows_removed: how many go.
        skipped: the rows that could not be read, each with its place and the reason.
    """

    kept: Path
    removed: Path
    left_out: Path | None
    rows_kept: int
    rows_removed: int
    skipped: tuple[SkippedRow, ...]

    @property
    def files(self) -> dict[str, Path]:
        """`curated`, `removed` and, where there is one, `left_out`: what was written where."""
        files = {"curated": self.kept, "removed": self.removed}
        return files if self.left_out is None else files | {"left_out": self.left_out}


def split_records(
    data: Records,
    gone: Iterable[str],
    *,
    kept: Path | str,
    removed: Path | str,
    left_out: Path | str | None = None,
    inputs: Mapping[str, Path | str] | None = None,
    export: Export | None = None,
) -> Split:
    """Write the rows that stay and those that go to files of their own, each row untouched; all files or none.

    Rows that were left out when the data were read are written too, to a third file, so that no row of the
    source is lost. Nothing is written over the data or over another input.

    Args:
        data: the data.
        gone: ids of the rows that go; `RowIds`, such as `Ranking.top` gives, are checked by content too.
        kept: file (or folder, for a saved dataset) for the rows that stay.
        removed: the same, for the rows that go.
        left_out: the same, for rows that could not be read; default: beside `removed`, with `.left-out` in its name.
        inputs: what else may not be written over, in words -> where it lies.
        export: columns to add to the rows that stay and go, or another format for them; default: neither, and rows that
            could not be read stay untouched always.

    Returns:
        The files, how many rows went into each, and the rows that were left out.

    Raises:
        RecordError: `gone` was chosen from other data, or a file cannot be written in the data's format.
        StoreError: two of the files are one, or one is an input; or a file cannot be written.
    """
    kept, removed = Path(kept), Path(removed)
    unread = Path(left_out or _beside(removed, None if export is None else data.ending))
    places = {"the rows that stay": kept, "the rows that go": removed}
    if data.skipped or left_out is not None:
        places["the rows that could not be read"] = unread
    require_apart(places, data.files | dict(inputs or {}))
    if export is not None:
        export.require(data)
    for path in places.values():
        format = data.format if export is None or path == unread else export.format_at(path, data)
        require_writable(path, folder=format == "datasets")
        require_place(path, format)
    gone = gone if isinstance(gone, list) else list(gone)
    stay, go = data.without(gone), data.only(gone)
    with ExitStack() as stack:
        # Every part is whole on the disk before the first one takes its place.
        temporary = {
            path: stack.enter_context(atomic_path(path))
            for path in (kept, removed, *[unread] * bool(data.skipped))
        }
        for path, part in ((kept, stay), (removed, go)):
            (export or Export(format=data.format)).write(data, part, path, temporary[path])
        if data.skipped:
            data.write_rows(sorted(row.row for row in data.skipped), temporary[unread])
    return Split(
        kept=kept,
        removed=removed,
        left_out=unread if data.skipped else None,
        rows_kept=len(stay),
        rows_removed=len(go),
        skipped=data.skipped,
    )


def _beside(removed: Path, own: str | None) -> Path:
    """Where rows go that could not be read; with `own`, the ending of the data's format, rows may be converted."""
    ending = next((ending for ending in ENDINGS if removed.name.endswith(ending)), "")
    kept = ending if own is None or ending.startswith(own) else own
    return removed.with_name(f"{removed.name.removesuffix(ending)}.left-out{kept}")
