"""Certificates for the networks of `networks.py`: bound against cost. Stopped and run again, it goes on.

Every certified input is held against brute force. Costs are operations by the rule of `aitia.proofs.cost`; the clock is
reported for two large groups alone, checker and brute force in one run, both vectorised float64. No network was
trained for A6 and S6: theirs are planted (a complete rho-set on six points, and the sign) with noise as in trained
ones; the rows say so.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import statistics
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from networks import RECIPES, train

from aitia.files import digest, write_json
from aitia.finite_groups import Group, GSet, named_group, orbitals
from aitia.group_networks import GroupNetwork, RhoSet, interpret, load_network
from aitia.group_networks.training import network_path
from aitia.proofs import VERIFIERS, brute_force_cost, prove_accuracy, verify, weights_of
from harness import RESULTS, WORK, Target, at_least, at_most, median_ratio, report, time_rounds

PICTURES = Path(__file__).parent.parent / "docs" / "pictures"
ROOM = Path(__file__).parent.parent / "src" / "aitia" / "proofs"
PAPER = {"bound": 0.95, "share": 0.45, "mean": 0.51}
PLANTED = ("A6", "S6")
SLOPE = ("S4", "A5", "S5", "PSL(2,7)", "A6", "S6")


def _code(path: Path) -> str:
    """A module without comments and docstrings, which change no result."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            body[0] = ast.Pass()
    return ast.unparse(tree)


def version(verifier: str) -> str:
    """Digest of the code that a verifier runs: its module, and what that imports of this room.

    Results of other code are made again; what only searches for explanations does not count.
    """
    waiting, found = [VERIFIERS[verifier].verify.__module__], set()
    while waiting:
        name = waiting.pop()
        path = ROOM.joinpath(*name.split(".")[2:]).with_suffix(".py")
        if name.startswith("aitia.proofs.") and name not in found and path.exists():
            found.add(name)
            tree = ast.parse(path.read_text(encoding="utf-8"))
            waiting += [
                node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module
            ]
    return digest(sorted(_code(ROOM.joinpath(*name.split(".")[2:]).with_suffix(".py")) for name in found))


def prove_all(path: Path, cache: Path) -> dict[str, Any]:
    """Every verifier on one network: bound, cost, and certified inputs that brute force finds wrong."""
    network = load_network(path)
    return _cached(network, cache, {"seed": network.seed})


def _cached(network: GroupNetwork, cache: Path, facts: dict[str, Any]) -> dict[str, Any]:
    weights = weights_of(network)
    found = json.loads(cache.read_text()) if cache.exists() else {}
    if found.get("network") != weights.sha256:
        found = facts | {
            "network": weights.sha256,
            "order": weights.order,
            "width": weights.width,
            "verifiers": {},
        }
    left = [name for name in VERIFIERS if found["verifiers"].get(name, {}).get("version") != version(name)]
    if not left:
        return found
    interpretation = interpret(network)
    found["circuits"] = [
        f"{each.irrep}:{each.right_set.size}:{len(each.neurons)}" for each in interpretation.circuits
    ]
    brute = brute_force_cost(weights.order, weights.width)
    right = verify(
        weights, prove_accuracy(network, verifier="brute-force", interpretation=interpretation)
    ).certified
    for name in left:
        certificate = prove_accuracy(network, verifier=name, interpretation=interpretation)
        verdict = verify(weights, certificate)
        found["verifiers"][name] = {
            "version": version(name),
            "bound": verdict.bound,
            "cost_ratio": verdict.cost.total / brute,
            "cost": verdict.cost.total,
            "cross_entropy": verdict.cross_entropy,
            "steps": {step: count / brute for step, count in verdict.cost.steps.items()},
            "false": int((verdict.certified & ~right).sum()),
            "bytes": len(json.dumps(certificate.plain(), separators=(",", ":"))),
        }
    found["accuracy"] = float(right.mean())
    write_json(cache, found)
    return found


def planted(name: str, width: int = 128, seed: int = 0) -> GroupNetwork:
    """A network of the form that S5 mostly learns, on the points of a permutation group, with noise as if trained.

    Each pair of points has one neuron or two; the others are next to silent, as two thirds are in such S5 networks.
    """
    group, generator = named_group(name), np.random.default_rng(seed)
    points = GSet(
        group=group, permutations=np.array([[int(p) for p in each.split()] for each in group.labels])
    )
    parts = [_spread(_rho_set(points, "points").network(), 3 * points.size**2 // 2, generator)]
    if (sign := _sign(group)) is not None:
        parts.append(_spread(_rho_set(sign, "sign").network(), 6, generator))
    left, right, unembed = (np.concatenate([part[k] for part in parts], axis=1 - k // 2) for k in range(3))
    network = GroupNetwork(group=group, left=left, right=right, unembed=unembed, bias=np.zeros(group.order))
    unembed = unembed * (5.6 / np.median(network.margins))
    arrays = {}
    for key, values, share in (("left", left, 0.005), ("right", right, 0.005), ("unembed", unembed, 0.025)):
        noisy = values + share * values.std() * generator.standard_normal(values.shape)
        rest = list(values.shape)
        rest[key != "unembed"] = width - left.shape[1]
        silent = 0.005 * values.std() * generator.standard_normal(rest)
        arrays[key] = np.concatenate([noisy, silent], axis=int(key != "unembed")).astype(np.float32)
    # As in trained networks, the bias takes out what the noise adds on average.
    clean = replace(network, unembed=unembed)
    x, y = generator.integers(0, group.order, (2, 4_000))
    noisy = replace(network, **arrays)
    off = (noisy.hidden(x, y) @ noisy.unembed.astype(np.float64) - clean.hidden(x, y) @ unembed).mean(axis=0)
    return replace(noisy, bias=(off.mean() - off).astype(np.float32))


def _rho_set(points: GSet, name: str) -> RhoSet:
    q = points.size
    alpha = np.linspace(-1, 1, q)
    kappa = np.zeros(int(orbitals(points, points).max()) + 1)
    kappa[orbitals(points, points)] = 1 / q - np.eye(q)
    return RhoSet(
        irrep=name,
        left_set=points,
        right_set=points,
        alpha=alpha,
        gamma=-alpha,
        kappa=kappa,
        neurons=np.zeros(0, dtype=np.int64),
        coefficients=np.ones((q, q)),
    )


def _sign(group: Group) -> GSet | None:
    rows = np.array([[int(p) for p in each.split()] for each in group.labels])
    first, second = np.triu_indices(rows.shape[1], k=1)
    odd = (rows[:, first] > rows[:, second]).sum(axis=1) % 2
    return GSet(group=group, permutations=np.stack([odd, 1 - odd], axis=1)) if odd.any() else None


def _spread(
    part: GroupNetwork, count: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each neuron given to several that share its work, rescaled as relu allows, until there are so many."""
    copies = np.arange(max(count, part.width)) % part.width
    scales = np.exp(0.2 * generator.standard_normal(len(copies)))
    shares = np.bincount(copies)[copies]
    return (
        part.left[:, copies] * scales,
        part.right[:, copies] * scales,
        part.unembed[copies] / (scales * shares)[:, None],
    )


def rows_of(group: str, networks: list[dict[str, Any]], trained: bool) -> list[dict[str, Any]]:
    """One row a verifier."""
    rows = []
    for name in VERIFIERS:
        each = [network["verifiers"][name] for network in networks]
        entropies = [found["cross_entropy"] for found in each if found["cross_entropy"] is not None]
        rows.append(
            {
                "group": group,
                "order": networks[0]["order"],
                "trained": trained,
                "networks": len(networks),
                "verifier": name,
                "mean_bound": statistics.mean(found["bound"] for found in each),
                "share_at_95": statistics.mean(found["bound"] >= 0.95 for found in each),
                "median_cost": statistics.median(found["cost_ratio"] for found in each),
                "mean_cost": statistics.mean(found["cost_ratio"] for found in each),
                "worst_cost": max(found["cost_ratio"] for found in each),
                "cross_entropy": statistics.median(entropies) if entropies else None,
                "false": sum(found["false"] for found in each),
            }
        )
    return rows


def share_within(networks: Iterable[dict[str, Any]], verifiers: Iterable[str], limit: float) -> float:
    """Share of networks with a bound of 95 % at no more than a share of brute force's cost."""
    names = list(verifiers)
    return statistics.mean(
        any(
            network["verifiers"][name]["bound"] >= 0.95 and network["verifiers"][name]["cost_ratio"] <= limit
            for name in names
        )
        for network in networks
    )


def mean_within(networks: Iterable[dict[str, Any]], limit: float) -> float:
    """Mean of each network's highest bound at no more than a share of brute force's cost."""
    return statistics.mean(
        max(
            (found["bound"] for found in network["verifiers"].values() if found["cost_ratio"] <= limit),
            default=0.0,
        )
        for network in networks
    )


def targets_of(networks: list[dict[str, Any]]) -> list[Target]:
    names = list(VERIFIERS)
    return [
        at_least(
            f"share of S5 networks with bound >= 95 % at <= 30 % of brute force (paper: {PAPER['share']})",
            0.9,
            share_within(networks, names, 0.3),
        ),
        at_least(
            "share of S5 networks with bound >= 95 % at <= 5 % of brute force",
            0.7,
            share_within(networks, names, 0.05),
        ),
        at_least(
            f"mean bound of S5 networks at <= 30 % of brute force (paper: {PAPER['mean']})",
            0.95,
            mean_within(networks, 0.3),
        ),
    ]


def clock(networks: dict[str, GroupNetwork], rounds: int) -> tuple[list[dict[str, Any]], list[Target]]:
    """Seconds of the checker over seconds of brute force, in turn, in one run."""
    rows = []
    for name, network in networks.items():
        weights = weights_of(network)
        found = interpret(network)
        proofs = {
            each: prove_accuracy(network, verifier=each, interpretation=found)
            for each in ("brute-force", "cascade")
        }
        seconds = time_rounds(
            {each: partial(verify, weights, proof) for each, proof in proofs.items()}, rounds
        )
        rows.append(
            {
                "group": name,
                "clock": median_ratio(seconds, "cascade", "brute-force"),
                "seconds": min(seconds["cascade"]),
                "brute_seconds": min(seconds["brute-force"]),
                "bound": proofs["cascade"].bound,
            }
        )
    best = min(rows, key=lambda row: row["clock"])
    return rows, [
        at_most(f"checker's time over brute force's, both vectorised ({best['group']})", 0.3, best["clock"])
    ]


def slopes(costs: dict[str, list[tuple[int, int, float]]]) -> list[dict[str, Any]]:
    """The exponent with which operations per neuron grow with the order of the group, fitted over groups."""
    found = []
    for name, points in costs.items():
        orders, widths, totals = (np.array(column, dtype=float) for column in zip(*points, strict=True))
        found.append(
            {
                "verifier": name,
                "groups": len(points),
                "exponent": float(np.polyfit(np.log(orders), np.log(totals / widths), 1)[0]),
            }
        )
    return found


def picture(networks: list[dict[str, Any]], path: Path) -> None:
    """Bound against cost, every verifier on every network, and the line of no understanding."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 5))
    for number, name in enumerate(VERIFIERS):
        points = [network["verifiers"][name] for network in networks]
        axes.scatter(
            [point["cost_ratio"] for point in points],
            [point["bound"] for point in points],
            s=18,
            alpha=0.6,
            marker="osD^vP*Xh<"[number % 10],
            label=name,
        )
    ratios = np.logspace(-2.2, 0.3, 200)
    accuracy = statistics.mean(network["accuracy"] for network in networks)
    axes.plot(
        ratios, np.minimum(ratios, accuracy), color="black", linewidth=1, label="no understanding: min(r, s)"
    )
    axes.set(
        xscale="log", xlabel="operations, as a share of brute force's", ylabel="accuracy that is certified"
    )
    axes.set_title(f"{len(networks)} S5 networks")
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path, bbox_inches="tight", metadata={"Date": None})
    pyplot.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two networks a group, written apart")
    parser.add_argument("--group", action="append", help="only this group; repeatable; implies --quick")
    parser.add_argument("--networks", type=int, default=0, help="at most so many a group; implies --quick")
    parser.add_argument(
        "--no-training",
        action="store_true",
        help="the networks that are there, and no others; rows say how many",
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="networks at once")
    options = parser.parse_args()
    quick = options.quick or bool(options.group) or bool(options.networks)
    limit = options.networks or (2 if options.quick else 10**6)
    rows, details, targets, costs = [], {}, [], {}
    every: list[dict[str, Any]] = []
    for name, recipe in RECIPES.items():
        if options.group and name not in options.group:
            continue
        folder = WORK / "networks" / name
        seeds = list(range(min(recipe.count, limit)))
        if options.no_training:
            seeds = [seed for seed in seeds if network_path(folder, seed).exists()]
        if not seeds:
            continue
        paths, _ = train(recipe, seeds, folder)
        caches = [WORK / "proofs" / name / f"{path.name.split('.')[0]}.json" for path in paths]
        with ProcessPoolExecutor(options.jobs) as pool:
            networks = list(pool.map(prove_all, paths, caches))
        label = (
            name if name.startswith(recipe.group) else recipe.group
        )  # "D5-all" has D5's networks beside it
        rows += rows_of(label, networks, trained=True)
        details[label] = networks
        every += networks
        if name == "S5":
            targets += targets_of(networks)
            picture(networks, (WORK / "proofs" if quick else PICTURES) / "proofs_frontier.svg")
    large = {} if quick else {name: planted(name) for name in PLANTED}
    for name, network in large.items():
        details[name] = [_cached(network, WORK / "proofs" / f"{name}.json", {"seed": None})]
        rows += rows_of(name, details[name], trained=False)
    for name in ("brute-force", "cascade"):
        costs[name] = [
            (
                details[group][0]["order"],
                details[group][0]["width"],
                statistics.median(each["verifiers"][name]["cost"] for each in details[group]),
            )
            for group in SLOPE
            if group in details
        ]
    details["slopes"] = slopes(costs) if len(costs["cascade"]) > 2 else []
    details["clock"], met = clock(large, rounds=3) if large else ([], [])
    targets += met
    every += [network for name in large for network in details[name]]
    targets.append(
        at_most(
            "certified inputs that are wrong by brute force, all verifiers and networks",
            0,
            sum(found["false"] for network in every for found in network["verifiers"].values()),
        )
    )
    report("proofs", rows, targets, quick=quick)
    path = RESULTS / f"proofs.details{'.quick' if quick else ''}.json"
    write_json(path, details)
    print(f"written: {path}")


if __name__ == "__main__":
    main()
