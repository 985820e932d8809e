"""Three kinds of simplicity side by side: a family of dictionaries that predict alike and are simple differently.

Every dictionary of the family says of each of 512 objects which it is, without an error. What differs is how many
entries are active at a time, how many there are, how long the dictionary is, and how short a program for it can be.
Run: python benchmarks/simplicity.py [--quick]; a quick run measures every other dictionary.
"""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from aitia.explanations.examples.dictionaries import (
    GROUPINGS,
    active_entries,
    dictionary_explanation,
    objects_phenomenon,
)
from aitia.explanations.metrics.simplicity import (
    description_length,
    k_complexity_bound,
    parsimony,
    prediction_table,
)
from harness import Target, at_least, report

SHUFFLE = 1


def measure(name: str, groups: Any, shuffle: int | None) -> dict[str, Any]:
    phenomenon = objects_phenomenon()
    explanation = dictionary_explanation(phenomenon, groups, name, shuffle=shuffle)
    right = explanation.predict(phenomenon.inputs).marginals.argmax(axis=1) == phenomenon.observed
    # A program that makes the dictionary, where the function that knows the family is already at hand.
    call = f"dictionary_explanation(objects_phenomenon(), {tuple(groups)}, 'd', shuffle={shuffle})"
    library = inspect.getsource(dictionary_explanation).encode()
    return {
        "dictionary": name,
        "order": "as listed" if shuffle is None else "objects renumbered by lot",
        "right": float(right.mean()),
        "active entries": active_entries(groups),
        "premises": parsimony(explanation)["premises"],
        "description length (bits)": description_length(explanation).parts["premises"],
        "compressed dictionary (bits)": k_complexity_bound([explanation.serialise()]),
        "program (bits)": k_complexity_bound([call.encode()], background=library),
        "compressed predictions (bits)": k_complexity_bound([prediction_table(explanation)]),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    quick = parser.parse_args().quick
    chosen = list(GROUPINGS.items())[:: 2 if quick else 1]
    rows = [measure(name, groups, None) for name, groups in chosen]
    shuffled = [measure(name, groups, SHUFFLE) for name, groups in chosen]
    listed = {key: [row[key] for row in rows] for key in rows[0]}

    def place(key: str) -> int:
        return min(range(len(rows)), key=lambda i: (listed[key][i], i))

    apart = place("active entries") != place("description length (bits)")
    same = len(set(listed["compressed predictions (bits)"])) == 1
    targets = [
        at_least("all predict every object", 1.0, min(row["right"] for row in rows + shuffled)),
        Target(
            name="fewest active entries and shortest are different",
            target="yes",
            value=float(apart),
            met=apart,
        ),
        Target(
            name="the bound on the predictions is blind to the dictionary",
            target="yes",
            value=float(same),
            met=same,
        ),
    ]
    report("simplicity", rows + shuffled, targets, quick=quick)


if __name__ == "__main__":
    main()
