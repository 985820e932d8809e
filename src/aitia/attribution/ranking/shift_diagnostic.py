"""Is Vector Filter safe on these data? A diagnosis from stored activations, without retraining.

Vector Filter scores a row by <v, h_i>, the projection of its mean response activation. That is what the
response adds, plus a term that the prompt brings with it, whatever is answered:

    <v, h_i> = <v, b_i> + <v, h_i - b_i>,   b_i the mean activation of the model's own responses to prompt i

The prompt's term says nothing about training on the row (the score function's mean is zero), so Vector Filter
ranks like Projection Difference only if that term hardly varies over the rows. On prompts of many kinds it does
vary, and Vector Filter ranks prompts. Three things show it:

- how much of the scores' variance the prompt's own projection <v, b_i> explains (R^2 of a straight line);
- how much of it can be predicted, on rows held out, from the whole of b_i. In a chat template the last token
  before the response can hardly project on v and still say which answers follow;
- how far the ranking agrees with the activation-gradient scores, which are gradients and have no such term.

The measures follow Kowal et al. 2026 (where Vector Filter fails, and the split of Projection Difference); the
diagnosis and its thresholds are ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from aitia.attribution.scanning.activation_products import Reading
from aitia.attribution.scanning.store import ActivationStore
from aitia.attribution.scorers import score_concepts
from aitia.concepts import Concept
from aitia.errors import AitiaError, NumericalError
from aitia.statistics import spearman

SAFE_PROMPT_SHARE = 0.25
"""At or under this share of the variance, the prompt's term is taken for small."""

UNSAFE_PROMPT_SHARE = 0.5
"""At or over this share the prompts decide more of the ranking than all else together."""

SAFE_AGREEMENT = 0.2
"""At or over this rank correlation with activation-gradient the two are taken to tell the same story; vector and
gradient methods are reported at 0.37 to 0.45 where both work."""

UNSAFE_AGREEMENT = 0.1
"""At or under this rank correlation they do not."""

FAR = 1.0
"""A distance from the concept's fitting texts, in their standard deviations, that is worth a word."""

LEAST_ROWS = 50
"""Fewer rows than this are not diagnosed."""

_MOST_ROWS = 4_000
_RESAMPLES = 400
_FOLDS = 5
_PENALTIES = np.logspace(-4, 1, 11)  # of the ridge regression, in units of rows times width

Verdict = Literal["safe", "unsafe", "undecided"]


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A number and its 95% percentile interval over bootstrap resamples of the rows."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


@dataclass(frozen=True, kw_only=True)
class Distance:
    """How far the data's mean response activation lies from that of the concept's fitting texts.

    Attributes:
        along: difference of the means along v, over the fitting texts' standard deviation along v.
        off: length of the difference at right angles to v, over the root of the fitting texts' total variance
            there. Two samples of one population of m and n texts give about sqrt(1/m + 1/n).
    """

    along: float
    off: float


@dataclass(frozen=True, kw_only=True)
class ShiftDiagnosis:
    """What was measured, the verdict on Vector Filter, and why.

    Attributes:
        concept: its name.
        site: where.
        rows: how many rows were looked at.
        baseline: the activation that stood for the prompt's term, `on_policy_response` or `prompt_end`.
        projection_share: share of the variance of Vector Filter's scores that the prompt's own projection
            explains, R^2.
        predicted_share: share of it that a ridge regression on the prompt's whole activation predicts, on rows
            held out; 0 where it predicts nothing.
        agreement: Spearman correlation of Vector Filter with activation-gradient; None without that activation.
        agreement_of_difference: likewise of the scores less the prompt's term, as in Projection Difference.
        distance: from the concept's fitting texts, where their activations were given.
        verdict: on Vector Filter.
        reasons: in words.
    """

    concept: str
    site: str
    rows: int
    baseline: str
    projection_share: Estimate
    predicted_share: Estimate
    agreement: Estimate | None
    agreement_of_difference: Estimate | None
    distance: Distance | None
    verdict: Verdict
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        lines = [
            f"Vector Filter for {self.concept!r} at {self.site} on {self.rows:,} rows: {self.verdict.upper()}",
            *(f"- {reason}" for reason in self.reasons),
            f"  variance explained by the prompt's projection ({self.baseline}): {self.projection_share}",
            f"  variance predicted from the prompt's whole activation: {self.predicted_share}",
            f"  rank agreement with activation-gradient: {self.agreement or 'not measured'}",
            f"  the same, less the prompt's term: {self.agreement_of_difference or 'not measured'}",
        ]
        if self.distance is not None:
            lines.append(
                f"  distance from the fitting texts: {self.distance.along:+.2f} along the direction, "
                f"{self.distance.off:.2f} off it, in their standard deviations"
            )
        return "\n".join(lines)


def diagnose_shift(
    store: ActivationStore, concept: Concept, *, fitting_activations: np.ndarray | None = None, seed: int = 0
) -> ShiftDiagnosis:
    """Say whether Vector Filter is safe for a concept on scanned data.

    Rows without a prompt are left out; of more than 4,000 rows, evenly spaced ones are taken. Rows are
    resampled as if independent, so intervals are too narrow where many rows share a prompt.

    Args:
        store: a finished store. With the backward activation the verdict can be `safe`; without it, `unsafe` or
            `undecided`. With `on_policy_response`, that is the prompt's term; otherwise the last prompt token.
        concept: at one of the store's sites.
        fitting_activations: [m, d] response activations at the concept's site and tokens of the texts that it was
            fitted to (`aitia.concepts.response_activations`), for the distance from them.
        seed: of the bootstrap.

    Returns:
        What was measured, the verdict, and the reasons for it.

    Raises:
        StoreError: the store lacks the concept's site, or an activation.
        ConceptError: the concept has another width.
        AitiaError: fewer than `LEAST_ROWS` rows with a prompt, or the fitting activations do not fit.
        NumericalError: all rows have the same score, or a stored value is not finite.
    """
    baseline = "on_policy_response" if "on_policy_response" in store.activations else "prompt_end"
    rows = _chosen_rows(store)
    scores = score_concepts(store, [concept], "vector-filter")[0][rows].astype(np.float64)
    if np.ptp(scores) == 0:
        raise NumericalError(
            f"{store.path}: Vector Filter gives every row the same score; is the site right?"
        )
    read = Reading(activation=baseline).at(concept.tokens).activation
    prompts = _collect(store, read, concept.site, rows)
    prompt = prompts @ concept.vector.astype(np.float64)
    projection_share = _estimate(explained_share, prompt, scores, seed=seed)
    predicted = _predict_held_out(prompts, scores, seed=seed)
    predicted_share = _estimate(predicted_share_of, predicted, scores, seed=seed)
    agreement = difference = None
    if "backward" in store.activations:
        gradient = score_concepts(store, [concept], "activation-gradient")[0][rows].astype(np.float64)
        agreement = _estimate(spearman, scores, gradient, seed=seed)
        difference = _estimate(spearman, scores - prompt, gradient, seed=seed)
    distance = None if fitting_activations is None else _distance(store, concept, fitting_activations, rows)
    share = max(projection_share, predicted_share, key=lambda each: each.value)
    verdict, reasons = _judge(share, agreement, difference, distance)
    return ShiftDiagnosis(
        concept=concept.name,
        site=concept.site,
        rows=len(rows),
        baseline=baseline,
        projection_share=projection_share,
        predicted_share=predicted_share,
        agreement=agreement,
        agreement_of_difference=difference,
        distance=distance,
        verdict=verdict,
        reasons=tuple(reasons),
    )


def explained_share(predictor: np.ndarray, values: np.ndarray) -> float:
    """R^2 of a straight line from one array [n] to another [n]; 0 where the predictor is constant."""
    x, y = predictor - predictor.mean(), values - values.mean()
    spread = (x @ x) * (y @ y)
    return float((x @ y) ** 2 / spread) if spread > 0 else 0.0


def predicted_share_of(predicted: np.ndarray, values: np.ndarray) -> float:
    """Share of the variance of values [n] that predictions [n] take away; 0 where they take none."""
    residual, spread = values - predicted, values - values.mean()
    return max(0.0, 1 - float(residual @ residual) / max(float(spread @ spread), 1e-300))


def _chosen_rows(store: ActivationStore) -> np.ndarray:
    rows = np.flatnonzero(store.column("prompt_tokens") > 0)
    if len(rows) < LEAST_ROWS:
        raise AitiaError(
            f"{store.path}: {len(rows)} rows with a prompt; a diagnosis needs at least {LEAST_ROWS}. Scan more rows"
        )
    return rows[:: -(-len(rows) // _MOST_ROWS)]


def _collect(store: ActivationStore, activation: str, site: str, rows: np.ndarray) -> np.ndarray:
    """An activation of the chosen rows (ascending), [m, d] float64."""
    place = np.full(len(store), -1)
    place[rows] = np.arange(len(rows))
    found: np.ndarray | None = None
    for positions, block in store.blocks([activation], site):
        values, targets = block[activation], place[positions]
        if found is None:
            found = np.empty((len(rows), values.shape[1]))
        found[targets[targets >= 0]] = values[targets >= 0]
    assert found is not None
    wrong = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(wrong):
        raise NumericalError(
            f"{store.column('location')[rows[wrong[0]]]}: the stored {activation} activation is not finite; scan again"
        )
    return found


def _predict_held_out(prompts: np.ndarray, scores: np.ndarray, *, seed: int) -> np.ndarray:
    """Each row's score as a ridge regression on the other folds' prompts predicts it: [n]."""
    from sklearn.linear_model import RidgeCV
    from sklearn.model_selection import KFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), RidgeCV(alphas=_PENALTIES * prompts.size))
    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    return np.asarray(cross_val_predict(model, prompts, scores, cv=folds))


def _estimate(
    measure: Callable[[np.ndarray, np.ndarray], float], first: np.ndarray, second: np.ndarray, *, seed: int
) -> Estimate:
    generator = np.random.default_rng(seed)
    drawn = (generator.integers(len(first), size=len(first)) for _ in range(_RESAMPLES))
    found = [measure(first[rows], second[rows]) for rows in drawn]
    low, high = np.nanpercentile(found, [2.5, 97.5])
    return Estimate(value=measure(first, second), low=float(low), high=float(high))


def _distance(
    store: ActivationStore, concept: Concept, fitting_activations: np.ndarray, rows: np.ndarray
) -> Distance:
    fitted = np.asarray(fitting_activations, dtype=np.float64)
    if fitted.ndim != 2 or fitted.shape[1] != concept.width or len(fitted) < 2:
        raise AitiaError(
            f"fitting activations of shape {fitted.shape}: expected at least two rows of width {concept.width}"
        )
    unit = concept.vector / np.linalg.norm(concept.vector)
    mean = _collect(
        store, Reading(activation="response").at(concept.tokens).activation, concept.site, rows
    ).mean(axis=0)
    step, spread = mean - fitted.mean(axis=0), fitted - fitted.mean(axis=0)
    along = spread @ unit
    off = spread - np.outer(along, unit)
    return Distance(
        along=float(step @ unit / max(along.std(ddof=1), 1e-12)),
        off=float(
            np.linalg.norm(step - (step @ unit) * unit)
            / max(np.sqrt((off**2).sum() / (len(fitted) - 1)), 1e-12)
        ),
    )


def _judge(
    share: Estimate, agreement: Estimate | None, difference: Estimate | None, distance: Distance | None
) -> tuple[Verdict, list[str]]:
    """A bound counts as passed only when the whole interval lies beyond it."""
    reasons = [_prompt_reason(share)]
    unsafe = share.low >= UNSAFE_PROMPT_SHARE
    safe = share.high <= SAFE_PROMPT_SHARE
    if agreement is None or difference is None:
        safe = False
        reasons.append(
            "Agreement with gradient scores is not known: scan the data, or a sample, with "
            "`aitia scan --activation backward`."
        )
    else:
        reasons.append(_agreement_reason(agreement))
        unsafe = unsafe or agreement.high <= UNSAFE_AGREEMENT
        safe = safe and agreement.low >= SAFE_AGREEMENT
        if not safe and difference.low > agreement.high:
            reasons.append(
                "Without the prompt's term the ranking agrees better: use a projection difference."
            )
    if distance is not None and max(abs(distance.along), distance.off) > FAR:
        safe = False
        reasons.append(
            "The data lie far from the texts that the concept was fitted to: it may not mean the same."
        )
    if unsafe:
        reasons.append("Use activation-gradient or concept-influence, and hold them against retraining.")
    return ("unsafe" if unsafe else "safe" if safe else "undecided"), reasons


def _prompt_reason(share: Estimate) -> str:
    percent = f"{share.value:.0%} of the variance of the scores comes with the prompt, whatever is answered"
    if share.low >= UNSAFE_PROMPT_SHARE:
        return f"{percent}: the ranking is mostly one of prompts."
    if share.high <= SAFE_PROMPT_SHARE:
        return f"Only {percent}."
    return f"{percent}: neither clearly small nor clearly the larger part."


def _agreement_reason(agreement: Estimate) -> str:
    found = f"with the gradient scores of activation-gradient (rank correlation {agreement.value:.2f})"
    if agreement.high <= UNSAFE_AGREEMENT:
        return f"The ranking does not agree {found}."
    if agreement.low >= SAFE_AGREEMENT:
        return f"The ranking agrees {found}."
    return f"The ranking agrees weakly, or too uncertainly, {found}."
