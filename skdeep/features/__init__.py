"""Known networks for images, as descriptions; their weights are random until files can be read."""

from .cache import FeatureCache
from .download import FetchError, fetch
from .labels import labels
from .networks import Architecture, find_network, random_weights
from .preprocessing import Preprocessing
from .records import WeightsRecord, find_weights, list_weights

__all__ = [
    "Architecture",
    "FeatureCache",
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
