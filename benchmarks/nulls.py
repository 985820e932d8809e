"""Do null directions say "significant" where nothing is planted? Matched to the activations' covariance, and isotropic.

In every set some rows are labelled that differ from the others in what they are about, and a direction is the
difference of means of other texts whose labels are shuffled: it means nothing. Its p-value at finding the labelled
rows, by `hold_against_nulls`, should be at most .05 in at most 5 % of the sets.

Two kinds of sets: Gaussian activations of which a few dimensions hold most of the variance, and SmolLM2-135M's own
activations on answers in nine moods, the labelled rows in one mood and the others in another. There a direction fitted
to the two moods themselves, on texts that are not among the rows, shows what the test still finds.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, get_args

import numpy as np

from aitia.attribution.ranking import MATCHED, NullKind, hold_against_nulls
from aitia.concepts import matched_directions, random_directions
from aitia.pipelines.attribution.demo import base_model
from aitia.statistics import clopper_pearson
from harness import WORK, Target, at_least, at_most, report
from planted.kinds import Traced, traced

LEVEL, DRAWS = 0.05, 199
DOMINATING, WIDTH, ROWS, TEXTS = (12.0, 8.0, 5.0), 256, 200, 40

NullSet = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Activations of the rows [n, d], which are labelled [n], and the direction [d]."""


def gaussian_sets(count: int) -> Iterator[NullSet]:
    """Labelled rows lie one standard deviation further along each of the dimensions that dominate."""
    spreads = np.concatenate([DOMINATING, np.ones(WIDTH - len(DOMINATING))])
    for seed in range(count):
        generator = np.random.default_rng(seed)
        labels = generator.permutation(ROWS) < ROWS // 4
        rows = generator.standard_normal((ROWS, WIDTH)) * spreads
        rows[:, : len(DOMINATING)] += labels[:, None] * np.array(DOMINATING)
        first, second = (generator.standard_normal((TEXTS // 2, WIDTH)) * spreads for _ in range(2))
        yield rows, labels, first.mean(axis=0) - second.mean(axis=0)


def mood_sets(texts: Traced, each: int, *, planted: bool = False) -> Iterator[NullSet]:
    """For every pair of moods: rows of both, and directions between shuffled texts of others, or between the two."""
    activations = texts.activations.astype(np.float64)
    for first, second in combinations(sorted(set(texts.moods)), 2):
        pair = np.flatnonzero((texts.moods == first) | (texts.moods == second))
        for seed in range(each):
            generator = np.random.default_rng(seed)
            if planted:
                sides = [
                    generator.permutation(np.flatnonzero(texts.moods == mood))[: TEXTS // 2]
                    for mood in (first, second)
                ]
            else:
                others = generator.permutation(np.setdiff1d(np.arange(len(texts.moods)), pair))
                sides = [others[: TEXTS // 2], others[TEXTS // 2 : TEXTS]]
            rows = np.setdiff1d(pair, np.concatenate(sides))
            direction = activations[sides[0]].mean(axis=0) - activations[sides[1]].mean(axis=0)
            yield activations[rows], texts.moods[rows] == first, direction


def p_value(given: NullSet, kind: NullKind, seed: int) -> float:
    """Of the direction at finding the labelled rows."""
    rows, labels, direction = given

    def draw(count: int, among: np.ndarray | None) -> np.ndarray:
        if kind == MATCHED:
            return matched_directions(rows[among], count=count, seed=seed)
        return random_directions(rows.shape[1], count=count, seed=seed)[:, 0]

    return hold_against_nulls(
        lambda vectors: vectors @ rows.T,
        draw,
        rows @ direction,
        labels,
        draws=DRAWS,
        halves=kind == MATCHED,
        seed=seed,
    )[0]


def part(name: str, sets: Iterator[NullSet]) -> dict[str, Any]:
    """The share of sets in which each kind of null directions finds something."""
    found: dict[str, list[bool]] = {kind: [] for kind in get_args(NullKind)}
    for seed, given in enumerate(sets):
        for kind in get_args(NullKind):
            found[kind].append(p_value(given, kind, seed) <= LEVEL)
    row: dict[str, Any] = {"part": name, "sets": len(found[MATCHED]), "level": LEVEL, "draws": DRAWS}
    for kind, each in found.items():
        interval = clopper_pearson(sum(each), len(each))
        row |= {kind: float(np.mean(each)), f"{kind}_low": interval.low, f"{kind}_high": interval.high}
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few sets; the figures are not quoted")
    quick = parser.parse_args().quick
    work: Path = WORK / "slices"  # whose pass over the texts is kept there
    texts = traced(base_model(work / "parts"), work)
    each = 1 if quick else 8
    rows = [
        part("Gaussian, nothing planted", gaussian_sets(40 if quick else 400)),
        part("moods, nothing planted", mood_sets(texts, each)),
        part("moods, the two moods' own direction", mood_sets(texts, each, planted=True)),
    ]
    targets: list[Target] = []
    for row in rows[:2]:
        targets.append(at_most(f"{row['part']}: matched nulls, sets with a find", LEVEL, row[MATCHED]))
        targets.append(at_least(f"{row['part']}: sets", 200, row["sets"]))
    report("nulls", rows, targets, quick=quick)


if __name__ == "__main__":
    main()
