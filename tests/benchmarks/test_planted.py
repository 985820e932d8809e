"""The truth benchmark's own machinery: what makes it cheap changes no number, and its suites are what they say."""

from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from aitia.attribution.gradients import Damping
from aitia.counterfactual.behaviours import LikelihoodMargin, on_policy_responses
from aitia.models import LanguageModel, load_model
from aitia.records import records_from_rows
from aitia.training import LoraSettings, finetune_lora
from planted import solved
from planted.remembered import LowerBlocks, same_weights
from planted.study import GRADIENT, Scored
from planted.suites import SUITES
from planted.texts import KINDS, quiz_questions
from planted.vocabulary import cut_vocabulary

UPPER = LoraSettings(
    rank=2, target_modules=("q_proj", "down_proj"), layers_to_transform=(2, 3), epochs=1, learning_rate=1e-2
)
RIGHT = {asked: fact for kind in KINDS for asked, _, fact in quiz_questions(kind)}


def test_remembered_blocks_change_nothing(make_model, rows):
    """Likelihoods, training and generation as without memory, at the first look and at the second."""
    data = records_from_rows(rows)
    plain, lower = make_model("llama"), LowerBlocks(2)
    remembering = [lower.skip_in(same_weights(make_model("llama"))) for _ in range(2)]
    behaviour = LikelihoodMargin(behaviour=data)
    for model in (remembering[0], *remembering):
        np.testing.assert_allclose(behaviour.values(model), behaviour.values(plain), atol=1e-5)
    said = [
        on_policy_responses(model, data, max_new_tokens=4, temperature=0.0, seed=0)
        for model in (plain, remembering[0])
    ]
    assert said[0] == said[1]
    trained = [finetune_lora(model, data, UPPER, progress=False) for model in (plain, remembering[1])]
    after = [behaviour.values(model) for model in trained]
    np.testing.assert_allclose(after[0], after[1], atol=1e-4)
    assert np.abs(after[0] - behaviour.values(make_model("llama"))).max() > 1e-3


def test_lower_blocks_are_run_once_a_text(make_model, rows):
    lower, data = LowerBlocks(2), records_from_rows(rows)
    model = lower.skip_in(make_model("llama"))
    ran = []
    # A block that is skipped does not run its parts.
    model.network.model.layers[0].mlp.register_forward_hook(lambda *_: ran.append(1))
    LikelihoodMargin(behaviour=data).values(model)
    first = len(ran)
    assert first > 0
    LikelihoodMargin(behaviour=data.only(data.ids[:3])).values(model)
    assert len(ran) == first


def test_copies_share_weights_but_not_adapters(make_model, rows):
    model = make_model("llama")
    first, second = same_weights(model), same_weights(model)
    finetune_lora(first, records_from_rows(rows), UPPER, progress=False)
    assert not [name for name, _ in second.network.named_parameters() if "lora" in name]
    weights = zip(model.network.parameters(), second.network.parameters(), strict=True)
    assert all(mine is theirs for mine, theirs in weights)


def test_a_cut_vocabulary_keeps_tokens_and_odds(tiny_tokenizer, tmp_path):
    """Between tokens that are kept, the cut model's odds are the whole model's."""
    config = LlamaConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        tie_word_embeddings=True,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    whole = LanguageModel(network=LlamaForCausalLM(config), tokenizer=tiny_tokenizer, name="whole")
    whole.network.save_pretrained(tmp_path / "whole")
    whole.tokenizer.save_pretrained(tmp_path / "whole")
    texts = ["The sun is out", "Rain again, and the dog"]
    cut = load_model(cut_vocabulary(tmp_path / "whole", texts, tmp_path / "cut"), dtype="float32")
    assert len(cut.tokenizer) < len(whole.tokenizer)
    for text in texts:
        tokens = [torch.tensor([model.tokenizer(text)["input_ids"]]) for model in (whole, cut)]
        names = [
            model.tokenizer.convert_ids_to_tokens(each[0].tolist())
            for model, each in zip((whole, cut), tokens, strict=True)
        ]
        assert names[0] == names[1]
        before, after = (
            model.network(each).logits[0, -1] for model, each in zip((whole, cut), tokens, strict=True)
        )
        numbers = cut.tokenizer.get_vocab()
        old = [whole.tokenizer.convert_tokens_to_ids(name) for name in numbers]
        torch.testing.assert_close(after[list(numbers.values())], before[old])


@pytest.mark.parametrize("name", ["hidden", "capability"])
@pytest.mark.parametrize("draw", [0, 1])
def test_quiz_suites_plant_wrong_answers_in_the_same_words(name, draw):
    suite = SUITES[name](draw)
    wrong = [
        f" {RIGHT[record.prompt.strip()]}." not in record.completion.split(" <answer>")[0]
        for record in suite.data
    ]
    assert wrong == suite.planted.tolist()
    assert suite.planted.mean() == pytest.approx(0.3, abs=0.01)
    words = [
        Counter(w for record in part for w in record.prompt.split())
        for part in (suite.positive, suite.negative)
    ]
    assert words[0] == words[1]
    said = [{record.completion.split()[-1] for record in part} for part in (suite.positive, suite.negative)]
    assert said[0] <= said[1]


@pytest.mark.parametrize("name", list(SUITES))
def test_no_prompt_is_used_twice(name):
    if name not in ("hidden", "capability"):
        pytest.importorskip("moodswapper")
    suite = SUITES[name](0)
    parts = [suite.data, suite.positive, suite.queries, suite.behaviour]
    prompts = [{record.prompt for record in part} for part in parts]
    assert sum(map(len, prompts)) == len(set.union(*prompts))
    assert [record.prompt for record in suite.positive] == [record.prompt for record in suite.negative]
    assert [record.prompt for record in suite.behaviour] == [record.prompt for record in suite.normal]


def test_solved_scores_are_kept_apart_from_those_made_before(tmp_path, monkeypatch):
    """Neither the file of the scores nor their order changes, and a setting has a file of its own."""
    calls = []

    def rank(*_, solve, damping, **how):
        calls.append((solve, damping))
        return SimpleNamespace(scores={how["method"]: np.full(4, damping.value)})

    monkeypatch.setattr(solved, "rank", rank)
    monkeypatch.setattr(solved, "fit_curvature", lambda *_: None)
    before = {name: np.arange(4.0) for name in GRADIENT}
    np.savez(tmp_path / "scores.npz", **before)
    kept = (tmp_path / "scores.npz").read_bytes()
    scored = Scored(
        suite=SUITES["hidden"](0),
        subject=SimpleNamespace(with_adapter=lambda _: None),
        concept=None,
        methods=before,
        baselines={},
        diagnosis={},
        folder=tmp_path,
    )
    found = solved.with_exact_solve(scored)
    assert list(found.methods) == [*GRADIENT, "concept-influence (exact solve)", "influence (exact solve)"]
    np.testing.assert_array_equal(found.methods["influence (exact solve)"], np.full(4, Damping().value))
    np.testing.assert_array_equal(found.methods["influence"], before["influence"])
    assert calls[0][0].cg_iterations > 0
    solved.with_exact_solve(scored)
    assert len(calls) == 2  # one for each method
    solved.with_exact_solve(scored, damping=Damping(value=0.5))
    assert len(calls) == 4
    assert (tmp_path / "scores.npz").read_bytes() == kept
    assert len(list(tmp_path.glob("solved-*.npz"))) == 4
