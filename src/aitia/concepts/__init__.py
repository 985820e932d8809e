"""Concepts: directions at a site of a model, fitted to texts, with their controls."""

from aitia.concepts.concept import Concept, Separation, load_concept, require_concept_fits
from aitia.concepts.directions import DIRECTIONS
from aitia.concepts.features import FeatureMatrix, feature_matrix
from aitia.concepts.fitted_texts import fitted_texts
from aitia.concepts.fitting import fit_concept, fit_contrast, fit_probe, random_directions
from aitia.concepts.persona import fit_persona
from aitia.concepts.sae import SparseAutoencoder, concept_from_feature, require_sae_fits
from aitia.concepts.sae_loading import load_sae, save_sae
from aitia.concepts.sae_training import SaeSettings, fit_sae, train_sae

__all__ = [
    "DIRECTIONS",
    "Concept",
    "FeatureMatrix",
    "SaeSettings",
    "Separation",
    "SparseAutoencoder",
    "concept_from_feature",
    "feature_matrix",
    "fit_concept",
    "fit_contrast",
    "fit_persona",
    "fit_probe",
    "fit_sae",
    "fitted_texts",
    "load_concept",
    "load_sae",
    "random_directions",
    "require_concept_fits",
    "require_sae_fits",
    "save_sae",
    "train_sae",
]
