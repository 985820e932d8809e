"""Gradients of weights: what is measured, curvature and its plan, the gradient store, and what work costs."""

from aitia.attribution.gradients.cost_model import (
    Cost,
    Data,
    InfluencePass,
    Machine,
    ModelShape,
    RunPlan,
    curvature_cost,
    fit_machine,
    influence_cost,
    rank_cost,
    scan_cost,
    through_blocks,
)
from aitia.attribution.gradients.curvature import Curvature, CurvatureSettings, Damping, load_curvature
from aitia.attribution.gradients.curvature_fitting import curvature_layers, fit_curvature
from aitia.attribution.gradients.gradient_store import build_gradient_store, stored_influence
from aitia.attribution.gradients.measurements import (
    ConceptMeasurement,
    CustomMeasurement,
    LogProbability,
    Measurement,
    Tokens,
    highest_site,
)
from aitia.attribution.gradients.planning import CurvaturePlan, announce_curvature, plan_curvature
from aitia.attribution.gradients.run_passes import RunPass, run_cost
from aitia.attribution.gradients.training_gradients import FactorCache, factor_bytes

__all__ = [
    "ConceptMeasurement",
    "Cost",
    "Curvature",
    "CurvaturePlan",
    "CurvatureSettings",
    "CustomMeasurement",
    "Damping",
    "Data",
    "FactorCache",
    "InfluencePass",
    "LogProbability",
    "Machine",
    "Measurement",
    "ModelShape",
    "RunPass",
    "RunPlan",
    "Tokens",
    "announce_curvature",
    "build_gradient_store",
    "curvature_cost",
    "curvature_layers",
    "factor_bytes",
    "fit_curvature",
    "fit_machine",
    "highest_site",
    "influence_cost",
    "load_curvature",
    "plan_curvature",
    "rank_cost",
    "run_cost",
    "scan_cost",
    "stored_influence",
    "through_blocks",
]
