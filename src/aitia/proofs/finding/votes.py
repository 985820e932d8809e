"""Votes on G-sets from what was found in a network.

Nothing here is trusted: a poor choice makes a proof weaker or dearer, never wrong. Nor is its work charged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import combinations
from typing import Any

import numpy as np

from aitia.finite_groups import Group, GSet, coset_action
from aitia.group_networks import Circuit, Interpretation
from aitia.proofs.bounds.shared_sums import column_tuples, joined_tuples
from aitia.proofs.finding.numbers import action_entry, as_integers, named_neurons, sample
from aitia.proofs.weights import Weights

EXACT_COLUMNS = 12
"""Up to so many columns the cheapest order of joining them is found."""

Place = tuple[int, int, int]
"""Set, row and column of a vote."""


@dataclass(frozen=True, kw_only=True)
class VoteSettings:
    """How votes are laid out. What pays differs from network to network, so several are tried.

    Attributes:
        merge: neurons that vote alike share a cell.
        centred: remainders are bounded about the mean of each cell's sum.
        apart: how many answers with much left over are looked at one by one.
        near: up to how many answers near the right one are looked at one by one.
        quick: whether quick margins are tried.
        circuits: circuits with less than this share of the weight do not vote.
        pruned: how many of the last joins of shared sums are pruned.
        harm: neurons are left out as long as all of them together move no logit by more than this.
    """

    merge: bool = True
    centred: bool = True
    apart: int = 8
    near: int = 0
    quick: bool = True
    circuits: float = 0.0
    pruned: int = 0
    harm: float = 0.3


@dataclass(kw_only=True, eq=False)
class _Votes:
    """The votes of each neuron, on sets that grow as they are needed."""

    group: Group
    sets: list[GSet] = field(default_factory=list)
    of_neuron: dict[int, dict[Place, float]] = field(default_factory=dict)

    def number(self, action: GSet) -> int:
        """The number of a set, added if it is new."""
        for number, each in enumerate(self.sets):
            if (
                each.permutations.shape == action.permutations.shape
                and (each.permutations == action.permutations).all()
            ):
                return number
        self.sets.append(action)
        return len(self.sets) - 1

    def table(self, shape: Mapping[Place, float]) -> np.ndarray:
        """[n] what votes make of each answer."""
        found = np.zeros(self.group.order)
        for (number, row, column), value in shape.items():
            found += value * (self.sets[number].permutations[:, column] == row)
        return found


def find_votes(
    interpretation: Interpretation, weights: Weights, settings: VoteSettings | None = None
) -> dict[str, Any]:
    """The explanation that the verifier `g-sets` reads.

    Args:
        interpretation: circuits of the network.
        weights: the network.
        settings: how the votes are laid out.
    """
    settings = settings or VoteSettings()
    group = interpretation.network.group
    votes = _Votes(group=group)
    for circuit in interpretation.circuits:
        if interpretation.weights[circuit.neurons].sum() < settings.circuits:
            continue
        _vote(votes, circuit, _sign(group))
    hidden = sample(weights)
    named = named_neurons(weights, settings.harm)
    shapes, cells = _cells(votes, named, merge=settings.merge)
    shapes, cells = _balance(votes, shapes, cells, weights, hidden)
    return _laid_out(votes, shapes, cells, weights, hidden, settings)


def _vote(votes: _Votes, circuit: Circuit, sign: GSet | None) -> None:
    """Give each neuron of a circuit its votes."""
    action, group = circuit.right_set, circuit.group
    number = votes.number(action)
    fixed = (action.permutations == np.arange(action.size)).T
    heads = np.array([int(np.flatnonzero((fixed == row).all(axis=1))[0]) for row in fixed])
    for k, neuron in enumerate(circuit.neurons):
        b, c = int(circuit.left_points[k]), int(circuit.right_points[k])
        head = int(heads[c])
        # Points with one stabiliser tell the same of an answer: zc is known from z head.
        row_of = np.zeros(action.size, dtype=np.int64)
        row_of[action.permutations[:, c]] = action.permutations[:, head]
        values = np.zeros(action.size)
        values[row_of] = circuit.kernels[k][circuit.orbitals[b]]
        found = _sparse(values)
        if sign is not None and action.size > 2:
            halves = _halves(action, head, sign)
            if halves is not None:
                up, down = _mode(values[halves]), _mode(values[~halves])
                split = np.where(halves, values - up, values - down)
                if np.count_nonzero(split) + 1 < len(found):
                    found = {int(p): float(split[p]) for p in np.flatnonzero(split)}
                    place = (votes.number(sign), int(sign.permutations[group.identity, 0]), 0)
                    votes.of_neuron.setdefault(int(neuron), {})[place] = up - down
        mine = votes.of_neuron.setdefault(int(neuron), {})
        for p, value in found.items():
            mine[number, p, head] = mine.get((number, p, head), 0.0) + value


def _sparse(values: np.ndarray) -> dict[int, float]:
    """The rows whose value is not the commonest, less that value: a constant on all rows says nothing."""
    rest = values - _mode(values)
    return {int(p): float(rest[p]) for p in np.flatnonzero(rest)}


def _mode(values: np.ndarray) -> float:
    found, counts = np.unique(values, return_counts=True)
    return float(found[counts.argmax()])


def _sign(group: Group) -> GSet | None:
    """Two points moved by the elements outside the one subgroup of index two, if there is just one."""
    from aitia.finite_groups import subgroup

    squares = subgroup(group, np.unique(group.table.diagonal()))
    return coset_action(group, squares) if 2 * len(squares) == group.order else None


def _halves(action: GSet, column: int, sign: GSet) -> np.ndarray | None:
    """[q] bool which rows a column is taken to by even elements, if the others are so by odd ones alone."""
    even = sign.permutations[:, 0] == 0
    up, down = (np.unique(action.permutations[part, column]) for part in (even, ~even))
    if np.intersect1d(up, down).size:
        return None
    return np.isin(np.arange(action.size), up)


def _cells(
    votes: _Votes, named: np.ndarray, *, merge: bool
) -> tuple[list[dict[Place, float]], list[list[tuple[int, float]]]]:
    """The votes of each cell, and its neurons with their factors, heaviest cell first."""
    groups: dict[Any, list[int]] = {}
    for i in (int(i) for i in named):
        mine = votes.of_neuron.get(i, {})
        key = tuple(sorted((place, value > 0) for place, value in mine.items()))
        groups.setdefault(key if mine and merge else ("alone", i), []).append(i)
    shapes, cells = [], []
    for members in groups.values():
        mine = [votes.of_neuron.get(i, {}) for i in members]
        if not mine[0]:
            shapes.append({})
            cells.append([(members[0], 1.0)])
            continue
        main = max(mine[0], key=lambda place: abs(mine[0][place]))  # pyright: ignore
        shape = {
            place: float(
                np.mean([each[place] for each in mine]) / np.mean([abs(each[main]) for each in mine])
            )
            for place in mine[0]
        }
        factors = [
            sum(each[place] * shape[place] for place in shape) / sum(v * v for v in shape.values())
            for each in mine
        ]
        shapes.append(shape)
        cells.append([(i, max(factor, 1e-9)) for i, factor in zip(members, factors, strict=True)])
    return shapes, cells


def _measured(
    votes: _Votes,
    shapes: Sequence[dict[Place, float]],
    cells: Sequence[list[tuple[int, float]]],
    weights: Weights,
    hidden: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """[r, k] the sums over cells of sampled activations, and [k, n] what is left over in each cell."""
    sums, rest = np.zeros((len(hidden), len(cells))), np.zeros((len(cells), weights.order))
    for j, (cell, shape) in enumerate(zip(cells, shapes, strict=True)):
        sums[:, j] = sum(hidden[:, i] * f for i, f in cell)
        left = np.stack([weights.unembed[i] / f for i, f in cell]) - votes.table(shape)
        rest[j] = (left - left.mean(axis=1, keepdims=True)).max(axis=0)
    return sums, rest


def _balance(
    votes: _Votes,
    shapes: Sequence[dict[Place, float]],
    cells: Sequence[list[tuple[int, float]]],
    weights: Weights,
    hidden: np.ndarray,
) -> tuple[list[dict[Place, float]], list[list[tuple[int, float]]]]:
    """Scale cells by powers of two: Cauchy and Schwarz lose least where |C| and |e| are in proportion.

    Most cells have one vote of coefficient one, which is cheap; only those far from the middle are scaled.
    """
    sums, rest = _measured(votes, shapes, cells, weights, hidden)
    wanted = np.sqrt((np.square(rest).mean(axis=1) ** 0.5 + 1e-12) / (sums.std(axis=0) + 1e-9))
    plain = np.array([len(shape) == 1 for shape in shapes], dtype=bool)
    middle = np.median(wanted[plain]) if plain.any() else 1.0
    scales = np.exp2(np.round(np.log2(wanted / middle)).clip(-40, 40))
    scales[plain & (np.abs(np.log2(scales)) < 2)] = 1.0
    return (
        [
            {place: value / g for place, value in shape.items()}
            for shape, g in zip(shapes, scales, strict=True)
        ],
        [[(i, f * g) for i, f in cell] for cell, g in zip(cells, scales, strict=True)],
    )


def _laid_out(
    votes: _Votes,
    shapes: Sequence[dict[Place, float]],
    cells: Sequence[list[tuple[int, float]]],
    weights: Weights,
    hidden: np.ndarray,
    settings: VoteSettings,
) -> dict[str, Any]:
    """The explanation in integers."""
    sums, rest = _measured(votes, shapes, cells, weights, hidden)
    centre = sums.mean(axis=0) if settings.centred else np.zeros(len(cells))
    order = np.argsort(-np.linalg.norm(rest, axis=1) * np.sqrt(np.square(sums).mean(axis=0)), kind="stable")
    constants, constant = _constants(votes, weights.bias + centre @ rest)
    above = weights.bias - constant + centre @ rest
    above = above + np.linalg.norm(sums - centre, axis=1).mean() * np.linalg.norm(rest, axis=0)
    place = {int(j): position for position, j in enumerate(order)}
    rows = [
        (place[j], *where, value) for j, shape in enumerate(shapes) for where, value in shape.items() if value
    ]
    values, unit = as_integers([row[4] for row in rows] + [row[4] for row in constants])
    factors, factor_unit = as_integers([f for j in order for _, f in cells[j]], bits=50)
    centres, centre_unit = as_integers(centre[order])
    return {
        "surrogate": "votes",
        "neurons": [i for j in order for i, _ in cells[j]],
        "cells": [place[int(j)] for j in order for _ in cells[j]],
        "factors": [max(f, 1) for f in factors],
        "factor_unit": factor_unit,
        "centre": centres,
        "centre_unit": centre_unit,
        "sets": [action_entry(each) for each in votes.sets],
        "votes": [[*row[:4], value] for row, value in zip(rows, values, strict=False)],
        "constants": [[*row[:4], value] for row, value in zip(constants, values[len(rows) :], strict=True)],
        "unit": unit,
        "merges": _merges(votes, rows, constants, pruned=settings.pruned),
        "pruned": settings.pruned,
        "apart": sorted(int(z) for z in np.argsort(-above)[: settings.apart]),
        "near": _near(votes, rows, settings.near),
        "quick": int(settings.quick),
    }


def _near(votes: _Votes, rows: Sequence[tuple[int, int, int, int, float]], most: int) -> list[int]:
    """The elements that move fewest columns, all of a number or none, as long as there are no more than `most`."""
    used = sorted({(row[1], row[3]) for row in rows})
    group = votes.group
    moved = np.zeros(group.order, dtype=np.int64)
    for s, c in used:
        moved += votes.sets[s].permutations[:, c] != c
    found: list[int] = []
    for count in np.unique(np.delete(moved, group.identity)):
        these = [int(w) for w in np.flatnonzero(moved == count) if w != group.identity]
        if len(found) + len(these) > most:
            break
        found += these
    return found


def _merges(
    votes: _Votes, *listed: Sequence[tuple[int, int, int, int, float]], pruned: int
) -> list[list[int]]:
    """An order of joining columns that shares many sums."""
    used = sorted({(row[1], row[3]) for rows in listed for row in rows})
    columns = [votes.sets[s].permutations[:, c] for s, c in used]
    return [list(pair) for pair in _cheap_merges(tuple(column.tobytes() for column in columns), pruned)]


@lru_cache(maxsize=64)
def _cheap_merges(columns: tuple[bytes, ...], pruned: int) -> list[tuple[int, int]]:
    """The cheapest order, by dynamic programming over subsets; where these are too many, fewest tuples first."""
    nodes = [column_tuples(np.frombuffer(column, dtype=np.int64)) for column in columns]
    if len(nodes) < 2:
        return []
    if len(nodes) > EXACT_COLUMNS:
        left, merges = list(range(len(nodes))), []
        sizes: dict[tuple[int, int], int] = {}
        while len(left) > 1:
            for pair in combinations(left, 2):
                if pair not in sizes:
                    sizes[pair] = joined_tuples(nodes, *pair).count
            merges.append(min(combinations(left, 2), key=sizes.__getitem__))
            nodes.append(joined_tuples(nodes, *merges[-1]))
            left = [k for k in left if k not in merges[-1]] + [len(nodes) - 1]
        return merges
    tuples = {1 << k: node.of_element for k, node in enumerate(nodes)}
    price, split = dict.fromkeys(tuples, 0), {}
    for subset in range(1, 1 << len(nodes)):
        low = subset & -subset
        rest = subset ^ low
        if not rest:
            continue
        codes = tuples[low] * np.int64(len(tuples[low]) + 1) + tuples[rest]
        tuples[subset] = np.unique(codes, return_inverse=True)[1].reshape(-1)
        count, part, best = int(tuples[subset].max()) + 1, rest, None
        # One half holds the lowest column, the other any part of the rest.
        while part:
            total = price[part] + price[subset ^ part]
            if best is None or total < best[0]:
                best = total, part
            part = (part - 1) & rest
        assert best is not None
        price[subset], split[subset] = best[0] + count, best[1]
    merges, number = [], {1 << k: k for k in range(len(nodes))}

    def build(subset: int, pruned: int = 0) -> int:
        if subset not in number:
            branch = split[subset]
            for part in range(1, subset if pruned else 0):
                # A branch that is added only where it matters costs its own sums, and its largest value.
                whole = part & subset == part and int(tuples[subset ^ part].max()) + 1 == count_of_all
                if whole and pruned_price(subset, part) < pruned_price(subset, branch):
                    branch = part
            pair = build(subset ^ branch, max(pruned - 1, 0)), build(branch)
            merges.append(pair)
            number[subset] = len(nodes) + len(merges) - 1
        return number[subset]

    count_of_all = int(tuples[(1 << len(nodes)) - 1].max()) + 1

    def pruned_price(subset: int, part: int) -> float:
        return price[subset ^ part] + price[part] + 0.5 * (int(tuples[part].max()) + 1)

    build((1 << len(nodes)) - 1, pruned)
    return merges


def _constants(
    votes: _Votes, wanted: np.ndarray
) -> tuple[list[tuple[int, int, int, int, float]], np.ndarray]:
    """Constants in sign columns that stand for as much of a function of the answer as they can."""
    for number, action in enumerate(votes.sets):
        if action.size == 2:
            up = action.permutations[:, 0] == 0
            value = float(wanted[up].mean() - wanted[~up].mean())
            return [(0, number, 0, 0, value)], value * up
    return [], np.zeros(votes.group.order)
