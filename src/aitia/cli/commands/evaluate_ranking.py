"""`aitia evaluate-ranking`: how well the scorers of a ranking find rows that are known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.cli.options import JsonOption, OnErrorOption, SeedOption, answer, app, with_settings
from aitia.records import ReadingSettings

if TYPE_CHECKING:
    from aitia.attribution.ranking import RankingEvaluation


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
