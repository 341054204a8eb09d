"""Dense layers: products with packed weights, and the gradient of the weights.

Forward       y[n, f] = clamp(b[f] + sum over c of x[n, c] w[c, f])
Input         dx[n, c] = sum over f of dy[n, f] w[c, f]: the forward kernel on transposed panels
Weights       dw[c, f] = sum over n of x[n, c] dy[n, f]
Pairs         out[b, i, j] = sum over k of x[b, i, k] y[b, k, j]
"""

import numpy as np
from numba import float32

from .activation import clip
from .activation import gelu as gelu_formula
from .activation import quick_gelu as quick_gelu_formula
from .bfloat16 import load_any, store_any_n
from .compiler import expand, inline, kernel
from .cuda import EDGE, cuda, cuda_twin
from .gemm import ABSENT, LINE, ROWS, TABLE_BYTES, column_tile, put_row, row_tile, tile_rows
from .maths import cpu, fma
from .panels import count_panels, panel_first, panel_lanes
from .simd import VECTOR_BYTES, WIDTH, broadcast, fill, load, load_f32, scratch, store_n
from .simd import fma as vfma

RUN = 1024  # terms of a product for which a panel still fits the L2 cache
BATCH = 128  # samples of x and dy that fit the L1 or L2 cache together

gelu, quick_gelu = cpu(gelu_formula), cpu(quick_gelu_formula)
GELU, QUICK_GELU = 1, 2  # what may follow
ZERO, INFINITY = np.float32(0), np.float32(np.inf)


@inline
def distance(tensor, out):
    """Bytes from ``out`` to a tensor of the same layout, or ABSENT."""
    return tensor - out if tensor != 0 else ABSENT


@expand
def multiply(p, tile, product, height_of, closing, element, limit):
    """See :func:`dense_rows`; :mod:`skdeep.kernels.conv` tells what the arguments are."""
    x, panels, bias, out = p[0], p[1], p[2], p[3]
    add = distance(p[4], out)
    low, high = load_f32(p[6]), load_f32(p[7])
    n, c, f, stride = p[8], p[9], p[10], p[13]
    bands = (n + p[11] - 1) // p[11]
    start = (tile % bands) * p[11]
    stop = min(n, start + p[11])
    from_panel = (tile // bands) * p[12]
    to_panel = min(count_panels(f), from_panel + p[12])
    slices = (c + limit - 1) // limit
    size = (c + slices - 1) // slices
    packed = p[15] == 0
    table = scratch(TABLE_BYTES)
    for panel in range(from_panel, to_panel):
        first, end = panel_first(f, panel), panel_first(f, panel + 1)
        vectors, lanes, column = end - first, panel_lanes(f, end), VECTOR_BYTES * first
        for begin in range(0, c, size):
            run = min(size, c - begin)
            last = begin + run == c
            lowest, highest = (low, high) if last else (-INFINITY, INFINITY)
            final = closing[1] if last else closing[0]
            pitch = VECTOR_BYTES * vectors if packed else p[15]
            weights = panels + (column * c if packed else column) + pitch * begin
            offset = bias + column if bias != 0 and begin == 0 else 0
            so_far = add if begin == 0 else 0
            ahead = weights + VECTOR_BYTES * vectors * run
            enough = ahead + VECTOR_BYTES * vectors * run if stop - start > ROWS and packed else 0
            i = start
            while i < stop:
                rows = height_of(vectors, stop - i)
                for m in range(rows):
                    k = min(i + m, stop - 1)
                    target = out + element * (k * stride + WIDTH * first)
                    put_row(table, m, target, x + 4 * (k * c + begin))
                product(rows, vectors, table, weights, pitch, 1, 0, 0, 1, 0, 0, run, offset, so_far,
                        final, lowest, highest, lanes,
                        (ahead if ahead < enough else weights) if packed else 0)  # fmt: skip
                if p[14] and last:
                    for k in range(i, min(i + rows, stop)):
                        at = out + element * (k * stride + WIDTH * first)
                        for v in range(vectors):
                            n_lanes = lanes if v + 1 == vectors else WIDTH
                            value = load_any(at, element)
                            value = gelu(value) if p[14] == GELU else quick_gelu(value)
                            store_any_n(at, value, n_lanes, element)
                            at += element * WIDTH
                ahead += LINE // 2 * run
                i += rows


@kernel
def dense_rows(p, tile):
    """out (n, f) = clamp(bias + add + x (n, c) times panels), zero where mask <= 0.

    p = [x, panels, bias, out, add, mask, low, high, n, c, f, rows of a tile, panels of a tile,
    floats from one row of out to the next, what follows, bytes from one row of weights that are not
    packed to the next, or 0]; add and mask are like out, GELU or QUICK_GELU may follow. Packed
    weights are one unbroken stream; while a slice of a panel is in use, the next one is asked for.
    """
    closing = ABSENT, distance(p[5], p[3])
    multiply(p, tile, row_tile, tile_rows, closing, 4, RUN)


@kernel
def dense_weights(p, tile):
    """dw (c, f) = transpose of x (n, c) times dy (n, f).

    p = [x, dy, dw, n, c, f, rows of a tile, panels of a tile].
    """
    x, dy, dw, n, c, f = p[0], p[1], p[2], p[3], p[4], p[5]
    bands = (c + p[6] - 1) // p[6]
    start = (tile % bands) * p[6]
    stop = min(c, start + p[6])
    from_panel = (tile // bands) * p[7]
    to_panel = min(count_panels(f), from_panel + p[7])
    table = scratch(TABLE_BYTES)
    for begin in range(0, n, BATCH):
        samples = min(BATCH, n - begin)
        for panel in range(from_panel, to_panel):
            first, end = panel_first(f, panel), panel_first(f, panel + 1)
            vectors, lanes, column = end - first, panel_lanes(f, end), VECTOR_BYTES * first
            i = start
            while i < stop:
                rows = tile_rows(vectors, stop - i)
                for m in range(rows):
                    k = min(i + m, stop - 1)
                    put_row(table, m, dw + 4 * k * f + column, 4 * k)
                column_tile(rows, vectors, table, begin == 0, x + 4 * begin * c,
                            dy + 4 * begin * f + column, 1, 0, 0, 1, 0, 0, samples, 4 * c, 4 * f,
                            lanes)  # fmt: skip
                i += rows


@inline
def pair_rows(x, y, out, first, last, k, n, j, two):
    """Four rows of ``x`` times one or two vectors of columns of ``y``, from column ``j`` on."""
    i1, i2, i3 = min(first + 1, last), min(first + 2, last), min(first + 3, last)
    a0, a1 = x + 4 * first * k, x + 4 * i1 * k
    a2, a3 = x + 4 * i2 * k, x + 4 * i3 * k
    c0, c1, c2, c3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    d0, d1, d2, d3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    b = y + 4 * j
    for t in range(k):
        s0, s1 = broadcast(a0 + 4 * t), broadcast(a1 + 4 * t)
        s2, s3 = broadcast(a2 + 4 * t), broadcast(a3 + 4 * t)
        v = load(b)
        c0, c1, c2, c3 = vfma(s0, v, c0), vfma(s1, v, c1), vfma(s2, v, c2), vfma(s3, v, c3)
        if two:
            w = load(b + VECTOR_BYTES)
            d0, d1, d2, d3 = vfma(s0, w, d0), vfma(s1, w, d1), vfma(s2, w, d2), vfma(s3, w, d3)
        b += 4 * n
    lanes = min(WIDTH, n - j)
    at = out + 4 * j
    store_n(at + 4 * first * n, c0, lanes)
    store_n(at + 4 * i1 * n, c1, lanes)
    store_n(at + 4 * i2 * n, c2, lanes)
    store_n(at + 4 * i3 * n, c3, lanes)
    if two:
        lanes = min(WIDTH, n - j - WIDTH)
        at += VECTOR_BYTES
        store_n(at + 4 * first * n, d0, lanes)
        store_n(at + 4 * i1 * n, d1, lanes)
        store_n(at + 4 * i2 * n, d2, lanes)
        store_n(at + 4 * i3 * n, d3, lanes)


@kernel
def matrix_pairs(p, tile):
    """out[b] (m, n) = x[b] (m, k) times y[b] (k, n).

    p = [x, y, out, m, k, n, rows per tile, tiles per pair, pairs]. Neither is packed: for products
    of activations, whose matrices fit a cache.
    """
    m, k, n = p[3], p[4], p[5]
    pair, part = tile // p[7], tile % p[7]
    x, y, out = p[0] + 4 * pair * m * k, p[1] + 4 * pair * k * n, p[2] + 4 * pair * m * n
    stop = min(m, (part + 1) * p[6])
    for j in range(0, n, 2 * WIDTH):
        for i in range(part * p[6], stop, 4):
            pair_rows(x, y, out, i, stop - 1, k, n, j, n - j > WIDTH)


# ---- CUDA twins: a block computes a square of the result, through squares in shared memory -------


@cuda_twin(dense_rows, squares=lambda p: (p[8], p[10]))
def dense_rows_twin(f, i, p):
    """One thread per element; the panels are a plain (c, f) matrix."""
    a = cuda.shared.array((EDGE, EDGE), float32)
    b = cuda.shared.array((EDGE, EDGE), float32)
    n, c, width = p[8], p[9], p[10]
    across = (width + EDGE - 1) // EDGE
    u, v = cuda.threadIdx.x // EDGE, cuda.threadIdx.x % EDGE
    row, column = cuda.blockIdx.x // across * EDGE + u, cuda.blockIdx.x % across * EDGE + v
    at = row * p[13] + column
    inside = row < n and column < width
    total = ZERO
    if inside and p[2] != 0:
        total = f[p[2] // 4 + column]
    if inside and p[4] != 0:
        total += f[p[4] // 4 + at]
    for k in range(0, c, EDGE):
        a[u, v] = f[p[0] // 4 + row * c + k + v] if row < n and k + v < c else ZERO
        b[u, v] = f[p[1] // 4 + (k + u) * width + column] if column < width and k + u < c else ZERO
        cuda.syncthreads()
        for t in range(EDGE):
            total = fma(a[u, t], b[t, v], total)
        cuda.syncthreads()
    if inside:
        total = clip(total, f[p[6] // 4], f[p[7] // 4])
        if p[5] != 0 and f[p[5] // 4 + at] <= ZERO:
            total = ZERO
        if p[14] == GELU:
            total = gelu_formula(total)
        elif p[14] == QUICK_GELU:
            total = quick_gelu_formula(total)
        f[p[3] // 4 + at] = total


@cuda_twin(dense_weights, squares=lambda p: (p[4], p[5]))
def dense_weights_twin(f, i, p):
    """One thread per element, over the samples in order."""
    a = cuda.shared.array((EDGE, EDGE), float32)
    b = cuda.shared.array((EDGE, EDGE), float32)
    n, c, width = p[3], p[4], p[5]
    across = (width + EDGE - 1) // EDGE
    u, v = cuda.threadIdx.x // EDGE, cuda.threadIdx.x % EDGE
    first, column = cuda.blockIdx.x // across * EDGE, cuda.blockIdx.x % across * EDGE + v
    total = ZERO
    for k in range(0, n, EDGE):
        a[u, v] = f[p[0] // 4 + (k + u) * c + first + v] if k + u < n and first + v < c else ZERO
        b[u, v] = f[p[1] // 4 + (k + u) * width + column] if k + u < n and column < width else ZERO
        cuda.syncthreads()
        for t in range(EDGE):
            total = fma(a[t, u], b[t, v], total)
        cuda.syncthreads()
    if first + u < c and column < width:
        f[p[2] // 4 + (first + u) * width + column] = total


@cuda_twin(matrix_pairs, items=lambda p: p[3] * p[5] * p[8])
def matrix_pairs_twin(f, i, p):
    """One thread per element."""
    at, m, k, n = cuda.grid(1), p[3], p[4], p[5]
    if at < m * n * p[8]:
        row, column = at // n, at % n
        x, y = p[0] // 4 + row * k, p[1] // 4 + row // m * k * n + column
        total = ZERO
        for t in range(k):
            total = fma(f[x + t], f[y + t * n], total)
        f[p[2] // 4 + at] = total
