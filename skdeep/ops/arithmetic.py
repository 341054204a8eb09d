"""Arithmetic on two operands, with NumPy's broadcasting.

NaN stays NaN, but for :func:`greater`, which gives 0.
"""

from numbers import Real

import numpy as np

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels import arithmetic as _arithmetic  # noqa: F401, the kernels are made there
from ..kernels.elementwise import CHUNK
from .elementwise import Map, full, negative, sqrt, square

__all__ = [
    "add",
    "divide",
    "greater",
    "maximum",
    "minimum",
    "multiply",
    "power",
    "subtract",
    "where",
]


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


@register
class Power(Map):
    """x ** exponent by way of the logarithm; see :func:`power`."""

    kernel, numbers, cost = "power", ("exponent",), 0.8

    def gradient(self, dy):
        slope = multiply(power(self.inputs[0], self.exponent - 1), self.exponent)
        return [multiply(dy, slope)]


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
