"""Ablation and steering, on a linear model whose truth is known, and on a language model."""

import numpy as np
import pytest
import torch

from aitia.adapters import direction_trial, ranking_explanation, removal_phenomenon, try_direction
from aitia.concepts import Concept
from aitia.counterfactual import ConceptProjection, LikelihoodMargin
from aitia.errors import AitiaError
from aitia.explanations import Direction, Settings, evaluate
from aitia.models.editing import edited, moved_by, projected_out
from aitia.records import records_from_rows

WIDTH, TEXTS, ROWS = 12, 30, 20
UNIT = np.eye(WIDTH)


def linear(weights, shifts, *, base=None, noise=0.0):
    """A trained model and the one before: activations base, and base + shifts; the behaviour is weights . h."""
    generator = np.random.default_rng(0)
    base = generator.normal(size=(TEXTS, WIDTH)) if base is None else base
    made = []

    def measure_of(hidden):
        def give():
            made.append(len(made))

            def measure(edit):
                hidden_ = torch.tensor(hidden, dtype=torch.float32)
                out = hidden_ if edit is None else edit(hidden_)
                return out.double().numpy() @ weights

            return measure

        return give

    shifts = shifts + noise * generator.normal(size=(TEXTS, WIDTH))
    return measure_of(base + shifts), measure_of(base), shifts


def controls(count=6):
    drawn = np.random.default_rng(3).normal(size=(count, 1, WIDTH))
    return {"random directions": drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)}


def card_of(direction):
    generator = np.random.default_rng(0)
    removed = generator.random((40, ROWS)) < 0.5
    adds = (np.arange(ROWS) < 5).astype(float)
    phenomenon = removal_phenomenon("cheer", removed, (~removed) @ adds + 0.1, [0] * 40)
    hypothesis = ranking_explanation(phenomenon, "r", adds, direction=direction)
    return evaluate(hypothesis, settings=Settings(resamples=200, variants=10))


def trial_of(weights, shift, **more):
    trained, before, shifts = linear(weights, np.tile(shift, (TEXTS, 1)), **more)
    return direction_trial(trained, before, UNIT[:1], controls(), behaviour="cheer"), shifts


def test_the_share_is_what_algebra_says():
    generator = np.random.default_rng(1)
    weights, shift = generator.normal(size=WIDTH), generator.normal(size=WIDTH)
    weights *= np.sign(weights @ shift)
    trial, shifts = trial_of(weights, shift, noise=0.1)
    result = card_of(Direction(name="gloom", site="s", trial=trial))["causal-by-direction"]
    through = (weights[0] * shifts[:, 0]).sum() / (shifts @ weights).sum()
    assert result.value == pytest.approx(through, abs=1e-5)
    assert result.details["steering"]["value"] == pytest.approx(
        trial.step * weights[0] / (shifts @ weights).mean(), abs=1e-5
    )
    assert (
        f"a step along it moves the behaviour by {result.details['steering']['value']:.3g} of"
        in result.reason
    )
    drawn = controls()["random directions"][:, 0]
    by_control = ((drawn @ weights) * (drawn @ shifts.mean(axis=0))) / (shifts @ weights).mean()
    assert result.details["controls"][0]["most"] == pytest.approx(by_control.max(), abs=1e-5)
    assert result.floor == pytest.approx(by_control.mean(), abs=1e-5)
    assert result.interval.low <= result.value <= result.interval.high


@pytest.mark.parametrize(("reads", "share", "stands"), [(0, 1.0, True), (5, 0.0, False)])
def test_all_or_nothing_goes_through(reads, share, stands):
    """Whatever the untouched activations hold: they are the same before and after."""
    trial, _ = trial_of(UNIT[reads], UNIT[0] + UNIT[5], noise=0.01)
    card = card_of(Direction(name="gloom", site="s", trial=trial))
    result = card["causal-by-direction"]
    assert result.value == pytest.approx(share, abs=1e-4)
    assert result.discriminating is stands
    assert "random directions" in card.html()
    assert f"causal-by-direction (share) | {share:.3f}" in card.markdown().replace("-0.000", "0.000")


def test_a_step_is_as_long_as_a_typical_projection():
    base = np.random.default_rng(2).normal(size=(TEXTS, WIDTH))
    base[0, 0] = 1e6  # one token like the first of a text, which must not set the scale
    trial, shifts = trial_of(UNIT[0], UNIT[0], base=base)
    assert trial.step == pytest.approx(np.median(np.abs((base + shifts)[:, 0])), rel=1e-5)
    assert trial.own.raised - trial.trained == pytest.approx(trial.step * np.ones(TEXTS), abs=0.1)


def test_where_it_was_not_measured_the_card_says_so():
    assert "names no direction" in card_of(None)["causal-by-direction"].reason
    result = card_of(Direction(name="gloom", site="s"))["causal-by-direction"]
    assert result.status == "not evaluable"
    assert result.reason == "its direction was not intervened on: the model is not at hand"
    trial, _ = trial_of(UNIT[0], -UNIT[0])
    result = card_of(Direction(trial=trial))["causal-by-direction"]
    assert (result.status, result.value) == ("not applicable", None)
    assert "does not clearly raise the cheer" in result.reason


def test_nothing_to_ablate_is_an_error():
    trained, before, _ = linear(UNIT[0], np.zeros((TEXTS, WIDTH)), base=np.zeros((TEXTS, WIDTH)))
    with pytest.raises(AitiaError, match="nothing to ablate"):
        direction_trial(trained, before, UNIT[:1], {}, behaviour="cheer")


def concept_of(model, site="resid_post.1"):
    direction = np.random.default_rng(0).normal(size=(1, model.width))
    return Concept(
        name="gloom",
        site=site,
        direction=direction / np.linalg.norm(direction),
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        base_fingerprint=model.base_fingerprint,
        recipe={},
    )


def test_a_language_model_is_edited_at_every_token(any_model):
    concept = concept_of(any_model)
    tokens = torch.tensor([any_model.tokenizer("A cat sat on the mat.")["input_ids"]])

    def hidden():
        """What the next block is given."""
        given = []
        handle = any_model.blocks[2].register_forward_pre_hook(lambda _block, inputs: given.append(inputs[0]))
        with torch.no_grad():
            any_model.network(input_ids=tokens, use_cache=False)
        handle.remove()
        return given[0]

    plain = hidden()
    unit = torch.tensor(concept.direction[0])
    with edited(any_model, concept.site, projected_out(concept.direction)):
        assert hidden().numpy() == pytest.approx((plain - (plain @ unit)[..., None] * unit).numpy(), abs=1e-4)
    with edited(any_model, concept.site, moved_by(3 * concept.direction[0])):
        assert hidden().numpy() == pytest.approx((plain + 3 * unit).numpy(), abs=1e-4)
    assert torch.equal(hidden(), plain), "no hook is left behind"


def test_a_language_model_is_tried(tiny_model, rows):
    texts = records_from_rows(rows[:4])
    concept = concept_of(tiny_model)
    found = try_direction(
        lambda: tiny_model, lambda: tiny_model, concept, LikelihoodMargin(behaviour=texts), controls=2
    )
    trial = found.trial
    assert (found.name, found.site) == ("gloom", "resid_post.1")
    assert trial.trained.tolist() == trial.before.tolist()
    assert trial.own.removed.tolist() == trial.own.removed_before.tolist()
    assert not np.allclose(trial.own.removed, trial.trained)
    assert [len(each) for each in trial.controls.values()] == [2, 0]
    itself = try_direction(
        lambda: tiny_model, lambda: tiny_model, concept, ConceptProjection(concept=concept, texts=texts)
    )
    assert itself.trial is None
    assert "this very direction" in itself.reason
