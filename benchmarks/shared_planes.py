"""Networks without one shared vector (24 of the 100 of Wu et al. 2025, unexplained there): what do they compute?

The hypothesis under test, ours: the vectors of a circuit's neurons lie in one plane, and the neurons of every pair of
points add up to one table, so that the sum depends on x^-1 z y^-1 alone although no two neurons need agree. It was
formed on the networks of the first 20 seeds, before the others were trained; the targets are about the others. It
predicts, with no number fitted to it:

- one turn of all vectors of a circuit, to any other plane, changes no answer;
- turns of their own, and vectors permuted at random among the neurons, make the sum depend on more than x^-1 z y^-1;
- neurons taken away change the logits as the vectors in the plane say, and not as one shared vector says.

Baselines: one shared vector; several complete rho-sets; neurons on other orbits; equivariance under a pair of subgroups
alone. Needs the S5 networks that `benchmarks/networks.py` trains. Networks with one shared vector are the control.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.finite_groups import RealIrrep, all_subgroups, named_group, real_irreps
from aitia.group_networks import (
    Circuit,
    GroupNetwork,
    Interpretation,
    every_logit,
    interpret,
    load_network,
    restricted,
    summarise,
)
from aitia.group_networks.figures import shared_plane
from aitia.group_networks.measures import equivariance, explained_share, spread
from aitia.group_networks.shared_space import plane_symmetry, turned
from harness import WORK, Target, at_least, at_most, report

CONTROLS = 10
"""Networks with one shared vector that are put through the same."""
DRAWS = 3
PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
DRAWN = {
    0: "one shared vector",
    3: "a shared plane, five points",
    7: "a shared plane, ten points",
}
"""Networks whose planes are drawn: seed -> title."""
FORMED_ON = 20
"""The hypothesis was formed on the networks below this seed."""


def random_turns(generator: np.random.Generator, count: int, dimension: int) -> np.ndarray:
    """[count, d, d] random orthogonal matrices."""
    return np.linalg.qr(generator.standard_normal((count, dimension, dimension)))[0]


def figures(network: GroupNetwork) -> tuple[float, float]:
    """Accuracy and bi-equivariance."""
    return network.accuracy, equivariance(network).both


def dealt_anew(network: GroupNetwork, circuit: Circuit, generator: np.random.Generator) -> GroupNetwork:
    """The network with the vectors of a circuit's neurons, each with its size, shuffled among them."""
    order = generator.permutation(len(circuit.neurons))
    other = replace(
        circuit, left_tables=circuit.left_tables[order], right_tables=circuit.right_tables[order]
    ).weights()
    left, right = network.left.astype(np.float64), network.right.astype(np.float64)
    left[:, circuit.neurons], right[:, circuit.neurons] = other[:2]
    return replace(network, left=left, right=right)


def put_to_the_test(found: Interpretation, circuit: Circuit, irrep: RealIrrep, seed: int) -> dict[str, Any]:
    """Accuracy and bi-equivariance after each change of the vectors: medians over a few draws."""
    generator, network = np.random.default_rng(seed), found.network
    count, dimension = len(circuit.neurons), irrep.dimension
    weights = found.weights[circuit.neurons]
    one = restricted(circuit, 1, weights).weights()
    left, right = network.left.astype(np.float64), network.right.astype(np.float64)
    left[:, circuit.neurons], right[:, circuit.neurons] = one[:2]
    changed = {
        "one_turn": [
            turned(network, circuit, irrep, random_turns(generator, 1, dimension)[0]) for _ in range(DRAWS)
        ],
        "own_turns": [
            turned(network, circuit, irrep, random_turns(generator, count, dimension)) for _ in range(DRAWS)
        ],
        "dealt_anew": [dealt_anew(network, circuit, generator) for _ in range(DRAWS)],
        "one_vector": [replace(network, left=left, right=right)],
    }
    row: dict[str, Any] = {}
    for name, networks in changed.items():
        found_figures = np.median([figures(each) for each in networks], axis=0)
        row[f"{name}_accuracy"], row[f"{name}_equivariance"] = (float(value) for value in found_figures)
    return row


def hypothesis_networks(found: Interpretation) -> dict[str, GroupNetwork]:
    """What the network would be by each hypothesis of its neurons."""

    def of_dimension(dimension: int) -> GroupNetwork:
        circuits = [
            restricted(circuit, dimension, found.weights[circuit.neurons]) for circuit in found.circuits
        ]
        return replace(found, circuits=circuits).coset_network

    return {"vector": of_dimension(1), "plane": of_dimension(2), "own": found.coset_network}


def without(network: GroupNetwork, neurons: np.ndarray) -> GroupNetwork:
    """The network without some neurons."""
    unembed = network.unembed.astype(np.float64)
    unembed[neurons] = 0
    return replace(network, unembed=unembed)


def hypotheses(found: Interpretation, circuit: Circuit, seed: int) -> dict[str, Any]:
    """What each hypothesis explains of the logits, and of their change where a fifth of the neurons is taken away."""
    network, generator = found.network, np.random.default_rng(seed)
    logits = every_logit(network)
    gone = generator.permutation(circuit.neurons)[: len(circuit.neurons) // 5]
    ablated = without(network, gone)
    change = every_logit(ablated) - logits
    row: dict[str, Any] = {"ablated_accuracy": ablated.accuracy}
    for name, ideal in hypothesis_networks(found).items():
        predicted = every_logit(ideal)
        row[f"{name}_explains"] = explained_share(logits, predicted)
        row[f"{name}_accuracy"] = ideal.accuracy
        after = without(ideal, gone)
        row[f"{name}_explains_ablation"] = explained_share(change, every_logit(after) - predicted)
        row[f"{name}_ablated_accuracy"] = after.accuracy
    row["sum_explains"] = explained_share(logits, spread(network.group, found.ideal_logits))
    return row


def subgroup_pairs(network: GroupNetwork) -> dict[str, Any]:
    """Is what is left after the bi-equivariant part unchanged by a pair of subgroups H x K of G x G?

    `largest` is its largest correlation, in size, with itself moved from (x, y, z) to (gx, yk, gzk), over all (g, k)
    but the identity; `pair` the largest share that all of H x K leaves unchanged, over all pairs but the trivial.
    Any function of x in the irrep 4a has correlation 1/2 with itself moved by a transposition, and so 3/4 unchanged.
    """
    group, n = network.group, network.group.order
    table = group.table
    logits = every_logit(network)
    logits -= logits.mean(axis=(0, 1))
    x, v, y = np.ogrid[:n, :n, :n]
    rest = logits - spread(group, logits[x, y, table[table[x, v], y]].mean(axis=(0, 2)))
    rest = (rest / np.linalg.norm(rest)).astype(np.float32)
    correlation = np.zeros((n, n))
    y, z = np.ogrid[:n, :n]
    for first in range(n):
        moved_left = np.array([rest[table[g, first]][y, table[g, z]].ravel() for g in range(n)])
        moved_right = np.array(
            [rest[first][table[y, group.inverses[k]], table[z, group.inverses[k]]].ravel() for k in range(n)]
        )
        correlation += moved_left @ moved_right.T
    inside = np.zeros((len(subgroups := all_subgroups(group)), n))
    for number, members in enumerate(subgroups):
        inside[number, members] = 1 / len(members)
    shares = inside @ correlation @ inside.T
    sizes = np.array([len(members) for members in subgroups])
    shares[np.multiply.outer(sizes, sizes) == 1] = 0
    first, second = np.unravel_index(shares.argmax(), shares.shape)
    correlation[group.identity, group.identity] = 0
    return {
        "largest": float(np.abs(correlation).max()),
        "pair": float(shares.max()),
        "pair_orders": [int(sizes[first]), int(sizes[second])],
    }


def examine(path: Path, irreps: list[RealIrrep]) -> tuple[dict[str, Any], Interpretation, Circuit]:
    """What the heaviest circuit on more than two points looks like."""
    found = interpret(load_network(path), irreps=irreps)
    summary = summarise(found)
    number = next(k for k, each in enumerate(found.circuits) if each.left_set.size > 2)
    circuit, each = found.circuits[number], summary.circuits[number]
    row = {
        "seed": found.network.seed,
        "verdict": summary.verdict,
        "accuracy": summary.accuracy,
        "bi_equivariance": summary.bi_equivariance,
        "left_equivariance": summary.left_equivariance,
        "right_equivariance": summary.right_equivariance,
        # f(x, y, w) with w = x^-1 z y^-1, less what x and y do to it together: two one-sided functions, added.
        "one_sided": summary.left_equivariance + summary.right_equivariance - summary.bi_equivariance,
        "irrep": each.irrep,
        "points": each.left_points,
        "neurons": each.neurons,
        "weight": each.weight,
        "constancy": each.constancy,
        "planarity": each.planarity,
        "dimension": each.shared_dimension,
        "uniformity": each.uniformity,
        "left_structure": each.left_structure,
        "most_filled": max(each.filled),
    }
    return row, found, circuit


def gap_variation(circuit: Circuit) -> float:
    """How unevenly the points lie along one shared vector: the coefficient of variation of the gaps; 0 if evenly."""
    gaps = np.diff(np.sort(circuit.left_tables[0]))
    return float(gaps.std() / gaps.mean())


def kind(row: dict[str, Any]) -> str:
    """One vector (constancy 0.999 and a complete rho-set), several, or something mixed: another circuit is as heavy."""
    if row["weight"] < 0.7:
        return "mixed"
    return "vector" if row["constancy"] > 0.999 else "several"


def kinds(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each kind of network, and irrep of its heaviest circuit, how many there are, and medians."""
    found = []
    for key in sorted({(row["kind"], row["irrep"]) for row in rows}):
        members = [row for row in rows if (row["kind"], row["irrep"]) == key]
        fields = [name for row in members for name, value in row.items() if isinstance(value, float)]
        measured = {
            name: statistics.median(row[name] for row in members if name in row)
            for name in dict.fromkeys(fields)
        }
        found.append({"kind": key[0], "irrep": key[1], "networks": len(members)} | measured)
    return found


def medians(rows: list[dict[str, Any]], names: list[str]) -> dict[str, float]:
    return {
        name: statistics.median(row[name] for row in rows)
        for name in names
        if rows and all(name in row for row in rows)
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="the first dozen networks, written apart")
    options = parser.parse_args()
    paths = sorted((WORK / "networks" / "S5").glob("seed-*.network.safetensors"))
    if not paths:
        raise SystemExit(f"no networks in {WORK / 'networks' / 'S5'}: run benchmarks/networks.py first")
    group = named_group("S5")
    irreps = real_irreps(group)
    by_name = {irrep.name: irrep for irrep in irreps}
    rows, examples, controls = [], [], 0
    for path in paths[:12] if options.quick else paths:
        row, found, circuit = examine(path, irreps)
        row["kind"] = kind(row)
        if row["kind"] == "vector":
            row["gap_variation"] = gap_variation(circuit)
        if row["kind"] == "several" or (row["kind"] == "vector" and controls < CONTROLS):
            controls += row["kind"] == "vector"
            row |= put_to_the_test(found, circuit, by_name[circuit.irrep], row["seed"])
            row |= hypotheses(found, circuit, row["seed"])
            if row["kind"] == "several":
                row["plane_symmetry"] = plane_symmetry(circuit, found.weights[circuit.neurons])
                row["subgroups"] = subgroup_pairs(found.network)
        if row["seed"] in DRAWN:
            examples.append((DRAWN[row["seed"]], found, circuit))
        rows.append(row)
    report("shared_planes", kinds(rows) + rows, targets(rows), quick=options.quick)
    if not options.quick:
        print(f"written: {draw(examples)}")


def draw(examples: list[tuple[str, Interpretation, Circuit]]) -> Path:
    """The planes of a few networks side by side, as a still picture for the documentation."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    path = PICTURES / "shared_planes.svg"
    with rc_context({"svg.fonttype": "path", "svg.hashsalt": "aitia", "font.family": "DejaVu Sans"}):
        picture = Figure(figsize=(4 * len(examples), 4.2), layout="constrained")
        for number, (title, found, circuit) in enumerate(examples, start=1):
            axes = picture.add_subplot(1, len(examples), number)
            lines, points = shared_plane(circuit, found.weights[circuit.neurons])["data"]
            x, y = (np.array(lines[name], dtype=float) for name in "xy")
            axes.plot(x, y, color=lines["line"]["color"], linewidth=0.8, alpha=0.5)
            axes.scatter(points["x"], points["y"], color=points["marker"]["color"], zorder=3)
            axes.set_title(title, fontsize=11)
            axes.set_aspect("equal")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.spines[:].set_visible(False)
        path.parent.mkdir(exist_ok=True)
        picture.savefig(path, metadata={"Date": None, "Title": "What the neurons of a circuit share"})
    return path


def targets(rows: list[dict[str, Any]]) -> list[Target]:
    """What was predicted of the networks with several shared vectors, and what the control shows; medians."""
    new = [row for row in rows if row["seed"] >= FORMED_ON] or rows
    several = [row for row in new if row["kind"] == "several"]
    tested = [row for row in rows if row["kind"] == "vector" and "one_turn_accuracy" in row]
    found: list[Target] = []
    if several:
        middle = medians(several, [name for name in several[0] if isinstance(several[0][name], float)])
        in_a_plane = statistics.mean(row["planarity"] > 0.98 for row in several)
        pair = max(row["subgroups"]["pair"] for row in several)
        found += [
            at_least("several: share of networks whose vectors lie in a plane", 0.9, in_a_plane),
            at_least("several: right after one turn for all", 0.99, middle["one_turn_accuracy"]),
            at_least("several: bi-equivariance after one turn for all", 0.9, middle["one_turn_equivariance"]),
            at_most("several: bi-equivariance after turns of their own", 0.7, middle["own_turns_equivariance"]),
            at_most("several: bi-equivariance with vectors permuted at random", 0.7, middle["dealt_anew_equivariance"]),
            at_least("several: logits that planes explain", 0.95, middle["plane_explains"]),
            at_most("several: logits that single vectors explain", 0.9, middle["vector_explains"]),
            at_least("several: change by ablation that planes explain", 0.95, middle["plane_explains_ablation"]),
            at_most("several: the same, single vectors", 0.9, middle["vector_explains_ablation"]),
            at_most("several: most of the rest that a pair of subgroups leaves unchanged", 0.75, pair),
        ]  # fmt: skip
    if mixed := [row for row in rows if row["kind"] == "mixed"]:
        middle = medians(mixed, ["one_sided"])
        found += [
            at_least("mixed: logits that are a sum of two one-sided functions", 0.9, middle["one_sided"]),
        ]
    if tested:
        middle = medians(tested, ["one_turn_accuracy", "own_turns_equivariance"])
        found += [
            at_least("control: right after one turn for all", 0.99, middle["one_turn_accuracy"]),
            at_most("control: bi-equivariance after turns of their own", 0.7, middle["own_turns_equivariance"]),
        ]  # fmt: skip
    return found


if __name__ == "__main__":
    main()
