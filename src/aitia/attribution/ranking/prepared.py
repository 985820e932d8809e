"""What a scorer gives, checked: scores of rows, scores under other directions, and shares of tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from aitia.attribution.ranking.controls import DirectionScores
from aitia.attribution.scorers import Scores, naming_package
from aitia.errors import AitiaError
from aitia.records import TokenizedRecord

TokenShares = Callable[[TokenizedRecord], np.ndarray | None]
"""Gives each token's share of a row's score, [t]; none for a score that has no such parts."""


def row_scores(prepared: Scores, rows: int) -> np.ndarray:
    """[n] the scores of a store's rows."""
    return _numbers(prepared.rows(), (rows,))


def direction_scores(name: str, prepared: Scores, rows: int) -> DirectionScores:
    """What scores the rows under other directions, by the scorer of that name."""

    def score(directions: np.ndarray) -> np.ndarray:
        with naming_package(name):
            return _numbers(prepared.under(directions), (len(directions), rows))

    return score


def side_scores(name: str, prepared: Scores, rows: int) -> dict[str, np.ndarray]:
    """The parts of the rows' scores by the answers that their loss compares, [n] each, by the scorer of that name."""
    with naming_package(name):
        return {side: _numbers(part, (rows,)) for side, part in prepared.sides().items()}


def token_shares(name: str, prepared: Scores) -> TokenShares:
    """What gives the shares of a row's tokens, by the scorer of that name."""

    def shares(row: TokenizedRecord) -> np.ndarray | None:
        with naming_package(name):
            found = prepared.tokens(row)
            return None if found is None else _numbers(found, (len(row.tokens),))

    return shares


def _numbers(found: object, shape: tuple[int, ...]) -> np.ndarray:
    """Refuse what a scorer gives in another shape, or what is no number."""
    values = np.asarray(found)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise AitiaError(f"it gave {values.dtype} of shape {values.shape}, not numbers of shape {shape}")
    return values if values.dtype.kind == "f" else values.astype(np.float64)
