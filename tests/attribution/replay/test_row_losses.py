"""Replay and its cheap relatives under other losses: finite differences in float64, and autograd at a checkpoint."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution.losses_by_hand import CASES, SITE, log_prob, loss_of_row

from aitia.attribution import rank, scan
from aitia.attribution.gradients.measurements import LogProbability
from aitia.attribution.replay import (
    Target,
    TargetPart,
    checkpoint_influence,
    last_checkpoint,
    replay,
    target_value,
)
from aitia.attribution.replay.checkpoints import checkpoint_sides
from aitia.attribution.replay.targets import target_gradients
from aitia.errors import AitiaError, StoreError
from aitia.models import LanguageModel
from aitia.records import records_from_rows
from aitia.records.losses import REFERENCES, LossSettings
from aitia.training import LoraSettings, make_trainable, read_run, train

SETTINGS = LoraSettings(
    rank=2,
    epochs=2,
    learning_rate=2e-3,
    per_device_train_batch_size=3,
    target_modules=("c_attn", "c_proj"),
    epsilon_root=1e-6,
)


@pytest.fixture
def base(make_model):
    """base() -> the same fresh model in float64."""

    def make():
        model = make_model("gpt2", width=16, layers=3)
        model.network.double()
        return LanguageModel(network=model.network, tokenizer=model.tokenizer, name=model.name)

    return make


@pytest.fixture
def target(rows):
    texts = records_from_rows(rows[12:15])
    return Target(name="log-probability", parts=(TargetPart(measurement=LogProbability(), texts=texts),))


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("accumulated", [False, True])
def test_the_derivative_is_that_of_finite_differences(base, target, tmp_path, case, accumulated):
    rows, given = CASES[case]
    loss, data = LossSettings(**given), records_from_rows(rows)
    settings = replace(SETTINGS, per_device_train_batch_size=2, gradient_accumulation_steps=2)
    settings = settings if accumulated else SETTINGS
    train(base(), data, settings, tmp_path / "run", loss=loss, progress=False)
    run = read_run(tmp_path / "run")
    found = replay(run, base(), data, [target], progress=False)
    direction = np.random.default_rng(0).normal(size=len(data))
    usual, step = np.ones(len(data)) if run.weights is None else run.weights, 1e-5

    def after(sign):
        weights = usual + sign * step * direction
        tuned = train(base(), data, settings, loss=loss, weights=weights, progress=False)
        return target_value(tuned, target)

    measured = (after(1) - after(-1)) / (2 * step)
    assert abs(measured) > 1e-7
    np.testing.assert_allclose(found.scores[0] @ direction, measured, rtol=1e-5, atol=2e-10)
    assert (found.sides is None) == (loss.loss == "sft")


@pytest.mark.parametrize("reference", ["base", "columns"])
def test_parts_of_answers_are_those_of_a_step_by_autograd(base, target, tmp_path, reference):
    """Of the last step of gradient descent: -rate (grad target) (dL/dlp grad lp), answer by answer; and they sum."""
    rows, given = CASES["dpo with weights"]
    loss, data = LossSettings(**given | {"reference": reference}), records_from_rows(rows)
    settings = replace(
        SETTINGS,
        optimizer="sgd",
        epsilon_root=0.0,
        epochs=1,
        per_device_train_batch_size=4,
        learning_rate=0.05,
        max_grad_norm=0.0,
        warmup_ratio=0.0,
    )
    train(base(), data, settings, tmp_path / "run", loss=loss, progress=False)
    run = read_run(tmp_path / "run")
    found = replay(run, base(), data, [target], progress=False)
    np.testing.assert_allclose(found.sides.sum(axis=-1), found.scores, rtol=1e-12)
    model = base()
    cut, trained = run.rows_of(model, data), make_trainable(model, settings)
    # The last step has no step after it, so its parts need no Hessian.
    last = run.steps[-1]
    trained.write(run.final().parameters)
    _, gradients = target_gradients(trained, [target.in_tokens(trained.model)])
    trained.write(run.state(len(run.steps) - 1).parameters)
    for place in last.rows:
        expected = (
            -last.learning_rate / len(last.rows) * dpo_parts(trained, cut[place], loss.beta, gradients[0])
        )
        np.testing.assert_allclose(found.sides[0, place], expected, rtol=1e-6)
        assert abs(expected).min() > 1e-9


def dpo_parts(trained, row, beta, along):
    """(dL/dlp_s grad lp_s) of both answers of a pair, times a vector: [2], by the formula of DPO and autograd."""
    answers = [log_prob(trained.model.network, side) for side in row.sides]
    before = [row.numbers[name] for name in REFERENCES]
    gain = beta * ((answers[0] - before[0]) - (answers[1] - before[1]))
    found = []
    for answer, sign in zip(answers, (1, -1), strict=True):
        parts = torch.autograd.grad(answer, list(trained.parameters.values()), retain_graph=True)
        flat = torch.cat([part.flatten() for part in parts])
        found.append(float(-beta * torch.sigmoid(-gain).detach() * sign * (flat @ along)))
    return np.array(found)


def test_parts_of_the_expectation_over_orders_sum_to_it(base, target, tmp_path):
    """With all rows in each step there is one order, and the parts are those of the reversal."""
    rows, given = CASES["dpo"]
    loss, data = LossSettings(**given), records_from_rows(rows)
    settings = replace(SETTINGS, per_device_train_batch_size=len(rows), epochs=3)
    train(base(), data, settings, tmp_path / "run", loss=loss, progress=False)
    run = read_run(tmp_path / "run")
    found = replay(run, base(), data, [target], over_orders=3, progress=False)
    alone = replay(run, base(), data, [target], progress=False)
    np.testing.assert_allclose(found.sides.sum(axis=-1), found.foretelling, rtol=1e-12)
    np.testing.assert_allclose(found.sides, alone.sides, rtol=1e-3, atol=1e-6 * np.abs(alone.sides).max())


@pytest.mark.parametrize("case", CASES)
def test_checkpoint_influence_is_that_of_autograd(base, target, tmp_path, case):
    rows, given = CASES[case]
    loss, data = LossSettings(**given), records_from_rows(rows)
    settings = replace(SETTINGS, optimizer="sgd", learning_rate=0.05, epsilon_root=0.0)
    train(base(), data, settings, tmp_path / "run", loss=loss, progress=False)
    run = read_run(tmp_path / "run")
    (last,) = last_checkpoint(run)
    found = checkpoint_influence(run, base(), data, [target], checkpoints=[last], precision="float32")
    model = base()
    cut, trained = run.rows_of(model, data), make_trainable(model, settings)
    trained.write(run.final().parameters)
    _, gradients = target_gradients(trained, [target.in_tokens(trained.model)])
    expected = []
    for row, columns in zip(cut, rows, strict=True):
        value = loss_of_row(trained.model, row, columns, given | {"weight": ""})
        if loss.loss in ("sft", "policy-gradient"):
            value = value * int(row.response[1:].sum())  # a step's sum is over tokens
        parts = torch.autograd.grad(value, list(trained.parameters.values()))
        expected.append(-last.weight * float(torch.cat([p.flatten() for p in parts]) @ gradients[0]))
    rate = sum(step.learning_rate * len(step.rows) for step in run.steps) / len(rows)
    assert last.weight == pytest.approx(rate)
    together = np.array([len(step.rows) for step in run.steps])
    if loss.loss in ("sft", "policy-gradient"):
        tokens = np.array([row.response[1:].sum() for row in cut])
        means = [tokens + (size - 1) * (tokens.sum() - tokens) / (len(rows) - 1) for size in together]
        expected /= np.average(means, axis=0, weights=together)
    else:
        expected /= np.average(together, weights=together)
    np.testing.assert_allclose(found[0], expected, rtol=1e-3, atol=1e-5 * np.abs(expected).max())
    if case == "dpo":
        sides = checkpoint_sides(run, base(), data, [target], checkpoints=[last], precision="float32")[0]
        parts = [-last.weight * dpo_parts(trained, row, loss.beta, gradients[0]) for row in cut]
        parts /= np.average(together, weights=together)
        np.testing.assert_allclose(sides, parts, rtol=1e-3, atol=1e-5 * np.abs(parts).max())


def test_parts_by_token_are_refused(base, target, tmp_path):
    rows, given = CASES["dpo"]
    data = records_from_rows(rows)
    train(base(), data, SETTINGS, tmp_path / "run", loss=LossSettings(**given), progress=False)
    with pytest.raises(
        AitiaError, match="was trained with the loss dpo, whose scores have no parts by token"
    ):
        replay(read_run(tmp_path / "run"), base(), data, [target], by_token=True)


def test_rank_takes_a_run_of_the_stores_own_loss(make_model, queries, tmp_path):
    from attribution.dense import concept_at

    rows, given = CASES["dpo"]
    loss, data = LossSettings(**given), records_from_rows(rows)
    settings = replace(SETTINGS, target_modules=("q_proj",))
    plain = make_model("llama")
    tuned = train(plain, data, settings, tmp_path / "run", loss=loss, progress=False)
    store = scan(tuned, data, sites=[SITE], out=tmp_path / "s", loss=loss)
    found = rank(
        store,
        concept_at(tuned),
        method="replay",
        compare=("checkpoint-influence", "tracin"),
        queries=queries,
        run=tmp_path / "run",
        base=make_model("llama"),
        random_controls=0,
    )
    assert all(np.isfinite(scores).all() and scores.any() for scores in found.scores.values())
    assert list(found.sides) == ["chosen", "rejected"]
    both = found.sides["chosen"] + found.sides["rejected"]
    np.testing.assert_allclose(both, found.scores["replay"], rtol=1e-5, atol=1e-9)
    other = records_from_rows(rows, side="chosen")
    train(make_model("llama"), other, settings, tmp_path / "sft", progress=False)
    with pytest.raises(StoreError, match="was trained with the loss sft, and these rows have the loss dpo"):
        rank(
            store,
            concept_at(tuned),
            method="replay",
            compare=(),
            queries=queries,
            run=tmp_path / "sft",
            base=make_model("llama"),
        )


def test_replay_foretells_what_leaving_a_pair_out_does(base, target, tmp_path):
    """Training again without each pair in turn, in its place a step that is shorter by it."""
    rows, given = CASES["dpo"]
    loss, data = LossSettings(**given), records_from_rows(rows)
    # AdamW divides by the size of the gradient, so that what a whole row does is not linear in its weight.
    gentle = replace(SETTINGS, optimizer="sgd", learning_rate=0.05, max_grad_norm=0.0)
    whole = target_value(
        train(base(), data, gentle, tmp_path / "run", loss=loss, progress=False), target.in_tokens(base())
    )
    (foretold,) = replay(read_run(tmp_path / "run"), base(), data, [target], progress=False).scores
    changes = []
    for place in range(len(rows)):
        weights = np.ones(len(rows))
        weights[place] = 0.0
        tuned = train(base(), data, gentle, loss=loss, weights=weights, progress=False)
        changes.append(whole - target_value(tuned, target))
    assert np.corrcoef(foretold, changes)[0, 1] > 0.99
