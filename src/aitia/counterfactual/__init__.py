"""Counterfactuals: train on chosen data, see what the model becomes, and let judges grade what it says."""

from aitia.counterfactual.behaviours import (
    ANSWER_TOKENS,
    Behaviour,
    ConceptProjection,
    JudgedResponses,
    LikelihoodMargin,
)
from aitia.counterfactual.concept_lds import (
    ConceptLds,
    concept_lds,
    draw_subsets,
    measured_changes,
    subset_cells,
)
from aitia.counterfactual.judging.classifier_judge import (
    ClassifierJudge,
    fit_classifier_judge,
    load_classifier_judge,
)
from aitia.counterfactual.judging.endpoint_judge import EndpointJudge, rubric_for
from aitia.counterfactual.judging.judge import Judge
from aitia.counterfactual.mixing import MIXED_LABEL, hold_out, mix_answers
from aitia.counterfactual.on_policy import ANSWERS_KEPT, ANSWERS_SAMPLED, on_policy_queries
from aitia.counterfactual.prompt_sets import read_prompts, require_disjoint_prompts, shared_question
from aitia.counterfactual.query_loss import loss_difference, query_loss_difference, without_top_tokens
from aitia.counterfactual.removal import (
    Removal,
    against_random,
    plan_removals,
    recovered_fraction,
    removal_curves,
    shift,
)
from aitia.counterfactual.removal_figures import removal_figure
from aitia.counterfactual.retraining import RetrainingRun, RunResult, read_result, retrain, run_files
from aitia.counterfactual.tail_patch import TailPatch, TailPatchSettings, tail_patch

__all__ = [
    "ANSWERS_KEPT",
    "ANSWERS_SAMPLED",
    "ANSWER_TOKENS",
    "MIXED_LABEL",
    "Behaviour",
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
    "TailPatch",
    "TailPatchSettings",
    "against_random",
    "concept_lds",
    "draw_subsets",
    "fit_classifier_judge",
    "hold_out",
    "load_classifier_judge",
    "loss_difference",
    "measured_changes",
    "mix_answers",
    "on_policy_queries",
    "plan_removals",
    "query_loss_difference",
    "read_prompts",
    "read_result",
    "recovered_fraction",
    "removal_curves",
    "removal_figure",
    "require_disjoint_prompts",
    "retrain",
    "rubric_for",
    "run_files",
    "shared_question",
    "shift",
    "subset_cells",
    "tail_patch",
    "without_top_tokens",
]
