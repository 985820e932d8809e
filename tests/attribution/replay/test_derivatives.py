"""Derivatives that are kept beside a run: those of the replay, taken once, and named by all that they depend on."""

import numpy as np
import pytest

from aitia.attribution.gradients.measurements import CustomMeasurement
from aitia.attribution.replay import (
    OVER_ORDERS,
    Derivatives,
    Target,
    TargetPart,
    kept_derivatives,
    margin_target,
    replay,
    target_value,
)
from aitia.errors import AitiaError, StoreError
from aitia.training import CONTROL, LoraSettings, read_run, train, train_weighted

SETTINGS = LoraSettings(
    rank=2, epochs=2, per_device_train_batch_size=4, learning_rate=5e-3, epsilon_root=1e-6
)


@pytest.fixture
def run(make_model, data, tmp_path):
    train(make_model("llama", layers=2), data, SETTINGS, tmp_path / "run")
    return read_run(tmp_path / "run")


def test_they_are_the_replays_and_taken_once(run, make_model, data, queries):
    base, calls = make_model("llama", layers=2), []

    def load():
        calls.append(1)
        return base

    targets = [margin_target(queries, name="all"), margin_target(queries.only(queries.ids[:1]), name="first")]
    found = kept_derivatives(run, load, data, targets)
    assert isinstance(found, Derivatives)
    expected = replay(run, base, data, targets, over_orders=OVER_ORDERS)
    np.testing.assert_allclose(found.scores, expected.foretelling, rtol=1e-5, atol=1e-9)
    np.testing.assert_allclose(found.values, expected.values)
    assert len(list((run.path / CONTROL / "derivatives").iterdir())) == 2
    again = kept_derivatives(run, load, data, targets[::-1])
    assert len(calls) == 1
    assert again.targets == ("first", "all")
    np.testing.assert_array_equal(again.scores, found.scores[::-1])
    assert again.smoothness == found.smoothness[::-1]
    # Another name asks the same; other texts, or another factor, ask something else.
    kept_derivatives(run, load, data, [margin_target(queries, name="renamed")])
    assert len(calls) == 1
    doubled = Target(
        name="all", parts=(TargetPart(measurement=targets[0].parts[0].measurement, texts=queries, factor=2),)
    )
    np.testing.assert_allclose(
        kept_derivatives(run, load, data, [doubled]).scores, 2 * found.scores[:1], rtol=1e-4
    )
    assert len(calls) == 2


def test_a_function_of_one_s_own_cannot_be_kept(run, make_model, data, queries):
    measured = CustomMeasurement(function=lambda outputs, _batch: -outputs.losses())
    target = Target(name="mine", parts=(TargetPart(measurement=measured, texts=queries),))
    with pytest.raises(AitiaError, match="target 'mine': its function cannot be told from another"):
        kept_derivatives(run, lambda: make_model("llama", layers=2), data, [target])


def test_a_training_with_weights_is_the_trainers_own(run, make_model, data, queries):
    """The same bits as `train` with these weights; stopped or called again it is read, and the base is as it was."""
    base = make_model("llama", layers=2)
    before = base.fingerprint
    weights = np.linspace(0, 1.5, len(data))
    found = train_weighted(base, data, run, weights)
    assert base.fingerprint == before
    tuned = train(make_model("llama", layers=2), data, SETTINGS, weights=weights, progress=False)
    np.testing.assert_array_equal(found.weights, weights)
    again = train_weighted(base, data, run, weights)
    assert again.path == found.path
    derivative = kept_derivatives(found, lambda: base, data, [margin_target(queries)])
    assert derivative.values[0] == pytest.approx(target_value(tuned, margin_target(queries)), rel=1e-5)
    with pytest.raises(AitiaError, match="give one for each of the"):
        train_weighted(base, data, run, weights[1:])
    with pytest.raises(StoreError, match="not the model"):
        train_weighted(make_model("llama", layers=2, seed=3), data, run, weights)
