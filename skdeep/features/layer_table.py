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
        Longer side in pixels of the part of the picture that one position can see, were it not for
        the border; infinite for all of it.
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
        LayerPoint(name, canonical.get(name, ""), t.shape[1:], *map(max, seen[id(t)]))
        for name, t in trace.activations.items()
        if id(t) in seen
    )


def _reach(outputs, x):
    """Strides and receptive fields, along both sides, of what depends on ``x``, by id."""
    known = {id(x): ((1.0, 1.0), (1.0, 1.0))}
    for op in topological(outputs):
        inputs = [known[id(t)] for t in op.inputs if id(t) in known]
        if not inputs:
            continue
        strides, fields = zip(*inputs)
        # A gate that sees everything keeps positions.
        strides, fields = tuple(map(min, *strides, (WHOLE,) * 2)), tuple(map(max, *fields, (0, 0)))
        window = _window(op)
        if op.output.ndim == 2:
            strides = fields = (WHOLE, WHOLE)
        elif type(op).__name__ == "Attention" or _sees_all(op, window):
            fields = (WHOLE, WHOLE)
        elif window is not None:
            sizes, steps, dilations = window
            reach = [(n - 1) * d * s for n, d, s in zip(sizes, dilations, strides)]
            fields = tuple(f + more for f, more in zip(fields, reach))
            strides = tuple(s * step for s, step in zip(strides, steps))
        known.update((id(t), (strides, fields)) for t in op.outputs)
    return known


def _sees_all(op, window):
    """Whether there is one window, as large as the map, as in a gate."""
    size = op.inputs[0].shape[1:3]
    return window is not None and op.output.shape[1:3] == (1, 1) != size == tuple(window[0])


def _window(op):
    """Sizes, strides and dilations of a window, or None."""
    kind = type(op).__name__
    if "Conv2D" in kind:
        return op.inputs[1].shape[:2], op.stride, op.dilation
    if "Pool2D" in kind:
        return op.size, op.stride, (1, 1)
    return None
