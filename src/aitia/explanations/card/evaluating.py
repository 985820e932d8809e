"""Judging: an explanation and its baselines, held against one phenomenon, virtue by virtue."""

from __future__ import annotations

from collections.abc import Sequence

from aitia.errors import ExplanationError
from aitia.explanations.card.conditions import conditions
from aitia.explanations.card.rubric import Rubric
from aitia.explanations.card.scorecard import Scorecard, make_scorecard
from aitia.explanations.core.explanation import Explanation
from aitia.explanations.core.model import ModelUnderStudy
from aitia.explanations.core.settings import Settings
from aitia.explanations.inside.distinguishing import first_distinction
from aitia.explanations.inside.scores import measure_inside
from aitia.explanations.metrics.bayesian_scores import measure_bayesian
from aitia.explanations.metrics.deutschian import measure_deutschian
from aitia.explanations.metrics.faithfulness_scores import measure_faithfulness
from aitia.explanations.metrics.kuhnian import measure_kuhnian
from aitia.explanations.metrics.nomological import measure_nomological
from aitia.explanations.metrics.proofs import measure_proofs
from aitia.explanations.metrics.simplicity import measure_simplicity
from aitia.explanations.metrics.study import Evaluation


def evaluate(
    explanation: Explanation,
    *,
    baselines: Sequence[Explanation] = (),
    models: Sequence[ModelUnderStudy] = (),
    accepted: Sequence[Explanation] = (),
    mutants: Sequence[ModelUnderStudy] = (),
    settings: Settings | None = None,
    rubric: Rubric | None = None,
) -> Scorecard:
    """Judge an explanation, beside its baselines.

    Args:
        explanation: the one in question.
        baselines: other explanations of the same phenomenon.
        models: other models that its laws are tried on, without fitting anything again.
        accepted: explanations that are taken for true, for outer consistency.
        mutants: models that work otherwise, as one trained on another rule, which should refute it.
        settings: how; default: `Settings()`.
        rubric: thresholds of the grades; default: those in `rubric.json`.

    Returns:
        The card; it holds no total.

    Raises:
        ExplanationError: baselines explain different phenomena or share a name, or something predicts no distribution.
        CertificateError: a certificate claims more than is true.
    """
    settings = settings or Settings()
    names = [each.name for each in (explanation, *baselines)]
    if len(set(names)) < len(names):
        raise ExplanationError(f"baselines need different names; these are {', '.join(names)}")
    for baseline in baselines:
        if baseline.phenomenon.fingerprint != explanation.phenomenon.fingerprint:
            raise ExplanationError(
                f"{baseline.name!r} and {explanation.name!r} explain different phenomena "
                f"({baseline.phenomenon.name!r}, {explanation.phenomenon.name!r}, or other models, inputs "
                "or splits); baselines must share one"
            )
    cards = tuple(
        evaluate(each, models=models, accepted=accepted, mutants=mutants, settings=settings, rubric=rubric)
        for each in baselines
    )
    study = Evaluation(explanation=explanation, settings=settings)
    results = [
        *measure_faithfulness(study),
        *measure_inside(study),
        *measure_bayesian(study),
        *measure_simplicity(study),
        *measure_kuhnian(study, accepted=accepted, models=models),
        *measure_deutschian(study, mutants=mutants),
        *measure_nomological(study, models=models),
        *measure_proofs(study),
    ]
    gate = conditions(study, {each.name: each for each in results})
    told = tuple(
        first_distinction(study, Evaluation(explanation=each, settings=settings)) for each in baselines
    )
    return make_scorecard(
        explanation, settings, results, gate, baselines=cards, rubric=rubric, distinctions=told
    )
