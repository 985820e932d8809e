"""Running a model while watching its sites: activations, losses, and gradients of measurements.

Batches are padded on the right. In a causal model no real token ever looks at a pad, so no attention
mask is needed (which keeps the fast causal attention kernels), and pads are left out of every
result by the masks that the batch carries.

Rows of a batch do not interact, so the gradient of a summed measurement holds every row's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from aitia.errors import NumericalError
from aitia.models.language_model import LanguageModel
from aitia.models.probing import hidden_states, with_hidden_states
from aitia.models.sites import site_layer, sort_sites

if TYPE_CHECKING:
    import torch
    from torch import nn

    from aitia.records import Batch


@dataclass(frozen=True, kw_only=True)
class Outputs:
    """What one forward pass over a batch gave.

    Attributes:
        activations: site -> [b, t, d].
        hidden: [n, d], what the unembedding gets at the positions that predict a response token, row by row.
        targets: [n] the tokens to be predicted.
        rows: [n] the batch row of each.
        size: b, the number of rows.
        head: the unembedding, where the logits are its output as it is.
        given_logits: [n, vocabulary], where they are not (a model that caps or scales them).
    """

    activations: dict[str, torch.Tensor]
    hidden: torch.Tensor
    targets: torch.Tensor
    rows: torch.Tensor
    size: int
    head: nn.Linear | None
    given_logits: torch.Tensor | None = None

    @property
    def logits(self) -> torch.Tensor:
        """[n, vocabulary]; made on each call, since they are large."""
        if self.head is None:
            assert self.given_logits is not None
            return self.given_logits
        return self.head(self.hidden)

    def token_losses(self, targets: torch.Tensor | None = None) -> torch.Tensor:
        """Cross-entropy at each predicting position, in nats, of the data's tokens or others: [n], float32 or wider."""
        import torch
        from torch.nn import functional

        from aitia.models.unembedding import linear_cross_entropy

        targets = self.targets if targets is None else targets
        if self.head is None:
            logits = self.logits
            wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
            return functional.cross_entropy(wide, targets, reduction="none")
        return linear_cross_entropy(self.hidden, self.head.weight, self.head.bias, targets)

    def sample_targets(self, generator: torch.Generator) -> torch.Tensor:
        """A token drawn from the model's own distribution at each predicting position: [n] int64."""
        import torch

        from aitia.models.unembedding import sample_targets

        if self.head is None:
            return torch.multinomial(
                self.logits.detach().float().softmax(-1), 1, generator=generator
            ).squeeze(1)
        return sample_targets(self.hidden, self.head.weight, self.head.bias, generator)

    def losses(self) -> torch.Tensor:
        """Cross-entropy of each row, summed over its response tokens, in nats: [b]."""
        per_token = self.token_losses()
        return per_token.new_zeros(self.size).index_add(0, self.rows, per_token)


class _SiteReached(Exception):
    """Stops a forward pass once all that is wanted has been seen."""


@contextmanager
def _watching(
    model: LanguageModel, sites: Sequence[str], *, stop: bool, detach: bool
) -> Iterator[dict[str, torch.Tensor]]:
    """Collect activations at `sites` (bottom first) while the block runs the network.

    With `stop`, leave the network after the last site. With `detach`, the graph starts at the first
    site: everything below it is run without one.

    Yields:
        Site -> [b, t, d], filled as the network runs.
    """
    seen: dict[str, torch.Tensor] = {}

    def hook_for(site: str) -> Callable[..., object]:
        def hook(_module: object, _inputs: object, output: object) -> object:
            hidden = hidden_states(output)
            if detach and site == sites[0]:
                hidden = hidden.detach().requires_grad_()
                # What goes on is a copy, since some blocks add to their input in place, which a leaf does not allow.
                output = with_hidden_states(output, hidden.clone())
            seen[site] = hidden
            if stop and site == sites[-1]:
                raise _SiteReached
            return output

        return hook

    handles = [
        model.blocks[site_layer(site, model.layers)].register_forward_hook(hook_for(site)) for site in sites
    ]
    try:
        yield seen
    except _SiteReached:
        pass
    finally:
        for handle in handles:
            handle.remove()


def batch_tensors(model: LanguageModel, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """The batch's tokens [b, t] int64 and response mask [b, t] bool on the model's device."""
    import torch

    tokens = torch.from_numpy(batch.tokens).to(model.device)
    return tokens, torch.from_numpy(batch.response).to(model.device)


def trace(model: LanguageModel, batch: Batch, sites: Sequence[str]) -> dict[str, torch.Tensor]:
    """Activations at sites, without gradients; layers above the last site are not run.

    Returns:
        site -> [b, t, d], in the model's own precision. Values at pads mean nothing.

    Raises:
        SiteError: a site does not exist.
    """
    import torch

    sites = sort_sites(sites, model.layers)
    tokens, _ = batch_tensors(model, batch)
    with torch.no_grad(), _watching(model, sites, stop=True, detach=False) as seen:
        model.network(input_ids=tokens, use_cache=False)
    return seen


def run(
    model: LanguageModel,
    batch: Batch,
    sites: Sequence[str] = (),
    *,
    gradients: bool = False,
    detach: bool = True,
    stop: bool = False,
) -> Outputs:
    """One whole forward pass: activations at sites, and logits where a response token is predicted.

    The unembedding is applied at those positions only.

    Args:
        model: the model.
        batch: b rows.
        sites: whose activations are wanted.
        gradients: build a computation graph.
        detach: let the graph start at the lowest site, so that a backward pass costs only the layers above
            it; otherwise it starts at whatever else requires a gradient.
        stop: leave the network after the last site; there are no logits then.

    Returns:
        Activations and logits, with the computation graph that gradients need.

    Raises:
        SiteError: a site does not exist.
    """
    import torch

    sites = sort_sites(sites, model.layers) if sites else ()
    tokens, response = batch_tensors(model, batch)
    predicts = torch.zeros_like(response)
    predicts[:, :-1] = response[:, 1:]

    head = model.plain_unembedding
    reached: list[torch.Tensor] = []

    def at_predicting(_module: object, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
        reached.append(inputs[0][predicts.to(inputs[0].device)])
        if head is not None:
            raise _SiteReached
        return (reached[0].unsqueeze(0), *inputs[1:])

    given = None
    handle = model.network.get_output_embeddings().register_forward_pre_hook(at_predicting)
    try:
        with (
            torch.set_grad_enabled(gradients),
            _watching(model, sites, stop=stop, detach=gradients and detach) as seen,
        ):
            given = model.network(input_ids=tokens, use_cache=False).logits[0]
    finally:
        handle.remove()
    rows, positions = predicts.nonzero(as_tuple=True)
    targets = tokens[rows, positions + 1]
    hidden = reached[0] if reached else tokens.new_zeros((0, model.width), dtype=model.network.dtype)
    return Outputs(
        activations=seen,
        hidden=hidden,
        targets=targets.to(hidden.device),
        rows=rows.to(hidden.device),
        size=len(tokens),
        head=head,
        given_logits=given,
    )


def site_gradients(
    model: LanguageModel,
    batch: Batch,
    sites: Sequence[str],
    measurement: Callable[[Outputs], torch.Tensor] | None = None,
) -> tuple[Outputs, dict[str, torch.Tensor]]:
    """Gradients of a measurement with respect to the activations at sites.

    Args:
        model: the model.
        batch: b rows, padded on the right.
        sites: where to differentiate.
        measurement: maps the outputs to a scalar; default: the summed loss of all rows, so that the
            gradient at [row, time] is that of the row's own summed loss.

    Returns:
        The outputs, whose graph is freed, and site -> gradient [b, t, d].
    """
    import torch

    outputs = run(model, batch, sites, gradients=True)
    value = outputs.losses().sum() if measurement is None else measurement(outputs)
    names = list(outputs.activations)
    gradients = torch.autograd.grad(value, [outputs.activations[name] for name in names], allow_unused=True)
    return outputs, {
        name: torch.zeros_like(outputs.activations[name]) if gradient is None else gradient
        for name, gradient in zip(names, gradients, strict=True)
    }


def require_finite(values: torch.Tensor, locations: Sequence[str], what: str) -> None:
    """Stop at the first row of `values` [b, ...] that is not finite, and name it.

    Raises:
        NumericalError: with the row's location.
    """
    finite = np.asarray(values.detach().isfinite().flatten(1).all(dim=1).cpu())
    if not finite.all():
        where = locations[int(np.flatnonzero(~finite)[0])]
        raise NumericalError(
            f"{where}: {what} is not finite; the model's precision may be too low for this row "
            "(try `dtype=float32`), or its weights are broken"
        )
