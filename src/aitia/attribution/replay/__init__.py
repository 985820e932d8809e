"""Replay: derivatives through the whole of training, and their cheap relatives."""

from aitia.attribution.replay.checkpoints import (
    CHECKPOINTS,
    checkpoint_influence,
    choose_checkpoints,
    last_checkpoint,
)
from aitia.attribution.replay.derivatives import Derivatives, kept_derivatives
from aitia.attribution.replay.reverse import Replayed, replay
from aitia.attribution.replay.smoothness import (
    EPSILON_ROOT,
    OVER_ORDERS,
    SURROGATES,
    Metasmoothness,
    SmoothReplay,
    metasmoothness,
    perturbed,
    smooth_replay,
)
from aitia.attribution.replay.store_runs import StoreRuns
from aitia.attribution.replay.targets import (
    Target,
    TargetPart,
    margin_target,
    projection_target,
    target_value,
)

__all__ = [
    "CHECKPOINTS",
    "EPSILON_ROOT",
    "OVER_ORDERS",
    "SURROGATES",
    "Derivatives",
    "Metasmoothness",
    "Replayed",
    "SmoothReplay",
    "StoreRuns",
    "Target",
    "TargetPart",
    "checkpoint_influence",
    "choose_checkpoints",
    "kept_derivatives",
    "last_checkpoint",
    "margin_target",
    "metasmoothness",
    "perturbed",
    "projection_target",
    "replay",
    "smooth_replay",
    "target_value",
]
