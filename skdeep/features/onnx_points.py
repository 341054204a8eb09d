"""Canonical names of the activations of an ONNX graph, found by what its nodes do."""

import math

import numpy as np

from .axes import Value

__all__ = []

POOLS = ("GlobalAveragePool", "GlobalMaxPool", "ReduceMean", "ReduceMax", "AveragePool", "MaxPool")
SAME = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze")
SCORES = ("Softmax", "LogSoftmax", "Sigmoid", "Identity")
JOINS = ("Add", "Sum", "Concat")
ACTIVATIONS = ("Relu", "Clip", "LeakyRelu", "PRelu", "Elu", "Selu", "HardSwish", "Gelu", "Mish")
WORDS = ("stem", "stage1", "stage2", "stage3", "stage4", "pool", "penultimate", "logits")


class Points:
    """What is known of the nodes of a translated graph.

    Parameters
    ----------
    t : Translation
    nodes : list of Node
        Those that some output depends on, in order.
    output : str
        Of the network.
    image : tuple of int
        Height, width and channels.
    """

    def __init__(self, t, nodes, output, image):
        self.t, self.output, self.image = t, output, image
        self.nodes = [n for n in nodes if n.outputs and self.value(n.outputs[0]) is not None]
        self.readers = {}
        for node in self.nodes:
            for name in node.inputs:
                self.readers.setdefault(name, []).append(node)

    def value(self, name):
        """What a name stands for if it depends on the picture, else None."""
        value = self.t.values.get(name)
        return value if isinstance(value, Value) else None

    def map_size(self, name):
        """(height, width) of a map of more than one pixel, else None."""
        value = self.value(name)
        if value is None or value.ndim != 4 or value.shape[0] != 1:
            return None
        channels = channel_axis(value)
        size = tuple(s for k, s in enumerate(value.shape) if k not in (0, channels))
        return size if math.prod(size) > 1 else None

    def level(self, node):
        """Logarithm to base 2 of the stride of a map, rounded; None for what is no map."""
        size = self.map_size(node.outputs[0])
        if size is None or node.op in SAME:
            return None
        return round(math.log2(max(1, max(self.image[:2]) / max(size))))

    def joins(self, node):
        """Whether two branches that depend on the picture meet in a node."""
        values = [self.value(name) for name in node.inputs]
        if node.op not in JOINS or len(values) < 2 or None in values:
            return False
        return len({v.ndim for v in values}) == 1

    def settled(self, node):
        """A node, or the activation that alone reads it."""
        readers = self.readers.get(node.outputs[0], [])
        alone = len(readers) == 1 and readers[0].op in ACTIVATIONS
        return readers[0] if alone else node

    def find(self):
        """Pairs of canonical name and activation, from early to late."""
        found = self.stages()
        dense = self.dense()
        pools = [n for n in self.nodes if self.is_pooling(n)]
        if pools:
            after = self.readers.get(pools[-1].outputs[0], [])
            found["pool"] = after[0] if len(after) == 1 and after[0].op in SAME else pools[-1]
        if dense is not None:
            found["penultimate"] = self.t.producers.get(dense.inputs[0])
            found["logits"] = self.scores()
        elif pools and self.is_head(self.t.producers.get(pools[-1].inputs[0])):
            found["logits"] = self.scores()
        if not found.get("pool"):
            found["pool"] = self.unpooled(dense) or found.get("penultimate") or self.vector()
        return tuple(
            (word, self.t.titles[found[word].outputs[0]]) for word in WORDS if found.get(word)
        )

    def unpooled(self, dense):
        """The map that dense layers read, pixel by pixel; None where they read vectors."""
        flat = [n for n in self.nodes if n.op in SAME and self.map_size(n.inputs[0])]
        flat = [n for n in flat if self.value(n.outputs[0]).ndim == 2]
        return self.t.producers.get(flat[-1].inputs[0]) if flat and dense is not None else None

    def vector(self):
        """The node of the output if it is one vector for a picture."""
        return self.t.producers.get(self.output) if self.value(self.output).ndim == 2 else None

    def stages(self):
        """The last maps of strides 4 to 32, and the first one; or quarters of the blocks of tokens.

        Where branches are joined a stage ends with the last join: what follows it belongs to the
        next block already, but for the last stage.
        """
        levels = {}
        for node in self.nodes:
            level = self.level(node)
            if level is not None and level >= 1:
                levels.setdefault(level, []).append(node)
        if len(levels) < 2:
            blocks = [n for n in self.nodes if self.joins(n) and self.value(n.outputs[0]).ndim == 3]
            ends = {f"stage{k}": len(blocks) * k // 4 - 1 for k in range(1, 5)}
            return {k: blocks[i] for k, i in ends.items() if len(blocks) >= 4}
        found = {}
        for level, nodes in levels.items():
            joins = [n for n in nodes if self.joins(n)]
            last = self.settled(joins[-1]) if joins and level < max(levels) else nodes[-1]
            if 2 <= level <= 5:
                found[f"stage{level - 1}"] = last
        first = levels[min(levels)][0]
        windows = [n for n in self.nodes if n.op in ("Conv", "MaxPool", "AveragePool")]
        later = windows[windows.index(first) + 1 :] if first in windows else []
        if first.op == "Conv" and later:
            first = self.t.producers.get(later[0].inputs[0], first)
        found["stem"] = first
        return found

    def is_pooling(self, node):
        """Whether a node makes a vector of a map."""
        before, after = self.value(node.inputs[0]), self.value(node.outputs[0])
        if node.op not in POOLS or before is None or self.map_size(node.inputs[0]) is None:
            return False
        return math.prod(after.shape) == before.shape[channel_axis(before)]

    def is_head(self, node):
        """Whether scores are a convolution of one pixel, with or without an activation."""
        if node is not None and node.op in ACTIVATIONS:
            node = self.t.producers.get(node.inputs[0])
        if node is None or node.op != "Conv":
            return False
        return math.prod(np.shape(self.t.values[node.inputs[1]])[2:]) == 1

    def scores(self):
        """The node of the last scores that are no probabilities."""
        node = self.t.producers.get(self.output)
        while node is not None and node.op in SCORES:
            node = self.t.producers.get(node.inputs[0])
        return node

    def dense(self):
        """The last product with weights, if nothing but its bias and probabilities come after."""
        node = self.t.producers.get(self.output)
        while node is not None and node.op in SCORES + SAME:
            node = self.t.producers.get(node.inputs[0])
        if node is not None and node.op == "Add":
            makers = [self.t.producers.get(name) for name in node.inputs]
            node = next((m for m in makers if m is not None and m.op == "MatMul"), None)
        if node is None or node.op not in ("Gemm", "MatMul"):
            return None
        fixed = isinstance(self.t.values[node.inputs[1]], np.ndarray)
        return node if fixed and self.value(node.inputs[0]) is not None else None


def channel_axis(value):
    """The axis of a tensor (n, c, h, w) or (n, h, w, c) that holds the channels."""
    if value.shape[1] == 1 or not value.stored or value.stored[-1] not in value.axes[3]:
        return 1
    return 3
