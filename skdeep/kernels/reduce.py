"""Sums and maxima over one run of axes: x[o, k, i] -> y[o, i], reduced over k.

Long runs are cut into blocks of a size that depends on (k, i) alone; blocks are reduced on their
own, by tiles, and a second row of the program combines them in order with the same kernel. Within a
block, partial results of a few dozen terms are formed first, so that rounding errors grow slowly: a
sum of a million terms keeps a relative error near 1e-7 of the sum of their magnitudes.
"""

import numpy as np

from .compiler import inline, kernel
from .cuda import THREADS, block_max, block_sum, cuda, cuda_twin
from .maths import where
from .simd import (
    WIDTH,
    fill,
    first,
    load,
    load_f32,
    max_lanes,
    maximum,
    store,
    store_f32,
    store_n,
    sum_lanes,
)

ZERO, LOWEST = np.float32(0), np.float32(-np.inf)

BLOCK = 32768  # elements reduced by one tile
COLUMNS = 1024  # of them side by side, at most
TERMS = 32  # added one by one before a partial result is set aside


@inline
def _plus(a, b):
    return a + b


@inline
def _larger(a, b):
    return where(b == b, maximum(a, b), b)


@inline
def _largest_lane(value):
    # Adds NaN when any lane is NaN, else zero: comparisons alone may lose it.
    return max_lanes(value) + sum_lanes(where(value == value, ZERO, value))


def column_count(p):
    """Results of the kernel of columns."""
    return p[8] // -(-p[3] // p[6]) * p[3]


def _reduction(name, combine, lanes, start, block_fold):
    """The pair of kernels of one reduction, and their twins."""

    @inline
    def run(x, n):
        """All n contiguous elements into one."""
        total = fill(start)
        i, step = 0, 4 * WIDTH
        whole = n - n % step
        while i < whole:
            stop = min(whole, i + TERMS * step)
            a, b, c, d = fill(start), fill(start), fill(start), fill(start)
            while i < stop:
                q = x + 4 * i
                a = combine(a, load(q))
                b = combine(b, load(q + 4 * WIDTH))
                c = combine(c, load(q + 8 * WIDTH))
                d = combine(d, load(q + 12 * WIDTH))
                i += step
            total = combine(total, combine(combine(a, b), combine(c, d)))
        while i < n:
            total = combine(total, first(load(x + 4 * i), n - i, start))
            i += WIDTH
        return lanes(total)

    def runs(p, tile):
        y, x, k, block, blocks, scale = p[0], p[1], p[2], p[3], p[4], load_f32(p[7])
        stop = min(p[6], (tile + 1) * p[5])
        for item in range(tile * p[5], stop):
            at = (item % blocks) * block
            value = run(x + 4 * ((item // blocks) * k + at), min(block, k - at))
            store_f32(y + 4 * item, value * scale)

    runs.__doc__ = f"""y[o, s] = scale * {name} of x[o, k] over block s of k; contiguous runs.

    p = [y, x, size of k, block, number of blocks, items per tile, items, scale]; an item is one
    (o, s)."""
    runs.__name__ = runs.__qualname__ = f"{name}_runs"

    @inline
    def four_columns(x, rows, stride):
        """Four vectors of neighbouring columns, over rows."""
        ta, tb, tc, td = fill(start), fill(start), fill(start), fill(start)
        k = 0
        while k < rows:
            stop = min(rows, k + TERMS)
            a, b, c, d = fill(start), fill(start), fill(start), fill(start)
            while k < stop:
                q = x + k * stride
                a = combine(a, load(q))
                b = combine(b, load(q + 4 * WIDTH))
                c = combine(c, load(q + 8 * WIDTH))
                d = combine(d, load(q + 12 * WIDTH))
                k += 1
            ta, tb, tc, td = combine(ta, a), combine(tb, b), combine(tc, c), combine(td, d)
        return ta, tb, tc, td

    @inline
    def one_column(x, rows, stride):
        """One vector of columns, four rows at a time to hide the latency of additions."""
        total = fill(start)
        k, whole = 0, rows - rows % 4
        while k < whole:
            stop = min(whole, k + 4 * TERMS)
            a, b, c, d = fill(start), fill(start), fill(start), fill(start)
            while k < stop:
                q = x + k * stride
                a = combine(a, load(q))
                b = combine(b, load(q + stride))
                c = combine(c, load(q + 2 * stride))
                d = combine(d, load(q + 3 * stride))
                k += 4
            total = combine(total, combine(combine(a, b), combine(c, d)))
        while k < rows:
            total = combine(total, load(x + k * stride))
            k += 1
        return total

    def columns(p, tile):
        k, n, block, blocks, width = p[2], p[3], p[4], p[5], p[6]
        scale = load_f32(p[9])
        chunks = -(-n // width)
        stop = min(p[8], (tile + 1) * p[7])
        for item in range(tile * p[7], stop):
            at, chunk = item // chunks, item % chunks
            o, s = at // blocks, at % blocks
            i, last = chunk * width, min(n, (chunk + 1) * width)
            rows = min(block, k - s * block)
            x = p[1] + 4 * (o * k + s * block) * n
            y = p[0] + 4 * at * n
            while i + 4 * WIDTH <= last:
                a, b, c, d = four_columns(x + 4 * i, rows, 4 * n)
                q = y + 4 * i
                store(q, a * scale)
                store(q + 4 * WIDTH, b * scale)
                store(q + 8 * WIDTH, c * scale)
                store(q + 12 * WIDTH, d * scale)
                i += 4 * WIDTH
            while i < last:
                store_n(y + 4 * i, one_column(x + 4 * i, rows, 4 * n) * scale, last - i)
                i += WIDTH

    columns.__doc__ = f"""y[o, s, i] = scale * {name} of x[o, k, i] over block s of k.

    p = [y, x, size of k, size of i, block, number of blocks, columns per chunk, items per tile,
    items, scale]; an item is (o, s, chunk of i)."""
    columns.__name__ = columns.__qualname__ = f"{name}_columns"

    def runs_twin(f, i, p):
        """One block per item."""
        item = cuda.blockIdx.x
        at = (item % p[4]) * p[3]
        x = p[1] // 4 + (item // p[4]) * p[2] + at
        value = start
        for k in range(cuda.threadIdx.x, min(p[3], p[2] - at), THREADS):
            value = combine(value, f[x + k])
        value = block_fold(value)
        if cuda.threadIdx.x == 0:
            f[p[0] // 4 + item] = value * f[p[7] // 4]

    def columns_twin(f, i, p):
        """One thread per result."""
        at = cuda.grid(1)
        if at < column_count(p):
            n = p[3]
            o, s = at // n // p[5], at // n % p[5]
            x = p[1] // 4 + (o * p[2] + s * p[4]) * n + at % n
            value = start
            for k in range(min(p[4], p[2] - s * p[4])):
                value = combine(value, f[x + k * n])
            f[p[0] // 4 + at] = value * f[p[9] // 4]

    cuda_twin(f"{name}_runs", blocks=lambda p: p[6])(runs_twin)
    cuda_twin(f"{name}_columns", items=column_count)(columns_twin)
    for helper in (run, four_columns, one_column):
        helper.py_func.__name__ = helper.py_func.__qualname__ = f"{name}_{helper.py_func.__name__}"
    return kernel(runs), kernel(columns)


sum_runs, sum_columns = _reduction("sum", _plus, sum_lanes, ZERO, block_sum)
max_runs, max_columns = _reduction("max", _larger, _largest_lane, LOWEST, block_max)
