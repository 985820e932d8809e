"""Do the virtues matter? Explanations ranked by each virtue on the fit split, and tried on what they never saw.

Baselines of one network differ in their method and in its settings. Two unseen tests: the answers on held-out inputs,
and interventions of a new kind there, on several variables at once. The regression is within networks: virtue and
success are standardised over a network's baselines, and the interval of the slope is a bootstrap over networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import rankdata

from aitia.adapters.group_networks import points_of_g_sets, product_phenomenon
from aitia.explanations import Explanation, Phenomenon, Settings, VirtueResult
from aitia.explanations.core.predictive import agreement
from aitia.explanations.metrics import (
    Evaluation,
    measure_bayesian,
    measure_deutschian,
    measure_faithfulness,
    measure_simplicity,
)
from aitia.files import write_json
from aitia.group_networks import GroupNetwork, interpret
from aitia.mechanisms import (
    circuit_explanation,
    cluster_explanation,
    dictionary_explanation,
    probe_explanation,
    record_site,
)

CHEAP = Settings(interventions=128, controls=0, mutants=4, variants=12, resamples=2)
VIRTUES = {
    "skill": 1,
    "precision": 1,
    "calibration-gap": 0,
    "description-length": -1,
    "k-complexity-bound": -1,
    "premises": -1,
    "falsifiability": 1,
    "mutation-score": 1,
    "hard-to-vary": 1,
    "load-bearing": 1,
    "probing-agreement": 1,
    "interchange-intervention-accuracy": 1,
    "leakage": -1,
}
"""Virtue -> which way is better: more (1), less (-1), nearer to 0 (0)."""
OUTCOMES = ("unseen inputs", "unseen interventions")


LEAST_NETWORKS = 3
"""On which baselines must differ in a virtue, for its slope to have an interval over networks."""


def baselines(network: GroupNetwork, seed: int, phenomenon: Phenomenon) -> Iterator[tuple[str, Explanation]]:
    """Many explanations of one network: every method, at several settings."""
    order, width = network.group.order, network.width
    record = record_site(
        phenomenon, "hidden", below=2 * order * width, above=width * order + order, seed=seed
    )
    for size in (1, 2, 4):
        yield f"clusters, {size}", cluster_explanation(record, sizes=(size,))
    for calibrated_z in (0.001, 0.01, 0.1, 1.0, 10.0):
        yield f"probe, {calibrated_z:g}", probe_explanation(record, strengths=(calibrated_z,))
    for features, sparsity in ((width // 4, 0.1), (width // 2, 0.1), (width, 0.3), (width, 0.03)):
        yield (
            f"dictionary, {features}, {sparsity:g}",
            dictionary_explanation(record, features=features, sparsities=(sparsity,), steps=200, named=4),
        )
    for share in (0.3, 0.5, 0.7, 0.9, 0.95, 0.99):
        yield f"circuit, {share:g}", circuit_explanation(record, share=share, named=4)
    found = interpret(network)
    for count in range(1, len(found.circuits) + 1):
        part = replace(found, circuits=found.circuits[:count])
        yield f"points of G-sets, {count}", points_of_g_sets(part, phenomenon)


def examined(
    networks: Sequence[tuple[str, GroupNetwork]], split: Callable[[Phenomenon, int], Phenomenon], folder: Path
) -> list[dict[str, Any]]:
    """A row for each baseline of each network: its virtues on the fit split and its success on unseen tests."""
    rows = []
    for seed, (label, network) in enumerate(networks):
        path = folder / f"{label}.json".replace(" ", "-").replace("/", "-")
        if not path.exists():
            phenomenon = split(product_phenomenon(network), seed)
            found = [examine(name, each) for name, each in baselines(network, seed, phenomenon)]
            write_json(path, [{"network": label, **row} for row in found])
            print(f"{label}: {len(found)} baselines", flush=True)
        rows += json.loads(path.read_text(encoding="utf-8"))
    return rows


def examine(name: str, explanation: Explanation) -> dict[str, Any]:
    """Virtues where it was fitted, success where it was not."""
    phenomenon = explanation.phenomenon
    inside = replace(phenomenon, fit=None, test=phenomenon.fit, null=phenomenon.null_predictions()[0])
    study = Evaluation(explanation=explanation.of(inside), settings=CHEAP)
    results: list[VirtueResult] = [
        *measure_faithfulness(study),
        *measure_bayesian(study),
        *measure_simplicity(study),
        *measure_deutschian(study),
    ]
    values = {each.name: each.value for each in results if each.name in VIRTUES}
    unseen = phenomenon.test_indices
    predicted = explanation.predict(phenomenon.inputs[unseen]).marginals
    return {
        "baseline": name,
        "virtues": values,
        "unseen inputs": float(agreement(predicted, phenomenon.observed[unseen]).mean()),
        "unseen interventions": joint_interventions(explanation, unseen),
    }


def joint_interventions(
    explanation: Explanation, indices: np.ndarray, *, trials: int = 256, seed: int = 7
) -> float | None:
    """Share of interventions on a random half of the variables at once after which the answers are alike.

    Only those count that move the model's answer or the explanation's; None where none does.
    """
    phenomenon, aligned = explanation.phenomenon, explanation.aligned
    if not aligned:
        return None
    model, inputs = phenomenon.model, phenomenon.inputs
    generator = np.random.default_rng(seed)
    bases, sources = generator.choice(indices, trials), generator.choice(indices, trials)
    sites = sorted({each.site for each in aligned.values()})
    here, there = model.trace(inputs[bases], sites), model.trace(inputs[sources], sites)
    new = {site: np.array(values, dtype=float) for site, values in here.items()}
    states, others = explanation.states(inputs[bases]), explanation.states(inputs[sources])
    wanted = {}
    for name, each in aligned.items():
        chosen = generator.random(trials) < (1 if len(aligned) == 1 else 0.5)
        put = each.put(new[each.site], each.part(np.asarray(there[each.site], dtype=float)))
        new[each.site] = np.where(chosen[:, None], put, new[each.site])
        wanted[name] = np.where(chosen, others[name], states[name])
    outputs, _ = model.intervene(inputs[bases], new)
    answered = phenomenon.labels(outputs, trials)
    told = explanation.run(inputs[bases], wanted)[0]
    before = explanation.run(inputs[bases])[0].argmax(axis=1)
    moved = (answered != phenomenon.observed[bases]) | (told.argmax(axis=1) != before)
    return float(agreement(told, answered)[moved].mean()) if moved.any() else None


def regressed(
    rows: Sequence[dict[str, Any]], *, resamples: int = 1000, seed: int = 0
) -> list[dict[str, Any]]:
    """Outcome by outcome and virtue by virtue: the slope within networks, alone and beside all others."""
    found = []
    for outcome in OUTCOMES:
        chosen = [row for row in rows if row[outcome] is not None]
        columns = {name: _column(chosen, name) for name in VIRTUES}
        columns = {name: values for name, values in columns.items() if not np.isnan(values).all()}
        labels = np.array([row["network"] for row in chosen])
        success = _standard(np.array([row[outcome] for row in chosen], dtype=float), labels)
        standard = {name: _standard(values, labels) for name, values in columns.items()}
        differs = {
            name: len({label for label, value in zip(labels, values, strict=True) if np.nan_to_num(value)})
            for name, values in standard.items()
        }
        alike = [name for name, count in differs.items() if count < LEAST_NETWORKS]
        found += [_alike(outcome, name, columns[name], len(set(labels)), differs[name]) for name in alike]
        columns = {name: values for name, values in standard.items() if name not in alike}
        table = np.stack(list(columns.values()), axis=1)
        full = np.nan_to_num(table)  # a virtue that has no value stands at its network's mean
        generator = np.random.default_rng(seed)
        networks = np.unique(labels)
        places = {name: np.flatnonzero(labels == name) for name in networks}
        draws = [
            np.concatenate([places[name] for name in generator.choice(networks, len(networks))])
            for _ in range(resamples)
        ]
        together = _least_squares(full, success)
        drawn = np.array([_least_squares(full[draw], success[draw]) for draw in draws])
        explained = 1 - float(np.square(success - full @ together).sum() / np.square(success).sum())
        for i, name in enumerate(columns):
            known = ~np.isnan(table[:, i])
            slopes = [_slope(table[draw[known[draw]], i], success[draw[known[draw]]]) for draw in draws]
            found.append(
                {
                    "outcome": outcome,
                    "virtue": name,
                    "baselines": int(known.sum()),
                    "networks": len(networks),
                    "slope": _slope(table[known, i], success[known]),
                    "low": float(np.nanquantile(slopes, 0.025)),
                    "high": float(np.nanquantile(slopes, 0.975)),
                    "rank correlation": _slope(
                        _standard(_ranked(table[known, i], labels[known]), labels[known]),
                        _standard(_ranked(success[known], labels[known]), labels[known]),
                    ),
                    "slope beside all": float(together[i]),
                    "low beside all": float(np.quantile(drawn[:, i], 0.025)),
                    "high beside all": float(np.quantile(drawn[:, i], 0.975)),
                    "share explained by all": explained,
                }
            )
    return found


def _alike(outcome: str, name: str, values: np.ndarray, networks: int, differing: int) -> dict[str, Any]:
    """The row of a virtue in which baselines differ on too few networks for a slope with an interval."""
    known = int((~np.isnan(values)).sum())
    common = {"outcome": outcome, "virtue": name, "baselines": known, "networks": networks}
    return {**common, "networks where baselines differ": differing, "slope": None}


def _column(rows: Sequence[dict[str, Any]], name: str) -> np.ndarray:
    """[n] a virtue, turned so that more is better; lengths in logarithms."""
    values = np.array([np.nan if (v := row["virtues"].get(name)) is None else v for row in rows], dtype=float)
    if name in ("description-length", "k-complexity-bound", "premises"):
        values = np.log(np.maximum(values, 1.0))
    return -np.abs(values) if VIRTUES[name] == 0 else VIRTUES[name] * values


def _standard(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Each network's values less their mean, over their standard deviation; 0 where they do not differ."""
    result = np.full(len(values), np.nan)
    for label in np.unique(labels):
        mine = values[labels == label]
        spread = np.nanstd(mine) if (~np.isnan(mine)).sum() > 1 else 0.0
        centred = mine - np.nanmean(mine) if (~np.isnan(mine)).any() else mine
        result[labels == label] = (
            centred / spread if spread > 1e-12 else np.where(np.isnan(mine), np.nan, 0.0)
        )
    return result


def _ranked(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    result = np.zeros(len(values))
    for label in np.unique(labels):
        result[labels == label] = rankdata(values[labels == label])
    return result


def _slope(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / (x @ x)) if x @ x > 0 else float("nan")


def _least_squares(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.linalg.lstsq(x, y, rcond=None)[0]
