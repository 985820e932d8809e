"""Universal principles: laws found on some networks and tried, unchanged, on others; and explanations within a budget.

A law is a measure of structure with a least value, which is set on half of the S5 networks (what nine in ten of them
reach) and never changed: on other seeds, groups and widths it either holds or does not. Beside it stands what random
weights reach. Explanatory optimism, after Ayonrinde and Jaburi (2025), is read as a share: of how many networks is
there a hypothesis within so many bits that gives the answers, or the logits?
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aitia.adapters import group_network_explanations
from aitia.files import write_json
from aitia.finite_groups import Group, named_group
from aitia.group_networks import GroupNetwork, every_logit, interpret, load_network, summarise
from aitia.group_networks.measures import explained_share
from aitia.statistics import clopper_pearson, wilson

REAL_BITS = 16
FOUND_ON = "S5"
LAWS = {
    "each neuron lives in one irreducible representation": "irrep_sparsity",
    "neurons stand on points of G-sets": "hidden_explains",
    "and so do their votes": "coset_explains",
    "neurons are silent at the right answer": "silence",
    "rho-sets are complete and share one vector": "rho_set_weight",
    "logits depend on x^-1 z y^-1 alone": "bi_equivariance",
}
"""Law -> the measure that says how far it holds, from 0 to 1."""
ANSWERS, LOGITS = 0.999, 0.95
"""Share of the answers, and of the logits' variance, that a faithful hypothesis gives."""
BUDGETS = (0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
"""Budgets, as shares of what the network's own numbers take."""


def examined(paths: Mapping[str, Sequence[Path]], folder: Path) -> list[dict[str, Any]]:
    """Each network's measures, and its hypotheses' bits and faithfulness; those examined before are read again."""
    found = []
    for family, files in paths.items():
        for path in files:
            kept = folder / f"{family}-{path.name.split('.')[0]}.json".replace("/", "-")
            if not kept.exists():
                write_json(kept, {"family": family, "file": path.name, **examine(load_network(path))})
                print(f"{family} {path.name}", flush=True)
            found.append(json.loads(kept.read_text(encoding="utf-8")))
    return found


def examine(network: GroupNetwork) -> dict[str, Any]:
    """Measures of one network, and of the hypotheses of it."""
    opened = interpret(network)
    summary = summarise(opened)
    numbers = sum(np.size(getattr(network, name)) for name in ("left", "right", "unembed", "bias"))
    measures = {name: getattr(summary, name) for name in LAWS.values() if name != "silence"}
    weights = np.array([each.weight for each in summary.circuits])
    silent = np.array([each.silence for each in summary.circuits])
    measures["silence"] = float(weights @ silent / weights.sum()) if len(weights) else 0.0
    logits = every_logit(network)
    hypotheses = {}
    for hypothesis in group_network_explanations(opened) if opened.circuits else ():
        predicted = hypothesis.predict(hypothesis.phenomenon.inputs).marginals
        shape = (network.group.order,) * 3
        hypotheses[hypothesis.name] = {
            "bits": sum(each.length for each in hypothesis.premises.values()),
            "answers": float((predicted.argmax(axis=1) == hypothesis.phenomenon.observed).mean()),
            "logits": explained_share(logits, np.log(np.maximum(predicted, 1e-300)).reshape(shape)),
        }
    return {
        "group": network.group.name,
        "order": network.group.order,
        "width": network.width,
        "accuracy": summary.accuracy,
        "numbers": int(numbers),
        "measures": measures,
        "hypotheses": hypotheses,
    }


def random_measures(group: Group, width: int, count: int = 3) -> dict[str, float]:
    """Mean measures of networks of random weights."""
    n, found = group.order, []
    for seed in range(count):
        generator = np.random.default_rng(seed)
        left, right = generator.standard_normal((2, n, width))
        network = GroupNetwork(
            group=group,
            left=left,
            right=right,
            unembed=generator.standard_normal((width, n)) / width**0.5,
            bias=np.zeros(n),
        )
        found.append(examine(network)["measures"])
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def law_rows(networks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Law by law and family by family: on how many networks it holds as it was found, and how far."""
    first = [each for each in networks if each["family"] == FOUND_ON]
    found_on, rest = first[::2], first[1::2]
    families = {f"{FOUND_ON}, other seeds": rest}
    families |= {
        name: [each for each in networks if each["family"] == name]
        for name in dict.fromkeys(each["family"] for each in networks)
        if name != FOUND_ON
    }
    random = {
        name: random_measures(named_group(group[0]["group"]), group[0]["width"])
        for name, group in families.items()
        if group
    }
    rows = []
    for law, measure in LAWS.items():
        least = float(np.quantile([each["measures"][measure] for each in found_on], 0.1))
        for name, group in families.items():
            if not group:
                continue
            values = np.array([each["measures"][measure] for each in group])
            held = int((values >= least - 1e-12).sum())
            interval = clopper_pearson(held, len(values))
            rows.append(
                {
                    "law": law,
                    "found on": f"{len(found_on)} {FOUND_ON} networks",
                    "least": least,
                    "tried on": name,
                    "networks": len(values),
                    "held": held / len(values),
                    "low": interval.low,
                    "high": interval.high,
                    "median": float(np.median(values)),
                    "random weights": random[name][measure],
                }
            )
    return rows


def optimism_rows(networks: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Family by family and budget by budget: share of the networks with a faithful hypothesis that is short enough."""
    rows = []
    for family in dict.fromkeys(each["family"] for each in networks):
        group = [each for each in networks if each["family"] == family]
        for kind, wanted in (("answers", ANSWERS), ("logits", LOGITS)):
            shortest = np.array([_shortest(each, kind, wanted) for each in group])
            sizes = np.array([each["numbers"] * REAL_BITS for each in group], dtype=float)
            for budget in BUDGETS:
                within = int((shortest <= budget * sizes).sum())
                interval = wilson(within, len(group))
                rows.append(
                    {
                        "family": family,
                        "order": group[0]["order"],
                        "width": group[0]["width"],
                        "networks": len(group),
                        "faithful to": kind,
                        "budget": budget,
                        "bits": budget * float(np.mean(sizes)),
                        "explained": within / len(group),
                        "low": interval.low,
                        "high": interval.high,
                    }
                )
    return rows


def _shortest(network: dict[str, Any], kind: str, wanted: float) -> float:
    """Bits of the shortest hypothesis that is faithful; infinite if there is none but the network itself."""
    enough = [each["bits"] for each in network["hypotheses"].values() if each[kind] >= wanted]
    return min(enough, default=np.inf)
