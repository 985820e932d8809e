"""Networks that multiply in a finite group: train them, fold them, explain them."""

from aitia.group_networks.circuits import Circuit, RhoSet, rho_sets, shared_profile
from aitia.group_networks.interpretation import Interpretation, InterpretationSettings, interpret
from aitia.group_networks.measures import every_logit
from aitia.group_networks.network import NETWORK_SUFFIX, GroupNetwork, load_network
from aitia.group_networks.page import write_page
from aitia.group_networks.shared_space import restricted, shared_dimension, shared_spectrum
from aitia.group_networks.summary import NetworkSummary, summarise
from aitia.group_networks.training import CURVE_SUFFIX, TrainingSettings, train_networks

__all__ = [
    "CURVE_SUFFIX",
    "NETWORK_SUFFIX",
    "Circuit",
    "GroupNetwork",
    "Interpretation",
    "InterpretationSettings",
    "NetworkSummary",
    "RhoSet",
    "TrainingSettings",
    "every_logit",
    "interpret",
    "load_network",
    "restricted",
    "rho_sets",
    "shared_dimension",
    "shared_profile",
    "shared_spectrum",
    "summarise",
    "train_networks",
    "write_page",
]
