"""Softmax, its logarithm and the losses built on it, row by row: x[n, k] over classes k.

With m = max x[n] and s = sum exp(x[n] - m): softmax p = exp(x - m) / s, log softmax x - m - log s,
and the loss of class t is log s - (x[t] - m). Gradients:

* softmax y: dx = y (dy - sum dy y)
* log softmax y: dx = dy - exp(y) sum dy
* loss of class t: dx = (p - [k = t]) dloss; of soft targets t: dx = (p sum t - t) dloss
"""

import numpy as np

from .compiler import inline, kernel
from .cuda import THREADS, block_max, block_sum, cuda, cuda_twin
from .maths import exp, log, where
from .simd import (
    VECTOR_BYTES,
    WIDTH,
    fill,
    first,
    load,
    load_f32,
    load_i32,
    max_lanes,
    maximum,
    scratch,
    store,
    store_f32,
    store_n,
    sum_lanes,
)

ZERO, ONE, LOWEST = np.float32(0), np.float32(1), np.float32(-np.inf)

TILE = 32768  # elements of the rows of one tile


@inline
def _log(s):
    """Logarithm of one number."""
    return max_lanes(log(fill(s)))


@inline
def _row_maximum(x, k):
    """Largest of k elements. NaN may be lost: it comes back in the sum of exponentials."""
    m = fill(LOWEST)
    whole = k - k % WIDTH
    for i in range(0, 4 * whole, 4 * WIDTH):
        m = maximum(load(x + i), m)
    if whole < k:
        m = maximum(first(load(x + 4 * whole), k - whole, LOWEST), m)
    return max_lanes(m)


@inline
def _row_sum_exp(x, k, m):
    """Sum of exp(x - m)."""
    s = fill(ZERO)
    whole = k - k % WIDTH
    for i in range(0, 4 * whole, 4 * WIDTH):
        s += exp(load(x + i) - m)
    if whole < k:
        s += first(exp(load(x + 4 * whole) - m), k - whole, ZERO)
    return sum_lanes(s)


@inline
def _row_softmax(x, y, k):
    """Writes softmax(x) to y; returns m and s."""
    if k <= WIDTH:  # one vector, which stays in a register
        v = load(x)
        m = max_lanes(first(v, k, LOWEST))
        e = first(exp(v - m), k, ZERO)
        s = sum_lanes(e)
        store_n(y, e * (ONE / s), k)
        return m, s
    m = _row_maximum(x, k)
    total = fill(ZERO)
    whole = k - k % WIDTH
    for i in range(0, 4 * whole, 4 * WIDTH):
        e = exp(load(x + i) - m)
        store(y + i, e)
        total += e
    tail = fill(ZERO)
    if whole < k:
        tail = first(exp(load(x + 4 * whole) - m), k - whole, ZERO)
    s = sum_lanes(total + tail)
    r = ONE / s
    for i in range(0, 4 * whole, 4 * WIDTH):
        store(y + i, load(y + i) * r)
    if whole < k:
        store_n(y + 4 * whole, tail * r, k - whole)
    return m, s


@kernel
def softmax(p, tile):
    """y[n] = softmax(x[n]). p = [y, x, n, k, rows per tile]."""
    k = p[3]
    for n in range(tile * p[4], min(p[2], (tile + 1) * p[4])):
        _row_softmax(p[1] + 4 * n * k, p[0] + 4 * n * k, k)


@kernel
def softmax_grad(p, tile):
    """dx = y (dy - sum dy y). p = [dx, dy, y, n, k, rows per tile]."""
    k = p[4]
    whole = k - k % WIDTH
    for n in range(tile * p[5], min(p[3], (tile + 1) * p[5])):
        dx, dy, y = p[0] + 4 * n * k, p[1] + 4 * n * k, p[2] + 4 * n * k
        total = fill(ZERO)
        for i in range(0, 4 * whole, 4 * WIDTH):
            total += load(dy + i) * load(y + i)
        if whole < k:
            total += first(load(dy + 4 * whole) * load(y + 4 * whole), k - whole, ZERO)
        s = sum_lanes(total)
        for i in range(0, 4 * whole, 4 * WIDTH):
            store(dx + i, load(y + i) * (load(dy + i) - s))
        if whole < k:
            i = 4 * whole
            store_n(dx + i, load(y + i) * (load(dy + i) - s), k - whole)


@kernel
def log_softmax(p, tile):
    """y[n] = x[n] - log(sum exp(x[n])). p = [y, x, n, k, rows per tile]."""
    k = p[3]
    whole = k - k % WIDTH
    for n in range(tile * p[4], min(p[2], (tile + 1) * p[4])):
        y, x = p[0] + 4 * n * k, p[1] + 4 * n * k
        m = _row_maximum(x, k)
        z = _log(_row_sum_exp(x, k, m))
        for i in range(0, 4 * whole, 4 * WIDTH):
            store(y + i, (load(x + i) - m) - z)
        if whole < k:
            i = 4 * whole
            store_n(y + i, (load(x + i) - m) - z, k - whole)


@kernel
def log_softmax_grad(p, tile):
    """dx = dy - exp(y) sum dy. p = [dx, dy, y, n, k, rows per tile]."""
    k = p[4]
    whole = k - k % WIDTH
    for n in range(tile * p[5], min(p[3], (tile + 1) * p[5])):
        dx, dy, y = p[0] + 4 * n * k, p[1] + 4 * n * k, p[2] + 4 * n * k
        total = fill(ZERO)
        for i in range(0, 4 * whole, 4 * WIDTH):
            total += load(dy + i)
        if whole < k:
            total += first(load(dy + 4 * whole), k - whole, ZERO)
        s = sum_lanes(total)
        for i in range(0, 4 * whole, 4 * WIDTH):
            store(dx + i, load(dy + i) - exp(load(y + i)) * s)
        if whole < k:
            i = 4 * whole
            store_n(dx + i, load(dy + i) - exp(load(y + i)) * s, k - whole)


@kernel
def softmax_log_loss(p, tile):
    """Probabilities, and loss[n] = log s - (x[n, t] - m) for class t = targets[n].

    p = [loss, probabilities, x, targets (int32), n, k, rows per tile].
    """
    k = p[5]
    above = scratch(VECTOR_BYTES)  # x[n, t] - m of some samples, so that one log serves them all
    stop = min(p[4], (tile + 1) * p[6])
    for start in range(tile * p[6], stop, WIDTH):
        loss, samples = p[0] + 4 * start, min(WIDTH, stop - start)
        for i in range(samples):
            n = start + i
            x = p[2] + 4 * n * k
            m, s = _row_softmax(x, p[1] + 4 * n * k, k)
            store_f32(loss + 4 * i, s)
            store_f32(above + 4 * i, load_f32(x + 4 * load_i32(p[3] + 4 * n)) - m)
        store_n(loss, log(load(loss)) - load(above), samples)


@kernel
def softmax_log_loss_grad(p, tile):
    """dx = (p - [k = t]) dloss. p = [dx, probabilities, targets, dloss, n, k, rows per tile]."""
    k = p[5]
    whole = k - k % WIDTH
    for n in range(tile * p[6], min(p[4], (tile + 1) * p[6])):
        dx, y = p[0] + 4 * n * k, p[1] + 4 * n * k
        dloss = load_f32(p[3] + 4 * n)
        for i in range(0, 4 * whole, 4 * WIDTH):
            store(dx + i, load(y + i) * dloss)
        if whole < k:
            store_n(dx + 4 * whole, load(y + 4 * whole) * dloss, k - whole)
        t = 4 * load_i32(p[2] + 4 * n)
        store_f32(dx + t, (load_f32(y + t) - ONE) * dloss)


@inline
def _cost(t, x, m, z):
    """-t log softmax(x); nothing for a class of weight zero, however unlikely."""
    return where(t == ZERO, ZERO, t * (z - (x - m)))


@kernel
def soft_log_loss(p, tile):
    """Probabilities, and loss[n] = sum over k of targets[n, k] (log s - (x[n, k] - m)).

    p = [loss, probabilities, x, targets (float32), n, k, rows per tile].
    """
    k = p[5]
    whole = k - k % WIDTH
    for n in range(tile * p[6], min(p[4], (tile + 1) * p[6])):
        x, t = p[2] + 4 * n * k, p[3] + 4 * n * k
        m, s = _row_softmax(x, p[1] + 4 * n * k, k)
        z = _log(s)
        total = fill(ZERO)
        for i in range(0, 4 * whole, 4 * WIDTH):
            total += _cost(load(t + i), load(x + i), m, z)
        if whole < k:
            i = 4 * whole
            total += first(_cost(load(t + i), load(x + i), m, z), k - whole, ZERO)
        store_f32(p[0] + 4 * n, sum_lanes(total))


@kernel
def soft_log_loss_grad(p, tile):
    """dx = (p sum t - t) dloss. p = [dx, probabilities, targets, dloss, n, k, rows per tile]."""
    k = p[5]
    whole = k - k % WIDTH
    for n in range(tile * p[6], min(p[4], (tile + 1) * p[6])):
        dx, y, t = p[0] + 4 * n * k, p[1] + 4 * n * k, p[2] + 4 * n * k
        dloss = load_f32(p[3] + 4 * n)
        total = fill(ZERO)
        for i in range(0, 4 * whole, 4 * WIDTH):
            total += load(t + i)
        if whole < k:
            total += first(load(t + 4 * whole), k - whole, ZERO)
        s = sum_lanes(total)
        for i in range(0, 4 * whole, 4 * WIDTH):
            store(dx + i, (load(y + i) * s - load(t + i)) * dloss)
        if whole < k:
            i = 4 * whole
            store_n(dx + i, (load(y + i) * s - load(t + i)) * dloss, k - whole)


# ---- CUDA twins: one block per row ---------------------------------------------------------------


def row_maximum(f, x, k):
    """Largest of k elements from f[x]; NaN may be lost."""
    m = LOWEST
    for c in range(cuda.threadIdx.x, k, THREADS):
        m = maximum(m, f[x + c])
    return block_max(m)


def row_softmax(f, x, y, k):
    """Writes softmax of f[x ...] to f[y ...]; returns m and s."""
    m, s = row_maximum(f, x, k), ZERO
    for c in range(cuda.threadIdx.x, k, THREADS):
        e = exp(f[x + c] - m)
        f[y + c] = e
        s += e
    s = block_sum(s)
    r = ONE / s
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[y + c] *= r
    return m, s


def row_product(f, a, b, k):
    """Sum of f[a + c] * f[b + c]."""
    s = ZERO
    for c in range(cuda.threadIdx.x, k, THREADS):
        s += f[a + c] * f[b + c]
    return block_sum(s)


def row_sum(f, x, k):
    """Sum of k elements from f[x]."""
    s = ZERO
    for c in range(cuda.threadIdx.x, k, THREADS):
        s += f[x + c]
    return block_sum(s)


@cuda_twin(softmax, blocks=lambda p: p[2])
def softmax_twin(f, i, p):
    """Softmax of a row."""
    at = cuda.blockIdx.x * p[3]
    row_softmax(f, p[1] // 4 + at, p[0] // 4 + at, p[3])


@cuda_twin(softmax_grad, blocks=lambda p: p[3])
def softmax_grad_twin(f, i, p):
    """Gradient of a row."""
    k = p[4]
    at = cuda.blockIdx.x * k
    dx, dy, y = p[0] // 4 + at, p[1] // 4 + at, p[2] // 4 + at
    s = row_product(f, dy, y, k)
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[dx + c] = f[y + c] * (f[dy + c] - s)


@cuda_twin(log_softmax, blocks=lambda p: p[2])
def log_softmax_twin(f, i, p):
    """Logarithm of the softmax of a row."""
    k = p[3]
    at = cuda.blockIdx.x * k
    y, x = p[0] // 4 + at, p[1] // 4 + at
    m, s = row_maximum(f, x, k), ZERO
    for c in range(cuda.threadIdx.x, k, THREADS):
        s += exp(f[x + c] - m)
    z = log(block_sum(s))
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[y + c] = (f[x + c] - m) - z


@cuda_twin(log_softmax_grad, blocks=lambda p: p[3])
def log_softmax_grad_twin(f, i, p):
    """Gradient of a row."""
    k = p[4]
    at = cuda.blockIdx.x * k
    dx, dy, y = p[0] // 4 + at, p[1] // 4 + at, p[2] // 4 + at
    s = row_sum(f, dy, k)
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[dx + c] = f[dy + c] - exp(f[y + c]) * s


@cuda_twin(softmax_log_loss, blocks=lambda p: p[4])
def softmax_log_loss_twin(f, i, p):
    """Probabilities and loss of a row."""
    n, k = cuda.blockIdx.x, p[5]
    x = p[2] // 4 + n * k
    m, s = row_softmax(f, x, p[1] // 4 + n * k, k)
    if cuda.threadIdx.x == 0:
        f[p[0] // 4 + n] = log(s) - (f[x + i[p[3] // 4 + n]] - m)


@cuda_twin(softmax_log_loss_grad, blocks=lambda p: p[4])
def softmax_log_loss_grad_twin(f, i, p):
    """Gradient of a row."""
    n, k = cuda.blockIdx.x, p[5]
    dx, y = p[0] // 4 + n * k, p[1] // 4 + n * k
    t, dloss = i[p[2] // 4 + n], f[p[3] // 4 + n]
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[dx + c] = (f[y + c] - (ONE if c == t else ZERO)) * dloss


@cuda_twin(soft_log_loss, blocks=lambda p: p[4])
def soft_log_loss_twin(f, i, p):
    """Probabilities and loss of a row."""
    n, k = cuda.blockIdx.x, p[5]
    x, t = p[2] // 4 + n * k, p[3] // 4 + n * k
    m, s = row_softmax(f, x, p[1] // 4 + n * k, k)
    z, total = log(s), ZERO
    for c in range(cuda.threadIdx.x, k, THREADS):
        total += _cost(f[t + c], f[x + c], m, z)
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        f[p[0] // 4 + n] = total


@cuda_twin(soft_log_loss_grad, blocks=lambda p: p[4])
def soft_log_loss_grad_twin(f, i, p):
    """Gradient of a row."""
    n, k = cuda.blockIdx.x, p[5]
    dx, y, t = p[0] // 4 + n * k, p[1] // 4 + n * k, p[2] // 4 + n * k
    dloss, s = f[p[3] // 4 + n], row_sum(f, t, k)
    for c in range(cuda.threadIdx.x, k, THREADS):
        f[dx + c] = (f[y + c] * s - f[t + c]) * dloss
