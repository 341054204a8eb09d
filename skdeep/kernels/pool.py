"""Pooling over windows of images, channels innermost.

``y[n, i, j, c]`` is the maximum or the mean of ``x[n, i*sh - top + p, j*sw - left + q, c]`` over
the taps (p, q) of a kh x kw window that lie inside the image. A block of four vectors covers
neighbouring channels, or neighbouring pixels where one vector holds all channels.

The maximum remembers its tap number ``p*kw + q``, the index; -1 says that no tap is above a lower
bound, such as that of a ReLU in front, and gets no gradient.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .simd import (
    I32,
    VI,
    WIDTH,
    call_llvm,
    fill,
    first_lanes,
    load,
    load_f32,
    mask_t,
    pointer,
    store_n,
    vec,
    where,
)

TILE = 16384  # elements a tile reads, about
PAGE, LARGE = 4096, 4  # pixels so far apart, and windows of so many rows, go row by row

ZERO, ONE = np.float32(0), np.float32(1)
LOWEST = np.float32(-np.inf)


@intrinsic
def takes_over(typingctx, value, best):
    """Lanes where ``value`` is larger than ``best``, or NaN."""

    def emit(context, builder, sig, args):
        value, best = args
        larger = builder.fcmp_ordered(">", value, best)
        return builder.or_(larger, builder.fcmp_unordered("uno", value, value))

    return mask_t(vec, vec), emit


@intrinsic
def store_whole_n(typingctx, address, value, n):
    """Write the first ``n`` lanes, which hold whole numbers, as int32."""

    def emit(context, builder, sig, args):
        address, value, n = args
        whole = builder.fptosi(value, VI)
        place = pointer(builder, address, VI)
        name = f"llvm.masked.store.v{WIDTH}i32.p0"
        mask = first_lanes(builder, n)
        call_llvm(builder, name, ir.VoidType(), whole, place, ir.Constant(I32, 4), mask)
        return context.get_dummy_value()

    return types.void(types.int64, vec, types.int64), emit


# ---- which windows, which pixels -----------------------------------------------------------------


@inline
def tap_range(start, taps, size):
    """Taps [first, last) of a window at ``start`` that fall inside 0 .. size."""
    return max(0, -start), min(taps, size - start)


@inline
def counted(start, taps, size, before, after, padded):
    """How many taps of one axis the mean divides by."""
    if padded:
        return min(taps, size + after - start)
    first, last = tap_range(start, taps, size)
    return last - first


# ---- maximum -------------------------------------------------------------------------------------


@inline
def max_block(x, y, index, row, column, step, lanes, y_step, p0, p1, q0, q1, kw, low, none):
    """Maxima of four vectors ``step`` bytes apart, and their taps when ``index`` is not 0."""
    b0, b1, b2, b3 = fill(low), fill(low), fill(low), fill(low)
    t0 = fill(none)
    t1, t2, t3 = t0, t0, t0
    for p in range(p0, p1):
        for q in range(q0, q1):
            at = x + p * row + q * column
            tap = np.float32(p * kw + q)
            v0, v1 = load(at), load(at + step)
            v2, v3 = load(at + 2 * step), load(at + 3 * step)
            m0, m1, m2, m3 = (takes_over(v0, b0), takes_over(v1, b1),
                              takes_over(v2, b2), takes_over(v3, b3))  # fmt: skip
            b0, b1, b2, b3 = (where(m0, v0, b0), where(m1, v1, b1),
                              where(m2, v2, b2), where(m3, v3, b3))  # fmt: skip
            t0, t1, t2, t3 = (where(m0, tap, t0), where(m1, tap, t1),
                              where(m2, tap, t2), where(m3, tap, t3))  # fmt: skip
    store_n(y, b0, lanes)
    store_n(y + y_step, b1, lanes)
    store_n(y + 2 * y_step, b2, lanes)
    store_n(y + 3 * y_step, b3, lanes)
    if index:
        store_whole_n(index, t0, lanes)
        store_whole_n(index + y_step, t1, lanes)
        store_whole_n(index + 2 * y_step, t2, lanes)
        store_whole_n(index + 3 * y_step, t3, lanes)


@inline
def max_vector(x, y, index, row, column, lanes, p0, p1, q0, q1, kw, low, none):
    """Maxima of one vector, and their taps when ``index`` is not 0."""
    best, found = fill(low), fill(none)
    for p in range(p0, p1):
        for q in range(q0, q1):
            v = load(x + p * row + q * column)
            m = takes_over(v, best)
            best, found = where(m, v, best), where(m, np.float32(p * kw + q), found)
    store_n(y, best, lanes)
    if index:
        store_whole_n(index, found, lanes)


@kernel
def max_pool(p, tile):
    """Maximum of ``low`` and each window, and the tap where it was first; NaN wins over all.

    p = [x, y, index (or 0), rows of y in all images, h, w, c, windows down, windows across,
    kh, kw, sh, sw, top, left, rows per tile, low]
    """
    low = load_f32(p[16])
    h, w, c, down, across = p[4], p[5], p[6], p[7], p[8]
    kh, kw, sh, sw, top, left = p[9], p[10], p[11], p[12], p[13], p[14]
    row, column, step = 4 * w * c, 4 * c, 4 * WIDTH
    for r in range(tile * p[15], min(p[3], (tile + 1) * p[15])):
        n, i = r // down, r % down
        i0 = i * sh - top
        p0, p1 = tap_range(i0, kh, h)
        j = 0
        while j < across:
            j0 = j * sw - left
            q0, q1 = tap_range(j0, kw, w)
            x = p[0] + (n * h + i0) * row + j0 * column
            done = 4 * (r * across + j) * c
            y = p[1] + done
            index = p[2] + done if p[2] else 0
            pixels = c <= WIDTH and j + 4 <= across and j0 >= 0 and j0 + 3 * sw + kw <= w
            none = -ONE if low > LOWEST else np.float32(p0 * kw + q0)
            k = 0
            while k < c:
                out = index + 4 * k if index else 0
                if pixels or k + 4 * WIDTH <= c:
                    max_block(x + 4 * k, y + 4 * k, out, row, column,
                              sw * column if pixels else step, min(c, WIDTH),
                              column if pixels else step, p0, p1, q0, q1, kw, low,
                              none)  # fmt: skip
                    k += 4 * WIDTH
                else:
                    max_vector(x + 4 * k, y + 4 * k, out, row, column, min(WIDTH, c - k),
                               p0, p1, q0, q1, kw, low, none)  # fmt: skip
                    k += WIDTH
            j += 4 if pixels else 1


# ---- mean ----------------------------------------------------------------------------------------


@inline
def mean_block(x, y, row, column, step, lanes, y_step, p0, p1, q0, q1, more, factor):
    """Sums of four vectors ``step`` bytes apart, row of the window by row, times ``factor``.

    With ``more`` they go on from what y holds.
    """
    t0, t1, t2, t3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    if more:
        t0, t1 = load(y), load(y + y_step)
        t2, t3 = load(y + 2 * y_step), load(y + 3 * y_step)
    for p in range(p0, p1):
        s0, s1, s2, s3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
        for q in range(q0, q1):
            at = x + p * row + q * column
            s0, s1 = s0 + load(at), s1 + load(at + step)
            s2, s3 = s2 + load(at + 2 * step), s3 + load(at + 3 * step)
        t0, t1, t2, t3 = t0 + s0, t1 + s1, t2 + s2, t3 + s3
    store_n(y, t0 * factor, lanes)
    store_n(y + y_step, t1 * factor, lanes)
    store_n(y + 2 * y_step, t2 * factor, lanes)
    store_n(y + 3 * y_step, t3 * factor, lanes)


@inline
def mean_vector(x, y, row, column, lanes, p0, p1, q0, q1, more, factor):
    """The same for one vector."""
    total = load(y) if more else fill(ZERO)
    for p in range(p0, p1):
        part = fill(ZERO)
        for q in range(q0, q1):
            part = part + load(x + p * row + q * column)
        total = total + part
    store_n(y, total * factor, lanes)


@kernel
def average_pool(p, tile):
    """Mean of each window, over the taps inside the image or (``padded``) inside the padding too.

    p = [x, y, rows of y in all images, h, w, c, windows down, windows across, kh, kw, sh, sw,
    top, left, bottom, right, padded, rows per tile]
    """
    h, w, c, down, across = p[3], p[4], p[5], p[6], p[7]
    kh, kw, sh, sw, top, left = p[8], p[9], p[10], p[11], p[12], p[13]
    row, column, step = 4 * w * c, 4 * c, 4 * WIDTH
    for r in range(tile * p[17], min(p[2], (tile + 1) * p[17])):
        n, i = r // down, r % down
        i0 = i * sh - top
        p0, p1 = tap_range(i0, kh, h)
        high = counted(i0, kh, h, top, p[14], p[16])
        j = 0
        while j < across:
            j0 = j * sw - left
            q0, q1 = tap_range(j0, kw, w)
            factor = ONE / np.float32(high * counted(j0, kw, w, left, p[15], p[16]))
            x = p[0] + (n * h + i0) * row + j0 * column
            y = p[1] + 4 * (r * across + j) * c
            pixels = c <= WIDTH and j + 4 <= across and j0 >= 0 and j0 + 3 * sw + kw <= w
            # Pixels a multiple of a page apart compete for a few lines of the cache: row by row.
            rows = 1 if column % PAGE == 0 and p1 - p0 >= LARGE else max(1, p1 - p0)
            for u in range(p0, p1, rows):
                last = ONE if u + rows < p1 else factor
                k = 0
                while k < c:
                    if pixels or k + 4 * WIDTH <= c:
                        mean_block(x + 4 * k, y + 4 * k, row, column,
                                   sw * column if pixels else step, min(c, WIDTH),
                                   column if pixels else step, u, u + rows, q0, q1, u > p0,
                                   last)  # fmt: skip
                        k += 4 * WIDTH
                    else:
                        mean_vector(x + 4 * k, y + 4 * k, row, column, min(WIDTH, c - k), u,
                                    u + rows, q0, q1, u > p0, last)  # fmt: skip
                        k += WIDTH
            j += 4 if pixels else 1


# ---- CUDA twins: one thread per number of the result ---------------------------------------------


@cuda_twin(max_pool, items=lambda p: p[3] * p[8] * p[6])
def max_pool_twin(f, i, p):
    """As above, tap by tap."""
    at, h, w, c = cuda.grid(1), p[4], p[5], p[6]
    if at < p[3] * p[8] * c:
        r, low = at // c // p[8], f[p[16] // 4]
        i0, j0 = r % p[7] * p[11] - p[13], at // c % p[8] * p[12] - p[14]
        p0, p1 = tap_range(i0, p[9], h)
        q0, q1 = tap_range(j0, p[10], w)
        x = p[0] // 4 + ((r // p[7] * h + i0) * w + j0) * c + at % c
        best, found = low, -1 if low > LOWEST else p0 * p[10] + q0
        for u in range(p0, p1):
            for v in range(q0, q1):
                value = f[x + (u * w + v) * c]
                if value > best or value != value:
                    best, found = value, u * p[10] + v
        f[p[1] // 4 + at] = best
        if p[2] != 0:
            i[p[2] // 4 + at] = found


@cuda_twin(average_pool, items=lambda p: p[2] * p[7] * p[5])
def average_pool_twin(f, i, p):
    """Sums of the rows of the window, then theirs."""
    at, h, w, c = cuda.grid(1), p[3], p[4], p[5]
    if at < p[2] * p[7] * c:
        r = at // c // p[7]
        i0, j0 = r % p[6] * p[10] - p[12], at // c % p[7] * p[11] - p[13]
        p0, p1 = tap_range(i0, p[8], h)
        q0, q1 = tap_range(j0, p[9], w)
        x = p[0] // 4 + ((r // p[6] * h + i0) * w + j0) * c + at % c
        total = ZERO
        for u in range(p0, p1):
            part = ZERO
            for v in range(q0, q1):
                part += f[x + (u * w + v) * c]
            total += part
        size = counted(i0, p[8], h, p[12], p[14], p[16]) * counted(j0, p[9], w, p[13], p[15], p[16])
        f[p[1] // 4 + at] = total * (ONE / np.float32(size))
