"""Known networks for images, as descriptions; their weights are random until files can be read."""

from .imported import ImportedNetwork
from .networks import Architecture, find_network, random_weights
from .onnx_network import from_onnx
from .preprocessing import Preprocessing

__all__ = [
    "Architecture",
    "ImportedNetwork",
    "Preprocessing",
    "find_network",
    "from_onnx",
    "random_weights",
]
