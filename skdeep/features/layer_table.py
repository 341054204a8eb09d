"""Which layers a network has to take features from, as a table to read."""

from dataclasses import dataclass

from ..graph.op import topological
from ..graph.tensor import Tensor
from ..training.summary import format_html, format_text

WHOLE = float("inf")  # stride and field of a value that looks at all of the picture


@dataclass(frozen=True)
class LayerPoint:
    """A layer whose activations can be features.

    Attributes
    ----------
    name : str
        As ``layer=`` takes it.
    canonical : str
        "stem", "stage1" .. "stage4", "pool", "penultimate" or "logits", which ``layer=`` takes,
        too; empty for the layers in between.
    shape : tuple of int
        Of one picture: (height, width, channels), (tokens, width) or (features,).
    stride : float
        Pixels of the picture between two neighbouring positions; infinite without positions.
    field : float
        Side in pixels of the part of the picture that one position can see, were it not for the
        border; infinite for all of it.
    """

    name: str
    canonical: str
    shape: tuple
    stride: float
    field: float


class LayerTable(tuple):
    """:class:`LayerPoint` s from early to late; prints as a table."""

    HEAD = ("layer", "canonical", "output", "stride", "receptive field")

    def _lines(self):
        return [
            [
                p.name,
                p.canonical,
                " x ".join(map(str, p.shape)),
                _pixels(p.stride),
                _pixels(p.field),
            ]
            for p in self
        ]

    def __repr__(self):
        return format_text(self.HEAD, self._lines(), right=(3, 4))

    def _repr_html_(self):
        return format_html(self.HEAD, self._lines())


def _pixels(n):
    return "whole" if n == WHOLE else f"{n:g}"


def layer_table(network, points):
    """The layers of a network.

    Parameters
    ----------
    network : Network
    points : sequence of (str, str)
        Canonical names and the layers they stand for.

    Returns
    -------
    LayerTable
        A layer with several canonical names is listed under the first.
    """
    x = Tensor((1, *network.input_shape), role="data")
    _, trace = network.trace(x, training=False)
    seen = _reach(list(trace.activations.values()), x)
    canonical = {}
    for word, layer in points:
        canonical.setdefault(layer, word)
    return LayerTable(
        LayerPoint(name, canonical.get(name, ""), t.shape[1:], *seen[id(t)])
        for name, t in trace.activations.items()
        if id(t) in seen
    )


def _reach(outputs, x):
    """(stride, receptive field) of every tensor that depends on ``x``, by id."""
    known = {id(x): (1.0, 1.0)}
    for op in topological(outputs):
        inputs = [known[id(t)] for t in op.inputs if id(t) in known]
        if not inputs:
            continue
        strides, fields = zip(*inputs)
        stride, field = min(strides), max(fields)  # a gate that sees everything keeps positions
        window = _window(op)
        if op.output.ndim == 2 or type(op).__name__ == "Attention":
            stride, field = (WHOLE if op.output.ndim == 2 else stride), WHOLE
        elif window is not None:
            size, step, dilation = window
            field += (size - 1) * dilation * stride
            stride *= step
        known.update((id(t), (stride, field)) for t in op.outputs)
    return known


def _window(op):
    """(size, stride, dilation) of a window along the larger side, or None."""
    kind = type(op).__name__
    if "Conv2D" in kind:
        size, dilation = op.inputs[1].shape[:2], op.dilation
    elif "Pool2D" in kind:
        size, dilation = op.size, (1, 1)
    else:
        return None
    return max(zip(size, op.stride, dilation))
