"""What the tests of influence are held against: gradients by autograd, Fisher matrices written out, solves."""

import numpy as np
import torch

from aitia.concepts import Concept


def concept_at(model, site="resid_post.2"):
    return Concept(
        name="made up",
        site=site,
        direction=np.random.default_rng(3).standard_normal(model.width),
        model_name=model.name,
        model_fingerprint=model.fingerprint,
        base_fingerprint=model.base_fingerprint,
        recipe={},
    )


def dense_gradient(model, layers, value):
    """d value / d weight (and bias) of each layer by autograd on the parameters themselves: name -> [out, in]."""
    parts = [
        part for layer in layers for part in (layer.module.weight, layer.module.bias) if part is not None
    ]
    gradients = torch.autograd.grad(value, parts, retain_graph=True, allow_unused=True)
    filled = iter([torch.zeros_like(p) if g is None else g for p, g in zip(parts, gradients, strict=True)])
    found = {}
    for layer in layers:
        weight = next(filled)
        columns = [weight.T if type(layer.module).__name__ == "Conv1D" else weight]
        if layer.bias:
            columns.append(next(filled)[:, None])
        found[layer.name] = torch.cat(columns, dim=1)
    return found


def dense_loss_gradients(model, tokenized, layers, loss="mean"):
    """Per-row gradients, one backward pass a row, from transformers' own loss: name -> [n, out, in]."""
    rows = []
    model.network.requires_grad_(True)
    for row in tokenized:
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        labels = torch.where(torch.from_numpy(row.response)[None], tokens, -100)
        value = model.network(input_ids=tokens, labels=labels).loss
        if loss == "sum":
            value = value * int((labels[:, 1:] != -100).sum())
        rows.append(dense_gradient(model, layers, value))
    model.network.requires_grad_(False)
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


def dense_concept_gradient(model, tokenized, layers, concept):
    """Gradient of the mean projection over the queries, by autograd on the parameters: name -> [out, in]."""
    model.network.requires_grad_(True)
    block = int(concept.site.split(".")[1])
    total = 0
    for row in tokenized:
        tokens = torch.from_numpy(row.tokens.astype(np.int64))[None]
        hidden = model.network(input_ids=tokens, output_hidden_states=True).hidden_states[block + 1][0]
        total = total + (hidden[torch.from_numpy(row.response)].mean(0) @ torch.from_numpy(concept.vector))
    found = dense_gradient(model, layers, total / len(tokenized))
    model.network.requires_grad_(False)
    return found


def dense_scores(kind, gradients, query, damping, inputs_outputs=None):
    """-q^T (H + damping)^-1 g with H written out from the per-row gradients (and factors, for its basis)."""
    total = 0
    for name, rows in gradients.items():
        n = len(rows)
        if kind == "identity":
            inverse = torch.ones_like(rows[0])
            left, right = torch.eye(rows.shape[1]), torch.eye(rows.shape[2])
        else:
            if kind == "diagonal":
                left, right = torch.eye(rows.shape[1]), torch.eye(rows.shape[2])
            else:
                inputs, outputs, tokens = inputs_outputs[name]
                a_values, right = torch.linalg.eigh(inputs.T @ inputs / tokens)
                g_values, left = torch.linalg.eigh(outputs.T @ outputs / n)
            rotated = left.T @ rows @ right
            values = torch.outer(g_values, a_values) if kind == "kfac" else rotated.square().mean(0)
            inverse = 1 / (values + damping * values.mean())
        whitened = (left.T @ query[name] @ right) * inverse
        total = total - ((left.T @ rows @ right) * whitened).sum(dim=(1, 2))
    return total.numpy()
