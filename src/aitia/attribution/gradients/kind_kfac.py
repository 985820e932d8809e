"""The kinds `identity`, `diagonal`, `kfac` and `ekfac`, and the two passes that they are fitted by.

Sources: Martens & Grosse 2015 and Grosse et al. 2023 for K-FAC; George et al. 2018 for eigenvalue-corrected K-FAC.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aitia.attribution.gradients.kinds import Basis, CurvatureKind, Pass, register
from aitia.attribution.gradients.layer_algebra import add_second_moment, add_squared_gradients, symmetric
from aitia.errors import AitiaError
from aitia.models import Factors, LinearLayer

if TYPE_CHECKING:
    import torch

    from aitia.attribution.gradients.curvature import LayerCurvature


class Covariances(Pass):
    """U and V the eigenvectors of E[g g^T] and E[a a^T], L the outer product of their eigenvalues."""

    name = "covariances"
    title = "Covariances"
    exact = True
    gives_basis = True

    def add(
        self,
        factors: Mapping[str, Factors],
        bases: Mapping[str, Basis],  # noqa: ARG002
        totals: dict[str, torch.Tensor],
    ) -> None:
        """See `Pass.add`: a a^T and g g^T of every layer; inputs that layers share are multiplied once."""
        import torch

        sharing = Counter(id(part.inputs) for part in factors.values())
        moments: dict[int, torch.Tensor] = {}
        for name, part in factors.items():
            for side, values in (("in", part.inputs), ("out", part.outputs)):
                key = f"{side}.{name}"
                if key not in totals:
                    totals[key] = values.new_zeros(values.shape[-1], values.shape[-1])
                if sharing[id(values)] < 2:
                    add_second_moment(totals[key], values)
                    continue
                if id(values) not in moments:
                    moments[id(values)] = torch.zeros_like(totals[key])
                    add_second_moment(moments[id(values)], values)
                totals[key] += moments[id(values)]

    def fitted(
        self,
        name: str,
        before: LayerCurvature,
        totals: Mapping[str, torch.Tensor],
        *,
        rows: int,
        tokens: int,
    ) -> LayerCurvature:
        """See `Pass.fitted`."""
        import torch

        require_gradients(f"in.{name}" in totals, name)
        right_values, right = eigen(totals[f"in.{name}"] / tokens)
        left_values, left = eigen(totals[f"out.{name}"] / rows)
        return replace(before, left=left, right=right, eigenvalues=torch.outer(left_values, right_values))

    def operations(self, layers: Sequence[LinearLayer], *, rows: int, tokens: int, based: bool) -> int:  # noqa: ARG002
        """See `Pass.operations`: a little more than half of each square, by blocks."""
        return tokens * (_squares(layers) * 5 // 8)


class Eigenvalues(Pass):
    """L the mean squared gradient in the basis there is."""

    name = "eigenvalues"
    title = "Eigenvalues"
    exact = False
    gives_basis = False

    def add(
        self, factors: Mapping[str, Factors], bases: Mapping[str, Basis], totals: dict[str, torch.Tensor]
    ) -> None:
        """See `Pass.add`: the squares of every layer's gradients in its basis."""
        import torch

        for name, part in factors.items():
            if name not in totals:
                sizes = part.outputs.shape[-1], part.inputs.shape[-1]
                totals[name] = part.inputs.new_zeros(sizes, dtype=torch.float32)
            left, right = bases[name]
            add_squared_gradients(totals[name], part.inputs, part.outputs, left=left, right=right)

    def fitted(
        self,
        name: str,
        before: LayerCurvature,
        totals: Mapping[str, torch.Tensor],
        *,
        rows: int,
        tokens: int,  # noqa: ARG002
    ) -> LayerCurvature:
        """See `Pass.fitted`. A layer without any gradient stays as it was."""
        return replace(before, eigenvalues=totals[name] / rows) if name in totals else before

    def operations(self, layers: Sequence[LinearLayer], *, rows: int, tokens: int, based: bool) -> int:  # noqa: ARG002
        """See `Pass.operations`."""
        weights = sum(layer.inputs * layer.outputs for layer in layers)
        return tokens * (weights + (_squares(layers) if based else 0))


def require_gradients(there: bool, layer: str) -> None:
    """Refuse a layer that the loss of no row depends on.

    Raises:
        AitiaError: it is so; the layer is named.
    """
    if not there:
        raise AitiaError(f"the loss of no row depends on layer {layer}; leave its block out")


def eigen(covariance: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Eigenvalues (not negative) and eigenvectors of a covariance, by falling eigenvalue, in float32.

    Single precision is enough for a basis, whose eigenvalues EK-FAC measures afresh; where it does not
    converge, double is taken.

    Args:
        covariance: [d, d], of which the upper triangle is right.

    Returns:
        [d] eigenvalues and [d, d] eigenvectors, one a column.
    """
    import torch

    whole = symmetric(covariance)
    try:
        values, vectors = torch.linalg.eigh(whole)
    except torch.linalg.LinAlgError:  # pyright: ignore[reportPrivateImportUsage]
        values, vectors = torch.linalg.eigh(whole.double())
    return values.flip(0).clamp(min=0).float(), vectors.flip(1).float().contiguous()


def _squares(layers: Sequence[LinearLayer]) -> int:
    return sum(layer.inputs**2 + layer.outputs**2 for layer in layers)


register(CurvatureKind("identity", ()))
register(CurvatureKind("diagonal", (Eigenvalues(),)))
register(CurvatureKind("kfac", (Covariances(),)))
register(CurvatureKind("ekfac", (Covariances(), Eigenvalues())))
