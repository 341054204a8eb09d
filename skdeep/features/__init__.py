"""Known networks for images, as descriptions; their weights are random until files can be read."""

from .networks import Architecture, find_network, random_weights

__all__ = ["Architecture", "find_network", "random_weights"]
