"""Known networks for images, as descriptions; their weights are random until files can be read."""

from .download import FetchError, fetch
from .labels import labels
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
from .records import WeightsRecord, find_weights, list_weights

__all__ = [
    "Architecture",
    "FetchError",
    "Preprocessing",
    "WeightsRecord",
    "fetch",
    "find_network",
    "find_weights",
    "labels",
    "list_weights",
    "random_weights",
]
