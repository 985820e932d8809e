"""The ideal bi-equivariant network from what was found. Nothing here is trusted."""

from __future__ import annotations

from typing import Any

import numpy as np

from aitia.group_networks import Circuit, Interpretation, shared_profile
from aitia.proofs.finding.numbers import action_entry, as_integers
from aitia.proofs.verifiers.rho_sets import SHARE_BITS

MISSING = 0.2
"""A pair that carries less than this share of the mean counts as missing."""


def find_rho_sets(interpretation: Interpretation, *, fill: bool) -> dict[str, Any]:
    """One rho-set for each profile of each circuit that has at least half of its pairs.

    Args:
        interpretation: what was found in the network.
        fill: give rho-sets with pairs missing neurons that the network lacks; or leave these rho-sets out.
    """
    sets, rows, biases = [], [], []
    for circuit in interpretation.circuits:
        for number in range(circuit.profiles.max() + 1):
            found = _rho_set(circuit, np.flatnonzero(circuit.profiles == number), fill)
            if found is not None:
                entry, neurons, bias = found
                rows += [[i, len(sets), b, c, s, v] for i, b, c, s, v in neurons]
                sets.append(entry)
                biases.append(bias)
    scales, scale_unit = as_integers([row[4] for row in rows], bits=40)
    numbers, bias_unit = as_integers(np.array(biases).reshape(len(sets), 2))
    return {
        "rho_sets": sets,
        "neurons": [[*row[:4], max(scale, 1), row[5]] for row, scale in zip(rows, scales, strict=True)],
        "scale_unit": scale_unit,
        "biases": numbers,
        "bias_unit": bias_unit,
    }


def _rho_set(
    circuit: Circuit, members: np.ndarray, fill: bool
) -> tuple[dict[str, Any], list[tuple[int, int, int, float, int]], list[float]] | None:
    """The entry of a rho-set, its neurons (number, points, scale, share), and its bias."""
    alpha, gamma, scales = shared_profile(circuit.left_tables[members], circuit.right_tables[members])
    sizes = np.bincount(circuit.orbitals.ravel())
    kernels = scales[:, None] * circuit.kernels[members]
    kernels = kernels - (kernels @ sizes)[:, None] / sizes.sum()
    mean = kernels.sum(axis=0)
    carried = kernels @ (sizes * mean) / max(float((sizes * mean**2).sum()), 1e-300)
    b, c = circuit.left_points[members], circuit.right_points[members]
    keep = (scales > 0) & (carried > 0)
    totals = np.zeros((circuit.left_set.size, circuit.right_set.size))
    np.add.at(totals, (b[keep], c[keep]), carried[keep])
    is_sign = circuit.pairs == 4 and (circuit.left_set.permutations == circuit.right_set.permutations).all()
    full = totals > MISSING * totals.mean()
    if not is_sign and (full.mean() < 0.5 or not (fill or full.all())):
        return None
    # A pair that is there carries the mean of those that are: a missing one should not pull it down.
    level = totals[full].mean()
    kappa = mean * level
    neurons = []
    if is_sign:
        neurons = [
            (int(i), int(p), int(q), float(s), round(float(v / level) * 2**SHARE_BITS))
            for i, p, q, s, v in zip(
                circuit.neurons[members][keep], b[keep], c[keep], scales[keep], carried[keep], strict=True
            )
        ]
    for p, q in np.ndindex(*totals.shape) if not is_sign else ():
        here = np.flatnonzero(keep & (b == p) & (c == q)) if full[p, q] else []
        left = 2**SHARE_BITS
        for k in here:
            share = left if k == here[-1] else round(float(carried[k] / totals[p, q]) * 2**SHARE_BITS)
            left -= share
            neurons.append((int(circuit.neurons[members[k]]), p, q, float(scales[k]), share))
        if not len(here):
            neurons.append((-1, p, q, 1.0, left))
    bias = _sign_bias(alpha, gamma, kappa[circuit.orbitals], neurons) if is_sign else [0.0, 0.0]
    entry: dict[str, Any] = {
        "left": action_entry(circuit.left_set),
        "right": action_entry(circuit.right_set),
    }
    for key, values in (("alpha", alpha), ("gamma", gamma), ("kappa", kappa)):
        entry[key], entry[f"{key}_unit"] = as_integers(values, bits=40)
    return entry, neurons, bias


def _sign_bias(
    alpha: np.ndarray, gamma: np.ndarray, values: np.ndarray, neurons: list[tuple[int, int, int, float, int]]
) -> list[float]:
    """What takes out of the logits of two points what depends on z alone."""
    means = np.zeros(2)
    for _, b, c, _, share in neurons:
        for x, y, z in np.ndindex(2, 2, 2):
            active = max(alpha[b ^ x] + gamma[c ^ y], 0)
            means[z] += share / 2**SHARE_BITS * active * values[b, c ^ z] / 4
    return [float(value) for value in -means]
