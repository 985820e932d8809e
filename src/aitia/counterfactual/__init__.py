"""Counterfactuals: train on chosen data, see what the model becomes, and let judges grade what it says."""

from aitia.counterfactual.behaviours import ConceptProjection, JudgedResponses, LikelihoodMargin
from aitia.counterfactual.concept_lds import ConceptLds, concept_lds, draw_subsets
from aitia.counterfactual.judging.classifier_judge import (
    ClassifierJudge,
    fit_classifier_judge,
    load_classifier_judge,
)
from aitia.counterfactual.judging.endpoint_judge import EndpointJudge, rubric_for
from aitia.counterfactual.judging.judge import Judge
from aitia.counterfactual.removal import (
    Removal,
    against_random,
    plan_removals,
    removal_curves,
    undone,
)
from aitia.counterfactual.retraining import RetrainingRun, RunResult, retrain

__all__ = [
    "ClassifierJudge",
    "ConceptLds",
    "ConceptProjection",
    "EndpointJudge",
    "Judge",
    "JudgedResponses",
    "LikelihoodMargin",
    "Removal",
    "RetrainingRun",
    "RunResult",
    "against_random",
    "concept_lds",
    "draw_subsets",
    "fit_classifier_judge",
    "load_classifier_judge",
    "plan_removals",
    "removal_curves",
    "retrain",
    "rubric_for",
    "undone",
]
