"""Kinds of curvature: a name, and the passes over the rows that fit it, in one registry.

A kind is one file of this folder whose name begins with `kind_`. It enters the kind with `register`; aitia finds it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from aitia.models import Factors, LinearLayer

if TYPE_CHECKING:
    import torch

    from aitia.attribution.gradients.curvature import LayerCurvature

Basis = tuple["torch.Tensor | None", "torch.Tensor | None"]
"""U and V of a layer, or none where they are identities."""


class Pass(Protocol):
    """A pass over the rows: sums that it makes of their factors, and what a layer's curvature is by the sums.

    Attributes:
        name: under which the sums are kept; two passes of one name make the same sums.
        title: of the progress bar.
        exact: whether the factors are float32 whatever precision is chosen, and no basis is asked for.
        gives_basis: whether it gives U and V, by two eigendecompositions a layer.
    """

    name: str
    title: str
    exact: bool
    gives_basis: bool

    def add(
        self, factors: Mapping[str, Factors], bases: Mapping[str, Basis], totals: dict[str, torch.Tensor]
    ) -> None:
        """Add the sums of some rows to `totals`, in place.

        Args:
            factors: layer -> its factors, [b, t, in] and [b, t, out].
            bases: layer -> U and V of the passes before, in the type of the factors; empty for an exact pass.
            totals: key -> sum, float32. The key is the pass's own; sums of shards are added under it.
        """
        ...

    def fitted(
        self,
        name: str,
        before: LayerCurvature,
        totals: Mapping[str, torch.Tensor],
        *,
        rows: int,
        tokens: int,
    ) -> LayerCurvature:
        """The curvature of the layer `name` from the sums of all rows and what the passes before made of it.

        Args:
            name: of the layer.
            before: its curvature after the passes before.
            totals: key -> sum over all rows.
            rows: how many.
            tokens: how many, prompts too.

        Returns:
            The curvature of the layer.

        Raises:
            AitiaError: no row has a gradient there, and the pass cannot do without.
        """
        ...

    def operations(self, layers: Sequence[LinearLayer], *, rows: int, tokens: int, based: bool) -> int:
        """Multiply-adds of the sums, beside the model's run.

        Args:
            layers: whose curvature.
            rows: how many.
            tokens: how many.
            based: whether a pass before gives U and V.

        Returns:
            Their number.
        """
        ...


_KINDS: dict[str, tuple[Pass, ...]] = {}
KINDS: Mapping[str, tuple[Pass, ...]] = MappingProxyType(_KINDS)
"""Name -> passes in their order, from the coarsest kind to the finest: by the number of passes, then by name."""


@dataclass(frozen=True)
class CurvatureKind:
    """A kind of curvature.

    Attributes:
        name: as `CurvatureSettings.kind` takes it.
        passes: over the rows, in their order; each may use the basis that those before it gave. None where there is no
            curvature to fit.
    """

    name: str
    passes: tuple[Pass, ...]


def register(kind: CurvatureKind) -> CurvatureKind:
    """Enter a kind, as files of this folder do when they are imported.

    Returns:
        The kind.
    """
    found = _KINDS | {kind.name: kind.passes}
    _KINDS.clear()
    _KINDS.update(sorted(found.items(), key=lambda item: (len(item[1]), item[0])))
    return kind


for _module in iter_modules([str(Path(__file__).parent)]):
    if _module.name.startswith("kind_"):
        import_module(f"{__package__}.{_module.name}")
