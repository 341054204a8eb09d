"""Operations that compute every element on its own.

Functions of one tensor raise ValueError when it is not float32 (:func:`copy` takes both types). NaN
stays NaN.
"""

from ..graph.op import OPS, Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.elementwise import CHUNK

__all__ = [
    "absolute",
    "copy",
    "erf",
    "exp",
    "expm1",
    "full",
    "log",
    "log1p",
    "negative",
    "sign",
    "sqrt",
    "square",
]


def _tiles(n):
    return -(-n // CHUNK)


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


def _unary(module, name, kernel, reads, cost, numbers=()):
    """Register a formula and its gradient for ``module``; returns both classes."""
    doc = f"See :func:`{kernel}`."
    common = {"__module__": module, "numbers": numbers, "cost": cost}
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


Absolute, AbsoluteGrad = _unary(__name__, "Absolute", "absolute", "x", 0.1)
Erf, ErfGrad = _unary(__name__, "Erf", "erf", "x", 0.6)
Exp, ExpGrad = _unary(__name__, "Exp", "exp", "y", 0.3)
Expm1, Expm1Grad = _unary(__name__, "Expm1", "expm1", "y", 0.4)
Log, LogGrad = _unary(__name__, "Log", "log", "x", 0.4)
Log1p, Log1pGrad = _unary(__name__, "Log1p", "log1p", "x", 0.4)
Sqrt, SqrtGrad = _unary(__name__, "Sqrt", "sqrt", "y", 0.2)
Square, SquareGrad = _unary(__name__, "Square", "square", "x", 0.1)


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
