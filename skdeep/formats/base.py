"""What every reader returns: named arrays, perhaps with the graph that uses them."""

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["FormatError", "Graph", "Node", "WeightsFile"]


class FormatError(ValueError):
    """A file that cannot be read: damaged, hostile, or of a kind that is not supported.

    The message names the file, what is wrong, and what to do about it where something can be done.

    Examples
    --------
    >>> from skdeep.formats import FormatError
    >>> raise FormatError("net.npz is cut short; fetch it again")
    Traceback (most recent call last):
    ...
    skdeep.formats.base.FormatError: net.npz is cut short; fetch it again
    """


@dataclass
class Node:
    """An operation of a file's graph.

    Parameters
    ----------
    op : str
        Its kind, in the words of the format: "Conv", "Convolution".
    name : str
    inputs, outputs : list of str
        Names of tensors; an input left out is "".
    attributes : dict
        Numbers, strings, lists of them, arrays.

    Examples
    --------
    >>> from skdeep.formats import Node
    >>> Node("Conv", "conv1", ["x", "w", ""], ["y"], {"strides": [2, 2]}).attributes["strides"]
    [2, 2]
    """

    op: str
    name: str
    inputs: list
    outputs: list
    attributes: dict = field(default_factory=dict)


@dataclass
class Graph:
    """Operations in an order in which they can be run.

    Parameters
    ----------
    nodes : list of Node
    inputs : dict of str to tuple or None
        Shapes of what the user feeds, channels first as in the file; None in a shape for a size
        that is free, None for a shape that the file does not tell.
    outputs : list of str
    opset : int, default=0
        Version of ONNX's operators.

    Examples
    --------
    >>> from skdeep.formats import Graph, Node
    >>> graph = Graph([Node("Relu", "relu1", ["x"], ["y"])], {"x": (None, 3, 8, 8)}, ["y"])
    >>> graph.nodes[0].op
    'Relu'
    """

    nodes: list
    inputs: dict
    outputs: list
    opset: int = 0


@dataclass
class WeightsFile:
    """The contents of a weights file.

    Parameters
    ----------
    format : str
        "safetensors", "torch", "caffemodel", "onnx", "npz" or "keras".
    tensors : Mapping of str to ndarray
        In the file's own names and layout. Read when asked for, mapped to memory where the format
        allows. float16 stays float16; bfloat16, which NumPy lacks, comes as float32.
    metadata : dict
        What else the file says of itself.
    graph : Graph or None, default=None

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.formats import WeightsFile
    >>> WeightsFile("npz", {"fc.weight": np.zeros((10, 512))}).tensors["fc.weight"].shape
    (10, 512)
    """

    format: str
    tensors: Mapping
    metadata: dict = field(default_factory=dict)
    graph: Graph | None = None
