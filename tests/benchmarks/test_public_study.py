"""What several draws add up to, and how the page shows it; no model is needed."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from aitia.attribution.ranking import CONFOUNDS
from documented.public import TABLES
from planted.findings import Findings
from planted.study import ORACLE, Scored
from public.study import find_labelled, over_draws

ROWS = 60


def draw_of(seed: int, *methods: str) -> Scored:
    """A draw whose confounds know nothing; `finds` finds every labelled row, `misses` none."""
    generator = np.random.default_rng(seed)
    planted = generator.permutation(ROWS) < ROWS // 2
    known = {"finds": planted + 0.0, "misses": 0.0 - planted, "guesses": generator.random(ROWS)}
    suite: Any = SimpleNamespace(planted=planted, data=range(ROWS), positive=range(8))
    return Scored(
        suite=suite,
        subject=SimpleNamespace(),  # type: ignore[arg-type]
        concept=SimpleNamespace(),  # type: ignore[arg-type]
        methods={name: known[name] for name in methods},
        baselines={name: generator.random(ROWS) for name in CONFOUNDS} | {ORACLE: planted + 0.0},
        diagnosis={
            name: {
                "site": "resid_post.1",
                "tokens": "response",
                "auc_by_site": {"resid_post.0": 0.5, "resid_post.1": best},
                "auc_by_tokens": {"response": best, "response_end": 0.5},
            }
            for name, best in (("untouched", 0.6), ("tuned", 0.7 + seed / 10))
        },
        folder=Path(),
    )


def test_figures_of_draws_are_means_over_those_that_have_the_scorer():
    draws = [draw_of(0, "finds", "misses", "guesses"), draw_of(1, "finds", "misses")]
    finds, misses = (over_draws(draws, name) for name in ("finds", "misses"))
    assert (finds["auc"].value, misses["auc"].value) == (1.0, 0.0)
    assert finds["precision_at_labelled"].value == finds["auprc"].value == 1.0
    assert finds["gain"].value == pytest.approx(1 - 0.5, abs=0.2)
    assert "gain" not in over_draws(draws, CONFOUNDS[0])
    alone = over_draws(draws, "guesses")["auc"]
    assert alone.low < alone.value < alone.high  # a single draw: over its rows


def test_too_few_labelled_rows_have_no_gain():
    draw = draw_of(0, "finds")
    draw.suite.planted[np.flatnonzero(draw.suite.planted)[4:]] = False
    assert "gain" not in over_draws([draw], "finds")


def test_rows_of_the_findings_name_each_scorer_once_and_no_oracle():
    found = Findings()
    find_labelled([draw_of(0, "finds", "guesses"), draw_of(1, "finds")], found, part="p")
    draws = {row["scorer"]: row["draws"] for row in found.rows if "scorer" in row}
    assert draws == {"finds": 2, "guesses": 1} | dict.fromkeys(CONFOUNDS, 2)
    probes = {row["probe"]: row for row in found.rows if "probe" in row}
    assert probes["tuned"]["held_out_auc"] == pytest.approx(0.75)
    assert (probes["untouched"]["rows"], probes["untouched"]["labelled"]) == (ROWS, ROWS // 2)


def test_every_table_shows_what_was_found():
    found, draws = Findings(), [draw_of(0, "finds", "guesses"), draw_of(1, "finds", "guesses")]
    find_labelled(draws, found, part="gsm8k")
    for share in (0.2, 0.05):
        find_labelled(draws, found, part="insecure code", ground="mbpp", share=share)
    find_labelled(draws, found, part="xstest", task="refusal")
    common = {"part": "gsm8k", "scorer": "finds", "behaviour": "likelihood margin"}
    found.add(**common, draw=0, recovered_fraction=0.987)
    found.add(**common, lds=0.654)
    found.add(part="xstest", completions_of="m", unsafe=8, unsafe_compliance=2, unsafe_compliance_share=0.25)
    goal = {"name": "a goal", "target": ">= 0.9", "value": 0.5, "met": False}
    made = {name: each.make({"rows": found.rows, "targets": [goal]}) for name, each in TABLES.items()}
    for name, shown in {
        "public.probes": "insecure code, mbpp, 20 %",
        "public.gsm8k": "| `finds` | 1.00 (1.00 to 1.00) |",
        "public.removing": "| `finds` | 0.99 |",
        "public.foretelling": "| `finds` | 0.65 |",
        "public.code.auc": "| scorer | mbpp, 20 % | mbpp, 5 % |",
        "public.code.auprc": "| `finds` | 1.00",
        "public.xstest.counts": "| m | 8 | 2 | 25.0 % |",
        "public.xstest.auprc": "| scorer | refusal |",
        "public.xstest.auc": "| `finds` | 1.00",
        "public.targets": "| a goal | >= 0.9 | 0.50 | **missed** |",
    }.items():
        assert shown in made[name], name
    assert made.keys() == TABLES.keys()
