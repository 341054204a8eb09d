"""Operations that move elements and compute nothing."""

import math
from operator import index

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.shape import TILE

__all__ = [
    "concatenate",
    "flatten",
    "pad2d",
    "reshape",
    "shuffle_channels",
    "slice_axis",
    "transpose",
    "transpose2d",
]


def reshape(x, shape):
    """The same elements, in the same order, under another shape.

    Parameters
    ----------
    x : Tensor
        float32 or int32.
    shape : tuple of int
        One size may be -1: what remains.

    Returns
    -------
    Tensor of the type of ``x``
        It shares the memory of ``x``.

    Raises
    ------
    ValueError
        When the sizes do not multiply to the size of ``x``, or more than one is negative.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((4,))
    >>> graph.program.evaluate([ops.reshape(x, (2, -1))], {x: [1.0, 2.0, 3.0, 4.0]})[0]
    array([[1., 2.],
           [3., 4.]], dtype=float32)
    """
    given = tuple(index(s) for s in shape)
    known = math.prod(s for s in given if s != -1)
    if given.count(-1) > 1 or any(s < -1 for s in given):
        raise ValueError(f"reshape: {given} may hold one -1 and no other negative size")
    rest = x.size // known if known else 0
    sizes = tuple(rest if s == -1 else s for s in given)
    if math.prod(sizes) != x.size:
        raise ValueError(
            f"reshape: {x.size} elements of shape {x.shape} do not fit {given}; "
            "the sizes must have the same product"
        )
    return x if sizes == x.shape else Reshape(x, shape=sizes).output


def flatten(x):
    """One row of numbers per sample: (n, ...) as (n, all the rest).

    Parameters
    ----------
    x : Tensor of shape (n, ...)
        float32 or int32.

    Returns
    -------
    Tensor of shape (n, product of the other sizes)
        It shares the memory of ``x``.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 2, 2))
    >>> graph.program.evaluate([ops.flatten(x)], {x: [[[1.0, 2.0], [3.0, 4.0]]]})[0]
    array([[1., 2., 3., 4.]], dtype=float32)
    """
    return reshape(x, (x.shape[0], math.prod(x.shape[1:])))


def concatenate(tensors, axis=-1):
    """Tensors joined along one axis.

    Parameters
    ----------
    tensors : sequence of Tensor
        Of one type, and one shape but for ``axis``.
    axis : int

    Returns
    -------
    Tensor of their type
        Its size along ``axis`` is the sum of theirs.

    Raises
    ------
    ValueError
        When there are no tensors, ``axis`` does not exist, or a shape or type does not fit.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, y = graph.Tensor((2, 2)), graph.Tensor((2, 1))
    >>> feeds = {x: [[1.0, 2.0], [3.0, 4.0]], y: [[10.0], [20.0]]}
    >>> graph.program.evaluate([ops.concatenate([x, y])], feeds)[0]
    array([[ 1.,  2., 10.],
           [ 3.,  4., 20.]], dtype=float32)
    """
    tensors = list(tensors)
    if not tensors:
        raise ValueError("concatenate: got no tensors; pass at least one")
    if len(tensors) == 1:
        return tensors[0]
    return Concatenate(*tensors, axis=_axis("concatenate", tensors[0], axis)).output


def slice_axis(x, axis, start, stop):
    """``x[..., start:stop, ...]`` along one axis.

    Parameters
    ----------
    x : Tensor
        float32 or int32.
    axis : int
    start, stop : int
        As in Python; negative ones count from the end.

    Returns
    -------
    Tensor of the type of ``x``
        Its size along ``axis`` is ``stop - start``.

    Raises
    ------
    ValueError
        When ``axis`` does not exist, or nothing is left.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2, 3))
    >>> y = ops.slice_axis(x, 1, 0, -1)
    >>> graph.program.evaluate([y], {x: [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]})[0]
    array([[1., 2.],
           [4., 5.]], dtype=float32)
    """
    axis = _axis("slice_axis", x, axis)
    start, stop, _ = slice(start, stop).indices(x.shape[axis])
    if start == 0 and stop == x.shape[axis]:
        return x
    return SliceAxis(x, axis=axis, start=start, stop=stop).output


def pad2d(x, padding, value=0.0):
    """Images with a border of one value.

    Parameters
    ----------
    x : float32 Tensor of shape (n, h, w, c)
    padding : tuple of int
        (top, bottom, left, right), in pixels.
    value : float
        What the border holds.

    Returns
    -------
    float32 Tensor of shape (n, top + h + bottom, left + w + right, c)

    Raises
    ------
    ValueError
        When ``x`` is not of that kind, or ``padding`` is not four numbers, none negative.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 1, 2, 1))
    >>> y = ops.pad2d(x, (0, 1, 1, 1))
    >>> graph.program.evaluate([y], {x: [[[[1.0], [2.0]]]]})[0][0, :, :, 0]
    array([[0., 1., 2., 0.],
           [0., 0., 0., 0.]], dtype=float32)
    """
    padding = tuple(index(p) for p in padding)
    if x.ndim == 4 and padding == (0, 0, 0, 0):
        return x
    return Pad2D(x, padding=padding, value=float(value)).output


def shuffle_channels(x, groups):
    """Channels of several groups in turn: the first of each group, then the second of each ..

    Parameters
    ----------
    x : Tensor of shape (..., c)
        float32 or int32. Channels are cut into ``groups`` equal runs.
    groups : int
        A divisor of c.

    Returns
    -------
    Tensor of the shape and type of ``x``

    Raises
    ------
    ValueError
        When ``groups`` does not divide the channels.

    References
    ----------
    Zhang et al., ShuffleNet: an extremely efficient convolutional neural network for mobile
    devices, 2018.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((6,))
    >>> feeds = {x: [0.0, 1.0, 2.0, 10.0, 11.0, 12.0]}
    >>> graph.program.evaluate([ops.shuffle_channels(x, 2)], feeds)[0]
    array([ 0., 10.,  1., 11.,  2., 12.], dtype=float32)
    """
    groups = index(groups)
    if groups < 1 or x.ndim < 1 or x.shape[-1] % groups:
        raise ValueError(
            f"shuffle_channels: groups={groups} must divide the channels of shape {x.shape}"
        )
    return x if groups in (1, x.shape[-1]) else ShuffleChannels(x, groups=groups).output


def transpose2d(x):
    """The transpose of a matrix: y[j, i] = x[i, j].

    Parameters
    ----------
    x : Tensor of shape (n, m)
        float32 or int32.

    Returns
    -------
    Tensor of shape (m, n)

    Raises
    ------
    ValueError
        When ``x`` does not have two axes.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 3))
    >>> graph.program.evaluate([ops.transpose2d(x)], {x: [[1.0, 2.0, 3.0]]})[0]
    array([[1.],
           [2.],
           [3.]], dtype=float32)
    """
    return Transpose2D(x).output


def transpose(x, axes):
    """Axes in another order.

    Parameters
    ----------
    x : Tensor
        float32 or int32.
    axes : sequence of int
        For every axis of the result, the axis of ``x`` that it is.

    Returns
    -------
    Tensor of the type of ``x``
        It shares the memory of ``x`` where only axes of one element move.

    Raises
    ------
    ValueError
        When ``axes`` does not name every axis once.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 2, 2))
    >>> feeds = {x: [[[1.0, 2.0], [3.0, 4.0]]]}
    >>> graph.program.evaluate([ops.transpose(x, (2, 0, 1))], feeds)[0]
    array([[[1., 3.]],
           [[2., 4.]]], dtype=float32)
    """
    axes = tuple(index(a) for a in axes)
    if sorted(axes) != list(range(x.ndim)):
        raise ValueError(
            f"transpose: {axes} must name each of the {x.ndim} axes of a tensor of shape {x.shape}"
        )
    runs = []  # axes that stay neighbours, in the order of the result
    for a in axes:
        if x.shape[a] == 1:
            continue
        between = runs and x.shape[runs[-1][-1] + 1 : a]
        if runs and a > runs[-1][-1] and math.prod(between) == 1:
            runs[-1].append(a)
        else:
            runs.append([a])
    sizes = {run[0]: math.prod(x.shape[a] for a in run) for run in runs}
    wanted, now = [run[0] for run in runs], sorted(sizes)
    # The first axis keeps a place of its own, so that what treats samples apart can be told.
    begin = 1 if 0 in now[:1] and wanted[0] == 0 else 0
    y = reshape(x, tuple(sizes[a] for a in now))
    for k in range(begin, len(wanted)):
        middle = now.index(wanted[k])
        if middle > k:
            y = SwapBlocks(y, axis=k, middle=middle, stop=middle + 1).output
            now[k : middle + 1] = [wanted[k], *now[k:middle]]
    return reshape(y, tuple(x.shape[a] for a in axes))


def _axis(name, x, axis):
    """A non-negative axis of ``x``."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{name}: axis {axis} does not exist in a tensor of shape {x.shape}")
    return index(axis) % x.ndim


def _around(shape, axis):
    """Products of the sizes before and after an axis."""
    return math.prod(shape[:axis]), math.prod(shape[axis + 1 :])


def _copy_rows(x, y, *, rows, x_step, y_step, run, x_offset=0, y_offset=0, group=None, first=0,
               last=None, x_jump=0, y_jump=0, left=0, right=0, value=0.0):  # fmt: skip
    """A row of the program that calls ``copy_block``; names as in its docstring."""
    group = max(rows, 1) if group is None else group
    last = group if last is None else last
    width = left + run + right
    if rows == 0 or width == 0:
        return []
    strip = width if width < 2 * TILE else TILE
    strips = -(-width // strip)
    height = max(1, TILE // max(strip, 16))
    operands = [x, y, value, rows, group, first, last, x_jump, x_step, y_jump, y_step]
    operands += [left, run, right, x_offset, y_offset, height, strip, strips]
    return [Row("copy_block", operands, -(-rows // height) * strips, rows * (4 + 0.3 * width))]


@register
class Reshape(Op):
    """See :func:`reshape`; no kernel, the output is the input's memory."""

    def infer(self):
        (x,) = self.inputs
        if math.prod(self.shape) != x.size:
            raise ValueError(
                f"reshape: {x.shape} has {x.size} elements and does not fit {self.shape}"
            )
        return [Tensor(self.shape, x.dtype)]

    def gradient(self, dy):
        return [reshape(dy, self.inputs[0].shape)]

    def rows(self):
        return []

    def shares(self):
        return [(self.output, self.inputs[0], 0)]

    def rebuild_part(self, inputs, samples, batch):
        return self.like(*inputs, shape=(self.shape[0] * samples // batch, *self.shape[1:]))


@register
class Concatenate(Op):
    """See :func:`concatenate`.

    Inputs whose positions are in ``placed`` are computed in the memory of the output.
    """

    placed = ()

    def infer(self):
        first, *others = self.inputs
        k = self.axis
        for t in others:
            same = t.ndim == first.ndim and t.dtype == first.dtype
            if not same or t.shape[:k] + t.shape[k + 1 :] != first.shape[:k] + first.shape[k + 1 :]:
                raise ValueError(
                    f"concatenate: {t.dtype} of shape {t.shape} cannot follow {first.dtype} of "
                    f"shape {first.shape}; only axis {k} may differ"
                )
        size = sum(t.shape[k] for t in self.inputs)
        return [Tensor((*first.shape[:k], size, *first.shape[k + 1 :]), first.dtype)]

    def gradient(self, dy):
        parts, start = [], 0
        for t in self.inputs:
            stop = start + t.shape[self.axis]
            parts.append(slice_axis(dy, self.axis, start, stop))
            start = stop
        return parts

    def rows(self):
        outer, inner = _around(self.output.shape, self.axis)
        per_word = self.output.size // self.output.words
        step = self.output.shape[self.axis] * inner // per_word
        rows, offset = [], 0
        for k, t in enumerate(self.inputs):
            run = t.shape[self.axis] * inner // per_word
            if k not in self.placed:
                rows += _copy_rows(t, self.output, rows=outer, x_step=run, y_step=step, run=run,
                                   y_offset=offset)  # fmt: skip
            offset += run
        return rows

    def shares(self):
        _, inner = _around(self.output.shape, self.axis)
        per_word = self.output.size // self.output.words
        shares, offset = [], 0
        for k, t in enumerate(self.inputs):
            if k in self.placed:
                shares.append((t, self.output, offset))
            offset += t.shape[self.axis] * inner // per_word
        return shares


@register
class SliceAxis(Op):
    """See :func:`slice_axis`."""

    def infer(self):
        (x,) = self.inputs
        k, size = self.axis, self.stop - self.start
        if not 0 <= self.start < self.stop <= x.shape[k]:
            raise ValueError(
                f"slice_axis: {self.start}:{self.stop} selects nothing of axis {k} of a tensor of "
                f"shape {x.shape}; give 0 <= start < stop <= {x.shape[k]}"
            )
        return [Tensor((*x.shape[:k], size, *x.shape[k + 1 :]), x.dtype)]

    def gradient(self, dy):
        after = self.inputs[0].shape[self.axis] - self.stop
        return [PadAxis(dy, axis=self.axis, before=self.start, after=after).output]

    def rows(self):
        (x,) = self.inputs
        outer, inner = _around(x.shape, self.axis)
        run = (self.stop - self.start) * inner
        return _copy_rows(x, self.output, rows=outer, x_step=x.shape[self.axis] * inner,
                          y_step=run, run=run, x_offset=self.start * inner)  # fmt: skip


@register
class PadAxis(Op):
    """Zeros before and after along one axis: what takes a gradient back through a slice."""

    def infer(self):
        (x,) = self.inputs
        k = self.axis
        return [(*x.shape[:k], self.before + x.shape[k] + self.after, *x.shape[k + 1 :])]

    def gradient(self, dy):
        stop = self.before + self.inputs[0].shape[self.axis]
        return [slice_axis(dy, self.axis, self.before, stop)]

    def rows(self):
        (x,) = self.inputs
        outer, inner = _around(x.shape, self.axis)
        run, step = x.shape[self.axis] * inner, self.output.shape[self.axis] * inner
        return _copy_rows(x, self.output, rows=outer, x_step=run, y_step=step, run=run,
                          left=self.before * inner, right=self.after * inner)  # fmt: skip


@register
class Pad2D(Op):
    """See :func:`pad2d`."""

    def infer(self):
        (x,) = self.inputs
        if x.ndim != 4 or x.dtype != "float32":
            raise ValueError(f"pad2d needs float32 (n, h, w, c), got {x.dtype} of shape {x.shape}")
        if len(self.padding) != 4 or min(self.padding) < 0:
            raise ValueError(
                f"pad2d: padding must be (top, bottom, left, right), none negative; "
                f"got {self.padding}"
            )
        top, bottom, left, right = self.padding
        n, h, w, c = x.shape
        return [(n, top + h + bottom, left + w + right, c)]

    def gradient(self, dy):
        return [Crop2D(dy, padding=self.padding).output]

    def rows(self):
        (x,) = self.inputs
        top, _, left, right = self.padding
        n, h, w, c = x.shape
        height, width = self.output.shape[1:3]
        return _copy_rows(
            x, self.output, rows=n * height, group=height, first=top, last=top + h,
            x_jump=h * w * c, x_step=w * c, y_jump=height * width * c, y_step=width * c,
            left=left * c, run=w * c, right=right * c, value=self.value,
        )  # fmt: skip


@register
class Crop2D(Op):
    """Images (n, h, w, c) without a border of (top, bottom, left, right) pixels."""

    def infer(self):
        (x,) = self.inputs
        top, bottom, left, right = self.padding
        n, h, w, c = x.shape
        return [(n, h - top - bottom, w - left - right, c)]

    def gradient(self, dy):
        return [pad2d(dy, self.padding)]

    def rows(self):
        (x,) = self.inputs
        top, _, left, _ = self.padding
        _, height, width, c = x.shape
        n, h, w, _ = self.output.shape
        return _copy_rows(
            x, self.output, rows=n * h, group=h, x_offset=(top * width + left) * c,
            x_jump=height * width * c, x_step=width * c, y_jump=h * w * c, y_step=w * c, run=w * c,
        )  # fmt: skip


@register
class ShuffleChannels(Op):
    """See :func:`shuffle_channels`."""

    def infer(self):
        (x,) = self.inputs
        return [Tensor(x.shape, x.dtype)]

    def gradient(self, dy):
        return [shuffle_channels(dy, dy.shape[-1] // self.groups)]

    def rows(self):
        (x,) = self.inputs
        channels = x.shape[-1]
        rows, block = x.size // channels, max(1, TILE // channels)
        operands = [x, self.output, rows, self.groups, channels // self.groups, block]
        return [Row("shuffle_channels", operands, -(-rows // block), 0.2 * x.size)]


@register
class Transpose2D(Op):
    """See :func:`transpose2d`."""

    def infer(self):
        (x,) = self.inputs
        if x.ndim != 2:
            raise ValueError(f"transpose2d needs a matrix, got shape {x.shape}")
        return [Tensor(x.shape[::-1], x.dtype)]

    def gradient(self, dy):
        return [transpose2d(dy)]

    def rows(self):
        (x,) = self.inputs
        return _transpose_rows(x, self.output, 1, *x.shape)


@register
class SwapBlocks(Op):
    """Axes ``axis`` to ``middle`` - 1 and ``middle`` to ``stop`` - 1 change places."""

    def infer(self):
        (x,) = self.inputs
        before, first, second, after = self._parts(x.shape)
        return [Tensor((*before, *second, *first, *after), x.dtype)]

    def _parts(self, shape):
        cuts = (0, self.axis, self.middle, self.stop, len(shape))
        return [shape[i:j] for i, j in zip(cuts, cuts[1:])]

    def gradient(self, dy):
        middle = self.axis + self.stop - self.middle
        return [SwapBlocks(dy, axis=self.axis, middle=middle, stop=self.stop).output]

    def rows(self):
        (x,) = self.inputs
        outer, first, second, run = map(math.prod, self._parts(x.shape))
        if run == 1 and min(first, second) < 8:
            block = max(1, TILE // (first * second))
            operands = [x, self.output, outer, first, second, block]
            return [Row("shuffle_channels", operands, -(-outer // block), 0.4 * x.size)]
        if run == 1:
            return _transpose_rows(x, self.output, outer, first, second)
        n = outer * first * second
        block = max(1, TILE // max(run, 16))
        operands = [x, self.output, first, second, run, n, block]
        return [Row("swap_blocks", operands, -(-n // block), n * (4 + 0.3 * run))]


def _transpose_rows(x, y, matrices, rows, columns):
    block = 64 * max(1, TILE // (64 * max(rows, 1)))
    parts = -(-columns // block)
    operands = [x, y, rows, columns, block, parts, matrices]
    return [Row("transpose", operands, parts * matrices, 0.5 * x.size)]
