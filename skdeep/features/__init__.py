"""Pretrained networks for pictures: transformers, classifiers, layers, and where weights are."""

from .cache import FeatureCache
from .caffe_network import from_caffe
from .download import FetchError, fetch
from .fine_tuning import Pretrained, network
from .heritage import (
    GoogLeNetClassifier,
    GoogLeNetTransformer,
    OverfeatClassifier,
    OverfeatTransformer,
    VGG16Transformer,
    VGG19Transformer,
)
from .hog_features import HOGFeatures
from .image_classifier import ImageClassifier
from .image_features import ImageFeatures
from .image_loader import ImageLoader
from .image_localizer import ImageLocalizer, Location
from .imported import ImportedNetwork
from .labels import labels
from .loading import stream
from .networks import Architecture, find_network, random_weights
from .onnx_network import from_onnx
from .patch_features import PatchFeatures
from .pictures import PictureError, Pictures
from .preprocessing import Preprocessing
from .random_features import RandomFeatures
from .records import WeightsRecord, find_weights, list_weights
from .sources import clear_loaded

__all__ = [
    "GoogLeNetClassifier",
    "GoogLeNetTransformer",
    "OverfeatClassifier",
    "OverfeatTransformer",
    "VGG16Transformer",
    "VGG19Transformer",
    "Architecture",
    "FeatureCache",
    "FetchError",
    "HOGFeatures",
    "ImageClassifier",
    "ImageFeatures",
    "ImageLoader",
    "ImageLocalizer",
    "ImportedNetwork",
    "Location",
    "PatchFeatures",
    "PictureError",
    "Pictures",
    "Preprocessing",
    "Pretrained",
    "RandomFeatures",
    "WeightsRecord",
    "clear_loaded",
    "fetch",
    "find_network",
    "find_weights",
    "from_caffe",
    "from_onnx",
    "labels",
    "list_weights",
    "network",
    "random_weights",
    "stream",
]
