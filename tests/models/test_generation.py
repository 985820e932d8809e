"""Responses depend on prompts and settings alone: they equal a sampling loop written out by hand."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import make_network, make_tokenizer

from aitia.models import generate_responses, load_model

# What a model's folder may say of how to generate; none of it is asked for here.
FOLDERS = {
    "none": {},
    "penalty": {"repetition_penalty": 1.3},
    "min_p": {"do_sample": True, "min_p": 0.2},
    "beams": {"num_beams": 3, "length_penalty": 2.0},
    "top": {"do_sample": True, "top_k": 3, "top_p": 0.5, "temperature": 0.2},
    "suppressed": {"suppress_tokens": list(range(60, 200)), "begin_suppress_tokens": [30, 31]},
    "forced": {"forced_bos_token_id": 9, "forced_eos_token_id": 2},
    "ngrams": {"no_repeat_ngram_size": 1, "encoder_repetition_penalty": 1.5, "bad_words_ids": [[70], [71]]},
    "typical": {"do_sample": True, "typical_p": 0.3, "epsilon_cutoff": 3e-3, "eta_cutoff": 3e-3},
    "lengths": {"max_length": 4, "min_length": 9, "max_new_tokens": 2, "max_time": 1e-9, "stop_strings": "a"},
    "sequences": {"do_sample": True, "num_return_sequences": 2, "renormalize_logits": True},
    "assisted": {"prompt_lookup_num_tokens": 3},
    "guided": {"guidance_scale": 3.0, "sequence_bias": [[[80], 9.0]]},
    "outputs": {"return_dict_in_generate": True, "output_scores": True, "output_logits": True},
    "cache": {"use_cache": False, "cache_implementation": "static"},
    "other_end": {"eos_token_id": [2, 90]},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    folder = tmp_path_factory.mktemp("generation") / "model"
    make_network("llama", 395).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


def by_hand(model, prompt, ends, *, temperature, seed, most):
    """One response, token by token, without a cache."""
    tokens = prompt.tolist()
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(seed * 1_000_003)
        for number in range(most):
            logits = model.network(input_ids=torch.tensor([tokens])).logits[0, -1].float()
            if number == 0:
                logits[ends] = -float("inf")
            if temperature == 0:
                chosen = int(logits.argmax())
            else:
                chosen = int(torch.multinomial((logits / temperature).softmax(0), 1))
            tokens.append(chosen)
            if chosen in ends:
                break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folders_settings_change_nothing_but_the_end(name, plain, tmp_path):
    folder = shutil.copytree(plain, tmp_path / "model")
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | FOLDERS[name]))
    model = load_model(folder, device="cpu")
    before = model.network.generation_config.to_dict()
    ends = [2, 90] if name == "other_end" else [2]
    for prompt in ([60, 70, 80], [91, 92, 93, 94]):
        for temperature in (0.0, 0.5, 1.0):
            found = generate_responses(
                model, [np.array(prompt)], max_new_tokens=12, temperature=temperature, seed=3
            )
            wanted = by_hand(model, np.array(prompt), ends, temperature=temperature, seed=3, most=12)
            assert found[0].tolist() == wanted
    assert model.network.generation_config.to_dict() == before
