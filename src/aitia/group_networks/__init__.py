"""Networks that multiply in a finite group: train them, fold them, explain them."""

from aitia.group_networks.circuits import Circuit, RhoSet, rho_sets
from aitia.group_networks.interpretation import Interpretation, InterpretationSettings, interpret
from aitia.group_networks.network import GroupNetwork, load_network
from aitia.group_networks.summary import NetworkSummary, summarise
from aitia.group_networks.training import TrainingSettings, train_networks

__all__ = [
    "Circuit",
    "GroupNetwork",
    "Interpretation",
    "InterpretationSettings",
    "NetworkSummary",
    "RhoSet",
    "TrainingSettings",
    "interpret",
    "load_network",
    "rho_sets",
    "summarise",
    "train_networks",
]
