"""Counterfactuals: train on chosen data, see what the model becomes, and have that judged."""

from aitia.counterfactual.classifier_judge import (
    ClassifierJudge,
    fit_classifier_judge,
    load_classifier_judge,
)
from aitia.counterfactual.endpoint_judge import EndpointJudge, rubric_for
from aitia.counterfactual.finetuning import LoraSettings, finetune_lora
from aitia.counterfactual.judges import Judge

__all__ = [
    "ClassifierJudge",
    "EndpointJudge",
    "Judge",
    "LoraSettings",
    "finetune_lora",
    "fit_classifier_judge",
    "load_classifier_judge",
    "rubric_for",
]
