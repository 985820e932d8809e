"""Language models: load, name sites, trace activations, differentiate measurements, generate."""

from aitia.models.editing import Edit, edited, moved_by, projected_out
from aitia.models.factors import Factors, capturing
from aitia.models.generation import generate_responses
from aitia.models.language_model import LanguageModel
from aitia.models.linear_layers import (
    LinearLayer,
    blocks_prefix,
    find_linear_layers,
    kinds_left_out,
    layers_named,
    observed_layers,
    weights_left_out,
)
from aitia.models.loading.language_models import load_model, load_outline, save_model
from aitia.models.loading.sentence_encoder import SentenceEncoder, load_sentence_encoder
from aitia.models.pooling import masked_mean, masked_sum, prompt_end_mask, response_end_mask
from aitia.models.rows import in_tokens, row_length
from aitia.models.sites import site_layer, site_names, sort_sites
from aitia.models.tracing import Outputs, batch_tensors, require_finite, run, site_gradients, trace
from aitia.models.under_study import LanguageModelUnderStudy, ModuleUnderStudy

__all__ = [
    "Edit",
    "Factors",
    "LanguageModel",
    "LanguageModelUnderStudy",
    "LinearLayer",
    "ModuleUnderStudy",
    "Outputs",
    "SentenceEncoder",
    "batch_tensors",
    "blocks_prefix",
    "capturing",
    "edited",
    "find_linear_layers",
    "generate_responses",
    "in_tokens",
    "kinds_left_out",
    "layers_named",
    "load_model",
    "load_outline",
    "load_sentence_encoder",
    "masked_mean",
    "masked_sum",
    "moved_by",
    "observed_layers",
    "projected_out",
    "prompt_end_mask",
    "require_finite",
    "response_end_mask",
    "row_length",
    "run",
    "save_model",
    "site_gradients",
    "site_layer",
    "site_names",
    "sort_sites",
    "trace",
    "weights_left_out",
]
