"""What a run stands for beside its own order of the rows: another order would have put a row into other steps.

Ours. Let row i be in a step by chance. Its loss is divided by what the step's rows have together, D (tokens, or rows),
and its own u_i are among them: with b rows in a step and U in all n rows, E[D | i] = u_i + (b - 1) (U - u_i) / (n - 1).
So a long row counts for less, per token, than a short one.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from aitia.errors import AitiaError
from aitia.records import TokenizedRecords
from aitia.records.losses import loss_of
from aitia.training import RecordedRun


def equal_stretches(recorded: RecordedRun, count: int) -> list[tuple[int, int]]:
    """The steps of a run in stretches of equal length, to rounding.

    Args:
        recorded: the run.
        count: of the stretches; a shorter run has one a step.

    Returns:
        The first step of each stretch, and the one after its last.
    """
    steps = len(recorded.steps)
    ends = np.unique(np.linspace(0, steps, min(count, steps) + 1).round().astype(int))
    return list(pairwise(ends.tolist()))


def middles(recorded: RecordedRun, stretches: int) -> dict[int, float]:
    """The middle of as many equal stretches of a run, and what each stands for.

    Returns:
        Step -> sum over the stretch's steps of a row's chance to be among the step's.

    Raises:
        AitiaError: fewer than none.
    """
    if stretches < 0:
        raise AitiaError(
            f"over_orders {stretches}: give the number of steps at which every row is scored, or 0"
        )
    n = len(recorded.ids)
    return {
        (start + stop - 1) // 2: sum(len(each.rows) / n for each in recorded.steps[start:stop])
        for start, stop in equal_stretches(recorded, stretches)
    }


def expected_divisors(recorded: RecordedRun, rows: TokenizedRecords) -> np.ndarray:
    """What each row's loss is divided by in the mean over orders, E[D | i].

    Returns:
        [n] tokens, or rows where the loss is divided by these.
    """
    n, sizes = len(rows), np.array([len(each.rows) for each in recorded.steps], dtype=np.float64)
    in_step = float((sizes**2).sum() / sizes.sum())  # of a step that a row is in: larger ones hold more rows
    if not loss_of(recorded.loss).per_token:
        return np.full(n, in_step)
    own = np.array([row.response[1:].sum() for row in rows.answers], dtype=np.float64)
    return own + (in_step - 1) * (own.sum() - own) / max(n - 1, 1)
