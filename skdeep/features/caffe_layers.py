"""Caffe's layer types in our operations, and their weights in our layout."""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from .. import ops
from ..formats import FormatError
from ..layers import BatchNorm, Conv2D, Dense, Dropout, Layer, LocalResponseNorm

__all__ = ["LAYERS", "channels_read"]


class Kind(NamedTuple):
    """A layer type.

    Attributes
    ----------
    build : callable
        ``build(node, tensors)`` gives a layer, or a function of tensors, or None for nothing.
    convert : callable
        ``convert(node, blobs, order)`` gives weights by their name in the layer. ``order`` is the
        shape of a sample of the input, before it was flattened.
    """

    build: Callable
    convert: Callable = lambda node, blobs, order: {}


def channels_read(node, tensors):
    """Channels of the pictures that a convolution reads, or None."""
    if node.op != "Convolution" or not node.attributes["blobs"]:
        return None
    w = tensors[node.attributes["blobs"][0]]
    return w.shape[1] * node.attributes["group"] if w.ndim == 4 else None


# -- layers and functions ------------------------------------------------------------------------


class PerChannel(Layer):
    """x gamma + beta with a number per channel; one of them may be left out."""

    def __init__(self, scales=True, shifts=True, *, trainable=True):
        self.scales = scales
        self.shifts = shifts
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the input."""
        if self.scales:
            x = x * self.parameter("gamma", x.shape[-1:], "ones")
        return x + self.parameter("beta", x.shape[-1:], "zeros") if self.shifts else x


class PReLU(Layer):
    """x above zero, a x below, with a number per channel or one for all."""

    def __init__(self, shared=False, *, trainable=True):
        self.shared = shared
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the input."""
        a = self.parameter("a", (1,) if self.shared else x.shape[-1:], 0.25)
        return ops.relu(x) - a * ops.relu(-x)


def pool(x, kind, kernel_size, stride, pad, ceil_mode):
    """Pooling by Caffe's rules; ``kernel_size`` None pools over the whole map.

    A last window hangs over the edge if it begins before the padding behind the image; the mean
    counts the padding, and of such a window what is not beyond it.
    """
    if x.ndim != 4:
        raise ValueError(f"pooling needs maps, got shape {x.shape}")
    size = list(x.shape[1:3] if kernel_size is None else kernel_size)
    for axis, (length, step, edge) in enumerate(zip(x.shape[1:3], stride, pad)):
        room = length + 2 * edge - size[axis]
        if ceil_mode and edge == 0 and room % step and (room // step + 1) * step >= length > 0:
            raise ValueError(f"windows of {size} every {stride} pixels lie outside {x.shape[1:3]}")
        if ceil_mode and -step < room < 0:
            size[axis] += room  # one window, which hangs over on both sides
    if kind == "MAX":
        return ops.max_pool2d(x, size, stride, pad, ceil_mode)
    return ops.average_pool2d(x, size, stride, pad, ceil_mode, count_include_pad=True)


def norm_within_channel(x, size, alpha, beta):
    """x / (1 + alpha times the mean square over size x size pixels) ** beta."""
    mean = pool(ops.square(x), "AVE", (size, size), (1, 1), (size // 2, size // 2), False)
    return x / ops.power(mean * alpha + 1.0, beta)


def eltwise(*tensors, operation, coefficients=()):
    """Sum with coefficients, product or maximum of tensors of one shape."""
    if len({t.shape for t in tensors}) > 1:
        raise ValueError(f"the inputs have shapes {[t.shape[1:] for t in tensors]}")
    if coefficients:
        tensors = [t if c == 1 else t * c for t, c in zip(tensors, coefficients)]
    total = tensors[0]
    for t in tensors[1:]:
        total = {"SUM": ops.add, "PROD": ops.multiply, "MAX": ops.maximum}[operation](total, t)
    return total


def concatenate(*tensors, axis):
    """Along one of Caffe's axes (n, c, h, w)."""
    if axis < 0:
        axis += 4 if tensors[0].ndim == 4 else 2
    if axis == 1:
        return ops.concatenate(tensors, axis=-1)
    if axis not in (2, 3) or tensors[0].ndim != 4:
        raise ValueError(f"inputs are joined along axis {axis}, which is not known")
    return ops.concatenate(tensors, axis=axis - 1)


def scale_by(x, factors):
    """Every channel of a map times a number of its sample."""
    return x * ops.reshape(factors, (x.shape[0], *[1] * (x.ndim - 2), x.shape[-1]))


def power(x, exponent, scale, shift):
    """(shift + scale x) ** exponent."""
    x = x if scale == 1 else x * scale
    x = x if shift == 0 else x + shift
    return x if exponent == 1 else ops.power(x, exponent)


# -- from nodes ----------------------------------------------------------------------------------


def _convolution(node, tensors):
    a = node.attributes
    if a["axis"] != 1:
        raise FormatError(f"it convolves along axis {a['axis']}; pictures have 1.")
    if min(*a["kernel_size"], *a["stride"], *a["dilation"], a["group"], a["num_output"]) < 1:
        raise FormatError(f"a size of it is zero: {a}.")
    return Conv2D(
        a["num_output"],
        tuple(a["kernel_size"]),
        stride=tuple(a["stride"]),
        padding=tuple(a["pad"]),
        dilation=tuple(a["dilation"]),
        groups=a["group"],
        use_bias=a["bias_term"],
    )


def _convolution_weights(node, blobs, order):
    w = blobs[0]
    if w.ndim != 4:
        raise FormatError(f"its weights have shape {w.shape}, not four axes.")
    return {"W": w.transpose(2, 3, 1, 0)} | _bias(blobs[1:])


def _bias(blobs):
    return {"b": blobs[0].reshape(-1)} if blobs else {}


def _rows(order):
    """For each number of a flattened map of ours, its place in Caffe's."""
    size = int(np.prod(order))
    return np.moveaxis(np.arange(size).reshape(order[-1:] + order[:-1]), 0, -1).reshape(-1)


def _inner_product(node, tensors):
    a = node.attributes
    if a["axis"] != 1 or a["num_output"] < 1:
        raise FormatError(f"axis {a['axis']} and {a['num_output']} outputs are not known.")
    return Dense(a["num_output"], use_bias=a["bias_term"])


def _inner_product_weights(node, blobs, order):
    w = blobs[0]
    if w.ndim < 2:
        raise FormatError(f"its weights have shape {w.shape}.")
    w = w.reshape(w.shape[-2:])
    w = w if node.attributes["transpose"] else w.T
    if w.shape[0] != int(np.prod(order)):
        raise FormatError(
            f"its weights are for {w.shape[0]} inputs, but it gets a map of {tuple(order)}; give "
            "the input_shape that the network was trained for."
        )
    if len(order) == 3 and tuple(order[:2]) != (1, 1):
        h, width, c = order
        w = w.reshape(c, h, width, -1).transpose(1, 2, 0, 3).reshape(w.shape)
    return {"W": w} | _bias(blobs[1:])


def _pooling(node, tensors):
    a = node.attributes
    if a["pool"] == "STOCHASTIC":
        raise FormatError("stochastic pooling is not known.")
    size = None if a["global_pooling"] else tuple(a["kernel_size"])
    if min(*a["stride"], *(size or (1,))) < 1:
        raise FormatError(f"a size of it is zero: {a}.")
    return partial(
        pool,
        kind=a["pool"],
        kernel_size=size,
        stride=tuple(a["stride"]),
        pad=tuple(a["pad"]),
        ceil_mode=a["round_mode"] == "CEIL",
    )


def _lrn(node, tensors):
    a = node.attributes
    size, alpha, beta, k = a["local_size"], a["alpha"], a["beta"], a["k"]
    if size < 1 or size % 2 == 0 or not (alpha >= 0 and beta >= 0 and k > 0):
        raise FormatError(f"local_size must be odd, k above zero, alpha and beta not below: {a}.")
    if a["norm_region"] == "WITHIN_CHANNEL":
        return partial(norm_within_channel, size=size, alpha=alpha, beta=beta)
    return LocalResponseNorm(size, alpha, beta, k)


def _batch_norm(node, tensors):
    if not node.attributes["eps"] > 0:
        raise FormatError(f"eps is {node.attributes['eps']}.")
    return BatchNorm(epsilon=node.attributes["eps"])


def _batch_norm_weights(node, blobs, order):
    """Mean and variance, both sums over as many batches as the third blob says."""
    if len(blobs) < 3 or blobs[2].size != 1:
        raise FormatError(f"it has blobs of shapes {[b.shape for b in blobs]}, not three.")
    factor = float(blobs[2].reshape(-1)[0])
    if not math.isfinite(factor):
        raise FormatError(f"its statistics are sums over {factor} batches.")
    factor = 1 / factor if factor else 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        mean, var = (_ordered(blob, order) * factor for blob in blobs[:2])
    return {"mean": mean, "var": var, "gamma": np.ones_like(mean), "beta": np.zeros_like(mean)}


def _ordered(blob, order):
    """A number per channel; where a flattened map has channels, in our order."""
    blob = blob.reshape(-1)
    flattened = blob.size != order[-1] and blob.size == int(np.prod(order))
    return blob[_rows(tuple(order))] if flattened else blob


def _per_channel(node):
    a = node.attributes
    if a["axis"] != 1 or a["num_axes"] != 1:
        raise FormatError(f"axis {a['axis']} and num_axes {a['num_axes']} are not known; 1 is.")


def _scale(node, tensors):
    if len(node.inputs) == 2 and not node.attributes["bias_term"]:
        return scale_by
    _per_channel(node)
    return PerChannel(True, node.attributes["bias_term"])


def _scale_weights(node, blobs, order):
    named = zip(("gamma", "beta"), blobs)
    return {name: _ordered(blob, order) for name, blob in named}


def _shift(node, tensors):
    _per_channel(node)
    return PerChannel(False, True)


def _prelu_weights(node, blobs, order):
    return {"a": _ordered(blobs[0], order)}


def _eltwise(node, tensors):
    a = node.attributes
    if a["coeff"] and (len(a["coeff"]) != len(node.inputs) or a["operation"] != "SUM"):
        raise FormatError(f"it has {len(a['coeff'])} coefficients for {len(node.inputs)} inputs.")
    return partial(eltwise, operation=a["operation"], coefficients=tuple(a["coeff"]))


def _dropout(node, tensors):
    share = node.attributes["dropout_ratio"]
    if not 0 <= share < 1:
        raise FormatError(f"dropout_ratio is {share}.")
    if not node.attributes["scale_train"]:
        return partial(power, exponent=1, scale=1 - share, shift=0)
    return Dropout(share)


def _relu(node, tensors):
    slope = node.attributes["negative_slope"]
    return partial(ops.leaky_relu, slope=slope) if slope else ops.relu


def _softmax(node, tensors):
    if node.attributes["axis"] not in (1, -3):
        raise FormatError(f"softmax over axis {node.attributes['axis']} is not known; over 1 is.")
    return ops.softmax


def _flatten(node, tensors):
    if (node.attributes["axis"], node.attributes["end_axis"]) not in ((1, -1), (1, 3)):
        raise FormatError("only flattening of everything but the batch is known.")
    return ops.flatten


def _power(node, tensors):
    a = node.attributes
    return partial(power, exponent=a["power"], scale=a["scale"], shift=a["shift"])


def _plain(function):
    return Kind(lambda node, tensors: function)


LAYERS = {
    "AbsVal": _plain(ops.absolute),
    "BatchNorm": Kind(_batch_norm, _batch_norm_weights),
    "Bias": Kind(_shift, lambda node, blobs, order: {"beta": _ordered(blobs[0], order)}),
    "Concat": Kind(lambda node, _: partial(concatenate, axis=node.attributes["axis"])),
    "Convolution": Kind(_convolution, _convolution_weights),
    "Dropout": Kind(_dropout),
    "ELU": Kind(lambda node, _: partial(ops.elu, alpha=node.attributes["alpha"])),
    "Eltwise": Kind(_eltwise),
    "Flatten": Kind(_flatten),
    "InnerProduct": Kind(_inner_product, _inner_product_weights),
    "LRN": Kind(_lrn),
    "PReLU": Kind(lambda node, _: PReLU(node.attributes["channel_shared"]), _prelu_weights),
    "Pooling": Kind(_pooling),
    "Power": Kind(_power),
    "ReLU": Kind(_relu),
    "Scale": Kind(_scale, _scale_weights),
    "Sigmoid": _plain(ops.sigmoid),
    "Softmax": Kind(_softmax),
    "TanH": _plain(ops.tanh),
}
