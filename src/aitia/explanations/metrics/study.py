"""One explanation held against its phenomenon: what every virtue is computed from, worked out once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from aitia.errors import ExplanationError
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.phenomenon import Phenomenon
from aitia.explanations.core.predictive import Predictive
from aitia.explanations.core.settings import Settings
from aitia.explanations.metrics.bayesian import accuracy, skill
from aitia.explanations.metrics.faithfulness import intervention_pairs
from aitia.statistics import Interval, bootstrap, exact, weighted_mean_interval


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """An explanation, its settings, and its predictions on the test split.

    Attributes:
        explanation: the one under test.
        settings: how it is judged.
    """

    explanation: Explanation
    settings: Settings

    @property
    def phenomenon(self) -> Phenomenon:
        """What is explained."""
        return self.explanation.phenomenon

    @cached_property
    def raw(self) -> Predictive:
        """Predictions on the test split, as given."""
        return self.explanation.predict(self.phenomenon.inputs[self.test])

    @property
    def test(self) -> np.ndarray:
        """Indices of the test split."""
        return self.phenomenon.test_indices

    @cached_property
    def covered(self) -> np.ndarray:
        """[n] bool over the test split: where it predicts anything."""
        return self.raw.covered

    @cached_property
    def indices(self) -> np.ndarray:
        """Indices of the test inputs that it predicts anything for.

        Raises:
            ExplanationError: there are none.
        """
        if not self.covered.any():
            raise ExplanationError(
                f"explanation {self.explanation.name!r} abstains on every test input; there is nothing to judge"
            )
        return self.test[self.covered]

    @cached_property
    def predictive(self) -> Predictive:
        """Floored predictions where it does not abstain."""
        return self.raw.at(np.flatnonzero(self.covered)).floored(self.settings.epsilon)

    @cached_property
    def observed(self) -> np.ndarray:
        """[n] labels where it does not abstain."""
        return self.phenomenon.observed[self.indices]

    @cached_property
    def null(self) -> np.ndarray:
        """[n, k] the null's predictions there."""
        return self.phenomenon.null_predictions(self.indices)

    @cached_property
    def weights(self) -> np.ndarray:
        """[n] how much each of them counts, summing to one."""
        return self.phenomenon.normalised_weights(self.indices)

    @property
    def counts(self) -> np.ndarray:
        """[n] how often each of them counts, summing to n."""
        return self.weights * len(self.weights)

    @cached_property
    def log_probs(self) -> np.ndarray:
        """[n] log2 P(o_i), floored."""
        return log_scores(self.predictive.marginals, self.observed)

    @cached_property
    def null_log_probs(self) -> np.ndarray:
        """[n] log2 Q0(o_i)."""
        return log_scores(self.null, self.observed)

    @property
    def exact(self) -> bool:
        """Whether figures over the test split need no interval."""
        return self.phenomenon.exact

    @cached_property
    def pairs(self) -> tuple[np.ndarray, np.ndarray, bool]:
        """Bases and sources for interventions, and whether that is all of them on an exact domain."""
        bases, sources, complete = intervention_pairs(
            self.indices,
            self.phenomenon.sources,
            limit=self.settings.interventions,
            seed=self.settings.seed,
            mass=self.weights,
        )
        return bases, sources, complete and self.exact

    def interval(self, items: np.ndarray, value: float | None = None) -> Interval:
        """Of the weighted mean of items [n]."""
        mean = float(self.weights @ items) if value is None else value
        if self.exact:
            return exact(mean)
        return weighted_mean_interval(
            items,
            self.weights,
            level=self.settings.level,
            resamples=self.settings.resamples,
            seed=self.settings.seed,
        )

    def interval_of(self, statistic: Callable[[np.ndarray], np.ndarray], value: float) -> Interval:
        """Of any statistic of how often each input is drawn: counts [r, n] -> [r]."""
        if self.exact:
            return exact(value)
        return bootstrap(
            statistic,
            len(self.indices),
            level=self.settings.level,
            resamples=self.settings.resamples,
            seed=self.settings.seed,
        )


def log_scores(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """[n] log2 of the probability [n, k] of each label."""
    with np.errstate(divide="ignore"):
        return np.log2(probabilities[np.arange(len(labels)), labels])


def skill_on(explanation: Explanation, settings: Settings, indices: np.ndarray | None = None) -> float:
    """1 - CE / CE_0 on test inputs, or on given ones; NaN where the null is never surprised.

    CE is that of all observations together; where it abstains, the null's prediction stands in for its own.

    Returns:
        The skill, at most 1, or NaN.
    """
    phenomenon = explanation.phenomenon
    chosen = phenomenon.test_indices if indices is None else indices
    return skill_of(explanation.predict(phenomenon.inputs[chosen]), phenomenon, settings, chosen)


def skill_of(
    predictive: Predictive, phenomenon: Phenomenon, settings: Settings, indices: np.ndarray
) -> float:
    """The same from predictions on inputs that were made already."""
    counts = phenomenon.normalised_weights(indices) * len(indices)
    observed = phenomenon.observed[indices]
    null_log_probs = log_scores(phenomenon.null_predictions(indices), observed)
    covered = predictive.covered
    total = float(counts[~covered] @ null_log_probs[~covered])
    if covered.any():
        own = predictive.at(np.flatnonzero(covered)).floored(settings.epsilon)
        total += accuracy(own, observed[covered], counts[covered])
    null = float(counts @ null_log_probs)
    return skill(-total, -null) if null < -1e-12 else float("nan")


def filled_log_scores(
    explanation: Explanation, settings: Settings, indices: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """[n] log2 P(o) and log2 Q0(o) on inputs of the domain, the null's score where it abstains."""
    phenomenon = explanation.phenomenon
    observed = phenomenon.observed[indices]
    null_log_probs = log_scores(phenomenon.null_predictions(indices), observed)
    predictive = explanation.predict(phenomenon.inputs[indices])
    logs = log_scores(predictive.floored(settings.epsilon).marginals, observed)
    return np.where(predictive.covered, logs, null_log_probs), null_log_probs
