"""Resampling of pictures: Pillow's antialiased filters, with crop and normalisation in one sweep.

A picture is (h, w, 3), of bytes or float32. Pixel j of a resized row is the sum of
``weight[j, k] * x[start[j] + k]`` over the pixels that its filter covers; rows come first, columns
after them. Bytes are computed as Pillow does, bit for bit: weights are whole numbers in units of
2**-22, and what the rows give is rounded to levels 0 .. 255. Then comes
``level * scale[c] + shift[c]`` in float32. Only what the crop keeps is computed.

Sixteen rows are resized together, one in each lane: blocks of 16 x 16 numbers are transposed on
their way in and out, so that both sweeps are the same loop over taps, of three vectors of 16
neighbours (the channels of a pixel, or 48 numbers of a row), which any instruction set has.
"""

import math
import threading
from functools import lru_cache

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import isa
from .compiler import kernel
from .runner import launch
from .simd import F32, I1, I32, I64, call_llvm, load_i32, pointer

LANES = 16  # rows resized together
BLOCK = 3 * LANES  # numbers of a row that are finished together
NARROWEST = -(-LANES // 3)  # pixels of a row that holds a vector
BITS = 22  # of a weight's fraction
HALF = 1 << (BITS - 1)
HEAD = 2  # of a row of a table: start and number of weights
TABLES = 128  # kept
LONG = 2**13  # pixels of an axis whose tables are large, and not kept
KEEP = 2**24  # bytes of workspace that a thread keeps

WHOLE, REAL = ir.VectorType(I32, LANES), ir.VectorType(F32, LANES)
LEVELS, MASK = ir.VectorType(ir.IntType(8), LANES), ir.VectorType(I1, LANES)

# ---- tables of weights ---------------------------------------------------------------------------


def _box(x):
    return np.where((x > -0.5) & (x <= 0.5), 1.0, 0.0)


def _triangle(x):
    return np.maximum(1.0 - np.abs(x), 0.0)


def _cubic(x):
    a, x = -0.5, np.abs(x)
    near = ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * a
    return np.where(x < 1.0, near, np.where(x < 2.0, far, 0.0))


def _sinc(x):
    x = np.where(x == 0.0, 1.0, x * np.pi)
    return np.where(x == 1.0, 1.0, np.sin(x) / x)


def _lanczos(x):
    return np.where((x >= -3.0) & (x < 3.0), _sinc(x) * _sinc(x / 3.0), 0.0)


FILTERS = {  # name: (function, half its width in pixels)
    "box": (_box, 0.5),
    "bilinear": (_triangle, 1.0),
    "bicubic": (_cubic, 2.0),
    "lanczos": (_lanczos, 3.0),
}
NEAREST = "nearest"


def _nearest(size, out, first, last):
    """Indices that Pillow takes: it adds up the step, with the rounding that this has."""
    step = size / out
    if last <= 2**20:
        position = np.add.accumulate(np.r_[step * 0.5, np.full(last - 1, step)])[first:]
    else:
        position = (np.arange(first, last) + 0.5) * step
    return np.minimum(position.astype(np.int64), size - 1)


@lru_cache(TABLES)
def weights_table(size, out, interpolation, first, last, whole):
    """Which pixels of an axis make pixels ``first .. last - 1`` of the resized axis.

    Parameters
    ----------
    size, out : int
        Pixels of the whole axis before and after.
    interpolation : str
        A name in ``FILTERS``, or "nearest".
    first, last : int
    whole : bool
        Weights in units of 2**-22 for levels, instead of float32.

    Returns
    -------
    ndarray of int32, shape (last - first, HEAD + taps)
        Start, number of weights, weights; those of float32 as their bits.
    """
    if interpolation == NEAREST or size == out:
        index = np.arange(first, last)
        start = _nearest(size, out, first, last) if size != out else index
        count, weights = np.ones(len(start), np.int64), np.ones((len(start), 1))
    else:
        start, count, weights = _filter_weights(size, out, *FILTERS[interpolation], first, last)
    table = np.zeros((last - first, HEAD + weights.shape[1]), np.int32)
    table[:, 0], table[:, 1] = start, count
    if whole:
        scaled = weights * (1 << BITS)
        table[:, HEAD:] = np.trunc(np.where(scaled < 0, scaled - 0.5, scaled + 0.5))
    else:
        table[:, HEAD:] = weights.astype(np.float32).view(np.int32)
    table.setflags(write=False)
    return table


def _filter_weights(size, out, function, radius, first, last):
    """Start, number of weights, and weights of each output, in the order of Pillow's sums."""
    scale = size / out
    stretch = max(scale, 1.0)
    support = radius * stretch
    centre = (np.arange(first, last) + 0.5) * scale
    start = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centre + support + 0.5).astype(np.int64), size) - start
    tap = np.arange(min(2 * math.ceil(support) + 1, size))
    weights = function((tap + start[:, None] - centre[:, None] + 0.5) * (1.0 / stretch))
    weights[tap >= count[:, None]] = 0.0
    total = np.add.accumulate(weights, axis=1)[:, -1:]
    return start, count, weights / np.where(total == 0.0, 1.0, total)


# ---- vectors of sixteen numbers ------------------------------------------------------------------


def _splat(builder, scalar):
    undefined = ir.Constant(ir.VectorType(scalar.type, LANES), ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(WHOLE, [0] * LANES))


def _multiply_add(builder, a, b, c):
    name = "fma" if "fma" in isa.host_flags() else "fmuladd"
    return call_llvm(builder, f"llvm.{name}.v{LANES}f32", REAL, a, b, c)


def _constant(kind, value):
    return ir.Constant(kind, [value] * LANES)


def _at(builder, address, offset):
    return builder.add(address, ir.Constant(I64, offset))


def _sums(builder, whole, source, step, weights, taps):
    """Three vectors: the sums over k of weights[k] times the 48 numbers at source + k * step."""
    start = _constant(WHOLE, HALF) if whole else _constant(REAL, 0.0)
    totals = [cgutils.alloca_once_value(builder, start) for _ in range(3)]
    with cgutils.for_range(builder, taps) as loop:
        at = builder.add(source, builder.mul(loop.index, step))
        place = builder.add(weights, builder.shl(loop.index, ir.Constant(I64, 2)))
        weight = _splat(builder, builder.load(pointer(builder, place, I32 if whole else F32)))
        for k, total in enumerate(totals):
            if whole:
                x = builder.load(pointer(builder, _at(builder, at, LANES * k), LEVELS), align=1)
                product = builder.mul(builder.zext(x, WHOLE), weight)
                new = builder.add(builder.load(total), product)
            else:
                x = builder.load(pointer(builder, _at(builder, at, 4 * LANES * k), REAL), align=4)
                new = _multiply_add(builder, x, weight, builder.load(total))
            builder.store(new, total)
    return [_levels(builder, builder.load(t)) if whole else builder.load(t) for t in totals]


def _levels(builder, total):
    """Rounded to whole levels, in 0 .. 255."""
    level = builder.ashr(total, _constant(WHOLE, BITS))
    for symbol, limit in ((">", 0), ("<", 255)):
        limit = _constant(WHOLE, limit)
        level = builder.select(builder.icmp_signed(symbol, level, limit), level, limit)
    return level


def _make_blend(whole):
    def blend(typingctx, source, step, weights, taps, target, target_step):
        """Write the sums, as numbers of the kind they were, to three places."""

        def emit(context, builder, sig, args):
            source, step, weights, taps, target, target_step = args
            for total in _sums(builder, whole, source, step, weights, taps):
                value = builder.trunc(total, LEVELS) if whole else total
                place = pointer(builder, target, value.type)
                builder.store(value, place, align=1 if whole else 4)
                target = builder.add(target, target_step)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 6), emit

    return intrinsic(blend)


def _make_finish(whole):
    def finish(typingctx, source, step, weights, taps, scales, shifts, target, n):
        """Write the sums times 48 scales plus 48 shifts: n numbers of float32, at most 48."""

        def emit(context, builder, sig, args):
            source, step, weights, taps, scales, shifts, target, n = args
            values = []
            for k, total in enumerate(_sums(builder, whole, source, step, weights, taps)):
                level = builder.sitofp(total, REAL) if whole else total
                factor, shift = (
                    builder.load(pointer(builder, _at(builder, a, 4 * LANES * k), REAL), align=4)
                    for a in (scales, shifts)
                )
                values.append(_multiply_add(builder, level, factor, shift))
            places = [pointer(builder, _at(builder, target, 4 * LANES * k), REAL) for k in range(3)]
            all_fit = builder.icmp_signed(">=", n, ir.Constant(I64, BLOCK))
            with builder.if_else(all_fit) as (fit, part):
                with fit:
                    for value, place in zip(values, places):
                        builder.store(value, place, align=4)
                with part:
                    left = _splat(builder, builder.trunc(n, I32))
                    for k, (value, place) in enumerate(zip(values, places)):
                        lanes = ir.Constant(WHOLE, [LANES * k + lane for lane in range(LANES)])
                        mask = builder.icmp_signed("<", lanes, left)
                        name = f"llvm.masked.store.v{LANES}f32.p0"
                        align = ir.Constant(I32, 4)
                        call_llvm(builder, name, ir.VoidType(), value, place, align, mask)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 8), emit

    return intrinsic(finish)


_ZIPS = [
    ir.Constant(WHOLE, [half + lane // 2 + LANES * (lane % 2) for lane in range(LANES)])
    for half in (0, LANES // 2)
]


def _make_transpose(whole):
    def transpose(typingctx, source, source_step, target, target_step):
        """Write sixteen vectors of sixteen numbers as the transposed block."""
        kind, align = (LEVELS, 1) if whole else (REAL, 4)

        def emit(context, builder, sig, args):
            source, source_step, target, target_step = args
            rows = []
            for _ in range(LANES):
                rows.append(builder.load(pointer(builder, source, kind), align=align))
                source = builder.add(source, source_step)
            for _ in range(4):  # each round takes a bit of the row's number into the lane's
                pairs = zip(rows[: LANES // 2], rows[LANES // 2 :])
                rows = [builder.shuffle_vector(a, b, z) for a, b in pairs for z in _ZIPS]
            for row in rows:
                builder.store(row, pointer(builder, target, kind), align=align)
                target = builder.add(target, target_step)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), emit

    return intrinsic(transpose)


# ---- the kernels ---------------------------------------------------------------------------------


def _resize_kernel(name, whole):
    size = 1 if whole else 4
    vector = LANES * size
    blend, finish, transpose = _make_blend(whole), _make_finish(whole), _make_transpose(whole)

    def resize(p, tile):
        x, row_bytes, row, last_row = p[0], p[1], p[2], p[3]
        begin, end, last_chunk = p[4], p[5], p[6]
        across, across_row, columns, down, down_row, lines = p[7], p[8], p[9], p[10], p[11], p[12]
        turned, resized, rows, stride = p[13], p[14], p[15], p[16]
        numbers = 3 * columns
        place, step = 0, vector
        if p[21]:
            place, step = 2 * vector, -vector
        first = row
        for i in range(lines):
            table = down + i * down_row
            start, taps = load_i32(table), load_i32(table + 4)
            while row < start + taps:
                r = min(row, last_row)
                b = begin
                while b < end:
                    b = min(b, last_chunk)
                    transpose(x + r * row_bytes + b * size, row_bytes,
                              turned + (b - begin) * vector, vector)  # fmt: skip
                    b += LANES
                for j in range(columns):
                    entry = across + j * across_row
                    blend(turned + (3 * load_i32(entry) - begin) * vector, 3 * vector, entry + 8,
                          load_i32(entry + 4), resized + 3 * j * vector + place, step)  # fmt: skip
                for k in range(0, numbers, LANES):
                    transpose(resized + k * vector, vector,
                              rows + (r - first) * stride + k * size, stride)  # fmt: skip
                row = r + LANES
            y, above = p[17] + i * p[18], rows + (start - first) * stride
            for k in range(0, numbers, BLOCK):
                finish(above + k * size, stride, table + 8, taps, p[19], p[20], y + 4 * k,
                       numbers - k)  # fmt: skip

    resize.__doc__ = f"""Resize, crop and normalise a picture of {"bytes" if whole else "float32"}.

    p = [x, bytes of a row, first row needed, last row that a block may start with, first and end of
    the numbers of a row that are needed, last number that a vector may start with, table across,
    bytes of its rows, columns of y, table down, bytes of its rows, rows of y, three workspaces,
    bytes of a row of the third, y, bytes of its rows, 48 scales, 48 shifts, reversed channels]
    """
    return kernel(resize, name=name)


resize_levels = _resize_kernel("resize_levels", True)
resize_floats = _resize_kernel("resize_floats", False)


class _Workspace(threading.local):
    """Memory that a thread uses again for its next picture."""

    kept = np.empty(0, np.uint8)

    def take(self, *sizes):
        """Addresses of so many bytes each, and what keeps them alive."""
        sizes = [-(-n // 64) * 64 + 64 for n in sizes]
        memory = self.kept
        if memory.size < sum(sizes) + 64:
            memory = np.empty(sum(sizes) + 64, np.uint8)
            if memory.size <= KEEP:
                self.kept = memory
        start = memory.ctypes.data + -memory.ctypes.data % 64
        return [start + sum(sizes[:k]) for k in range(len(sizes))], memory


_workspace = _Workspace()


def _pad(picture):
    """Repeat the edges of a picture that is too small for the vectors, below and to the right."""
    rows = max(0, LANES - picture.shape[0])
    columns = max(0, NARROWEST - picture.shape[1])
    if rows or columns:
        picture = np.pad(picture, ((0, rows), (0, columns), (0, 0)), mode="edge")
    return picture


def resize_into(picture, size, window, interpolation, scales, shifts, out, reverse=False):
    """Resize a picture and write ``level * scale + shift`` of a window of the result.

    Parameters
    ----------
    picture : ndarray of shape (h, w, 3), uint8 or float32, C-contiguous
    size : (int, int)
        Height and width of the whole resized picture.
    window : (int, int, int, int)
        First row, first column, end of the rows, end of the columns.
    interpolation : str
    scales, shifts : ndarray of shape (48,), float32
        Of the channels of ``out``, sixteen times over.
    out : ndarray of shape (rows, columns, 3), float32
        Its rows may be apart, its pixels are not.
    reverse : bool, default=False
        The channels of ``out`` are in the opposite order.
    """
    (h, w, _), (top, left, bottom, right) = picture.shape, window
    whole = picture.dtype == np.uint8
    make = weights_table if max(h, w, *size) <= LONG else weights_table.__wrapped__
    across = make(w, size[1], interpolation, left, right, whole)
    down = make(h, size[0], interpolation, top, bottom, whole)
    picture = _pad(picture)
    last_row, last_chunk = picture.shape[0] - LANES, 3 * picture.shape[1] - LANES
    first_row = min(int(down[:, 0].min()), last_row)
    end_row = int((down[:, 0] + down[:, 1]).max())
    begin = min(3 * int(across[:, 0].min()), last_chunk)
    end = 3 * int((across[:, 0] + across[:, 1]).max())
    unit = picture.dtype.itemsize
    stride = -(-3 * (right - left) // BLOCK) * BLOCK * unit
    (turned, resized, rows), memory = _workspace.take(
        (end - begin + LANES) * LANES * unit,
        stride * LANES,
        (end_row - first_row + LANES) * stride,
    )
    launch(
        resize_levels if whole else resize_floats,
        picture, picture.strides[0], first_row, last_row, begin, end, last_chunk,
        across, across.strides[0], right - left, down, down.strides[0], bottom - top,
        turned, resized, rows, stride, out, out.strides[0], scales, shifts, int(reverse),
    )  # fmt: skip
    del memory
