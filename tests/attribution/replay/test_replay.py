"""Replay against finite differences in float64, and against leaving rows out."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch

from aitia.attribution.gradients.measurements import CustomMeasurement, LogProbability
from aitia.attribution.replay import (
    OVER_ORDERS,
    Target,
    TargetPart,
    checkpoint_influence,
    last_checkpoint,
    margin_target,
    metasmoothness,
    perturbed,
    replay,
    smooth_replay,
    target_value,
)
from aitia.errors import AitiaError, NumericalError, StoreError
from aitia.models import LanguageModel
from aitia.records import records_from_rows
from aitia.training import LoraSettings, read_run, train

SITE = "resid_post.2"
SETTINGS = LoraSettings(
    rank=2,
    epochs=2,
    learning_rate=2e-3,
    per_device_train_batch_size=4,
    target_modules=("c_attn", "c_proj"),
    epsilon_root=1e-6,
)
GENTLE = replace(SETTINGS, epsilon_root=1e-4, learning_rate=5e-4)
CASES = {
    "smooth adamw": SETTINGS,
    "adamw as it is": replace(SETTINGS, epsilon_root=0.0),
    "no clipping": replace(SETTINGS, max_grad_norm=0.0),
    "always clipped": replace(SETTINGS, max_grad_norm=0.05),
    "decay": replace(SETTINGS, weight_decay=0.3),
    "constant rate": replace(SETTINGS, lr_scheduler_type="constant", warmup_steps=1),
    "cosine": replace(SETTINGS, lr_scheduler_type="cosine"),
    "accumulation": replace(SETTINGS, per_device_train_batch_size=2, gradient_accumulation_steps=2),
    "short memory": replace(SETTINGS, adam_beta1=0.5, adam_beta2=0.8),
    "sgd": replace(SETTINGS, optimizer="sgd", learning_rate=0.3),
    "momentum": replace(SETTINGS, optimizer="sgd", learning_rate=0.3, momentum=0.9, weight_decay=0.05),
    "all weights": replace(SETTINGS, method="full", learning_rate=1e-3),
}


@pytest.fixture(scope="module")
def data(rows):
    return records_from_rows(rows[:10])


@pytest.fixture
def base(make_model):
    """base() -> the same fresh model in float64. GPT-2, since Llama's norms and angles are float32 in any model."""

    def make(family="gpt2"):
        model = make_model(family, width=16, layers=3)
        model.network.double()
        return LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name)

    return make


def targets_of(rows):
    """A projection on a fixed direction, and a margin."""
    texts = records_from_rows(rows[12:15])
    direction = torch.linspace(-1, 1, 16, dtype=torch.float64)

    def projected(outputs, batch):
        mask = torch.from_numpy(batch.response).double()
        return (outputs.activations[SITE] @ direction * mask).sum(dim=1) / mask.sum(dim=1)

    measurement = CustomMeasurement(function=projected, sites=(SITE,), below_sites_only=True)
    return [
        Target(name="projection", parts=(TargetPart(measurement=measurement, texts=texts),)),
        margin_target(texts, records_from_rows(rows[16:19])),
    ]


@pytest.mark.parametrize("case", CASES)
def test_the_derivative_is_that_of_finite_differences(base, data, rows, tmp_path, case):
    settings, targets = CASES[case], targets_of(rows)
    train(base(), data, settings, tmp_path / "run", progress=False)
    found = replay(read_run(tmp_path / "run"), base(), data, targets)
    direction = np.random.default_rng(0).normal(size=len(data))
    # AdamW as it is bends so sharply that only a tiny step is a derivative.
    step = 1e-6 if settings.smooth else 1e-9

    def after(sign):
        weights = np.ones(len(data)) + sign * step * direction
        tuned = train(base(), data, settings, weights=weights, progress=False)
        return np.array([target_value(tuned, target) for target in targets])

    measured = (after(1) - after(-1)) / (2 * step)
    np.testing.assert_allclose(found.scores @ direction, measured, rtol=1e-6 if settings.smooth else 1e-3)
    assert (np.abs(measured) > 1e-6).all()
    by_step = np.zeros_like(found.scores)
    for each in found.occurrences:
        by_step[:, each.rows] += each.scores
    np.testing.assert_allclose(by_step, found.scores)
    assert found.values == pytest.approx(
        [target_value(train(base(), data, settings, progress=False), target) for target in targets]
    )


@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_other_families_are_differentiated_as_well(base, data, rows, tmp_path, family):
    settings = replace(SETTINGS, target_modules=(), method="lora")
    targets = targets_of(rows)
    train(base(family), data, settings, tmp_path / "run", progress=False)
    found = replay(read_run(tmp_path / "run"), base(family), data, targets)
    step, row = 1e-2, 3
    ends = []
    for sign in (1, -1):
        weights = np.ones(len(data))
        weights[row] += sign * step
        tuned = train(base(family), data, settings, weights=weights, progress=False)
        ends.append([target_value(tuned, target) for target in targets])
    np.testing.assert_allclose(found.scores[:, row], np.subtract(*ends) / (2 * step), rtol=0.02)


def test_spacing_and_company_change_no_derivative(base, data, rows, tmp_path):
    targets = targets_of(rows)
    train(base(), data, SETTINGS, tmp_path / "every", progress=False)
    train(base(), data, SETTINGS, tmp_path / "few", state_gigabytes=0.0, progress=False)
    assert read_run(tmp_path / "few").kept == [0, 6]
    model = base()
    every = replay(read_run(tmp_path / "every"), model, data, targets, by_token=True)
    assert model.fingerprint == base().fingerprint
    few = replay(read_run(tmp_path / "few"), model, data, targets)
    alone = replay(read_run(tmp_path / "every"), base(), data, targets[1:])
    np.testing.assert_array_equal(every.scores, few.scores)
    np.testing.assert_allclose(every.scores[1:], alone.scores, rtol=1e-12)
    np.testing.assert_array_equal(every.of("projection"), every.scores[0])
    for place, tokens in enumerate(every.tokens):
        np.testing.assert_allclose(tokens.sum(axis=1), every.scores[:, place])
        assert not tokens[:, 0].any()


def test_scores_foretell_leaving_a_row_out_and_a_flipped_sign_does_not(base, data, rows, tmp_path):
    targets = targets_of(rows)
    train(base(), data, GENTLE, tmp_path / "run", progress=False)
    found = replay(read_run(tmp_path / "run"), base(), data, targets)
    changes = []
    for row in range(len(data)):
        weights = np.ones(len(data))
        weights[row] = 0
        tuned = train(base(), data, GENTLE, weights=weights, progress=False)
        changes.append([target_value(tuned, target) for target in targets])
    lost = np.array(found.values)[:, None] - np.array(changes).T
    for scores, drop in zip(found.scores, lost, strict=True):
        assert np.corrcoef(scores, drop)[0, 1] > 0.75
        assert np.corrcoef(-scores, drop)[0, 1] < 0


def test_a_surrogate_is_replayed_in_the_place_of_a_run_that_is_not_smooth(base, data, rows, tmp_path):
    targets = targets_of(rows)
    settings = replace(SETTINGS, epsilon_root=0.0)
    train(base(), data, settings, tmp_path / "run", progress=False)
    run = read_run(tmp_path / "run")
    model = base()
    found = smooth_replay([run], model, data, targets)
    assert model.fingerprint == base().fingerprint
    assert len(found.runs) == 2
    expected = []
    for seed in (0, 1):
        train(base(), data, replace(SETTINGS, seed=seed), tmp_path / f"own-{seed}", progress=False)
        own = replay(read_run(tmp_path / f"own-{seed}"), base(), data, targets, over_orders=OVER_ORDERS)
        expected.append(own.foretelling)
    np.testing.assert_allclose(found.scores, np.mean(expected, axis=0), rtol=1e-9)
    assert all(each.agreement is not None for each in found.smoothness)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    again = smooth_replay([run], model, data, targets)
    np.testing.assert_array_equal(again.scores, found.scores)
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*.safetensors")}
    smooth = smooth_replay([read_run(tmp_path / "own-0")], model, data, targets)
    np.testing.assert_array_equal(smooth.scores, expected[0])


@pytest.mark.parametrize("method", ["lora", "sgd"])
def test_where_every_row_is_in_every_step_there_is_one_order_only(base, data, rows, tmp_path, method):
    """The expectation over orders, taken at every step, is then the derivative itself."""
    settings = replace(SETTINGS, per_device_train_batch_size=len(data), epochs=4)
    if method == "sgd":
        settings = replace(settings, optimizer="sgd", learning_rate=0.3, momentum=0.9)
    train(base(), data, settings, tmp_path / "run")
    run, targets = read_run(tmp_path / "run"), targets_of(rows)
    found = replay(run, base(), data, targets, over_orders=len(run.steps))
    assert found.expected is not None
    np.testing.assert_allclose(found.expected, found.scores, rtol=1e-4, atol=1e-7 * abs(found.scores).max())


def test_the_expectation_over_orders_foretells_other_orders(base, rows, tmp_path):
    """Orders that differ alone: the same adapter before training, the same seed, the rows permuted."""
    # The learning rate falls, so that a row counts for more where it comes early.
    plain = {"optimizer": "sgd", "learning_rate": 1e-3, "max_grad_norm": 0.0}
    settings = replace(SETTINGS, per_device_train_batch_size=1, epochs=1, **plain)
    targets, generator, every = targets_of(rows)[:1], np.random.default_rng(0), []
    for number in range(12):
        order = generator.permutation(10)
        data = records_from_rows([rows[place] for place in order])
        train(base(), data, settings, tmp_path / str(number))
        run = read_run(tmp_path / str(number))
        found = replay(run, base(), data, targets, over_orders=0 if number else 4)
        back = np.argsort(order)
        every.append((found.scores[0, back], found.foretelling[0, back]))
    others = np.mean([own for own, _ in every[1:]], axis=0)
    own, expected = every[0]
    assert np.linalg.norm(expected - others) < 0.5 * np.linalg.norm(own - others)


def test_fewer_than_no_steps_are_refused(base, data, rows, tmp_path):
    train(base(), data, SETTINGS, tmp_path / "run")
    with pytest.raises(AitiaError, match="over_orders -1"):
        replay(read_run(tmp_path / "run"), base(), data, targets_of(rows), over_orders=-1)


def test_metasmoothness_tells_a_smooth_run_from_adamw_as_it_is(base, data, rows, tmp_path):
    targets = targets_of(rows)
    errors = {}
    rough = replace(GENTLE, epsilon_root=0.0, learning_rate=5e-3)
    for name, settings in (("smooth", GENTLE), ("rough", rough)):
        train(base(), data, settings, tmp_path / name, progress=False)
        run = read_run(tmp_path / name)
        found = replay(run, base(), data, targets)
        tried = perturbed(run, [base() for _ in range(4)], data, targets, found)
        errors[name] = [each.perturbed_error for each in tried]
        assert len(tried[0].measured) == 2
    assert max(errors["smooth"]) < 0.1
    assert max(errors["rough"]) > 3 * max(errors["smooth"])


def test_metasmoothness_warns(base, data, rows, tmp_path):
    train(base(), data, SETTINGS, tmp_path / "run", progress=False)
    found = replay(read_run(tmp_path / "run"), base(), data, targets_of(rows))
    assert metasmoothness([found])[0].agreement is None
    assert metasmoothness([found, found])[0].agreement == pytest.approx(1)
    turned = replace(found, scores=-found.scores)
    assert "rank correlation of -1.00" in metasmoothness([found, turned])[0].warnings[0]
    norms = found.adjoint_norms.copy()
    norms[0] *= 1e6
    assert any("grows" in each for each in metasmoothness([replace(found, adjoint_norms=norms)])[0].warnings)


def divisors_by_hand(tokens, sizes):
    """[n] mean tokens of the steps that a row may be in, over all sets of rows that could be with it."""
    found = []
    for row in range(len(tokens)):
        others, means = np.delete(tokens, row), []
        for size in sizes:
            together = [
                tokens[row] + sum(others[list(c)]) for c in combinations(range(len(others)), size - 1)
            ]
            means.append(np.mean(together))
        found.append(np.average(means, weights=sizes))
    return np.array(found)


def test_checkpoint_products_are_those_of_gradients_by_hand(base, data, rows, tmp_path):
    """At the last checkpoint, against autograd on each row's loss, with and without AdamW's scaling."""
    from aitia.attribution.replay.targets import target_gradients
    from aitia.models import run as run_model
    from aitia.records import pad_batch
    from aitia.training import preconditioner, temporarily_trainable
    from aitia.training.loop import flatten

    targets = targets_of(rows)
    for settings in (SETTINGS, replace(SETTINGS, optimizer="sgd", learning_rate=0.3)):
        path = tmp_path / settings.optimizer
        train(base(), data, settings, path, progress=False)
        run = read_run(path)
        last = last_checkpoint(run)
        rates = np.array([each.learning_rate for each in run.steps])
        sizes = np.array([len(each.rows) for each in run.steps])
        assert last[0].weight == pytest.approx((rates * sizes / 10).sum())
        model = base()
        with temporarily_trainable(model, settings) as found:
            tokenized = run.rows_of(model, data)
            found.write(run.final().parameters)
            _, asked = target_gradients(found, targets)
            below = preconditioner(run.final().second, len(run.steps), settings)
            parameters = list(found.parameters.values())
            own = []
            for place in range(len(data)):
                batch = pad_batch(tokenized, np.array([place]), model.pad_id)
                loss = run_model(found.model, batch, gradients=True, detach=False).losses().sum()
                own.append(flatten(torch.autograd.grad(loss, parameters, allow_unused=True), parameters))
            own = torch.stack(own)
        for scaled in (True, False):
            divided = asked / below if scaled and below is not None else asked
            tokens = np.array([row.response[1:].sum() for row in tokenized])
            expected = -last[0].weight * (divided @ own.T).numpy() / divisors_by_hand(tokens, sizes)
            scores = checkpoint_influence(
                run, base(), data, targets, checkpoints=last, preconditioned=scaled, precision="float32"
            )
            np.testing.assert_allclose(scores, expected, rtol=2e-4, atol=1e-5 * np.abs(expected).max())


def test_checkpoint_influence_agrees_with_replay(base, data, rows, tmp_path):
    targets = targets_of(rows)
    train(base(), data, GENTLE, tmp_path / "run", progress=False)
    run = read_run(tmp_path / "run")
    exact = replay(run, base(), data, targets).scores
    near = checkpoint_influence(run, base(), data, targets)
    for one, other in zip(exact, near, strict=True):
        assert np.corrcoef(one, other)[0, 1] > 0.7


def test_what_cannot_be_replayed_is_refused(base, make_model, data, rows, tmp_path, monkeypatch):
    targets = targets_of(rows)
    train(base(), data, SETTINGS, tmp_path / "run", progress=False)
    run = read_run(tmp_path / "run")
    with pytest.raises(StoreError, match="not the model"):
        replay(run, make_model("gpt2", width=16, layers=3, seed=4), data, targets)
    with pytest.raises(StoreError, match="row 'row-9', which the data lack"):
        replay(run, base(), records_from_rows(rows[:9]), targets)
    with pytest.raises(AitiaError, match="no target"):
        replay(run, base(), data, [])
    with pytest.raises(AitiaError, match="same name"):
        replay(run, base(), data, [targets[0], targets[0]])
    with pytest.raises(AitiaError, match="no texts"):
        margin_target(records_from_rows([]))
    nothing = CustomMeasurement(function=lambda outputs, _batch: 0 * outputs.losses())
    part = TargetPart(measurement=nothing, texts=records_from_rows(rows[12:13]))
    with pytest.raises(AitiaError, match="does not depend on any trained parameter"):
        replay(run, base(), data, [Target(name="nothing", parts=(part,))])
    monkeypatch.setattr(
        "aitia.attribution.replay.reverse.pull_back",
        lambda *given, **_decay: (given[-1], given[-1].parameters * float("nan")),
    )
    with pytest.raises(NumericalError, match="not finite at step 5"):
        replay(run, base(), data, targets)


def test_half_precision_is_refused(make_model, data, rows, tmp_path):
    def half():
        model = make_model("llama")
        model.network.to(torch.bfloat16)
        return LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name)

    train(half(), data, replace(SETTINGS, target_modules=()), tmp_path / "run", progress=False)
    texts = records_from_rows(rows[12:13])
    target = Target(name="likelihood", parts=(TargetPart(measurement=LogProbability(), texts=texts),))
    with pytest.raises(AitiaError, match="bfloat16, too coarse"):
        replay(read_run(tmp_path / "run"), half(), data, [target])
