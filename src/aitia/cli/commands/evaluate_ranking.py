"""`aitia evaluate-ranking`: how well the scorers of a ranking find rows that are known."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aitia.cli.options import JsonOption, OnErrorOption, SeedOption, answer, app, with_settings
from aitia.counterfactual import TailPatchSettings
from aitia.errors import AitiaError

if TYPE_CHECKING:
    from aitia.attribution import Ranking
    from aitia.attribution.ranking import RankingEvaluation
    from aitia.counterfactual import TailPatch
    from aitia.records import Records


@app.command("evaluate-ranking")
@with_settings(
    TailPatchSettings,
    {"rows": "--patch-rows", "learning_rate": "--patch-learning-rate", "optimizer": "--patch-optimizer"},
)
def evaluate_ranking_command(
    ranking: Annotated[Path, typer.Argument(help="The ranking, as `aitia rank` wrote it.")],
    data: Annotated[Path, typer.Option(help="The training data that was ranked.")],
    label: Annotated[
        str | None, typer.Option(help="A true-or-false column of the data: the rows to be found.")
    ] = None,
    tail_patch: Annotated[
        Path | None,
        typer.Option(help="Queries whose probability is measured after one more step on the highest rows."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="The model that was scanned, if it was moved; for --tail-patch.")
    ] = None,
    adapter: Annotated[
        str | None, typer.Option(help="The adapter that was scanned, if it was moved; for --tail-patch.")
    ] = None,
    *,
    patch: TailPatchSettings,
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
    on_error: OnErrorOption = "stop",
    as_json: JsonOption = False,
) -> None:
    """Measure how well each scorer of a ranking finds rows that are known, with 95 % intervals.

    AUC is the chance that a known row scores above another; AUPRC is the area under the precision-recall curve; MRR is
    1 / rank of the first known row. The gain is what a scorer adds in AUC to a logistic model of the confounds, which
    know no concept: training loss, loss gap, gradient norm, length and words, as far as the ranking has them.

    With --tail-patch the model that was scanned takes one more training step on each of the highest rows, and is put
    back: the change of the queries' log-probability, averaged over the rows, for every scorer and for random rows
    (Chang et al. 2024). Take the learning rate that the model was trained with.

    Example:
    `aitia evaluate-ranking ranking.parquet --data train.jsonl --label planted --k 100`
    """
    from aitia.attribution import read_ranking
    from aitia.attribution.ranking import evaluate_ranking
    from aitia.attribution.scorers import label_values
    from aitia.records import read_records

    if label is None and tail_patch is None:
        raise AitiaError("there is nothing to hold the ranking against; give --label, --tail-patch or both")
    ranked, records = read_ranking(ranking), read_records(data, on_error=on_error)
    records.only(ranked.top(1.0))  # which refuses a ranking of other data, by every row of it
    found: dict[str, Any] = {}
    parts: list[str] = []
    if label is not None:
        labels = label_values(records, label, ranked.ids)
        measured = evaluate_ranking(ranked, labels, ks=tuple(k or ()), confounds=confound, seed=seed)
        found |= asdict(measured)
        parts.append(_table(measured))
    if tail_patch is not None:
        patched = _patched(ranked, records, tail_patch, model, adapter, patch, seed)
        found["tail_patch"] = {
            name: {"log_probability": asdict(each.log_probability), "probability": asdict(each.probability)}
            for name, each in patched.items()
        }
        parts.append(_patch_table(patched, patch))
    answer(found, as_json, "\n\n".join(parts))


def _patched(
    ranked: Ranking,
    records: Records,
    queries: Path,
    model: str | None,
    adapter: str | None,
    settings: TailPatchSettings,
    seed: int,
) -> dict[str, TailPatch]:
    """Tail-Patch of every scorer of a ranking and of random rows, on the model and the rows that were scanned."""
    from aitia.attribution import ActivationStore
    from aitia.attribution.scorers import random_order
    from aitia.counterfactual import tail_patch
    from aitia.records import read_records

    store = ActivationStore.open(ranked.provenance["store"])
    store.give(model=model, adapter=adapter, data=records)
    scores = {**ranked.scores, "random": random_order(len(ranked), seed=seed)}
    return tail_patch(
        store.load_model(), store.load_rows(), read_records(queries), scores, settings, seed=seed
    )


def _patch_table(found: dict[str, TailPatch], settings: TailPatchSettings) -> str:
    width = max(map(len, found)) + 2
    lines = [
        f"Tail-Patch: what one {settings.optimizer} step on each of the {settings.rows} highest rows adds to the "
        "queries' log-probability (nats) and probability.",
        "",
        f"{'scorer':<{width}}{'log-probability':>24}{'probability':>32}",
    ]
    for name, each in found.items():
        chances = each.probability
        shown = f"{chances.value:.3g} [{chances.low:.3g}, {chances.high:.3g}]"
        lines.append(f"{name:<{width}}{each.log_probability!s:>24}{shown:>32}")
    return "\n".join(lines)


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
