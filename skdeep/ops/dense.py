"""Dense layers and their gradients."""

import math
from importlib import import_module
from typing import NamedTuple

from ..graph.op import OPS, Op, Row, register
from ..kernels.dense import dense_rows, dense_weights, matrix_pairs
from ..kernels.gemm import ROWS_OF
from ..kernels.panels import pack_panels, pack_transposed, panel_count, panel_floats
from .geometry import wanted_tiles

__all__ = ["batch_matmul", "dense", "matmul"]

FOLLOWING = {None: 0, "gelu": 1, "quick_gelu": 2}  # what the kernel can compute at the end
RATE = 150.0  # rough floating-point operations per ns of one core
BAND = 3 * math.lcm(*ROWS_OF.values())  # rows of one tile come in multiples of this


def bands_and_panels(rows, columns, work, unit=BAND):
    """How many rows and panels one tile takes, so that there are enough tiles for the work.

    The rows are a multiple of ``unit``, or all.
    """
    panels = panel_count(columns)
    wanted = wanted_tiles(work)
    if wanted == 1:
        return rows, panels
    band = math.ceil(rows / math.ceil(rows / (4 * unit)) / unit) * unit
    bands = math.ceil(rows / band)
    return band, max(1, panels * bands // wanted)


def tile_count(rows, columns, band, panels):
    """Number of tiles that :func:`bands_and_panels` makes."""
    return math.ceil(rows / band) * math.ceil(panel_count(columns) / panels)


def clamp_gradient(dy, y, low, high):
    """Gradient before a clamp to [low, high], from the clamped output: zero at both ends."""
    ops = import_module("skdeep.ops.arithmetic")
    if low == 0:
        dy = OPS["ReluGrad"](dy, y).output
    elif low > -math.inf:
        dy = ops.multiply(dy, ops.greater(y, low))
    if high < math.inf:
        dy = ops.multiply(dy, ops.greater(high, y))
    return dy


@register
class PackDense(Op):
    """Weights (c, f) as panels for :class:`Dense`."""

    differentiable = False

    def infer(self):
        return [(panel_floats(*self.inputs[0].shape),)]

    def rows(self):
        (w,) = self.inputs
        c, f = w.shape
        return [Row(pack_panels.name, [w, self.output, c, f, 1], panel_count(f), 0.1 * w.size)]


@register
class PackDenseT(Op):
    """Weights (c, f) as panels of their transpose, for :class:`DenseGradX`."""

    differentiable = False

    def infer(self):
        c, f = self.inputs[0].shape
        return [(panel_floats(f, c),)]

    def rows(self):
        (w,) = self.inputs
        c, f = w.shape
        return [Row(pack_transposed.name, [w, self.output, c, f], panel_count(c), 0.2 * w.size)]


class Numbers(NamedTuple):
    """The kind of numbers that products are made of."""

    dense: str  # kernels of products and of convolutions
    conv: str
    per_word: int  # numbers in four bytes of input
    bytes: int  # of a number of output
    unit: int = BAND  # rows of products come in multiples of this
    speed: float = 1.0  # at which words are multiplied, against float32


FLOAT32 = Numbers(dense_rows.name, "conv_rows", 1, 4)


def product(x, panels, bias, out, add, mask, low, high, stride=None, after=None, numbers=FLOAT32,
            pitch=0):  # fmt: skip
    """The row of a product with packed weights; all axes of x and out but the last are rows.

    ``after`` is the name of an activation that follows, or None. ``stride`` is the distance of the
    rows of ``out``, where they are parts of longer ones. With a ``pitch`` the weights are not
    packed, and their rows so many bytes apart.
    """
    c, f = x.shape[-1] // numbers.per_word, out.shape[-1]
    n = x.size // x.shape[-1]
    work = 2 * n * c * f / RATE / numbers.speed
    band, some = bands_and_panels(n, f, work, numbers.unit)
    operands = [x, panels, bias, out, add, mask, float(low), float(high), n, c, f, band, some,
                stride or f, FOLLOWING[after], pitch]  # fmt: skip
    return Row(numbers.dense, operands, tile_count(n, f, band, some), work)


@register
class Dense(Op):
    """y = min(max(x w + b + residual, low), high), or the activation ``after`` of it.

    Inputs: x (..., c), w (c, f), the panels of w, b (f,) or None, residual (..., f) or None. The
    kernels read the panels, or ``w`` itself where a pass has put None. ``after`` is set by a pass,
    for inference only.
    """

    def __init__(self, x, w, panels, bias=None, residual=None, *, low=-math.inf, high=math.inf,
                 after=None):  # fmt: skip
        super().__init__(x, w, panels, bias, residual, low=low, high=high, after=after)

    def infer(self):
        x, w = self.inputs[:2]
        return [(*x.shape[:-1], w.shape[1])]

    def rows(self):
        x, w, panels, bias, residual = self.inputs
        pitch = 4 * w.shape[1] if panels is None else 0
        return [product(x, panels or w, bias, self.output, residual, None, self.low, self.high,
                        after=self.after, pitch=pitch)]  # fmt: skip

    def gradient(self, dy):
        x, w, _, bias, residual = self.inputs
        ops = import_module("skdeep.ops")
        dy = clamp_gradient(dy, self.output, self.low, self.high)
        return (
            DenseGradX(dy, w, PackDenseT(w).output).output,
            DenseGradW(x, dy).output,
            None,
            None if bias is None else ops.sum(dy, axis=range(dy.ndim - 1)),
            None if residual is None else dy,
        )


@register
class DenseGradX(Op):
    """dx = dy w^T, zero where ``mask`` (..., c) is not positive.

    Inputs: dy (..., f), w (c, f), the panels of w's transpose, mask or None.
    """

    def __init__(self, dy, w, panels, mask=None):
        super().__init__(dy, w, panels, mask)

    def infer(self):
        dy, w = self.inputs[:2]
        return [(*dy.shape[:-1], w.shape[0])]

    def rows(self):
        dy, _, panels, mask = self.inputs
        return [product(dy, panels, None, self.output, None, mask, -math.inf, math.inf)]


@register
class DenseGradW(Op):
    """dw = x^T dy, summed over the batch in order. Inputs: x (..., c), dy (..., f)."""

    def infer(self):
        x, dy = self.inputs
        return [(x.shape[-1], dy.shape[-1])]

    def rows(self):
        x, dy = self.inputs
        c, f = x.shape[-1], dy.shape[-1]
        n = x.size // c
        work = 2 * n * c * f / RATE
        band, some = bands_and_panels(c, f, work)
        operands = [x, dy, self.output, n, c, f, band, some]
        return [Row(dense_weights.name, operands, tile_count(c, f, band, some), work)]


def dense(x, w, b=None):
    """Matrix product with weights, plus a bias: ``x @ w + b``.

    Parameters
    ----------
    x : float32 Tensor of shape (..., c)
    w : float32 Tensor of shape (c, f)
    b : float32 Tensor of shape (f,) or None

    Returns
    -------
    float32 Tensor of shape (..., f)

    Raises
    ------
    ValueError
        When the shapes do not fit, or a size is zero.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, w, b = graph.Tensor((1, 2)), graph.Tensor((2, 3)), graph.Tensor((3,))
    >>> feeds = {x: [[1.0, 2.0]], w: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], b: [0.0, 10.0, 20.0]}
    >>> graph.program.evaluate([ops.dense(x, w, b)], feeds)[0]
    array([[ 9., 22., 35.]], dtype=float32)
    """
    if x.ndim < 2:
        raise ValueError(f"dense needs (..., c) input of two axes or more, got {x.shape}.")
    if w.ndim != 2 or w.shape[0] != x.shape[-1]:
        raise ValueError(
            f"dense needs weights of shape ({x.shape[-1]}, f) for input {x.shape}, got {w.shape}."
        )
    if 0 in x.shape or 0 in w.shape:
        raise ValueError(f"dense needs at least one element, got {x.shape} times {w.shape}.")
    if b is not None and b.shape != (w.shape[1],):
        raise ValueError(f"dense needs a bias of shape ({w.shape[1]},), got {b.shape}.")
    return Dense(x, w, PackDense(w).output, b).output


def matmul(x, w):
    """Matrix product ``x @ w``.

    Parameters
    ----------
    x : float32 Tensor of shape (..., c)
    w : float32 Tensor of shape (c, f)

    Returns
    -------
    float32 Tensor of shape (..., f)

    Raises
    ------
    ValueError
        When the shapes do not fit, or a size is zero.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, w = graph.Tensor((2, 2)), graph.Tensor((2, 1))
    >>> feeds = {x: [[1.0, 2.0], [3.0, 4.0]], w: [[10.0], [1.0]]}
    >>> graph.program.evaluate([ops.matmul(x, w)], feeds)[0]
    array([[12.],
           [34.]], dtype=float32)
    """
    return dense(x, w)


@register
class BatchMatMul(Op):
    """See :func:`batch_matmul`."""

    def infer(self):
        x, y = self.inputs
        return [(x.shape[0], x.shape[1], y.shape[2])]

    def gradient(self, dy):
        x, y = self.inputs
        turn = import_module("skdeep.ops.shape").transpose
        return [
            batch_matmul(dy, turn(y, (0, 2, 1))),
            batch_matmul(turn(x, (0, 2, 1)), dy),
        ]

    def rows(self):
        x, y = self.inputs
        pairs, m, k = x.shape
        n = y.shape[2]
        work = 4 * pairs * m * k * n / RATE
        parts = max(1, min(math.ceil(m / 16), math.ceil(wanted_tiles(work) / pairs)))
        block = math.ceil(m / parts / 4) * 4
        parts = math.ceil(m / block)
        operands = [x, y, self.output, m, k, n, block, parts, pairs]
        return [Row(matrix_pairs.name, operands, parts * pairs, work)]


def batch_matmul(x, y):
    """Products of pairs of matrices, ``x[b] @ y[b]``.

    Parameters
    ----------
    x : float32 Tensor of shape (b, m, k)
    y : float32 Tensor of shape (b, k, n)
        Weights are faster with :func:`matmul`, which packs them once.

    Returns
    -------
    float32 Tensor of shape (b, m, n)

    Raises
    ------
    ValueError
        When the shapes do not fit, or a size is zero.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, y = graph.Tensor((1, 1, 2)), graph.Tensor((1, 2, 1))
    >>> feeds = {x: [[[1.0, 2.0]]], y: [[[10.0], [1.0]]]}
    >>> graph.program.evaluate([ops.batch_matmul(x, y)], feeds)[0]
    array([[[12.]]], dtype=float32)
    """
    fits = x.ndim == y.ndim == 3 and x.shape[0] == y.shape[0] and x.shape[2] == y.shape[1]
    if not fits or 0 in (*x.shape, *y.shape) or not x.dtype == y.dtype == "float32":
        raise ValueError(
            f"batch_matmul needs float32 matrices (b, m, k) and (b, k, n), none empty; got {x} "
            f"and {y}."
        )
    return BatchMatMul(x, y).output
