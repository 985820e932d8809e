"""Explanations of models, their virtues, and whether they are faithful: one object, one scorecard."""

from aitia.explanations.alignment import MAPS, Alignment
from aitia.explanations.catalogue import VIRTUES, Virtue
from aitia.explanations.direction import Direction, DirectionEffects, DirectionTrial
from aitia.explanations.explanation import Explanation, Premise, Variable
from aitia.explanations.judging import judge
from aitia.explanations.kuhnian import Registration, register
from aitia.explanations.model import FunctionModel, ModelUnderStudy, black_box
from aitia.explanations.phenomenon import Phenomenon
from aitia.explanations.proofs import Certificate
from aitia.explanations.result import Status, VirtueResult
from aitia.explanations.rubric import load_rubric
from aitia.explanations.scorecard import Scorecard
from aitia.explanations.settings import Settings

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
    "judge",
    "load_rubric",
    "register",
]
