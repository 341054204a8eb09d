"""Networks of ONNX files: a graph becomes layers, its initializers their weights."""

import numpy as np

from .axes import Axes, Value
from .imported import ImportedNetwork
from .onnx_constants import CONSTANTS
from .onnx_operators import OPERATORS
from .onnx_patterns import PATTERNS
from .onnx_points import Points, channel_axis
from .steps import LayerList, layer_name

__all__ = ["from_onnx"]

OLDEST = 7  # version of the operators, from which on arithmetic broadcasts as NumPy does


def from_onnx(file, input_shape=None):
    """The network that an ONNX file describes.

    Parameters
    ----------
    file : WeightsFile
        As ``skdeep.formats.read_weights`` gives it, with its graph.
    input_shape : tuple of int or None, default=None
        Height, width and channels of a picture; None for what the file says.

    Returns
    -------
    ImportedNetwork
        For any number of pictures at a time, whatever number it was exported for. The activations
        of its layers can be asked for by the names that the file gives to nodes, and to their
        outputs; images are channels last.

    Raises
    ------
    ValueError
        For an operator that is not supported, or a graph that makes no sense; the message names
        the node. When the file leaves the size of pictures open and none is given.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep.features import from_onnx
    >>> from skdeep.formats import Graph, Node, WeightsFile
    >>> nodes = [Node("Conv", "conv", ["x", "w"], ["a"]), Node("Relu", "relu", ["a"], ["y"])]
    >>> graph = Graph(nodes, {"x": (None, 3, 8, 8)}, ["y"], opset=17)
    >>> file = WeightsFile("onnx", {"w": np.zeros((4, 3, 3, 3), np.float32)}, graph=graph)
    >>> network = from_onnx(file)
    >>> network.input_shape, network.network().probe()["relu"]
    ((8, 8, 3), (6, 6, 4))
    """
    if file.graph is None:
        raise ValueError(f"a file of format {file.format!r} without a graph is no network")
    name, shape, order, image = _picture(file, input_shape)
    t = translate(file.graph, file.tensors, {name: (shape, order)})
    output = file.graph.outputs[0]
    if not isinstance(t.values.get(output), Value):
        raise ValueError(f"the output {output!r} does not depend on the picture")
    title = t.titles.get(output)
    layers = t.cut(t.values[name].name, t.names[title] if title else t.shown(t.values[output]))
    weights = {}
    for layer, arguments in layers:
        weights.update((f"{layer}.{key}", t.weights[key]) for key in arguments["weights"])
    points = Points(t, _needed(file.graph), output, image).find()
    return ImportedNetwork(LayerList(layers), weights, image, points, title or output)


def _picture(file, input_shape):
    """Name of the input, its shape in the file for one sample, order in memory, (h, w, c)."""
    graph = file.graph
    inputs = {name: shape for name, shape in graph.inputs.items() if name not in file.tensors}
    if len(inputs) != 1 or not graph.outputs:
        raise ValueError(
            f"a network with one input and at least one output is needed, got inputs "
            f"{sorted(inputs)} and outputs {graph.outputs}"
        )
    ((name, shape),) = inputs.items()
    shape = (None,) * 4 if shape is None else tuple(shape)
    if len(shape) != 4:
        raise ValueError(f"the input {name!r} of shape {shape} is no batch of pictures")
    last = shape[1] not in (1, 3, 4) and shape[3] in (1, 3, 4)
    known = shape[1:] if last else (*shape[2:], shape[1])
    if input_shape is None:
        if not all(isinstance(s, int) and s > 0 for s in known):
            raise ValueError(
                f"the file leaves the size of its input {name!r} open: {shape}; "
                "pass input_shape=(height, width, channels)"
            )
        input_shape = known
    image = tuple(int(s) for s in input_shape)
    if len(image) != 3 or min(image) < 1:
        raise ValueError(f"input_shape must be (height, width, channels), got {input_shape}")
    if isinstance(known[2], int) and known[2] != image[2]:
        raise ValueError(f"the input {name!r} of shape {shape} does not fit pictures {image}")
    h, w, c = image
    if last:
        return name, (1, h, w, c), (0, 1, 2, 3), image
    return name, (1, c, h, w), (0, 2, 3, 1), image


class Translation(Axes):
    """A graph while it is translated.

    Attributes
    ----------
    opset : int
    values : dict of str to Value, ndarray or None
        What every name of the graph stands for; None for what was left out.
    producers : dict of str to Node
        Nodes by the names of their outputs.
    titles : dict of str to str
        What the activations of outputs are called: the first one of a node like the node.
    """

    def __init__(self, graph, tensors):
        super().__init__()
        self.opset, self.tensors_of_file = graph.opset, tensors
        self.values, self.producers, self.titles = {"": None}, {}, {}

    def read(self, name):
        """The value of a name."""
        if name not in self.values:
            if name not in self.tensors_of_file:
                raise ValueError(
                    f"it reads {name!r}, which no node before it computes; is there a cycle?"
                )
            self.values[name] = np.asarray(self.tensors_of_file[name])
        return self.values[name]

    def node_outputs(self, node):
        """What a node computes, a tuple."""
        inputs = [self.read(name) for name in node.inputs]
        known = [x for x in inputs if x is not None]
        if not any(isinstance(x, Value) for x in known):
            if node.op in CONSTANTS:
                attributes = {**node.attributes, "outputs": len(node.outputs)}
                with np.errstate(all="ignore"):
                    result = CONSTANTS[node.op](attributes, inputs, self.opset)
                return result if isinstance(result, tuple) else (result,)
            if known:
                inputs = [self.constant(inputs[0]), *inputs[1:]]
        if node.op not in OPERATORS:
            supported = ", ".join(sorted(OPERATORS.keys() | CONSTANTS.keys()))
            raise ValueError(f"this operator is not supported; those that are: {supported}")
        result = None
        # The plain steps come too, for what is asked for in between; unread, they cost nothing.
        for pattern in PATTERNS.get(node.op, ()):
            result = pattern(self, node, inputs) if result is None else result
        result = OPERATORS[node.op](self, node, *inputs) if result is None else result
        return result if isinstance(result, tuple) else (result,)

    def add(self, node):
        """Translate a node."""
        title = node.name or next(filter(None, node.outputs), "")
        self.node = layer_name(title, set())
        try:
            results = self.node_outputs(node)
        except MemoryError:
            raise ValueError(f"{node.op} {title!r}: a tensor is too large") from None
        except ERRORS as error:
            said = error if isinstance(error, ValueError) else f"it makes no sense ({error!r})"
            raise ValueError(f"{node.op} {title!r}: {said}") from error
        for k, (name, value) in enumerate(zip(node.outputs, results)):
            if not name:
                continue
            if isinstance(value, Value):
                free = k == 0 and node.name and node.name not in self.names
                self.titles[name] = node.name if free else name
                value = self.named(self.titles[name], value)
                if value.name == self.names[self.titles[name]]:
                    self.mark(self.titles[name], value.name)
            self.values[name], self.producers[name] = value, node

    def named(self, title, value):
        """Enter a value among the activations; the value, read from the tensor that is shown."""
        steps = len(self.steps)
        shown = self.shown(value, 1 if value.ndim != 4 else channel_axis(value))
        moved = any(s.function == "transpose" for s in self.steps[steps:])
        self.names[title] = shown
        return value if moved else Value(shown, value.axes, value.stored)


ERRORS = (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError,
          AssertionError)  # fmt: skip


def translate(graph, tensors, inputs):
    """Record what a graph does.

    Parameters
    ----------
    graph : Graph
    tensors : Mapping of str to ndarray
    inputs : dict of str to (shape, order)
        Shapes of a single sample as the graph sees it, and the order of these axes in memory.

    Returns
    -------
    Translation
    """
    if graph.opset < OLDEST:
        raise ValueError(
            f"operators of version {graph.opset} are not supported, those from {OLDEST} on are; "
            "export the network again"
        )
    t = Translation(graph, tensors)
    for name, (shape, order) in inputs.items():
        t.values[name] = t.source(name, shape, order)
    for node in _needed(graph):
        t.add(node)
    for name in graph.outputs:
        if name not in t.values and name not in tensors:
            raise ValueError(f"no node computes the output {name!r}")
    return t


def _needed(graph):
    """Nodes that some output depends on, in the order of the file."""
    wanted, found = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted.intersection(filter(None, node.outputs)):
            wanted.update(node.inputs)
            found.append(node)
    return found[::-1]
