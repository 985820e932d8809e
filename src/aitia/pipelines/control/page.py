"""The page of a trade-off: predicted changes, and beside them what training again gave."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aitia.files import write_json
from aitia.pipelines.control.front import Front, FrontPoint, RandomPoint
from aitia.report import Curve, CurveFigure, Document, Section, Table, write_document

_UNITS = (
    "Changes are against training on all rows. A share of 1 is the sum of the absolute derivatives of all rows: "
    "what all rows together do to the measurement."
)


def write_front(
    front: Front, path: Path | str, *, facts: Sequence[tuple[str, str]], reproduce: str = ""
) -> dict[str, str]:
    """Write the page, and its figures as JSON beside it (`front.json` for `front.html`).

    Returns:
        `front` and `front_figures`, and where they are.
    """
    path = Path(path)
    page = write_document(front_document(front, facts=facts, reproduce=reproduce), path)
    figures = path.with_suffix(".json")
    write_json(figures, front.as_json())
    return {"front": str(page), "front_figures": str(figures)}


def front_document(front: Front, *, facts: Sequence[tuple[str, str]], reproduce: str = "") -> Document:
    """The page as plain data."""
    figures: list[Any] = [_by_share(front)]
    if front.keep:
        figures.insert(0, _trade_off(front))
    said = (
        "Predicted by the derivatives of the recorded run, and measured after training again at each point, on the "
        "same texts."
        if front.verified
        else "Predicted to first order by the derivatives of the recorded run. Nothing was trained again yet; add "
        "`verify` to see what each point is worth."
    )
    return Document(
        title="What can fall, and what stays",
        question=f"How far can {_listed(front.lower)} fall"
        + (f" while {_listed(front.keep)} stays?" if front.keep else "?"),
        facts=facts,
        sections=[
            Section(title="The trade-off", text=f"{said} {_UNITS}", parts=figures),
            Section(
                title="The points", text="Changes in each measurement's own unit.", parts=[_table(front)]
            ),
        ],
        reproduce=reproduce,
    )


def _trade_off(front: Front) -> CurveFigure:
    curves = []
    for share in dict.fromkeys(each.share for each in front.points):
        points = [each for each in front.points if each.share == share]
        predicted = [(each.choice.kept_share.min(), each.choice.lowered_share.sum()) for each in points]
        curves.append(_curve(f"{share:.0%} of the rows, predicted", predicted))
        if front.verified:
            curves.append(_curve(f"{share:.0%}, measured", [_shares(front, each) for each in points], True))
    return CurveFigure(
        title="What falls, by what stays",
        x_title="change of what is to stay, the least, as a share",
        y_title="change of what is to fall, as a share",
        curves=curves,
        note=_note(front),
    )


def _by_share(front: Front) -> CurveFigure:
    first: dict[float, FrontPoint] = {}
    for each in front.points:
        first.setdefault(each.share, each)
    curves = [
        _curve("predicted", [(share, each.choice.lowered_share.sum()) for share, each in first.items()])
    ]
    if front.verified:
        curves.append(_curve("measured", [(share, _shares(front, each)[1]) for share, each in first.items()]))
    if front.random:
        curves.append(
            _curve("random rows", [(each.share, _shares(front, each)[1]) for each in front.random], True)
        )
    return CurveFigure(
        title="What falls, by the share of rows that may go",
        x_title="share of the rows that may go",
        y_title="change of what is to fall, as a share",
        curves=curves,
        note=f"At the smallest tolerance, {front.points[0].choice.tolerance:g}. {_note(front)}",
        x_percent=True,
    )


def _note(front: Front) -> str:
    seeds = len(front.points[0].lowered)
    return f"Measured: mean over {seeds} {'seed' if seeds == 1 else 'seeds'}." if seeds else ""


def _shares(front: Front, point: FrontPoint | RandomPoint) -> tuple[float, float]:
    """Measured changes as shares: the least of what is to stay, and the sum of what is to fall."""
    lowered = (point.lowered.mean(0) / front.lower_scale).sum()
    if not front.keep:
        return 0.0, float(lowered)
    kept = (point.kept.mean(0) / front.keep_scale).min()
    return float(kept), float(lowered)


def _curve(label: str, points: Sequence[tuple[float, float]], baseline: bool = False) -> Curve:
    """A line through points in the order of x; of several at one x, through the lowest."""
    lowest: dict[float, float] = {}
    for x, y in points:
        lowest[float(x)] = min(float(y), lowest.get(float(x), np.inf))
    x = sorted(lowest)
    return Curve(label=label, x=x, y=[lowest[each] for each in x], baseline=baseline)


def _table(front: Front) -> Table:
    names = [*front.lower, *front.keep]
    header = ["share", "tolerance", "rows that go"]
    for name in names:
        header += [f"{name}, predicted"] + ([f"{name}, measured"] if front.verified else [])

    def cells(predicted: Sequence[float | None], measured: np.ndarray) -> list[float | None]:
        found: list[float | None] = []
        for place, each in enumerate(predicted):
            found += [each] + ([float(measured[:, place].mean())] if front.verified else [])
        return found

    rows: list[list[Any]] = [
        [
            f"{each.share:.0%}",
            each.choice.tolerance,
            str(len(each.choice.removed)),
            *cells(
                [*each.choice.lowered.tolist(), *each.choice.kept.tolist()],
                np.concatenate([each.lowered, each.kept], axis=1),
            ),
        ]
        for each in front.points
    ]
    rows += [
        [
            f"{each.share:.0%}, random rows",
            None,
            str(each.rows),
            *cells([None] * len(names), np.concatenate([each.lowered, each.kept], axis=1)),
        ]
        for each in front.random
    ]
    return Table(header=header, rows=rows, prose=(2,))


def _listed(names: Sequence[str]) -> str:
    return " and ".join(Path(name).name for name in names)
