"""Measurements: what a query asks of the model, as a differentiable number per query row.

The influence of a training row on a measurement m is -grad m^T (H + damping)^-1 grad L. The concept
measurement gives Concept Influence, the log-probability of a completion gives classical influence
functions, and both run through the same code. All are oriented alike: the larger, the more of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from aitia.concepts import Concept
from aitia.errors import AitiaError
from aitia.models import Outputs, response_end_mask

if TYPE_CHECKING:
    import torch

    from aitia.records import Batch

Tokens = Literal["response", "response_end", "last", "all"]
"""The tokens of a row that a measurement looks at."""


@dataclass(frozen=True, kw_only=True)
class ConceptMeasurement:
    """The projection of the activations on a concept: f_v(x) = <v, a>, over the chosen tokens.

    Source: Kowal et al. 2026, eq. 2.

    Attributes:
        concept: direction and site.
        tokens: all `response` tokens, the last of them (`response_end`), the `last` token of the row, or `all` of it;
            default: those that the concept is read at.
        aggregate: `mean` or `sum` over them.
    """

    concept: Concept
    tokens: Tokens | None = None
    aggregate: Literal["mean", "sum"] = "mean"

    def __post_init__(self) -> None:
        if self.tokens is None:
            object.__setattr__(self, "tokens", self.concept.tokens)
        if self.tokens not in get_args(Tokens):
            raise AitiaError(f"tokens {self.tokens!r}: choose {', '.join(get_args(Tokens))}")
        if self.aggregate not in ("mean", "sum"):
            raise AitiaError(f"aggregate {self.aggregate!r}: choose mean or sum")

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites it looks at; layers above the highest cannot move it."""
        return (self.concept.site,)

    def values(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """The measurement of each row: [b]."""
        import torch

        hidden = outputs.activations[self.concept.site]
        hidden = hidden.to(torch.promote_types(hidden.dtype, torch.float32))
        mask = hidden.new_tensor(self._mask(batch))
        projected = hidden @ hidden.new_tensor(self.concept.vector)
        total = (projected * mask).sum(dim=1)
        return total if self.aggregate == "sum" else total / mask.sum(dim=1)

    def _mask(self, batch: Batch) -> np.ndarray:
        if self.tokens == "response":
            return batch.response
        if self.tokens == "response_end":
            import torch

            return response_end_mask(torch.from_numpy(batch.response)).numpy()
        if self.tokens == "all":
            return batch.attention
        mask = np.zeros_like(batch.attention)
        mask[np.arange(len(mask)), batch.lengths - 1] = True
        return mask


@dataclass(frozen=True, kw_only=True)
class LogProbability:
    """The log-probability of each row's response, in nats: classical influence functions.

    Attributes:
        aggregate: `mean` over the response tokens, or their `sum`.
        weights: one weight a query row, as a judge gives them, to ask for a behaviour instead of a text
            (centre them, so that the behaviour's absence counts against); default: all one.
    """

    aggregate: Literal["mean", "sum"] = "mean"
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if self.aggregate not in ("mean", "sum"):
            raise AitiaError(f"aggregate {self.aggregate!r}: choose mean or sum")

    @property
    def sites(self) -> tuple[str, ...]:
        """None: every layer can move it."""
        return ()

    def values(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """The measurement of each row: [b]."""
        total = -outputs.losses()
        if self.aggregate == "mean":
            total = total / total.new_tensor(np.maximum(batch.response[:, 1:].sum(axis=1), 1))
        if self.weights is None:
            return total
        return total * total.new_tensor(np.asarray(self.weights, dtype=np.float32)[batch.index])


@dataclass(frozen=True, kw_only=True)
class CustomMeasurement:
    """Any differentiable number of the model's outputs.

    Attributes:
        function: maps outputs and batch to one number a row, [b].
        sites: the sites whose activations it wants; layers above the highest are left out where
            `below_sites_only` says that it looks at nothing else.
        below_sites_only: it depends on the activations at the sites alone.
    """

    function: Callable[[Outputs, Batch], torch.Tensor]
    sites: tuple[str, ...] = ()
    below_sites_only: bool = False

    def values(self, outputs: Outputs, batch: Batch) -> torch.Tensor:
        """The measurement of each row: [b]."""
        return self.function(outputs, batch)


Measurement = ConceptMeasurement | LogProbability | CustomMeasurement
"""A number of the model's outputs that influence is taken on."""


def highest_site(measurement: Measurement) -> str | None:
    """The site above which no layer can move the measurement, or none."""
    if isinstance(measurement, ConceptMeasurement):
        return measurement.concept.site
    if isinstance(measurement, CustomMeasurement) and measurement.below_sites_only and measurement.sites:
        return max(measurement.sites, key=lambda site: int(site.rsplit(".", 1)[1]))
    return None
