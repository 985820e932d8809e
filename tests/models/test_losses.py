"""Rows taken apart into answers, references by the model without its adapter, and losses with their graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from attribution.losses_by_hand import CASES, PAIRS, adapted, log_prob, loss_of_row

from aitia.errors import AitiaError, NumericalError
from aitia.models import in_tokens, run
from aitia.models.losses import (
    answers_in_tokens,
    coefficients,
    known_references,
    log_probabilities,
    references_table,
    row_losses,
    side_batch,
    sides_of_rows,
    with_references,
    without_adapter,
)
from aitia.records import records_from_rows
from aitia.records.losses import LossSettings

DPO = LossSettings(loss="dpo", beta=0.3)


@pytest.fixture(scope="module")
def model(make_model):
    return adapted(make_model)


@pytest.fixture(scope="module")
def pairs(model):
    return in_tokens(model, records_from_rows(PAIRS), loss=DPO)


def test_references_are_log_probabilities_without_the_adapter(model, pairs):
    filled = with_references(model, list(pairs), DPO)
    with torch.no_grad(), model.network.disable_adapter():
        expected = [[float(log_prob(model.network, side)) for side in row.sides] for row in pairs]
    table = references_table(filled)
    np.testing.assert_allclose(table, expected, rtol=1e-4)
    with without_adapter(model) as bare:
        assert bare.adapter is None
        alone = log_probabilities(bare, pairs.answers.records)
    np.testing.assert_allclose(alone.reshape(-1, 2), table, rtol=1e-6)
    again = known_references(pairs, table)
    assert [row.numbers for row in again] == [row.numbers for row in filled]
    assert again.fingerprint == pairs.fingerprint  # they follow from the rest
    assert with_references(model, again.records, DPO)[0] is again[0]
    assert known_references(pairs, []) is pairs
    own = with_references(model, list(pairs), DPO, untrained=True)
    assert not np.allclose(references_table(own), table)
    assert references_table(list(pairs)) == []


@pytest.mark.parametrize("case", CASES)
def test_losses_of_rows_are_those_by_hand(model, case):
    rows, given = CASES[case]
    loss = LossSettings(**given)
    data = in_tokens(model, records_from_rows(rows), loss=loss)
    filled = replace(data, records=with_references(model, list(data), loss))
    index = np.array([4, 1, 2])
    batch = side_batch(filled, index, model.pad_id)
    sides = len(data[0].sides)
    np.testing.assert_array_equal(batch.index, np.repeat(index, sides))
    found = row_losses(run(model, batch), [filled[i] for i in index], loss)
    with torch.no_grad():
        expected = [float(loss_of_row(model, data[i], rows[i], given | {"weight": ""})) for i in index]
    if loss.loss in ("sft", "policy-gradient"):  # which a step divides by tokens
        expected = [value * int(data[i].response[1:].sum()) for value, i in zip(expected, index, strict=True)]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-4)


def test_coefficients_of_means_and_weights(model):
    rows, given = CASES["dpo with weights"]
    loss = LossSettings(**given)
    data = in_tokens(model, records_from_rows(rows), loss=loss)
    sums, means = (sides_of_rows(model, data, mean=mean) for mean in (False, True))
    counts = [[int(side.response[1:].sum()) for side in row.sides] for row in data]
    np.testing.assert_allclose(means.coefficients, sums.coefficients * np.array(counts), rtol=1e-6)
    bare = sides_of_rows(model, data, weighted=False)
    weights = np.array([row["w"] for row in rows])
    np.testing.assert_allclose(bare.coefficients * weights[:, None], sums.coefficients, rtol=1e-6)
    scores = np.arange(2.0 * len(rows))[None]
    parts = sums.parts(scores)
    assert parts.shape == (1, len(rows), 2)
    assert parts[0, 1, 1] == pytest.approx(3 * sums.coefficients[1, 1])
    filled = with_references(model, list(data), loss)
    log_probs = log_probabilities(model, data.answers.records).reshape(-1, 2)
    np.testing.assert_allclose(coefficients(filled, log_probs, loss, mean=False), sums.coefficients)


def test_every_answer_of_pairs_is_cut_for_what_is_about_texts(model, pairs):
    found = answers_in_tokens(model, records_from_rows(PAIRS))
    assert found.loss.plain
    assert found.fingerprint == pairs.answers.fingerprint
    plain = records_from_rows([{"prompt": "a", "completion": " b"}])
    assert answers_in_tokens(model, plain).fingerprint == in_tokens(model, plain).fingerprint
    marked = records_from_rows([{"prompt": "a", "completion": " b", "label": True}])
    assert answers_in_tokens(model, marked).fingerprint != ""
    assert len(answers_in_tokens(model, marked)) == 1


def test_no_adapter_and_numbers_that_are_not_finite_are_refused(tiny_model, make_model, pairs):
    with pytest.raises(AitiaError, match="no adapter to turn off"), without_adapter(tiny_model):
        pass
    with pytest.raises(AitiaError, match="this model without its adapter, and it has none"):
        with_references(tiny_model, list(pairs), DPO)
    broken = make_model("llama")
    with torch.no_grad():
        broken.network.lm_head.weight.fill_(float("nan"))
    with pytest.raises(NumericalError, match="rows row 0: the log-probability of its response is not finite"):
        log_probabilities(broken, pairs.answers.records)
