"""Layer normalisation: every row x[n, k] standardised over k, then scaled and shifted.

With m and v the mean and (biased) variance of a row, r = 1 / sqrt(v + eps) and z = (x - m) r:

* forward: y = z gamma + beta; m and r are kept for the gradient
* gradient, with g = dy gamma: dx = r (g - mean g - z mean(g z)), dgamma = sum over n of dy z,
  dbeta = sum over n of dy

A row stays in L1 between its passes, so memory is read once and written once.
"""

import numpy as np

from .compiler import inline, kernel
from .cuda import THREADS, block_sum, cuda, cuda_twin
from .maths import sqrt
from .simd import (
    WIDTH,
    fill,
    first,
    fma,
    load,
    load_f32,
    store,
    store_f32,
    store_n,
    sum_lanes,
)

ZERO, ONE = np.float32(0), np.float32(1)
STEP = 4 * WIDTH  # bytes of a vector


@inline
def _row_sum(x, k):
    """Sum of k elements."""
    a, b, c, d = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    fours, whole = k - k % (4 * WIDTH), k - k % WIDTH
    for i in range(x, x + 4 * fours, 4 * STEP):
        a += load(i)
        b += load(i + STEP)
        c += load(i + 2 * STEP)
        d += load(i + 3 * STEP)
    for i in range(x + 4 * fours, x + 4 * whole, STEP):
        a += load(i)
    if whole < k:
        b += first(load(x + 4 * whole), k - whole, ZERO)
    return sum_lanes((a + b) + (c + d))


@inline
def _row_squares(x, k, m):
    """Sum of (x - m) ** 2 over k elements."""
    a, b, c, d = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    fours, whole = k - k % (4 * WIDTH), k - k % WIDTH
    for i in range(x, x + 4 * fours, 4 * STEP):
        s, t, u, v = load(i) - m, load(i + STEP) - m, load(i + 2 * STEP) - m, load(i + 3 * STEP) - m
        a, b, c, d = fma(s, s, a), fma(t, t, b), fma(u, u, c), fma(v, v, d)
    for i in range(x + 4 * fours, x + 4 * whole, STEP):
        s = load(i) - m
        a = fma(s, s, a)
    if whole < k:
        s = first(load(x + 4 * whole) - m, k - whole, ZERO)
        b = fma(s, s, b)
    return sum_lanes((a + b) + (c + d))


@kernel
def layer_norm(p, tile):
    """y[n] = (x[n] - m) r gamma + beta. p = [y, moments, x, gamma, beta, n, k, rows per tile, eps].

    ``moments`` (n, 2) receives m and r.
    """
    gamma, beta, n, k = p[3], p[4], p[5], p[6]
    eps, size = load_f32(p[8]), np.float32(k)
    whole = k - k % WIDTH
    for row in range(tile * p[7], min(n, (tile + 1) * p[7])):
        y, x = p[0] + 4 * row * k, p[2] + 4 * row * k
        m = _row_sum(x, k) / size
        r = ONE / np.sqrt(_row_squares(x, k, m) / size + eps)
        store_f32(p[1] + 8 * row, m)
        store_f32(p[1] + 8 * row + 4, r)
        for i in range(0, 4 * whole, STEP):
            store(y + i, fma((load(x + i) - m) * r, load(gamma + i), load(beta + i)))
        if whole < k:
            i = 4 * whole
            z = (load(x + i) - m) * r
            store_n(y + i, fma(z, load(gamma + i), load(beta + i)), k - whole)


@kernel
def layer_norm_grad(p, tile):
    """dx of the rows of a tile, and their sums for dgamma and dbeta in ``partial[tile]`` (2, k).

    p = [dx, partial, dy, x, moments, gamma, n, k, rows per tile].
    """
    n, k, gamma = p[6], p[7], p[5]
    size = np.float32(k)
    whole = k - k % WIDTH
    scale, shift = p[1] + 8 * tile * k, p[1] + 8 * tile * k + 4 * k
    for i in range(0, 4 * k, STEP):
        store_n(scale + i, fill(ZERO), k - i // 4)
        store_n(shift + i, fill(ZERO), k - i // 4)
    for row in range(tile * p[8], min(n, (tile + 1) * p[8])):
        dx, dy, x = p[0] + 4 * row * k, p[2] + 4 * row * k, p[3] + 4 * row * k
        m, r = load_f32(p[4] + 8 * row), load_f32(p[4] + 8 * row + 4)
        of_g, of_gz = fill(ZERO), fill(ZERO)
        for i in range(0, 4 * whole, STEP):
            d, z = load(dy + i), (load(x + i) - m) * r
            g = d * load(gamma + i)
            of_g += g
            of_gz = fma(g, z, of_gz)
            store(scale + i, fma(d, z, load(scale + i)))
            store(shift + i, load(shift + i) + d)
        if whole < k:
            i, rest = 4 * whole, k - whole
            d, z = load(dy + i), (load(x + i) - m) * r
            g = d * load(gamma + i)
            of_g += first(g, rest, ZERO)
            of_gz += first(g * z, rest, ZERO)
            store_n(scale + i, fma(d, z, load(scale + i)), rest)
            store_n(shift + i, load(shift + i) + d, rest)
        mean_g, mean_gz = sum_lanes(of_g) / size, sum_lanes(of_gz) / size
        for i in range(0, 4 * whole, STEP):
            z = (load(x + i) - m) * r
            store(dx + i, (load(dy + i) * load(gamma + i) - mean_g - z * mean_gz) * r)
        if whole < k:
            i = 4 * whole
            z = (load(x + i) - m) * r
            store_n(dx + i, (load(dy + i) * load(gamma + i) - mean_g - z * mean_gz) * r, k - whole)


# ---- CUDA twins ----------------------------------------------------------------------------------


@cuda_twin(layer_norm, blocks=lambda p: p[5])
def layer_norm_twin(f, i, p):
    """One block per row."""
    row, k, total = cuda.blockIdx.x, p[6], ZERO
    y, x, size = p[0] // 4 + row * k, p[2] // 4 + row * k, np.float32(k)
    for c in range(cuda.threadIdx.x, k, THREADS):
        total += f[x + c]
    m, squares = block_sum(total) / size, ZERO
    for c in range(cuda.threadIdx.x, k, THREADS):
        squares = fma(f[x + c] - m, f[x + c] - m, squares)
    r = ONE / sqrt(block_sum(squares) / size + f[p[8] // 4])
    if cuda.threadIdx.x == 0:
        f[p[1] // 4 + 2 * row] = m
        f[p[1] // 4 + 2 * row + 1] = r
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[y + c] = fma((f[x + c] - m) * r, f[p[3] // 4 + c], f[p[4] // 4 + c])


@cuda_twin(layer_norm_grad, blocks=lambda p: p[6] + -(-p[6] // p[8]))
def layer_norm_grad_twin(f, i, p):
    """One block per row of dx, then one for the sums of each tile."""
    n, k, gamma, size = p[6], p[7], p[5] // 4, np.float32(p[7])
    dx, dy, x, moments = p[0] // 4, p[2] // 4, p[3] // 4, p[4] // 4
    if cuda.blockIdx.x < n:
        at = cuda.blockIdx.x * k
        m, r = f[moments + 2 * cuda.blockIdx.x], f[moments + 2 * cuda.blockIdx.x + 1]
        of_g, of_gz = ZERO, ZERO
        for c in range(cuda.threadIdx.x, k, THREADS):
            g = f[dy + at + c] * f[gamma + c]
            of_g += g
            of_gz = fma(g, (f[x + at + c] - m) * r, of_gz)
        of_g, of_gz = block_sum(of_g) / size, block_sum(of_gz) / size
        for c in range(cuda.threadIdx.x, k, THREADS):
            z = (f[x + at + c] - m) * r
            f[dx + at + c] = (f[dy + at + c] * f[gamma + c] - of_g - z * of_gz) * r
    else:
        tile = cuda.blockIdx.x - n
        out = p[1] // 4 + 2 * tile * k
        for c in range(cuda.threadIdx.x, k, THREADS):
            scale, shift = ZERO, ZERO
            for row in range(tile * p[8], min(n, (tile + 1) * p[8])):
                m, r, d = f[moments + 2 * row], f[moments + 2 * row + 1], f[dy + row * k + c]
                scale = fma(d, (f[x + row * k + c] - m) * r, scale)
                shift += d
            f[out + c] = scale
            f[out + k + c] = shift
