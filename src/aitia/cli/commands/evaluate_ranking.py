"""`aitia evaluate-ranking` and `aitia tail-patch`: rankings held against known rows, and against one more step."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.cli.options import (
    JsonOption,
    OnErrorOption,
    RowOptions,
    ScannedOptions,
    SeedOption,
    answer,
    app,
    left_out,
    with_rows,
    with_scanned,
    with_settings,
)
from aitia.counterfactual import TailPatchSettings
from aitia.records import ReadingSettings

if TYPE_CHECKING:
    from aitia.attribution.ranking import RankingEvaluation
    from aitia.counterfactual import TailPatch


@app.command("evaluate-ranking")
@with_settings(ReadingSettings)
def evaluate_ranking_command(
    *,
    ranking: Annotated[Path, typer.Argument(help="The ranking, as `aitia rank` wrote it.")],
    data: Annotated[Path, typer.Option(help="The training data that was ranked.")],
    label: Annotated[str, typer.Option(help="A true-or-false column of the data: the rows to be found.")],
    k: Annotated[
        list[int] | None,
        typer.Option("--k", min=1, help="Rows to look at for precision and recall. Repeatable."),
    ] = None,
    confound: Annotated[
        list[str] | None,
        typer.Option(
            help="A scorer of the ranking to adjust for; default: loss, gap, norm, length, words. Repeatable."
        ),
    ] = None,
    seed: SeedOption = 0,
    reading: ReadingSettings,
    on_error: OnErrorOption = "stop",
    as_json: JsonOption = False,
) -> None:
    """Measure how well each scorer of a ranking finds rows that are known, with 95 % intervals.

    AUC is the chance that a known row scores above another; AUPRC is the area under the precision-recall curve; MRR is
    1 / rank of the first known row. The gain is what a scorer adds in AUC to a logistic model of the confounds, which
    know no concept: training loss, loss gap, gradient norm, length and words, as far as the ranking has them.

    Example:
    `aitia evaluate-ranking ranking.parquet --data train.jsonl --label planted --k 100`
    """
    from aitia.attribution import read_ranking
    from aitia.attribution.ranking import evaluate_ranking
    from aitia.attribution.scorers import label_values
    from aitia.records import read_records

    ranked, records = read_ranking(ranking), read_records(data, reading, on_error=on_error)
    records.only(ranked.top(1.0))  # which refuses a ranking of other data, by every row of it
    labels = label_values(records, label, ranked.ids)
    found = evaluate_ranking(ranked, labels, ks=tuple(k or ()), confounds=confound, seed=seed)
    answer(asdict(found), as_json, _table(found))


def _table(found: RankingEvaluation) -> str:
    names = list(next(iter(found.scorers.values())).figures)
    width = max(map(len, found.scorers)) + 2
    lines = [f"{found.labelled} of {found.rows} rows are labelled.", ""]
    lines.append(f"{'scorer':<{width}}" + "".join(f"{name:>22}" for name in [*names, "gain"]))
    for name, each in found.scorers.items():
        cells: list[Any] = [*each.figures.values(), each.gain]
        lines.append(f"{name:<{width}}" + "".join(f"{'' if cell is None else cell!s:>22}" for cell in cells))
    if found.confounds_auc is not None:
        lines += [
            "",
            f"The gain is over {', '.join(found.confounds)}, which alone reach {found.confounds_auc:.3f}.",
        ]
    elif not found.confounds:
        lines += [
            "",
            "No gain: the ranking has no confounds; take `aitia rank --compare training-loss --compare tf-idf`.",
        ]
    return "\n".join(lines)


@app.command("tail-patch")
@with_settings(TailPatchSettings)
@with_settings(ReadingSettings)
@with_scanned
@with_rows
def tail_patch_command(
    ranking: Annotated[Path, typer.Argument(help="The ranking, as `aitia rank` wrote it.")],
    *,
    queries: Annotated[Path, typer.Option(help="Texts whose probability is measured.")],
    settings: TailPatchSettings,
    scanned: ScannedOptions,
    reading: ReadingSettings,
    cut: RowOptions,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Measure what one more training step on the highest rows of each scorer does to the probability of queries.

    The model that was scanned takes one step on a single row and is put back. The change of the queries'
    log-probability (in nats, over the whole response) is averaged over the highest rows, for every scorer of the
    ranking and for random rows, with a 95 % interval over the queries; so is the change of the probability (Chang et
    al. 2024). The step moves the adapter's factors, or all weights where there is no adapter. Take the learning rate
    that the model was trained with. The rows are cut as for the scan; --shape, --side, --max-length, --truncate and
    --on-error are for the queries.

    Example:
    `aitia tail-patch ranking.parquet --queries queries.jsonl --rows 10 --learning-rate 1e-4`
    """
    from aitia.attribution import read_ranking
    from aitia.attribution.scorers import random_order
    from aitia.counterfactual import tail_patch
    from aitia.models import in_tokens
    from aitia.records import read_records

    ranked = read_ranking(ranking)
    asked = read_records(queries, reading, on_error=cut.on_error)
    store = ranked.open_store()
    store.give(model=scanned.model, adapter=scanned.adapter, data=scanned.data)
    model = store.load_model()
    texts = in_tokens(model, asked, today=store.today, **asdict(cut))
    scores = {**ranked.scores, "random": random_order(len(ranked), seed=seed)}
    found = tail_patch(model, store.load_rows(), texts, scores, settings, seed=seed)
    skipped = [[row.location, row.reason] for row in (*asked.skipped, *texts.skipped)]
    figures = {
        name: {"log_probability": asdict(each.log_probability), "probability": asdict(each.probability)}
        for name, each in found.items()
    }
    result = {"scorers": figures, "queries": len(texts), "skipped": skipped, **asdict(settings)}
    answer(result, as_json, "\n".join([_patch_table(found, settings, len(texts)), *left_out(skipped)]))


def _patch_table(found: dict[str, TailPatch], settings: TailPatchSettings, queries: int) -> str:
    width = max(map(len, found)) + 2
    lines = [
        f"What one {settings.optimizer} step on each of the {settings.rows} highest rows adds to {queries} queries.",
        "",
        f"{'scorer':<{width}}{'log-probability':>26}{'probability':>34}",
    ]
    for name, each in found.items():
        chance = each.probability
        shown = f"{chance.value:.3g} [{chance.low:.3g}, {chance.high:.3g}]"
        lines.append(f"{name:<{width}}{each.log_probability!s:>26}{shown:>34}")
    return "\n".join(lines)
