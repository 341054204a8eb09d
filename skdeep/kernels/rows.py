"""Rows of a data set into a batch, and rows of a batch into a result."""

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .optimizers import ZERO
from .simd import WIDTH, fill, load, load_i32, load_n, store, store_n


@inline
def copy_floats(source, target, n):
    """target[i] = source[i] for n elements of four bytes."""
    whole = n - n % WIDTH
    for i in range(0, whole, WIDTH):
        store(target + 4 * i, load(source + 4 * i))
    if whole < n:
        store_n(target + 4 * whole, load_n(source + 4 * whole, n - whole), n - whole)


@kernel
def load_rows(p, tile):
    """y[n, k] = data[start + first + n, k], zero past the end.

    p = [data, registers, y, n, row size, first].
    """
    start, total, n, k = load_i32(p[1]) + p[5], load_i32(p[1] + 4), p[3], p[4]
    there = max(0, min(n, total - start))
    copy_floats(p[0] + 4 * start * k, p[2], there * k)
    for i in range(there * k, n * k, WIDTH):
        store_n(p[2] + 4 * i, fill(ZERO), n * k - i)


@cuda_twin(load_rows, items=lambda p: p[3] * p[4])
def load_rows_twin(f, i, p):
    """One thread per element, whatever its type."""
    at, k = cuda.grid(1), p[4]
    if at < p[3] * k:
        row = i[p[1] // 4] + p[5] + at // k
        there = row < i[p[1] // 4 + 1]
        i[p[2] // 4 + at] = i[p[0] // 4 + row * k + at % k] if there else 0


@kernel
def store_rows(p, tile):
    """target[start + n, k] = x[n, k]. p = [target, registers, x, n, row size]."""
    start, total, n, k = load_i32(p[1]), load_i32(p[1] + 4), p[3], p[4]
    copy_floats(p[2], p[0] + 4 * start * k, max(0, min(n, total - start)) * k)


@cuda_twin(store_rows, items=lambda p: p[3] * p[4])
def store_rows_twin(f, i, p):
    """One thread per element."""
    at, k = cuda.grid(1), p[4]
    row = i[p[1] // 4] + at // k
    if at < p[3] * k and row < i[p[1] // 4 + 1]:
        i[p[0] // 4 + row * k + at % k] = i[p[2] // 4 + at]
