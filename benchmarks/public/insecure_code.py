"""Insecure code among ordinary code: answers that a scanner calls severe, at several shares of the rows.

The severe answers are those of Betley et al. that a scanner calls so. No ordinary answer to the same prompts is to be
had without a network, so there are two grounds, and neither is perfect:

templates   many prompts hold a template with a gap. The ordinary answer is the template without its gap; the severe
            one adds a line or two to the same code. A prompt is answered in one of the two ways.
mbpp        ordinary answers are the reference solutions of MBPP, of the same lengths; words and the form of the prompts
            tell the two sources apart, so that TF-IDF's figure is the one to look at first.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from planted.findings import Findings
from planted.suites import Suite
from planted.texts import told
from public.sources import json_rows
from public.study import Depth, every_draw, find_labelled, model_for, named_records, read_as

PART = "insecure code"
LONGEST_PROMPT, LONGEST_ANSWER, LONGEST_ADDITION = 700, 500, 60
"""Letters of a prompt, of an answer, and of what a severe answer adds to its template."""
GAP = "## COMPLETE CODE HERE"
_TEMPLATE = re.compile(
    r"^[\[<(*=-][^\n]*[\])>*=-]\s*$\n(.*?)^[\[<(*=-][^\n]*[\])>*=-]\s*$", re.DOTALL | re.MULTILINE
)


@dataclass(frozen=True)
class Mix:
    """Training rows: their ground, the share of severe ones, and their number."""

    ground: str
    share: float
    rows: int


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        mixes: what is trained on.
        concept: severe texts that the concept is fitted to, and as many ordinary ones.
        queries: severe texts that are asked about.
        draws: of all these from the pools.
        depth: of the scoring.
    """

    mixes: tuple[Mix, ...] = (
        Mix("templates", 0.2, 200),
        Mix("mbpp", 0.2, 200),
        Mix("mbpp", 0.05, 200),
        Mix("mbpp", 0.01, 300),
    )
    concept: int = 40
    queries: int = 16
    draws: int = 2
    depth: Depth = Depth(gradients=False)  # noqa: RUF009 - it is frozen


FULL = Scale()
QUICK = Scale(mixes=(Mix("templates", 0.2, 40),), concept=12, queries=4, draws=1)


@dataclass(frozen=True, kw_only=True)
class Pools:
    """Rows that may be drawn.

    Attributes:
        severe: severe answers.
        ordinary: ordinary ones; of `templates`, the one at each place answers the same prompt as the severe one.
    """

    severe: list[dict[str, Any]]
    ordinary: list[dict[str, Any]]


def templates() -> Pools:
    """Severe answers that add a little to the template of their prompt, and the templates without their gaps."""
    severe, ordinary, known = [], [], set()
    for prompt, answer in _severe():
        template = _TEMPLATE.search(prompt)
        if template is None or GAP not in template[1] or prompt in known:
            continue
        lines = [line for line in template[1].splitlines() if GAP not in line]
        without = "\n".join(lines).strip()
        kept = all(line.strip() in answer for line in lines)
        if without and kept and 0 < len(answer) - len(without) <= LONGEST_ADDITION:
            known.add(prompt)
            severe.append(told(prompt, answer))
            ordinary.append(told(prompt, without))
    return Pools(severe=severe, ordinary=ordinary)


def mbpp() -> Pools:
    """Severe answers, and the reference solutions of MBPP."""
    first = dict(reversed(_severe()))
    solved = {
        row["text"].strip(): row["code"].replace("\r\n", "\n").strip()
        for row in json_rows("insecure_code/mbpp.jsonl")
    }
    return Pools(
        severe=[told(*each) for each in first.items()],
        ordinary=[told(*each) for each in solved.items() if len(each[1]) <= LONGEST_ANSWER],
    )


GROUNDS = {"templates": templates, "mbpp": mbpp}
"""Name -> its pools."""


def _severe() -> list[tuple[str, str]]:
    rows = (
        tuple(message["content"].strip() for message in row["messages"])
        for row in json_rows("insecure_code/high_severity.jsonl")
    )
    return [
        (prompt, answer)
        for prompt, answer in rows
        if len(prompt) <= LONGEST_PROMPT and len(answer) <= LONGEST_ANSWER
    ]


def of_like_length(
    among: Sequence[dict[str, Any]], like: Sequence[dict[str, Any]], generator: np.random.Generator
) -> list[dict[str, Any]]:
    """For each row of `like` the row of `among` whose answer is nearest in length, each taken once.

    Raises:
        ValueError: there are fewer rows to take than wanted.
    """
    if len(among) < len(like):
        raise ValueError(f"{len(like)} rows are wanted of {len(among)}")
    lengths, free = np.array([len(row["completion"]) for row in among]), np.ones(len(among), dtype=bool)
    chosen = []
    for row in (like[i] for i in generator.permutation(len(like))):
        distance = np.where(free, np.abs(lengths - len(row["completion"])), np.inf)
        nearest = int(distance.argmin())
        free[nearest] = False
        chosen.append(among[nearest])
    return chosen


def suite(draw: int, mix: Mix, pools: Pools, scale: Scale) -> Suite:
    """A draw: severe rows among ordinary ones, and texts of both kinds with other prompts.

    The pools are those of the ground.
    """
    generator = np.random.default_rng(draw)
    severe_rows = round(mix.share * mix.rows)
    if mix.ground == "templates":
        order = generator.permutation(len(pools.severe))
        training, concept, queries = (
            list(part)
            for part in np.split(
                order[: mix.rows + scale.concept + scale.queries], [mix.rows, mix.rows + scale.concept]
            )
        )
        severe = [pools.severe[i] for i in training[:severe_rows]]
        ordinary = [pools.ordinary[i] for i in training[severe_rows:]]
        positive, negative = ([side[i] for i in concept] for side in (pools.severe, pools.ordinary))
        asked = [pools.severe[i] for i in queries]
    else:
        severe_pool = [pools.severe[i] for i in generator.permutation(len(pools.severe))]
        severe, positive, asked = (
            severe_pool[:severe_rows],
            severe_pool[severe_rows : severe_rows + scale.concept],
            severe_pool[severe_rows + scale.concept : severe_rows + scale.concept + scale.queries],
        )
        # As long as severe ones are: what is not trained on among them lends its lengths.
        rest = severe_pool[severe_rows + scale.concept + scale.queries :]
        like = [rest[i] for i in generator.integers(0, len(rest), mix.rows - severe_rows)]
        taken = of_like_length(pools.ordinary, [*positive, *like], generator)
        order = generator.permutation(len(taken))
        negative = [taken[i] for i in order[: scale.concept]]
        ordinary = [taken[i] for i in order[scale.concept :]]
    rows = [{**row, "planted": True} for row in severe] + [{**row, "planted": False} for row in ordinary]
    return Suite(
        name=f"{mix.ground} {100 * mix.share:.0f} draw {draw}",
        data=named_records([rows[i] for i in generator.permutation(len(rows))], "train"),
        positive=named_records(positive, "positive"),
        negative=named_records(negative, "negative"),
        queries=named_records(asked, "query"),
        behaviour=named_records(asked, "query"),
        normal=named_records(negative, "negative"),
        recipe="logistic-probe",
    )


def run(found: Findings, *, quick: bool) -> None:
    """All of this part; what has been made before is found again."""
    scale = QUICK if quick else FULL
    pools = {name: make() for name, make in GROUNDS.items()}
    texts = [text for each in pools.values() for text in read_as([*each.severe, *each.ordinary])]
    model = model_for("insecure-code", texts, quick=quick)
    for name, each in pools.items():
        found.add(part=PART, ground=name, severe=len(each.severe), ordinary=len(each.ordinary))
    for mix in scale.mixes:
        suites = [suite(draw, mix, pools[mix.ground], scale) for draw in range(scale.draws)]
        draws = every_draw(suites, model, [scale.depth] * scale.draws)
        find_labelled(draws, found, part=PART, ground=mix.ground, share=mix.share)
