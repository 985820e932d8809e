"""Counterfactuals: train on chosen data and see what the model becomes."""

from aitia.counterfactual.finetuning import LoraSettings, finetune_lora

__all__ = ["LoraSettings", "finetune_lora"]
