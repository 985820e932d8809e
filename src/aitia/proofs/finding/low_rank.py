"""Bases for logits of low rank. Nothing here is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.group_networks import Interpretation
from aitia.proofs.finding.numbers import as_integers, named_neurons, sample
from aitia.proofs.weights import Weights

BITS = 40


def find_low_rank(weights: Weights, rank: int, *, harm: float = 0.3) -> dict[str, Any]:
    """The best unembedding of a rank, as its errors weigh in logits: by singular values.

    Args:
        weights: the network.
        rank: r.
        harm: neurons are left out as long as all of them together move no logit by more than this, about.
    """
    named = named_neurons(weights, harm)
    hidden = sample(weights)[:, named]
    unembed = weights.unembed[named] - weights.unembed[named].mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(hidden).mean(axis=0)) + 1e-9
    basis = np.linalg.svd(unembed * spread[:, None], full_matrices=False)[2][:rank]
    return _laid_out(named, hidden, unembed, basis, unembed @ basis.T)


def find_irreps(
    interpretation: Interpretation, weights: Weights, *, share: float, own: float = 0.01, harm: float = 0.3
) -> dict[str, Any]:
    """Matrix entries of the irreps that together carry a share of the unembedding's variance.

    Args:
        interpretation: for the irreps of the group.
        weights: the network.
        share: of the variance, from 0 to 1.
        own: a neuron has no coordinates in irreps that carry less than this share of its own row.
        harm: see `find_low_rank`.
    """
    named = named_neurons(weights, harm)
    hidden = sample(weights)[:, named]
    unembed = weights.unembed[named] - weights.unembed[named].mean(axis=1, keepdims=True)
    spread = np.sqrt(np.square(hidden).mean(axis=0)) + 1e-9
    scaled = unembed * spread[:, None]
    most = min(weights.order, weights.width)
    parts = [
        (float(np.square(scaled @ irrep.projection).sum()), irrep) for irrep in interpretation.irreps[1:]
    ]
    parts.sort(key=lambda part: -part[0])
    total, carried = sum(size for size, _ in parts), 0.0
    bases, coordinates = [np.zeros((0, weights.order))], [np.zeros((len(named), 0))]
    for size, irrep in parts:
        if carried >= share * total or sum(map(len, bases)) + irrep.dimension * irrep.multiplicity > most:
            break
        carried += size
        values, vectors = np.linalg.eigh(irrep.projection)
        bases.append(vectors[:, values > 0.5].T)
        found = unembed @ bases[-1].T
        small = np.square(found).sum(axis=1) < own * np.square(unembed).sum(axis=1)
        coordinates.append(np.where(small[:, None], 0.0, found))
    return _laid_out(named, hidden, unembed, np.concatenate(bases), np.concatenate(coordinates, axis=1))


def _laid_out(
    named: np.ndarray, hidden: np.ndarray, unembed: np.ndarray, basis: np.ndarray, coordinates: np.ndarray
) -> dict[str, Any]:
    rest = np.linalg.norm(unembed - coordinates @ basis, axis=1)
    wanted = np.sqrt((rest + 1e-9) / (hidden.std(axis=0) + 1e-9))
    factors = np.exp2(np.round(np.log2(wanted)).clip(-20, 20))
    order = np.argsort(-rest * hidden.std(axis=0), kind="stable")
    scaled = hidden * factors
    numbers = {
        "factors": as_integers(factors[order]),
        "centre": as_integers(scaled.mean(axis=0)[order]),
        "basis": as_integers(basis, bits=BITS),
        "coordinates": as_integers(coordinates[order] / factors[order, None], bits=BITS),
    }
    entries: dict[str, Any] = {key: values for key, (values, _) in numbers.items()}
    units = {
        f"{key.removesuffix('s') if key == 'factors' else key}_unit": unit
        for key, (_, unit) in numbers.items()
    }
    return {
        "surrogate": "low-rank",
        "neurons": [int(i) for i in named[order]],
        "cells": list(range(len(named))),
        **entries,
        **units,
    }
