"""Operations that compute every element on its own, and arithmetic with broadcasting.

Functions of one tensor raise ValueError when it is not float32 (:func:`copy` takes both types). NaN
stays NaN, but for :func:`greater`, which gives 0.
"""

import math
from numbers import Real

import numpy as np

from ..graph.op import OPS, Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.elementwise import CHUNK

__all__ = [
    "absolute",
    "add",
    "clip",
    "copy",
    "divide",
    "elu",
    "erf",
    "exp",
    "expm1",
    "full",
    "gelu",
    "greater",
    "leaky_relu",
    "log",
    "log1p",
    "maximum",
    "minimum",
    "multiply",
    "negative",
    "power",
    "relu",
    "selu",
    "sigmoid",
    "sign",
    "silu",
    "softplus",
    "sqrt",
    "square",
    "subtract",
    "tanh",
    "where",
]


def _tiles(n):
    return -(-n // CHUNK)


# ---- operations on tensors of one shape --------------------------------------------------------


class Map(Op):
    """Kernel of :data:`skdeep.kernels.elementwise.MAPS` over float32 tensors of one shape."""

    kernel = ""
    numbers = ()  # names of the attributes that the formula takes
    cost = 0.1  # ns per element

    def infer(self):
        for t in self.inputs:
            if not isinstance(t, Tensor) or t.dtype != "float32":
                raise ValueError(f"{self.kernel}: every input must be a float32 Tensor, got {t!r}")
        shapes = [t.shape for t in self.inputs]
        if len(set(shapes)) > 1:
            raise ValueError(f"{self.kernel}: the inputs must have one shape, got {shapes}")
        return shapes[:1]

    def rows(self):
        x, n = self.inputs[0], self.output.size
        tensors = [*self.inputs, x, x][:3]
        numbers = [*(float(getattr(self, k)) for k in self.numbers), 0.0, 0.0][:2]
        operands = [self.output, *tensors, *numbers, n]
        return [Row(self.kernel, operands, _tiles(n), self.cost * n)]


class Unary(Map):
    """One input; the gradient is the operation of the same name with ``Grad`` behind it."""

    gradient_reads = "x"  # or "y": what it needs beside dy, the input or the output

    def gradient(self, dy):
        source = self.inputs[0] if self.gradient_reads == "x" else self.output
        return [OPS[f"{type(self).__name__}Grad"](dy, source, **self.attributes).output]


def _unary(name, kernel, reads, cost, numbers=()):
    """Register an activation and its gradient; returns both classes."""
    doc = f"See :func:`{kernel}`."
    common = {"__module__": __name__, "numbers": numbers, "cost": cost}
    forward = {"__doc__": doc, "kernel": kernel, "gradient_reads": reads, **common}
    gradient = {
        "__doc__": f"Gradient of :class:`{name}` from (dy, {reads}).",
        "kernel": f"{kernel}_grad",
        **common,
    }
    return (
        register(type(name, (Unary,), forward)),
        register(type(f"{name}Grad", (Map,), gradient)),
    )


Absolute, AbsoluteGrad = _unary("Absolute", "absolute", "x", 0.1)
Clip, ClipGrad = _unary("Clip", "clip", "x", 0.1, ("low", "high"))
Elu, EluGrad = _unary("Elu", "elu", "y", 0.4, ("alpha",))
Erf, ErfGrad = _unary("Erf", "erf", "x", 0.6)
Exp, ExpGrad = _unary("Exp", "exp", "y", 0.3)
Expm1, Expm1Grad = _unary("Expm1", "expm1", "y", 0.4)
Gelu, GeluGrad = _unary("Gelu", "gelu", "x", 0.8)
LeakyRelu, LeakyReluGrad = _unary("LeakyRelu", "leaky_relu", "x", 0.1, ("slope",))
Log, LogGrad = _unary("Log", "log", "x", 0.4)
Log1p, Log1pGrad = _unary("Log1p", "log1p", "x", 0.4)
Relu, ReluGrad = _unary("Relu", "relu", "y", 0.1)
Selu, SeluGrad = _unary("Selu", "selu", "y", 0.4)
Sigmoid, SigmoidGrad = _unary("Sigmoid", "sigmoid", "y", 0.4)
Silu, SiluGrad = _unary("Silu", "silu", "x", 0.4)
Softplus, SoftplusGrad = _unary("Softplus", "softplus", "y", 0.9)
Sqrt, SqrtGrad = _unary("Sqrt", "sqrt", "y", 0.2)
Square, SquareGrad = _unary("Square", "square", "x", 0.1)
Tanh, TanhGrad = _unary("Tanh", "tanh", "y", 0.4)


@register
class Negative(Map):
    """See :func:`negative`."""

    kernel = "negative"

    def gradient(self, dy):
        return [negative(dy)]


@register
class Sign(Map):
    """See :func:`sign`."""

    kernel = "sign"
    differentiable = False


@register
class Power(Map):
    """x ** exponent by way of the logarithm; see :func:`power`."""

    kernel, numbers, cost = "power", ("exponent",), 0.8

    def gradient(self, dy):
        slope = multiply(power(self.inputs[0], self.exponent - 1), self.exponent)
        return [multiply(dy, slope)]


@register
class Copy(Op):
    """See :func:`copy`."""

    def infer(self):
        (x,) = self.inputs
        return [Tensor(x.shape, x.dtype)]

    def gradient(self, dy):
        return [dy]

    def rows(self):
        (x,) = self.inputs
        operands = [self.output, x, x, x, 0.0, 0.0, x.size]
        return [Row("copy", operands, _tiles(x.size), 0.1 * x.size)]


@register
class Full(Op):
    """See :func:`full`."""

    def infer(self):
        return [self.shape]

    def gradient(self, dy):
        return []

    def rows(self):
        n = self.output.size
        return [Row("full", [self.output, float(self.value), n], _tiles(n), 0.05 * n)]


@register
class Where(Map):
    """See :func:`where`; three tensors of one shape."""

    kernel = "select"

    def infer(self):
        condition, x, y = self.inputs
        if not (condition.shape == x.shape == y.shape and x.dtype == y.dtype == "float32"):
            raise ValueError(
                "where: x and y must be float32, of the condition's shape; "
                f"got {condition}, {x}, {y}"
            )
        return [x.shape]

    def gradient(self, dy):
        condition = self.inputs[0]
        return [None, WhereGrad(dy, condition).output, WhereOtherGrad(dy, condition).output]


class _Masked(Map):
    def infer(self):
        return [self.inputs[0].shape]


@register
class WhereGrad(_Masked):
    """dy where the condition holds, else 0."""

    kernel = "select_grad"


@register
class WhereOtherGrad(_Masked):
    """0 where the condition holds, else dy."""

    kernel = "select_other_grad"


# ---- broadcasting ------------------------------------------------------------------------------


def _layout(shape, operands):
    """Axes of ``shape`` merged where every operand is either whole or repeated along all of them.

    ``operands`` are shapes that broadcast to ``shape``. Returns the merged sizes, outermost first,
    and for each operand its byte strides along them, 0 where it is repeated.
    """
    padded = [(1,) * (len(shape) - len(s)) + tuple(s) for s in operands]
    sizes, patterns = [], []
    for axis, size in enumerate(shape):
        pattern = tuple(s[axis] == size for s in padded)
        if size == 1:
            continue
        if patterns and patterns[-1] == pattern:
            sizes[-1] *= size
        else:
            sizes.append(size)
            patterns.append(pattern)
    strides = []
    for k in range(len(operands)):
        step, found = 4, []
        for size, pattern in zip(reversed(sizes), reversed(patterns)):
            found.append(step if pattern[k] else 0)
            step *= size if pattern[k] else 1
        strides.append(found[::-1])
    return sizes, strides


def _broadcast_rows(kernel, y, operands, cost):
    """Row of a kernel of :data:`skdeep.kernels.elementwise.BROADCASTS`.

    ``operands`` are two, each a Tensor or a float (repeated everywhere).
    """
    shapes = [t.shape if isinstance(t, Tensor) else () for t in operands]
    sizes, strides = _layout(y.shape, shapes)
    missing = 3 - len(sizes)
    sizes = [1] * missing + sizes
    strides = [[0] * missing + s for s in strides]
    if sizes[2] == 1:  # a single element: some operand must advance
        strides = [[0, 0, 4 if isinstance(t, Tensor) else 0] for t in operands]
    n, rows = sizes[2], sizes[0] * sizes[1]
    chunk = max(1, min(n, CHUNK))
    block = max(1, CHUNK // max(n, 16))
    parameters = [y, *operands, sizes[1], n, *strides[0], *strides[1], block, chunk, rows]
    tiles = -(-rows // block) * -(-n // chunk)
    return [Row(kernel, parameters, tiles, cost * y.size + 3 * rows)]


class Binary(Op):
    """Two operands that broadcast like NumPy's.

    Either input may be None: then the attribute ``number`` stands in its place.
    """

    kernel = ""

    def __init__(self, a, b, number=None):
        super().__init__(a, b, number=number)

    def operands(self):
        """Both operands, tensors or one tensor and a number."""
        return [self.number if t is None else t for t in self.inputs]

    def infer(self):
        shapes = [t.shape for t in self.inputs if t is not None]
        if any(t is not None and t.dtype != "float32" for t in self.inputs):
            raise ValueError(f"{self.kernel}: needs float32 operands, got {self.inputs}")
        try:
            return [np.broadcast_shapes(*shapes)]
        except ValueError:
            raise ValueError(
                f"{self.kernel}: shapes {shapes[0]} and {shapes[1]} do not broadcast; sizes must "
                "be equal or 1, counted from the last axis"
            ) from None

    def summed(self, *gradients):
        """Gradients of the output's shape, summed to the shapes of the inputs."""
        from .reduce import sum_to

        return [
            None if t is None or g is None else sum_to(g, t.shape)
            for t, g in zip(self.inputs, gradients)
        ]

    def rows(self):
        return _broadcast_rows(self.kernel, self.output, self.operands(), 0.1)


def _binary(cls, a, b):
    """The operation on two operands, of which one may be a number."""
    from .reduce import broadcast_to

    if isinstance(a, Tensor) and isinstance(b, Tensor):
        op = cls(a, b)
        shape = op.output.shape
        if len(_layout(shape, [a.shape, b.shape])[0]) > 3:
            op = cls(broadcast_to(a, shape), broadcast_to(b, shape))
        return op.output
    for operand in (a, b):
        if not isinstance(operand, (Tensor, Real)):
            raise ValueError(f"{cls.kernel}: operands are Tensors or numbers, got {operand!r}")
    if isinstance(a, Tensor):
        return cls(a, None, number=float(b)).output
    if isinstance(b, Tensor):
        return cls(None, b, number=float(a)).output
    raise ValueError(f"{cls.kernel}: {a!r} and {b!r} are both numbers; one must be a Tensor")


@register
class Add(Binary):
    """See :func:`add`."""

    kernel = "add"

    def gradient(self, dy):
        return self.summed(dy, dy)


@register
class Subtract(Binary):
    """See :func:`subtract`."""

    kernel = "subtract"

    def gradient(self, dy):
        return self.summed(dy, None if self.inputs[1] is None else negative(dy))


@register
class Multiply(Binary):
    """See :func:`multiply`."""

    kernel = "multiply"

    def gradient(self, dy):
        a, b = self.operands()
        return self.summed(multiply(dy, b), multiply(dy, a))


@register
class Divide(Binary):
    """See :func:`divide`."""

    kernel = "divide"

    def gradient(self, dy):
        scaled = divide(dy, self.operands()[1])
        return self.summed(scaled, negative(multiply(scaled, self.output)))


@register
class Maximum(Binary):
    """See :func:`maximum`."""

    kernel = "maximum"

    def gradient(self, dy):
        of_a = where(greater(*self.operands()), dy, 0.0)
        return self.summed(of_a, subtract(dy, of_a))


@register
class Minimum(Binary):
    """See :func:`minimum`."""

    kernel = "minimum"

    def gradient(self, dy):
        a, b = self.operands()
        of_a = where(greater(b, a), dy, 0.0)
        return self.summed(of_a, subtract(dy, of_a))


@register
class Greater(Binary):
    """See :func:`greater`."""

    kernel = "greater"
    differentiable = False


# ---- functions ---------------------------------------------------------------------------------


def add(x, y):
    """Sum x + y, with NumPy's broadcasting.

    Parameters
    ----------
    x, y : float32 Tensor or number
        At least one is a Tensor. This holds for all binary operations.

    Returns
    -------
    float32 Tensor of the broadcast shape

    Raises
    ------
    ValueError
        When the shapes do not broadcast, or an operand is neither a float32 Tensor nor a number.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, b = graph.Tensor((2, 3)), graph.Tensor((3,))
    >>> feeds = {x: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]], b: [10.0, 20.0, 30.0]}
    >>> graph.program.evaluate([ops.add(x, b)], feeds)[0]
    array([[10., 21., 32.],
           [13., 24., 35.]], dtype=float32)
    """
    return _binary(Add, x, y)


def subtract(x, y):
    """Difference x - y, with NumPy's broadcasting.

    Parameters
    ----------
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape

    Raises
    ------
    ValueError
        As :func:`add`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.subtract(1.0, x)], {x: [0.0, 1.0, 3.0]})[0]
    array([ 1.,  0., -2.], dtype=float32)
    """
    return _binary(Subtract, x, y)


def multiply(x, y):
    """Product x * y element by element, with NumPy's broadcasting.

    Parameters
    ----------
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape

    Raises
    ------
    ValueError
        As :func:`add`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, y = graph.Tensor((2, 1)), graph.Tensor((3,))
    >>> feeds = {x: [[1.0], [10.0]], y: [1.0, 2.0, 3.0]}
    >>> graph.program.evaluate([ops.multiply(x, y)], feeds)[0]
    array([[ 1.,  2.,  3.],
           [10., 20., 30.]], dtype=float32)
    """
    return _binary(Multiply, x, y)


def divide(x, y):
    """Quotient x / y, with NumPy's broadcasting; infinite or NaN where y is zero.

    Parameters
    ----------
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape

    Raises
    ------
    ValueError
        As :func:`add`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.divide(1.0, x)], {x: [1.0, 2.0, 4.0]})[0]
    array([1.  , 0.5 , 0.25], dtype=float32)
    """
    return _binary(Divide, x, y)


def maximum(x, y):
    """The larger of x and y, with NumPy's broadcasting; NaN when either is NaN.

    Parameters
    ----------
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape
        Where both are equal the gradient goes to y.

    Raises
    ------
    ValueError
        As :func:`add`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.maximum(x, 1.0)], {x: [0.0, 1.0, 3.0]})[0]
    array([1., 1., 3.], dtype=float32)
    """
    return _binary(Maximum, x, y)


def minimum(x, y):
    """The smaller of x and y, with NumPy's broadcasting; NaN when either is NaN.

    Parameters
    ----------
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape
        Where both are equal the gradient goes to y.

    Raises
    ------
    ValueError
        As :func:`add`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.minimum(x, 1.0)], {x: [0.0, 1.0, 3.0]})[0]
    array([0., 1., 1.], dtype=float32)
    """
    return _binary(Minimum, x, y)


def greater(x, y):
    """1.0 where x > y, else 0.0, with NumPy's broadcasting.

    Parameters
    ----------
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape
        Gradients do not pass through it.

    Raises
    ------
    ValueError
        As :func:`add`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.greater(x, 1.0)], {x: [0.0, 1.0, 3.0]})[0]
    array([0., 0., 1.], dtype=float32)
    """
    return _binary(Greater, x, y)


def where(condition, x, y):
    """x where the condition is not zero, else y, with NumPy's broadcasting.

    Parameters
    ----------
    condition : float32 Tensor
        For example of :func:`greater`. Gradients do not pass through it.
    x, y : float32 Tensor or number

    Returns
    -------
    float32 Tensor of the broadcast shape

    Raises
    ------
    ValueError
        When the shapes do not broadcast, or x or y is not float32.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> y = ops.where(ops.greater(x, 0.0), x, -10.0)
    >>> graph.program.evaluate([y], {x: [-1.0, 0.0, 3.0]})[0]
    array([-10., -10.,   3.], dtype=float32)
    """
    from .reduce import broadcast_to

    shapes = [t.shape for t in (condition, x, y) if isinstance(t, Tensor)]
    try:
        shape = np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            f"where: shapes {shapes} do not broadcast; sizes must be equal or 1, counted from the "
            "last axis"
        ) from None
    whole = [
        broadcast_to(t, shape) if isinstance(t, Tensor) else full(shape, t)
        for t in (condition, x, y)
    ]
    return Where(*whole).output


def negative(x):
    """Negative -x.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2,))
    >>> graph.program.evaluate([ops.negative(x)], {x: [-1.0, 2.0]})[0]
    array([ 1., -2.], dtype=float32)
    """
    return Negative(x).output


def power(x, exponent):
    """Power x ** exponent, for a number as exponent.

    Integral exponents are products, and 0.5 is a square root. Any other goes through the logarithm,
    with a relative error near 1e-7 (1 + abs(exponent * log(x))), and is NaN for negative x.

    Parameters
    ----------
    x : float32 Tensor
    exponent : float

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        When the exponent is not a number, or ``x`` is not float32.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.power(x, -2)], {x: [1.0, 2.0, 4.0]})[0]
    array([1.    , 0.25  , 0.0625], dtype=float32)
    """
    if not isinstance(exponent, Real):
        raise ValueError(f"power: the exponent must be a number, got {exponent!r}")
    exponent = float(exponent)
    if exponent < 0 and (2 * exponent).is_integer():
        return divide(1.0, power(x, -exponent))
    if exponent == 0.5:
        return sqrt(x)
    if not exponent.is_integer():
        return Power(x, exponent=exponent).output
    if exponent == 0:
        return full(x.shape, 1.0)
    result, factor, left = None, x, int(exponent)
    while True:
        if left % 2:
            result = factor if result is None else multiply(result, factor)
        left //= 2
        if not left:
            return result
        factor = square(factor)


def exp(x):
    """Exponential e ** x; infinite above 88.72.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.exp(x)], {x: [0.0, 1.0, 2.0]})[0].round(4)
    array([1.    , 2.7183, 7.3891], dtype=float32)
    """
    return Exp(x).output


def expm1(x):
    """Exponential less one, e ** x - 1, without cancellation near zero.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.expm1(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.6321,  0.    ,  1.7183], dtype=float32)
    """
    return Expm1(x).output


def log(x):
    """Natural logarithm log(x); minus infinity at zero, NaN below.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.log(x)], {x: [1.0, 2.0, 10.0]})[0].round(4)
    array([0.    , 0.6931, 2.3026], dtype=float32)
    """
    return Log(x).output


def log1p(x):
    """Natural logarithm log(1 + x), without cancellation near zero; NaN below -1.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.log1p(x)], {x: [0.0, 1.0, 9.0]})[0].round(4)
    array([0.    , 0.6931, 2.3026], dtype=float32)
    """
    return Log1p(x).output


def sqrt(x):
    """Square root of x; NaN below zero.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient at zero is infinite.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.sqrt(x)], {x: [0.0, 1.0, 4.0]})[0]
    array([0., 1., 2.], dtype=float32)
    """
    return Sqrt(x).output


def square(x):
    """Square x * x.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.square(x)], {x: [-1.0, 2.0, 3.0]})[0]
    array([1., 4., 9.], dtype=float32)
    """
    return Square(x).output


def absolute(x):
    """Absolute value abs(x).

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient at zero is zero.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.absolute(x)], {x: [-2.0, 0.0, 3.0]})[0]
    array([2., 0., 3.], dtype=float32)
    """
    return Absolute(x).output


def sign(x):
    """Sign of x: -1, 0 or 1.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Gradients do not pass through it.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.sign(x)], {x: [-3.0, 0.0, 2.0]})[0]
    array([-1.,  0.,  1.], dtype=float32)
    """
    return Sign(x).output


def tanh(x):
    """Hyperbolic tangent (exp(2 x) - 1) / (exp(2 x) + 1), without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.tanh(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.7616,  0.    ,  0.7616], dtype=float32)
    """
    return Tanh(x).output


def sigmoid(x):
    """Logistic function 1 / (1 + exp(-x)), without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.sigmoid(x)], {x: [-2.0, 0.0, 2.0]})[0].round(4)
    array([0.1192, 0.5   , 0.8808], dtype=float32)
    """
    return Sigmoid(x).output


def relu(x):
    """Rectified linear unit max(x, 0).

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient at zero is zero.

    References
    ----------
    Nair & Hinton, Rectified linear units improve restricted Boltzmann machines, 2010.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.relu(x)], {x: [-1.0, 0.0, 2.0]})[0]
    array([0., 0., 2.], dtype=float32)
    """
    return Relu(x).output


def leaky_relu(x, slope=0.01):
    """Leaky rectifier: x above zero, ``slope * x`` below.

    Parameters
    ----------
    x : float32 Tensor
    slope : float

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient at zero is ``slope``.

    References
    ----------
    Maas, Hannun & Ng, Rectifier nonlinearities improve neural network acoustic models, 2013.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.leaky_relu(x, 0.5)], {x: [-1.0, 0.0, 2.0]})[0]
    array([-0.5,  0. ,  2. ], dtype=float32)
    """
    return LeakyRelu(x, slope=float(slope)).output


def elu(x, alpha=1.0):
    """Exponential linear unit: x above zero, ``alpha * (exp(x) - 1)`` below.

    Parameters
    ----------
    x : float32 Tensor
    alpha : float
        Not negative.

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        When ``alpha`` is negative, or ``x`` is not float32.

    References
    ----------
    Clevert, Unterthiner & Hochreiter, Fast and accurate deep network learning by exponential linear
    units (ELUs), 2016.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.elu(x)], {x: [-1.0, 0.0, 2.0]})[0].round(4)
    array([-0.6321,  0.    ,  2.    ], dtype=float32)
    """
    if alpha < 0:
        raise ValueError(f"elu: alpha must not be negative, got {alpha}")
    return Elu(x, alpha=float(alpha)).output


def selu(x):
    """Scaled ELU, ``1.0507 * elu(x, 1.6733)``: activations keep mean 0 and variance 1.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Klambauer et al., Self-normalizing neural networks, 2017.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.selu(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-1.1113,  0.    ,  1.0507], dtype=float32)
    """
    return Selu(x).output


def gelu(x):
    """Gaussian error linear unit ``x * (1 + erf(x / sqrt(2))) / 2``; exact, not by tanh.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Hendrycks & Gimpel, Gaussian error linear units (GELUs), 2016.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.gelu(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.1587,  0.    ,  0.8413], dtype=float32)
    """
    return Gelu(x).output


def silu(x):
    """Sigmoid linear unit ``x * sigmoid(x)``, also called swish.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    References
    ----------
    Elfwing, Uchibe & Doya, Sigmoid-weighted linear units for neural network function approximation
    in reinforcement learning, 2018.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.silu(x)], {x: [-2.0, 0.0, 2.0]})[0].round(4)
    array([-0.2384,  0.    ,  1.7616], dtype=float32)
    """
    return Silu(x).output


def softplus(x):
    """Smooth rectifier log(1 + exp(x)), without overflow.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.softplus(x)], {x: [-2.0, 0.0, 2.0]})[0].round(4)
    array([0.1269, 0.6931, 2.1269], dtype=float32)
    """
    return Softplus(x).output


def erf(x):
    """Error function 2 / sqrt(pi) times the integral of exp(-t ** 2) from 0 to x.

    Parameters
    ----------
    x : float32 Tensor

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.erf(x)], {x: [-1.0, 0.0, 1.0]})[0].round(4)
    array([-0.8427,  0.    ,  0.8427], dtype=float32)
    """
    return Erf(x).output


def clip(x, low=None, high=None):
    """x limited to [low, high]: min(max(x, low), high).

    Parameters
    ----------
    x : float32 Tensor
    low, high : float or None
        None for no limit.

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient is zero outside the limits.

    Raises
    ------
    ValueError
        When ``low`` exceeds ``high``, or ``x`` is not float32.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.clip(x, 0.0, 6.0)], {x: [-1.0, 2.0, 8.0]})[0]
    array([0., 2., 6.], dtype=float32)
    """
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    if not low <= high:
        raise ValueError(f"clip: low must not exceed high, got {low} and {high}")
    return Clip(x, low=low, high=high).output


def full(shape, value):
    """A tensor of one value everywhere.

    Parameters
    ----------
    shape : tuple of int
    value : float

    Returns
    -------
    float32 Tensor of shape ``shape``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> graph.program.evaluate([ops.full((2, 2), 0.5)], {})[0]
    array([[0.5, 0.5],
           [0.5, 0.5]], dtype=float32)
    """
    return Full(shape=tuple(shape), value=float(value)).output


def copy(x):
    """The same values in memory of their own.

    Parameters
    ----------
    x : Tensor
        float32 or int32.

    Returns
    -------
    Tensor of the shape and type of ``x``

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.copy(x)], {x: [1.0, 2.0, 3.0]})[0]
    array([1., 2., 3.], dtype=float32)
    """
    return Copy(x).output
