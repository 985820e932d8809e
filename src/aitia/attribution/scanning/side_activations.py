"""Activations of rows whose loss compares answers, or weighs them: the gradient of the row's own loss.

The gradient of a row's loss at a site is the sum over its sides of a coefficient times the gradient of the side's mean
cross-entropy (`aitia.records.losses`). A side's part is the sum of that over the side's response tokens; the row's
`backward` activation is the sum of its sides' parts. (Ours.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from aitia.attribution.scanning.activations import FORWARD_ACTIVATIONS, activation_key, collect_activations
from aitia.models import LanguageModel
from aitia.models.losses import coefficients
from aitia.records import TokenizedRecord, pad_batch
from aitia.records.losses import LossSettings, loss_of


def side_activation(side: str) -> str:
    """The name of the activation that a side adds to its row's `backward`."""
    return f"backward_{side}"


def run_length(row: TokenizedRecord) -> int:
    """The tokens that a row takes in a batch: its longest side as often as it has sides."""
    sides = row.sides
    return len(sides) * max(len(side.tokens) for side in sides)


def collect_row_activations(
    model: LanguageModel, rows: Sequence[TokenizedRecord], sites: Sequence[str], loss: LossSettings
) -> dict[str, np.ndarray]:
    """The activations of a batch of rows, `backward` that of each row's own loss.

    `response` and `response_end` are means over a row's sides, from which null directions are drawn; `prompt_end` is
    that of the first.

    Args:
        model: the model.
        rows: b rows, their references filled in.
        sites: where.
        loss: of the rows.

    Returns:
        `activation.site` -> [b, d] float32; for a loss of several sides also the part of each, by `side_activation`.
    """
    names = loss_of(loss).sides
    flat = [side for row in rows for side in row.sides]
    batch = pad_batch(flat, np.arange(len(flat)), model.pad_id)
    found = collect_activations(model, batch, sites, [side.location for side in flat], backward=True)
    shape = (len(rows), len(names))
    factors = coefficients(rows, -found["loss"].reshape(shape), loss, mean=True).astype(np.float32)
    arrays: dict[str, np.ndarray] = {}
    for site in sites:
        forward = {
            name: found[activation_key(name, site)].reshape(*shape, -1) for name in FORWARD_ACTIVATIONS
        }
        for name in ("response", "response_end"):
            arrays[activation_key(name, site)] = forward[name].mean(axis=1)
        arrays[activation_key("prompt_end", site)] = forward["prompt_end"][:, 0].copy()
        parts = found[activation_key("backward", site)].reshape(*shape, -1) * factors[:, :, None]
        arrays[activation_key("backward", site)] = parts.sum(axis=1)
        if len(names) > 1:
            for place, name in enumerate(names):
                arrays[activation_key(side_activation(name), site)] = parts[:, place].copy()
    return arrays
