"""Torch modules and language models, run, watched and intervened on as models under study."""

from types import MappingProxyType

import numpy as np
import pytest
import torch
from torch import nn

from aitia.errors import SiteError
from aitia.explanations import Explanation, Phenomenon, evaluate
from aitia.explanations.examples.xor import BITS, gate_network, gates_explanation, xor_phenomenon
from aitia.models import LanguageModelUnderStudy, ModuleUnderStudy


@pytest.fixture(scope="module")
def gates():
    """The hand-built gate network as a torch module."""
    weights = gate_network().parameters
    module = nn.Sequential(
        nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 1, bias=False)
    )
    with torch.no_grad():
        module[0].weight.copy_(torch.tensor(weights["in"].T))
        module[0].bias.copy_(torch.tensor(weights["shift"]))
        module[2].weight.copy_(torch.tensor(weights["gates"].T))
        module[4].weight.copy_(torch.tensor(weights["out"][None]))
    return ModuleUnderStudy(
        name="gates",
        module=module,
        sites=("1", "3"),
        prepare=lambda x: torch.as_tensor(x, dtype=torch.float32),
    )


def test_a_module_is_judged_as_its_numpy_twin(gates):
    class Renamed:
        """The same module, its sites called as in the hand-built network."""

        name, fingerprint, sites = gates.name, gates.fingerprint, ("first", "second")
        names = MappingProxyType({"first": "1", "second": "3"})

        def run(self, inputs):
            return gates.run(inputs)[:, 0]

        def trace(self, inputs, sites):
            return self.intervene(inputs, {}, sites)[1]

        def intervene(self, inputs, values, sites=()):
            outputs, seen = gates.intervene(
                inputs, {self.names[s]: v for s, v in values.items()}, [self.names[s] for s in sites]
            )
            return outputs[:, 0], {s: seen[self.names[s]] for s in sites}

        def randomised(self, seed):
            return None

    twin = evaluate(gates_explanation(xor_phenomenon(gate_network())))
    card = evaluate(gates_explanation(xor_phenomenon(Renamed())))
    for name in (
        "fidelity",
        "probing-agreement",
        "interchange-intervention-accuracy",
        "causal-by-writing",
        "skill",
    ):
        assert card[name].value == twin[name].value == pytest.approx(twin[name].value)


def test_module_interventions_against_the_module_by_hand(gates):
    there = gates.trace(BITS[::-1], ["1"])["1"]
    outputs, seen = gates.intervene(BITS, {"1": there}, ["1", "3"])
    with torch.no_grad():
        expected = gates.module[2:](torch.tensor(there))
    assert outputs == pytest.approx(expected.numpy())
    assert seen["1"] == pytest.approx(there)
    assert not gates.module[1]._forward_hooks, "no hook is left behind"


def test_batches_do_not_matter(gates):
    inputs = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    small = ModuleUnderStudy(name="g", module=gates.module, sites=gates.sites, batch_rows=3)
    assert small.run(inputs) == pytest.approx(gates.run(inputs))
    value = np.ones((7, 2))
    assert small.intervene(inputs, {"1": value})[0] == pytest.approx(gates.intervene(inputs, {"1": value})[0])


def test_random_weights_are_random_and_reproducible(gates):
    first, again, other = gates.randomised(0), gates.randomised(0), gates.randomised(1)
    assert first.fingerprint == again.fingerprint
    assert len({gates.fingerprint, first.fingerprint, other.fingerprint}) == 3
    assert gates.module[0].weight.detach().numpy() == pytest.approx(np.ones((2, 2)))


def test_sites_must_exist(gates):
    with pytest.raises(SiteError, match="no submodule 9"):
        ModuleUnderStudy(name="g", module=gates.module, sites=("9",))
    with pytest.raises(SiteError, match="no site 2; it has 1, 3"):
        gates.trace(BITS, ["2"])


@pytest.fixture(scope="module")
def language_model(make_model):
    return LanguageModelUnderStudy(model=make_model("llama"), batch_rows=2)


@pytest.fixture(scope="module")
def texts(language_model):
    rows = [
        language_model.model.tokenizer(text)["input_ids"]
        for text in ("A cat sat.", "Rain again, and rain", "Go")
    ]
    filled = np.full((3, max(map(len, rows))), -1)
    for i, row in enumerate(rows):
        filled[i, : len(row)] = row
    return filled


def test_a_language_model_runs_as_it_does_alone(language_model, texts):
    outputs, traced = language_model.intervene(texts, {}, ["resid_post.1"])
    for i, row in enumerate(texts):
        tokens = torch.tensor(row[row >= 0][None])
        with torch.no_grad():
            alone = language_model.model.network(input_ids=tokens, output_hidden_states=True)
        assert outputs[i] == pytest.approx(alone.logits[0, -1].numpy(), abs=1e-4)
        assert traced["resid_post.1"][i] == pytest.approx(alone.hidden_states[2][0, -1].numpy(), abs=1e-4)


def test_setting_the_last_site_of_a_text_to_another_s_gives_the_other_s_answer(language_model, texts):
    top = language_model.sites[-1]
    there = language_model.trace(texts, [top])[top][[1, 2, 0]]
    outputs, _ = language_model.intervene(texts, {top: there})
    assert outputs == pytest.approx(language_model.run(texts)[[1, 2, 0]], abs=1e-4)
    with pytest.raises(SiteError):
        language_model.trace(texts, ["resid_post.99"])


def test_a_language_model_can_be_explained(language_model, texts):
    likeliest = language_model.run(texts).argmax(axis=1)
    names = np.unique(likeliest)
    phenomenon = Phenomenon(
        name="next token",
        model=language_model,
        inputs=texts,
        outcomes=[*map(str, names), "another"],
        observable=lambda logits: np.array(
            [int(np.flatnonzero(names == t)[0]) if t in names else len(names) for t in logits.argmax(axis=1)]
        ),
    )
    table = {row.tobytes(): label for row, label in zip(texts, phenomenon.observed, strict=True)}
    explanation = Explanation(
        name="table",
        phenomenon=phenomenon,
        program=lambda _p, x, _v: np.array([table[row.tobytes()] for row in x]),
    )
    card = evaluate(explanation)
    assert card["fidelity"].value == 1
    assert card["mutation-score"].value is not None
