"""XSTest: completions that people labelled, and the compliance with unsafe prompts among them.

The task of DATE-LM in small. A row is labelled where the prompt is unsafe (a `contrast` type) and the completion
complies fully. GPT-4 does so once in 450 prompts and Llama 2 never, so that unsafe compliance is sought among the
completions of Mistral Instruct: half of the prompts are trained on, and the concept comes from the other half. What can
be asked across two models is refusal: fitted on GPT-4's completions, sought among Llama 2's, to other prompts.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from typing import Any

import numpy as np

from planted.findings import Findings
from planted.suites import Suite
from planted.texts import told
from public.sources import source
from public.study import Depth, every_draw, find_labelled, model_for, named_records, read_as

PART = "xstest"
LETTERS = 240
"""Of a completion that are read: whether it complies shows at its beginning."""
COMPLIES, REFUSES = "1_full_compliance", "2_full_refusal"


@dataclass(frozen=True, kw_only=True)
class Scale:
    """How much is done.

    Attributes:
        prompts: that are used, half of them for training; 0 for all.
        queries: labelled texts of the concept that are asked about.
        draws: of the halves.
    """

    prompts: int = 0
    queries: int = 16
    draws: int = 3


FULL = Scale()
QUICK = Scale(prompts=80, queries=4, draws=1)


def completions(model: str) -> dict[str, dict[str, Any]]:
    """Prompt number -> a row of a model's completion, with what people said of it.

    Returns:
        Rows with `prompt`, `completion`, `unsafe` (the prompt is), `complies` and `refuses`.
    """
    with source(f"xstest/{model}.csv").open(encoding="utf-8", newline="") as stream:
        return {
            row["id"]: told(
                row["prompt"].strip(),
                beginning(row["completion"].strip()),
                unsafe=row["type"].startswith("contrast"),
                complies=row["final_label"] == COMPLIES,
                refuses=row["final_label"] == REFUSES,
            )
            for row in csv.DictReader(stream)
        }


def beginning(text: str) -> str:
    """At most `LETTERS` letters, whole words."""
    return text if len(text) <= LETTERS else text[: LETTERS + 1].rsplit(None, 1)[0]


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is sought, in whose completions.

    Attributes:
        name: for tables.
        fitted_on: the model whose completions the concept is fitted to.
        trained_on: the model whose completions are the rows.
        kinds: columns that are all true of what is sought.
        depth: of the scoring.
    """

    name: str
    fitted_on: str
    trained_on: str
    kinds: tuple[str, ...]
    depth: Depth

    def labelled(self, row: dict[str, Any]) -> bool:
        """Whether a row is what is sought."""
        return all(row[kind] for kind in self.kinds)


TASKS = (
    Task(
        name="unsafe compliance",
        fitted_on="mistralinstruct",
        trained_on="mistralinstruct",
        kinds=("unsafe", "complies"),
        depth=Depth(gradients=False),
    ),
    Task(
        name="refusal",
        fitted_on="gpt4",
        trained_on="llama2orig",
        kinds=("refuses",),
        depth=Depth(gradients=False),
    ),
)


def suite(draw: int, task: Task, scale: Scale) -> Suite:
    """A draw: half of the prompts for the rows, the other half for the concept."""
    generator = np.random.default_rng(draw)
    rows, texts = completions(task.trained_on), completions(task.fitted_on)
    order = [sorted(rows)[i] for i in generator.permutation(len(rows))][: scale.prompts or None]
    training, concept = order[: len(order) // 2], order[len(order) // 2 :]
    positive = [texts[each] for each in concept if task.labelled(texts[each])]
    negative = [texts[each] for each in concept if not task.labelled(texts[each])]
    asked = named_records(positive[: scale.queries], "query")
    return Suite(
        name=f"{task.name} draw {draw}",
        data=named_records(
            [{**rows[each], "planted": task.labelled(rows[each])} for each in training], "train"
        ),
        positive=named_records(positive, "positive"),
        negative=named_records(negative, "negative"),
        queries=asked,
        behaviour=asked,
        normal=named_records(negative[: scale.queries], "normal"),
        recipe="logistic-probe",
    )


def run(found: Findings, *, quick: bool) -> None:
    """All of this part; what has been made before is found again."""
    scale = QUICK if quick else FULL
    every = {name: completions(name) for name in ("gpt4", "llama2orig", "mistralinstruct")}
    for name, rows in every.items():
        count = sum(row["unsafe"] and row["complies"] for row in rows.values())
        unsafe = sum(row["unsafe"] for row in rows.values())
        found.add(
            part=PART,
            completions_of=name,
            rows=len(rows),
            unsafe=unsafe,
            unsafe_compliance=count,
            unsafe_compliance_share=count / unsafe,
        )
    model = model_for(PART, [text for rows in every.values() for text in read_as(rows.values())], quick=quick)
    for task in TASKS[:1] if quick else TASKS:
        suites = [suite(draw, task, scale) for draw in range(scale.draws)]
        draws = every_draw(suites, model, [task.depth] * scale.draws)
        find_labelled(draws, found, part=PART, task=task.name)
