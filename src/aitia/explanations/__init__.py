"""Explanations of models, their virtues, and whether they are faithful: one object, one scorecard."""

from aitia.explanations.card.evaluating import evaluate
from aitia.explanations.card.rubric import load_rubric
from aitia.explanations.card.scorecard import Scorecard
from aitia.explanations.core.alignment import MAPS, Alignment
from aitia.explanations.core.catalogue import VIRTUES, Virtue
from aitia.explanations.core.direction import Direction, DirectionEffects, DirectionTrial
from aitia.explanations.core.explanation import Explanation, Premise, Variable
from aitia.explanations.core.model import FunctionModel, ModelUnderStudy, black_box
from aitia.explanations.core.phenomenon import Phenomenon
from aitia.explanations.core.result import Status, VirtueResult
from aitia.explanations.core.settings import Settings
from aitia.explanations.metrics.kuhnian import Registration, register
from aitia.explanations.metrics.proofs import Certificate

__all__ = [
    "MAPS",
    "VIRTUES",
    "Alignment",
    "Certificate",
    "Direction",
    "DirectionEffects",
    "DirectionTrial",
    "Explanation",
    "FunctionModel",
    "ModelUnderStudy",
    "Phenomenon",
    "Premise",
    "Registration",
    "Scorecard",
    "Settings",
    "Status",
    "Variable",
    "Virtue",
    "VirtueResult",
    "black_box",
    "evaluate",
    "load_rubric",
    "register",
]
