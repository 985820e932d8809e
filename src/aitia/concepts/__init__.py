"""Concepts: directions at a site of a model, fitted to texts, with their controls."""

from aitia.concepts.activations import READ_TOKENS, ReadTokens, response_activations, response_means
from aitia.concepts.concept import Concept, Separation, load_concept, require_concept_fits, require_same_base
from aitia.concepts.directions import (
    DEFAULT_RECIPE,
    DIRECTIONS,
    Recipe,
    contrast_weights,
    matched_directions,
    random_directions,
)
from aitia.concepts.features import DEFAULT_POOLING, FeatureMatrix, feature_matrix, token_features
from aitia.concepts.fitted_texts import fitted_texts
from aitia.concepts.fitting import (
    SHUFFLES,
    TOKENS_DESCRIPTION,
    ChosenTokens,
    FittedDirection,
    fit_concept,
    fit_contrast,
    fit_direction,
    fit_probe,
)
from aitia.concepts.persona import fit_persona, persona_responses
from aitia.concepts.sae import SparseAutoencoder, concept_from_feature, require_sae_fits
from aitia.concepts.sae_loading import load_sae, require_sae_place, save_sae
from aitia.concepts.sae_training import SaeSettings, fit_sae, train_sae
from aitia.concepts.separation import SATURATED_AUC

__all__ = [
    "DEFAULT_POOLING",
    "DEFAULT_RECIPE",
    "DIRECTIONS",
    "READ_TOKENS",
    "SATURATED_AUC",
    "SHUFFLES",
    "TOKENS_DESCRIPTION",
    "ChosenTokens",
    "Concept",
    "FeatureMatrix",
    "FittedDirection",
    "ReadTokens",
    "Recipe",
    "SaeSettings",
    "Separation",
    "SparseAutoencoder",
    "concept_from_feature",
    "contrast_weights",
    "feature_matrix",
    "fit_concept",
    "fit_contrast",
    "fit_direction",
    "fit_persona",
    "fit_probe",
    "fit_sae",
    "fitted_texts",
    "load_concept",
    "load_sae",
    "matched_directions",
    "persona_responses",
    "random_directions",
    "require_concept_fits",
    "require_sae_fits",
    "require_sae_place",
    "require_same_base",
    "response_activations",
    "response_means",
    "save_sae",
    "token_features",
    "train_sae",
]
