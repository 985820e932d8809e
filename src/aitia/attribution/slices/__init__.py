"""Slices: groups of rows that share a feature, their influence, their features' labels, and their removal."""

from aitia.attribution.slices.enrichment import Enrichment, enrichments
from aitia.attribution.slices.feature_labels import FeatureLabel, label_features
from aitia.attribution.slices.feature_shift import FeatureShift, feature_shifts
from aitia.attribution.slices.slice_removal import corrected_removal, first_order_removal, influence_kernel
from aitia.attribution.slices.slice_statistics import control_p_values, z_scores
from aitia.attribution.slices.slices import SMALLEST_CONTROLS

__all__ = [
    "SMALLEST_CONTROLS",
    "Enrichment",
    "FeatureLabel",
    "FeatureShift",
    "control_p_values",
    "corrected_removal",
    "enrichments",
    "feature_shifts",
    "first_order_removal",
    "influence_kernel",
    "label_features",
    "z_scores",
]
