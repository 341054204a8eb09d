"""The architectures by name; a family of them per file, entered in NETWORKS when imported."""

from . import (
    alexnet,
    convnext,
    googlenet,
    mobilenet,
    resnet,
    squeezenet,
    vgg,
    vision_transformers,
    vit,
)
from .architecture import NETWORKS, Architecture, find_network, random_weights

__all__ = ["NETWORKS", "Architecture", "find_network", "random_weights"]
