"""Measures of structure, on plain arrays: irreps, cosets, translates, equivariance of logits.

Functions on a group of n elements are columns of arrays [n, m]. The group acts on them by (g f)(x) = f(g^-1 x)
from the left and by (f g)(x) = f(x g) from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.finite_groups import Group, RealIrrep
from aitia.group_networks.network import GroupNetwork


def centred(functions: np.ndarray) -> np.ndarray:
    """[n, m] functions less their means."""
    return functions - functions.mean(axis=0)


def irrep_shares(functions: np.ndarray, irreps: Sequence[RealIrrep]) -> np.ndarray:
    """[k, m] the share of each function's squared norm within each irrep; the sum over irreps is 1 (0 for zero).

    Irrep sparsity (Chughtai et al. 2023) says that one share of each neuron is close to 1.

    Returns:
        [k, m], from 0 to 1.
    """
    parts = np.array([((irrep.projection @ functions) ** 2).sum(axis=0) for irrep in irreps])
    total = (functions**2).sum(axis=0)
    return parts / np.where(total > 0, total, 1)


def coset_share(functions: np.ndarray, cosets: np.ndarray) -> np.ndarray:
    """[m] the share of each function's variance that lies between cosets; 1 where it is constant on each.

    Coset concentration (Stander et al. 2024). A constant function has no variance and counts as 1.

    Args:
        functions: [n, m].
        cosets: [n] the number of each element's coset, all of one size.

    Returns:
        [m], from 0 to 1.
    """
    values = centred(functions)
    means = np.zeros((cosets.max() + 1, functions.shape[1]))
    np.add.at(means, cosets, values)
    size = len(cosets) / len(means)
    between, total = (means**2).sum(axis=0) / size, (values**2).sum(axis=0)
    return np.where(total > 0, between / np.where(total > 0, total, 1), 1.0)


def left_correlations(group: Group, functions: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[m, n] correlation of each function with each left translate g of a reference [n]; zero functions give 0."""
    translates = reference[group.table[group.inverses]]  # [g, x] = reference(g^-1 x)
    return _correlations(functions, translates)


def right_correlations(group: Group, functions: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """[m, n] the same for right translates."""
    translates = reference[group.table].T  # [g, x] = reference(x g)
    return _correlations(functions, translates)


def _correlations(functions: np.ndarray, translates: np.ndarray) -> np.ndarray:
    values, rows = centred(functions), translates - translates.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(values, axis=0)[:, None] * np.linalg.norm(rows[0])
    return (rows @ values).T / np.where(norms > 0, norms, np.inf)


def rank_one_share(function: np.ndarray, irrep: RealIrrep) -> float:
    """How much of a function within an irrep is one term b^T rho(x) a: the largest share of squared singular values.

    The coefficient matrix (d / n) sum f(x) rho(x) is b a^T there. Of complex or quaternionic type the singular
    values come in groups of <chi, chi> that belong to one term.

    Returns:
        The share, from 0 to 1; 0 for the zero function.
    """
    matrix = np.einsum("x,xij->ij", function, irrep.matrices)
    squares = np.linalg.svd(matrix, compute_uv=False) ** 2
    return float(squares[: irrep.norm].sum() / squares.sum()) if squares.sum() > 0 else 0.0


def norm_ratios(network: GroupNetwork) -> np.ndarray:
    """[2, m] each neuron's norm of left over right, and of unembedding over their mean; 0 where that is 0.

    Where a norm as small as the margin allows is all that counts, the three are alike (Morwani et al. 2024, for
    squares in place of relu; our reading): the first is 1, and the second the same for all neurons, since embeddings
    and maps are folded into left and right.

    Returns:
        [2, m].
    """
    left, right, unembed = (
        np.linalg.norm(centred(np.asarray(table, dtype=np.float64)), axis=0)
        for table in (network.left, network.right, network.unembed.T)
    )
    mean = (left + right) / 2
    return np.array(
        [np.divide(a, b, out=np.zeros_like(a), where=b > 0) for a, b in ((left, right), (unembed, mean))]
    )


@dataclass(frozen=True, kw_only=True)
class Equivariance:
    """How nearly logits stay the same when arguments and answer are moved together by a group element.

    Shares are of the variance of the logits, without each input's mean, which changes no answer, and without the
    part that depends on the answer alone, which the bias holds.

    Attributes:
        left: share unchanged by every (x, y, z) -> (gx, y, gz).
        right: share unchanged by every (x, y, z) -> (x, yh, zh).
        both: share that depends on x^-1 z y^-1 alone: bi-equivariance.
    """

    left: float
    right: float
    both: float


def equivariance(network: GroupNetwork) -> Equivariance:
    """Measure how equivariant a network's logits are, exactly and over all inputs: n^3 numbers are held."""
    group, n = network.group, network.group.order
    values = every_logit(network)
    whole = float((values**2).sum())
    values -= values.mean(axis=(0, 1))
    total = float((values**2).sum())
    if total <= 1e-20 * whole:  # rounding, and nothing else
        return Equivariance(left=0.0, right=0.0, both=0.0)
    x, y, v = np.ogrid[:n, :n, :n]
    by_left = values[x, y, group.table[x, v]].mean(axis=0)  # z = x v
    by_right = values[x, y, group.table[v, y]].mean(axis=1)  # z = v y
    by_both = values[x, y, group.table[group.table[x, v], y]].mean(axis=(0, 1))  # z = x v y
    return Equivariance(
        left=float(n * (by_left**2).sum() / total),
        right=float(n * (by_right**2).sum() / total),
        both=float(n * n * (by_both**2).sum() / total),
    )


def deviation(network: GroupNetwork) -> float:
    """Standard deviation over |mean| of the right logit over all inputs: 0 for a bi-equivariant network.

    The measure of Wu et al. 2025, as read in their code.

    Returns:
        At least 0; no unit.
    """
    group = network.group
    right = np.concatenate(
        [
            np.take_along_axis(logits, group.table[x][:, :, None], axis=2)[..., 0]
            for x, logits in network.every_logit()
        ]
    )
    return float(right.std() / max(abs(right.mean()), 1e-300))


def every_logit(network: GroupNetwork) -> np.ndarray:
    """[n, n, n] every logit, each input's mean taken off: 8 n^3 bytes."""
    values = np.concatenate([logits for _, logits in network.every_logit()])
    values -= values.mean(axis=2, keepdims=True)
    return values


def spread(group: Group, logits: np.ndarray) -> np.ndarray:
    """[n, n, n] the bi-equivariant logits whose value at x^-1 z y^-1 is given, [n]."""
    n = group.order
    x, y, z = np.ogrid[:n, :n, :n]
    return logits[group.table[group.table[group.inverses[x], z], group.inverses[y]]]


def explained_share(logits: np.ndarray, predicted: np.ndarray) -> float:
    """Share of the variance of logits [n, n, n] that a prediction explains: 1 - |f - p|^2 / |f|^2, at most 1.

    Each input's mean is taken off both, since it changes no answer.

    Returns:
        At most 1.
    """
    total = float(((logits - logits.mean(axis=2, keepdims=True)) ** 2).sum())
    rest = logits - predicted
    rest -= rest.mean(axis=2, keepdims=True)
    return 1 - float((rest**2).sum()) / total if total > 0 else 0.0
