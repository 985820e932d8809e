"""Gradients of weights: what is measured, curvature and its plan, the gradient store, and what work costs."""

from aitia.attribution.gradients.cost_model import (
    Data,
    InfluencePass,
    Machine,
    ModelShape,
    RunPlan,
    Step,
    curvature_step,
    fit_machine,
    influence_step,
    rank_step,
    scan_step,
)
from aitia.attribution.gradients.curvature import Curvature, CurvatureSettings, Damping, load_curvature
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.gradient_store import build_gradient_store, stored_influence
from aitia.attribution.gradients.measurements import (
    ConceptMeasurement,
    LogProbability,
    Measurement,
    highest_site,
)
from aitia.attribution.gradients.planning import CurvaturePlan, announce_curvature, plan_curvature
from aitia.attribution.gradients.training_gradients import FactorCache, factor_bytes

__all__ = [
    "ConceptMeasurement",
    "Curvature",
    "CurvaturePlan",
    "CurvatureSettings",
    "Damping",
    "Data",
    "FactorCache",
    "InfluencePass",
    "LogProbability",
    "Machine",
    "Measurement",
    "ModelShape",
    "RunPlan",
    "Step",
    "announce_curvature",
    "build_gradient_store",
    "curvature_layers",
    "curvature_step",
    "factor_bytes",
    "fit_curvature",
    "fit_machine",
    "highest_site",
    "influence_step",
    "load_curvature",
    "plan_curvature",
    "rank_step",
    "scan_step",
    "stored_influence",
]
