"""Pooling over windows of images."""

import math
from operator import index

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.pool import TILE
from ..kernels.pool_grad import FEW
from .shape import reshape

__all__ = ["average_pool2d", "global_average_pool2d", "global_max_pool2d", "max_pool2d"]


def max_pool2d(x, pool_size, stride=None, padding=0, ceil_mode=False):
    """Largest value of each window; padding never wins, NaN always does.

    Parameters
    ----------
    x : float32 Tensor of shape (n, h, w, c)
    pool_size : int or pair of int
        Height and width of a window.
    stride : int, pair of int or None
        Distance of the windows; None for ``pool_size``.
    padding : int, pair of int or ((top, bottom), (left, right))
        Pixels added around the image, less than the pool size on each side.
    ceil_mode : bool
        Also keep a last window that hangs over the edge, if it starts inside the image or the
        padding before it.

    Returns
    -------
    float32 Tensor of shape (n, windows down, windows across, c)
        Windows down: (top + h + bottom - pool height) // stride + 1, and likewise across. The
        gradient goes to the first maximum of each window, row by row.

    Raises
    ------
    ValueError
        When ``x`` is not of that kind, a number is too small, or no window fits.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 2, 4, 1))
    >>> feeds = {x: [[[[1.0], [2.0], [3.0], [4.0]], [[5.0], [0.0], [7.0], [8.0]]]]}
    >>> graph.program.evaluate([ops.max_pool2d(x, 2)], feeds)[0][0, :, :, 0]
    array([[5., 8.]], dtype=float32)
    """
    return MaxPool2D(x, **_windows("max_pool2d", x, pool_size, stride, padding, ceil_mode)).output


def average_pool2d(x, pool_size, stride=None, padding=0, ceil_mode=False, count_include_pad=False):
    """Mean of each window.

    Parameters
    ----------
    x : float32 Tensor of shape (n, h, w, c)
    pool_size, stride, padding, ceil_mode
        As for :func:`max_pool2d`.
    count_include_pad : bool
        True: padding counts as zeros. False: the mean is over the pixels inside the image. What
        hangs over the padding is never counted.

    Returns
    -------
    float32 Tensor of shape (n, windows down, windows across, c)
        Counted as by :func:`max_pool2d`.

    Raises
    ------
    ValueError
        As :func:`max_pool2d`.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 2, 4, 1))
    >>> feeds = {x: [[[[1.0], [2.0], [3.0], [4.0]], [[5.0], [0.0], [7.0], [8.0]]]]}
    >>> graph.program.evaluate([ops.average_pool2d(x, 2)], feeds)[0][0, :, :, 0]
    array([[2. , 5.5]], dtype=float32)
    """
    windows = _windows("average_pool2d", x, pool_size, stride, padding, ceil_mode)
    return AveragePool2D(x, padded=bool(count_include_pad), **windows).output


def global_average_pool2d(x):
    """Mean over all pixels of each channel.

    Parameters
    ----------
    x : float32 Tensor of shape (n, h, w, c)

    Returns
    -------
    float32 Tensor of shape (n, c)

    Raises
    ------
    ValueError
        When ``x`` is not of that kind, or is empty.

    References
    ----------
    Lin, Chen & Yan, Network in network, 2014.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 1, 2, 3))
    >>> feeds = {x: [[[[1.0, 2.0, 3.0], [5.0, 6.0, 0.0]]]]}
    >>> graph.program.evaluate([ops.global_average_pool2d(x)], feeds)[0]
    array([[3. , 4. , 1.5]], dtype=float32)
    """
    _need_images("global_average_pool2d", x)
    return reshape(average_pool2d(x, x.shape[1:3]), (x.shape[0], x.shape[3]))


def global_max_pool2d(x):
    """Largest pixel of each channel.

    Parameters
    ----------
    x : float32 Tensor of shape (n, h, w, c)

    Returns
    -------
    float32 Tensor of shape (n, c)

    Raises
    ------
    ValueError
        When ``x`` is not of that kind, or is empty.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 1, 2, 3))
    >>> feeds = {x: [[[[1.0, 2.0, 3.0], [5.0, 6.0, 0.0]]]]}
    >>> graph.program.evaluate([ops.global_max_pool2d(x)], feeds)[0]
    array([[5., 6., 3.]], dtype=float32)
    """
    _need_images("global_max_pool2d", x)
    return reshape(max_pool2d(x, x.shape[1:3]), (x.shape[0], x.shape[3]))


def _need_images(name, x):
    if x.ndim != 4 or x.dtype != "float32" or 0 in x.shape:
        raise ValueError(
            f"{name} needs float32 images (n, h, w, c), got {x.dtype} of shape {x.shape}"
        )


def _pair(name, what, value, least):
    try:
        pair = (index(value), index(value))
    except TypeError:
        pair = tuple(index(v) for v in value)
    if len(pair) != 2 or min(pair) < least:
        raise ValueError(
            f"{name}: {what} must be an integer or a pair, at least {least}; got {value!r}"
        )
    return pair


def _windows(name, x, pool_size, stride, padding, ceil_mode):
    """Attributes of a pooling operation: size, stride, ((top, bottom), (left, right)), counts."""
    _need_images(name, x)
    size = _pair(name, "pool_size", pool_size, 1)
    stride = size if stride is None else _pair(name, "stride", stride, 1)
    if isinstance(padding, (tuple, list)) and any(isinstance(v, (tuple, list)) for v in padding):
        sides = tuple(_pair(name, "padding", v, 0) for v in padding)
    else:
        sides = tuple((v, v) for v in _pair(name, "padding", padding, 0))
    counts = []
    for length, taps, step, (before, after) in zip(x.shape[1:3], size, stride, sides):
        if max(before, after) >= taps:
            raise ValueError(f"{name}: padding {padding!r} must be less than pool_size {size}")
        room = length + before + after - taps
        if room < 0:
            raise ValueError(
                f"{name}: a window of {size} does not fit images of {x.shape[1:3]} pixels with "
                f"padding {padding!r}; use a smaller pool_size, or fewer poolings before"
            )
        count = room // step + 1
        if ceil_mode and room % step and count * step < length + before:
            count += 1
        counts.append(count)
    return {"size": size, "stride": stride, "padding": sides, "counts": tuple(counts)}


def _grid(x, op):
    """Sizes that every pooling kernel takes: image, windows, window, stride, padding before."""
    (top, _), (left, _) = op.padding
    return [*x.shape[1:], *op.counts, *op.size, *op.stride, top, left]


def _tiles(rows, reads):
    """(rows per tile, tiles) for rows that read so many elements each."""
    block = max(1, TILE // max(reads, 1))
    return block, -(-rows // block)


class _Pool(Op):
    def infer(self):
        n, _, _, c = self.inputs[0].shape
        return [(n, *self.counts, c)]

    def _forward_cut(self):
        """(rows of the output, elements that one of them reads)."""
        n, _, _, c = self.inputs[0].shape
        kh, kw = self.size
        return n * self.counts[0], self.counts[1] * kh * kw * max(c, 8)


@register
class MaxPool2D(_Pool):
    """See :func:`max_pool2d`.

    A second output, the tap number of each maximum, exists once the gradient has been built
    (``indexed=True``); prediction does without. ``low`` is a lower bound of the result; where no
    pixel is above it the tap is -1.
    """

    def __init__(self, x, *, low=-math.inf, **attributes):
        super().__init__(x, low=low, **attributes)

    def infer(self):
        shapes = super().infer()
        if self.attributes.get("indexed"):
            shapes.append(Tensor(shapes[0], "int32"))
        return shapes

    def gradient(self, dy, *_):
        x = self.inputs[0]
        if len(self.outputs) == 1:
            self.attributes["indexed"] = True
            self.outputs += (Tensor(self.output.shape, "int32", op=self),)
        windows = {k: v for k, v in self.attributes.items() if k not in ("indexed", "low")}
        return [MaxPool2DGrad(dy, self.outputs[1], shape=x.shape, **windows).output]

    def rows(self):
        x = self.inputs[0]
        taps = self.outputs[1] if len(self.outputs) == 2 else 0
        rows, reads = self._forward_cut()
        block, tiles = _tiles(rows, reads)
        operands = [x, self.output, taps, rows, *_grid(x, self), block, float(self.low)]
        return [Row("max_pool", operands, tiles, 0.2 * rows * reads)]


class _PoolGrad(Op):
    """d loss / d x from d loss / d y and, for the maximum, the tap numbers."""

    def infer(self):
        return [self.shape]

    def rows(self):
        dy, *taps = self.inputs
        dx = self.output
        n, h, w, c = dx.shape
        overlap = self.stride[0] < self.size[0] or self.stride[1] < self.size[1]
        if taps and c <= FEW and overlap:
            block, tiles = _tiles(n, h * w * c)
            operands = [dy, *taps, dx, n, *_grid(dx, self), block]
            return [Row("max_pool_grad_few", operands, tiles, dy.size * 2 + 0.2 * dx.size)]
        rows = n * h if overlap else n * self.counts[0]
        block, tiles = _tiles(rows, n * h * w * max(c, 8) // rows)
        (_, bottom), (_, right) = self.padding
        sides = [bottom, right, int(self.attributes.get("padded", False))]
        operands = [dy, taps[0] if taps else 0, dx, rows, *_grid(dx, self), *sides, block]
        kernel = "pool_grad" if overlap else "pool_grad_apart"
        return [Row(kernel, operands, tiles, 0.4 * n * h * w * max(c, 8))]


@register
class MaxPool2DGrad(_PoolGrad):
    """Gradient of :class:`MaxPool2D`; inputs: dy, tap numbers."""


@register
class AveragePool2D(_Pool):
    """See :func:`average_pool2d`."""

    def gradient(self, dy):
        return [AveragePool2DGrad(dy, shape=self.inputs[0].shape, **self.attributes).output]

    def rows(self):
        x = self.inputs[0]
        rows, reads = self._forward_cut()
        block, tiles = _tiles(rows, reads)
        (_, bottom), (_, right) = self.padding
        sides = [bottom, right, int(self.padded)]
        operands = [x, self.output, rows, *_grid(x, self), *sides, block]
        return [Row("average_pool", operands, tiles, 0.1 * rows * reads)]


@register
class AveragePool2DGrad(_PoolGrad):
    """Gradient of :class:`AveragePool2D`; input: dy."""

    def gradient(self, ddx):
        windows = {k: v for k, v in self.attributes.items() if k != "shape"}
        return [AveragePool2D(ddx, **windows).output]
