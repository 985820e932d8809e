"""Columns of scores: the values of n rows with their order, ranks and percentiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.records import TokenizedRecord

if TYPE_CHECKING:
    from aitia.concepts import Concept

TokenShares = Callable[[TokenizedRecord], "np.ndarray | None"]


@dataclass(kw_only=True, eq=False)
class ScoreColumn:
    """The scores of n rows by one scorer under one concept.

    Attributes:
        key: by which the page asks for it.
        method: the name of the scorer.
        concept: the name of the concept.
        values: [n]; NaN for a row that was not scored.
        asked: the question that it answers, as the page asked it; None for one from a file.
        about: what else is to be said of it: site, held-out AUC, how the concept was found.
        direction: the concept itself, where it is at hand.
        file: the ranking that it was read from.
        shares: gives each token's share of a row's score; None where nothing can be made to give it.
        kept: what was computed of it and is kept: controls, gains.
    """

    key: str
    method: str
    concept: str
    values: np.ndarray
    asked: Mapping[str, Any] | None = None
    about: dict[str, Any] = field(default_factory=dict)
    direction: Concept | None = None
    file: Path | None = None
    shares: Callable[[], TokenShares | None] | None = None
    kept: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    @property
    def title(self) -> str:
        """For people: the concept and the scorer."""
        return f"{self.concept} · {self.method}" if self.concept else self.method

    @cached_property
    def order(self) -> np.ndarray:
        """[n] int32 positions, the highest score first; rows that were not scored come last, ties keep their order."""
        return order_of(self.values, descending=True)

    @cached_property
    def ranks(self) -> np.ndarray:
        """[n] int32 rank of each row, 1 for the highest score."""
        found = np.empty(len(self), dtype=np.int32)
        found[self.order] = np.arange(1, len(self) + 1, dtype=np.int32)
        return found

    @property
    def percentiles(self) -> np.ndarray:
        """[n] percent of the rows that come after a row, the row with them: 100 for the highest score."""
        return 100.0 * (len(self) - self.ranks + 1) / max(len(self), 1)

    def plain(self) -> dict[str, Any]:
        """What the page is told of the column, without the values."""
        finite = self.values[np.isfinite(self.values)]
        return {
            "key": self.key,
            "title": self.title,
            "method": self.method,
            "concept": self.concept,
            "asked": None if self.asked is None else dict(self.asked),
            "file": None if self.file is None else str(self.file),
            "shares": self.shares is not None,
            "mean": float(finite.mean()) if len(finite) else None,
            "spread": float(finite.std()) if len(finite) else None,
            "largest": float(np.abs(finite).max()) if len(finite) else None,
            **self.about,
        }


def order_of(values: np.ndarray, *, descending: bool) -> np.ndarray:
    """Positions in the order of values; ties keep their order, and what is no number comes last.

    Args:
        values: [n].
        descending: the highest first.

    Returns:
        [n] int32.
    """
    keys = np.where(np.isfinite(values), -values if descending else values, np.inf)
    return np.argsort(keys, kind="stable").astype(np.int32)
