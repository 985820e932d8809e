"""Derivatives of measurements after a recorded run, kept in its folder: asked for again, they are read.

One file a target, named by the run, the rows, what is measured on which texts, and the surrogates. What is missing is
replayed in one pass.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.attribution.replay.smoothness import (
    EPSILON_ROOT,
    OVER_ORDERS,
    SURROGATES,
    Metasmoothness,
    smooth_replay,
)
from aitia.attribution.replay.targets import Target, require_targets
from aitia.errors import StoreError
from aitia.files import digest
from aitia.models import LanguageModel
from aitia.records import Records
from aitia.tensor_files import open_tensors, save_tensors
from aitia.training import CONTROL, RecordedRun

_FORMAT = "aitia-derivative-v1"


@dataclass(frozen=True, kw_only=True)
class Derivatives:
    """Derivatives of c targets with respect to the n rows' weights.

    Attributes:
        targets: their names.
        values: [c] of the targets after training, mean over the smooth runs.
        scores: [c, n] likewise.
        smoothness: one a target.
    """

    targets: tuple[str, ...]
    values: np.ndarray
    scores: np.ndarray
    smoothness: tuple[Metasmoothness, ...]


def kept_derivatives(
    run: RecordedRun,
    base: Callable[[], LanguageModel],
    data: Records,
    targets: Sequence[Target],
    *,
    runs: int = SURROGATES,
    epsilon_root: float = EPSILON_ROOT,
    over_orders: int = OVER_ORDERS,
) -> Derivatives:
    """The derivatives of a recorded run, read from its folder where they were taken before (see `smooth_replay`).

    Args:
        run: the run.
        base: gives the model that it started from; called only where something is missing.
        data: the n rows.
        targets: what is measured after training, by measurements and texts that can be named.
        runs: surrogates of a run that is not smooth.
        epsilon_root: of the surrogates.
        over_orders: see `smooth_replay`.

    Returns:
        The derivatives, in the order of the targets.

    Raises:
        AitiaError: a target cannot be kept (see `Target.identity`), or see `smooth_replay`.
        StoreError: model or data are not the run's, or a kept file is damaged.
        NumericalError: a derivative is not finite.
    """
    require_targets(targets)
    shared = [_FORMAT, run.said, data.fingerprint, runs, epsilon_root, over_orders]
    folder = run.path / CONTROL / "derivatives"
    files = [folder / f"{digest([*shared, each.identity()])[:24]}.safetensors" for each in targets]
    # Two names may ask the same.
    missing = {file: each for file, each in zip(files, targets, strict=True) if not file.is_file()}
    if missing:
        found = smooth_replay(
            [run],
            base(),
            data,
            list(missing.values()),
            runs=runs,
            epsilon_root=epsilon_root,
            over_orders=over_orders,
        )
        values = np.mean([each.values for each in found.runs], axis=0)
        for place, file in enumerate(missing):
            said = asdict(found.smoothness[place]) | {"value": float(values[place])}
            save_tensors(file, {"scores": found.scores[place]}, {"format": _FORMAT, "said": json.dumps(said)})
    read = [_read(file, len(data)) for file in files]
    return Derivatives(
        targets=tuple(each.name for each in targets),
        values=np.array([value for _, value, _ in read]),
        scores=np.stack([scores for scores, _, _ in read]),
        smoothness=tuple(
            replace(smooth, target=each.name) for each, (_, _, smooth) in zip(targets, read, strict=True)
        ),
    )


def _read(file: Path, rows: int) -> tuple[np.ndarray, float, Metasmoothness]:
    try:
        with open_tensors(file) as kept:
            said: dict[str, Any] = json.loads(kept.metadata["said"])
            scores = kept["scores"]
        if scores.shape != (rows,):
            raise ValueError(f"{len(scores)} scores for {rows} rows")
        value = float(said.pop("value"))
        smooth = Metasmoothness(**said)
    except (ValueError, KeyError, TypeError) as error:
        raise StoreError(f"{file}: damaged ({error}); delete the file and run again") from error
    return scores, value, smooth
