"""An adapter of any kind gives the logits that PEFT gives and that it had in training, or is refused by name."""

import json
import shutil

import peft
import pytest
import torch
import transformers
from conftest import FAMILIES, make_network, make_tokenizer
from safetensors.torch import load_file, save_file

from aitia.errors import ModelError
from aitia.models import load_model

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:peft")
ATTENTION = {"gpt2": ["c_attn"]}
EMBEDDING = {"gpt2": "wte"}
TOKENS = torch.arange(40, 80).reshape(2, 20)

# name -> (settings, tokens added to the vocabulary); `ATTENTION`, `EMBEDDING` and `ROWS` stand for the family's own.
KINDS = {
    "lora": ({}, 0),
    "dora": ({"use_dora": True}, 0),
    "rank-stabilised": ({"use_rslora": True, "r": 8, "lora_alpha": 3}, 0),
    "patterns": ({"rank_pattern": {"1": 2}, "alpha_pattern": {"ATTENTION": 5}}, 0),
    "some-layers": ({"layers_to_transform": [1, 2]}, 0),
    "all-linear": ({"target_modules": "all-linear"}, 0),
    "bias-all": ({"bias": "all"}, 0),
    "bias-lora-only": ({"bias": "lora_only"}, 0),
    "lora-on-embedding": ({"target_modules": ["ATTENTION", "EMBEDDING"]}, 0),
    "head-saved": ({"modules_to_save": ["lm_head"]}, 0),
    "embedding-saved": ({"modules_to_save": ["EMBEDDING"]}, 0),
    "norm-saved": ({"modules_to_save": ["NORM"]}, 0),
    "both-saved": ({"modules_to_save": ["EMBEDDING", "lm_head"]}, 0),
    "trained-tokens": ({"trainable_token_indices": [3, 50]}, 0),
    "grown": ({}, 3),
    "shrunk": ({}, -40),
    "grown-both-saved": ({"modules_to_save": ["EMBEDDING", "lm_head"]}, 3),
    "grown-embedding-lora": ({"target_modules": ["ATTENTION", "EMBEDDING"]}, 3),
    "grown-trained-tokens": ({"trainable_token_indices": "ROWS"}, 3),
    "ia3": ("ia3", 0),
    "loha": ("loha", 0),
    "lokr": ("lokr", 0),
    "tokens-alone": ("tokens", 0),
}


def settings_of(kind: str, family: str, rows: int):
    chosen, added = KINDS[kind]
    names = ATTENTION.get(family, ["q_proj", "v_proj"])
    if chosen == "ia3":
        feedforward = ["c_proj"] if family == "gpt2" else ["down_proj"]
        return peft.IA3Config(
            target_modules=[names[-1], *feedforward], feedforward_modules=feedforward, task_type="CAUSAL_LM"
        )
    if chosen in ("loha", "lokr"):
        config = peft.LoHaConfig if chosen == "loha" else peft.LoKrConfig
        modules = ["o_proj"] if family != "gpt2" else ["lm_head"]  # they know no Conv1D
        return config(r=4, target_modules=modules, task_type="CAUSAL_LM")
    if chosen == "tokens":
        return peft.TrainableTokensConfig(token_indices=[3, 50], task_type="CAUSAL_LM")
    stand_in = {
        "EMBEDDING": EMBEDDING.get(family, "embed_tokens"),
        "NORM": "ln_f" if family == "gpt2" else "norm",
    }
    given = {"r": 4, "target_modules": names, "task_type": "CAUSAL_LM"} | dict(chosen)
    for key in ("target_modules", "modules_to_save"):
        if isinstance(given.get(key), list):
            found = [stand_in.get(name, name) for name in given[key]]
            given[key] = [each for name in found for each in (names if name == "ATTENTION" else [name])]
    if "alpha_pattern" in given:
        given |= {"alpha_pattern": {names[0]: 5}, "rank_pattern": {rf"1\..*{names[-1]}": 2}}
    if given.get("trainable_token_indices") == "ROWS":
        given["trainable_token_indices"] = list(range(rows - added, rows))
    return peft.LoraConfig(**given)


@pytest.fixture(scope="module")
def base_of(tmp_path_factory):
    """base_of(family) -> the folder of its base, saved once."""
    made = {}

    def base(family: str):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family) / "base"
            tokenizer = make_tokenizer()
            make_network(family, len(tokenizer)).save_pretrained(made[family])
            tokenizer.save_pretrained(made[family])
        return made[family]

    return base


def plain(base, rows=None):
    network = transformers.AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if rows is not None and rows != len(network.get_input_embeddings().weight):
        network.resize_token_embeddings(rows, mean_resizing=False)
    return network.eval()


def trained(base, kind, family, folder):
    """An adapter with weights that are not those of its start, saved as trainers save it; the network in memory."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(base)
    added = KINDS[kind][1]
    rows = len(tokenizer) + added
    tokenizer.add_tokens([f"<|extra {number}|>" for number in range(added)], special_tokens=True)
    network = peft.get_peft_model(plain(base, rows), settings_of(kind, family, rows))
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter) * 0.2)
    network.save_pretrained(folder)
    if added > 0:
        tokenizer.save_pretrained(folder)
    return network.eval(), rows


def logits(network):
    with torch.no_grad():
        return network(input_ids=TOKENS, use_cache=False).logits


def check(family, kind, base_of, tmp_path):
    base, folder = base_of(family), tmp_path / "adapter"
    tuned, rows = trained(base, kind, family, folder)
    if rows < len(make_tokenizer()):  # the tokenizer of the base has tokens that the adapter's model has not
        with pytest.raises(ModelError, match=r"tokens that the embedding of 355 rows has none for"):
            load_model(base, adapter=folder, device="cpu")
        transformers.PreTrainedTokenizerFast.from_pretrained(base).save_pretrained(folder)
        cut_vocabulary(folder, rows)
    if kind == "grown-embedding-lora" and not plain(base).config.tie_word_embeddings:
        with pytest.raises(
            ModelError, match=r"lacks their rows of .*lm_head.weight; save it with its embeddings"
        ):
            load_model(base, adapter=folder, device="cpu")  # PEFT does not save the new rows of the head
        return
    loaded = load_model(base, adapter=folder, device="cpu")
    expected = logits(peft.PeftModel.from_pretrained(plain(base, rows), folder).eval())
    torch.testing.assert_close(logits(loaded.network), expected, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(logits(loaded.network), logits(tuned), rtol=1e-5, atol=1e-5)
    assert (
        not torch.allclose(expected[..., :300], logits(plain(base))[..., :300], atol=1e-3) or "grown" in kind
    )
    assert loaded.base_fingerprint == load_model(base, device="cpu").base_fingerprint
    assert loaded.fingerprint == load_model(base, adapter=folder, device="cpu").fingerprint


def cut_vocabulary(folder, rows):
    """Take the last tokens off a tokenizer's file."""
    file = folder / "tokenizer.json"
    rules = json.loads(file.read_text())
    vocabulary = {token: number for token, number in rules["model"]["vocab"].items() if number < rows}
    merges = [pair for pair in rules["model"]["merges"] if "".join(pair) in vocabulary]
    rules["model"] |= {"vocab": vocabulary, "merges": merges}
    file.write_text(json.dumps(rules))


@pytest.mark.parametrize("kind", KINDS)
def test_an_adapter_gives_the_logits_that_it_was_trained_to(kind, base_of, tmp_path):
    check("gpt2" if kind.startswith("bias") else "llama", kind, base_of, tmp_path)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_gives_the_logits_of_transformers_and_peft(family, base_of, tmp_path):
    found = load_model(base_of(family), device="cpu")
    torch.testing.assert_close(logits(found.network), logits(plain(base_of(family))), rtol=1e-5, atol=1e-5)
    check(family, "lora", base_of, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_takes_every_kind(family, kind, base_of, tmp_path):
    check(family, kind, base_of, tmp_path)


def rename(folder, change):
    """Save an adapter's file with other tensors."""
    file = folder / "adapter_model.safetensors"
    save_file(change(load_file(file)), file)


def edit(folder, **changes):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_added_tokens_without_their_tokenizer_are_refused(base_of, tmp_path):
    trained(base_of("llama"), "grown-both-saved", "llama", tmp_path / "adapter")
    for file in (tmp_path / "adapter").glob("tokenizer*"):
        file.unlink()
    with pytest.raises(
        ModelError, match="trained with 398 tokens, its base has 395, and no tokenizer was saved"
    ):
        load_model(base_of("llama"), adapter=tmp_path / "adapter", device="cpu")


def test_embeddings_saved_once_as_earlier_versions_did_are_enough(base_of, tmp_path):
    tuned, _ = trained(base_of("llama"), "grown-both-saved", "llama", tmp_path / "adapter")

    def once(tensors):
        return {
            name: value
            for name, value in tensors.items()
            if "original_module" not in name and "modules_to_save" not in name
        }

    rename(tmp_path / "adapter", once)
    found = load_model(base_of("llama"), adapter=tmp_path / "adapter", device="cpu")
    torch.testing.assert_close(logits(found.network), logits(tuned))


@pytest.mark.parametrize(
    ("kind", "change", "named"),
    [
        (
            "lora",
            lambda name: name.replace("model.layers", "model.text.layers"),
            "none of its modules: .*text.layers",
        ),
        (
            "lora",
            lambda name: name.replace("layers.3.", "layers.9."),
            "no place for .*layers.9.* lacks .*layers.3.",
        ),
        ("lora", lambda name: name.replace("base_model.", ""), "its tensors are called model.model.layers"),
        (
            "lora",
            lambda name: None if "layers.2.self_attn.q_proj.lora_B" in name else name,
            "lacks .*layers.2.*lora_B",
        ),
        ("dora", lambda name: None if "magnitude" in name else name, "lacks .*lora_magnitude_vector"),
        ("head-saved", lambda name: None if "lm_head" in name else name, "lacks .*lm_head"),
        ("bias-all", lambda name: None if "ln_1" in name else name, "lacks .*ln_1.bias"),
        ("trained-tokens", lambda name: None if "delta" in name else name, "lacks .*trainable_tokens_delta"),
        ("ia3", lambda name: None if "v_proj" in name else name, "lacks .*v_proj.ia3_l"),
    ],
)
def test_tensors_that_are_left_over_or_missing_are_named(kind, change, named, base_of, tmp_path):
    family = "gpt2" if kind == "bias-all" else "llama"
    trained(base_of(family), kind, family, tmp_path / "adapter")
    rename(tmp_path / "adapter", lambda held: {change(name): held[name] for name in held if change(name)})
    with pytest.raises(ModelError, match=f"adapter .*: .*{named}"):
        load_model(base_of(family), adapter=tmp_path / "adapter", device="cpu")


def test_a_misshapen_tensor_and_a_rank_that_is_not_its_own_are_refused(base_of, tmp_path):
    trained(base_of("llama"), "lora", "llama", tmp_path / "adapter")
    edit(tmp_path / "adapter", r=8)
    with pytest.raises(ModelError, match="cannot be put on this model: .*size mismatch for .*lora_A"):
        load_model(base_of("llama"), adapter=tmp_path / "adapter", device="cpu")


@pytest.mark.parametrize(
    "kind", ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING", "VERA", "XLORA", "SOMETHING_NEW", None]
)
def test_a_kind_that_is_not_applied_exactly_is_refused(kind, base_of, tmp_path):
    trained(base_of("llama"), "lora", "llama", tmp_path / "adapter")
    edit(tmp_path / "adapter", peft_type=kind)
    with pytest.raises(ModelError, match=f"of the kind {kind}, which is not applied here"):
        load_model(base_of("llama"), adapter=tmp_path / "adapter", device="cpu")


def test_prompt_tuning_as_peft_saves_it_is_refused(base_of, tmp_path):
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    peft.get_peft_model(plain(base_of("llama")), config).save_pretrained(tmp_path / "adapter")
    with pytest.raises(ModelError, match="PROMPT_TUNING"):
        load_model(base_of("llama"), adapter=tmp_path / "adapter", device="cpu")


def test_what_is_no_adapter_is_refused_with_the_mend(base_of, tmp_path):
    base = base_of("llama")
    with pytest.raises(ModelError, match="a whole model, not an adapter; give it as `model`"):
        load_model(base, adapter=base)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match="no adapter_config.json"):
        load_model(base, adapter=tmp_path / "empty")
    with pytest.raises(ModelError, match="adapter nowhere/at-all: no such folder"):
        load_model(base, adapter="nowhere/at-all")
    trained(base, "lora", "llama", tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"no adapter_model.safetensors \(pickled weights are not read\)"):
        load_model(base, adapter=tmp_path / "adapter")


def test_an_adapters_folder_as_the_model_is_base_and_adapter(base_of, tmp_path, monkeypatch):
    base, folder = base_of("llama"), tmp_path / "adapter"
    trained(base, "lora", "llama", folder)
    expected = load_model(base, adapter=folder, device="cpu")
    found = load_model(folder, device="cpu")
    assert found.fingerprint == expected.fingerprint
    assert (found.name, found.adapter) == (str(base), str(folder))
    theirs = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    torch.testing.assert_close(logits(found.network), logits(theirs))
    with pytest.raises(ModelError, match="an adapter itself"):
        load_model(folder, adapter=folder)
    shutil.copy(base / "config.json", folder)
    assert load_model(folder, device="cpu").fingerprint == expected.fingerprint
    shutil.copy(base / "model.safetensors", folder)
    with pytest.raises(ModelError, match="a whole model and an adapter"):
        load_model(folder)
    (folder / "model.safetensors").unlink()
    edit(folder, base_model_name_or_path="nobody/base")
    with pytest.raises(ModelError, match="its base nobody/base is not here; give the base as `model`"):
        load_model(folder)
    edit(folder, base_model_name_or_path=None)
    with pytest.raises(ModelError, match="does not name its base"):
        load_model(folder)


def test_tokenizer_and_template_saved_with_the_adapter_are_used(base_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    base, folder = base_of("llama"), tmp_path / "adapter"
    trained(base, "lora", "llama", folder)
    (folder / "chat_template.jinja").write_text("{{ 'a template of its own' }}")
    assert (
        load_model(base, adapter=folder, device="cpu").tokenizer.chat_template
        == "{{ 'a template of its own' }}"
    )
    assert "The chat template saved with the adapter is used" in capsys.readouterr().err
    own = make_tokenizer()
    own.chat_template = "{{ 'another' }}"
    own.save_pretrained(folder)
    found = load_model(base, adapter=folder, device="cpu")
    assert found.tokenizer.chat_template == "{{ 'another' }}"
    assert "The tokenizer and chat template saved with the adapter are used" in capsys.readouterr().err
    own.add_tokens(["<|turn|>"], special_tokens=True)
    own.save_pretrained(folder)
    with pytest.raises(
        ModelError, match=r"1 tokens that the embedding of 395 rows has none for: '<\|turn\|>' \(395\)"
    ):
        load_model(base, adapter=folder, device="cpu")


def test_another_base_and_unknown_settings_are_noted(base_of, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("AITIA_PROGRESS", "1")
    trained(base_of("llama"), "lora", "llama", tmp_path / "adapter")
    edit(tmp_path / "adapter", base_model_name_or_path="someone/another", use_new_thing=True)
    load_model(base_of("llama"), adapter=tmp_path / "adapter", device="cpu")
    said = capsys.readouterr().err
    assert "The adapter was trained on someone/another; it is put on" in said
    assert "passes over: use_new_thing" in said
