"""The scorecard: every virtue of an explanation with its controls, beside its baselines, and never a total."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.card.comparison import Comparison, Weighing, compare, weigh
from aitia.explanations.card.conditions import (
    MECHANISTIC,
    PREDICTIVE,
    REFUSED,
    Condition,
    standing,
    verdict,
)
from aitia.explanations.card.rubric import Rubric, grade, load_rubric
from aitia.explanations.card.summary import sentences
from aitia.explanations.core.catalogue import PERSPECTIVES
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.result import VirtueResult
from aitia.explanations.core.settings import Settings
from aitia.files import write_json, write_text
from aitia.notebook import html_block, one_line
from aitia.statistics import Interval

FORMAT = "aitia-scorecard-v1"


@dataclass(frozen=True, kw_only=True, eq=False, repr=False)
class Scorecard:
    """What judging an explanation found.

    Attributes:
        explanation: the one that was judged.
        settings: how.
        results: one for each virtue, in the catalogue's order.
        conditions: the four conditions of a mechanistic explanation.
        baselines: the cards of its baselines.
        rubric: thresholds of the grades.
        weighing: what the user's weights make of it and its baselines, if any were given.
        distinctions: for each baseline, the first thing on which it and the explanation differ.
    """

    explanation: Explanation
    settings: Settings
    results: tuple[VirtueResult, ...]
    conditions: tuple[Condition, ...]
    baselines: tuple[Scorecard, ...] = ()
    rubric: Rubric
    weighing: Weighing | None = None
    distinctions: tuple[str, ...] = ()

    def __repr__(self) -> str:
        return f"Scorecard({one_line(self.name)!r}, {len(self.results)} virtues: {self.verdict})"

    def _repr_html_(self) -> str:
        rows = [
            (each.name, each.status, "" if each.value is None else float(each.value), each.reason or "")
            for each in self.results
        ]
        return html_block(
            f"Scorecard of “{self.name}”",
            {
                "verdict": self.verdict,
                "baselines": ", ".join(each.name for each in self.baselines) or None,
            },
            ("virtue", "status", "value", "note"),
            rows,
        )

    @property
    def name(self) -> str:
        """The explanation's name."""
        return self.explanation.name

    @property
    def by_name(self) -> dict[str, VirtueResult]:
        """Results by the virtue's name."""
        return {each.name: each for each in self.results}

    def __getitem__(self, name: str) -> VirtueResult:
        try:
            return self.by_name[name]
        except KeyError:
            raise ExplanationError(f"no virtue {name!r}; there are {', '.join(self.by_name)}") from None

    @property
    def verdict(self) -> str:
        """What the four conditions make of it."""
        return verdict(self.conditions)

    @property
    def standing(self) -> str:
        """Whether it passes the gate (mechanistic), claims nothing of the inside (predictive), or is refused."""
        return standing(self.conditions, aligned=bool(self.explanation.aligned))

    @property
    def summary(self) -> tuple[str, str, str]:
        """Three sentences: whether it holds, how much of the inside it says, and how simple it is."""
        return sentences(self.standing, self.conditions, self.by_name, self.settings)

    def comparisons(self) -> tuple[Comparison, ...]:
        """This explanation beside each baseline, by Pareto dominance."""
        phenomenon = self.explanation.phenomenon
        mass = phenomenon.normalised_weights(phenomenon.test_indices)
        return tuple(
            compare(
                (self.name, each.name),
                self.by_name,
                each.by_name,
                mass,
                self.settings,
                barred=_barred(self, each),
            )
            for each in self.baselines
        )

    def weighed(self, weights: Mapping[str, float]) -> Scorecard:
        """The card with a total by the user's weights, and how much hangs on them.

        Returns:
            A copy of the card with the total.

        Raises:
            ExplanationError: there are no baselines, or a weight cannot be used.
        """
        if not self.baselines:
            raise ExplanationError("weights compare baselines, and this card has none")
        everyone = {card.name: card.by_name for card in (self, *self.baselines)}
        return replace(self, weighing=weigh(everyone, weights, seed=self.settings.seed))

    def as_json(self) -> dict[str, Any]:
        """The card as plain data; `docs/schemas/scorecard.schema.json` describes it."""
        phenomenon = self.explanation.phenomenon
        return {
            "format": FORMAT,
            "phenomenon": {
                "name": phenomenon.name,
                "fingerprint": phenomenon.fingerprint,
                "model": phenomenon.model.name,
                "model_fingerprint": phenomenon.model.fingerprint,
                "inputs": len(phenomenon.inputs),
                "fit_inputs": len(phenomenon.fit_indices),
                "test_inputs": len(phenomenon.test_indices),
                "outcomes": list(phenomenon.outcomes),
                "null": phenomenon.null_is,
                "exhaustive": phenomenon.exhaustive,
                "seed": phenomenon.seed,
            },
            "settings": asdict(self.settings),
            "settings_fingerprint": self.settings.fingerprint,
            "rubric": {name: list(thresholds) for name, thresholds in self.rubric.items()},
            "explanations": [card._own_json() for card in (self, *self.baselines)],
            "comparisons": [
                {
                    "first": each.first,
                    "second": each.second,
                    "first_better": each.groups(1),
                    "second_better": each.groups(-1),
                    "dominates": each.dominates,
                    "barred": list(each.barred),
                    "first_distinction": told,
                    "differences": [_plain(asdict(difference)) for difference in each.differences],
                }
                for each, told in zip(
                    self.comparisons(), self.distinctions or ("",) * len(self.baselines), strict=True
                )
            ],
            "weighing": None if self.weighing is None else _plain(asdict(self.weighing)),
        }

    def _own_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "fingerprint": self.explanation.fingerprint,
            "verdict": self.verdict,
            "summary": list(self.summary),
            "conditions": [asdict(each) for each in self.conditions],
            "premises": [
                {"name": name, "kind": each.kind, "statement": each.statement, "bits": each.length}
                for name, each in self.explanation.premises.items()
            ],
            "variables": {
                name: None if each.alignment is None else each.alignment.site
                for name, each in self.explanation.variables.items()
            },
            "results": [_result_json(each, self.rubric) for each in self.results],
        }

    def markdown(self) -> str:
        """The card as Markdown, for a paper or a model card."""
        from aitia.report import scorecard_markdown

        return scorecard_markdown(self.as_json())

    def html(self) -> str:
        """The card as one HTML page that needs no network."""
        from aitia.report import render, scorecard_document

        return render(scorecard_document(self.as_json()))

    def write(self, path: Path | str) -> Path:
        """Write the card, whole or not at all, in the form that the name ends on: .json, .md or .html.

        Returns:
            The file.

        Raises:
            ExplanationError: another ending.
        """
        suffix = Path(path).suffix
        if suffix == ".json":
            return write_json(path, self.as_json())
        if suffix in (".md", ".html"):
            return write_text(path, self.markdown() if suffix == ".md" else self.html())
        raise ExplanationError(f"{path}: a scorecard is written as .json, .md or .html")


def make_scorecard(
    explanation: Explanation,
    settings: Settings,
    results: Sequence[VirtueResult],
    gate: tuple[Condition, ...],
    *,
    baselines: tuple[Scorecard, ...] = (),
    rubric: Rubric | None = None,
    distinctions: tuple[str, ...] = (),
) -> Scorecard:
    """A card with its results in the catalogue's order."""
    places = {perspective: i for i, perspective in enumerate(PERSPECTIVES)}
    ordered = sorted(results, key=lambda each: places[each.virtue.perspective])
    return Scorecard(
        explanation=explanation,
        settings=settings,
        results=tuple(ordered),
        conditions=gate,
        baselines=baselines,
        rubric=load_rubric() if rubric is None else rubric,
        distinctions=distinctions,
    )


def _barred(first: Scorecard, second: Scorecard) -> list[str]:
    """Who takes no part in dominance: the refused; and what claims nothing of the inside, beside what does."""
    inside = MECHANISTIC in (first.standing, second.standing)
    out = {REFUSED, PREDICTIVE} if inside else {REFUSED}
    return [each.name for each in (first, second) if each.standing in out]


def _result_json(result: VirtueResult, rubric: Rubric) -> dict[str, Any]:
    virtue = result.virtue
    return {
        "name": result.name,
        "perspective": virtue.perspective,
        "group": virtue.group,
        "unit": virtue.unit,
        "range": [_finite(virtue.low), _finite(virtue.high)],
        "direction": virtue.direction,
        "formula": virtue.formula,
        "source": virtue.source,
        "status": str(result.status),
        "value": result.value,
        "reason": result.reason,
        "interval": _interval(result.interval),
        "n": result.n,
        "seed": result.seed,
        "floor": _plain(result.floor),
        "ceiling": _plain(result.ceiling),
        "discriminating": result.discriminating,
        "grade": grade(result, rubric),
        "details": _plain(dict(result.details)),
    }


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    return None if interval is None else _plain(asdict(interval))


def _finite(number: float) -> float | None:
    return number if math.isfinite(number) else None


def _plain(value: Any) -> Any:
    """Plain JSON data: arrays as lists, numbers that JSON cannot hold as null."""
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic):
        value = value.item()
    return _finite(value) if isinstance(value, float) else value
