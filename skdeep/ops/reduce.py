"""Sums, means and maxima over axes, and their opposite, broadcasting."""

import math
from operator import index

import numpy as np

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.reduce import BLOCK, COLUMNS
from .arithmetic import _broadcast_rows, _layout, greater, multiply, subtract

__all__ = ["broadcast_to", "max", "mean", "sum"]


class Reduction(Op):
    """One run of axes, ``start`` to ``stop``, disappears; the result is multiplied by ``scale``.

    The second output, if any, holds results of blocks of the run.
    """

    kernel = ""  # of the pair <kernel>_runs, <kernel>_columns

    def __init__(self, x, start, stop, scale=1.0):
        super().__init__(x, start=start, stop=stop, scale=scale)

    def _cut(self):
        """Sizes before, along and after the run, and how the run is cut: (block, blocks).

        The cut depends on the sizes along and after the run alone: a sample's result does not
        depend on the batch it comes in.
        """
        shape = self.inputs[0].shape
        before, after = math.prod(shape[: self.start]), math.prod(shape[self.stop :])
        run = math.prod(shape[self.start : self.stop])
        block = -(-BLOCK // min(after, COLUMNS)) if after else 1
        blocks = -(-run // block)
        return before, run, after, block, blocks if blocks > 1 else 1

    def infer(self):
        (x,) = self.inputs
        if not isinstance(x, Tensor) or x.dtype != "float32":
            raise ValueError(f"{self.kernel}: needs a float32 Tensor, got {x!r}")
        before, _, after, _, blocks = self._cut()
        shape = x.shape[: self.start] + x.shape[self.stop :]
        return [shape] if blocks == 1 else [shape, (before * blocks * after,)]

    def rows(self):
        (x,) = self.inputs
        before, run, after, block, blocks = self._cut()
        if blocks == 1:
            return [self._row(x, self.output, before, run, after, run, 1, self.scale)]
        y, parts = self.outputs
        return [
            self._row(x, parts, before, run, after, block, blocks, 1.0),
            self._row(parts, y, before, blocks, after, blocks, 1, self.scale),
        ]

    def _row(self, x, y, before, run, after, block, blocks, scale):
        cost = 0.1 * before * run * after + 5 * before * blocks
        if after == 1:
            items = before * blocks
            group = _group(block)
            operands = [y, x, run, block, blocks, group, items, float(scale)]
            return Row(f"{self.kernel}_runs", operands, -(-items // group), cost)
        width = min(after, COLUMNS)
        items = before * blocks * -(-after // width) if after else 0
        group = _group(block * width)
        operands = [y, x, run, after, block, blocks, width, group, items, float(scale)]
        return Row(f"{self.kernel}_columns", operands, -(-items // group), cost)


def _group(size):
    """How many pieces of work of so many elements make a tile."""
    return BLOCK // size if 0 < size < BLOCK else 1


@register
class Sum(Reduction):
    """See :func:`sum`; over one run of axes."""

    kernel = "sum"

    def gradient(self, dy, *scratch):
        (x,) = self.inputs
        if self.scale != 1.0:
            dy = multiply(dy, self.scale)
        return [_spread(dy, x.shape, self.start, self.stop)]


@register
class SumRows(Sum):
    """Sum over all axes but the last: (n, ..., c) -> (c,), the gradient of a bias."""

    def __init__(self, x, scale=1.0):
        Op.__init__(self, x, scale=scale)

    @property
    def start(self):
        """The run starts at the first axis."""
        return 0

    @property
    def stop(self):
        """Only the last axis stays."""
        return self.inputs[0].ndim - 1


@register
class Max(Reduction):
    """See :func:`max`; over one run of axes."""

    kernel = "max"

    def infer(self):
        if math.prod(self.inputs[0].shape[self.start : self.stop]) == 0:
            raise ValueError(
                f"max: shape {self.inputs[0].shape} has no element along a reduced axis"
            )
        return super().infer()

    def gradient(self, dy, *scratch):
        (x,) = self.inputs
        largest = _spread(self.output, x.shape, self.start, self.stop)
        chosen = subtract(1.0, greater(largest, x))
        share = dy / _reduce(Sum, chosen, range(self.start, self.stop))
        return [multiply(chosen, _spread(share, x.shape, self.start, self.stop))]


@register
class BroadcastTo(Op):
    """See :func:`broadcast_to`."""

    def infer(self):
        return [self.shape]

    def gradient(self, dy):
        return [sum_to(dy, self.inputs[0].shape)]

    def rows(self):
        return _broadcast_rows("broadcast", self.output, [self.inputs[0], self.output], 0.1)


def sum(x, axis=None, keepdims=False):
    """Sum over axes.

    Parameters
    ----------
    x : float32 Tensor
    axis : int, tuple of int or None
        None for all axes.
    keepdims : bool
        Whether reduced axes stay, with size 1.

    Returns
    -------
    float32 Tensor
        The shape of ``x`` without the reduced axes; () when none is left.

    Raises
    ------
    ValueError
        When an axis does not exist or is named twice, or ``x`` is not float32.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2, 3))
    >>> y = ops.sum(x, axis=1)
    >>> graph.program.evaluate([y], {x: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})[0]
    array([ 6., 15.], dtype=float32)
    """
    return _reduce_axes("sum", Sum, x, axis, keepdims)


def mean(x, axis=None, keepdims=False):
    """Mean over axes: their sum over the number of elements.

    Parameters
    ----------
    x : float32 Tensor
    axis : int, tuple of int or None
        None for all axes.
    keepdims : bool
        Whether reduced axes stay, with size 1.

    Returns
    -------
    float32 Tensor
        Shaped as by :func:`sum`.

    Raises
    ------
    ValueError
        As :func:`sum`, and when there is no element to average.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2, 3))
    >>> y = ops.mean(x, axis=0, keepdims=True)
    >>> graph.program.evaluate([y], {x: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})[0]
    array([[2.5, 3.5, 4.5]], dtype=float32)
    """
    axes = _axes("mean", x, axis)
    count = math.prod(x.shape[a] for a in axes)
    if count == 0:
        raise ValueError(f"mean: shape {x.shape} has no element along axes {axes}")
    return _reduce_axes("mean", Sum, x, axis, keepdims, 1.0 / count)


def max(x, axis=None, keepdims=False):
    """Largest element over axes; NaN when there is one.

    Parameters
    ----------
    x : float32 Tensor
    axis : int, tuple of int or None
        None for all axes.
    keepdims : bool
        Whether reduced axes stay, with size 1.

    Returns
    -------
    float32 Tensor
        Shaped as by :func:`sum`. Equal largest elements share the gradient evenly.

    Raises
    ------
    ValueError
        As :func:`sum`, and when there is no element to choose from.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2, 3))
    >>> y = ops.max(x, axis=-1)
    >>> graph.program.evaluate([y], {x: [[1.0, 5.0, 3.0], [4.0, 2.0, 0.0]]})[0]
    array([5., 4.], dtype=float32)
    """
    return _reduce_axes("max", Max, x, axis, keepdims)


def broadcast_to(x, shape):
    """x repeated along axes of size 1 and new leading axes, as NumPy does.

    Parameters
    ----------
    x : float32 Tensor
    shape : tuple of int

    Returns
    -------
    float32 Tensor of shape ``shape``
        ``x`` itself when it has that shape. The gradient is a sum over what was repeated.

    Raises
    ------
    ValueError
        When a size differs and is not 1.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3,))
    >>> graph.program.evaluate([ops.broadcast_to(x, (2, 3))], {x: [1.0, 2.0, 3.0]})[0]
    array([[1., 2., 3.],
           [1., 2., 3.]], dtype=float32)
    """
    shape = tuple(index(s) for s in shape)
    try:
        fits = np.broadcast_shapes(x.shape, shape) == shape
    except ValueError:
        fits = False
    if not fits:
        raise ValueError(
            f"broadcast_to: shape {x.shape} cannot become {shape}; sizes must be equal or 1, "
            "counted from the last axis"
        )
    if x.shape == shape:
        return x
    if len(_layout(shape, [x.shape])[0]) <= 3:
        return BroadcastTo(x, shape=shape).output
    # One axis at a time, from the last, never has more than three runs of axes.
    sizes = (1,) * (len(shape) - x.ndim) + x.shape
    last = [a for a, (have, want) in enumerate(zip(sizes, shape)) if have != want][-1]
    return broadcast_to(broadcast_to(x, sizes[:last] + shape[last:]), shape)


def sum_to(x, shape):
    """The opposite of :func:`broadcast_to`: x summed along the axes that were repeated."""
    if x.shape == shape:
        return x
    from .shape import reshape

    padded = (1,) * (x.ndim - len(shape)) + shape
    axes = [a for a, (have, want) in enumerate(zip(x.shape, padded)) if have != want]
    return reshape(_reduce(Sum, x, axes), shape)


def _axes(name, x, axis):
    """Axes as an increasing list."""
    given = range(x.ndim) if axis is None else axis if np.iterable(axis) else (axis,)
    axes = [index(a) for a in given]
    if any(not -x.ndim <= a < x.ndim for a in axes):
        raise ValueError(f"{name}: axis {axis} does not exist in a tensor of shape {x.shape}")
    axes = sorted(a % x.ndim for a in axes)
    if len(set(axes)) < len(axes):
        raise ValueError(f"{name}: axis {axis} names an axis twice")
    return axes


def _reduce_axes(name, cls, x, axis, keepdims, scale=1.0):
    from .shape import reshape

    axes = _axes(name, x, axis)
    y = _reduce(cls, x, axes, scale)
    if keepdims:
        y = reshape(y, tuple(1 if a in axes else s for a, s in enumerate(x.shape)))
    return y


def _reduce(cls, x, axes, scale=1.0):
    """Reduce run after run of neighbouring axes, from the last; only the final one scales."""
    axes = list(axes)
    while axes:
        stop = axes.pop() + 1
        start = stop - 1
        while axes and axes[-1] == start - 1:
            start = axes.pop()
        factor = 1.0 if axes else scale
        if cls is Sum and start == 0 and stop == x.ndim - 1:
            x = SumRows(x, scale=factor).output
        else:
            x = cls(x, start=start, stop=stop, scale=factor).output
    return x


def _spread(x, shape, start, stop):
    """x with the reduced axes ``start`` to ``stop`` of ``shape`` put back, repeated."""
    from .shape import reshape

    kept = shape[:start] + (1,) * (stop - start) + shape[stop:]
    return broadcast_to(reshape(x, kept), shape)
