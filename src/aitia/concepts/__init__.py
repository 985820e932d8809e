"""Concepts: directions at a site of a model, fitted to texts, with their controls."""

from aitia.concepts.concept import Concept, Separation, load_concept, require_concept_fits
from aitia.concepts.directions import DIRECTIONS
from aitia.concepts.fitting import fit_concept, fit_contrast, fit_probe, random_directions
from aitia.concepts.persona import fit_persona
from aitia.concepts.separation import auc, effect_size

__all__ = [
    "DIRECTIONS",
    "Concept",
    "Separation",
    "auc",
    "effect_size",
    "fit_concept",
    "fit_contrast",
    "fit_persona",
    "fit_probe",
    "load_concept",
    "random_directions",
    "require_concept_fits",
]
