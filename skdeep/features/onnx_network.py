"""Networks of ONNX files: a graph becomes layers, its initializers their weights."""

import math

import numpy as np

from .axes import Axes, Value
from .imported import ImportedNetwork
from .onnx_constants import CONSTANTS
from .onnx_operators import OPERATORS
from .onnx_patterns import PATTERNS
from .steps import LayerList, layer_name

__all__ = ["from_onnx"]

OLDEST = 7  # version of the operators, from which on arithmetic broadcasts as NumPy does
POOLS = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "AveragePool", "MaxPool")
AFTER = ("Softmax", "LogSoftmax", "Sigmoid", "Identity", "Dropout", "Flatten", "Reshape", "Squeeze")
SAME = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze")


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
    layers = t.cut(t.values[name].name, t.shown(t.values[output]))
    weights = {}
    for layer, arguments in layers:
        weights.update((f"{layer}.{key}", t.weights[key]) for key in arguments["weights"])
    return ImportedNetwork(LayerList(layers), weights, image, _points(t, file.graph, image), output)


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
    """

    def __init__(self, graph, tensors):
        super().__init__()
        self.opset, self.tensors_of_file = graph.opset, tensors
        self.values, self.producers = {"": None}, {}

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
                value = self.named(name, node.name if k == 0 else "", value)
            self.values[name], self.producers[name] = value, node
            if k == 0 and isinstance(value, Value):
                self.mark(title, value.name)

    def named(self, name, node, value):
        """Enter a value among the activations; the value, read from the tensor that is shown."""
        steps = len(self.steps)
        shown = self.shown(value)
        moved = any(s.function == "transpose" for s in self.steps[steps:])
        self.names[name] = shown
        if node:
            self.names.setdefault(node, shown)
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


def _points(t, graph, image):
    """Canonical names and the activations that they stand for, from early to late."""
    points = {}
    shapes = {name: v.shape for name, v in t.values.items() if isinstance(v, Value)}
    nodes = [n for n in _needed(graph) if n.outputs and n.outputs[0] in shapes]
    for node in nodes:
        shape = shapes[node.outputs[0]]
        if len(shape) == 4 and shape[0] == 1 and min(shape[2:]) > 1 and node.op not in SAME:
            stride = round(math.log2(max(1, max(image[:2]) / max(shape[2:]))))
            if 1 <= stride <= 5:
                points[("stem", "stage1", "stage2", "stage3", "stage4")[stride - 1]] = node
    if len(points) < 2:
        points = {}
    readers = {}
    for node in nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    pools = [n for n in nodes if _pools(n, shapes)]
    if pools:
        pool = pools[-1]
        after = readers.get(pool.outputs[0], [])
        points["pool"] = after[0] if len(after) == 1 and after[0].op in SAME else pool
    last = t.producers.get(graph.outputs[0])
    while last is not None and last.op in AFTER and last.inputs[0] in shapes:
        last = t.producers.get(last.inputs[0])
    dense = _dense(t, last)
    if dense is not None:
        before = dense.inputs[0] if isinstance(t.values[dense.inputs[0]], Value) else None
        points["penultimate"] = t.producers.get(before)
    logits = t.producers.get(graph.outputs[0])
    while logits is not None and logits.op in ("Softmax", "LogSoftmax", "Sigmoid", "Identity"):
        logits = t.producers.get(logits.inputs[0])
    points["logits"] = logits
    order = ("stem", "stage1", "stage2", "stage3", "stage4", "pool", "penultimate", "logits")
    return tuple((k, points[k].name or points[k].outputs[0]) for k in order if points.get(k))


def _pools(node, shapes):
    """Whether a node makes a vector of a map."""
    before, after = shapes.get(node.inputs[0], ()), shapes[node.outputs[0]]
    is_map = len(before) == 4 and before[0] == 1 and math.prod(before[2:]) > 1
    return node.op in POOLS and is_map and math.prod(after) == before[1]


def _dense(t, node):
    """The product with weights whose result a node is, up to a bias; or None."""
    if node is not None and node.op == "Add":
        node = next((t.producers[i] for i in node.inputs if i in t.producers
                     and t.producers[i].op == "MatMul"), None)  # fmt: skip
    if node is None or node.op not in ("Gemm", "MatMul"):
        return None
    return node if isinstance(t.values[node.inputs[1]], np.ndarray) else None
