"""Functions with named places: how aitia looks into a model and into an explanation alike.

Both are written as `function(given, inputs, tap)`. The function calls `tap("name", value)` at each named
place and goes on with what it returns: the value itself, or another where someone intervenes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from aitia.errors import ExplanationError

Tap = Callable[[str, Any], np.ndarray]
"""A function of a place's name and its value [n, ...]; it returns the value to go on with."""
TappedFunction = Callable[[Mapping[str, Any], np.ndarray, Tap], Any]


def run_tapped(
    function: TappedFunction,
    given: Mapping[str, Any],
    inputs: np.ndarray,
    interventions: Mapping[str, np.ndarray] | None = None,
) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Run a function with named places, setting some of them.

    Args:
        function: called as `function(given, inputs, tap)`.
        given: its parameters or premises.
        inputs: [n, ...].
        interventions: place -> value [n, ...] that it is set to.

    Returns:
        What the function returned, and the value at each named place, interventions included.

    Raises:
        ExplanationError: an intervention names a place that the function does not have, or does not fit it.
    """
    wanted = dict(interventions or {})
    seen: dict[str, np.ndarray] = {}

    def tap(name: str, value: Any) -> np.ndarray:
        value = np.asarray(value)
        if name in wanted:
            new = np.asarray(wanted[name])
            if new.shape != value.shape:
                raise ExplanationError(
                    f"{name!r} has shape {value.shape}; it cannot be set to shape {new.shape}"
                )
            value = new
        seen[name] = value
        return value

    answer = np.asarray(function(given, inputs, tap))
    if missing := wanted.keys() - seen.keys():
        raise ExplanationError(
            f"cannot intervene on {', '.join(sorted(missing))}: there is {', '.join(seen) or 'no named place'}"
        )
    return answer, seen
