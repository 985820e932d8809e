"""Products of rows' gradients with flat directions, at the parameters that a model has now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from aitia.attribution.influence.streaming import stream_scores
from aitia.engine import LOCAL, Engine, note
from aitia.models import find_linear_layers
from aitia.models.losses import sides_of_rows
from aitia.records import TokenizedRecords
from aitia.training import Trainable

if TYPE_CHECKING:
    import torch

    from aitia.models import LinearLayer


class RowProducts:
    """Every row's gradient times directions in the space of what is trained.

    Gradients of rows are taken once a call, whatever the number of directions. Weights outside of linear layers
    (embeddings, norms) are left out, and a note says how many they are.

    Args:
        trainable: the model, with the parameters that are trained.
        rows: n rows, with their loss.
        method: of the training, `lora` or `full`.
        precision: of the products, as `CurvatureSettings` has it.
        engine: where the rows' gradients are made.
    """

    def __init__(
        self,
        trainable: Trainable,
        rows: TokenizedRecords,
        *,
        method: str,
        precision: str = "auto",
        engine: Engine = LOCAL,
    ) -> None:
        self.trainable, self.rows = trainable, rows
        self.layers = find_linear_layers(trainable.model, parameters=method)
        self.precision, self.engine = precision, engine
        self._note_left_out()

    def of(self, directions: torch.Tensor) -> np.ndarray:
        """The products at the parameters as they are.

        Args:
            directions: [c, P], in the order of the trained parameters.

        Returns:
            [c, n, s] products with the gradient of each row's summed token losses, or with the parts of its loss's
            gradient by the s answers that it compares.
        """
        model = self.trainable.model
        model.network.requires_grad_(False)  # the rows' gradients are made of what flows through layers
        try:
            scores = stream_scores(
                model,
                self.rows.answers,
                _by_layer(self.trainable, directions, self.layers),
                self.layers,
                loss="sum",
                precision=self.precision,
                engine=self.engine,
            ).astype(np.float64)
            if self.rows.loss.loss == "sft":
                scores = scores[:, :, None]
            else:  # each answer counts as much as it does at these parameters
                scores = sides_of_rows(model, self.rows, weighted=False).parts(scores)
        finally:
            for parameter in self.trainable.parameters.values():
                parameter.requires_grad_()
        return scores

    def _note_left_out(self) -> None:
        held = {id(part) for layer in self.layers for part in (layer.module.weight, layer.module.bias)}
        every = sum(value.numel() for value in self.trainable.parameters.values())
        left = sum(value.numel() for value in self.trainable.parameters.values() if id(value) not in held)
        if left:
            note(
                f"Products of rows' gradients: {left / every:.1%} of the trained weights are of no linear layer of the "
                "blocks (embeddings, norms), and are left out"
            )


def _by_layer(
    trained: Trainable, flat: torch.Tensor, layers: Sequence[LinearLayer]
) -> dict[str, torch.Tensor]:
    """The parts of flat vectors, [c, P], as each layer's weight with the bias for a last column: [c, out, in]."""
    import torch

    sizes = [value.numel() for value in trained.parameters.values()]
    parts = {
        id(value): part.reshape(len(flat), *value.shape)
        for value, part in zip(trained.parameters.values(), flat.split(sizes, dim=1), strict=True)
    }
    found = {}
    for layer in layers:
        weight: torch.Tensor = parts[id(layer.module.weight)]
        weight = weight.transpose(1, 2) if _is_turned(layer) else weight
        columns = [weight, parts[id(layer.module.bias)][:, :, None]] if layer.bias else [weight]
        found[layer.name] = torch.cat(columns, dim=2).contiguous()
    return found


def _is_turned(layer: LinearLayer) -> bool:
    """Whether a layer keeps its weight as [in, out], as GPT-2's do."""
    from transformers.pytorch_utils import Conv1D

    return isinstance(layer.module, Conv1D)
