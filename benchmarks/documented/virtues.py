"""The tables of docs/measured_table.md."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from documented.markdown import Documented, table

HYPOTHESES = {
    "g-sets": "points of G-sets",
    "shared-spaces": "shared spaces",
    "max-margin": "max margin",
    "compact proof": "with its proof",
}
"""Hypothesis -> as the page names it, where that differs."""
VIRTUES = {
    "fidelity": "right answers",
    "probing-agreement": "readable inside",
    "interchange-intervention-accuracy": "right causes, one variable",
    "several variables at once": "right causes, several at once",
    "informativeness": "bits beyond the trivial",
    "state-distinctions": "states told apart",
    "leakage": "leakage of what is called inert",
    "skill": "skill",
    "description-length": "length (bits)",
    "compression": "compression",
    "k-complexity-bound": "K-complexity, at most (bits)",
    "falsifiability": "falsifiability",
    "mutation-score": "mutation score",
    "hard-to-vary": "hard to vary",
    "load-bearing": "load-bearing",
    "scope": "scope",
    "excess-scope": "scope beyond the domain",
    "invariance": "laws hold elsewhere",
    "premise-reuse": "unification: reuse of premises",
    "fruitfulness": "fruitfulness",
    "tightness": "proof: tightness",
    "gain": "proof: gain over no understanding",
}
BITS = ("description-length", "k-complexity-bound")


def judged(results: Mapping[str, Any], phenomenon: str) -> str:
    """Virtues of every hypothesis of a phenomenon; a virtue that arises for none of them is left out.

    So is a hypothesis that the phenomenon cannot have; the result file says why.
    """
    rows = [row for row in results["rows"] if row.get("phenomenon") == phenomenon]
    at = {(row["virtue"], row["hypothesis"]): row for row in rows}
    hypotheses: list[str] = [hypothesis for virtue, hypothesis in at if virtue == "conditions met"]
    met = [at["conditions met", hypothesis]["met"] for hypothesis in hypotheses]
    unmet = [", ".join(name for name, share in each.items() if share < 1) or "none" for each in met]
    cells = [["*conditions not met*", *unmet]]
    for virtue, label in VIRTUES.items():
        # A virtue that is newer than the results is not in them.
        of = [at[virtue, hypothesis] for hypothesis in hypotheses if (virtue, hypothesis) in at]
        if any(row["value"] is not None or row["status"] != "not applicable" for row in of):
            cells.append([label, *map(_cell, of)])
    return table(["", *(HYPOTHESES.get(hypothesis, hypothesis) for hypothesis in hypotheses)], cells)


def _cell(row: Mapping[str, Any]) -> str:
    """The value; with one network its interval too; the floor of causes; a mark where controls do as well."""
    if row["value"] is None:
        return "n/a" if row["status"] == "not applicable" else "?"
    if row["virtue"] in BITS:
        return f"{row['value']:,.0f}"
    text = _number(row["value"])
    if row["networks"] == 1 and row["low"] != row["high"]:
        text += f" [{_number(row['low'])}, {_number(row['high'])}]"
    if row["virtue"] == "interchange-intervention-accuracy":
        text += f" (floor {row['floor']:.2f})"
    return text + (" ✗" if row.get("not discriminating") else "")


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 10 else f"{value:,.{int(abs(value) < 1000)}f}"


def grades(results: Mapping[str, Any]) -> str:
    counts: dict[str, dict[str, float]]
    (counts,) = (row["grades"] for row in results["rows"] if "hypothesis" not in row)
    columns = ("highly", "weakly", "not", "no value")
    return table(
        ["hypothesis", *columns, "share highly"],
        [
            [
                HYPOTHESES.get(name, name),
                *(str(each[column]) for column in columns),
                f"{each['share highly']:.2f}",
            ]
            for name, each in counts.items()
        ],
    )


def laws(results: Mapping[str, Any]) -> str:
    rows = [row for row in results["rows"] if "law" in row]
    families = {row["tried on"]: row["networks"] for row in rows}
    least = {row["law"]: row["least"] for row in rows}
    at = {(row["law"], row["tried on"]): row for row in rows}

    def cell(row: Mapping[str, Any]) -> str:
        return f"{row['held']:.2f} [{row['low']:.2f}, {row['high']:.2f}]; {row['median']:.2f}"

    return table(
        ["law", "least", *(f"{name} ({count})" for name, count in families.items())],
        [[law, f"{bar:.3f}", *(cell(at[law, name]) for name in families)] for law, bar in least.items()],
    )


def optimism(results: Mapping[str, Any], faithful_to: str) -> str:
    rows = [row for row in results["rows"] if row.get("faithful to") == faithful_to]
    budgets = list(dict.fromkeys(row["budget"] for row in rows))
    families = {row["family"]: row for row in rows}
    at = {(row["family"], row["budget"]): row["explained"] for row in rows}
    return table(
        [f"faithful to {faithful_to}, within", "n", *(f"{100 * budget:g} %" for budget in budgets)],
        [
            [
                f"{name} (order {row['order']}, {row['width']} neurons)",
                str(row["networks"]),
                *(f"{at[name, budget]:.2f}" for budget in budgets),
            ]
            for name, row in families.items()
        ],
    )


def worth(results: Mapping[str, Any], outcome: str) -> str:
    """Steepest slope first."""
    asked = [row for row in results["rows"] if row["outcome"] == outcome]
    rows = sorted((row for row in asked if row["slope"] is not None), key=lambda row: -row["slope"])
    alike = [row for row in asked if row["slope"] is None]

    def slope(row: Mapping[str, Any], end: str = "") -> str:
        value = row["slope beside all"] if end else row["slope"]
        return f"{value:.2f} [{row[f'low{end}']:.2f}, {row[f'high{end}']:.2f}]"

    return table(
        [
            "virtue, turned so that more is better",
            "slope alone",
            "rank correlation",
            "slope beside all others",
        ],
        [
            *(
                [row["virtue"], slope(row), f"{row['rank correlation']:.2f}", slope(row, " beside all")]
                for row in rows
            ),
            *([row["virtue"], _alike(row), "", ""] for row in alike),
        ],
    )


def _alike(row: Mapping[str, Any]) -> str:
    return f"baselines differ on {row['networks where baselines differ']} of {row['networks']} networks"


TABLES = {
    "virtues.S4": Documented("virtues", partial(judged, phenomenon="products in S4")),
    "virtues.Z23": Documented("virtues", partial(judged, phenomenon="products in Z23")),
    "virtues.larger": Documented("virtues", partial(judged, phenomenon="larger of two tokens")),
    "virtues.mood": Documented("virtues", partial(judged, phenomenon="mood seen by a language model")),
    "virtues.grades": Documented("virtues", grades),
    "virtues.laws": Documented("virtues.laws", laws),
    "virtues.optimism.answers": Documented("virtues.laws", partial(optimism, faithful_to="answers")),
    "virtues.optimism.logits": Documented("virtues.laws", partial(optimism, faithful_to="logits")),
    "virtues.worth.inputs": Documented("virtues.worth", partial(worth, outcome="unseen inputs")),
    "virtues.worth.interventions": Documented(
        "virtues.worth", partial(worth, outcome="unseen interventions")
    ),
}
