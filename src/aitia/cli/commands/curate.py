"""`aitia curate`: the training data without one end of a ranking, a slice, or the rows that several rankings choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aitia.attribution import ControlSettings
from aitia.cli.options import JsonOption, OnErrorOption, amount_of, answer, app, with_settings
from aitia.errors import AitiaError
from aitia.records import ReadingSettings

if TYPE_CHECKING:
    from aitia.pipelines.attribution.curation import Controlled
    from aitia.records import Records, Split


@app.command("curate")
@with_settings(ControlSettings)
@with_settings(ReadingSettings)
def curate_command(
    *,
    data: Annotated[Path, typer.Option(help="The training data that was ranked.")],
    out: Annotated[Path, typer.Option(help="Where to write the rows that stay.")],
    control: ControlSettings,
    removed: Annotated[
        Path | None, typer.Option(help="Where to write the rows that go; needed unless rows get weights.")
    ] = None,
    left_out: Annotated[
        Path | None,
        typer.Option(help="Where to write rows that cannot be read; default: beside --removed."),
    ] = None,
    ranking: Annotated[Path | None, typer.Option(help="The ranking, as `aitia rank` wrote it.")] = None,
    slices: Annotated[Path | None, typer.Option(help="The slices, as `aitia slices` wrote them.")] = None,
    drop_slice: Annotated[
        int | None, typer.Option(help="Drop the rows on which this feature fires; needs --slices.")
    ] = None,
    drop: Annotated[str | None, typer.Option(help="Share (0.2, 20%) or number (20) of rows to drop.")] = None,
    keep_only: Annotated[
        str | None, typer.Option(help="Share or number of rows to keep instead of --drop.")
    ] = None,
    end: Annotated[
        Literal["top", "bottom"], typer.Option("--from", help="Drop (or keep) from the top or the bottom.")
    ] = "top",
    lower: Annotated[
        list[Path] | None, typer.Option(help="A ranking by a measurement that is to fall. Repeatable.")
    ] = None,
    keep: Annotated[
        list[Path] | None, typer.Option(help="A ranking by a measurement that is to stay. Repeatable.")
    ] = None,
    reading: ReadingSettings,
    on_error: OnErrorOption = "stop",
    as_json: JsonOption = False,
) -> None:
    """Drop or keep one end of a ranking, drop a slice, or lower one behaviour and keep others.

    Rows are written as they were read, in the same format. Every row of the data is in one of the files, or nothing
    is written. With --on-error skip, rows that cannot be read go to a file of their own. A ranking (or slices) of
    other data is refused, even if the ids are the same.

    With --lower and --keep, rankings by the method replay say how each row moves each measurement. The rows that go
    lower the first most, take out at most --share of the rows, and let the others fall by at most --tolerance. With
    --use-weights all rows are written, with a column `weight` for the trainer. Train again to see what it is worth.

    Examples:
    `aitia curate --data train.jsonl --ranking ranking.parquet --drop 20% --out clean.jsonl --removed gone.jsonl`,
    `aitia curate --data train.jsonl --slices slices.json --drop-slice 17 --out clean.jsonl --removed gone.jsonl`,
    `aitia curate --data train.jsonl --lower evil.parquet --keep skill.parquet --share 0.1 --out clean.jsonl
    --removed gone.jsonl`
    """
    from aitia.attribution import read_ranking
    from aitia.pipelines.attribution.curation import curate, curate_slice
    from aitia.records import read_records

    by_rank = not (ranking is drop is keep_only is None)
    if lower or keep:
        if not lower or by_rank or slices is not None or drop_slice is not None:
            raise AitiaError(
                "several rankings choose the rows with --lower, and --keep if you wish; give neither --ranking, "
                "--drop, --keep-only nor --slices with them"
            )
        records = read_records(data, reading, on_error=on_error)
        _curate_by_control(records, lower, keep or [], control, out, removed, left_out, as_json)
        return
    if control != ControlSettings():
        raise AitiaError("--share, --tolerance, --highest-weight and --use-weights go with --lower; give it")
    if removed is None:
        raise AitiaError("give --removed, where the rows that go are written")
    if slices is not None or drop_slice is not None:
        if slices is None or drop_slice is None or by_rank:
            raise AitiaError("a slice is dropped with --slices and --drop-slice, and without --ranking")
        records = read_records(data, reading, on_error=on_error)
        split = curate_slice(records, slices, drop_slice, curated=out, removed=removed, left_out=left_out)
        _curated(split, 0, as_json)
        return
    if ranking is None:
        raise AitiaError("give --ranking, or --slices with --drop-slice, or --lower")
    if (drop is None) == (keep_only is None):
        raise AitiaError("give either --drop or --keep-only")
    ranked, records = read_ranking(ranking), read_records(data, reading, on_error=on_error)
    split = curate(
        records,
        ranked,
        drop=None if drop is None else amount_of(drop),
        keep=None if keep_only is None else amount_of(keep_only),
        end=end,
        curated=out,
        removed=removed,
        left_out=left_out,
        inputs={"the ranking": ranking},
    )
    _curated(split, len(records) - len(ranked), as_json)


def _curate_by_control(
    data: Records,
    lower: list[Path],
    keep: list[Path],
    control: ControlSettings,
    out: Path,
    removed: Path | None,
    left_out: Path | None,
    as_json: bool,
) -> None:
    from aitia.attribution import read_ranking
    from aitia.pipelines.attribution.curation import curate_by_control

    found = curate_by_control(
        data,
        [read_ranking(path) for path in lower],
        [read_ranking(path) for path in keep],
        control,
        curated=out,
        removed=removed,
        left_out=left_out,
        inputs={f"the ranking {path.name}": path for path in (*lower, *keep)},
    )
    _controlled(found, lower, keep, as_json)


def _controlled(found: Controlled, lower: list[Path], keep: list[Path], as_json: bool) -> None:
    choice = found.choice
    files = {"weighted": found.weighted} if found.split is None else found.split.files
    answered = {name: str(path) for name, path in files.items()} | {
        "rows_removed": len(choice.removed),
        "removed_share": choice.removed_share,
        "lowered": dict(zip(map(str, lower), choice.lowered_share.tolist(), strict=True)),
        "kept": dict(zip(map(str, keep), choice.kept_share.tolist(), strict=True)),
        "front": [
            {
                "tolerance": each.tolerance,
                "removed_share": each.removed_share,
                "lowered": each.lowered_share.tolist(),
                "kept": each.kept_share.tolist(),
            }
            for each in found.front
        ],
    }
    lines = [f"{name}: {path}" for name, path in files.items()]
    lines.append(
        f"{choice.removed_share:.1%} of the rows' weight taken out, {len(choice.removed)} rows whole. Predicted "
        "change, in shares of what all rows together do to a measurement:"
    )
    lines += [f"  {path}: {change:+.3f}" for path, change in zip(lower, choice.lowered_share, strict=True)]
    lines += [
        f"  {path}: {change:+.3f} (to stay)" for path, change in zip(keep, choice.kept_share, strict=True)
    ]
    if found.front:
        lines.append("tolerance  lowered  kept, the least")
        lines += [
            f"{each.tolerance:9.3f} {each.lowered_share.sum():8.3f} {each.kept_share.min():+8.3f}"
            for each in found.front
        ]
    answer(answered, as_json, "\n".join(lines))


def _curated(split: Split, not_ranked: int, as_json: bool) -> None:
    found = {name: str(path) for name, path in split.files.items()} | {
        "rows_kept": split.rows_kept,
        "rows_removed": split.rows_removed,
        "rows_left_out": len(split.skipped),
        "left_out_rows": [[row.location, row.reason] for row in split.skipped],
        "rows_not_ranked": not_ranked,
    }
    lines = [f"{split.rows_kept} rows kept in {split.kept}, {split.rows_removed} removed, in {split.removed}"]
    if split.skipped:
        lines.append(f"{len(split.skipped)} rows that cannot be read left out of both, in {split.left_out}:")
        lines += [f"left out: {row.location}: {row.reason}" for row in split.skipped]
    if not_ranked:
        lines.append(f"{not_ranked} rows were not ranked: they are kept by --drop and removed by --keep-only")
    answer(found, as_json, "\n".join(lines))
