"""The published JSON schemas: of scorecards, and of explanation files. `make schemas` writes them to docs/schemas.

The forms here are strict: a key that is not named is refused, so a card that passes has nothing undocumented in it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from aitia.files import write_json
from aitia.pipelines.evaluation.explanation_forms import ExplanationFile


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class PhenomenonCard(_Part):
    """What was explained."""

    name: str
    fingerprint: str
    model: str
    model_fingerprint: str
    inputs: int = Field(ge=1)
    fit_inputs: int = Field(ge=0)
    test_inputs: int = Field(ge=1)
    outcomes: list[str]
    null: str = Field(description="What the null predictor is.")
    exhaustive: bool
    seed: int | None


class IntervalCard(_Part):
    """Around a value."""

    low: float | None = Field(description="null: unbounded")
    high: float | None = Field(description="null: unbounded")
    level: float = Field(ge=0, le=1)
    method: str


class ResultCard(_Part):
    """One virtue."""

    name: str
    perspective: str
    group: str = Field(description="Virtues of one group measure nearly the same.")
    unit: str
    range: list[float | None] = Field(description="Smallest and largest possible value; null: unbounded.")
    direction: Literal["up", "down", "zero", "none"] = Field(description="Which way is better.")
    formula: str
    source: str
    status: Literal["measured", "estimated", "declared", "not applicable", "not evaluable"]
    value: float | None = Field(description="null where there is none, which is not 0")
    reason: str
    interval: IntervalCard | None
    n: int = Field(ge=0)
    seed: int | None
    floor: float | None = Field(description="What a null, shuffled or random explanation gets.")
    ceiling: float | None = Field(description="What a perfect explanation could get.")
    discriminating: bool | None = Field(description="Whether it stands out from its sanity checks.")
    grade: Literal["highly", "weakly", "not"] | None
    details: dict[str, Any]


class ConditionCard(_Part):
    """One of the four conditions."""

    name: Literal["model-level", "ontic", "causal-mechanistic", "falsifiable"]
    met: bool | None
    evidence: str


class PremiseCard(_Part):
    """One thing that is assumed."""

    name: str
    kind: Literal["law", "fact", "parameter", "definition"]
    statement: str
    bits: float


class ExplanationCard(_Part):
    """One explanation, the first of which is the one in question."""

    name: str
    fingerprint: str
    verdict: str
    summary: list[str] = Field(
        min_length=3, max_length=3, description="Whether it holds, how much of the inside, how simple."
    )
    conditions: list[ConditionCard]
    premises: list[PremiseCard]
    variables: dict[str, str | None] = Field(description="Variable to the site where it is said to live.")
    results: list[ResultCard]


class DifferenceCard(_Part):
    """One virtue of two baselines."""

    name: str
    low: float | None
    high: float | None
    better: Literal[-1, 0, 1]


class ComparisonCard(_Part):
    """Two baselines."""

    first: str
    second: str
    first_better: list[str]
    second_better: list[str]
    dominates: str | None
    first_distinction: str = Field(description="The first thing on which the two differ.")
    barred: list[str] = Field(description="Those that take no part in dominance: they do not pass the gate.")
    differences: list[DifferenceCard]


class WeighingCard(_Part):
    """What the user's weights make of the baselines."""

    virtues: list[str]
    totals: dict[str, float]
    wins: dict[str, float] = Field(description="Share of all weights under which each would win.")
    draws: int
    seed: int


class ScorecardFile(_Part):
    """A whole scorecard. It holds no total."""

    format: Literal["aitia-scorecard-v1"]
    phenomenon: PhenomenonCard
    settings: dict[str, float | int]
    settings_fingerprint: str
    rubric: dict[str, list[float]]
    explanations: list[ExplanationCard] = Field(min_length=1)
    comparisons: list[ComparisonCard]
    weighing: WeighingCard | None


SCHEMAS: dict[str, type[BaseModel]] = {
    "scorecard.schema.json": ScorecardFile,
    "explanation.schema.json": ExplanationFile,
}


def write_schemas(folder: Path) -> None:
    """Write every schema to a folder."""
    for name, form in SCHEMAS.items():
        write_json(folder / name, schema(name, form))


def schema(name: str, form: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a form."""
    found = form.model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": name} | found


if __name__ == "__main__":
    import sys

    write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas"))
