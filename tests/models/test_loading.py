import numpy as np
import pytest
import torch

from aitia.errors import ModelError
from aitia.models import LanguageModel, generate_responses, load_model, save_model
from aitia.models.loading.fingerprint import tokenizer_fingerprint
from aitia.models.loading.language_models import load_outline


def test_saved_model_loads_the_same(any_model, tmp_path):
    save_model(any_model, tmp_path / "model")
    loaded = load_model(tmp_path / "model", device="cpu")
    assert loaded.fingerprint == any_model.fingerprint
    if type(loaded.tokenizer) is type(any_model.tokenizer):  # some families rebuild theirs as their own class
        assert loaded.tokenizer_fingerprint == any_model.tokenizer_fingerprint
    assert loaded.width == 32
    assert loaded.context_length == 256


def test_fingerprint_tells_one_bit(make_model):
    first, second = make_model("llama"), make_model("llama")
    assert first.fingerprint == second.fingerprint
    with torch.no_grad():
        weight = second.blocks[2].mlp.up_proj.weight
        weight[3, 5] = torch.nextafter(weight[3, 5], torch.tensor(9.0))
    fresh = LanguageModel(network=second.network, tokenizer=second.tokenizer, name="changed")
    assert fresh.fingerprint != first.fingerprint


def test_tokenizer_fingerprint_sees_vocabulary_and_template(tiny_tokenizer):
    from copy import deepcopy

    before = tokenizer_fingerprint(tiny_tokenizer)
    assert tokenizer_fingerprint(deepcopy(tiny_tokenizer)) == before
    changed = deepcopy(tiny_tokenizer)
    changed.add_tokens(["zebra"])
    assert tokenizer_fingerprint(changed) != before
    templated = deepcopy(tiny_tokenizer)
    templated.chat_template += " "
    assert tokenizer_fingerprint(templated) != before


def test_an_adapter_changes_the_fingerprint_but_not_the_base(make_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    plain = make_model("llama")
    save_model(plain, tmp_path / "base")
    before, exact = plain.base_fingerprint, plain.fingerprint
    wrapped = get_peft_model(
        plain.network, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    wrapped.save_pretrained(tmp_path / "adapter")
    loaded = load_model(tmp_path / "base", adapter=tmp_path / "adapter", device="cpu")
    assert loaded.base_fingerprint == before
    assert loaded.fingerprint != exact
    assert loaded.layers == 4
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())


def test_a_missing_model_says_what_to_do(tmp_path):
    with pytest.raises(ModelError, match="no such folder, and not in the local hub cache; give a folder"):
        load_model("nobody/nothing-at-all")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(tmp_path / "empty")
    with pytest.raises(ModelError, match="no such GGUF"):
        load_model(tmp_path / "none.gguf")


def test_a_pickled_checkpoint_is_refused(make_model, tmp_path):
    model = make_model("llama")
    save_model(model, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(model.network.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_model(tmp_path / "model")


def test_an_outline_needs_no_weights(make_model, tmp_path):
    save_model(make_model("llama"), tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    assert load_outline(tmp_path / "model").layers == 4
    with pytest.raises(ModelError, match="it holds no weights"):
        load_model(tmp_path / "model")


def test_an_adapter_of_another_model_is_refused(make_model, tmp_path):
    from peft import LoraConfig, get_peft_model

    get_peft_model(make_model("llama").network, LoraConfig(r=2, target_modules=["q_proj"])).save_pretrained(
        tmp_path / "adapter"
    )
    save_model(make_model("gpt2"), tmp_path / "other")
    with pytest.raises(
        ModelError, match="adapter .*does not fit: the model has none of its modules: .*q_proj"
    ):
        load_model(tmp_path / "other", adapter=tmp_path / "adapter", device="cpu")


def test_greedy_generation_equals_the_likeliest_tokens(any_model):
    prompts = [np.array([5, 9, 17, 30]), np.array([8, 7]), np.array([50, 51, 52, 53, 54, 55])]
    found = generate_responses(any_model, prompts, max_new_tokens=4, temperature=0.0)
    for prompt, response in zip(prompts, found, strict=True):
        tokens = prompt.tolist()
        for expected in response:
            with torch.no_grad():
                logits = any_model.network(input_ids=torch.tensor([tokens])).logits[0, -1]
            if len(tokens) == len(prompt):
                logits[any_model.tokenizer.eos_token_id] = -float("inf")
            assert int(logits.argmax()) == int(expected)
            tokens.append(int(expected))


def test_sampling_is_reproducible_and_ends_at_the_end_token(tiny_model):
    prompts = [np.array([5, 9, 17]), np.array([8, 7, 6, 5])] * 10
    first = generate_responses(tiny_model, prompts, max_new_tokens=12, seed=3)
    again = generate_responses(tiny_model, prompts, max_new_tokens=12, seed=3)
    other = generate_responses(tiny_model, prompts, max_new_tokens=12, seed=4)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    end = tiny_model.tokenizer.eos_token_id
    assert all(1 <= len(tokens) <= 12 and end not in tokens[:-1] for tokens in first)


def test_the_activation_put_into_gpt2_is_the_function_it_had(make_model):
    from transformers.activations import NewGELUActivation

    own = make_model("gpt2").blocks[0].mlp.act
    assert not isinstance(own, NewGELUActivation)
    inputs = torch.linspace(-6, 6, 500, dtype=torch.float64, requires_grad=True)
    expected = NewGELUActivation()(inputs)
    torch.testing.assert_close(own(inputs), expected)
    torch.testing.assert_close(
        torch.autograd.grad(own(inputs).sum(), inputs), torch.autograd.grad(expected.sum(), inputs)
    )
