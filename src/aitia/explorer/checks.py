"""How far a ranking can be trusted: controls, agreement with what knows no concept, and labelled rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.attribution import ActivationStore, Control, ControlKind, RankingContext, find_scorer
from aitia.attribution.ranking import (
    CONFOUNDS,
    RANDOM_CONTROLS,
    hold_against_nulls,
    null_directions,
    trust_warnings,
)
from aitia.concepts import Concept
from aitia.errors import AitiaError
from aitia.statistics import confound_adjusted_gain, retrieval_figures, spearman

if TYPE_CHECKING:
    from aitia.explorer.rows.columns import ScoreColumn
    from aitia.explorer.rows.explored import ExploredRows

_CHEAP = ("training-loss", "gradient-norm", "response-length")
_FOLDS, _DRAWS, _NULLS = 5, 200, 99
_ROWS, _COMPARED = 10_000, 200_000
_NUMBERS_AT_ONCE = 2**24
_SEED = 0


def controls(rows: ExploredRows, column: ScoreColumn) -> dict[str, Any]:
    """What null directions give by the same scorer, and what speaks against the ranking, as `rank` has it.

    Of more than 200,000 rows, as many at even distances are taken for correlations.

    Args:
        rows: of the store.
        column: scores that were asked here.

    Returns:
        `controls`, each with its kind, rank correlation with the ranking and spread; `agreement` with scores that know
        no concept; `warnings`, in words; `spread` of the ranking.

    Raises:
        AitiaError: the concept of the scores is not at hand.
    """
    if "controls" not in column.kept:
        store, concept = _asked(rows, column)
        some = np.unique(np.linspace(0, len(rows) - 1, min(_COMPARED, len(rows))).astype(np.int64))
        found = _control_scores(store, concept, column.method, some)
        values = column.values[some]
        column.kept["controls"] = {
            "controls": [
                {
                    "kind": control.kind.value,
                    "number": control.number,
                    "agreement": _finite(spearman(control.scores, values)),
                    "spread": float(control.scores.std()),
                }
                for control in found
            ],
            "spread": float(np.nanstd(values)),
            "agreement": {
                name: _finite(spearman(each[some], values)) for name, each in confounds(rows, column).items()
            },
            "warnings": trust_warnings(column.method, {column.method: values}, found, concept),
        }
    return column.kept["controls"]


def _control_scores(store: ActivationStore, concept: Concept, method: str, some: np.ndarray) -> list[Control]:
    """The scorer on null directions and on the concept's shuffled ones, of some rows."""
    try:
        drawn = null_directions(store, concept.site, concept.width, count=RANDOM_CONTROLS, seed=_SEED)
    except AitiaError:  # rows that are alike have no matched directions
        drawn = np.zeros((0, concept.width), dtype=np.float32)
    assert concept.shuffled is not None
    shuffled = concept.shuffled.sum(axis=1)
    directions = np.concatenate([drawn * np.linalg.norm(concept.vector), shuffled])
    kinds = [ControlKind.MATCHED] * len(drawn) + [ControlKind.SHUFFLED] * len(shuffled)
    numbers = [*range(1, len(drawn) + 1), *range(1, len(shuffled) + 1)]
    scores = _scores_under(store, concept, method)(directions, some)
    return [
        Control(kind=kind, number=number, scores=each)
        for kind, number, each in zip(kinds, numbers, scores, strict=True)
    ]


def _scores_under(
    store: ActivationStore, concept: Concept, method: str
) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """What scores some rows under other directions, [c, d] and [m] to [c, m], a few directions at once."""
    scorer = find_scorer(method)
    prepared = scorer.prepare(RankingContext(store=store, concept=concept, seed=_SEED).for_scorer(scorer))
    step = max(1, _NUMBERS_AT_ONCE // len(store))

    def score(directions: np.ndarray, some: np.ndarray) -> np.ndarray:
        found = np.empty((len(directions), len(some)), dtype=np.float32)
        for start in range(0, len(directions), step):
            part = prepared.under(directions[start : start + step])
            assert part is not None
            found[start : start + step] = part[:, some]
        return found

    return score


def confounds(rows: ExploredRows, column: ScoreColumn) -> dict[str, np.ndarray]:
    """Scores that know no concept, as far as the store has them: name -> [n]."""
    found = {
        each.method: each.values
        for each in list(rows.scores.values())
        if each.method in CONFOUNDS and each.method != column.method and np.isfinite(each.values).all()
    }
    if rows.store is not None and column.direction is not None:
        for name in _CHEAP:
            if name not in found and name != column.method:
                values = _cheap(rows.store, column.direction, name)
                found |= {} if values is None else {name: values}
    lengths = np.asarray(rows.column("response_tokens"), dtype=np.float64)
    found.setdefault("response-length", lengths)
    return {name: values for name, values in found.items() if np.ptp(values) > 0}


def _cheap(store: ActivationStore, concept: Concept, name: str) -> np.ndarray | None:
    scorer = find_scorer(name)
    if not set(scorer.needs().activations) <= set(store.activations):
        return None
    try:
        context = RankingContext(store=store, concept=concept, seed=_SEED)
        return scorer.prepare(context.for_scorer(scorer)).rows().astype(np.float64)
    except AitiaError:  # a confound that these rows cannot have is left out of those that are listed
        return None


def label_check(rows: ExploredRows, column: ScoreColumn, label: str) -> dict[str, Any]:
    """How well scores find labelled rows, and what they add to scores that know no concept.

    Of more than 10,000 rows, as many are drawn, labelled and others in their proportion; all figures are of these.

    Args:
        rows: the rows.
        column: scores of them.
        label: a column of flags of the data.

    Returns:
        `auc` and `gain` with 95 % intervals, `confounds` and their AUC alone, `p_value` against matched null
        directions, and how many rows were labelled and used.

    Raises:
        AitiaError: the label is no column of flags, or all rows have it or none.
    """
    kept = column.kept.setdefault("labels", {})
    if label not in kept:
        kept[label] = _label_check(rows, column, label)
    return kept[label]


def _label_check(rows: ExploredRows, column: ScoreColumn, label: str) -> dict[str, Any]:
    if label not in rows.texts.columns or rows.kind(label) != "flag":
        raise AitiaError(f"{label!r:.80} is no true-or-false column of the data; choose one that is")
    labels = np.asarray(rows.texts.columns[label].fill_null(False))
    count, n = int(labels.sum()), len(labels)
    if count in (0, n):
        raise AitiaError(f"{label}: {count} of {n} rows have it, so nothing can be told apart")
    used = _drawn(labels)
    values, some = column.values[used], labels[used]
    estimate = retrieval_figures(values, some, draws=_DRAWS)["auc"]
    found: dict[str, Any] = {
        "label": label,
        "labelled": count,
        "rows": n,
        "used": len(used),
        "auc": [estimate.value, estimate.low, estimate.high],
        "gain": None,
        "p_value": None,
        "why": None,
    }
    others = {name: each[used] for name, each in confounds(rows, column).items()}
    found["confounds"] = list(others)
    if column.method in CONFOUNDS:
        found["why"] = f"{column.method} is itself a score that knows no concept"
    elif min(int(some.sum()), int((~some).sum())) < _FOLDS:
        found["why"] = (
            f"{count} of {n} rows are labelled, and {_FOLDS} folds need {_FOLDS} rows of either side"
        )
    elif others:
        gain, before = confound_adjusted_gain(values, others, some, folds=_FOLDS, repeats=2, draws=_DRAWS)
        found |= {"gain": [gain.value, gain.low, gain.high], "confounds_auc": before}
    found["p_value"] = _p_value(rows, column, labels, used)
    return found


def _p_value(rows: ExploredRows, column: ScoreColumn, labels: np.ndarray, used: np.ndarray) -> float | None:
    """Of the AUC among some rows against matched null directions; none without a direction, or with too few rows."""
    store, concept, some = rows.store, column.direction, labels[used]
    if store is None or concept is None or min(some.sum(), (~some).sum()) < 2:
        return None
    under = _scores_under(store, concept, column.method)
    step = max(1, _NUMBERS_AT_ONCE // len(labels))

    def score(directions: np.ndarray) -> np.ndarray:
        return under(directions, used)

    def draw(count: int, among: np.ndarray | None) -> np.ndarray:
        chosen = np.zeros(len(labels), dtype=bool)
        chosen[used if among is None else used[among]] = True
        drawn = [
            null_directions(
                store,
                concept.site,
                concept.width,
                count=min(step, count - start),
                seed=_SEED + start,
                among=chosen,
            )
            for start in range(0, count, step)
        ]
        return np.concatenate(drawn)

    try:
        return hold_against_nulls(score, draw, column.values[used], some, draws=_NULLS, seed=_SEED)[0]
    except AitiaError:  # rows that are alike have no matched directions
        return None


def _drawn(labels: np.ndarray) -> np.ndarray:
    """Positions of at most 10,000 rows, both sides in their proportion."""
    if len(labels) <= _ROWS:
        return np.arange(len(labels))
    generator, share = np.random.default_rng(_SEED), _ROWS / len(labels)
    sides = [np.flatnonzero(labels), np.flatnonzero(~labels)]
    some = [generator.choice(side, max(1, round(share * len(side))), replace=False) for side in sides]
    return np.sort(np.concatenate(some))


def _asked(rows: ExploredRows, column: ScoreColumn) -> tuple[ActivationStore, Concept]:
    if rows.store is None or column.direction is None:
        raise AitiaError(
            "controls are made for concepts that are asked here; the report of the run has those of its own ranking"
        )
    return rows.store, column.direction


def _finite(value: float) -> float | None:
    return value if np.isfinite(value) else None
