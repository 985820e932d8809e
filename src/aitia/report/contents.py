"""What an attribution report shows, as plain data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aitia.errors import AitiaError, NumericalError
from aitia.report.document import ReportRow
from aitia.report.text import fixed
from aitia.statistics import Estimate


@dataclass(frozen=True, kw_only=True)
class Control:
    """A ranking by something that should not matter, such as a random direction.

    Attributes:
        name: such as "matched direction 3".
        scores_std: standard deviation of the control's scores.
        spearman: rank correlation with the real ranking.
        auc: at finding the labelled rows; None where no label is known.
    """

    name: str
    scores_std: float
    spearman: float
    auc: float | None = None


@dataclass(frozen=True, kw_only=True)
class MethodResult:
    """The scores of one method for all rows, and how well they find the labelled rows.

    Attributes:
        name: the method's name.
        scores: [n], in the order of the report's rows.
        baseline: whether the method looks neither at gradients nor at the concept.
        auc: at finding the labelled rows.
        precision_at_k: share of labelled rows among the k highest, k being the number of labelled rows.
        seconds: how long the method took.
    """

    name: str
    scores: np.ndarray
    baseline: bool = False
    auc: float | None = None
    precision_at_k: float | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class NullFigure:
    """How well directions that mean nothing find the labelled rows, by the report's own method.

    Attributes:
        kind: how they were drawn: `matched` to the covariance of the rows, or `isotropic`.
        draws: how many.
        p_value: chance of an AUC as far from 1/2 as the real one, under these.
        reach: distance from 1/2 that 5 % of them go beyond, above 1/2: an AUC.
    """

    kind: str
    draws: int
    p_value: float
    reach: float


@dataclass(frozen=True, kw_only=True)
class LabelFigures:
    """What the deciding scores add where rows are labelled.

    Attributes:
        auc: at finding the labelled rows.
        gain: what the scores add in AUC to a logistic model of the confounds, cross-validated; none without one.
        confounds: the names of the scorers that know no concept and that the gain is over.
        confounds_auc: cross-validated AUC of the confounds alone.
        no_gain: why there is no gain; empty where there is one.
        nulls: what null directions get, of either kind; empty where each costs too much.
    """

    auc: Estimate
    gain: Estimate | None
    confounds: tuple[str, ...]
    confounds_auc: float | None
    no_gain: str = ""
    nulls: tuple[NullFigure, ...] = ()

    def facts(self) -> list[tuple[str, str]]:
        """The figures, each with its name."""
        rows = [("AUC of the ranking", _interval(self.auc))]
        if self.gain is not None:
            rows.append(("AUC of the confounds alone", fixed(self.confounds_auc, 3)))
            rows.append(("confound-adjusted gain", _interval(self.gain)))
        return rows + [
            (f"p-value against {each.draws} {each.kind} null directions", f"{each.p_value:.3g}")
            for each in self.nulls
        ]

    def said_of_gain(self) -> str:
        """What the gain says, or why there is none."""
        if self.gain is None:
            return f"No gain over confounds is given: {self.no_gain}."
        clear = self.gain.low > 0
        return (
            f"Scores that know no concept ({', '.join(self.confounds)}) together reach an AUC of "
            f"{fixed(self.confounds_auc, 3)}, cross-validated. The ranking adds {_interval(self.gain)} to it"
            + ("." if clear else ": the interval reaches 0, so it is not shown to say more than these do.")
        )

    def said_of_nulls(self) -> str:
        """What null directions get, and which of them to go by."""
        reach = " and ".join(
            f"{fixed(1 - each.reach)} to {fixed(each.reach)} ({each.kind})" for each in self.nulls
        )
        return (
            f"95 % of the null directions have an AUC from {reach}. Matched ones have the covariance of the rows’ "
            "activations, as a difference of texts without meaning has; isotropic ones are drawn evenly, and call too "
            "much significant. Go by the matched ones."
        )


def _interval(estimate: Estimate) -> str:
    return f"{fixed(estimate.value, 3)} ({fixed(estimate.low, 3)} to {fixed(estimate.high, 3)})"


@dataclass(frozen=True, kw_only=True)
class ReportSpan:
    """Text around the token on which a feature fires most.

    Attributes:
        before: text before the token.
        peak: the token.
        after: text after it.
    """

    before: str
    peak: str
    after: str


@dataclass(frozen=True, kw_only=True)
class ReportSlice:
    """A kind of rows: those on which a feature fires.

    Attributes:
        feature: its number.
        label: what it is about, where someone was asked.
        terms: that set its rows apart.
        spans: where the feature fires most.
        size: number of its rows.
        total: sum of their scores.
        mean: mean of their scores.
        z: the sum in standard deviations from that of as many rows at random.
        inflation_factor: how far z wanders under null directions, at least 1.
        p_adjusted: adjusted p-value.
        found: whether it holds the false-discovery rate.
        members: id, location and score of some of its rows.
    """

    feature: int
    label: str | None
    terms: tuple[str, ...]
    spans: tuple[ReportSpan, ...]
    size: int
    total: float
    mean: float
    z: float
    inflation_factor: float
    p_adjusted: float
    found: bool
    members: tuple[tuple[str, str, float], ...]


@dataclass(frozen=True, kw_only=True)
class SliceSection:
    """The report's section on kinds of rows.

    Attributes:
        slices: the strongest raising slice first.
        tested: how many slices were tested.
        found: how many hold the false-discovery rate.
        untested: why others were not tested, and how many.
        false_discovery_rate: among the slices found.
        controls: how many null directions slices were held against.
        threshold: of a feature's pooled value, above which a row belongs to its slice.
        pooling: of the features over a row's response tokens.
        sae: which autoencoder.
    """

    slices: Sequence[ReportSlice]
    tested: int
    found: int
    untested: Sequence[tuple[str, int]]
    false_discovery_rate: float
    controls: int
    threshold: float
    pooling: str
    sae: str


@dataclass(frozen=True, kw_only=True)
class AttributionReport:
    """Everything that the page on "which training rows caused this behaviour?" shows.

    Attributes:
        title: the page's title.
        question: the question in one sentence.
        facts: label and value: model, data, concept, site and so on.
        method: the primary method's name.
        method_description: a paragraph: formula, what it measures, sign convention.
        row_numbers: [n] the rows' numbers in the data.
        scores: [n] the primary method's scores; positive raises the concept.
        response_tokens: [n] how many tokens of each row are trained on.
        methods: the primary method first.
        controls: rankings that should carry no information.
        top: the most influential rows, rank 1 first.
        bottom: the rows with the lowest scores, the lowest first.
        label: the column that AUC and precision are measured against.
        labels: [n] bool, the values of that column.
        label_figures: what the scores add at finding these rows.
        skipped: location and reason of the rows that were left out.
        warnings: plain sentences, shown on top.
        reproduce: configuration or commands that make the result again.
        slices: the section on kinds of rows, where they were tested.
    """

    title: str
    question: str
    facts: Sequence[tuple[str, str]]
    method: str
    method_description: str
    row_numbers: np.ndarray
    scores: np.ndarray
    response_tokens: np.ndarray
    methods: Sequence[MethodResult]
    controls: Sequence[Control]
    top: Sequence[ReportRow]
    bottom: Sequence[ReportRow]
    label: str | None = None
    labels: np.ndarray | None = None
    label_figures: LabelFigures | None = None
    skipped: Sequence[tuple[str, str]] = ()
    warnings: Sequence[str] = ()
    reproduce: str = ""
    slices: SliceSection | None = None


def check_report(report: AttributionReport) -> None:
    """Refuse a report whose arrays do not fit together or hold numbers that cannot be drawn.

    Raises:
        AitiaError: there are no rows, or the arrays have different lengths.
        NumericalError: a score or a token's share is not finite; the message names the row.
    """
    n = len(report.scores)
    if n == 0:
        raise AitiaError("the report has no rows: rank at least one row before reporting")
    arrays = {"row_numbers": report.row_numbers, "response_tokens": report.response_tokens}
    if report.labels is not None:
        arrays["labels"] = report.labels
    arrays |= {f"the scores of method {result.name!r}": result.scores for result in report.methods}
    for name, array in {"scores": report.scores, **arrays}.items():
        if np.shape(array) != (n,):
            raise AitiaError(
                f"{name}: shape {np.shape(array)} where the report has {n} rows; expected ({n},)"
            )
    for name, scores in [
        (report.method, report.scores),
        *((each.name, each.scores) for each in report.methods),
    ]:
        _check_finite(np.asarray(scores, dtype=float), report.row_numbers, name)
    for row in [*report.top, *report.bottom]:
        if not np.isfinite([row.score, *(token.share for token in row.tokens)]).all():
            raise NumericalError(
                f"row {row.row}: its score or the share of one of its tokens is not finite; "
                "leave the row out or score it again in float32"
            )


def _check_finite(scores: np.ndarray, row_numbers: np.ndarray, name: str) -> None:
    wrong = np.flatnonzero(~np.isfinite(scores))
    if wrong.size:
        more = f" (and {wrong.size - 1:,} more rows)" if wrong.size > 1 else ""
        raise NumericalError(
            f"row {row_numbers[wrong[0]]}{more}: method {name!r} gave the score {scores[wrong[0]]}; "
            "leave the row out or score it again in float32"
        )
