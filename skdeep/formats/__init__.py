"""Readers of weights files, without the frameworks that wrote them."""

from .base import FormatError, Graph, Node, WeightsFile
from .caffe import read_mean
from .table import read_weights, sniff
from .write import write_weights

__all__ = [
    "FormatError",
    "Graph",
    "Node",
    "WeightsFile",
    "read_mean",
    "read_weights",
    "sniff",
    "write_weights",
]
