"""Grades by thresholds that anyone can read: the file `rubric.json` beside this module, or one of the user's."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from aitia.errors import ExplanationError, reason_of
from aitia.explanations.core.catalogue import DOWN, VIRTUES, ZERO
from aitia.explanations.core.result import VirtueResult
from aitia.files import read_json

GRADES = ("highly", "weakly", "not")
Rubric = Mapping[str, tuple[float, float]]


def load_rubric(path: Path | str | None = None) -> Rubric:
    """The thresholds for highly and weakly virtuous, by virtue; by default those that aitia ships.

    Returns:
        Virtue -> its two thresholds; a virtue that the file does not name has none.

    Raises:
        ExplanationError: the file is missing, no JSON, names an unknown virtue, or has thresholds out of order.
    """
    try:
        with resources.as_file(resources.files("aitia.explanations.card") / "rubric.json") as own:
            rows = read_json(path or own)
    except FileNotFoundError:
        raise ExplanationError(f"rubric {path}: no such file") from None
    except ValueError as error:
        raise ExplanationError(f"rubric {path}: not JSON: {reason_of(error)}") from None
    if not isinstance(rows, dict):
        raise ExplanationError(f"rubric {path}: must be an object, virtue by virtue")
    rubric = {}
    for name, row in rows.items():
        if name == "note":
            continue
        if name not in VIRTUES:
            raise ExplanationError(f"rubric {path or 'rubric.json'}: there is no virtue {name!r}")
        if not (
            isinstance(row, list) and len(row) == 2 and all(isinstance(each, int | float) for each in row)
        ):
            raise ExplanationError(
                f"rubric {path or 'rubric.json'}: {name} needs two numbers, highly and weakly"
            )
        highly, weakly = float(row[0]), float(row[1])
        if (highly > weakly) if VIRTUES[name].direction in (DOWN, ZERO) else (highly < weakly):
            raise ExplanationError(
                f"rubric {path or 'rubric.json'}: {name}: highly must ask for more than weakly"
            )
        rubric[name] = (highly, weakly)
    return rubric


def grade(result: VirtueResult, rubric: Rubric) -> str | None:
    """Highly, weakly or not virtuous; None without a value or a threshold. Not discriminating counts as not."""
    if result.value is None or result.name not in rubric:
        return None
    if result.discriminating is False:
        return "not"
    direction = result.virtue.direction
    value = abs(result.value) if direction == ZERO else result.value
    for name, threshold in zip(GRADES, rubric[result.name], strict=False):
        if value <= threshold if direction in (DOWN, ZERO) else value >= threshold:
            return name
    return "not"
