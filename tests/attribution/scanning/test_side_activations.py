"""The backward activation of rows under other losses, against autograd of the whole loss of the row."""

import numpy as np
import pytest
import torch
from attribution.dense import concept_at
from attribution.losses_by_hand import CASES, PAIRS, SITE, adapted, loss_of_row

from aitia.attribution import ActivationStore, rank, read_ranking, scan
from aitia.attribution.scanning.side_activations import run_length
from aitia.errors import AitiaError, RecordError, StoreError
from aitia.records import records_from_rows, tokenize
from aitia.records.losses import LossSettings


@pytest.fixture(scope="module")
def model(make_model):
    return adapted(make_model)


def by_hand(model, rows, settings):
    """[n, s, d] what autograd gives at the site, summed over the response tokens of each side."""
    records = records_from_rows(rows)
    tokenized = tokenize(records, model.tokenizer, max_length=256, loss=LossSettings(**settings))
    found = []
    model.network.requires_grad_(True)
    for row, given in zip(tokenized, rows, strict=True):
        hidden = []
        value = loss_of_row(model, row, given, settings, hidden)
        gradients = torch.autograd.grad(value, [each[3] for each in hidden])
        found.append(
            [
                part[0][torch.from_numpy(side.response)].sum(0).numpy()
                for part, side in zip(gradients, row.sides, strict=True)
            ]
        )
    model.network.requires_grad_(False)
    return np.array(found)


@pytest.mark.parametrize("case", CASES)
def test_scores_are_those_of_autograd(model, tmp_path, case):
    rows, settings = CASES[case]
    store = scan(
        model,
        records_from_rows(rows),
        sites=[SITE],
        out=tmp_path / "s",
        shard_rows=3,
        max_batch_tokens=200,
        loss=LossSettings(**settings),
    )
    expected = by_hand(model, rows, settings)
    concept = concept_at(model)
    ranking = rank(store, concept, random_controls=2)
    scores = -expected @ concept.vector
    size = np.abs(scores).max()
    np.testing.assert_allclose(ranking.score, scores.sum(axis=1), rtol=2e-3, atol=1e-4 * size)
    assert set(ranking.scores) == {"activation-gradient"}
    if settings["loss"] == "dpo":
        assert list(ranking.sides) == ["chosen", "rejected"]
        for place, part in enumerate(ranking.sides.values()):
            np.testing.assert_allclose(part, scores[:, place], rtol=2e-3, atol=1e-4 * size)
        cosine = rank(store, concept, method="activation-gradient-cosine", random_controls=1)
        norms = np.linalg.norm(expected.sum(axis=1), axis=1)
        np.testing.assert_allclose(cosine.score, scores.sum(axis=1) / norms, rtol=2e-3, atol=1e-4)
        np.testing.assert_allclose(cosine.sides["rejected"], scores[:, 1] / norms, rtol=2e-3, atol=1e-4)
    else:
        assert not ranking.sides
    again = read_ranking(ranking.write(tmp_path / "ranking.parquet"))
    assert set(again.scores) == set(ranking.scores)
    assert list(again.sides) == list(ranking.sides)
    for name, part in ranking.sides.items():
        np.testing.assert_array_equal(again.sides[name], part)
    assert len(next(iter(ranking[:3].sides.values()), [0] * 3)) == 3
    ranking.report(tmp_path / "report.html")


def test_a_store_keeps_its_loss_and_goes_on_with_no_other(model, tmp_path):
    data, settings = records_from_rows(PAIRS), LossSettings(loss="dpo", beta=0.3)
    made = scan(model, data, sites=[SITE], out=tmp_path / "s", loss=settings)
    opened = ActivationStore.open(tmp_path / "s")
    opened.give(model=model, data=data)
    assert opened.loss == settings
    assert opened.sides == ("chosen", "rejected")
    assert opened.load_rows().fingerprint == made.tokenized.fingerprint
    with pytest.raises(StoreError, match=r"data.loss.beta \(0.3, now null\)"):
        scan(model, data, sites=[SITE], out=tmp_path / "s", loss=LossSettings(loss="dpo"))
    assert rank(made, concept_at(model), random_controls=1).provenance["data"]["loss"] == settings.said


@pytest.mark.parametrize("method", ["vector-filter", "training-loss", "tf-idf", "loss-gap"])
def test_what_reads_no_gradient_of_the_row_refuses_another_loss(model, tmp_path, method):
    data = records_from_rows(PAIRS)
    store = scan(model, data, sites=[SITE], out=tmp_path / "s", loss=LossSettings(loss="dpo"))
    with pytest.raises(AitiaError, match=f"method {method} does not read the gradient .* have the loss dpo"):
        rank(store, concept_at(model), method=method)


def test_what_a_scan_cannot_do_with_a_loss_is_refused_before_any_work(model, tiny_model, tmp_path):
    data, loss = records_from_rows(PAIRS), LossSettings(loss="dpo")
    with pytest.raises(
        AitiaError, match="this model without its adapter, and it has none; .*reference=columns"
    ):
        scan(tiny_model, data, sites=[SITE], out=tmp_path / "s", loss=loss)
    with pytest.raises(RecordError, match="which is the activation backward: scan it too"):
        scan(model, data, sites=[SITE], activations=["response"], out=tmp_path / "s", loss=loss)
    with pytest.raises(RecordError, match="on_policy_response is compared .* knows nothing of `loss=dpo`"):
        scan(
            model,
            data,
            sites=[SITE],
            activations=["backward", "on_policy_response"],
            out=tmp_path / "s",
            loss=loss,
        )
    assert not (tmp_path / "s").exists()


def test_a_pair_takes_the_place_of_two_rows(tiny_tokenizer):
    (pair, *_) = tokenize(
        records_from_rows(PAIRS), tiny_tokenizer, max_length=256, loss=LossSettings(loss="dpo")
    )
    assert run_length(pair) == 2 * max(len(side.tokens) for side in pair.sides)
    assert run_length(pair.rejected) == len(pair.rejected.tokens)
