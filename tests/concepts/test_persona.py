"""Concepts by a probe of a kind, and from texts that the model writes itself under opposite system prompts."""

import numpy as np
import pytest
import torch

from aitia.concepts import fit_concept, fit_persona, fit_probe, persona, persona_responses
from aitia.concepts.activations import response_means
from aitia.concepts.directions import DIRECTIONS
from aitia.errors import ConceptError
from aitia.models import LanguageModel
from aitia.records import records_from_rows

QUESTIONS = ["How are you?", "What is new?", "Where to?", "And then?"]
SETTINGS = {
    "positive_systems": ["Be gloomy.", "Complain."],
    "negative_systems": ["Be merry."],
    "questions": QUESTIONS,
    "sites": ["resid_post.1"],
    "max_new_tokens": 6,
    "temperature": 0,
}


@pytest.fixture
def fitted_to(monkeypatch):
    """The texts that a persona was fitted to: positive and negative."""
    found = []

    def spied(model, positive, negative, **settings):
        found[:] = [positive, negative]
        return fit_concept(model, positive, negative, **settings)

    monkeypatch.setattr(persona, "fit_concept", spied)
    return found


def greedy(model: LanguageModel, system: str, question: str) -> str:
    """The likeliest answer, a token at a time."""
    turns = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    tokens = model.tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]
    start = len(tokens)
    for _ in range(6):
        with torch.no_grad():
            tokens.append(int(model.network(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] == model.tokenizer.eos_token_id:
            break
    return model.tokenizer.decode(tokens[start:], skip_special_tokens=True).strip()


def test_persona_responses_are_what_the_model_says_to_every_question_under_every_prompt(tiny_model):
    systems = SETTINGS["positive_systems"]
    rows = persona_responses(tiny_model, systems, QUESTIONS, max_new_tokens=6, temperature=0)
    said = [tuple(turn["content"] for turn in row["messages"]) for row in rows]
    expected = [(system, q, greedy(tiny_model, system, q)) for system in systems for q in QUESTIONS]
    assert said == [each for each in expected if each[2]]
    assert {tuple(turn["role"] for turn in row["messages"]) for row in rows} == {
        ("system", "user", "assistant")
    }


def test_a_persona_is_fitted_to_what_the_model_says_under_each_system_prompt(tiny_model, fitted_to):
    concept = fit_persona(tiny_model, name="gloom", **SETTINGS)
    for records, systems in zip(
        fitted_to, (SETTINGS["positive_systems"], SETTINGS["negative_systems"]), strict=True
    ):
        expected = {(system, q, greedy(tiny_model, system, q)) for system in systems for q in QUESTIONS}
        turns = [[message.content for message in record.messages] for record in records]
        assert {tuple(each) for each in turns} == {each for each in expected if each[2]}
    means = [response_means(tiny_model, records, ["resid_post.1"])["resid_post.1"] for records in fitted_to]
    direction = means[0].mean(0) - means[1].mean(0)
    np.testing.assert_allclose(concept.direction[0], direction / np.linalg.norm(direction), atol=1e-4)
    assert concept.name == "gloom"


def test_a_judge_picks_what_shows_the_trait(tiny_model, fitted_to):
    asked = []

    def judge(question, response):
        asked.append((question, response))
        return 50 if question in QUESTIONS[:2] else 49.9

    with pytest.raises(ConceptError, match="4 positive and 0 negative responses are left"):
        fit_persona(tiny_model, judge=judge, **SETTINGS | {"negative_systems": []})
    fit_persona(tiny_model, judge=judge, **SETTINGS | {"rollouts": 2, "negative_systems": ["A", "B", "C"]})
    positive, negative = fitted_to
    assert {record.messages[1].content for record in positive} == set(QUESTIONS[:2])
    assert {record.messages[1].content for record in negative} == set(QUESTIONS[2:])
    assert {question for question, _ in asked} == set(QUESTIONS)
    assert all(response for _, response in asked)


@pytest.mark.parametrize("kind", ["logistic", "ridge"])
def test_a_probe_is_the_direction_of_its_kind(tiny_model, kind):
    texts = [
        records_from_rows([{"prompt": f"Question {i}?\n", "completion": f"{word} {i}."} for i in range(8)])
        for word in ("garden", "nothing")
    ]
    found = fit_probe(tiny_model, *texts, kind=kind, sites=["resid_post.2"], name="bees")
    means = [response_means(tiny_model, each, ["resid_post.2"])["resid_post.2"] for each in texts]
    np.testing.assert_allclose(found.direction[0], DIRECTIONS[f"{kind}-probe"](*means), atol=1e-4)
    assert (found.name, found.recipe["recipe"]) == ("bees", f"{kind}-probe")
    with pytest.raises(ConceptError, match="recipe 'quadratic-probe' is not one of contrast, logistic-probe"):
        fit_probe(tiny_model, *texts, kind="quadratic")
