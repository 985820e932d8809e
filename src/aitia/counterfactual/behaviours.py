"""Behaviours: what is measured on a model after it was trained, one number a held-out text.

Three kinds, from the model's inside to its face: how far its activations lie along a concept, how much
likelier it holds one answer than another, and what a judge says of the text that it writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from aitia.attribution.gradients import ConceptMeasurement, LogProbability, Measurement, Tokens, highest_site
from aitia.concepts import Concept
from aitia.counterfactual.judging.judge import Judge
from aitia.errors import AitiaError, JudgeError
from aitia.models import LanguageModel, generate_responses, in_tokens, run
from aitia.records import BATCH_TOKENS, Records, TokenizedRecords, length_batches, pad_batch

_BATCH_TOKENS = 4096


class Behaviour(Protocol):
    """Something to measure on a model.

    Attributes:
        name: for tables.
    """

    @property
    def name(self) -> str:
        """For tables."""
        ...

    def values(self, model: LanguageModel) -> np.ndarray:
        """One number a held-out text: [n]. The larger, the more of the behaviour."""
        ...

    def identity(self) -> list[Any]:
        """What the numbers depend on beside the model, for naming results: plain JSON."""
        ...


ANSWER_TOKENS = 256
"""Longest answer that is sampled by default, in tokens: long enough that few are cut off."""


@dataclass(frozen=True, kw_only=True)
class ConceptProjection:
    """The projection of the activations on a concept, over held-out texts: what Concept Influence predicts.

    Attributes:
        concept: direction and site.
        texts: other than those the concept was fitted to and those the ranking asked about.
        tokens: as `ConceptMeasurement` has them; default: those that the concept is read at.
        name: for tables.
    """

    concept: Concept
    texts: Records
    tokens: Tokens | None = None
    name: str = "concept projection"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", self.tokens or self.concept.tokens)

    def values(self, model: LanguageModel) -> np.ndarray:
        """[n], in the activations' own units."""
        measurement = ConceptMeasurement(concept=self.concept, tokens=self.tokens)
        return measure(model, self.texts, measurement)

    def identity(self) -> list[Any]:
        """Kind, concept, texts and tokens."""
        return ["projection", self.concept.fingerprint, self.texts.fingerprint, self.tokens]


@dataclass(frozen=True, kw_only=True)
class LikelihoodMargin:
    """How much likelier the model holds the behaviour's answers than normal ones, to the same prompts.

    Attributes:
        behaviour: n held-out rows that show the behaviour.
        normal: n rows with the same prompts and normal answers; none to take the likelihood alone.
        name: for tables.
    """

    behaviour: Records
    normal: Records | None = None
    name: str = "likelihood margin"

    def __post_init__(self) -> None:
        if self.normal is not None and len(self.normal) != len(self.behaviour):
            raise AitiaError(
                f"{self.name}: {len(self.behaviour)} texts with the behaviour and {len(self.normal)} without; "
                "give a pair for each prompt"
            )

    def values(self, model: LanguageModel) -> np.ndarray:
        """[n], nats a token."""
        found = measure(model, self.behaviour, LogProbability())
        return found if self.normal is None else found - measure(model, self.normal, LogProbability())

    def identity(self) -> list[Any]:
        """Kind and texts."""
        return [
            "margin",
            self.behaviour.fingerprint,
            None if self.normal is None else self.normal.fingerprint,
        ]


@dataclass(frozen=True, kw_only=True)
class JudgedResponses:
    """What a judge says of the model's own responses to held-out prompts.

    Attributes:
        prompts: rows whose prompts are answered; their own responses are not looked at.
        judge: grades each response.
        judged_by: the judge's name, which results are filed under.
        max_new_tokens: longest response.
        temperature: of the sampling; 0 takes the likeliest token.
        samples: responses to each prompt; their grades are averaged.
        seed: of the sampling.
        name: for tables.
    """

    prompts: Records
    judge: Judge = field(repr=False)
    judged_by: str
    max_new_tokens: int = ANSWER_TOKENS
    temperature: float = 1.0
    samples: int = 1
    seed: int = 0
    name: str = "judged responses"

    def values(self, model: LanguageModel) -> np.ndarray:
        """[n], from 0 to 1.

        Returns:
            [n] float64.

        Raises:
            JudgeError: a prompt's responses could not be graded, not one of them.
        """
        asked = [record.prompt_text or "" for record in self.prompts]
        grades = []
        for sample in range(self.samples):
            texts = on_policy_responses(
                model,
                self.prompts,
                max_new_tokens=self.max_new_tokens,
                temperature=self.temperature,
                seed=self.seed + sample,
            )
            grades.append(self.judge.scores(asked, texts))
        ungraded = np.isnan(grades).all(axis=0)
        if ungraded.any():
            record = self.prompts[int(np.flatnonzero(ungraded)[0])]
            raise JudgeError(
                f"{record.location}: {self.judged_by} gave no usable grade for any response "
                f"({int(ungraded.sum())} such prompts); look at its answers, or take more samples"
            )
        return np.nanmean(grades, axis=0)

    def identity(self) -> list[Any]:
        """Kind, prompts, judge and sampling."""
        sampling = [self.max_new_tokens, self.temperature, self.samples, self.seed]
        return ["judged", self.prompts.fingerprint, self.judged_by, *sampling]


def on_policy_responses(
    model: LanguageModel, prompts: Records, *, max_new_tokens: int, temperature: float, seed: int
) -> list[str]:
    """What the model answers to each prompt, as text; the rows' own responses are not looked at."""
    starts = [row.tokens[: int(np.argmax(row.response))] for row in in_tokens(model, prompts)]
    answers = generate_responses(
        model, starts, max_new_tokens=max_new_tokens, temperature=temperature, seed=seed, batch_rows=32
    )
    return [str(model.tokenizer.decode(tokens, skip_special_tokens=True)) for tokens in answers]


def measure(model: LanguageModel, texts: Records | TokenizedRecords, measurement: Measurement) -> np.ndarray:
    """A measurement of each text, without gradients: [n] float64.

    Returns:
        [n] float64, in the order of the texts.

    Raises:
        RecordError: a text cannot be cut into tokens, or is longer than the model's context.
        SiteError: the measurement looks at a site that does not exist.
    """
    rows = in_tokens(model, texts)
    found = np.empty(len(rows), dtype=np.float64)
    stop = highest_site(measurement) is not None
    for index in length_batches([len(row.tokens) for row in rows], max_tokens=BATCH_TOKENS):
        batch = pad_batch(rows, index, model.pad_id)
        found[index] = (
            measurement.values(run(model, batch, measurement.sites, stop=stop), batch).cpu().numpy()
        )
    return found
