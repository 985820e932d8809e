"""Training: gradients against autograd, steps against a network trained alone, resuming bit for bit."""

import json

import numpy as np
import pytest
import torch

from aitia.errors import NetworkError
from aitia.finite_groups import named_group
from aitia.group_networks import CURVE_SUFFIX, TrainingSettings, load_network, train_networks
from aitia.group_networks import training as module
from aitia.group_networks.architecture import evaluate, fold, gradients, initial_parameters
from aitia.group_networks.training import training_inputs

SMALL = TrainingSettings(
    steps=60, train_fraction=0.7, embedding=8, width=16, evaluate_every=20, checkpoint_every=25
)


def two_networks(rows=50):
    group = named_group("S4")
    each = [initial_parameters(seed, order=24, embedding=6, width=10) for seed in (0, 1)]
    parameters = {name: torch.stack([one[name] for one in each]).double() for name in each[0]}
    parameters["bias"] += torch.linspace(0, 1, 24)
    x, y = torch.randint(0, 24, (2, 2, rows), generator=torch.Generator().manual_seed(0))
    return parameters, x, y, torch.from_numpy(group.table.copy())[x, y]


def mean_loss(parameters, x, y, z):
    """Each network's loss, from the parameters, one network at a time."""
    losses = []
    for b in range(len(x)):
        one = {name: value[b] for name, value in parameters.items()}
        hidden = one["left_table"][x[b]] @ one["left_map"] + one["right_table"][y[b]] @ one["right_map"]
        logits = hidden.relu() @ one["unembed"] + one["bias"]
        losses.append(torch.nn.functional.cross_entropy(logits, z[b]))
    return torch.stack(losses)


def test_gradients_are_autograds(monkeypatch):
    parameters, x, y, z = two_networks()
    for value in parameters.values():
        value.requires_grad_()
    mean_loss(parameters, x, y, z).sum().backward()
    plain = {name: value.detach() for name, value in parameters.items()}
    for rows in (2048, 14):  # in one piece, and in pieces of seven rows
        monkeypatch.setattr("aitia.group_networks.architecture._CHUNK_ROWS", rows)
        for name, slope in gradients(plain, x, y, z).items():
            assert torch.allclose(slope, parameters[name].grad, atol=1e-12), name
        losses, hits = evaluate(fold(plain), x, y, z)
        assert torch.allclose(losses.mean(dim=1), mean_loss(plain, x, y, z))
        assert hits.shape == x.shape


def test_a_network_trained_with_others_is_the_one_trained_alone(tmp_path):
    """Against torch's own Adam on one network with autograd, with coupled L2 and no decay of the bias."""
    group = named_group("S3")
    path = train_networks(group, [3, 4, 5], tmp_path, SMALL)[1]
    found = load_network(path)
    inputs = torch.from_numpy(training_inputs(group, 4, SMALL))
    one = initial_parameters(4, order=6, embedding=8, width=16)
    parameters = {name: value[None].requires_grad_() for name, value in one.items()}
    weights = [value for name, value in parameters.items() if name != "bias"]
    optimizer = torch.optim.Adam(
        [{"params": weights, "weight_decay": 2e-4}, {"params": [parameters["bias"]]}],
        lr=0.01,
        betas=(0.9, 0.98),
    )
    x, y = inputs[None] // 6, inputs[None] % 6
    z = torch.from_numpy(group.table.copy())[x, y]
    for _ in range(SMALL.steps):
        optimizer.zero_grad()
        mean_loss(parameters, x, y, z).sum().backward()
        optimizer.step()
    for name, value in fold(parameters).items():
        assert np.abs(value[0].detach().numpy() - getattr(found, name)).max() < 2e-3, name


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    group = named_group("S3")
    whole = [load_network(path) for path in train_networks(group, [0, 1], tmp_path / "whole", SMALL)]
    kept = module._keep

    def keep_and_stop(path, step, *rest):
        kept(path, step, *rest)
        if step == 50:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "_keep", keep_and_stop)
    with pytest.raises(KeyboardInterrupt):
        train_networks(group, [0, 1], tmp_path / "stopped", SMALL)
    assert not list((tmp_path / "stopped").glob("*.network.safetensors"))
    monkeypatch.setattr(module, "_keep", lambda *_: pytest.fail("went back before the checkpoint at 50"))
    resumed = [load_network(path) for path in train_networks(group, [0, 1], tmp_path / "stopped", SMALL)]
    assert [one.fingerprint for one in whole] == [one.fingerprint for one in resumed]
    curves = [
        json.loads((tmp_path / name / "seed-0001.curve.json").read_text()) for name in ("whole", "stopped")
    ]
    assert curves[0] == curves[1]
    assert curves[0]["step"] == [0, 20, 40, 60]
    assert not list((tmp_path / "stopped").glob("*.checkpoint.*"))


def test_finished_networks_are_left_alone_and_others_added(tmp_path):
    group = named_group("S3")
    first = train_networks(group, [0], tmp_path, SMALL)[0]
    before = first.read_bytes()
    assert len(train_networks(group, [0, 1], tmp_path, SMALL)) == 2
    assert first.read_bytes() == before


def test_a_folder_of_another_group_or_recipe_is_refused(tmp_path):
    train_networks(named_group("S3"), [0], tmp_path, SMALL)
    for group, settings in (
        (named_group("Z6"), SMALL),
        (named_group("S3"), TrainingSettings(steps=61, embedding=8, width=16)),
    ):
        with pytest.raises(NetworkError, match="another group or with other settings"):
            train_networks(group, [0], tmp_path, settings)


@pytest.mark.parametrize(
    "wrong",
    [{"steps": 0}, {"train_fraction": 0}, {"train_fraction": 1.1}, {"learning_rate": 0}, {"width": -1}],
)
def test_settings_that_make_no_sense(wrong):
    with pytest.raises(NetworkError):
        TrainingSettings(**wrong)


def test_a_run_that_diverges_says_so(tmp_path):
    settings = TrainingSettings(steps=30, embedding=8, width=16, learning_rate=1e30)
    with pytest.raises(NetworkError, match="not finite"):
        train_networks(named_group("S3"), [0], tmp_path, settings)


def test_a_damaged_checkpoint_says_so(tmp_path, monkeypatch):
    group = named_group("S3")

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_write", stop)
    with pytest.raises(KeyboardInterrupt):
        train_networks(group, [0], tmp_path, SMALL)
    next(tmp_path.glob("*.checkpoint.safetensors")).write_bytes(b"\x00" * 40)
    with pytest.raises(NetworkError, match="delete it"):
        train_networks(group, [0], tmp_path, SMALL)


def test_inputs_are_drawn_for_each_seed():
    group, settings = named_group("S4"), TrainingSettings()
    first, second = (training_inputs(group, seed, settings) for seed in (0, 1))
    assert len(first) == round(0.4 * 576) == len(set(first.tolist()))
    assert (first != second).any()


def test_grokking_on_s4(tmp_path):
    """The recipe learns S4 from 60 % of the inputs: right on all, seen and unseen, after memorising first."""
    settings = TrainingSettings(steps=600, train_fraction=0.6)
    path = train_networks(named_group("S4"), [0], tmp_path, settings)[0]
    assert load_network(path).accuracy == 1.0
    curve = json.loads((tmp_path / f"seed-0000{CURVE_SUFFIX}").read_text())
    memorised = next(k for k, value in enumerate(curve["train_accuracy"]) if value == 1)
    assert curve["test_accuracy"][memorised] < 0.5 < curve["test_accuracy"][-1] == 1
