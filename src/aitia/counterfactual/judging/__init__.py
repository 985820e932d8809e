"""Judges: how far a response shows a behaviour, graded by a classifier or by a model at an endpoint."""

from aitia.counterfactual.judging.classifier_judge import (
    ClassifierJudge,
    fit_classifier_judge,
    load_classifier_judge,
)
from aitia.counterfactual.judging.endpoint import CONCURRENCY
from aitia.counterfactual.judging.endpoint_judge import MAX_UNPARSABLE, EndpointJudge, rubric_for
from aitia.counterfactual.judging.endpoint_labeller import EndpointLabeller
from aitia.counterfactual.judging.judge import Judge

__all__ = [
    "CONCURRENCY",
    "MAX_UNPARSABLE",
    "ClassifierJudge",
    "EndpointJudge",
    "EndpointLabeller",
    "Judge",
    "fit_classifier_judge",
    "load_classifier_judge",
    "rubric_for",
]
