"""`aitia curate`: the training data without one end of a ranking, or without a slice of rows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aitia.cli.options import JsonOption, OnErrorOption, amount_of, answer, app
from aitia.errors import AitiaError

if TYPE_CHECKING:
    from aitia.records import Split


@app.command("curate")
def curate_command(
    data: Annotated[Path, typer.Option(help="The training data that was ranked.")],
    out: Annotated[Path, typer.Option(help="Where to write the rows that stay.")],
    removed: Annotated[Path, typer.Option(help="Where to write the rows that go.")],
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
    keep: Annotated[str | None, typer.Option(help="Share or number of rows to keep instead.")] = None,
    end: Annotated[
        Literal["top", "bottom"], typer.Option("--from", help="Drop (or keep) from the top or the bottom.")
    ] = "top",
    on_error: OnErrorOption = "stop",
    as_json: JsonOption = False,
) -> None:
    """Drop or keep one end of a ranking, or drop a slice; rows are written as they were read, in the same format.

    Every row of the data is in one of the files, or nothing is written. With --on-error skip, rows that cannot be
    read go to a file of their own. A ranking (or slices) of other data is refused, even if the ids are the same.

    Examples:
    `aitia curate --data train.jsonl --ranking ranking.parquet --drop 20% --out clean.jsonl --removed gone.jsonl`,
    `aitia curate --data train.jsonl --slices slices.json --drop-slice 17 --out clean.jsonl --removed gone.jsonl`
    """
    from aitia.attribution import read_ranking
    from aitia.pipelines.attribution.curation import curate, curate_slice
    from aitia.records import read_records

    if slices is not None or drop_slice is not None:
        if slices is None or drop_slice is None or not (ranking is drop is keep is None):
            raise AitiaError("a slice is dropped with --slices and --drop-slice, and without --ranking")
        records = read_records(data, on_error=on_error)
        split = curate_slice(records, slices, drop_slice, curated=out, removed=removed, left_out=left_out)
        _curated(split, 0, as_json)
        return
    if ranking is None:
        raise AitiaError("give --ranking, or --slices with --drop-slice")
    if (drop is None) == (keep is None):
        raise AitiaError("give either --drop or --keep")
    ranked, records = read_ranking(ranking), read_records(data, on_error=on_error)
    split = curate(
        records,
        ranked,
        drop=None if drop is None else amount_of(drop),
        keep=None if keep is None else amount_of(keep),
        end=end,
        curated=out,
        removed=removed,
        left_out=left_out,
        inputs={"the ranking": ranking},
    )
    _curated(split, len(records) - len(ranked), as_json)


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
        lines.append(f"{not_ranked} rows were not ranked: they are kept by --drop and removed by --keep")
    answer(found, as_json, "\n".join(lines))
