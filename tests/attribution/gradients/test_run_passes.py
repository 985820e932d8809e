"""What goes through a run, counted by hand; tests/pipelines/test_plan.py holds the counts against torch's own."""

from dataclasses import replace

import pytest

from aitia.attribution.gradients import Data, ModelShape, RunPass, run_cost, through_blocks

SHAPE = ModelShape(parameters=10**6, outside=10**5, layers=4, width=64, vocabulary=400)
DATA = Data(rows=100, tokens=5000, response_tokens=2000)
THROUGH = 5000 * (10**6 + 2 * 4 * 64 * 50)
LOGITS = 2000 * 400 * 64


def test_checkpoints_share_the_lower_blocks_and_cost_a_pass_each():
    one, four = (
        run_cost(SHAPE, DATA, [RunPass(weights=1000, lowest=2, checkpoints=c)], epochs=2) for c in (1, 4)
    )
    # Half of the blocks up, and down to the middle of the lowest; a direction with each row's factors.
    each = THROUGH * (0.5 + 0.375) + 2 * LOGITS + 100 * 1000 * 50
    assert one.multiply_adds == pytest.approx(THROUGH * 0.5 + each)
    assert four.multiply_adds == pytest.approx(THROUGH * 0.5 + 4 * each)


def test_every_epoch_run_and_target_is_reversed():
    use = RunPass(weights=1000, lowest=0, reversals=2)
    first, second, third = (
        run_cost(SHAPE, DATA, [replace(use, directions=count)], epochs=3).multiply_adds for count in (1, 2, 3)
    )
    further = 2 * 3 * (THROUGH * (2 - 0.125) + 2 * LOGITS + 2 * 5000 * 1000)
    assert second - first == pytest.approx(further)
    assert third - second == pytest.approx(further)
    smooth = run_cost(SHAPE, DATA, [use], epochs=3, smooth=True)
    assert smooth.multiply_adds == pytest.approx(first / 2)
    several = run_cost(SHAPE, DATA, [use], epochs=3, accumulated=True)
    assert several.multiply_adds > first
    both = run_cost(SHAPE, DATA, [use, replace(use, directions=2)], epochs=3)
    assert both.multiply_adds == pytest.approx(first + second)


def test_blocks_cost_their_weights_and_attention():
    """Each token meets every weight, and at each layer the keys and the values of its row's tokens."""
    assert through_blocks(SHAPE, DATA) == THROUGH
