"""What removing a slice of rows would do to the measurement: to first order, and with the slice's own curvature.

With n rows of mean loss, H their curvature, s_i the influence of row i (the derivative of the measurement by the
row's weight), and K_ij = g_i^T H^-1 g_j the rows' influence on each other, removing the rows U changes the
measurement by

    first order    - 1/n sum of s_i over U                       additive: a slice is the sum of its members
    corrected      - 1/n s_U^T (I - W_U K_UU / n)^-1 1           one Newton step with the rows' curvature taken out

Additivity takes H for the same with and without the slice, which is the less true the larger and the more alike
its rows are (Koh et al. 2019; Basu et al. 2020). The corrected form is a Newton step on what is left; by
Woodbury's identity it needs the members' influences on each other alone, if a row's curvature is
w_i g_i g_i^T. For cross-entropy that is the empirical Fisher matrix, w = 1 (our reading); for a linear model with
features x_i and loss l it is exact with w_i = l'' / l'^2.

Both are estimates around an optimum. After a few dozen steps of fine-tuning, sums still order slices as training
again does, but have no units at the usual damping, and the corrected form as a rule does not exist (docs/slices.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, Damping
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.gradients.training_gradients import FactorCache
from aitia.attribution.influence.streaming import influence
from aitia.errors import AitiaError, NumericalError
from aitia.models import LanguageModel, in_tokens
from aitia.records import Records, TokenizedRecords


def first_order_removal(influences: np.ndarray, rows: int) -> float:
    """Change of the measurement when a slice is removed, to first order: minus the members' sum over n.

    Args:
        influences: [u] of the members; positive: training on the row raises the measurement.
        rows: the number n of all rows.
    """
    return -float(np.sum(influences, dtype=np.float64)) / rows


def corrected_removal(
    influences: np.ndarray, kernel: np.ndarray, rows: int, *, weights: np.ndarray | None = None
) -> float:
    """The same with the slice's own curvature taken out: one Newton step (see the module).

    Args:
        influences: [u] of the members.
        kernel: [u, u], the members' influence on each other.
        rows: the number n of all rows.
        weights: [u] of each row's curvature; default: 1, the empirical Fisher matrix.

    Raises:
        AitiaError: a kernel of another shape.
        NumericalError: without the slice there is no curvature left in some direction: no Newton step exists.
    """
    size = len(influences)
    if np.shape(kernel) != (size, size):
        raise AitiaError(f"a kernel of shape {np.shape(kernel)} for a slice of {size} rows")
    scale = np.ones(size) if weights is None else np.asarray(weights, dtype=np.float64)
    held = np.sqrt(scale)[:, None] * np.asarray(kernel, dtype=np.float64) * np.sqrt(scale) / rows
    left = np.linalg.eigvalsh((held + held.T) / 2).max(initial=0.0)
    if not left < 1:
        raise NumericalError(
            f"removing these {size} rows takes away all curvature in some direction (share {left:.3g} of 1): "
            "the correction does not exist; use a larger damping"
        )
    step = np.linalg.solve(
        np.eye(size) - scale[:, None] * np.asarray(kernel, dtype=np.float64) / rows, np.ones(size)
    )
    return -float(np.asarray(influences, dtype=np.float64) @ step) / rows


def influence_kernel(
    model: LanguageModel,
    data: Records | TokenizedRecords,
    members: Sequence[int] | np.ndarray,
    curvature: Curvature,
    *,
    damping: Damping | None = None,
    cache: FactorCache | None = None,
) -> np.ndarray:
    """The members' influence on each other's loss, K_ij = g_i^T (H + damping)^-1 g_j: [u, u] float64.

    Args:
        model: the model, as a rule the fine-tuned one.
        data: n rows.
        members: positions of the u members.
        curvature: from `fit_curvature`.
        damping: of it.
        cache: keep the members' factors here, for further kernels of the same members.
    """
    tokenized = in_tokens(model, data)
    slice_ = TokenizedRecords(records=tuple(tokenized[int(i)] for i in members))
    kernel = influence(
        model,
        slice_,
        slice_,
        LogProbability(aggregate="sum" if curvature.settings.loss == "sum" else "mean"),
        curvature=curvature,
        damping=damping,
        average=False,
        cache=cache,
    )
    return (kernel + kernel.T).astype(np.float64) / 2
