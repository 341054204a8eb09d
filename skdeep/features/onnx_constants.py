"""What an ONNX graph computes without looking at a picture: shapes, and weights made of weights.

:data:`CONSTANTS` maps an operator to its evaluation with NumPy,
``evaluate(attributes, arrays, opset)``.
"""

import math

import numpy as np

__all__ = []

MOST = 2**28  # elements of a constant
DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
    12: np.uint32,
    13: np.uint64,
    16: np.float32,
}
CONSTANTS = {}


def evaluates(*names):
    """Enter a function as the evaluation of operators."""

    def enter(function):
        CONSTANTS.update(dict.fromkeys(names, function))
        return function

    return enter


def limited(shape):
    """A shape, if an array of it is not absurdly large."""
    shape = tuple(int(s) for s in shape)
    if any(s < 0 for s in shape) or math.prod(shape) > MOST:
        raise ValueError(f"a constant of shape {shape} cannot be")
    return shape


def given(attributes, inputs, k, name, default=None):
    """An argument that is an attribute in old versions of an operator and an input in new ones."""
    if k < len(inputs) and inputs[k] is not None:
        if not isinstance(inputs[k], np.ndarray):
            raise ValueError(f"its {name} must not depend on the picture")
        return inputs[k]
    return attributes.get(name, default)


def integers(values):
    """A list of ints of an attribute or an array."""
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise ValueError(f"integers were expected, got {array.dtype}")
    return [int(v) for v in array.ravel()]


def one_axis(axis, ndim):
    """A non-negative axis."""
    if not -ndim <= int(axis) < ndim:
        raise ValueError(f"axis {axis} does not exist in a tensor of {ndim} axes")
    return int(axis) % ndim


def some_axes(axes, ndim):
    """Non-negative axes, in increasing order."""
    found = sorted({one_axis(a, ndim) for a in integers(axes)})
    if len(found) < np.size(axes):
        raise ValueError(f"axes {axes} name one twice")
    return found


def new_shape(shape, wanted, allowzero=0):
    """What Reshape makes of a shape."""
    wanted = integers(wanted)
    for k, size in enumerate(wanted):
        if size == 0 and not allowzero:
            if k >= len(shape):
                raise ValueError(f"{wanted} keeps axis {k} of a tensor of shape {shape}")
            wanted[k] = shape[k]
    total, known = math.prod(shape), math.prod(s for s in wanted if s != -1)
    if wanted.count(-1) == 1 and known and total % known == 0:
        wanted[wanted.index(-1)] = total // known
    if min(wanted, default=0) < 0 or math.prod(wanted) != total:
        raise ValueError(f"a tensor of shape {shape} cannot become {wanted}")
    return tuple(wanted)


def unsqueezed(shape, axes):
    """A shape with new axes of one element."""
    new = some_axes(axes, len(shape) + np.size(axes))
    rest = iter(shape)
    return tuple(1 if k in new else next(rest) for k in range(len(shape) + len(new)))


def squeezed(shape, axes):
    """Axes of one element that go: the given ones, or all."""
    if axes is None:
        return [k for k, s in enumerate(shape) if s == 1]
    axes = some_axes(axes, len(shape))
    if any(shape[k] != 1 for k in axes):
        raise ValueError(f"axes {axes} of shape {shape} have more than one element")
    return axes


def ranges(shape, attributes, inputs):
    """Indices that Slice takes: a list of (axis, range)."""
    starts = integers(given(attributes, inputs, 1, "starts"))
    ends = integers(given(attributes, inputs, 2, "ends"))
    axes = given(attributes, inputs, 3, "axes")
    axes = range(len(starts)) if axes is None else integers(axes)
    steps = given(attributes, inputs, 4, "steps")
    steps = [1] * len(starts) if steps is None else integers(steps)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise ValueError("as many starts, ends, axes and steps are needed")
    found = []
    for start, end, axis, step in zip(starts, ends, axes, steps):
        axis = one_axis(axis, len(shape))
        if step < 0 and end < -shape[axis]:
            end = None
        found.append((axis, range(*slice(start, end, step).indices(shape[axis]))))
    return found


def split_sizes(size, attributes, inputs, outputs):
    """Lengths of the parts that Split makes of an axis."""
    sizes = given(attributes, inputs, 1, "split")
    if sizes is None:
        part = -(-size // outputs)
        sizes = [min(part, size - k * part) for k in range(outputs)]
    sizes = integers(sizes)
    if len(sizes) != outputs or sum(sizes) != size or min(sizes) < 0:
        raise ValueError(f"an axis of {size} cannot be split into {sizes}")
    return sizes


def pad_pairs(ndim, attributes, inputs):
    """(before, after) for every axis, and the value of Pad."""
    pads = given(attributes, inputs, 1, "pads", attributes.get("paddings"))
    pads = integers(pads)
    axes = given({}, inputs, 3, "axes")
    axes = list(range(ndim)) if axes is None else [one_axis(a, ndim) for a in integers(axes)]
    if len(pads) != 2 * len(axes):
        raise ValueError(f"{len(pads)} pads do not fit {len(axes)} axes")
    pairs = [(0, 0)] * ndim
    for k, axis in enumerate(axes):
        pairs[axis] = pads[k], pads[k + len(axes)]
    value = given(attributes, inputs, 2, "value", 0.0)
    return pairs, float(np.asarray(value).reshape(-1)[0]) if np.size(value) else 0.0


@evaluates("Constant")
def constant(attributes, arrays, opset):
    """The array that an attribute holds."""
    kinds = {"value": None, "value_float": np.float32, "value_floats": np.float32,
             "value_int": np.int64, "value_ints": np.int64}  # fmt: skip
    for name, dtype in kinds.items():
        if name in attributes:
            return np.asarray(attributes[name], dtype)
    raise ValueError(f"a constant of {sorted(attributes)} is not supported")


@evaluates("ConstantOfShape")
def constant_of_shape(attributes, arrays, opset):
    """One value everywhere."""
    value = np.asarray(attributes.get("value", np.zeros(1, np.float32)))
    return np.broadcast_to(value.reshape(-1)[0], limited(integers(arrays[0])))


@evaluates("Shape")
def shape_of(attributes, arrays, opset):
    """Sizes, perhaps of some axes only."""
    sizes = arrays[0].shape[attributes.get("start", 0) : attributes.get("end")]
    return np.array(sizes, np.int64)


@evaluates("Cast")
def cast(attributes, arrays, opset):
    """Another type."""
    if attributes.get("to") not in DTYPES:
        raise ValueError(f"type {attributes.get('to')} is not supported")
    return arrays[0].astype(DTYPES[attributes["to"]])


@evaluates("Reshape")
def reshape(attributes, arrays, opset):
    """Another shape."""
    wanted = given(attributes, arrays, 1, "shape")
    return arrays[0].reshape(new_shape(arrays[0].shape, wanted, attributes.get("allowzero", 0)))


@evaluates("Flatten")
def flatten(attributes, arrays, opset):
    """A matrix."""
    return arrays[0].reshape(flat_shape(arrays[0].shape, attributes))


def flat_shape(shape, attributes):
    """The matrix that Flatten makes."""
    axis = int(attributes.get("axis", 1))
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} does not exist in a tensor of {len(shape)} axes")
    axis += len(shape) if axis < 0 else 0
    return math.prod(shape[:axis]), math.prod(shape[axis:])


@evaluates("Transpose")
def transpose(attributes, arrays, opset):
    """Axes in another order."""
    return arrays[0].transpose(permutation(attributes, arrays[0].ndim))


def permutation(attributes, ndim):
    """The order of the axes that Transpose makes."""
    order = integers(attributes.get("perm", range(ndim)[::-1]))
    if sorted(order) != list(range(ndim)):
        raise ValueError(f"{order} is no order of {ndim} axes")
    return order


@evaluates("Unsqueeze")
def unsqueeze(attributes, arrays, opset):
    """New axes of one element."""
    axes = given(attributes, arrays, 1, "axes")
    return arrays[0].reshape(unsqueezed(arrays[0].shape, axes))


@evaluates("Squeeze")
def squeeze(attributes, arrays, opset):
    """Without axes of one element."""
    axes = squeezed(arrays[0].shape, given(attributes, arrays, 1, "axes"))
    return arrays[0].reshape([s for k, s in enumerate(arrays[0].shape) if k not in axes])


@evaluates("Concat")
def concat(attributes, arrays, opset):
    """One after the other."""
    return np.concatenate(arrays, one_axis(attributes["axis"], arrays[0].ndim))


@evaluates("Split")
def split(attributes, arrays, opset):
    """Parts of an axis."""
    axis = one_axis(attributes.get("axis", 0), arrays[0].ndim)
    sizes = split_sizes(arrays[0].shape[axis], attributes, arrays, attributes["outputs"])
    return tuple(np.split(arrays[0], np.cumsum(sizes)[:-1], axis))


@evaluates("Slice")
def slice_array(attributes, arrays, opset):
    """A part of some axes."""
    array = arrays[0]
    for axis, taken in ranges(array.shape, attributes, arrays):
        array = array.take(list(taken), axis)
    return array


@evaluates("Gather")
def gather(attributes, arrays, opset):
    """Given indices of an axis."""
    array, indices = arrays
    axis = one_axis(attributes.get("axis", 0), array.ndim)
    limited((*array.shape[:axis], *indices.shape, *array.shape[axis + 1 :]))
    return array.take(np.asarray(integers(indices), np.int64).reshape(indices.shape), axis)


@evaluates("Expand")
def expand(attributes, arrays, opset):
    """Repeated along axes of one element."""
    shape = np.broadcast_shapes(arrays[0].shape, limited(integers(arrays[1])))
    return np.broadcast_to(arrays[0], limited(shape))


@evaluates("Tile")
def tile(attributes, arrays, opset):
    """Repeated along all axes."""
    times = integers(arrays[1])
    limited([t * s for t, s in zip(times, arrays[0].shape)])
    return np.tile(arrays[0], times)


@evaluates("Range")
def arange(attributes, arrays, opset):
    """Evenly spaced numbers."""
    start, stop, step = (a.reshape(())[()] for a in arrays)
    if step == 0:
        raise ValueError("a range needs a step that is not zero")
    limited([max(0, math.ceil((stop - start) / step))])
    return np.arange(start, stop, step, arrays[0].dtype)


@evaluates("Where")
def where(attributes, arrays, opset):
    """x where the condition holds, else y."""
    limited(np.broadcast_shapes(*(a.shape for a in arrays)))
    return np.where(*arrays).astype(arrays[1].dtype)


@evaluates("Div")
def divide(attributes, arrays, opset):
    """Quotient; of integers, cut off at the point."""
    a, b = arrays
    limited(np.broadcast_shapes(a.shape, b.shape))
    if a.dtype.kind not in "iu":
        return np.divide(a, b).astype(a.dtype)
    if not np.all(b):
        raise ValueError("integers are divided by zero")
    return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)


@evaluates("Mod")
def modulo(attributes, arrays, opset):
    """What is left of a division, with the sign of the divisor or, with ``fmod``, of the other."""
    limited(np.broadcast_shapes(*(a.shape for a in arrays)))
    return (np.fmod if attributes.get("fmod") else np.mod)(*arrays)


@evaluates("Identity", "Dropout")
def identity(attributes, arrays, opset):
    """The array itself."""
    return arrays[0]


@evaluates("Size")
def size(attributes, arrays, opset):
    """Number of elements."""
    return np.array(arrays[0].size, np.int64)


@evaluates("Pad")
def pad(attributes, arrays, opset):
    """A border of one value, or one that mirrors or repeats the array."""
    pairs, value = pad_pairs(arrays[0].ndim, attributes, arrays)
    limited(s + a + b for s, (a, b) in zip(arrays[0].shape, pairs))
    mode = attributes.get("mode", "constant")
    if mode == "constant":
        return np.pad(arrays[0], pairs, constant_values=value)
    return np.pad(arrays[0], pairs, mode={"reflect": mode, "edge": mode, "wrap": mode}[mode])


def _many(function):
    """Evaluation of an operator that is one ufunc over two or more arrays."""

    def evaluate(attributes, arrays, opset):
        result = arrays[0]
        for array in arrays[1:]:
            limited(np.broadcast_shapes(result.shape, array.shape))
            result = function(result, array)
        boolean = result.dtype == np.bool_
        return np.asarray(result if boolean else result.astype(arrays[0].dtype))

    return evaluate


def _one(function):
    def evaluate(attributes, arrays, opset):
        return np.asarray(function(arrays[0])).astype(arrays[0].dtype)

    return evaluate


def _reduced(function):
    def evaluate(attributes, arrays, opset):
        axes = reduced_axes(arrays[0].ndim, attributes, arrays)
        keep = bool(attributes.get("keepdims", 1))
        return np.asarray(function(arrays[0], axis=tuple(axes), keepdims=keep)).astype(
            arrays[0].dtype
        )

    return evaluate


def reduced_axes(ndim, attributes, inputs):
    """Axes that a reduction takes away."""
    axes = given(attributes, inputs, 1, "axes")
    if axes is None or np.size(axes) == 0:
        return [] if attributes.get("noop_with_empty_axes") else list(range(ndim))
    return some_axes(axes, ndim)


CONSTANTS.update(
    {name: _many(function) for name, function in {
        "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Pow": np.power,
        "Max": np.maximum, "Min": np.minimum, "Sum": np.add, "Equal": np.equal,
        "Greater": np.greater, "GreaterOrEqual": np.greater_equal, "Less": np.less,
        "LessOrEqual": np.less_equal, "And": np.logical_and, "Or": np.logical_or,
    }.items()}
)  # fmt: skip
CONSTANTS.update(
    {name: _one(function) for name, function in {
        "Neg": np.negative, "Abs": np.abs, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log,
        "Reciprocal": np.reciprocal, "Floor": np.floor, "Ceil": np.ceil, "Round": np.rint,
        "Sign": np.sign, "Sin": np.sin, "Cos": np.cos, "Not": np.logical_not, "Tanh": np.tanh,
    }.items()}
)  # fmt: skip
CONSTANTS.update(
    {name: _reduced(function) for name, function in {
        "ReduceSum": np.sum, "ReduceMean": np.mean, "ReduceMax": np.max, "ReduceMin": np.min,
        "ReduceProd": np.prod,
    }.items()}
)  # fmt: skip
