"""Reading training data from JSONL, Parquet and saved `datasets` folders, and rows from memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from aitia.errors import RecordError
from aitia.records.parsing import RowProblem, parse_row
from aitia.records.record import Record, Records, SkippedRow, Writer

OnError = Literal["stop", "skip"]
_SHOWN = 5


def read_records(path: Path | str, *, on_error: OnError = "stop") -> Records:
    """Read training data.

    A row is a conversation (`messages`), a `prompt` with its `completion` (or `response`), or a `text`; all
    other columns are carried along. An `id` column is kept and must not repeat; without one, ids are
    derived from content.

    Args:
        path: a `.jsonl` or `.ndjson` file, a `.parquet` file, or a folder that `datasets` saved.
        on_error: `stop` at rows that cannot be used, naming them, or `skip` and list them.

    Raises:
        RecordError: nothing readable there, or rows that cannot be used; file and line are named.
    """
    check_on_error(on_error)
    path = Path(path)
    if not path.exists():
        raise RecordError(f"{path}: no such file or folder")
    if path.is_dir():
        return _read_datasets(path, on_error)
    if path.suffix in (".jsonl", ".ndjson"):
        return _read_jsonl(path, on_error)
    if path.suffix == ".parquet":
        return _read_parquet(path, on_error)
    raise RecordError(
        f"{path}: unknown format {path.suffix!r}; give a .jsonl or .parquet file, or a folder saved by `datasets`"
    )


def records_from_rows(
    rows: Iterable[Mapping[str, Any]], *, name: str = "rows", on_error: OnError = "stop"
) -> Records:
    """Make records of rows in memory; written, they become JSONL.

    Args:
        rows: as in `read_records`.
        name: what to call them in messages.
        on_error: as in `read_records`.

    Raises:
        RecordError: rows that cannot be used.
    """
    kept = [dict(row) for row in rows]

    def write(places: Sequence[int], path: Path) -> None:
        lines = (json.dumps(kept[place], ensure_ascii=False) + "\n" for place in places)
        path.write_text("".join(lines), encoding="utf-8")

    located = ((place, f"{name} row {place}", row) for place, row in enumerate(kept))
    return _collect(located, on_error, writer=write, source=None, format="memory", name=name)


def check_on_error(on_error: str) -> None:
    """Refuse anything but `stop` and `skip`."""
    if on_error not in ("stop", "skip"):
        raise RecordError(f"on-error {on_error!r}: choose stop or skip")


def stop_or_skip(problems: Sequence[SkippedRow], on_error: OnError, name: str) -> tuple[SkippedRow, ...]:
    """The one place that decides what becomes of rows that cannot be used.

    Raises:
        RecordError: with `stop`, naming the first few and counting all.
    """
    if problems and on_error == "stop":
        shown = [f"{problem.location}: {problem.reason}" for problem in problems[:_SHOWN]]
        if len(problems) > _SHOWN:
            shown.append(f"and {len(problems) - _SHOWN} more")
        raise RecordError(
            f"{name}: {len(problems)} row{'s' * (len(problems) > 1)} cannot be used "
            f"(--on-error skip leaves them out): {'; '.join(shown)}"
        )
    return tuple(problems)


def _collect(
    located: Iterable[tuple[int, str, object]],
    on_error: OnError,
    *,
    writer: Writer,
    source: Path | None,
    format: str,
    name: str,
) -> Records:
    """Parse rows, give repeated content ids of its own, and see that given ids do not repeat."""
    records: list[Record] = []
    problems: list[SkippedRow] = []
    first: dict[str, str] = {}
    repeats: dict[str, int] = {}
    for place, location, row in located:
        try:
            if isinstance(row, RowProblem):
                raise row
            record = parse_row(row, position=place, location=location)
            given = isinstance(row, Mapping) and row.get("id") is not None
            if given and record.id in first:
                raise RowProblem(f"id {record.id!r} was used before, at {first[record.id]}")
        except RowProblem as problem:
            problems.append(SkippedRow(location=location, reason=str(problem)))
            continue
        plain = record.id
        while record.id in first:
            repeats[plain] = repeats.get(plain, 1) + 1
            record = replace(record, id=f"{plain}-{repeats[plain]}")
        first[record.id] = location
        records.append(record)
    skipped = stop_or_skip(problems, on_error, name)
    return Records(records, writer=writer, source=source, format=format, skipped=skipped)


def _read_jsonl(path: Path, on_error: OnError) -> Records:
    lines = path.read_bytes().splitlines(keepends=True) if path.stat().st_size else []
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if line.strip()]

    def write(places: Sequence[int], out: Path) -> None:
        with out.open("wb") as file:
            for place in places:
                line = numbered[place][1]
                file.write(line if line.endswith(b"\n") else line + b"\n")

    def located() -> Iterator[tuple[int, str, object]]:
        for place, (number, line) in enumerate(numbered):
            yield place, f"{path.name}:{number}", _parse_json(line)

    return _collect(located(), on_error, writer=write, source=path, format="jsonl", name=str(path))


def _parse_json(line: bytes) -> object:
    try:
        return json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return RowProblem(f"not UTF-8 at byte {error.start} of the line")
    except json.JSONDecodeError as error:
        return RowProblem(f"not valid JSON: {error.msg} at column {error.colno}")
    except RecursionError:
        return RowProblem("not valid JSON: nested too deeply")


def _read_parquet(path: Path, on_error: OnError) -> Records:
    import pyarrow as pa
    import pyarrow.parquet as parquet

    try:
        table = parquet.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise RecordError(f"{path}: not a readable Parquet file: {error}") from error

    def write(places: Sequence[int], out: Path) -> None:
        parquet.write_table(table.take(pa.array(places, pa.int64())), out)

    return _read_table(table.to_pylist, path, "parquet", on_error, write)


def _read_datasets(path: Path, on_error: OnError) -> Records:
    import datasets

    if (path / "dataset_dict.json").is_file():
        splits = json.loads((path / "dataset_dict.json").read_text(encoding="utf-8")).get("splits", [])
        raise RecordError(
            f"{path}: holds several splits ({', '.join(splits)}); "
            f"give one of them, as {path / (splits or ['train'])[0]}"
        )
    try:
        loaded = datasets.load_from_disk(str(path))
    except (FileNotFoundError, ValueError, OSError) as error:
        raise RecordError(f"{path}: not a folder that `datasets` saved: {error}") from error
    assert isinstance(loaded, datasets.Dataset)

    def write(places: Sequence[int], out: Path) -> None:
        datasets.disable_progress_bars()
        loaded.select(list(places)).save_to_disk(str(out))

    return _read_table(loaded.to_list, path, "datasets", on_error, write)


def _read_table(
    rows: Callable[[], list[dict[str, Any]]], path: Path, format: str, on_error: OnError, write: Writer
) -> Records:
    located = ((place, f"{path.name} row {place}", row) for place, row in enumerate(rows()))
    return _collect(located, on_error, writer=write, source=path, format=format, name=str(path))
