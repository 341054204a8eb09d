"""Local response normalisation: every number divided by a power of its neighbours' mean square.

Neighbours of channel c are the channels c - before ... c + after of the same pixel, those that
there are; ``size`` counts all of them, and a = alpha / size:

* s = k + a sum of x^2 over the neighbours
* forward: y = x s^-beta
* gradient: dx = dy s^-beta - 2 a beta x sum of dy y / s over the channels whose neighbour this is

The sums over a few channels are taken anew for every vector, by shifted loads from L1: that needs
no carry from one channel to the next.
"""

import numpy as np

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .maths import exp, log
from .simd import WIDTH, fill, fma, load, load_between, load_f32, sqrt, store, store_n

ZERO, ONE = np.float32(0), np.float32(1)


@inline
def _shifted(x, i, c):
    """Channels i ... of a row of c, zero where there are none."""
    return load_between(x + 4 * i, max(0, -i), min(WIDTH, c - i))


@inline
def _squares(x, i, c, before, size):
    """Sum of the squares of the neighbours of channels i ..."""
    total = fill(ZERO)
    if i >= before and i - before + size - 1 + WIDTH <= c:
        for j in range(x + 4 * (i - before), x + 4 * (i - before + size), 4):
            v = load(j)
            total = fma(v, v, total)
    else:
        for j in range(i - before, i - before + size):
            v = _shifted(x, j, c)
            total = fma(v, v, total)
    return total


@inline
def _sum(x, i, c, before, size):
    """Sum of the neighbours of channels i ..."""
    total = fill(ZERO)
    if i >= before and i - before + size - 1 + WIDTH <= c:
        for j in range(x + 4 * (i - before), x + 4 * (i - before + size), 4):
            total += load(j)
    else:
        for j in range(i - before, i - before + size):
            total += _shifted(x, j, c)
    return total


@inline
def _power(s, beta):
    """s ** -beta; 0.75, which every known network has, by two square roots."""
    if beta == np.float32(0.75):
        root = sqrt(s)
        return ONE / (root * sqrt(root))
    return exp(log(s) * -beta)


@kernel
def local_response_norm(p, tile):
    """y = x s^-beta. p = [y, x, rows, c, before, size, rows per tile, a, k, beta]."""
    rows, c, before, size = p[2], p[3], p[4], p[5]
    a, k, beta = load_f32(p[7]), load_f32(p[8]), load_f32(p[9])
    for row in range(tile * p[6], min(rows, (tile + 1) * p[6])):
        y, x = p[0] + 4 * row * c, p[1] + 4 * row * c
        for i in range(0, c, WIDTH):
            s = fma(_squares(x, i, c, before, size), a, fill(k))
            v = load(x + 4 * i) * _power(s, beta)
            if i + WIDTH <= c:
                store(y + 4 * i, v)
            else:
                store_n(y + 4 * i, v, c - i)


@kernel
def local_response_norm_grad(p, tile):
    """dx. p = [dx, ratios, dy, x, rows, c, before, size, rows per tile, a, k, beta].

    ``ratios[tile]`` (c) is memory for dy y / s of one row.
    """
    rows, c, before, size = p[4], p[5], p[6], p[7]
    a, k, beta = load_f32(p[9]), load_f32(p[10]), load_f32(p[11])
    ratios, after = p[1] + 4 * tile * c, size - 1 - before
    for row in range(tile * p[8], min(rows, (tile + 1) * p[8])):
        dx, dy, x = p[0] + 4 * row * c, p[2] + 4 * row * c, p[3] + 4 * row * c
        for i in range(0, c, WIDTH):
            s = fma(_squares(x, i, c, before, size), a, fill(k))
            scaled = load(dy + 4 * i) * _power(s, beta)
            n = min(WIDTH, c - i)
            store_n(dx + 4 * i, scaled, n)
            store_n(ratios + 4 * i, scaled * load(x + 4 * i) / s, n)
        for i in range(0, c, WIDTH):
            back = load(x + 4 * i) * _sum(ratios, i, c, after, size)
            store_n(dx + 4 * i, load(dx + 4 * i) - back * (a * beta + a * beta), min(WIDTH, c - i))


# ---- CUDA twins: one thread per element ----------------------------------------------------------


def spread(f, x, i, c, before, size, a, k):
    """k + a sum of x^2 over the neighbours of channel i of the row from f[x] on."""
    total = ZERO
    for j in range(max(0, i - before), min(c, i - before + size)):
        total = fma(f[x + j], f[x + j], total)
    return fma(total, a, k)


@cuda_twin(local_response_norm, items=lambda p: p[2] * p[3])
def local_response_norm_twin(f, i, p):
    """Sums as above."""
    at, c = cuda.grid(1), p[3]
    if at < p[2] * c:
        x = p[1] // 4 + at // c * c
        s = spread(f, x, at % c, c, p[4], p[5], f[p[7] // 4], f[p[8] // 4])
        f[p[0] // 4 + at] = f[x + at % c] * _power(s, f[p[9] // 4])


@cuda_twin(local_response_norm_grad, items=lambda p: p[4] * p[5])
def local_response_norm_grad_twin(f, i, p):
    """The ratios are computed anew for every channel whose neighbour this is."""
    at, c, before, size = cuda.grid(1), p[5], p[6], p[7]
    if at < p[4] * c:
        a, k, beta, here = f[p[9] // 4], f[p[10] // 4], f[p[11] // 4], at % c
        dy, x = p[2] // 4 + at // c * c, p[3] // 4 + at // c * c
        ratios, own = ZERO, ZERO
        for j in range(max(0, here + before - size + 1), min(c, here + before + 1)):
            s = spread(f, x, j, c, before, size, a, k)
            scaled = f[dy + j] * _power(s, beta)
            ratios += scaled * f[x + j] / s
            if j == here:
                own = scaled
        f[p[0] // 4 + at] = own - f[x + here] * ratios * (a * beta + a * beta)
