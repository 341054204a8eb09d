"""Products of CSR rows with a dense matrix.

forward   y[i, f] = b[f] + sum over the stored k of row rows[i]: data[k] * w[indices[k], f]
gradient  dw[c, f] = sum over i, and stored k with indices[k] == c, of data[k] * dy[i, f]

Stored entries are taken in order, so results do not depend on threads.
"""

import numpy as np

from .compiler import inline, kernel
from .simd import WIDTH, broadcast, fill, fma, load_f32, load_i32, load_n, store_f32, store_n

ROWS = 16  # samples of one tile of the forward product
LANES = 4 * WIDTH  # columns of one tile of the gradient

ZERO = np.float32(0)


@inline
def clear(address, n):
    """Write n zeros."""
    for i in range(0, n, WIDTH):
        store_n(address + 4 * i, fill(ZERO), min(WIDTH, n - i))


@kernel
def sparse_dense_forward(p, tile):
    """p = [data, indices, indptr, rows, w, b or 0, y, n, n_out]."""
    data, indices, indptr, rows, w, b, y, n, m = (
        p[0],
        p[1],
        p[2],
        p[3],
        p[4],
        p[5],
        p[6],
        p[7],
        p[8],
    )
    for i in range(tile * ROWS, min(n, (tile + 1) * ROWS)):
        row = load_i32(rows + 4 * i)
        first, last = load_i32(indptr + 4 * row), load_i32(indptr + 4 * row + 4)
        for f in range(0, m, WIDTH):
            left = min(WIDTH, m - f)
            total = fill(ZERO)
            if b != 0:
                total = load_n(b + 4 * f, left)
            for k in range(first, last):
                c = load_i32(indices + 4 * k)
                total = fma(broadcast(data + 4 * k), load_n(w + 4 * (c * m + f), left), total)
            store_n(y + 4 * (i * m + f), total, left)


@kernel
def sparse_dense_grad_w(p, tile):
    """One tile: LANES columns. p = [data, indices, indptr, rows, dy, dw, n, n_in, n_out]."""
    data, indices, indptr, rows, dy, dw, n, n_in, m = (
        p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7], p[8]
    )  # fmt: skip
    first_lane, last_lane = tile * LANES, min(m, (tile + 1) * LANES)
    for c in range(n_in):
        clear(dw + 4 * (c * m + first_lane), last_lane - first_lane)
    for i in range(n):
        row = load_i32(rows + 4 * i)
        for k in range(load_i32(indptr + 4 * row), load_i32(indptr + 4 * row + 4)):
            c, value = load_i32(indices + 4 * k), broadcast(data + 4 * k)
            for f in range(first_lane, last_lane, WIDTH):
                left = min(WIDTH, last_lane - f)
                at = dw + 4 * (c * m + f)
                store_n(at, fma(value, load_n(dy + 4 * (i * m + f), left), load_n(at, left)), left)


@kernel
def csr_to_dense(p, tile):
    """y[i] = row rows[i] with its zeros. p = [data, indices, indptr, rows, y, n, n_in]."""
    data, indices, indptr, rows, y, n, n_in = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    clear(y, n * n_in)
    for i in range(n):
        row = load_i32(rows + 4 * i)
        for k in range(load_i32(indptr + 4 * row), load_i32(indptr + 4 * row + 4)):
            at = y + 4 * (i * n_in + load_i32(indices + 4 * k))
            store_f32(at, load_f32(at) + load_f32(data + 4 * k))
