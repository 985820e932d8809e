"""The statements and questions of bergson's `recall`, and how well an order of the statements answers the questions."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from peers.environment import peers_python, peers_variables

from aitia.files import atomic_path
from aitia.records import Records, records_from_rows
from aitia.statistics import Estimate, bootstrap_estimate, reciprocal_rank
from harness import WORK
from public.sources import source

FOLDER = WORK / "public" / "facts"
RUNNER = Path(__file__).parents[1] / "peers" / "run_recall.py"
LISTS = tuple(
    f"names/{name}" for name in ("employer", "first_name", "last_name", "town", "university")
) + tuple(f"templates/{name}" for name in ("birthdate", "birthplace", "employer", "university"))
K = 10


@dataclass(frozen=True, kw_only=True, eq=False)
class Facts:
    """Statements and the questions about them.

    Attributes:
        statements: with `fact`, `question`, `answer`, `identifier` of the person and `field`.
    """

    statements: Sequence[dict[str, Any]]

    @cached_property
    def questions(self) -> list[dict[str, Any]]:
        """The first statement of each person and field: it has the question and the answer."""
        return list({(row["identifier"], row["field"]): row for row in reversed(self.statements)}.values())[
            ::-1
        ]

    @cached_property
    def wanted(self) -> np.ndarray:
        """[questions, statements] bool: which statement is of the fact asked for."""
        keys = [(row["identifier"], row["field"]) for row in self.statements]
        return np.array(
            [[key == (row["identifier"], row["field"]) for key in keys] for row in self.questions], dtype=bool
        )

    @property
    def people(self) -> np.ndarray:
        """[questions] whom each is about."""
        return np.array([row["identifier"] for row in self.questions])

    def training_records(self) -> Records:
        """The statements as training texts."""
        return records_from_rows([{"text": row["fact"]} for row in self.statements], name="statements")

    def query_records(self) -> Records:
        """Question and answer; the answer is what is measured."""
        rows = [{"prompt": row["question"], "completion": f" {row['answer']}"} for row in self.questions]
        return records_from_rows(rows, name="questions")


def read_facts(people: int, seed: int) -> Facts:
    """The facts, made by the peer's generator the first time."""
    lists = [source(f"recall/{name}.txt") for name in LISTS]
    kept = FOLDER / f"facts-{people}-{seed}.json"
    if not kept.is_file():
        folder = lists[0].parents[1]
        if {path.parents[1] for path in lists} != {folder}:
            raise SystemExit(f"the lists of recall lie in several folders: put all of them into {folder}")
        with atomic_path(kept) as temporary:
            run_peer("facts", folder, temporary, "--people", str(people), "--seed", str(seed))
    return Facts(statements=json.loads(kept.read_text(encoding="utf-8")))


def run_peer(method: str, folder: Path, out: Path, *others: str) -> None:
    """Run a method of `peers/run_recall.py` in the peers' environment.

    Raises:
        subprocess.CalledProcessError: If it fails; its own words are printed.
    """
    command = [str(peers_python()), str(RUNNER), method, "--folder", str(folder), "--out", str(out), *others]
    subprocess.run(command, check=True, env=peers_variables())


def figures(scores: np.ndarray, facts: Facts, k: int = K) -> dict[str, float]:
    """MRR, share of questions with a hit among the first k, and share of statements found there; with intervals."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    found = np.take_along_axis(facts.wanted, order, axis=1)
    each = {
        "mrr": np.array(
            [reciprocal_rank(row, wanted) for row, wanted in zip(scores, facts.wanted, strict=True)]
        ),
        f"hit@{k}": found.any(axis=1).astype(float),
        f"recall@{k}": found.sum(axis=1) / np.minimum(facts.wanted.sum(axis=1), k),
    }
    return {
        name: value for key, values in each.items() for name, value in _figure(key, values, facts).items()
    }


def _figure(name: str, values: np.ndarray, facts: Facts) -> dict[str, float]:
    people = np.unique(facts.people)
    by_person = np.array([values[facts.people == person].mean() for person in people])
    found: Estimate = bootstrap_estimate(len(people), lambda drawn: float(by_person[drawn].mean()))
    return {name: found.value, f"{name}_low": found.low, f"{name}_high": found.high}
