"""Networks on several groups: trained, opened, and how many are explained. Stopped and run again, it goes on.

The S5 networks follow the recipe of Wu et al. 2025 (arXiv 2410.07476), whose figures stand in the targets. The
others differ from it where the recipe does not learn the group; RECIPES says how. Pages with pictures of one
network for each group, and one of all S5 networks together, are written to `.work/networks/pages`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np

from aitia.adapters import group_network_explanations
from aitia.explanations import Settings, evaluate
from aitia.files import write_json, write_text
from aitia.finite_groups import Group, check_irrep, named_group, real_irreps
from aitia.group_networks import (
    GroupNetwork,
    NetworkSummary,
    TrainingSettings,
    interpret,
    load_network,
    summarise,
    train_networks,
    write_page,
)
from aitia.group_networks.interventions import causal_checks
from aitia.group_networks.measures import deviation
from aitia.group_networks.training import network_path
from harness import RESULTS, WORK, Target, at_least, at_most, report


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How networks on a group are trained: how many, the group, the settings, and why they differ from the paper's."""

    group: str
    count: int
    settings: TrainingSettings
    why: str = ""


RECIPES = {
    "S5": Recipe(group="S5", count=100, settings=TrainingSettings()),
    "A5": Recipe(group="A5", count=4, settings=TrainingSettings(weight_decay=1e-4)),
    "S4": Recipe(
        group="S4",
        count=4,
        settings=TrainingSettings(train_fraction=0.6),
        why="230 inputs are too few to generalise",
    ),
    "D5": Recipe(
        group="D5",
        count=4,
        settings=TrainingSettings(train_fraction=0.8, weight_decay=1e-3),
        why="100 inputs in all",
    ),
    "D5-all": Recipe(
        group="D5",
        count=4,
        settings=TrainingSettings(train_fraction=1.0, weight_decay=1e-3),
        why="inputs left out leave their mark on the logits",
    ),
    "Z59": Recipe(group="Z59", count=4, settings=TrainingSettings(train_fraction=0.6)),
    "Q8": Recipe(group="Q8", count=4, settings=TrainingSettings(train_fraction=1.0), why="64 inputs in all"),
    "PSL2-7": Recipe(
        group="PSL(2,7)",
        count=2,
        settings=TrainingSettings(train_fraction=0.6, width=256),
        why="the smallest rho-sets have 7 and 8 points",
    ),
}
PAPER = {"explained": 0.62, "deviation": 0.0325, "idealised": 1.6e-7, "random": 15.5}
JUDGED = {"S5": (0, 3), "S4": (0,), "Z59": (0,), "Q8": (0,)}
"""Whose hypotheses are judged: the seeds. S5 seed 3 has no shared vector."""
SHOWN = {"S5": (0, 3, 7)}
"""Seeds that a page is written of; the first one of other groups."""
LARGE = ("S6", "PSL(2,11)", "PSL(2,13)", "Z1000", "D500", "SL(2,7)xZ3")
VIRTUES = (
    "fidelity",
    "probing-agreement",
    "interchange-intervention-accuracy",
    "causal-by-writing",
    "skill",
    "compression",
    "description-length",
    "excess-scope",
    "fruitfulness",
    "falsifiability",
    "hard-to-vary",
    "load-bearing",
)


def train(recipe: Recipe, seeds: list[int], folder: Path) -> tuple[list[Path], dict[str, float]]:
    """The networks' files, and the processor seconds that training each took, where that is known."""
    clock, group = folder / "processor_seconds.json", named_group(recipe.group)
    spent = json.loads(clock.read_text()) if clock.exists() else {}
    for start in range(0, len(seeds), 4):
        block = [seed for seed in seeds[start : start + 4] if not network_path(folder, seed).exists()]
        if block:
            begun = process_time()
            train_networks(group, block, folder, recipe.settings)
            spent |= {str(seed): (process_time() - begun) / len(block) for seed in block}
            write_json(clock, spent)
    return train_networks(group, seeds, folder, recipe.settings), spent


def random_deviation(group: Group, width: int, count: int = 10) -> float:
    """Median deviation of networks with random weights."""
    generator, n = np.random.default_rng(0), group.order
    found = []
    for _ in range(count):
        network = GroupNetwork(
            group=group,
            left=generator.standard_normal((n, width)),
            right=generator.standard_normal((n, width)),
            unembed=generator.standard_normal((width, n)) / width**0.5,
            bias=np.zeros(n),
        )
        found.append(deviation(network))
    return statistics.median(found)


def examine(paths: list[Path]) -> tuple[list[NetworkSummary], list[float], list[dict[str, Any]]]:
    """Each network's figures, the deviation of its rho-sets taken together, and a short row."""
    summaries, ideal, rows = [], [], []
    for path in paths:
        network = load_network(path)
        found = interpret(network)
        summary = summarise(found)
        summaries.append(summary)
        if found.rho_sets:
            ideal.append(ideal_deviation(found.rho_sets))
        rows.append(
            {
                "seed": network.seed,
                "verdict": summary.verdict,
                "circuits": [
                    f"{c.irrep}:{c.left_points}x{c.right_points}:{c.neurons}:{c.constancy:.3f}:{c.planarity:.3f}"
                    f":{c.uniformity:.3f}"
                    for c in summary.circuits
                ],
            }
            | {
                name: getattr(summary, name)
                for name in (
                    "accuracy",
                    "bi_equivariance",
                    "deviation",
                    "hidden_explains",
                    "coset_explains",
                    "coset_accuracy",
                    "ideal_explains",
                    "ideal_margin",
                    "rho_set_weight",
                    "plane_weight",
                    "unexplained_weight",
                )
            }
            | {
                check.name: [check.accuracy, check.predicted, check.agreement]
                for check in causal_checks(network, found.coset_network)
            }
        )
    return summaries, ideal, rows


def ideal_deviation(rho_sets: list[Any]) -> float:
    """Deviation over all inputs of the network made of the heaviest rho-sets, up to 2,000 neurons, by brute force."""
    parts = []
    for each in rho_sets:
        if sum(part.width for part in parts) + each.left_set.size * each.right_set.size > 2_000:
            break
        parts.append(each.network())
    if not parts:
        return 0.0
    joined = GroupNetwork(
        group=parts[0].group,
        left=np.concatenate([part.left for part in parts], axis=1),
        right=np.concatenate([part.right for part in parts], axis=1),
        unembed=np.concatenate([part.unembed for part in parts]),
        bias=np.zeros(parts[0].group.order),
    )
    return deviation(joined)


def flagged(summary: NetworkSummary) -> bool:
    """Whether the flags of Wu et al. would call a network unexplained (our reading of their code).

    Raised where the shared vector of a circuit is not constant, or where between a fifth and four fifths of a rho-set's
    pairs are missing.
    """
    return not summary.circuits or any(
        each.constancy < 0.999 or (each.left_points > 2 and 0.2 < max(each.filled) < 0.8)
        for each in summary.circuits
        if each.weight >= 0.01
    )


def explained_at(summary: NetworkSummary, least: float) -> bool:
    """Whether any hypothesis explains that share of the logits, and is right."""
    by_neurons = summary.coset_explains >= least and summary.coset_accuracy >= summary.accuracy > 0
    return by_neurons or (summary.ideal_explains >= least and summary.ideal_margin > 0)


def group_row(
    name: str, recipe: Recipe, summaries: list[NetworkSummary], ideal: list[float], spent: dict[str, float]
) -> dict[str, Any]:
    def share(field: str) -> float:
        return statistics.mean(float(getattr(each, field)) for each in summaries)

    def median(field: str) -> float:
        return statistics.median(getattr(each, field) for each in summaries)

    strict = [each.explained_by_rho_sets or each.explained_by_shared_spaces for each in summaries]
    return {
        "group": name,
        "networks": len(summaries),
        "train_fraction": recipe.settings.train_fraction,
        "fully_accurate": statistics.mean(each.accuracy == 1 for each in summaries),
        "mean_accuracy": share("accuracy"),
        "smallest_accuracy": min(each.accuracy for each in summaries),
        "not_flagged_as_in_paper": statistics.mean(not flagged(each) for each in summaries),
        "by_complete_rho_sets": share("explained_by_rho_sets"),
        "by_rho_sets_or_planes": statistics.mean(strict),
        "by_neurons_on_g_sets": share("explained_by_cosets"),
        "by_sum_of_rho_sets": share("explained_by_projection"),
        "explained": share("explained"),
        "explained_at_0.9": statistics.mean(explained_at(each, 0.9) for each in summaries),
        "explained_at_0.99": statistics.mean(explained_at(each, 0.99) for each in summaries),
        "verdicts": dict(Counter(each.verdict.split(";")[0].split(",")[0] for each in summaries)),
        "hidden_explains": median("hidden_explains"),
        "coset_explains": median("coset_explains"),
        "ideal_explains": median("ideal_explains"),
        "bi_equivariance": median("bi_equivariance"),
        "deviation": median("deviation"),
        "ideal_deviation": statistics.median(ideal) if ideal else None,
        "irrep_sparsity": median("irrep_sparsity"),
        "numbers_share": median("numbers_share"),
        "processor_seconds_a_network": statistics.mean(spent.values()) if spent else None,
    }


def irrep_rows() -> list[dict[str, Any]]:
    """Processor seconds to split the regular representation of groups of about a thousand elements."""
    rows = []
    for name in LARGE:
        begun, group = process_time(), named_group(name)
        irreps = real_irreps(group)
        spent = process_time() - begun
        error = max(check_irrep(each) for each in irreps)
        rows.append(
            {
                "irreps_of": name,
                "order": group.order,
                "irreps": len(irreps),
                "processor_seconds": spent,
                "error": error,
            }
        )
    return rows


def judged(name: str, paths: list[Path]) -> dict[str, Any]:
    """The scorecards of a few networks: network -> hypothesis -> virtue -> value."""
    settings = Settings(interventions=64, controls=2, mutants=4, variants=8, resamples=100)
    cards: dict[str, Any] = {}
    for seed in JUDGED.get(name, ()):
        if seed >= len(paths):
            continue
        ours, *baselines = group_network_explanations(interpret(load_network(paths[seed])))
        card = evaluate(ours, baselines=baselines, settings=settings)
        found: dict[str, Any] = {}
        for hypothesis, each in zip((ours, *baselines), (card, *card.baselines), strict=True):
            found[hypothesis.name] = {virtue: each[virtue].value for virtue in VIRTUES}
            registered = each["fruitfulness"].details or {}
            found[hypothesis.name]["confirmed"] = registered.get("confirmed_share")
            causal = (each["interchange-intervention-accuracy"].details or {}).get("answers_alone")
            found[hypothesis.name]["interchange-intervention-accuracy, answers alone"] = (
                statistics.mean(causal.values()) if causal else None
            )
            found[hypothesis.name]["interchange-intervention-accuracy, floor"] = each[
                "interchange-intervention-accuracy"
            ].floor
            found[hypothesis.name]["verdict"] = str(each.verdict)
        cards[f"{name} seed {seed}"] = found
    return cards


def overview(rows: list[dict[str, Any]], folder: Path) -> None:
    """All S5 networks in one picture: how equivariant each is, and how much of it is explained."""
    from plotly.graph_objects import Figure, Scatter

    figure = Figure(
        [
            Scatter(
                x=[row["bi_equivariance"] for row in rows],
                y=[row[field] for row in rows],
                text=[f"seed {row['seed']}: {row['verdict']}" for row in rows],
                mode="markers",
                name=label,
            )
            for field, label in (
                ("hidden_explains", "hidden layer of the circuits' form"),
                ("coset_explains", "unembedding too"),
                ("ideal_explains", "sum of rho-sets"),
            )
        ]
    )
    figure.update_layout(
        xaxis_title="share of the logits' variance that is bi-equivariant",
        yaxis_title="share explained",
        legend={"orientation": "h"},
    )
    write_text(folder / "S5-overview.html", figure.to_html(include_plotlyjs=True))


def s5_targets(row: dict[str, Any], random: float) -> list[Target]:
    """The figures of the S5 networks beside the paper's."""
    return [
        at_least("share of S5 networks right on all inputs (paper: about 1)", 0.95, row["fully_accurate"]),
        at_least("share not flagged, by the paper's criterion (0.62)", 0.5, row["not_flagged_as_in_paper"]),
        at_least("share explained by rho-sets or shared planes", PAPER["explained"], row["by_rho_sets_or_planes"]),
        at_least(f"share of S5 networks explained (paper: {PAPER['explained']})", 0.8, row["explained"]),
        at_most(f"deviation as trained (paper: {PAPER['deviation']})", 0.05, row["deviation"]),
        at_most(f"deviation idealised (paper: {PAPER['idealised']})", 1e-7, row["ideal_deviation"]),
        at_least(f"deviation at random (paper: {PAPER['random']})", 1, random),
        at_most("processor minutes for 100 S5 networks", 90, 100 * row["processor_seconds_a_network"] / 60),
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two networks a group, written apart")
    parser.add_argument(
        "--networks", type=int, default=0, help="at most so many networks a group; implies --quick"
    )
    parser.add_argument("--group", action="append", help="only this group; repeatable; implies --quick")
    options = parser.parse_args()
    quick = options.quick or bool(options.networks) or bool(options.group)
    limit = options.networks or (2 if options.quick else 10**6)
    pages = WORK / "networks" / "pages"
    rows, details, cards, targets = [], {}, {}, []
    for name, recipe in RECIPES.items():
        if options.group and name not in options.group:
            continue
        folder = WORK / "networks" / name
        paths, spent = train(recipe, list(range(min(recipe.count, limit))), folder)
        summaries, ideal, details[name] = examine(paths)
        rows.append(group_row(name, recipe, summaries, ideal, spent))
        for seed in SHOWN.get(name, (0,)):
            if seed < len(paths):
                curve = json.loads((folder / f"seed-{seed:04d}.curve.json").read_text())
                title = f"{recipe.group}, seed {seed}"
                write_page(
                    interpret(load_network(paths[seed])),
                    pages / f"{name}-{seed}.html",
                    curve=curve,
                    title=title,
                )
        cards |= judged(name, paths)
        if name == "S5":
            overview(details[name], pages)
            random = random_deviation(named_group(name), recipe.settings.width)
            rows[-1]["random_deviation"] = random
            targets = s5_targets(rows[-1], random)
    large = irrep_rows()
    slowest = max(row["processor_seconds"] for row in large)
    targets.append(at_most("processor seconds for all irreps of about 1,000 elements", 60, slowest))
    report("networks", rows + large, targets, quick=quick)
    path = RESULTS / f"networks.details{'.quick' if quick else ''}.json"
    write_json(path, {"networks": details, "scorecards": cards})
    print(f"written: {path}, pages in {pages}")


if __name__ == "__main__":
    main()
