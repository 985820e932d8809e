"""Methods of interpretation side by side, laws tried on networks they were not found on, and what virtues are for.

Parts: `table` (methods and hypotheses x virtues), `laws` (which transfer, how far; explanations within a budget of
bits), `worth` (which virtue predicts success on unseen tests). Run: python benchmarks/virtues.py [--quick] [PART ...];
stopped and run again, it goes on.
"""

from __future__ import annotations

import argparse
from typing import Any

from aitia.group_networks import load_network
from aitia.mechanisms import METHODS
from harness import RESULTS, WORK, Target, report
from judged import laws as tried
from judged import worth as tested
from judged.subjects import JUDGED, RECIPES, family, group_subjects, language_subject, max_subject, split
from judged.table import FULL, QUICK, highly, judged, table_rows

FOLDER = WORK / "virtues"
NETWORKS = 8
"""Of each group in the table, and in the trial of what virtues are worth."""


def table(*, quick: bool) -> None:
    """Methods x virtues."""
    subjects = [
        *([] if quick else [each for name in JUDGED for each in group_subjects(name, NETWORKS, FOLDER)]),
        max_subject(8 if quick else 16),
        language_subject(FOLDER / "parts", 48 if quick else 144),
    ]
    cards = judged(subjects, QUICK if quick else FULL, FOLDER / ("quick" if quick else "cards"))
    rows = table_rows(cards)
    grades = highly(rows)
    proof = grades["compact proof"]["share highly"]
    most = max(counts["share highly"] for name, counts in grades.items() if name in METHODS)
    laws = [
        row["value"]
        for row in rows
        if row["hypothesis"] == "circuit" and row["virtue"] in ("invariance", "law-support", "premise-reuse")
    ]
    targets = [
        Target(
            name="compact proofs have more virtues highly than the four methods, as the framework says",
            target=f"> {most:.2f} of the cells",
            value=proof,
            met=proof > most,
        ),
        Target(
            name="circuits have no laws and unify nothing, as the framework says",
            target="0 values",
            value=float(sum(each is not None for each in laws)),
            met=all(each is None for each in laws),
        ),
    ]
    report("virtues", [*rows, {"grades": grades}], targets, quick=quick)


def laws(*, quick: bool) -> None:
    """Which laws transfer, and what share of networks has a hypothesis within a budget."""
    paths = {
        name: family(name, 2 if quick else 12, FOLDER)
        for name in RECIPES
        if not quick or name in ("Q8", "D5")
    }
    # The hundred S5 networks and others are those of `make bench-networks`, as many as there are.
    for folder in sorted((WORK / "networks").iterdir()) if (WORK / "networks").exists() else ():
        files = sorted(folder.glob("*.network.safetensors"))
        if files and folder.name not in paths:
            paths[folder.name] = files[: 8 if quick else 48]
    if len(paths.get(tried.FOUND_ON, ())) < 4:
        print(f"no {tried.FOUND_ON} networks: run `make bench-networks` first")
        return
    networks = tried.examined(paths, FOLDER / "laws")
    rows = tried.law_rows(networks)
    transfer = [row for row in rows if row["tried on"] != f"{tried.FOUND_ON}, other seeds"]
    held = {row["law"] for row in transfer} - {row["law"] for row in transfer if row["high"] < 0.5}
    targets = [
        Target(
            name="laws that are not refuted on half of any other family",
            target="as found",
            value=float(len(held)),
            met=True,
        )
    ]
    report("virtues.laws", [*rows, *tried.optimism_rows(networks)], targets, quick=quick)


def worth(*, quick: bool) -> None:
    """Which virtue predicts success on unseen tests."""
    names = ("Q8",) if quick else ("Q8", "D5", "S4")
    networks = [
        (f"{name} {seed}", load_network(path))
        for name in names
        for seed, path in enumerate(family(name, 2 if quick else NETWORKS, FOLDER))
    ]
    rows = tested.examined(networks, split, FOLDER / "worth")
    found = tested.regressed(rows)
    clear = sum(row["slope"] is not None and (row["low"] > 0 or row["high"] < 0) for row in found)
    targets = [
        Target(
            name="virtues whose slope within networks excludes zero, over both tests",
            target="as found",
            value=float(clear),
            met=True,
        )
    ]
    report("virtues.worth", found, targets, quick=quick)


PARTS = {"table": table, "laws": laws, "worth": worth}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; default: all")
    parser.add_argument("--quick", action="store_true")
    given: Any = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    for name in given.parts or PARTS:
        PARTS[name](quick=given.quick)


if __name__ == "__main__":
    main()
