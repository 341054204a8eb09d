"""Known networks for images, as descriptions; their weights are random until files can be read."""

from .networks import Architecture, find_network, random_weights
from .preprocessing import Preprocessing

__all__ = ["Architecture", "Preprocessing", "find_network", "random_weights"]
