"""A Caffe network, graph and weights, as layers of ours."""

import copy
import re
from collections import Counter
from functools import partial
from numbers import Integral

import numpy as np

from ..formats import FormatError
from ..layers.network import Network
from .caffe_layers import LAYERS, channels_read
from .imported import ImportedNetwork, Wired, canonical_points

__all__ = ["from_caffe"]

# Layer types that keep the order in which a flattened map's numbers lie.
ELEMENTWISE = ("AbsVal", "BatchNorm", "Bias", "Dropout", "ELU", "Eltwise", "Flatten", "PReLU",
               "Power", "ReLU", "Scale", "Sigmoid", "Softmax", "TanH")  # fmt: skip


def from_caffe(file, input_shape=None):
    """The network in a .caffemodel file.

    Convolution (groups, dilation), InnerProduct, Pooling, LRN, BatchNorm, Scale, Bias, Eltwise,
    Concat, Flatten, Dropout, Softmax and the usual activations are known. Layers keep their names,
    with "_" for a dot. Of what is computed in place the last result counts, as in Caffe: where
    "relu1" works on "conv1" in place, both names stand for what comes after it.

    Parameters
    ----------
    file : WeightsFile
        As :func:`skdeep.formats.read_weights` gives it, with its graph.
    input_shape : tuple of int or None, default=None
        Height, width and channels of an image. Files that were written while training tell the
        size they were trained for; for others it has to be given.

    Returns
    -------
    ImportedNetwork
        Its pictures have the channels in the order of the file, blue first for nearly all. Of a
        graph with several outputs it is what leads to the last.

    Raises
    ------
    FormatError
        When the file holds layers that are not known, or weights that do not fit.
    ValueError
        When ``input_shape`` is not three sizes.

    Examples
    --------
    >>> from skdeep.features import from_caffe
    >>> from skdeep.formats import Graph, Node, WeightsFile
    >>> nodes = [Node("TanH", "tanh1", ["data"], ["tanh1"], {"blobs": []})]
    >>> graph = Graph(nodes, {"data": (None, 3, 8, 9)}, ["tanh1"])
    >>> net = from_caffe(WeightsFile("caffemodel", {}, graph=graph))
    >>> net.input_shape, net.network().probe()["tanh1"]
    ((8, 9, 3), (8, 9, 3))
    """
    builder = _Builder(file.graph, file.tensors)
    shape = builder.input_shape() if input_shape is None else tuple(input_shape)
    if len(shape) != 3 or not all(isinstance(s, Integral) and s > 0 for s in shape):
        raise ValueError(f"input_shape must be height, width and channels, got {input_shape!r}.")
    pairs = builder.pairs()
    network = Network(pairs, shape)
    try:
        shapes = network.probe()
    except ValueError as error:
        raise FormatError(f"this network cannot take pictures of shape {shape}: {error}") from error
    weights = builder.weights(shapes, {spec.name: spec.shape for spec in network.parameters})
    points = canonical_points({name: shapes[name] for name in builder.owners()}, builder.logits())
    name = file.metadata.get("name", "")
    return ImportedNetwork(partial(copy.deepcopy, pairs), weights, shape, points, name)


class _Builder:
    """Names of layers by names of tensors, and what was found out about them."""

    def __init__(self, graph, tensors):
        if not graph.outputs:
            raise FormatError("the graph has no output; is it a whole network?")
        self.graph, self.tensors = graph, tensors
        self.nodes = _leading_to(graph.nodes, graph.outputs[-1])
        made = {t for node in self.nodes for t in node.outputs}
        inputs = sorted({t for node in self.nodes for t in node.inputs} - made)
        if len(inputs) != 1:
            raise FormatError(f"networks with one input are read; this one has {inputs}.")
        self.input = inputs[0]
        self.names = _layer_names([self.input, *(node.name for node in self.nodes)])
        self.layer_of = {self.input: self.names[0]}
        self.layer_of |= {n.outputs[0]: name for n, name in zip(self.nodes, self.names[1:])}
        self.owner = self._owners()
        self.norms = self._merged_norms()

    def _owners(self):
        """By tensor, the layer whose result it still is after what was computed in place."""
        owner, blob = {self.input: self.names[0]}, {self.input: None}
        for node, name in zip(self.nodes, self.names[1:]):
            (out, *_), before = node.outputs, node.inputs[0]
            blob[out] = out.removesuffix(f"@{node.name}")
            owner[out] = owner[before] if blob[before] == blob[out] else name
        return owner

    def _merged_norms(self):
        """Outputs of BatchNorm that nothing but a Scale per channel reads."""
        makers = {node.outputs[0]: node for node in self.nodes}
        readers = Counter(t for node in self.nodes for t in node.inputs)
        return {
            node.inputs[0]
            for node in self.nodes
            if node.op == "Scale"
            and len(node.inputs) == 1
            and node.attributes["axis"] == node.attributes["num_axes"] == 1
            and readers[node.inputs[0]] == 1
            and getattr(makers.get(node.inputs[0]), "op", None) == "BatchNorm"
        }

    def _is_merged(self, node):
        return node.op == "Scale" and node.inputs[0] in self.norms

    def input_shape(self):
        """Height, width and channels of the input, as the file has them."""
        known = self.graph.inputs.get(self.input)
        if known is None or len(known) != 4:
            raise FormatError(
                "the file does not tell the size of its pictures; give "
                "input_shape=(height, width, channels)."
            )
        channels = known[1]
        for node in self.nodes:
            if channels is None and self.input in node.inputs:
                channels = channels_read(node, self.tensors)
        return (known[2], known[3], channels or 3)

    def pairs(self):
        """(name, layer) for the input and every node."""
        pairs = [(self.names[0], Wired())]
        for node, name in zip(self.nodes, self.names[1:]):
            if node.op not in LAYERS:
                raise FormatError(
                    f"layer {node.name!r} is of type {node.op!r}, which is not known; known are "
                    f"{', '.join(sorted(LAYERS))}."
                )
            try:
                build = LAYERS[node.op].build
                compute = None if self._is_merged(node) else build(node, self.tensors)
            except FormatError as error:
                raise FormatError(f"layer {node.name!r} ({node.op}): {error}") from None
            owner = self.owner[node.outputs[0]]
            sources = tuple(self.layer_of[t] for t in node.inputs)
            pairs.append((name, Wired(sources, compute, also=() if owner == name else (owner,))))
        return pairs

    def owners(self):
        """Names of the layers that do not work in place, in order."""
        found = set(self.owner.values())
        return [name for name in self.names if name in found]

    def logits(self):
        """The layer of the scores: the last, or what a final softmax reads."""
        makers = {node.outputs[0]: node for node in self.nodes}
        last = self.nodes[-1]
        while last.op in ("Softmax", "Dropout") and last.inputs[0] in makers:
            last = makers[last.inputs[0]]
        return self.owner[last.outputs[0]]

    def weights(self, shapes, declared):
        """Arrays by our names, of the shapes that the network declared."""
        weights, orders = {}, {}
        for node, name in zip(self.nodes, self.names[1:]):
            source = self.layer_of[node.inputs[0]]
            order = self._order(node, shapes, orders)
            if node.op in ELEMENTWISE:
                orders[name] = order
            blobs = [self.tensors[key] for key in node.attributes["blobs"]]
            try:
                found = LAYERS[node.op].convert(node, blobs, order) if blobs else {}
            except ValueError as error:
                raise FormatError(f"layer {node.name!r} ({node.op}): {error}") from None
            place = source if self._is_merged(node) else name
            weights |= {f"{place}.{key}": array for key, array in found.items()}
        for name, shape in declared.items():
            got = np.shape(weights[name]) if name in weights else "nothing"
            if got != shape:
                raise FormatError(
                    f"{name!r} needs shape {shape}, the file gives {got}; is input_shape the one "
                    "that the network was trained for?"
                )
        return {name: np.ascontiguousarray(weights[name], np.float32) for name in declared}

    def _order(self, node, shapes, orders):
        """Shape of a sample of what a node reads, before it was flattened."""
        sources = [self.layer_of[t] for t in node.inputs]
        found = [orders.get(name, shapes[name]) for name in sources]
        flattened = any(a != shapes[name] and a[:2] != (1, 1) for a, name in zip(found, sources))
        same = node.op in ELEMENTWISE and len(set(found)) == 1
        if flattened and not same and node.op != "InnerProduct":
            raise FormatError(
                f"layer {node.name!r} ({node.op}) reads flattened maps, which is known of "
                "InnerProduct and of layers that treat numbers alike."
            )
        return found[0]


def _leading_to(nodes, output):
    """The nodes on which one tensor depends, in their order."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            if len(node.outputs) != 1 or not node.inputs:
                raise FormatError(
                    f"layer {node.name!r} ({node.op}) has {len(node.outputs)} outputs; layers "
                    "with one are known."
                )
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _layer_names(names):
    """Names that a list of layers may have: no dots, no double underscores, none twice."""
    found, wanted = [], {}
    for name in names:
        name = re.sub("_{2,}", "_", name.replace(".", "_")) or "layer"
        unique = name
        while unique in wanted:
            wanted[name] += 1
            unique = f"{name}_{wanted[name]}"
        wanted[unique] = 1
        found.append(unique)
    return found
