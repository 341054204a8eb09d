"""Batch normalisation over all axes but the last, and running averages.

    y = max((x - mean) * scale + beta + residual, low),   scale = gamma / sqrt(var + eps)

and with the statistics of the batch itself, over N values of each channel,

    dbeta = sum(dy),   dgamma = sum(dy * (x - mean)) / sqrt(var + eps)
    dx = scale * (dy - dbeta / N - (x - mean) / sqrt(var + eps) * dgamma / N)

where dy stands for the gradient in front of the clamp, computed anew from x: reading y as well
would cost more than the formula. What counts here is how often memory is passed over: twice
forward and twice backward, with ReLU or without.

Every kernel sees a matrix of ``rows`` x ``width``. Where channels are few, a row holds several
pixels (``fold`` of them) so that vectors are full; coefficients are then repeated, and the folded
columns of a channel are combined at the end.

Statistics take one pass over memory and do not cancel: a chunk of rows is summed about the mean of
its tile so far (a typical value, at first), and (count, mean, sum of squared deviations) of chunks,
tiles and folds are combined in order as in Chan, Golub & LeVeque (1983). Means are kept relative to
a typical value of the column until the end. The median of three rows is typical enough: one outlier
does not spoil it.
"""

import numpy as np

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .maths import cpu, fma
from .simd import (
    WIDTH,
    broadcast,
    fill,
    load,
    load_f32,
    maximum,
    minimum,
    sqrt,
    store,
    store_f32,
    store_n,
    where,
)

TILE = 65536  # elements of a tile, about
CHUNK = 64  # rows summed at a time
EVEN = 64  # a row of a multiple of this needs no partial block of vectors
WIDEST = 512  # elements of a folded row at most

ZERO, ONE = np.float32(0), np.float32(1)


# ---- formulas ------------------------------------------------------------------------------------


def combine(mean, squares, other_mean, other_squares, before, share):
    """Mean and sum of squared deviations of two groups together.

    ``before`` values were in the first group; ``share`` of all values are in the other.
    """
    step = other_mean - mean
    return mean + step * share, squares + other_squares + step * step * (before * share)


def normalized(x, mean, scale, beta):
    """What batch normalisation gives."""
    return (x - mean) * scale + beta


def clamped(y, low):
    """max(y, low); NaN stays."""
    return where(y < low, low, y)


def opened(dy, y, low):
    """dy where the clamp left y as it was, else 0."""
    return where(y > low, dy, fill(ZERO))


def denormalized(dy, x, mean, scale, slope, level):
    """Its gradient, once the sums over the batch are known."""
    return dy * scale + ((x - mean) * slope + level)


_combine, _normalized, _denormalized = cpu(combine), cpu(normalized), cpu(denormalized)
_clamped, _opened = inline(clamped), inline(opened)


# ---- statistics of the batch ---------------------------------------------------------------------


@inline
def typical(x, row, first, last):
    """Median of the first, the middle and the last of some rows."""
    a, b, c = load(x + first * row), load(x + (first + last) // 2 * row), load(x + last * row)
    return maximum(minimum(a, b), minimum(maximum(a, b), c))


@inline
def merge_chunk(partial, row, total, squares, shift, center, before, n, lanes):
    """Add a chunk of n rows, summed about ``shift``, to the statistics of its tile."""
    count = np.float32(n)
    mean = total / count
    squares = maximum(squares - total * mean, fill(ZERO))
    mean = (shift - center) + mean
    share = count / (np.float32(before) + count)
    mean, squares = _combine(load(partial), load(partial + row), mean, squares,
                             np.float32(before), share)  # fmt: skip
    store_n(partial, mean, lanes)
    store_n(partial + row, squares, lanes)


@kernel
def batch_moments(p, tile):
    """Per tile and column: mean relative to the typical row, and sum of squared deviations.

    p = [x, partial (tiles, 2, width), rows, width, rows per tile]
    """
    width, row, step = p[3], 4 * p[3], 4 * WIDTH
    start = tile * p[4]
    stop = min(p[2], start + p[4])
    partial = p[1] + 2 * tile * row
    for k in range(0, width, WIDTH):
        lanes = min(WIDTH, width - k)
        center = typical(p[0] + 4 * k, row, 0, p[2] - 1)
        store_n(partial + 4 * k, typical(p[0] + 4 * k, row, start, stop - 1) - center, lanes)
        store_n(partial + row + 4 * k, fill(ZERO), lanes)
    for r in range(start, stop, CHUNK):
        n, before = min(CHUNK, stop - r), r - start
        k = 0
        while k < width:
            x, out = p[0] + r * row + 4 * k, partial + 4 * k
            if k + 4 * WIDTH <= width:
                c0 = typical(p[0] + 4 * k, row, 0, p[2] - 1)
                c1 = typical(p[0] + 4 * k + step, row, 0, p[2] - 1)
                c2 = typical(p[0] + 4 * k + 2 * step, row, 0, p[2] - 1)
                c3 = typical(p[0] + 4 * k + 3 * step, row, 0, p[2] - 1)
                h0, h1 = c0 + load(out), c1 + load(out + step)
                h2, h3 = c2 + load(out + 2 * step), c3 + load(out + 3 * step)
                s0, s1, s2, s3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
                q0, q1, q2, q3 = s0, s1, s2, s3
                for _ in range(n):
                    v0, v1 = load(x) - h0, load(x + step) - h1
                    v2, v3 = load(x + 2 * step) - h2, load(x + 3 * step) - h3
                    s0, s1, s2, s3 = s0 + v0, s1 + v1, s2 + v2, s3 + v3
                    q0, q1, q2, q3 = q0 + v0 * v0, q1 + v1 * v1, q2 + v2 * v2, q3 + v3 * v3
                    x += row
                merge_chunk(out, row, s0, q0, h0, c0, before, n, WIDTH)
                merge_chunk(out + step, row, s1, q1, h1, c1, before, n, WIDTH)
                merge_chunk(out + 2 * step, row, s2, q2, h2, c2, before, n, WIDTH)
                merge_chunk(out + 3 * step, row, s3, q3, h3, c3, before, n, WIDTH)
                k += 4 * WIDTH
            else:
                c = typical(p[0] + 4 * k, row, 0, p[2] - 1)
                shift = c + load(out)
                s, q = fill(ZERO), fill(ZERO)
                for _ in range(n):
                    v = load(x) - shift
                    s, q = s + v, q + v * v
                    x += row
                merge_chunk(out, row, s, q, shift, c, before, n, min(WIDTH, width - k))
                k += WIDTH


@inline
def store_coefficients(place, k, c, fold, mean, scale, beta):
    """Write (mean, scale, beta) of channels k .. to all their columns."""
    lanes, row = min(WIDTH, c - k), 4 * fold * c
    for g in range(fold):
        column = place + 4 * (g * c + k)
        store_n(column, mean, lanes)
        store_n(column + row, scale, lanes)
        store_n(column + 2 * row, beta, lanes)


@kernel
def batch_moments_end(p, tile):
    """Mean and variance of every channel from those of tiles and folds, and the coefficients.

    p = [partial, x, gamma, beta, mean, var, coefficients (3, width), rows, c, fold,
    rows per tile, eps]
    """
    rows, c, fold, block = p[7], p[8], p[9], p[10]
    row = 4 * fold * c
    for k in range(0, c, WIDTH):
        mean, squares = fill(ZERO), fill(ZERO)
        center = typical(p[1] + 4 * k, row, 0, rows - 1)
        before = ZERO
        for g in range(fold):
            column = 4 * (g * c + k)
            shift = typical(p[1] + column, row, 0, rows - 1) - center
            partial = p[0] + column
            for start in range(0, rows, block):
                n = np.float32(min(block, rows - start))
                share = n / (before + n)
                mean, squares = _combine(mean, squares, load(partial) + shift, load(partial + row),
                                         before, share)  # fmt: skip
                before += n
                partial += 2 * row
        mean = center + mean
        var = squares / before
        scale = load(p[2] + 4 * k) / sqrt(var + broadcast(p[11]))
        lanes = min(WIDTH, c - k)
        store_n(p[4] + 4 * k, mean, lanes)
        store_n(p[5] + 4 * k, var, lanes)
        store_coefficients(p[6], k, c, fold, mean, scale, load(p[3] + 4 * k))


@kernel
def fixed_coefficients(p, tile):
    """Coefficients from given statistics. p = [gamma, beta, mean, var, out, c, fold, eps]."""
    c = p[5]
    for k in range(0, c, WIDTH):
        o = 4 * k
        scale = load(p[0] + o) / sqrt(load(p[3] + o) + broadcast(p[7]))
        store_coefficients(p[4], k, c, p[6], load(p[2] + o), scale, load(p[1] + o))


# ---- over the data again -------------------------------------------------------------------------


@kernel
def normalize(p, tile):
    """y = max((x - mean) * scale + beta + residual, low).

    Last rows first: they are still in the cache after the pass that found the statistics.

    p = [x, y, coefficients (3, width), residual, low, rows, width, rows per tile, tiles]
    """
    width, row, step = p[6], 4 * p[6], 4 * WIDTH
    low = broadcast(p[4])
    add = p[3] != 0
    start = (p[8] - 1 - tile) * p[7]
    stop = min(p[5], start + p[7])
    for r in range(start, stop, CHUNK):
        n = min(CHUNK, stop - r)
        k = 0
        while k < width:
            o = r * row + 4 * k
            x, y, e = p[0] + o, p[1] + o, p[3] + o
            a = p[2] + 4 * k
            b, c = a + row, a + 2 * row
            if k + 4 * WIDTH <= width:
                a0, a1, a2, a3 = load(a), load(a + step), load(a + 2 * step), load(a + 3 * step)
                b0, b1, b2, b3 = load(b), load(b + step), load(b + 2 * step), load(b + 3 * step)
                c0, c1, c2, c3 = load(c), load(c + step), load(c + 2 * step), load(c + 3 * step)
                for _ in range(n):
                    y0, y1 = (
                        _normalized(load(x), a0, b0, c0),
                        _normalized(load(x + step), a1, b1, c1),
                    )
                    y2 = _normalized(load(x + 2 * step), a2, b2, c2)
                    y3 = _normalized(load(x + 3 * step), a3, b3, c3)
                    if add:
                        y0, y1 = y0 + load(e), y1 + load(e + step)
                        y2, y3 = y2 + load(e + 2 * step), y3 + load(e + 3 * step)
                    store(y, _clamped(y0, low))
                    store(y + step, _clamped(y1, low))
                    store(y + 2 * step, _clamped(y2, low))
                    store(y + 3 * step, _clamped(y3, low))
                    x += row
                    y += row
                    e += row
                k += 4 * WIDTH
            else:
                a0, b0, c0 = load(a), load(b), load(c)
                lanes = min(WIDTH, width - k)
                for _ in range(n):
                    y0 = _normalized(load(x), a0, b0, c0)
                    if add:
                        y0 = y0 + load(e)
                    store_n(y, _clamped(y0, low), lanes)
                    x += row
                    y += row
                    e += row
                k += WIDTH


# ---- gradient ------------------------------------------------------------------------------------


@inline
def add_to(place, value, lanes):
    """Add a vector to memory."""
    store_n(place, load(place) + value, lanes)


@inline
def gated(d, x, mean, scale, beta, low):
    """A vector of the gradient in front of the clamp."""
    return _opened(load(d), _normalized(load(x), mean, scale, beta), low)


@kernel
def normalize_grad_sums(p, tile):
    """Per tile and column: sums of dy and of dy * (x - mean).

    p = [x, dy, coefficients (3, width), low, partial (tiles, 2, width), rows, width, rows per tile]
    """
    width, row, step = p[6], 4 * p[6], 4 * WIDTH
    low = broadcast(p[3])
    start = tile * p[7]
    stop = min(p[5], start + p[7])
    partial = p[4] + 2 * tile * row
    for k in range(0, width, WIDTH):
        store_n(partial + 4 * k, fill(ZERO), min(WIDTH, width - k))
        store_n(partial + row + 4 * k, fill(ZERO), min(WIDTH, width - k))
    for r in range(start, stop, CHUNK):
        n = min(CHUNK, stop - r)
        k = 0
        while k < width:
            x, d = p[0] + r * row + 4 * k, p[1] + r * row + 4 * k
            a, out = p[2] + 4 * k, partial + 4 * k
            b, c = a + row, a + 2 * row
            if k + 4 * WIDTH <= width:
                a0, a1, a2, a3 = load(a), load(a + step), load(a + 2 * step), load(a + 3 * step)
                b0, b1, b2, b3 = load(b), load(b + step), load(b + 2 * step), load(b + 3 * step)
                c0, c1, c2, c3 = load(c), load(c + step), load(c + 2 * step), load(c + 3 * step)
                s0, s1, s2, s3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
                q0, q1, q2, q3 = s0, s1, s2, s3
                for _ in range(n):
                    d0, d1 = (
                        gated(d, x, a0, b0, c0, low),
                        gated(d + step, x + step, a1, b1, c1, low),
                    )
                    d2 = gated(d + 2 * step, x + 2 * step, a2, b2, c2, low)
                    d3 = gated(d + 3 * step, x + 3 * step, a3, b3, c3, low)
                    s0, s1, s2, s3 = s0 + d0, s1 + d1, s2 + d2, s3 + d3
                    q0, q1 = q0 + d0 * (load(x) - a0), q1 + d1 * (load(x + step) - a1)
                    q2 = q2 + d2 * (load(x + 2 * step) - a2)
                    q3 = q3 + d3 * (load(x + 3 * step) - a3)
                    x += row
                    d += row
                add_to(out, s0, WIDTH)
                add_to(out + step, s1, WIDTH)
                add_to(out + 2 * step, s2, WIDTH)
                add_to(out + 3 * step, s3, WIDTH)
                add_to(out + row, q0, WIDTH)
                add_to(out + row + step, q1, WIDTH)
                add_to(out + row + 2 * step, q2, WIDTH)
                add_to(out + row + 3 * step, q3, WIDTH)
                k += 4 * WIDTH
            else:
                a0, b0, c0 = load(a), load(b), load(c)
                s, q = fill(ZERO), fill(ZERO)
                for _ in range(n):
                    v = gated(d, x, a0, b0, c0, low)
                    s, q = s + v, q + v * (load(x) - a0)
                    x += row
                    d += row
                lanes = min(WIDTH, width - k)
                add_to(out, s, lanes)
                add_to(out + row, q, lanes)
                k += WIDTH


@kernel
def normalize_grad_end(p, tile):
    """Gradients of the parameters from the sums of tiles and folds, and the coefficients of dx.

    dmean and dvar are those of given statistics; with the batch's own (``batch`` is 1) they reach
    dx through ``slope`` and ``level``, which are zero otherwise.

    p = [partial, coefficients (3, width), var, dgamma, dbeta, dmean, dvar, out (2, width), tiles,
    c, fold, values per channel, eps, batch]
    """
    tiles, c, fold = p[8], p[9], p[10]
    row = 4 * fold * c
    half = np.float32(0.5)
    share = ONE / np.float32(p[11]) if p[13] else ZERO
    for k in range(0, c, WIDTH):
        s, q = fill(ZERO), fill(ZERO)
        for g in range(fold):
            partial = p[0] + 4 * (g * c + k)
            for _ in range(tiles):
                s, q = s + load(partial), q + load(partial + row)
                partial += 2 * row
        o, lanes = 4 * k, min(WIDTH, c - k)
        inverse = ONE / sqrt(load(p[2] + o) + broadcast(p[12]))
        scale = load(p[1] + row + o)
        dgamma = q * inverse
        dmean, twice_dvar = -scale * s, -scale * inverse * dgamma
        store_n(p[3] + o, dgamma, lanes)
        store_n(p[4] + o, s, lanes)
        store_n(p[5] + o, dmean, lanes)
        store_n(p[6] + o, twice_dvar * half, lanes)
        for g in range(fold):
            out = p[7] + 4 * (g * c + k)
            store_n(out, twice_dvar * share, lanes)
            store_n(out + row, dmean * share, lanes)


@inline
def input_gradient(d, x, dx, mean, scale, beta, slope, level, low, lanes):
    """One vector of dx."""
    v = load(x)
    dy = _opened(load(d), _normalized(v, mean, scale, beta), low)
    value = _denormalized(dy, v, mean, scale, slope, level)
    if lanes == WIDTH:
        store(dx, value)
    else:
        store_n(dx, value, lanes)


@kernel
def normalize_grad(p, tile):
    """dx = dy * scale + (x - mean) * slope + level, last rows first.

    p = [x, dy, dx, coefficients (3, width), more (2, width), low, rows, width, rows per tile,
    tiles]
    """
    width, row, step = p[7], 4 * p[7], 4 * WIDTH
    low = broadcast(p[5])
    start = (p[9] - 1 - tile) * p[8]
    stop = min(p[6], start + p[8])
    for r in range(start, stop, CHUNK):
        n = min(CHUNK, stop - r)
        k = 0
        while k < width:
            o = r * row + 4 * k
            x, d, dx = p[0] + o, p[1] + o, p[2] + o
            a, e = p[3] + 4 * k, p[4] + 4 * k
            b, c, f = a + row, a + 2 * row, e + row
            a0, b0, c0, e0, f0 = load(a), load(b), load(c), load(e), load(f)
            if k + 2 * WIDTH <= width:
                a1, b1, c1 = load(a + step), load(b + step), load(c + step)
                e1, f1 = load(e + step), load(f + step)
                for _ in range(n):
                    input_gradient(d, x, dx, a0, b0, c0, e0, f0, low, WIDTH)
                    input_gradient(d + step, x + step, dx + step, a1, b1, c1, e1, f1, low, WIDTH)
                    x += row
                    d += row
                    dx += row
                k += 2 * WIDTH
            else:
                lanes = min(WIDTH, width - k)
                for _ in range(n):
                    input_gradient(d, x, dx, a0, b0, c0, e0, f0, low, lanes)
                    x += row
                    d += row
                    dx += row
                k += WIDTH


# ---- running statistics --------------------------------------------------------------------------


@kernel
def moving_average(p, tile):
    """state = keep * state + gain * value, in place. p = [state, value, keep, gain, n, token]."""
    keep, gain = load_f32(p[2]), load_f32(p[3])
    for i in range(0, p[4], WIDTH):
        value = keep * load(p[0] + 4 * i) + gain * load(p[1] + 4 * i)
        store_n(p[0] + 4 * i, value, min(WIDTH, p[4] - i))
    store_f32(p[5], ONE)


# ---- CUDA twins ----------------------------------------------------------------------------------


def typical_number(f, x, step, first, last):
    """Median of the first, the middle and the last of some numbers."""
    a, b, c = f[x + first * step], f[x + (first + last) // 2 * step], f[x + last * step]
    return maximum(minimum(a, b), minimum(maximum(a, b), c))


@cuda_twin(batch_moments, items=lambda p: -(-p[2] // p[4]) * p[3])
def batch_moments_twin(f, i, p):
    """One thread per tile and column, which reads the column twice."""
    at, width = cuda.grid(1), p[3]
    start = at // width * p[4]
    if start < p[2]:
        x, stop = p[0] // 4 + at % width, min(p[2], start + p[4])
        center = typical_number(f, x, width, 0, p[2] - 1)
        total, squares = ZERO, ZERO
        for r in range(start, stop):
            total += f[x + r * width] - center
        mean = total / np.float32(stop - start)
        for r in range(start, stop):
            v = f[x + r * width] - center - mean
            squares = fma(v, v, squares)
        out = p[1] // 4 + at // width * 2 * width + at % width
        f[out] = mean
        f[out + width] = squares


def put_coefficients(f, place, c, fold, mean, scale, beta):
    """Write those of one channel to all its columns."""
    for g in range(fold):
        f[place + g * c] = mean
        f[place + (fold + g) * c] = scale
        f[place + (2 * fold + g) * c] = beta


@cuda_twin(batch_moments_end, items=lambda p: p[8])
def batch_moments_end_twin(f, i, p):
    """One thread per channel."""
    k, rows, c, fold, block = cuda.grid(1), p[7], p[8], p[9], p[10]
    if k < c:
        width = fold * c
        x = p[1] // 4 + k
        center = typical_number(f, x, width, 0, rows - 1)
        mean, squares, before = ZERO, ZERO, ZERO
        for g in range(fold):
            shift = typical_number(f, x + g * c, width, 0, rows - 1) - center
            partial = p[0] // 4 + g * c + k
            for start in range(0, rows, block):
                n = np.float32(min(block, rows - start))
                mean, squares = combine(mean, squares, f[partial] + shift, f[partial + width],
                                        before, n / (before + n))  # fmt: skip
                before += n
                partial += 2 * width
        mean = center + mean
        var = squares / before
        f[p[4] // 4 + k] = mean
        f[p[5] // 4 + k] = var
        scale = f[p[2] // 4 + k] / sqrt(var + f[p[11] // 4])
        put_coefficients(f, p[6] // 4 + k, c, fold, mean, scale, f[p[3] // 4 + k])


@cuda_twin(fixed_coefficients, items=lambda p: p[5])
def fixed_coefficients_twin(f, i, p):
    """One thread per channel."""
    k = cuda.grid(1)
    if k < p[5]:
        scale = f[p[0] // 4 + k] / sqrt(f[p[3] // 4 + k] + f[p[7] // 4])
        put_coefficients(f, p[4] // 4 + k, p[5], p[6], f[p[2] // 4 + k], scale, f[p[1] // 4 + k])


@cuda_twin(normalize, items=lambda p: p[5] * p[6])
def normalize_twin(f, i, p):
    """One thread per element."""
    at, width = cuda.grid(1), p[6]
    if at < p[5] * width:
        a = p[2] // 4 + at % width
        y = normalized(f[p[0] // 4 + at], f[a], f[a + width], f[a + 2 * width])
        if p[3] != 0:
            y += f[p[3] // 4 + at]
        f[p[1] // 4 + at] = clamped(y, f[p[4] // 4])


@cuda_twin(normalize_grad_sums, items=lambda p: -(-p[5] // p[7]) * p[6])
def normalize_grad_sums_twin(f, i, p):
    """One thread per tile and column."""
    at, width = cuda.grid(1), p[6]
    start = at // width * p[7]
    if start < p[5]:
        k, a = at % width, p[2] // 4 + at % width
        mean, scale, beta, low = f[a], f[a + width], f[a + 2 * width], f[p[3] // 4]
        s, q = ZERO, ZERO
        for r in range(start, min(p[5], start + p[7])):
            x = f[p[0] // 4 + r * width + k]
            dy = opened(f[p[1] // 4 + r * width + k], normalized(x, mean, scale, beta), low)
            s += dy
            q = fma(dy, x - mean, q)
        out = p[4] // 4 + at // width * 2 * width + k
        f[out] = s
        f[out + width] = q


@cuda_twin(normalize_grad_end, items=lambda p: p[9])
def normalize_grad_end_twin(f, i, p):
    """One thread per channel."""
    k, tiles, c, fold = cuda.grid(1), p[8], p[9], p[10]
    if k < c:
        width = fold * c
        share = ONE / np.float32(p[11]) if p[13] != 0 else ZERO
        s, q = ZERO, ZERO
        for g in range(fold):
            for t in range(tiles):
                partial = p[0] // 4 + t * 2 * width + g * c + k
                s += f[partial]
                q += f[partial + width]
        inverse = ONE / sqrt(f[p[2] // 4 + k] + f[p[12] // 4])
        scale = f[p[1] // 4 + width + k]
        dgamma = q * inverse
        dmean, twice_dvar = -scale * s, -scale * inverse * dgamma
        f[p[3] // 4 + k] = dgamma
        f[p[4] // 4 + k] = s
        f[p[5] // 4 + k] = dmean
        f[p[6] // 4 + k] = twice_dvar * np.float32(0.5)
        for g in range(fold):
            out = p[7] // 4 + g * c + k
            f[out] = twice_dvar * share
            f[out + width] = dmean * share


@cuda_twin(normalize_grad, items=lambda p: p[6] * p[7])
def normalize_grad_twin(f, i, p):
    """One thread per element."""
    at, width = cuda.grid(1), p[7]
    if at < p[6] * width:
        a, e, x = p[3] // 4 + at % width, p[4] // 4 + at % width, f[p[0] // 4 + at]
        mean, scale = f[a], f[a + width]
        y = normalized(x, mean, scale, f[a + 2 * width])
        dy = opened(f[p[1] // 4 + at], y, f[p[5] // 4])
        f[p[2] // 4 + at] = denormalized(dy, x, mean, scale, f[e], f[e + width])


@cuda_twin(moving_average, items=lambda p: max(p[4], 1))
def moving_average_twin(f, i, p):
    """One thread per element; the first one says "done"."""
    at = cuda.grid(1)
    if at < p[4]:
        f[p[0] // 4 + at] = f[p[2] // 4] * f[p[0] // 4 + at] + f[p[3] // 4] * f[p[1] // 4 + at]
    if at == 0:
        f[p[5] // 4] = ONE
