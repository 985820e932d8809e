"""Changing the residual stream of a language model at a site, at every token, while it is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from aitia.models.language_model import LanguageModel
from aitia.models.probing import hidden_states, with_hidden_states
from aitia.models.sites import site_layer

if TYPE_CHECKING:
    import torch

Edit = Callable[["torch.Tensor"], "torch.Tensor"]
"""Residual streams [..., d] -> what they become."""


@contextmanager
def edited(model: LanguageModel, site: str, edit: Edit) -> Iterator[None]:
    """While the block runs, the residual stream at a site is what `edit` makes of it, at every token.

    What watches the same site from inside the block sees the edited values.

    Raises:
        SiteError: the site does not exist.
    """

    def hook(_module: Any, _inputs: Any, output: Any) -> Any:
        return with_hidden_states(output, edit(hidden_states(output)))

    handle = model.blocks[site_layer(site, model.layers)].register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


def projected_out(directions: np.ndarray) -> Edit:
    """Directional ablation: h - Q Q^T h, with Q an orthonormal basis of what the directions [k, d] span."""
    import torch

    left, sizes, _ = np.linalg.svd(np.atleast_2d(np.asarray(directions, dtype=float)).T, full_matrices=False)
    basis = torch.tensor(left[:, sizes > 1e-6 * sizes.max()], dtype=torch.float32)

    def edit(hidden: torch.Tensor) -> torch.Tensor:
        own = basis.to(hidden.device)
        return (hidden.float() - (hidden.float() @ own) @ own.T).to(hidden.dtype)

    return edit


def moved_by(vector: np.ndarray) -> Edit:
    """Steering: h + vector [d]."""
    import torch

    moved = torch.tensor(np.asarray(vector), dtype=torch.float32)
    return lambda hidden: hidden + moved.to(device=hidden.device, dtype=hidden.dtype)
