"""Attribution: scan training data once, then rank it by its influence on any concept."""

from aitia.attribution.controls import Control
from aitia.attribution.groups import Group, GroupInfluence, GroupSettings, group_influence
from aitia.attribution.methods import METHODS, available_methods, score_concepts
from aitia.attribution.ranking import Ranking, read_ranking
from aitia.attribution.scanning import ScanSettings, scan
from aitia.attribution.scoring import rank
from aitia.attribution.signals import SIGNALS
from aitia.attribution.store import SignalStore

__all__ = [
    "METHODS",
    "SIGNALS",
    "Control",
    "Group",
    "GroupInfluence",
    "GroupSettings",
    "Ranking",
    "ScanSettings",
    "SignalStore",
    "available_methods",
    "group_influence",
    "rank",
    "read_ranking",
    "scan",
    "score_concepts",
]
