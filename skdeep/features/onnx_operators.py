"""What each operator of an ONNX graph does to values, in operations of :mod:`skdeep.ops`.

:data:`OPERATORS` maps an operator to ``translate(t, node, *inputs)``: ``t`` records (see
:class:`~skdeep.features.axes.Axes`), inputs are values, arrays (what does not depend on the
picture) or None (left out). It returns a value, an array, or a tuple of them.
"""

import math

import numpy as np

from .. import ops
from . import onnx_constants as constants
from .axes import Value, atoms_of, flat, sizes_product
from .onnx_constants import given, integers, one_axis
from .onnx_resize import resize_matrices

__all__ = []

OPERATORS = {}


def operator(*names):
    """Enter a function as the translation of operators."""

    def enter(function):
        OPERATORS.update(dict.fromkeys(names, function))
        return function

    return enter


# ---- element by element ----------------------------------------------------------------------

UNARY = {
    "Relu": "relu", "Sigmoid": "sigmoid", "Tanh": "tanh", "Erf": "erf", "Mish": "mish",
    "Softplus": "softplus", "Sqrt": "sqrt", "Exp": "exp", "Log": "log", "Neg": "negative",
    "Abs": "absolute",
}  # fmt: skip
BINARY = {"Add": "add", "Sub": "subtract", "Mul": "multiply", "Div": "divide"}
MANY = {"Max": "maximum", "Min": "minimum", "Sum": "add", "Mean": "add"}


@operator(*UNARY)
def unary(t, node, x):
    """A function of every element."""
    return t.unary(UNARY[node.op], x)


@operator(*BINARY)
def binary(t, node, a, b):
    """Two operands that broadcast."""
    return t.elementwise(BINARY[node.op], a, b)


@operator(*MANY)
def many(t, node, *inputs):
    """Any number of operands that broadcast."""
    result, *others = sorted(inputs, key=lambda x: not isinstance(x, Value))
    for x in others:
        result = t.elementwise(MANY[node.op], result, x)
    return t.elementwise("divide", result, float(len(inputs))) if node.op == "Mean" else result


@operator("Reciprocal")
def reciprocal(t, node, x):
    """1 / x."""
    return t.elementwise("divide", 1.0, x)


@operator("Pow")
def power(t, node, x, exponent):
    """x to a power that is one number."""
    if isinstance(exponent, Value) or np.unique(exponent).size != 1:
        raise ValueError("the exponent must be one number")
    if not isinstance(x, Value):
        raise ValueError("the base must depend on the picture")
    x = t.expand(x, np.broadcast_shapes(x.shape, exponent.shape))
    return t.unary("power", x, exponent=float(exponent.reshape(-1)[0]))


@operator("Clip")
def clip(t, node, x, *limits):
    """Limited to an interval."""
    low, high = (given(node.attributes, (x, *limits), k, n) for k, n in ((1, "min"), (2, "max")))
    low, high = (None if v is None or not np.size(v) else float(np.asarray(v).reshape(-1)[0])
                 for v in (low, high))  # fmt: skip
    if low is None and high is None:
        return x
    if low is not None and high is not None and low > high:
        return t.elementwise("add", t.elementwise("multiply", x, 0.0), high)
    return t.unary("clip", x, low=low, high=high)


@operator("LeakyRelu")
def leaky_relu(t, node, x):
    """A line with a bend."""
    return t.unary("leaky_relu", x, slope=float(node.attributes.get("alpha", 0.01)))


@operator("PRelu")
def prelu(t, node, x, slope):
    """A line with a bend, whose slope below zero may differ from channel to channel."""
    if not isinstance(slope, Value) and slope.size == 1:
        return t.unary("leaky_relu", x, slope=float(slope.reshape(-1)[0]))
    below = t.elementwise("multiply", t.elementwise("minimum", x, 0.0), slope)
    return t.elementwise("add", t.unary("relu", x), below)


@operator("Elu")
def elu(t, node, x):
    """alpha (exp(x) - 1) below zero."""
    return t.unary("elu", x, alpha=float(node.attributes.get("alpha", 1.0)))


@operator("Selu")
def selu(t, node, x):
    """gamma times elu."""
    alpha = float(node.attributes.get("alpha", 1.6732632423543772))
    y = t.unary("elu", x, alpha=alpha)
    return t.elementwise("multiply", y, float(node.attributes.get("gamma", 1.0507009873554805)))


@operator("HardSigmoid")
def hard_sigmoid(t, node, x):
    """A line between 0 and 1."""
    alpha, beta = (float(node.attributes.get(n, v)) for n, v in (("alpha", 0.2), ("beta", 0.5)))
    y = t.elementwise("add", t.elementwise("multiply", x, alpha), beta)
    return t.unary("clip", y, low=0.0, high=1.0)


@operator("HardSwish")
def hard_swish(t, node, x):
    """x times the hard sigmoid of slope 1 / 6."""
    y = t.elementwise("add", t.elementwise("multiply", x, 1 / 6), 0.5)
    return t.elementwise("multiply", x, t.unary("clip", y, low=0.0, high=1.0))


@operator("Gelu")
def gelu(t, node, x):
    """x times the normal distribution function, or an approximation of it by tanh."""
    kind = node.attributes.get("approximate", "none")
    if kind == "none":
        return t.unary("gelu", x)
    if kind != "tanh":
        raise ValueError(f"approximate={kind!r} is not supported")
    cube = t.elementwise("multiply", t.unary("power", x, exponent=3.0), 0.044715)
    inner = t.elementwise("multiply", t.elementwise("add", x, cube), math.sqrt(2 / math.pi))
    y = t.elementwise("add", t.unary("tanh", inner), 1.0)
    return t.elementwise("multiply", t.elementwise("multiply", x, 0.5), y)


@operator("Where")
def where(t, node, condition, x, y):
    """x where a condition that is known beforehand holds, else y."""
    if isinstance(condition, Value):
        raise ValueError("its condition must not depend on the picture")
    return t.elementwise("where", t.constant(condition), x, y)


@operator("Cast")
def cast(t, node, x):
    """Another type; what depends on the picture is float32 here, whatever the file says."""
    dtype = constants.DTYPES.get(node.attributes.get("to"), np.int8)
    if np.dtype(dtype).kind != "f":
        raise ValueError("activations are float32 and cannot become integers or truth values")
    return x


@operator("Identity", "Dropout")
def identity(t, node, x, *others):
    """The same."""
    if len(others) > 1 and others[1] is not None and np.any(others[1]):
        raise ValueError("dropout in training mode is not supported")
    return x


# ---- images ----------------------------------------------------------------------------------


def image(t, x):
    """A value (n, c, w) or (n, c, h, w) as a tensor of images; that, and its atoms by axis."""
    if x.ndim not in (3, 4):
        raise ValueError(f"tensors of one or two spatial axes are supported, not {x.shape}")
    samples, channels = x.axes[:2]
    height, width = x.axes[2:] if x.ndim == 4 else ((), x.axes[2])
    stored = tuple(a for a in x.stored if a in channels)
    x = t.arrange(x, (*samples, *height, *width, *stored))
    return t.view(x, height, width, stored, samples=samples), stored


def imaged(t, name, x, channels, stored):
    """The value of a tensor of images that was made of ``x``."""
    spatial = atoms_of(t.shape(name)[1:3][-(x.ndim - 2) :])
    return Value(name, (x.axes[0], channels, *spatial), (*x.axes[0], *flat(spatial), *stored))


def two(values, default, name):
    """One or two numbers of an attribute as (vertical, horizontal)."""
    values = default if values is None else integers(values)
    if len(values) != len(default) or min(values) < 1:
        raise ValueError(f"{name} {values} do not fit {len(default)} spatial axes")
    return (1, *values)[-2:]


def paddings(attributes, sizes, kernel, stride, dilation):
    """((top, bottom), (left, right)) by ``pads`` or ``auto_pad``; sizes are those of the image."""
    kind = attributes.get("auto_pad", "NOTSET")
    axes = len(sizes)
    if kind in ("NOTSET", "VALID"):
        pads = integers(attributes.get("pads", [0] * 2 * axes)) if kind == "NOTSET" else []
        pads = pads or [0] * 2 * axes
        if len(pads) != 2 * axes or min(pads) < 0:
            raise ValueError(f"pads {pads} do not fit {axes} spatial axes, or are negative")
        pairs = list(zip(pads[:axes], pads[axes:]))
    elif kind in ("SAME_UPPER", "SAME_LOWER"):
        pairs = []
        for size, k, s, d in zip(sizes, kernel[-axes:], stride[-axes:], dilation[-axes:]):
            total = max(0, (-(-size // s) - 1) * s + (k - 1) * d + 1 - size)
            less, more = total // 2, total - total // 2
            pairs.append((less, more) if kind == "SAME_UPPER" else (more, less))
    else:
        raise ValueError(f"auto_pad={kind!r} is not supported")
    return tuple([(0, 0), *pairs][-2:])


@operator("Conv")
def conv(t, node, x, w, b=None):
    """Convolution; weights are reordered to how the channels lie in memory."""
    if isinstance(w, Value) or isinstance(b, Value):
        raise ValueError("weights that depend on the picture are not supported")
    group = int(node.attributes.get("group", 1))
    fits = w.ndim == x.ndim and group >= 1 and w.shape[0] % group == 0
    if not fits or w.shape[1] * group != x.shape[1] or 0 in w.shape:
        raise ValueError(f"weights of shape {w.shape} in {group} groups do not fit {x.shape}")
    spatial = w.shape[2:]
    if tuple(integers(node.attributes.get("kernel_shape", spatial))) != spatial:
        raise ValueError(f"kernel_shape does not fit weights of shape {w.shape}")
    ones = [1] * len(spatial)
    stride = two(node.attributes.get("strides"), ones, "strides")
    dilation = two(node.attributes.get("dilations"), ones, "dilations")
    kernel = (1, *spatial)[-2:]
    padding = paddings(node.attributes, x.shape[2:], kernel, stride, dilation)
    depthwise = group == w.shape[0] == x.shape[1] > 1
    if group > 1 and not depthwise:
        x = t.plain(x, t.order(x))
    name, stored = image(t, x)
    w = w.reshape(*w.shape[:2], *kernel)
    if b is not None and b.shape != w.shape[:1]:
        raise ValueError(f"a bias of shape {b.shape} does not fit weights of shape {w.shape}")
    channels = x.axes[1] if depthwise else atoms_of([w.shape[0]])[0]
    w = t.sorted_as(stored, x.axes[1], w, 0 if depthwise else 1) if group in (1, len(w)) else w
    if depthwise and b is not None:
        b = t.sorted_as(stored, x.axes[1], b)
    name = t.apply(
        "conv2d",
        name,
        t.weight(f"{t.node}.W", w.transpose(2, 3, 1, 0)),
        None if b is None else t.weight(f"{t.node}.b", b),
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=group,
    )
    return imaged(t, name, x, channels, stored if depthwise else channels)


@operator("MaxPool", "AveragePool")
def pool(t, node, x, *_):
    """Pooling over windows."""
    attributes = node.attributes
    ones = [1] * (x.ndim - 2)
    kernel = two(attributes["kernel_shape"], ones, "kernel_shape")
    stride = two(attributes.get("strides"), ones, "strides")
    if two(attributes.get("dilations"), ones, "dilations") != (1, 1):
        raise ValueError("dilations of pooling windows are not supported")
    padding = paddings(attributes, x.shape[2:], kernel, stride, (1, 1))
    if kernel == stride == (1, 1) and not any(map(any, padding)):
        return x
    options = {"stride": stride, "padding": padding, "ceil_mode": bool(attributes.get("ceil_mode"))}
    name, stored = image(t, x)
    if node.op == "MaxPool":
        name = t.apply("max_pool2d", name, pool_size=kernel, **options)
    else:
        padded = bool(attributes.get("count_include_pad", 0))
        name = t.apply(
            "average_pool2d", name, pool_size=kernel, count_include_pad=padded, **options
        )
    return imaged(t, name, x, x.axes[1], stored)


@operator("GlobalAveragePool")
def global_average_pool(t, node, x):
    """Mean over all spatial axes, which stay with one element."""
    return reduced(t, "ReduceMean", x, range(2, x.ndim), True)


@operator("GlobalMaxPool")
def global_max_pool(t, node, x):
    """Largest over all spatial axes, which stay with one element."""
    return reduced(t, "ReduceMax", x, range(2, x.ndim), True)


@operator("LRN")
def local_response_norm(t, node, x):
    """Divided by a power of the squares of neighbouring channels."""
    x = t.plain(x, t.order(x))
    name, stored = image(t, x)
    a = node.attributes
    name = t.apply(
        "local_response_norm",
        name,
        size=int(a["size"]),
        alpha=float(a.get("alpha", 1e-4)),
        beta=float(a.get("beta", 0.75)),
        k=float(a.get("bias", 1.0)),
    )
    return imaged(t, name, x, x.axes[1], stored)


# ---- normalisation ---------------------------------------------------------------------------


def vectors(t, names, arrays, atoms, axis):
    """Vectors of one number per channel as weights, in the order of the channels in memory."""
    found, size = [], sizes_product(axis)
    for name, array in zip(names, arrays):
        if isinstance(array, Value) or array.size != size:
            raise ValueError(f"{size} fixed numbers are needed, one per channel")
        array = t.sorted_as(atoms, axis, array.reshape(-1))
        fixed = name in ("mean", "var")
        found.append(t.weight(f"{t.node}.{name}", array, trainable=not fixed))
    return found


@operator("BatchNormalization")
def batch_normalization(t, node, x, *statistics):
    """Channels normalised by given statistics."""
    if node.attributes.get("training_mode"):
        raise ValueError("training mode is not supported; export the network for inference")
    x, end = t.axis_last(x, 1)
    weights = vectors(t, ("gamma", "beta", "mean", "var"), statistics, end, x.axes[1])
    eps = float(node.attributes.get("epsilon", 1e-5))
    return Value(t.apply("batch_norm", t.rows(x, end), *weights, eps=eps), x.axes, x.stored)


@operator("InstanceNormalization")
def instance_normalization(t, node, x, scale, shift):
    """Channels of every picture normalised by their own statistics."""
    axes = range(2, x.ndim)
    away = t.elementwise("subtract", x, reduced(t, "ReduceMean", x, axes, True))
    variance = reduced(t, "ReduceMean", t.unary("square", away), axes, True)
    eps = float(node.attributes.get("epsilon", 1e-5))
    deviation = t.unary("sqrt", t.elementwise("add", variance, eps))
    shape = (1, -1, *[1] * (x.ndim - 2))
    y = t.elementwise("multiply", t.elementwise("divide", away, deviation), scale.reshape(shape))
    return t.elementwise("add", y, shift.reshape(shape))


@operator("LayerNormalization")
def layer_normalization(t, node, x, scale, shift=None):
    """The last axes of every sample normalised by their own statistics."""
    axes = range(one_axis(node.attributes.get("axis", -1), x.ndim), x.ndim)
    eps = float(node.attributes.get("epsilon", 1e-5))
    result = layer_norm(t, x, axes, scale, shift, eps)
    if not any(node.outputs[1:]):
        return result
    mean = reduced(t, "ReduceMean", x, axes, True)
    square = t.unary("square", t.elementwise("subtract", x, mean))
    variance = t.elementwise("add", reduced(t, "ReduceMean", square, axes, True), eps)
    return result, mean, t.elementwise("divide", 1.0, t.unary("sqrt", variance))


def layer_norm(t, x, axes, scale, shift, eps):
    """Layer norm over some axes; scale and shift are arrays that broadcast to these."""
    shape = [x.shape[k] for k in axes]
    x, end = t.axis_last(x, *axes)
    shift = np.zeros(shape, np.float32) if shift is None else shift
    if isinstance(scale, Value) or isinstance(shift, Value):
        raise ValueError("scale and shift must not depend on the picture")
    arrays = [np.broadcast_to(a, shape).reshape(-1) for a in (scale, shift)]
    weights = vectors(t, ("gamma", "beta"), arrays, end, flat(x.axes[k] for k in axes))
    return Value(t.apply("layer_norm", t.rows(x, end), *weights, eps=eps), x.axes, x.stored)


# ---- products and reductions -----------------------------------------------------------------


@operator("Gemm")
def gemm(t, node, a, b, c=None):
    """alpha a b + beta c, of matrices that may be transposed."""
    attributes = node.attributes
    alpha, beta = (float(attributes.get(n, 1.0)) for n in ("alpha", "beta"))
    if any(x.ndim != 2 for x in (a, b)):
        raise ValueError(f"two matrices are needed, got {a.shape} and {b.shape}")
    if attributes.get("transA"):
        a = transpose(t, node, a, (1, 0)) if isinstance(a, Value) else a.T
    if attributes.get("transB"):
        b = transpose(t, node, b, (1, 0)) if isinstance(b, Value) else b.T
    if c is not None and beta != 1:
        c = t.elementwise("multiply", c, beta) if isinstance(c, Value) else c * np.float32(beta)
    if isinstance(b, np.ndarray) and alpha != 1:
        b, alpha = b * np.float32(alpha), 1.0
    fixed = isinstance(b, np.ndarray) and isinstance(c, np.ndarray)
    if fixed and alpha == 1 and c.shape[-1:] == b.shape[1:] and c.size == b.shape[1]:
        return dense(t, a, 1, b, c.reshape(-1))
    y = matmul(t, node, a, b)
    y = t.elementwise("multiply", y, alpha) if alpha != 1 else y
    return y if c is None else t.elementwise("add", y, c)


def dense(t, x, axis, w, b=None):
    """Axis ``axis`` of a value times a matrix."""
    if x.shape[axis] != w.shape[0]:
        raise ValueError(f"a tensor of shape {x.shape} does not fit a matrix of shape {w.shape}")
    x, end = t.axis_last(x, axis)
    w = t.sorted_as(end, x.axes[axis], w)
    name = t.apply(
        "dense",
        t.rows(x, end),
        t.weight(f"{t.node}.W", w),
        None if b is None else t.weight(f"{t.node}.b", b),
    )
    new = atoms_of([w.shape[1]])[0]
    axes = (*x.axes[:axis], new, *x.axes[axis + 1 :])
    return Value(name, axes, (*x.stored[: len(x.stored) - len(end)], *new))


@operator("MatMul")
def matmul(t, node, a, b):
    """Matrix product over the last two axes."""
    if a.ndim == 1 or b.ndim == 1:
        wide = [_matrix(t, a, (1, -1) if a.ndim == 1 else None),
                _matrix(t, b, (-1, 1) if b.ndim == 1 else None)]  # fmt: skip
        y = matmul(t, node, *wide)
        gone = [y.ndim - 2] * (a.ndim == 1) + [y.ndim - 1] * (b.ndim == 1)
        return t.without(y, gone)
    shapes = f"shapes {a.shape} and {b.shape} do not fit"
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(shapes)
    if isinstance(b, np.ndarray) and b.ndim == 2:
        return dense(t, a, a.ndim - 1, b)
    if isinstance(a, np.ndarray) and a.ndim == 2:
        return dense(t, b, b.ndim - 2, a.T)
    a, b = (x if isinstance(x, Value) else t.constant(x) for x in (a, b))
    try:
        before = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    except ValueError:
        raise ValueError(shapes) from None
    (m, k), n = a.shape[-2:], b.shape[-1]
    a, b = (t.plain(t.expand(x, (*before, *x.shape[-2:]))) for x in (a, b))
    pairs = math.prod(before)
    a = t.apply("reshape", a.name, shape=(pairs, m, k))
    b = t.apply("reshape", b.name, shape=(pairs, k, n))
    return t.fresh(t.apply("batch_matmul", a, b), (*before, m, n))


def _matrix(t, x, shape):
    if shape is None:
        return x
    shape = tuple(x.shape[0] if s < 0 else s for s in shape)
    return t.reshape(x, shape) if isinstance(x, Value) else x.reshape(shape)


REDUCTIONS = {"ReduceMean": "mean", "ReduceSum": "sum", "ReduceMax": "max"}


@operator(*REDUCTIONS, "ReduceL2")
def reduction(t, node, x, *axes):
    """Sum, mean, largest or length over axes."""
    axes = constants.reduced_axes(x.ndim, node.attributes, (x, *axes))
    keep = bool(node.attributes.get("keepdims", 1))
    if node.op == "ReduceL2":
        return t.unary("sqrt", reduced(t, "ReduceSum", t.unary("square", x), axes, keep))
    return reduced(t, node.op, x, axes, keep)


def reduced(t, op, x, axes, keep):
    """A value without some axes, or with one element in them."""
    gone = set(flat(x.axes[k] for k in axes))
    rest = tuple(a for a in x.stored if a not in gone)
    front = x.stored[: len(gone)]
    if not gone:
        name = x.name
    elif op == "ReduceMean" and set(front) == gone:
        name = t.apply("global_average_pool2d", t.view(x, front, (), rest))
    else:
        places = tuple(k for k, a in enumerate(x.stored, 1) if a in gone)
        name = t.apply(REDUCTIONS[op], t.view(x, *((a,) for a in x.stored)), axis=places)
    left = tuple(() if k in axes else a for k, a in enumerate(x.axes) if keep or k not in axes)
    return Value(name, left, rest)


@operator("Softmax", "LogSoftmax")
def softmax(t, node, x):
    """Over one axis, or in old files over all from one on."""
    axis = one_axis(node.attributes.get("axis", -1 if t.opset >= 13 else 1), x.ndim)
    axes = [axis] if t.opset >= 13 else range(axis, x.ndim)
    x, end = t.axis_last(x, *axes)
    function = {"Softmax": "softmax", "LogSoftmax": "log_softmax"}[node.op]
    return Value(t.apply(function, t.rows(x, end)), x.axes, x.stored)


# ---- shapes ----------------------------------------------------------------------------------


@operator("Shape")
def shape(t, node, x):
    """Sizes, an array."""
    return np.array(x.shape[node.attributes.get("start", 0) : node.attributes.get("end")], np.int64)


@operator("Size")
def size(t, node, x):
    """Number of elements, an array."""
    return np.array(math.prod(x.shape), np.int64)


@operator("Reshape")
def reshape(t, node, x, *wanted):
    """Another shape."""
    wanted = given(node.attributes, (x, *wanted), 1, "shape")
    return t.reshape(x, constants.new_shape(x.shape, wanted, node.attributes.get("allowzero", 0)))


@operator("Flatten")
def flatten(t, node, x):
    """A matrix."""
    return t.reshape(x, constants.flat_shape(x.shape, node.attributes))


@operator("Squeeze")
def squeeze(t, node, x, *axes):
    """Without axes of one element."""
    axes = given(node.attributes, (x, *axes), 1, "axes")
    return t.without(x, constants.squeezed(x.shape, axes))


@operator("Unsqueeze")
def unsqueeze(t, node, x, *axes):
    """With new axes of one element."""
    axes = given(node.attributes, (x, *axes), 1, "axes")
    return t.reshape(x, constants.unsqueezed(x.shape, axes))


@operator("Transpose")
def transpose(t, node, x, order=None):
    """Axes in another order: they get other places, nothing moves."""
    order = constants.permutation(node.attributes, x.ndim) if order is None else order
    return Value(x.name, tuple(x.axes[k] for k in order), x.stored)


@operator("Expand")
def expand(t, node, x, wanted):
    """Repeated along axes of one element."""
    wanted = constants.limited(integers(given({}, (x, wanted), 1, "shape")))
    return t.expand(x, np.broadcast_shapes(x.shape, wanted))


@operator("Concat")
def concat(t, node, *inputs):
    """One after the other."""
    inputs = [x if isinstance(x, Value) else t.constant(x) for x in inputs if x.shape != (0,)]
    axis = one_axis(node.attributes["axis"], inputs[0].ndim)
    return t.concatenate(inputs, axis)


@operator("Split")
def split(t, node, x, *sizes):
    """Parts of an axis."""
    axis = one_axis(node.attributes.get("axis", 0), x.ndim)
    sizes = constants.split_sizes(x.shape[axis], node.attributes, (x, *sizes), len(node.outputs))
    ends = np.cumsum(sizes)
    return tuple(t.slice(x, axis, int(e - s), int(e)) for s, e in zip(sizes, ends))


@operator("Slice")
def slice_value(t, node, x, *inputs):
    """A part of some axes."""
    for axis, taken in constants.ranges(x.shape, node.attributes, (x, *inputs)):
        size, n, step = x.shape[axis], len(taken), taken.step
        if n and step == 1:
            x = t.slice(x, axis, taken.start, taken.stop)
        elif step > 1 and taken.start + n * step <= size:
            x = t.slice(x, axis, taken.start, taken.start + n * step)
            before, after = x.shape[:axis], x.shape[axis + 1 :]
            x = t.slice(t.reshape(x, (*before, n, step, *after)), axis + 1, 0, 1)
            x = t.without(x, [axis + 1])
        elif n:
            x = t.take(x, axis, taken)
        else:
            raise ValueError(f"nothing is left of axis {axis} of a tensor of shape {x.shape}")
    return x


@operator("Gather")
def gather(t, node, x, indices):
    """Given indices of an axis."""
    if isinstance(indices, Value) or not isinstance(x, Value):
        raise ValueError("its indices must not depend on the picture")
    axis = one_axis(node.attributes.get("axis", 0), x.ndim)
    numbers = [one_axis(k, x.shape[axis]) for k in integers(indices)]
    if not numbers:
        raise ValueError("no indices are left to gather")
    shape = (*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :])
    return t.reshape(t.take(x, axis, numbers), shape)


@operator("Pad")
def pad(t, node, x, *inputs):
    """A border of one value, or one that mirrors or repeats the tensor."""
    pairs, value = constants.pad_pairs(x.ndim, node.attributes, (x, *inputs))
    mode = node.attributes.get("mode", "constant")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ValueError(f"mode={mode!r} is not supported")
    for axis, (before, after) in enumerate(pairs):
        size = x.shape[axis]
        x = t.slice(x, axis, max(0, -before), size - max(0, -after))
        before, after = max(0, before), max(0, after)
        if before or after:
            constants.limited([*x.shape, before + after + 1])
            if mode == "constant":
                x = padded(t, x, axis, before, after, value)
            else:
                x = t.take(x, axis, np.pad(np.arange(x.shape[axis]), (before, after), mode))
    return x


def padded(t, x, axis, before, after, value):
    """One axis with a border of one value."""
    order = t.order(x)
    x = t.plain(x, order)
    sizes = [x.shape[k] for k in order]
    place = order.index(axis)
    outer, inner = math.prod(sizes[:place]), math.prod(sizes[place + 1 :])
    name = t.apply("reshape", x.name, shape=(outer, x.shape[axis], 1, inner))
    name = t.apply("pad2d", name, padding=(before, after, 0, 0), value=value)
    shape = list(x.shape)
    shape[axis] += before + after
    return t.fresh(name, shape, order)


@operator("Tile")
def tile(t, node, x, times):
    """Repeated along all axes."""
    for axis, n in enumerate(integers(given({}, (x, times), 1, "repeats"))):
        before, size, after = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
        x = t.expand(t.reshape(x, (*before, 1, size, *after)), (*before, n, size, *after))
        x = t.reshape(x, (*before, n * size, *after))
    return x


@operator("Resize", "Upsample")
def resize(t, node, x, *inputs):
    """Another size, by a matrix for every axis that changes."""
    for axis, matrix in resize_matrices(x.shape, node.attributes, (x, *inputs), t.opset):
        x = dense(t, x, axis, matrix.astype(np.float32))
    return x


if "local_response_norm" not in ops.__all__:
    del OPERATORS["LRN"]
