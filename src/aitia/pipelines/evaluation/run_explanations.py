"""The rankings of a run of `aitia counterfactual` as baseline explanations, judged by the removals that it made."""

from __future__ import annotations

from pathlib import Path

from aitia.adapters import ranking_explanation, retraining_phenomenon
from aitia.attribution.scorers import goes_through_concept
from aitia.counterfactual import ConceptProjection, RunResult, plan_removals
from aitia.errors import ExplanationError, reason_of
from aitia.explanations import Direction, Explanation
from aitia.files import reading
from aitia.pipelines.evaluation.run_direction import run_direction

EVERY_ROW = "every row counts alike"


_COLUMNS = {
    "rankings": {"id"},
    "removal": {"behaviour", "rows_kept", "ranking", "end", "share_removed", "seed", "value"},
}


def run_explanations(
    folder: Path, *, behaviour: str | None = None, intervene: bool = False
) -> list[Explanation]:
    """Every ranking of a run as a hypothesis of one behaviour, and last the baseline that every row counts alike.

    Args:
        folder: of the run: `rankings.parquet` and `removal.parquet` lie there.
        behaviour: which; default: the first that is not the projection on the concept, or that.
        intervene: load the run's models, ablate the concept's direction and steer along it.

    Returns:
        One explanation a ranking, and the baseline.

    Raises:
        ExplanationError: a file is missing or they do not fit together; the behaviour was not measured.
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    if (folder / "ranking.parquet").is_file() and not (folder / "removal.parquet").is_file():
        raise ExplanationError(
            f"{folder}: `aitia attribute` ranks rows and removes none, so there is nothing to judge its ranking by; "
            f"name {folder / 'ranking.parquet'} under rankings.files of a configuration of `aitia counterfactual`, "
            "run that, and judge its folder"
        )
    tables = {}
    for name in ("rankings", "removal"):
        path = folder / f"{name}.parquet"
        try:
            with reading(path):
                tables[name] = parquet.read_table(path)
        except FileNotFoundError:
            raise ExplanationError(
                f"{path}: no such file; a run of `aitia counterfactual` leaves it there"
            ) from None
        except (OSError, ValueError, pa.ArrowException) as error:
            raise ExplanationError(
                f"{path}: damaged ({reason_of(error)}); run the same `aitia counterfactual` again"
            ) from error
    for name, columns in _COLUMNS.items():
        if lacking := sorted(columns - set(tables[name].column_names)):
            raise ExplanationError(
                f"{folder / name}.parquet: no column {', '.join(lacking)}; not as `aitia counterfactual` wrote it, so "
                "run the same again"
            )
    scores = {
        name: tables["rankings"][name].to_numpy() for name in tables["rankings"].column_names if name != "id"
    }
    ids = tables["rankings"]["id"].to_pylist()
    cells = tables["removal"].to_pylist()
    names = list(dict.fromkeys(row["behaviour"] for row in cells))
    # A direction cannot be tried on the projection upon itself.
    others = [name for name in names if name != ConceptProjection.name]
    chosen = behaviour or (others or names)[0]
    if chosen not in names:
        raise ExplanationError(f"{folder}: no behaviour {chosen!r}; the run measured {', '.join(names)}")
    values: dict[tuple[str, str, float, int], list[float]] = {}
    for row in cells:
        # Without any row left nothing was trained.
        if row["behaviour"] == chosen and row["rows_kept"] > 0:
            key = (row["ranking"], row["end"], row["share_removed"], row["seed"])
            values.setdefault(key, []).append(row["value"])
    shares = sorted({share for _, _, share, _ in values if 0 < share < 1})
    seeds = sorted({seed for _, _, _, seed in values})
    ends = sorted({end for _, end, _, _ in values})
    plan = plan_removals(ids, scores, shares, seeds, ends=ends)
    kept = {(each.method, each.end, each.share, each.seed): cell for each, cell in plan.items()}
    if missing := [key for key in values if key not in kept]:
        raise ExplanationError(
            f"{folder}: its rankings do not lead to the removal {missing[0]} that it measured"
        )
    results = [RunResult(run=kept[key], values={chosen: tuple(each)}) for key, each in values.items()]
    phenomenon = retraining_phenomenon(ids, results, chosen)
    direction = Direction(reason="it was not asked for")
    if intervene and any(goes_through_concept(name) for name in scores):
        direction = run_direction(folder, chosen)
    hypotheses = [
        ranking_explanation(
            phenomenon, name, each, direction=direction if goes_through_concept(name) else None
        )
        for name, each in scores.items()
    ]
    return [*hypotheses, ranking_explanation(phenomenon, EVERY_ROW, None)]
