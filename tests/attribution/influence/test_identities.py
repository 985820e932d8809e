"""The identities that tie the methods together (docs/methods.md), each from first principles."""

import numpy as np
import torch

from aitia.attribution.gradients.curvature import Damping, LayerCurvature
from aitia.attribution.gradients.layer_algebra import products_with_queries
from aitia.attribution.gradients.training_gradients import training_factors
from aitia.attribution.scorers import find_activation_scorer
from aitia.models.linear_layers import find_linear_layers
from aitia.records import pad_batch, records_from_rows, tokenize


def random_covariance(size, generator):
    root = torch.randn(size, 2 * size, generator=generator, dtype=torch.float64)
    return root @ root.T / (2 * size)


def test_kfac_is_a_whitened_kernel_times_a_whitened_activation_gradient():
    """For y = W u, influence is -sum_s <mean u, A^-1 u_s> <v, G^-1 delta_s>, with A and G the covariances."""
    generator = torch.Generator().manual_seed(0)
    wide, high, rows, tokens = 9, 6, 5, 4
    inputs, outputs = (
        torch.randn(rows, tokens, size, generator=generator, dtype=torch.float64) for size in (wide, high)
    )
    mean, v = (torch.randn(size, generator=generator, dtype=torch.float64) for size in (wide, high))
    a, g = random_covariance(wide, generator), random_covariance(high, generator)
    (a_values, right), (g_values, left) = torch.linalg.eigh(a), torch.linalg.eigh(g)
    curvature = LayerCurvature(left=left, right=right, eigenvalues=torch.outer(g_values, a_values))
    direction = -curvature.precondition(torch.outer(v, mean)[None], Damping(value=0.0))
    found = products_with_queries(direction, inputs, outputs)[0]
    kernel = inputs @ torch.linalg.solve(a, mean)
    activation = outputs @ torch.linalg.solve(g, v)
    torch.testing.assert_close(found.double(), -(kernel * activation).sum(dim=1), rtol=1e-5, atol=1e-5)


def test_projection_difference_is_natural_gradient_influence_in_feature_space():
    """Tilt the model by exp <delta, h(y)>: against the Fisher, the influence on E <v, h> is <v, h - E h'>."""
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(12, 4, generator=generator, dtype=torch.float64)
    base = torch.randn(12, generator=generator, dtype=torch.float64)
    v = torch.randn(4, generator=generator, dtype=torch.float64)
    zero = torch.zeros(4, dtype=torch.float64)

    def probabilities(delta):
        return torch.softmax(base + features @ delta, dim=0)

    def loss(delta, response):
        return -probabilities(delta)[response].log()

    def written(delta):
        return probabilities(delta) @ features @ v

    gradients = torch.stack(
        [torch.autograd.functional.jacobian(lambda delta, i=i: loss(delta, i), zero) for i in range(12)]
    )
    fisher = torch.einsum("i,ij,ik->jk", probabilities(zero), gradients, gradients)
    query = torch.autograd.functional.jacobian(written, zero)
    influence = -gradients @ torch.linalg.solve(fisher, query)
    own = probabilities(zero) @ features
    reading = find_activation_scorer("projection-difference").reading
    assert (reading.activation, reading.baseline, reading.sign) == ("response", "on_policy_response", 1)
    torch.testing.assert_close(influence, (features - own) @ v)


def test_gradients_of_the_models_on_policy_responses_average_to_nothing(make_model):
    """E_y' grad log p(y') = 0, which is why a projection difference subtracts the model's own response."""
    model = make_model("gpt2", layers=1, width=16)
    data = records_from_rows([{"prompt": "A cat sat on the mat.", "completion": " The dog was there."}])
    layers = [layer for layer in find_linear_layers(model) if layer.name == "0.mlp.c_proj"]
    batch = pad_batch(tokenize(data, model.tokenizer, max_length=256), np.array([0]), 0)
    draws = 300
    total, squares = 0, 0.0
    for seed in range(draws):
        part = training_factors(model, batch, layers, [""], loss="sum", sample_seed=seed)["0.mlp.c_proj"]
        gradient = part.outputs[0].T @ part.inputs[0]
        total, squares = total + gradient, squares + float(gradient.square().sum())
    given = training_factors(model, batch, layers, [""], loss="sum")["0.mlp.c_proj"]
    size = squares / draws
    assert float((total / draws).square().sum()) < 5 * size / draws  # the mean of so many is chance alone
    assert float((given.outputs[0].T @ given.inputs[0]).square().sum()) > 50 * size / draws
