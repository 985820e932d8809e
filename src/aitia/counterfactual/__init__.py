"""Counterfactuals: train on chosen data and see what the model becomes."""

from aitia.counterfactual.behaviours import ConceptProjection, JudgedResponses, LikelihoodMargin
from aitia.counterfactual.concept_lds import ConceptLds, concept_lds, draw_subsets
from aitia.counterfactual.finetuning import LoraSettings, finetune_lora
from aitia.counterfactual.intervals import Interval
from aitia.counterfactual.removal import Removal, against_random, plan_removals, removal_curves, undone
from aitia.counterfactual.retraining import Cell, CellResult, retrain

__all__ = [
    "Cell",
    "CellResult",
    "ConceptLds",
    "ConceptProjection",
    "Interval",
    "JudgedResponses",
    "LikelihoodMargin",
    "LoraSettings",
    "Removal",
    "against_random",
    "concept_lds",
    "draw_subsets",
    "finetune_lora",
    "plan_removals",
    "removal_curves",
    "retrain",
    "undone",
]
