"""The damped curvature inverted as a whole: conjugate gradients on products with the model's Gauss-Newton matrix.

EK-FAC treats layers as independent of each other and every layer as a Kronecker product in a rotated basis. Here
H = 1/n sum over rows i of w_i sum over response tokens t of J_t^T (diag p_t - p_t p_t^T) J_t, where J_t are the
derivatives of the logits with respect to the weights of all chosen layers together, and p_t the model's distribution.
That is the Fisher matrix with labels from the model, exactly, for the loss that the curvature was fitted to: w_i = 1
for the `sum` over a row's T tokens, and 1 / T^2 for their `mean`.

H is never made. A product with it takes a forward pass that carries a derivative along (J v), and a backward pass
(J^T u). The fitted curvature's damped inverse is the preconditioner, so that few products are needed.

Source: Martens 2010 for Gauss-Newton products and conjugate gradients, Schraudolph 2002 for the product; the
preconditioning by EK-FAC as in the solver `cg` of other tools; the weights of rows are ours.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np

from aitia.attribution.gradients.curvature import Curvature, Damping
from aitia.attribution.gradients.curvature_fitting import curvature_layers
from aitia.attribution.scanning.activations import predicted_tokens
from aitia.engine import progress_bar
from aitia.errors import AitiaError, NumericalError
from aitia.models import LanguageModel, LinearLayer, Outputs, run
from aitia.records import Batch, TokenizedRecords, length_batches, pad_batch
from aitia.settings import Above, CountOrAll, check

if TYPE_CHECKING:
    import torch

Vectors = Mapping[str, "torch.Tensor"]
"""A vector over the weights of all layers, several at once: name -> [q, out, in], the bias as a last column."""


@dataclass(frozen=True, kw_only=True)
class SolveSettings:
    """Settings for inverting the curvature as a whole, by conjugate gradients.

    Attributes:
        cg_iterations: largest number of products with the curvature; 0 to take the fitted curvature's own inverse,
            layer by layer.
        cg_tolerance: residual, relative to the right-hand side, at which to stop; both in the norm of the
            preconditioner.
        cg_rows: rows that the curvature is the mean over, drawn evenly from the data; 0 for all.
    """

    cg_iterations: CountOrAll = 0
    cg_tolerance: Annotated[float, Above(0)] = 0.01
    cg_rows: CountOrAll = 0

    def __post_init__(self) -> None:
        check(self, "solve")


@dataclass(frozen=True, kw_only=True)
class Solution:
    """What conjugate gradients found.

    Attributes:
        vectors: name -> [q, out, in], (H + damping)^-1 of each right-hand side.
        residuals: [iterations + 1, q] what is left of each right-hand side before each product and at the end, relative
            to the whole, both in the norm of the preconditioner.
    """

    vectors: Vectors
    residuals: np.ndarray

    @property
    def converged(self) -> bool:
        """Whether every right-hand side is solved to within a tenth of its size."""
        return bool((self.residuals[-1] <= 0.1).all())


def exact_solve(
    model: LanguageModel,
    data: TokenizedRecords,
    right_sides: Vectors,
    curvature: Curvature,
    damping: Damping,
    settings: SolveSettings | None = None,
) -> Solution:
    """Solve (H + damping) x = b for several b at once, H over all layers of the curvature together.

    Args:
        model: the model.
        data: n rows, whose mean curvature H is.
        right_sides: name -> [q, out, in], as gradients of measurements are; layers that are left out count as zero.
        curvature: fitted; the preconditioner, and what a relative damping is relative to.
        damping: as for the curvature: an amount, or a multiple of each layer's mean eigenvalue.
        settings: how far to go.

    Returns:
        The solutions with their residuals.

    Raises:
        AitiaError: the damping is zero, so that H may be singular.
        NumericalError: a product is not finite.
    """
    import torch

    settings = settings or SolveSettings(cg_iterations=20)
    damping = curvature.in_its_units(damping)
    if damping.value == 0:
        raise AitiaError(
            "conjugate gradients need a damping above zero: without it the curvature is singular"
        )
    layers = curvature_layers(model, curvature.settings)
    count = len(next(iter(right_sides.values())))
    shapes = {layer.name: (count, layer.outputs, layer.inputs) for layer in layers}
    device = model.device
    b = {
        name: right_sides[name].to(device, torch.float32)
        if name in right_sides
        else torch.zeros(shape, device=device)
        for name, shape in shapes.items()
    }
    amounts = {name: _amount(curvature, name, damping) for name in shapes}
    # A layer without any gradient under a relative damping takes no part, as with the fitted curvature alone.
    b = {name: value if amounts[name] > 0 else torch.zeros_like(value) for name, value in b.items()}
    chosen = _some(data, settings.cg_rows)

    def product(vectors: Vectors) -> dict[str, torch.Tensor]:
        found = gauss_newton_product(
            model,
            chosen,
            vectors,
            layers,
            loss=curvature.settings.loss,
            max_batch_tokens=max(curvature.settings.max_batch_tokens // 2, 1),
        )
        return {name: value + amounts[name] * vectors[name] for name, value in found.items()}

    def precondition(vectors: Vectors) -> dict[str, torch.Tensor]:
        return {name: curvature.layers[name].precondition(value, damping) for name, value in vectors.items()}

    with progress_bar("Exact solve", settings.cg_iterations, unit="products") as advance:
        vectors, residuals = conjugate_gradients(
            product, b, precondition, settings, on_product=lambda: advance(1)
        )
    return Solution(vectors=vectors, residuals=residuals)


def conjugate_gradients(
    product: Callable[[Vectors], Vectors],
    right_sides: Vectors,
    precondition: Callable[[Vectors], Vectors],
    settings: SolveSettings,
    *,
    on_product: Callable[[], None] = lambda: None,
) -> tuple[dict[str, torch.Tensor], np.ndarray]:
    """Preconditioned conjugate gradients for several right-hand sides, each with its own steps.

    Each step lowers x^T A x / 2 - b^T x, of which the solution is the minimum; a residual may rise on the way. The
    lowest x is kept, as rounding can undo a late step.

    Args:
        product: with a symmetric positive definite matrix.
        right_sides: name -> [q, ...].
        precondition: with an approximate inverse, symmetric positive definite too.
        settings: when to stop.
        on_product: called after each product.

    Returns:
        Solutions, and relative residuals [iterations + 1, q].

    Raises:
        NumericalError: a product is not finite.
    """
    import torch

    x = {name: torch.zeros_like(value) for name, value in right_sides.items()}
    r = {name: value.clone() for name, value in right_sides.items()}
    z = precondition(r)
    p = {name: value.clone() for name, value in z.items()}
    rz = _dot(r, z)
    whole = rz.where(rz > 0, torch.ones_like(rz))
    residuals = [(rz / whole).sqrt()]
    best, least = {name: value.clone() for name, value in x.items()}, torch.zeros_like(rz)
    for _ in range(settings.cg_iterations):
        if bool((residuals[-1] <= settings.cg_tolerance).all()):
            break
        hp = product(p)
        on_product()
        bend = _dot(p, hp)
        if not bool(bend.isfinite().all()):
            raise NumericalError("a product with the curvature is not finite; run the model in float32")
        step = (rz / bend).where(bend > 0, torch.zeros_like(bend))  # a side that is solved has p = 0
        for name in x:
            x[name] += _times(step, p[name])
            r[name] -= _times(step, hp[name])
        z = precondition(r)
        after = _dot(r, z)
        turn = (after / rz).where(rz > 0, torch.zeros_like(rz))
        p = {name: z[name] + _times(turn, p[name]) for name in p}
        rz = after
        residuals.append((rz.clamp(min=0) / whole).sqrt())
        height = -(_dot(x, right_sides) + _dot(x, r)) / 2  # since A x = b - r
        better = height < least
        least = torch.minimum(least, height)
        for name in x:
            best[name][better] = x[name][better]
    return best, torch.stack(residuals).cpu().numpy()


def gauss_newton_product(
    model: LanguageModel,
    data: TokenizedRecords,
    vectors: Vectors,
    layers: Sequence[LinearLayer],
    *,
    loss: str = "mean",
    max_batch_tokens: int = 1024,
) -> dict[str, torch.Tensor]:
    """H v for several v at once, with H of all layers together (see the module).

    Args:
        model: the model.
        data: n rows.
        vectors: name -> [q, out, in] for each layer.
        layers: whose weights H is about.
        loss: `mean` over a row's tokens, or `sum`.
        max_batch_tokens: tokens run at once.

    Returns:
        name -> [q, out, in] float32.
    """
    import torch

    count = len(next(iter(vectors.values())))
    total = {name: torch.zeros_like(value) for name, value in vectors.items()}
    for index in length_batches([len(row.tokens) for row in data], max_tokens=max_batch_tokens):
        batch = pad_batch(data, index, model.pad_id)
        for number in range(count):
            part = _batch_product(model, batch, {n: v[number] for n, v in vectors.items()}, layers, loss)
            for name, value in part.items():
                total[name][number] += value
    return {name: value / len(data) for name, value in total.items()}


def _batch_product(
    model: LanguageModel,
    batch: Batch,
    vector: Mapping[str, torch.Tensor],
    layers: Sequence[LinearLayer],
    loss: str,
) -> dict[str, torch.Tensor]:
    """The sum over a batch's rows of w_i J^T (diag p - p p^T) J v: name -> [out, in]."""
    import torch
    from torch.autograd import forward_ad
    from torch.func import functional_call
    from torch.nn.attention import SDPBackend, sdpa_kernel

    whole = _Pass.around(model)
    places = whole.places(layers)
    weights = {name: value.detach().requires_grad_() for name, value in places.items()}
    tangents = {
        name: part.to(weights[name].dtype).contiguous()
        for layer in layers
        for name, part in _parts(whole, layer, vector[layer.name]).items()
    }
    # The faster attention kernels carry no derivative forward.
    with sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        duals = {name: forward_ad.make_dual(value, tangents[name]) for name, value in weights.items()}
        outputs: Outputs = functional_call(whole.module, duals, (batch,))
        logits, moved = forward_ad.unpack_dual(outputs.logits)
    if moved is None or not logits.requires_grad:
        return {layer.name: torch.zeros_like(vector[layer.name]) for layer in layers}
    with torch.no_grad():
        p, u = logits.float().softmax(-1), moved.float()
        bent = p * (u - (p * u).sum(-1, keepdim=True))
        if loss == "mean":
            counts = bent.new_tensor(predicted_tokens(batch))
            bent = bent / counts[outputs.rows].square()[:, None]
    found = torch.autograd.grad(logits, list(weights.values()), bent.to(logits.dtype), allow_unused=True)
    gradients = {name: part for name, part in zip(weights, found, strict=True) if part is not None}
    return {layer.name: _joined(whole, layer, gradients, vector[layer.name]) for layer in layers}


@dataclass(frozen=True)
class _Pass:
    """A model's run over a batch as a module, whose weights can be changed for other tensors while it runs."""

    module: Any
    names: Mapping[int, str]

    @classmethod
    def around(cls, model: LanguageModel) -> _Pass:
        from torch import nn

        class Whole(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = model.network

            def forward(self, batch: Batch) -> Outputs:
                return run(model, batch, gradients=True, detach=False)

        module = Whole()
        return cls(
            module, {id(value): name for name, value in module.named_parameters(remove_duplicate=False)}
        )

    def places(self, layers: Sequence[LinearLayer]) -> dict[str, Any]:
        """Name -> weight or bias, of all layers."""
        held = [
            part
            for layer in layers
            for part in (layer.module.weight, layer.module.bias if layer.bias else None)
        ]
        return {self.names[id(part)]: part for part in held if part is not None}


def _parts(whole: _Pass, layer: LinearLayer, value: torch.Tensor) -> dict[str, torch.Tensor]:
    """A layer's matrix [out, in], the bias as a last column, as its parameters lie."""
    module: Any = layer.module
    weight = value[:, :-1] if layer.bias else value
    found = {whole.names[id(module.weight)]: weight.T if _transposed(layer) else weight}
    return found | ({whole.names[id(module.bias)]: value[:, -1]} if layer.bias else {})


def _joined(
    whole: _Pass, layer: LinearLayer, parts: Mapping[str, torch.Tensor], like: torch.Tensor
) -> torch.Tensor:
    """The reverse: [out, in]; zeros for what the loss does not depend on."""
    import torch

    module: Any = layer.module
    weight = parts.get(whole.names[id(module.weight)])
    if weight is None:
        return torch.zeros_like(like)
    columns = [weight.T if _transposed(layer) else weight]
    if layer.bias:
        columns.append(parts[whole.names[id(module.bias)]][:, None])
    return torch.cat(columns, dim=1).float()


def _transposed(layer: LinearLayer) -> bool:
    """Whether the weight lies as [in, out], as GPT-2's does."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer.module, Conv1D)


def _amount(curvature: Curvature, name: str, damping: Damping) -> float:
    """What is added to a layer's eigenvalues."""
    values = curvature.layers[name].eigenvalues
    if not damping.relative or values is None:
        return damping.value
    return damping.value * float(values.mean())


def _some(data: TokenizedRecords, rows: int) -> TokenizedRecords:
    """So many of the rows, evenly spaced; all for 0."""
    if not rows or rows >= len(data):
        return data
    places = np.linspace(0, len(data) - 1, rows).round().astype(int)
    return TokenizedRecords(records=tuple(data[int(place)] for place in places), today=data.today)


def _dot(first: Vectors, second: Vectors) -> torch.Tensor:
    """The scalar product of each of several vectors, [q] float64, as many small numbers are added."""
    import torch

    parts = [(first[name].double() * second[name].double()).flatten(1).sum(1) for name in first]
    return torch.stack(parts).sum(0)


def _times(factors: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    return factors.to(vectors.dtype).view(-1, *[1] * (vectors.dim() - 1)) * vectors
