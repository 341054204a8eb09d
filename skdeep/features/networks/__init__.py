"""The architectures by name; a family of them per file, entered in NETWORKS when imported."""

from . import (
    alexnet,
    caffe,
    convnext,
    densenet,
    efficientnet,
    formula,
    googlenet,
    inception,
    mnasnet,
    mobilenet,
    regnet,
    overfeat,
    resnet,
    shufflenet,
    squeezenet,
    vgg,
    vision_transformers,
    vit,
)
from .architecture import NETWORKS, Architecture, find_network, random_weights

__all__ = ["NETWORKS", "Architecture", "find_network", "random_weights"]
