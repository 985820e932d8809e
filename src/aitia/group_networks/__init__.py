"""Networks that multiply in a finite group: train them, fold them, explain them."""

from aitia.group_networks.network import GroupNetwork, load_network
from aitia.group_networks.training import TrainingSettings, train_networks

__all__ = ["GroupNetwork", "TrainingSettings", "load_network", "train_networks"]
