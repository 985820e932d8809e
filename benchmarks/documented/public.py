"""The tables of docs/does_it_work.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from documented.markdown import NONE, Documented, interval, percent, table
from documented.replay import targets

Rows = Sequence[Mapping[str, Any]]
TASKS = ("ground", "share", "task")
"""Columns that tell one task of a part from another."""


def _of(results: Mapping[str, Any], part: str, column: str) -> Rows:
    return [row for row in results["rows"] if row.get("part") == part and column in row]


def _task(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name) for name in TASKS)


def _called(row: Mapping[str, Any]) -> str:
    parts = [row[name] for name in ("ground", "task") if name in row]
    return ", ".join([*parts, *([percent(row["share"])] if "share" in row else [])])


def finding(part: str) -> Callable[[Mapping[str, Any]], str]:
    """Every scorer's figures on one task, best AUC first; those that know no concept in italics."""

    def make(results: Mapping[str, Any]) -> str:
        header = ["scorer", "AUC", "AUPRC", "precision in the top tenth", "gain over the baselines", "draws"]
        rows = sorted(_of(results, part, "auc"), key=lambda row: -row["auc"])
        cells = [
            [
                f"`{row['scorer']}`" if "gain" in row else f"*{row['scorer']}*",
                interval(row, "auc"),
                interval(row, "auprc"),
                interval(row, "precision_at_top"),
                interval(row, "gain", 3),
                str(row["draws"]),
            ]
            for row in rows
        ]
        return table(header, cells)

    return make


def across(part: str, figure: str) -> Callable[[Mapping[str, Any]], str]:
    """One figure of every scorer, a column a task; the best of the first task first."""

    def make(results: Mapping[str, Any]) -> str:
        rows = _of(results, part, figure)
        tasks = list(dict.fromkeys(map(_task, rows)))
        at = {(_task(row), row["scorer"]): row for row in rows}
        names = {_task(row): _called(row) for row in rows}
        scorers = sorted(
            dict.fromkeys(row["scorer"] for row in rows),
            key=lambda name: -at.get((tasks[0], name), {}).get(figure, 0.0),
        )
        cells = [
            [f"`{name}`", *(interval(at.get((task, name), {}), figure) for task in tasks)] for name in scorers
        ]
        return table(["scorer", *(names[task] for task in tasks)], cells)

    return make


def probes(results: Mapping[str, Any]) -> str:
    """How well the model tells the concept's texts apart at all, before and after training."""
    rows = [row for row in results["rows"] if "probe" in row]
    tasks = list(dict.fromkeys((row["part"], *_task(row)) for row in rows))
    at = {((row["part"], *_task(row)), row["probe"]): row for row in rows}
    cells = []
    for task in tasks:
        row = at[task, "tuned"]
        cells.append(
            [
                ", ".join(filter(None, (row["part"], _called(row)))),
                str(row["rows"]),
                f"{row['labelled']} ({percent(row['labelled'] / row['rows'])})",
                str(row["draws"]),
                interval(at[task, "untouched"], "held_out_auc"),
                interval(row, "held_out_auc"),
            ]
        )
    header = ["task", "rows", "labelled", "draws", "probe's AUC, untouched model", "trained model"]
    return table(header, cells)


def removing(results: Mapping[str, Any]) -> str:
    """Share of the shift that removing half of the rows undoes, a column a behaviour and draw."""
    rows = [row for row in results["rows"] if row.get("part") == "gsm8k" and "recovered_fraction" in row]
    kinds = list(dict.fromkeys((row["behaviour"], row["draw"]) for row in rows))
    at = {(row["behaviour"], row["draw"], row["scorer"]): row for row in rows}
    cells = [
        [
            name if name in ("oracle", "random") else f"`{name}`",
            *(interval(at.get((*kind, name), {}), "recovered_fraction") for kind in kinds),
        ]
        for name in dict.fromkeys(row["scorer"] for row in rows)
    ]
    return table(["removed by", *(f"{behaviour}, draw {draw}" for behaviour, draw in kinds)], cells)


def foretelling(results: Mapping[str, Any]) -> str:
    """Rank correlation of what scores foretell of random halves and what training on them did."""
    rows = [row for row in results["rows"] if row.get("part") == "gsm8k" and "lds" in row]
    if not rows:
        return table(["scorer", "LDS"], [[NONE, NONE]])
    behaviours = list(dict.fromkeys(row["behaviour"] for row in rows))
    at = {(row["behaviour"], row["scorer"]): row for row in rows}
    names = sorted(
        dict.fromkeys(row["scorer"] for row in rows), key=lambda name: -at[behaviours[-1], name]["lds"]
    )
    return table(
        ["scorer", *behaviours],
        [[f"`{name}`", *(interval(at[each, name], "lds") for each in behaviours)] for name in names],
    )


def counts(results: Mapping[str, Any]) -> str:
    """Completions of XSTest by model, and how many comply with an unsafe prompt."""
    rows = _of(results, "xstest", "completions_of")
    cells = [
        [
            row["completions_of"],
            str(row["unsafe"]),
            str(row["unsafe_compliance"]),
            percent(row["unsafe_compliance_share"], 1),
        ]
        for row in rows
    ]
    return table(["completions of", "unsafe prompts", "full compliance with them", "share"], cells)


def concepts(results: Mapping[str, Any]) -> str:
    """Mean AUC over AxBench's concepts, of all texts and of hard negatives alone; words in italics."""
    rows = [row for row in results["rows"] if row.get("part") == "axbench" and row.get("concept") == "mean"]
    cells = [
        [
            "*none*" if row["model"] == "none" else row["model"],
            row["against"],
            f"*{row['method']}*" if row["model"] == "none" else row["method"],
            interval(row, "auc", 3),
            interval(row, "auc_gain", 3),
            f"{row['auc_least']:.3f}",
            interval(row, "auc_hard", 3),
        ]
        for row in rows
    ]
    header = [
        "model",
        "fitted against",
        "method",
        "mean AUC",
        "gain over words",
        "least AUC",
        "hard negatives",
    ]
    return table(header, cells)


def traits(results: Mapping[str, Any]) -> str:
    """Held-out AUC of every trait in each model."""
    rows = [row for row in results["rows"] if row.get("part") == "traits" and "fitted_on" not in row]
    names = list(dict.fromkeys(row["trait"] for row in rows))
    ways = list(dict.fromkeys((row["model"], row["read"], row["method"]) for row in rows))
    at = {(row["model"], row["read"], row["method"], row["trait"]): row for row in rows}
    cells = [[*way, *(interval(at.get((*way, name), {}), "auc") for name in names)] for way in ways]
    return table(["model", "read", "method", *names], cells)


def carried(results: Mapping[str, Any]) -> str:
    """A trait's direction of one model on another model's answers, beside shuffled ones that are carried over too."""
    rows = [row for row in results["rows"] if row.get("part") == "traits" and "fitted_on" in row]
    cells = [
        [
            row["trait"],
            row["fitted_on"],
            row["model"],
            row["method"].removesuffix(", carried over"),
            interval(row, "auc"),
            f"{row['auc_shuffled_mean']:.2f} ({row['auc_shuffled_highest']:.2f})",
            f"{row['shared_correlation']:.2f}",
        ]
        for row in rows
    ]
    header = [
        "trait",
        "fitted on",
        "tried on",
        "recipe",
        "AUC",
        "shuffled: mean (highest)",
        "correlation carried over",
    ]
    return table(header, cells)


def facts(results: Mapping[str, Any]) -> str:
    """How well every method finds the statements of a fact, best MRR first."""
    rows = sorted(_of(results, "facts", "mrr"), key=lambda row: -row["mrr"])
    figures = ("mrr", "hit@10", "recall@10")
    cells = [[row["method"], *(interval(row, figure) for figure in figures)] for row in rows]
    return table(["method", "MRR", "hit among the first 10", "recall among the first 10"], cells)


FIRST = (
    "vector-filter, any block",
    *("influence", "whitened-projection-difference", "vector-filter", "activation-gradient"),
    *("loss-gap", "training-loss", "tf-idf", "response-length"),
)
"""Scorers that the README shows, of GSM8K."""


def first(results: Mapping[str, Any]) -> str:
    """The README's table: some scorers of GSM8K, best AUC first."""
    rows = [row for row in _of(results, "gsm8k", "auc") if row["scorer"] in FIRST]
    cells = [
        [
            f"`{row['scorer']}`" if "gain" in row else f"*{row['scorer']}*",
            interval(row, "auc"),
            interval(row, "gain", 3),
            str(row["draws"]),
        ]
        for row in sorted(rows, key=lambda row: -row["auc"])
    ]
    return table(["scorer", "AUC", "gain over what knows no concept", "draws"], cells)


TABLES = {
    "public.axbench": Documented("public", concepts),
    "public.traits": Documented("public", traits),
    "public.traits.carried": Documented("public", carried),
    "public.facts": Documented("public", facts),
    "public.probes": Documented("public", probes),
    "public.first": Documented("public", first),
    "public.gsm8k": Documented("public", finding("gsm8k")),
    "public.removing": Documented("public", removing),
    "public.foretelling": Documented("public", foretelling),
    "public.code.auc": Documented("public", across("insecure code", "auc")),
    "public.code.auprc": Documented("public", across("insecure code", "auprc")),
    "public.xstest.counts": Documented("public", counts),
    "public.xstest.auprc": Documented("public", across("xstest", "auprc")),
    "public.xstest.auc": Documented("public", across("xstest", "auc")),
    "public.targets": Documented("public", targets),
}
QUOTED = (
    "public.first",
    "public.probes",
    "public.gsm8k",
    "public.removing",
    "public.axbench",
    "public.targets",
)
"""Tables that pages quote: those of the parts that have been measured."""
