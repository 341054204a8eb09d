"""Patches of pictures, and how strongly each resembles the patches of a dictionary.

* extraction: n = (x - mean x) / sqrt(var x + eps) over the kh * kw * c numbers x of a patch
* triangle: with q_k = |c_k|^2 - 2 z c_k, d_k = sqrt(|z|^2 + q_k) is the distance to centroid k, and
  the patch gives max(0, mean over k of d_k - d_k)
* soft threshold: it gives max(0, q_k - alpha) and max(0, -q_k - alpha), with q_k = z c_k

What the patches of a region of the picture give is added up. The maps of q are the large thing
here: a thousand times the picture. Both encodings read them once, and distances, which the mean
makes necessary twice, wait in L1.
"""

import numpy as np

from .compiler import inline, kernel
from .simd import (
    WIDTH,
    fill,
    first,
    fma,
    load,
    load_f32,
    maximum,
    sqrt,
    store,
    store_n,
    sum_lanes,
)

ZERO, ONE = np.float32(0), np.float32(1)
STEP = 4 * WIDTH  # bytes of a vector


@inline
def _copy(source, target, n):
    """Copy n numbers."""
    whole = n - n % WIDTH
    for i in range(0, 4 * whole, STEP):
        store(target + i, load(source + i))
    if whole < n:
        store_n(target + 4 * whole, load(source + 4 * whole), n - whole)


@inline
def _normalize(x, n, eps):
    """Take the mean of n numbers from them, and divide by their deviation."""
    whole = n - n % WIDTH
    total = fill(ZERO)
    for i in range(0, 4 * whole, STEP):
        total += load(x + i)
    if whole < n:
        total += first(load(x + 4 * whole), n - whole, ZERO)
    mean, squares = sum_lanes(total) / np.float32(n), fill(ZERO)
    for i in range(0, 4 * whole, STEP):
        v = load(x + i) - mean
        squares = fma(v, v, squares)
    if whole < n:
        v = first(load(x + 4 * whole) - mean, n - whole, ZERO)
        squares = fma(v, v, squares)
    r = ONE / np.sqrt(sum_lanes(squares) / np.float32(n) + eps)
    for i in range(0, 4 * whole, STEP):
        store(x + i, (load(x + i) - mean) * r)
    if whole < n:
        store_n(x + 4 * whole, (load(x + 4 * whole) - mean) * r, n - whole)


@kernel
def extract_patches(p, tile):
    """A row of normalised patches y[n, i, j] (kh, kw, c); tile = n * rows + i.

    p = [y, x, h, w, c, rows, columns, kh, kw, stride down, stride across, eps]
    """
    h, w, c, rows, columns, kh, kw = p[2], p[3], p[4], p[5], p[6], p[7], p[8]
    n, i = tile // rows, tile % rows
    eps, run = load_f32(p[11]), kw * c
    size = kh * run
    for j in range(columns):
        x = p[1] + 4 * c * ((n * h + i * p[9]) * w + j * p[10])
        y = p[0] + 4 * size * (tile * columns + j)
        for u in range(kh):
            _copy(x + 4 * c * w * u, y + 4 * run * u, run)
        _normalize(y, size, eps)


@inline
def _clear(target, n):
    for i in range(0, n, WIDTH):
        store_n(target + 4 * i, fill(ZERO), n - i)


@inline
def _scale(target, n, factor):
    for i in range(0, n, WIDTH):
        store_n(target + 4 * i, load(target + 4 * i) * factor, n - i)


@kernel
def triangle_pool(p, tile):
    """y[n, a, b] (k,): encodings of region (a, b), added up; tile = (n * down + a) * across + b.

    p = [y, distances (tiles, k), q, z, rows, columns, k, d, down, across,
    whether to divide by the number of patches]
    """
    rows, columns, k, d, down, across = p[4], p[5], p[6], p[7], p[8], p[9]
    n, a, b = tile // (down * across), tile // across % down, tile % across
    top, bottom = a * rows // down, (a + 1) * rows // down
    left, right = b * columns // across, (b + 1) * columns // across
    y, distances = p[0] + 4 * k * tile, p[1] + 4 * k * tile
    whole, size = k - k % WIDTH, np.float32(k)
    _clear(y, k)
    for i in range(top, bottom):
        for j in range(left, right):
            position = (n * rows + i) * columns + j
            q, z, squares = p[2] + 4 * k * position, p[3] + 4 * d * position, fill(ZERO)
            for at in range(0, d, WIDTH):
                v = first(load(z + 4 * at), min(WIDTH, d - at), ZERO)
                squares = fma(v, v, squares)
            square, total = sum_lanes(squares), fill(ZERO)
            for at in range(0, 4 * whole, STEP):
                v = sqrt(maximum(load(q + at) + square, ZERO))
                total += v
                store(distances + at, v)
            if whole < k:
                at = 4 * whole
                v = first(sqrt(maximum(load(q + at) + square, ZERO)), k - whole, ZERO)
                total += v
                store_n(distances + at, v, k - whole)
            mean = fill(sum_lanes(total) / size)
            for at in range(0, 4 * whole, STEP):
                store(y + at, load(y + at) + maximum(mean - load(distances + at), ZERO))
            if whole < k:
                at = 4 * whole
                v = load(y + at) + maximum(mean - load(distances + at), ZERO)
                store_n(y + at, v, k - whole)
    if p[10]:
        _scale(y, k, ONE / np.float32((bottom - top) * (right - left)))


@kernel
def soft_pool(p, tile):
    """y[n, a, b] (2, k): the two halves of region (a, b), added up; tile as for triangle_pool.

    p = [y, q, rows, columns, k, down, across, whether to divide by the number of patches, alpha]
    """
    rows, columns, k, down, across, alpha = p[2], p[3], p[4], p[5], p[6], load_f32(p[8])
    n, a, b = tile // (down * across), tile // across % down, tile % across
    top, bottom = a * rows // down, (a + 1) * rows // down
    left, right = b * columns // across, (b + 1) * columns // across
    y = p[0] + 8 * k * tile
    other, whole = y + 4 * k, k - k % WIDTH
    _clear(y, 2 * k)
    for i in range(top, bottom):
        for j in range(left, right):
            q = p[1] + 4 * k * ((n * rows + i) * columns + j)
            for at in range(0, 4 * whole, STEP):
                v = load(q + at)
                store(y + at, load(y + at) + maximum(v - alpha, ZERO))
                store(other + at, load(other + at) + maximum(-v - alpha, ZERO))
            if whole < k:
                at = 4 * whole
                v = load(q + at)
                store_n(y + at, load(y + at) + maximum(v - alpha, ZERO), k - whole)
                store_n(other + at, load(other + at) + maximum(-v - alpha, ZERO), k - whole)
    if p[7]:
        _scale(y, 2 * k, ONE / np.float32((bottom - top) * (right - left)))
