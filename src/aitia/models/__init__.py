"""Language models: load, name sites, trace activations, differentiate measurements, generate."""

from aitia.models.generation import generate_responses
from aitia.models.language_model import LanguageModel
from aitia.models.loading.language_models import load_model, save_model
from aitia.models.loading.sentence_encoder import SentenceEncoder, load_sentence_encoder
from aitia.models.rows import in_tokens, row_length
from aitia.models.sites import site_layer, site_names, sort_sites
from aitia.models.tracing import Outputs, require_finite, run, site_gradients, trace
from aitia.models.under_study import LanguageModelUnderStudy, ModuleUnderStudy

__all__ = [
    "LanguageModel",
    "LanguageModelUnderStudy",
    "ModuleUnderStudy",
    "Outputs",
    "SentenceEncoder",
    "generate_responses",
    "in_tokens",
    "load_model",
    "load_sentence_encoder",
    "require_finite",
    "row_length",
    "run",
    "save_model",
    "site_gradients",
    "site_layer",
    "site_names",
    "sort_sites",
    "trace",
]
