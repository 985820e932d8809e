"""The kind `eshampoo`: Shampoo's basis, with eigenvalues measured in it.

With G the gradient of a row's loss with respect to a layer's weight, [out, in], U and V are the eigenvectors of
E[G G^T] and E[G^T G], and L the mean squared gradient in that basis. The basis of `ekfac` is made of single tokens, as
if these were independent of each other and inputs independent of output gradients. This one is made of whole rows;
every row's gradient is formed once more for it.

Sources: Gupta et al. 2018 (Shampoo); Vyas et al. 2024 (SOAP) for the eigenvalues measured in its basis; Morwani et al.
2024 on how the two moments relate to the Fisher matrix. The expectation is over rows here, over steps there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from aitia.attribution.gradients.kind_kfac import Eigenvalues, eigen, require_gradients
from aitia.attribution.gradients.kinds import Basis, CurvatureKind, Pass, register
from aitia.attribution.gradients.layer_algebra import add_second_moment, iter_row_gradients
from aitia.models import Factors, LinearLayer

if TYPE_CHECKING:
    import torch

    from aitia.attribution.gradients.curvature import LayerCurvature


class GradientMoments(Pass):
    """U and V the eigenvectors of E[G G^T] and E[G^T G]; L is left to the pass that follows."""

    name = "gradient_moments"
    title = "Gradient moments"
    exact = True
    gives_basis = True

    def add(
        self,
        factors: Mapping[str, Factors],
        bases: Mapping[str, Basis],  # noqa: ARG002
        totals: dict[str, torch.Tensor],
    ) -> None:
        """See `Pass.add`: G G^T and G^T G of every row and layer."""
        for name, part in factors.items():
            for side, values in (("in", part.inputs), ("out", part.outputs)):
                if f"{side}.{name}" not in totals:
                    totals[f"{side}.{name}"] = values.new_zeros(values.shape[-1], values.shape[-1])
            for _, gradients in iter_row_gradients(part.inputs, part.outputs):
                add_second_moment(totals[f"in.{name}"], gradients)
                add_second_moment(totals[f"out.{name}"], gradients.transpose(1, 2))

    def fitted(
        self,
        name: str,
        before: LayerCurvature,
        totals: Mapping[str, torch.Tensor],
        *,
        rows: int,
        tokens: int,  # noqa: ARG002
    ) -> LayerCurvature:
        """See `Pass.fitted`."""
        require_gradients(f"in.{name}" in totals, name)
        left, right = (eigen(totals[f"{side}.{name}"] / rows)[1] for side in ("out", "in"))
        return replace(before, left=left, right=right)

    def operations(self, layers: Sequence[LinearLayer], *, rows: int, tokens: int, based: bool) -> int:  # noqa: ARG002
        """See `Pass.operations`: a row's gradient, and a little more than half of each of its two products."""
        weights = sum(layer.inputs * layer.outputs for layer in layers)
        products = sum(layer.inputs * layer.outputs * (layer.inputs + layer.outputs) for layer in layers)
        return tokens * weights + rows * (products * 5 // 8)


register(CurvatureKind("eshampoo", (GradientMoments(), Eigenvalues())))
