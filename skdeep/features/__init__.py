"""Pretrained networks for pictures: transformers, classifiers, layers, and where weights are."""

from .cache import FeatureCache
from .download import FetchError, fetch
from .fine_tuning import Pretrained, network
from .image_classifier import ImageClassifier
from .image_features import ImageFeatures
from .image_loader import ImageLoader
from .image_localizer import ImageLocalizer, Location
from .labels import labels
from .loading import stream
from .networks import Architecture, find_network, random_weights
from .pictures import PictureError, Pictures
from .preprocessing import Preprocessing
from .records import WeightsRecord, find_weights, list_weights
from .sources import clear_loaded

__all__ = [
    "Architecture",
    "FeatureCache",
    "FetchError",
    "ImageClassifier",
    "ImageFeatures",
    "ImageLoader",
    "ImageLocalizer",
    "Location",
    "PictureError",
    "Pictures",
    "Preprocessing",
    "Pretrained",
    "WeightsRecord",
    "clear_loaded",
    "fetch",
    "find_network",
    "find_weights",
    "labels",
    "list_weights",
    "network",
    "random_weights",
    "stream",
]
