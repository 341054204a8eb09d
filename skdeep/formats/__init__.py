"""Readers of weights files, without the frameworks that wrote them."""

from .base import FormatError, Graph, Node, WeightsFile

__all__ = ["FormatError", "Graph", "Node", "WeightsFile"]
