"""Influence against leaving rows out of a network whose loss is not convex.

Two residual blocks with tanh, trained by L-BFGS in double precision to a minimum of the ridged loss. Each
row in turn is left out and training goes on from that minimum, to the minimum next to it: what influence,
a derivative there, speaks of. (From a fresh start another minimum may be found, which no derivative knows.)
"""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.measurements import ConceptMeasurement
from aitia.attribution.influence.streaming import influence
from aitia.concepts import Concept
from aitia.models import LanguageModel
from aitia.records import TokenizedRecord, TokenizedRecords

WIDTH, WORDS, ROWS, LENGTH, PROMPT, RIDGE = 6, 8, 60, 10, 3, 0.06


class Block(nn.Module):
    """x + W2 tanh(W1 (x + what came before on average)), so that positions depend on their past."""

    def __init__(self):
        super().__init__()
        self.up = nn.Linear(WIDTH, WIDTH, bias=False)
        self.down = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, hidden_states):
        counts = torch.arange(1, hidden_states.shape[1] + 1, dtype=hidden_states.dtype)[:, None]
        past = hidden_states.cumsum(dim=1) / counts
        return hidden_states + self.down(torch.tanh(self.up(hidden_states + past)))


class Network(nn.Module):
    """Two blocks between a fixed embedding and a fixed unembedding."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList([Block(), Block()])
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        for parameter in self.parameters():
            parameter.data = 0.7 * torch.randn(parameter.shape, generator=generator)
        self.config = SimpleNamespace(num_hidden_layers=2, hidden_size=WIDTH, max_position_embeddings=64)
        self.config.get_text_config = lambda: self.config

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return self.head

    def hidden(self, input_ids):
        values = self.embedding(input_ids)
        for block in self.blocks:
            values = block(values)
        return values

    def forward(self, input_ids, use_cache=False):
        return SimpleNamespace(logits=self.head(self.hidden(input_ids)))


def tokens_of(count, seed):
    """Sequences from two Markov chains, so that there is something to learn and rows to disagree."""
    generator = np.random.default_rng(seed)
    chains = np.random.default_rng(0).dirichlet(np.full(WORDS, 0.3), size=(2, WORDS))
    found = np.zeros((count, LENGTH), dtype=np.int32)
    for row in range(count):
        word = generator.integers(WORDS)
        for place in range(LENGTH):
            found[row, place] = word
            word = generator.choice(WORDS, p=chains[int(row % 3 == 0), word])
    return found


def as_rows(tokens):
    response = np.arange(LENGTH) >= PROMPT
    return TokenizedRecords(
        records=tuple(
            TokenizedRecord(id=str(i), row=i, location=f"row {i}", tokens=row, response=response)
            for i, row in enumerate(tokens)
        )
    )


def settle(network, tokens, row_weights):
    """Go down to the nearest minimum of the weighted mean loss with a ridge, in double precision."""
    network = copy.deepcopy(network).double()
    chosen = list(network.blocks.parameters())
    optimiser = torch.optim.LBFGS(
        chosen, max_iter=400, tolerance_grad=1e-9, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )
    words, weights = torch.from_numpy(tokens).long(), torch.from_numpy(row_weights)

    def closure():
        optimiser.zero_grad()
        logits = network(words).logits[:, PROMPT - 1 : -1]
        losses = nn.functional.cross_entropy(
            logits.flatten(0, 1), words[:, PROMPT:].flatten(), reduction="none"
        )
        mean = (losses.view(len(words), -1).mean(1) * weights).sum() / len(words)
        value = mean + RIDGE / 2 * sum(parameter.square().sum() for parameter in chosen)
        value.backward()
        return value

    optimiser.step(closure)
    return network


def projection(network, tokens, vector):
    """The mean projection of the response's last activations on a direction."""
    with torch.no_grad():
        hidden = network.hidden(torch.from_numpy(tokens).long())[:, PROMPT:]
    return float((hidden.mean(dim=1) @ torch.from_numpy(vector).double()).mean())


@pytest.fixture(scope="module")
def left_out():
    data, asked = tokens_of(ROWS, 1), tokens_of(4, 2)
    vector = np.random.default_rng(5).standard_normal(WIDTH)
    vector /= np.linalg.norm(vector)
    best = settle(Network(), data, np.ones(ROWS))
    before = projection(best, asked, vector)
    changes = []
    for row in range(ROWS):
        weights = np.ones(ROWS)
        weights[row] = 0
        changes.append(projection(settle(best, data, weights), asked, vector) - before)
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=0, model_max_length=64)
    model = LanguageModel(network=best.float(), tokenizer=tokenizer, name="two blocks")
    concept = Concept(
        name="up",
        site="resid_post.1",
        direction=vector,
        model_name="two blocks",
        model_fingerprint="",
        base_fingerprint="",
        recipe={},
    )
    return model, as_rows(data), as_rows(asked), ConceptMeasurement(concept=concept), np.array(changes)


def scores(left_out, kind):
    model, rows, asked, measurement, _ = left_out
    many = TokenizedRecords(records=tuple(rows) * 30)
    curvature = fit_curvature(model, many, CurvatureSettings(kind=kind, rows=0))
    # The Fisher of a mean over the response's tokens is that share of the Hessian of the mean.
    damping = Damping(value=RIDGE / (LENGTH - PROMPT), unit="absolute")
    return influence(model, rows, asked, measurement, curvature=curvature, damping=damping)


def test_influence_predicts_leaving_a_row_out_of_a_network_that_is_not_convex(left_out):
    changes = left_out[-1]
    correlation = {
        kind: np.corrcoef(scores(left_out, kind), -changes)[0, 1] for kind in ("identity", "ekfac")
    }
    assert correlation["ekfac"] > 0.9
    assert correlation["ekfac"] > correlation["identity"] + 0.05


def test_sign_tells_what_leaving_a_row_out_does(left_out):
    changes, found = left_out[-1], scores(left_out, "ekfac")
    clear = np.abs(found) > np.median(np.abs(found))
    assert (np.sign(found) == -np.sign(changes))[clear].mean() > 0.9
