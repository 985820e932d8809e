"""What is explained and by what: phenomena, models under study, explanations, and the results of measuring them.

These names serve whoever builds explanations; the others are those of the room.
"""

from aitia.explanations.core.alignment import REAL_BITS
from aitia.explanations.core.explanation import DroppedPremise
from aitia.explanations.core.taps import Tap

__all__ = ["REAL_BITS", "DroppedPremise", "Tap"]
