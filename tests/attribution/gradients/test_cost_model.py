"""The cost model: its counts against those of torch, and the machine it fits against the one that made the times."""

import numpy as np
import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from aitia.attribution.gradients.cost_model import (
    Cost,
    Data,
    InfluencePass,
    Machine,
    ModelShape,
    RunPlan,
    curvature_cost,
    fit_machine,
    in_bytes,
    influence_cost,
    scan_cost,
)
from aitia.attribution.gradients.curvature import CurvatureSettings
from aitia.attribution.gradients.planning import plan_curvature
from aitia.attribution.scanning.activations import collect_activations
from aitia.errors import AitiaError
from aitia.models import load_model, save_model
from aitia.models.loading.language_models import load_outline
from aitia.pipelines.steps.workload import shape_of
from aitia.records import pad_batch, records_from_rows, tokenize

SHAPE = ModelShape(parameters=10**6, outside=10**5, layers=4, width=64, vocabulary=400)


class Counter(TorchDispatchMode):
    """Torch's own counts of floating point operations, added up over whatever runs."""

    total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        self.total += 0 if count is None else count(*args, **(kwargs or {}), out_val=out)
        return out


@pytest.mark.parametrize("backward", [False, True])
@pytest.mark.parametrize("layer", [1, 3])
def test_multiply_adds_are_those_that_torch_counts(make_model, backward, layer):
    model = make_model("llama", width=64)
    records = records_from_rows(
        [{"prompt": "Numbers: 1, 2, 3?\n", "completion": "4, 5 and 10."} for _ in range(8)]
    )
    tokenized = tokenize(records, model.tokenizer, max_length=256)
    batch = pad_batch(tokenized, np.arange(8), model.pad_id)
    site = f"resid_post.{layer}"
    with Counter() as counter:
        collect_activations(model, batch, [site], ["row"] * 8, backward=backward)
    data = Data(rows=8, tokens=int(batch.attention.sum()), response_tokens=int(batch.response.sum()))
    activations = ("response", "prompt_end", "backward") if backward else ("response", "prompt_end")
    step = scan_cost(shape_of(model), data, lowest=layer, highest=layer, sites=1, activations=activations)
    counted = counter.total / 2
    assert step.multiply_adds == pytest.approx(counted, rel=0.15)


def test_the_outline_of_a_model_has_its_shape(make_model, tmp_path):
    model = make_model("qwen2")
    save_model(model, tmp_path / "m")
    outline = load_outline(tmp_path / "m")
    assert all(parameter.is_meta for parameter in outline.network.parameters())
    assert shape_of(outline) == shape_of(load_model(tmp_path / "m", device="cpu"))
    settings = CurvatureSettings(rows=0)
    data = tokenize(records_from_rows([{"text": "A cat sat on the mat."}]), model.tokenizer, max_length=64)
    assert plan_curvature(outline, data, settings) == plan_curvature(model, data, settings)


def test_a_machine_is_found_again_from_its_own_times():
    truth = Machine(multiply_adds=3e9, call_seconds=2e-4, row_seconds=5e-5)
    rng = np.random.default_rng(0)
    steps = [
        Cost(name="s", multiply_adds=float(m), calls=float(c), rows=int(r))
        for m, c, r in zip(
            rng.uniform(1e9, 1e11, 6), rng.uniform(10, 1e4, 6), rng.integers(10, 10**5, 6), strict=True
        )
    ]
    found = fit_machine(steps, [step.seconds(truth) for step in steps])
    assert found.multiply_adds == pytest.approx(truth.multiply_adds, rel=1e-6)
    assert found.call_seconds == pytest.approx(truth.call_seconds, rel=1e-6)
    assert found.row_seconds == pytest.approx(truth.row_seconds, rel=1e-6)


def test_workers_share_what_can_be_shared_and_money_counts_them_all():
    data = Data(rows=1000, tokens=50_000, response_tokens=20_000)
    steps = [
        scan_cost(SHAPE, data, lowest=1, highest=2, sites=2, activations=("response", "backward")),
        Cost(name="rank", multiply_adds=1e9, spread=False),
    ]
    machine = Machine(multiply_adds=1e9, load_bytes=1e12, price=36.0)
    one, four = (RunPlan(shape=SHAPE, data=data, steps=steps, machine=machine, workers=w) for w in (1, 4))
    shared = steps[0].seconds(machine)
    assert one.seconds - four.seconds == pytest.approx(shared * 3 / 4)
    assert four.money == pytest.approx(four.seconds * 4 / 100)
    assert one.numbers()["disk_bytes"] == steps[0].disk_bytes
    assert "4 workers" in four.text()
    assert in_bytes(3.1e9) == "3.1 GB"


def test_more_rows_directions_and_layers_cost_more(tiny_model):
    data = Data(rows=100, tokens=5000, response_tokens=2000)
    few, many = (
        influence_cost(SHAPE, data, [InfluencePass(weights=10**6, directions=count)]) for count in (3, 9)
    )
    assert many.multiply_adds - few.multiply_adds == 6 * 100 * 10**6
    half = influence_cost(SHAPE, data, [InfluencePass(weights=10**6, lowest=2, directions=3)])
    assert half.multiply_adds < few.multiply_adds
    kept = influence_cost(SHAPE, data, [InfluencePass(weights=10**6, directions=3)], cached=True)
    assert kept.multiply_adds == 100 * (50 + 3) * 10**6
    rows = records_from_rows([{"text": "A cat sat on the mat."}])
    plan = plan_curvature(tiny_model, rows, CurvatureSettings(rows=0))
    assert curvature_cost(SHAPE, data, plan).disk_bytes == plan.file_bytes
    with pytest.raises(AitiaError, match="at least a token a row"):
        Data(rows=5, tokens=4, response_tokens=1)
