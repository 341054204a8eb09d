"""Known networks for images, as descriptions; their weights are random until files can be read."""

from .networks import Architecture, find_network, random_weights
from .pictures import PictureError, Pictures
from .preprocessing import Preprocessing
from .loading import stream

__all__ = [
    "Architecture",
    "PictureError",
    "Pictures",
    "Preprocessing",
    "find_network",
    "random_weights",
    "stream",
]
