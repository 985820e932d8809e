"""What methods take that go through a recorded training run: passes over the rows at checkpoints, and reversals.

Ours; in the counts of `cost_model`. One step of a training sends its tokens up through the blocks and down to the
lowest trained one. Its reversal does the same with a graph, and for each target goes up and down once more. The blocks
below the lowest trained one run once (`aitia.attribution.replay.lower_blocks`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aitia.attribution.gradients.cost_model import (
    FLOAT_BYTES,
    WITH_GRAPH,
    Cost,
    Data,
    ModelShape,
    products,
    through_blocks,
)

# Products with the unembedding, for a token that is trained on: of a loss with its gradient, once more where that
# gradient is to be differentiated, and of each target's derivative of it.
_LOSS, _WITH_ITS_GRAPH, _OF_A_TARGET = 2, 4, 2


@dataclass(frozen=True, kw_only=True)
class RunPass:
    """What a method does with a run.

    Attributes:
        weights: that training moves, in layers whose gradients count.
        lowest: block of the lowest of these layers, from 0.
        directions: targets.
        checkpoints: at which the rows' gradients are taken, once each.
        reversals: of smooth runs; a run that is smooth itself has one only, and needs no surrogate.
        over_orders: steps of each reversal at which every row is scored.
        at_once: for how many further directions one use of the run has a place; none for as many as there are.
    """

    weights: int
    lowest: int = 0
    directions: int = 1
    checkpoints: int = 0
    reversals: int = 0
    over_orders: int = 0
    at_once: int | None = None

    def reversed(self, *, smooth: bool) -> int:
        """How many runs are reversed, if the recorded one is smooth and if not."""
        return min(self.reversals, 1) if smooth else self.reversals


def run_cost(
    shape: ModelShape,
    data: Data,
    passes: Sequence[RunPass],
    *,
    epochs: int,
    smooth: bool = False,
    accumulated: bool = False,
) -> Cost:
    """The cost of scores that go through a run, without training it or its surrogates.

    Left out are the targets' own gradients, which do not grow with the rows, and states that were not kept and are
    computed again.

    Args:
        shape: of the model, with its adapter.
        data: that it was trained on.
        passes: uses of the run: one a method, and those for the controls.
        epochs: of the training.
        smooth: whether the run itself is reversed, in the place of surrogates.
        accumulated: whether a step has several batches, so that its gradient is made once more.

    Returns:
        The step, for all rows together.
    """
    through, logits = through_blocks(shape, data), data.response_tokens * shape.vocabulary * shape.width
    total = calls = 0.0
    for each in passes:
        above = (shape.layers - each.lowest) / shape.layers
        both = 2 * above - 0.5 / shape.layers  # the way down ends within the lowest trained block
        reversals = each.reversed(smooth=smooth)
        once = (1 - above) * bool(each.lowest)
        at_checkpoint = through * both + _LOSS * logits
        at_checkpoint += data.rows * products(each.weights, each.directions, data.length)
        first = through * both + _WITH_ITS_GRAPH * logits + data.tokens * each.weights
        first += accumulated * (through * both + _LOSS * logits + data.tokens * each.weights)
        further = through * both + _OF_A_TARGET * logits + 2 * data.tokens * each.weights
        passes_over_rows = each.checkpoints + reversals * each.over_orders
        total += bool(each.checkpoints) * through * once + passes_over_rows * at_checkpoint
        total += reversals * (through * once + epochs * (first + each.directions * further))
        directions = passes_over_rows + reversals * epochs * (1 + accumulated + each.directions)
        calls += data.batches * shape.layers * (both * directions + once * (reversals or 1))
    graph = data.max_batch_tokens * shape.width * WITH_GRAPH * shape.layers
    return Cost(
        name="training run",
        multiply_adds=total,
        calls=calls,
        rows=data.rows,
        memory_bytes=FLOAT_BYTES * (max(each.directions * each.weights for each in passes) + 2 * graph),
        spread=False,
    )
