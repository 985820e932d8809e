"""The baseline hypotheses as explanations: what they predict, and what judging says of them."""

from dataclasses import replace

import numpy as np
import pytest
from group_networks.planted_networks import joined, planted, random_neurons

from aitia.adapters import group_network_explanations
from aitia.adapters.group_networks import (
    CHANGES,
    HYPOTHESES,
    points_of_g_sets,
    product_phenomenon,
    under_study,
)
from aitia.errors import ExplanationError, NetworkError
from aitia.explanations import Settings, evaluate
from aitia.finite_groups import named_group
from aitia.group_networks import interpret
from aitia.group_networks.interventions import INTERVENTIONS


@pytest.fixture(scope="module")
def s3():
    parts = [planted("S3", 2, "2a").network(), planted("S3", 3, "1b").network()]
    return joined([type(part)(**{**vars(part), "unembed": 6 * part.unembed}) for part in parts], noise=1e-3)


def test_the_model_under_study_is_the_network(s3):
    inputs = np.indices((6, 6)).reshape(2, -1).T
    model = under_study(s3)
    assert np.abs(model.run(inputs) - s3.logits(inputs[:, 0], inputs[:, 1])).max() < 1e-12
    seen = model.trace(inputs, model.sites)
    assert (seen["hidden"] == s3.hidden(inputs[:, 0], inputs[:, 1])).all()
    phenomenon = product_phenomenon(s3)
    assert phenomenon.metric(inputs, phenomenon.observed).mean() == s3.accuracy == 1


def test_every_account_predicts_the_products(s3):
    found = {each.name: each for each in group_network_explanations(interpret(s3))}
    assert len(found) == 6  # clock and pizza speak of cyclic groups
    for each in found.values():
        predicted = each.predict(each.phenomenon.inputs).marginals
        assert (predicted.argmax(axis=1) == each.phenomenon.observed).all(), each.name
    ours = found["neurons on the points of G-sets"]
    assert HYPOTHESES["g-sets"] is points_of_g_sets
    inputs = ours.phenomenon.inputs
    logits = s3.logits(inputs[:, 0], inputs[:, 1])
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(ours.predict(inputs).marginals - wanted).max() < 0.05


def test_without_a_circuit_the_prediction_suffers(s3):
    ours = group_network_explanations(interpret(s3))[0]
    assert len(ours.premises) == 2
    heaviest = next(iter(ours.premises))
    predicted = ours.without(heaviest).predict(ours.phenomenon.inputs).marginals
    assert (predicted.argmax(axis=1) == ours.phenomenon.observed).mean() < 1


def test_judged_it_is_causally_faithful_and_a_shuffled_one_is_not(s3):
    ours, *baselines = group_network_explanations(interpret(s3))
    card = evaluate(
        ours,
        baselines=baselines[:1],
        settings=Settings(interventions=40, controls=2, mutants=2, variants=4, resamples=20),
    )
    found = card.by_name
    assert found["interchange-intervention-accuracy"].value > 0.95
    assert found["fidelity"].value > 0.99
    assert found["fruitfulness"].details["confirmed_share"] > 0.99
    assert found["excess-scope"].value > 0.99


def test_a_third_column_changes_the_model_as_the_interventions_do(s3):
    x, y = np.indices((6, 6)).reshape(2, -1)
    for number, name in enumerate(CHANGES[1:], start=1):
        inputs = np.stack([x, y, np.full(36, number)], axis=1)
        changed = INTERVENTIONS[name](s3).logits(x, y)
        assert np.abs(under_study(s3).run(inputs) - changed).max() < 1e-12
        for hypothesis in group_network_explanations(interpret(s3)):
            predicted = hypothesis.predict(inputs).marginals
            if hypothesis.registered:
                wanted = np.exp(changed) / np.exp(changed).sum(axis=1, keepdims=True)
                assert np.abs(predicted - wanted).max() < 0.05, (hypothesis.name, name)
            else:
                assert np.isnan(predicted).all(), hypothesis.name


def test_predictions_about_the_changed_network_are_registered_with_a_digest(s3):
    ours = group_network_explanations(interpret(s3))[0]
    assert len(ours.registered) == len(CHANGES) - 1
    first = ours.registered[0]
    forged = replace(ours, registered=[replace(first, probabilities=first.probabilities[::-1])])
    with pytest.raises(ExplanationError, match="changed after it was made"):
        evaluate(forged, settings=Settings(interventions=4, controls=1, mutants=1, variants=1, resamples=4))


def test_the_largest_margin_gives_all_wrong_answers_one_probability(s3):
    hypothesis = next(
        each for each in group_network_explanations(interpret(s3)) if each.name == "largest margin"
    )
    predicted = hypothesis.predict(hypothesis.phenomenon.inputs).marginals
    wrong = np.sort(predicted, axis=1)[:, :-1]
    assert np.ptp(wrong) < 1e-12
    assert predicted.max(axis=1).min() > wrong.max()


def test_cyclic_groups_have_clock_and_pizza():
    network = joined([planted("Z7", 1, "2a").network()], noise=1e-3)
    found = {each.name: each for each in group_network_explanations(interpret(network))}
    assert {"clock", "pizza"} <= found.keys()
    clock = found["clock"]
    assert len(clock.premises) == 1
    x, y = clock.phenomenon.inputs.T
    frequency = int(next(iter(clock.premises)).split()[-1])
    angle = 2 * np.pi * frequency * ((x + y)[:, None] - np.arange(7)) / 7
    logits = clock.premises[f"frequency {frequency}"].value * np.cos(angle)
    wanted = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.abs(clock.predict(clock.phenomenon.inputs).marginals - wanted).max() < 1e-9


def test_where_nothing_is_found_there_is_nothing_to_test():
    with pytest.raises(NetworkError, match="nothing was found"):
        group_network_explanations(interpret(random_neurons(named_group("S3"), 3, seed=4)))
