"""Influence against what it claims to predict: training again with a row weighted up, or left out.

The model is a softmax regression dressed as a language model: fixed token features, one linear block,
a fixed unembedding. With a ridge its loss is strictly convex, so retraining has one answer.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from aitia.attribution.gradients.curvature import CurvatureSettings, Damping
from aitia.attribution.gradients.curvature_fitting import fit_curvature
from aitia.attribution.gradients.layer_algebra import row_gradients
from aitia.attribution.gradients.measurements import ConceptMeasurement
from aitia.attribution.gradients.training_gradients import training_factors
from aitia.attribution.influence.streaming import influence, stream_scores
from aitia.concepts import Concept
from aitia.models import LanguageModel
from aitia.models.linear_layers import find_linear_layers
from aitia.records import TokenizedRecord, TokenizedRecords, pad_batch

WIDTH, WORDS, ROWS, RIDGE = 5, 7, 24, 0.02


class Block(nn.Module):
    """A block whose output is a linear map of its input."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH, bias=False)

    def forward(self, hidden_states):
        return self.linear(hidden_states)


class SoftmaxRegression(nn.Module):
    """logits = unembedding @ W @ feature(token)."""

    dtype = torch.float32

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.embedding = nn.Embedding(WORDS, WIDTH)
        self.blocks = nn.ModuleList([Block()])
        self.head = nn.Linear(WIDTH, WORDS, bias=False)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        self.config = SimpleNamespace(num_hidden_layers=1, hidden_size=WIDTH, max_position_embeddings=64)
        self.config.get_text_config = lambda: self.config

    def get_input_embeddings(self):
        return self.embedding

    def get_output_embeddings(self):
        return self.head

    def forward(self, input_ids, use_cache=False):
        return SimpleNamespace(logits=self.head(self.blocks[0](self.embedding(input_ids))))


def make_rows(count, seed, length=9):
    generator = np.random.default_rng(seed)
    response = np.arange(length) >= 2
    return TokenizedRecords(
        records=tuple(
            TokenizedRecord(
                id=str(i),
                row=i,
                location=f"row {i}",
                tokens=generator.integers(0, WORDS, length).astype(np.int32),
                response=response,
            )
            for i in range(count)
        )
    )


def losses(weight, network, rows):
    """Mean loss of each row as a function of the weight, in double precision: [n]."""
    tokens = torch.from_numpy(np.stack([row.tokens for row in rows])).long()
    response = torch.from_numpy(np.stack([row.response for row in rows]))[:, 1:]
    features = network.embedding.weight.detach().double()[tokens]
    logits = features @ weight.T @ network.head.weight.detach().double().T
    per_token = nn.functional.cross_entropy(
        logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten(), reduction="none"
    ).view(response.shape)
    return (per_token * response).sum(1) / response.sum(1)


def train(network, rows, row_weights):
    """The minimum of the weighted mean loss with a ridge, by Newton's method: [out, in]."""
    weight = torch.zeros(WIDTH, WIDTH, dtype=torch.float64)

    def objective(flat):
        shaped = flat.view(WIDTH, WIDTH)
        return (losses(shaped, network, rows) * row_weights).mean() + RIDGE / 2 * flat.square().sum()

    flat = weight.flatten()
    for _ in range(30):
        gradient = torch.autograd.functional.jacobian(objective, flat)
        hessian = torch.autograd.functional.hessian(objective, flat)
        step = torch.linalg.solve(hessian, gradient)
        flat = flat - step
        if step.abs().max() < 1e-12:
            break
    return flat.view(WIDTH, WIDTH)


def measure(weight, network, queries, vector):
    """The mean projection of the queries' response activations on the vector."""
    found = []
    for row in queries:
        features = network.embedding.weight.detach().double()[torch.from_numpy(row.tokens).long()]
        found.append((features @ weight.T)[torch.from_numpy(row.response)].mean(0) @ vector)
    return torch.stack(found).mean().item()


@pytest.fixture(scope="module")
def trained():
    network = SoftmaxRegression()
    rows, queries = make_rows(ROWS, 1), make_rows(3, 2)
    best = train(network, rows, torch.ones(ROWS, dtype=torch.float64))
    network.blocks[0].linear.weight.data = best.float()
    tokenizer = SimpleNamespace(pad_token_id=0, eos_token_id=0, model_max_length=64)
    model = LanguageModel(network=network, tokenizer=tokenizer, name="regression")
    concept = Concept(
        name="up",
        site="resid_post.0",
        direction=np.random.default_rng(5).standard_normal(WIDTH),
        model_name="regression",
        model_fingerprint="",
        base_fingerprint="",
        recipe={},
    )
    vector = torch.from_numpy(concept.vector).double()
    base = measure(best, network, queries, vector)
    changes = {"weighted": [], "left out": []}
    for i in range(ROWS):
        moved = []
        for step in (1e-3, -1e-3):
            weights = torch.ones(ROWS, dtype=torch.float64)
            weights[i] += step
            moved.append(measure(train(network, rows, weights), network, queries, vector))
        changes["weighted"].append((moved[0] - moved[1]) / 2e-3 * ROWS)
        weights = torch.ones(ROWS, dtype=torch.float64)
        weights[i] = 0
        changes["left out"].append(measure(train(network, rows, weights), network, queries, vector) - base)
    return model, rows, queries, concept, {name: np.array(values) for name, values in changes.items()}


def test_exact_curvature_predicts_weighting_up_in_size_and_sign(trained):
    """With H solved densely, our row gradients and sign give the derivative of retraining itself."""
    model, rows, queries, concept, changes = trained
    layers = find_linear_layers(model)
    weight = model.blocks[0].linear.weight.detach().double()

    def mean_loss(flat):
        return losses(flat.view(WIDTH, WIDTH), model.network, rows).mean()

    hessian = torch.autograd.functional.hessian(mean_loss, weight.flatten())
    hessian += RIDGE * torch.eye(WIDTH * WIDTH, dtype=torch.float64)
    v = torch.from_numpy(concept.vector).double()
    features = [
        model.network.embedding.weight.detach()
        .double()[torch.from_numpy(row.tokens).long()][row.response]
        .mean(0)
        for row in queries
    ]
    query = torch.outer(v, torch.stack(features).mean(0))
    direction = -torch.linalg.solve(hessian, query.flatten()).view(1, WIDTH, WIDTH).float()
    found = stream_scores(model, rows, {layers[0].name: direction}, layers, loss="mean", precision="float32")[
        0
    ]
    np.testing.assert_allclose(found, changes["weighted"], rtol=2e-3, atol=1e-4 * np.abs(found).max())


def test_ekfac_predicts_weighting_up_and_leaving_out(trained):
    """The whole path, with the Fisher sampled from the model and the ridge as damping."""
    model, rows, queries, concept, changes = trained
    many = TokenizedRecords(records=tuple(rows) * 40)
    curvature = fit_curvature(model, many, CurvatureSettings(kind="ekfac", rows=0))
    found = influence(
        model,
        rows,
        queries,
        ConceptMeasurement(concept=concept),
        curvature=curvature,
        # The Fisher of a mean over seven tokens is a seventh of the Hessian of that mean.
        damping=Damping(value=RIDGE / 7, unit="absolute"),
    )
    assert np.corrcoef(found, changes["weighted"])[0, 1] > 0.95
    assert np.corrcoef(found, -changes["left out"])[0, 1] > 0.95
    clear = np.abs(found) > 0.2 * np.abs(found).max()
    assert (np.sign(found) == np.sign(changes["weighted"]))[clear].all()


def test_dense_fisher_and_ekfac_agree_better_than_the_identity(trained):
    """EK-FAC stands between no curvature and the exact solve of the empirical Fisher."""
    model, rows, queries, concept, _ = trained
    layers = find_linear_layers(model)
    factors = training_factors(model, pad_batch(rows, np.arange(ROWS), 0), layers, [""] * ROWS)[
        layers[0].name
    ]
    gradients = row_gradients(factors.inputs, factors.outputs).flatten(1).double()
    fisher = gradients.T @ gradients / ROWS
    v = torch.from_numpy(concept.vector).double()
    features = [
        model.network.embedding.weight.detach()
        .double()[torch.from_numpy(row.tokens).long()][row.response]
        .mean(0)
        for row in queries
    ]
    query = torch.outer(v, torch.stack(features).mean(0)).flatten()
    damping = 0.1 * float(fisher.diagonal().mean())
    exact = -(gradients @ torch.linalg.solve(fisher + damping * torch.eye(len(fisher)), query)).numpy()
    agreement = {}
    for kind in ("identity", "ekfac"):
        curvature = fit_curvature(model, rows, CurvatureSettings(kind=kind, use_empirical_fisher=True))
        found = influence(model, rows, queries, ConceptMeasurement(concept=concept), curvature=curvature)
        agreement[kind] = np.corrcoef(found, exact)[0, 1]
    assert agreement["ekfac"] > 0.8
    assert agreement["ekfac"] > agreement["identity"] + 0.05
