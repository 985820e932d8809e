"""`aitia curate`: the data without one end of a ranking, a slice, or the rows that several measurements choose."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from aitia.attribution import ControlSettings, FrontSettings, RoundSettings
from aitia.cli.options import (
    JsonOption,
    OnErrorOption,
    amount_of,
    answer,
    app,
    file_out,
    with_settings,
)
from aitia.errors import AitiaError
from aitia.files import require_apart
from aitia.records import ReadingSettings

if TYPE_CHECKING:
    from aitia.pipelines.attribution.curation import Controlled
    from aitia.pipelines.control.measurements import Question
    from aitia.records import Export, Records, Split


Format = Literal["jsonl", "json", "csv", "tsv", "parquet", "datasets"]
FRONT_FLAGS = {"shares": "--front-share", "points": "--front-points", "seeds": "--verify-seeds"}


@app.command("curate")
@with_settings(ControlSettings)
@with_settings(RoundSettings)
@with_settings(FrontSettings, FRONT_FLAGS)
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
        list[Path] | None,
        typer.Option(
            help="What is to fall: a .concept.safetensors file, a file of texts, or a ranking. Repeatable."
        ),
    ] = None,
    keep: Annotated[
        list[Path] | None,
        typer.Option(help="What is to stay: a concept, texts (as a skill), or a ranking. Repeatable."),
    ] = None,
    run: Annotated[
        Path | None, typer.Option(help="Folder of the recorded run that concepts and texts are asked of.")
    ] = None,
    rounds: RoundSettings,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Texts whose projection on a concept is measured; default: the positive texts it was fitted to."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The model that the run started from, if it was moved.")
    ] = None,
    front: Annotated[
        Path | None,
        file_out("HTML page with the trade-off to write too; its figures lie beside it, as JSON."),
    ] = None,
    trade_off: FrontSettings,
    with_scores: Annotated[
        bool,
        typer.Option(
            "--with-scores",
            help="Columns with each row's method, score, rank and percentile; goes with --ranking.",
        ),
    ] = False,
    written_as: Annotated[
        Format | None,
        typer.Option(
            "--format", help="Format of the rows that stay and go; default: the one that the ending names."
        ),
    ] = None,
    reading: ReadingSettings,
    on_error: OnErrorOption = "stop",
    as_json: JsonOption = False,
) -> None:
    """Drop or keep one end of a ranking, drop a slice, or lower one behaviour and keep others.

    Rows are written as they were read, in the same format. Where --out or --removed ends in that of another one, or
    --format names one, they are converted, and every row is read again to see that it says the same. Every row of the
    data is in one of the files, or nothing is written. With --on-error skip, rows that cannot be read go to a file of
    their own. A ranking (or slices) of other data is refused, even if the ids are the same.

    With --lower and --keep, the derivatives of a recorded --run say how each row moves each measurement: the mean
    projection on a concept, the log-probability of texts, or what a ranking by the method replay is about. They are
    kept in the run's folder. The rows that go lower the first most, take out at most --share of the rows, and let the
    others fall by at most --tolerance. With --use-weights all rows are written, with a column `weight` for the trainer.
    With --rounds, the model is trained with the chosen weights, and they are chosen again from the derivatives there.
    --front draws the trade-off, and with --verify trains again at each of its points. Stopped, it goes on.

    Examples:
    `aitia curate --data train.jsonl --ranking ranking.parquet --drop 20% --out clean.jsonl --removed gone.jsonl`,
    `aitia curate --data train.jsonl --slices slices.json --drop-slice 17 --out clean.jsonl --removed gone.jsonl`,
    `aitia curate --data train.jsonl --run runs/recorded --lower evil.concept.safetensors --keep skill.jsonl
    --share 0.1 --out clean.jsonl --removed gone.jsonl`
    """
    from aitia.attribution import read_ranking
    from aitia.pipelines.attribution.curation import curate, curate_by_control, curate_slice
    from aitia.pipelines.control.measurements import Question
    from aitia.records import Export, read_records

    export = Export(format=written_as)
    if with_scores and ranking is None:
        raise AitiaError("--with-scores shows what a ranking says of each row; give its --ranking")
    by_rank = not (ranking is drop is keep_only is None)
    if lower or keep:
        if written_as is not None:
            raise AitiaError("--format goes with --ranking or --slices")
        if not lower or by_rank or slices is not None or drop_slice is not None:
            raise AitiaError(
                "several measurements choose the rows with --lower, and --keep if you wish; give neither --ranking, "
                "--drop, --keep-only nor --slices with them"
            )
        if trade_off != FrontSettings() and front is None:
            raise AitiaError("--verify, --front-share and the like are about a page; give its --front")
        if front is not None and trade_off.verify and run is None:
            raise AitiaError("--verify trains as a recorded run was trained; give its folder as --run")
        records = read_records(data, reading, on_error=on_error)
        question = Question.read(records, lower, keep or [], run=run, queries=queries, base=base)
        inputs = {f"the file {path.name}": path for path in (*lower, *(keep or []))}
        if front is not None:
            pages = {"the page": front, "its figures": front.with_suffix(".json"), "the rows that stay": out}
            read = inputs | {"the data": data} | ({} if queries is None else {"the queries": queries})
            require_apart(pages | ({} if removed is None else {"the rows that go": removed}), read)
        made = curate_by_control(
            records,
            question,
            control,
            rounds=rounds,
            curated=out,
            removed=removed,
            left_out=left_out,
            inputs=inputs,
        )
        drawn = {} if front is None else _draw(front, made, question, control, trade_off)
        _controlled(made, lower, keep or [], drawn, as_json)
        return
    given = (control, rounds, trade_off) != (ControlSettings(), RoundSettings(), FrontSettings())
    if given or not (run is queries is base is front is None):
        raise AitiaError(
            "--run, --share, --rounds, --front and what belongs to them go with --lower; give it"
        )
    if removed is None:
        raise AitiaError("give --removed, where the rows that go are written")
    if slices is not None or drop_slice is not None:
        if slices is None or drop_slice is None or by_rank:
            raise AitiaError("a slice is dropped with --slices and --drop-slice, and without --ranking")
        records = read_records(data, reading, on_error=on_error)
        split = curate_slice(
            records, slices, drop_slice, curated=out, removed=removed, left_out=left_out, export=export
        )
        _curated(split, 0, as_json, _converted(records, split, export))
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
        with_scores=with_scores,
        export=export,
    )
    _curated(split, len(records) - len(ranked), as_json, _converted(records, split, export))


def _converted(records: Records, split: Split, export: Export) -> dict[str, str]:
    """File -> its format, of those that are in another one than the data."""
    formats = {str(path): export.format_at(path, records) for path in (split.kept, split.removed)}
    own = "jsonl" if records.format == "memory" else records.format
    return {path: format for path, format in formats.items() if format not in (own, records.format)}


def _draw(
    front: Path, made: Controlled, question: Question, control: ControlSettings, settings: FrontSettings
) -> dict[str, str]:
    """Write the page of the trade-off, trained again where that is asked for."""
    from aitia.pipelines.control.front import predicted_front, verified_front
    from aitia.pipelines.control.page import write_front

    found = predicted_front(question, made.steered.linearised, control, settings)
    if settings.verify:
        found = verified_front(found, question, control, settings)
    facts = [] if question.run is None else [("run", str(question.run.run.path))]
    return write_front(found, front, facts=[*facts, ("rows", f"{len(made.choice.weights):,}")])


def _controlled(
    found: Controlled, lower: list[Path], keep: list[Path], drawn: dict[str, str], as_json: bool
) -> None:
    choice = found.choice
    files = {"weighted": found.weighted} if found.split is None else found.split.files
    answered = {name: str(path) for name, path in files.items()} | {
        "files": drawn,
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
        "rounds": [
            {"share": each.share, "removed_share": each.choice.removed_share, "measured": each.measured}
            for each in found.steered.rounds
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
    for number, each in enumerate(found.steered.rounds[:-1], 1):
        measured = ", ".join(f"{name} {change:+.4g}" for name, change in (each.measured or {}).items())
        lines.append(f"round {number}, {each.choice.removed_share:.1%} taken out, measured: {measured}")
    lines += [f"{name}: {path}" for name, path in drawn.items()]
    answer(answered, as_json, "\n".join(lines))


def _curated(split: Split, not_ranked: int, as_json: bool, converted: dict[str, str]) -> None:
    found = {name: str(path) for name, path in split.files.items()} | {
        "rows_kept": split.rows_kept,
        "rows_removed": split.rows_removed,
        "rows_left_out": len(split.skipped),
        "left_out_rows": [[row.location, row.reason] for row in split.skipped],
        "rows_not_ranked": not_ranked,
        "converted": converted,
    }
    lines = [f"{split.rows_kept} rows kept in {split.kept}, {split.rows_removed} removed, in {split.removed}"]
    lines += [f"converted to {format}: {path}" for path, format in converted.items()]
    if split.skipped:
        lines.append(f"{len(split.skipped)} rows that cannot be read left out of both, in {split.left_out}:")
        lines += [f"left out: {row.location}: {row.reason}" for row in split.skipped]
    if not_ranked:
        lines.append(f"{not_ranked} rows were not ranked: they are kept by --drop and removed by --keep-only")
    answer(found, as_json, "\n".join(lines))
