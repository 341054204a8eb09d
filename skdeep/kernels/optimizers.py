"""Optimizer steps over flat parameter vectors, and the bookkeeping of a training step.

Every step reads ``registers``: [0] seed and [1] step number as int32, then float32 values whose
meaning each optimizer defines. The gradient of ``l2 * sum(w ** 2)`` is added to that of the loss,
and ``partial[first + tile]`` is the tile's part of that sum; ``scale`` multiplies both gradients
(gradient clipping). Padding between parameters has gradient zero and stays zero under every rule
here.
"""

import numpy as np

from .compiler import inline, kernel
from .cuda import THREADS, block_sum, cuda, cuda_twin
from .maths import cpu, sqrt, where
from .simd import (
    WIDTH,
    absolute,
    broadcast,
    estimate_rcp,
    estimate_rsqrt,
    fill,
    load,
    load_f32,
    load_n,
    store,
    store_f32,
    store_n,
    sum_lanes,
)

CHUNK = 4096  # elements of one tile

ZERO, ONE = np.float32(0), np.float32(1)


def moments(g, m, v, beta1, beta2):
    """Running means of the gradient and of its square."""
    return beta1 * m + (ONE - beta1) * g, beta2 * v + (ONE - beta2) * g * g


def adam(w, g, m, v, rate, beta1, beta2, epsilon, decay):
    """One Adam step; ``rate`` has both bias corrections (Kingma & Ba 2015, end of section 2)."""
    m, v = moments(g, m, v, beta1, beta2)
    return w - decay * w - rate * m / (sqrt(v) + epsilon), m, v


def momentum(w, g, m, rate, friction, nesterov, decay):
    """Heavy-ball step, velocity ``m``; Nesterov's look-ahead when ``nesterov`` is 1."""
    m = friction * m - rate * g
    ahead = friction * m - rate * g
    return w - decay * w + m + nesterov * (ahead - m), m


def rmsprop(w, g, v, m, rate, rho, friction, epsilon):
    """Step scaled by a running mean of squared gradients (Tieleman & Hinton 2012)."""
    v = rho * v + (ONE - rho) * g * g
    m = friction * m + rate * g / (sqrt(v) + epsilon)
    return w - m, v, m


def penalty_gradient(w, l1, l2):
    """Gradient of l1 * sum(abs(w)) + l2 * sum(w ** 2)."""
    sign = where(w > ZERO, fill(ONE), where(w < ZERO, fill(-ONE), fill(ZERO)))
    return l1 * sign + (l2 + l2) * w


_momentum, _rmsprop = cpu(momentum), cpu(rmsprop)
_penalty_gradient = cpu(penalty_gradient)
TINY, HALF, TWO = (np.float32(x) for x in (1e-37, 0.5, 2.0))


@inline
def _adam(w, g, m, v, rate, beta1, beta2, epsilon, decay):
    """As :func:`adam`; root and quotient from estimates, each refined once: 2 units of rounding.

    A step over 18 000 weights is 1.4 times as fast as with the exact instructions.
    """
    m += (ONE - beta1) * (g - m)
    v += (ONE - beta2) * (g * g - v)
    bounded = v + TINY
    estimate = estimate_rsqrt(bounded)
    root = bounded * estimate
    root += (bounded - root * root) * (HALF * estimate)
    below = root + epsilon
    inverse = estimate_rcp(below)
    step = rate * m * inverse
    return w - decay * w - step * (TWO - below * inverse), m, v


@inline
def _gradient(w, g, l2, scale):
    return scale * (g + (l2 + l2) * w)


@kernel
def adam_step(p, tile):
    """p = [w, g, m, v, registers, scale, size, l2, partial, first].

    registers[2:7] = rate, beta1, beta2, eps, decay.
    """
    w, g, m, v, r, n = p[0], p[1], p[2], p[3], p[4], p[6]
    scale, l2 = broadcast(p[5]), broadcast(p[7])
    rate, beta1, beta2 = broadcast(r + 8), broadcast(r + 12), broadcast(r + 16)
    epsilon, decay = broadcast(r + 20), broadcast(r + 24)
    squares = fill(ZERO)
    stop = min(n, (tile + 1) * CHUNK)
    for i in range(tile * CHUNK, stop, WIDTH):
        o, left = 4 * i, stop - i
        if left >= WIDTH:
            x = load(w + o)
            nw, nm, nv = _adam(x, _gradient(x, load(g + o), l2, scale), load(m + o), load(v + o),
                               rate, beta1, beta2, epsilon, decay)  # fmt: skip
            store(w + o, nw)
            store(m + o, nm)
            store(v + o, nv)
        else:
            x = load_n(w + o, left)
            nw, nm, nv = _adam(x, _gradient(x, load_n(g + o, left), l2, scale),
                               load_n(m + o, left), load_n(v + o, left),
                               rate, beta1, beta2, epsilon, decay)  # fmt: skip
            store_n(w + o, nw, left)
            store_n(m + o, nm, left)
            store_n(v + o, nv, left)
        squares += x * x
    store_f32(p[8] + 4 * (p[9] + tile), load_f32(p[7]) * sum_lanes(squares))


@kernel
def momentum_step(p, tile):
    """p = [w, g, m, registers, scale, size, l2, partial, first].

    registers[2:6] = rate, momentum, nesterov, decay.
    """
    w, g, m, r, n = p[0], p[1], p[2], p[3], p[5]
    scale, l2 = broadcast(p[4]), broadcast(p[6])
    rate, friction = broadcast(r + 8), broadcast(r + 12)
    nesterov, decay = broadcast(r + 16), broadcast(r + 20)
    squares = fill(ZERO)
    stop = min(n, (tile + 1) * CHUNK)
    for i in range(tile * CHUNK, stop, WIDTH):
        o, left = 4 * i, stop - i
        if left >= WIDTH:
            x = load(w + o)
            nw, nm = _momentum(x, _gradient(x, load(g + o), l2, scale), load(m + o), rate, friction,
                               nesterov, decay)  # fmt: skip
            store(w + o, nw)
            store(m + o, nm)
        else:
            x = load_n(w + o, left)
            nw, nm = _momentum(x, _gradient(x, load_n(g + o, left), l2, scale),
                               load_n(m + o, left), rate, friction, nesterov, decay)  # fmt: skip
            store_n(w + o, nw, left)
            store_n(m + o, nm, left)
        squares += x * x
    store_f32(p[7] + 4 * (p[8] + tile), load_f32(p[6]) * sum_lanes(squares))


@kernel
def rmsprop_step(p, tile):
    """p = [w, g, v, m, registers, scale, size, l2, partial, first].

    registers[2:6] = rate, rho, momentum, eps.
    """
    w, g, v, m, r, n = p[0], p[1], p[2], p[3], p[4], p[6]
    scale, l2 = broadcast(p[5]), broadcast(p[7])
    rate, rho = broadcast(r + 8), broadcast(r + 12)
    friction, epsilon = broadcast(r + 16), broadcast(r + 20)
    squares = fill(ZERO)
    stop = min(n, (tile + 1) * CHUNK)
    for i in range(tile * CHUNK, stop, WIDTH):
        o, left = 4 * i, min(stop - i, WIDTH)
        x = load_n(w + o, left)
        nw, nv, nm = _rmsprop(x, _gradient(x, load_n(g + o, left), l2, scale), load_n(v + o, left),
                              load_n(m + o, left), rate, rho, friction, epsilon)  # fmt: skip
        store_n(w + o, nw, left)
        store_n(v + o, nv, left)
        store_n(m + o, nm, left)
        squares += x * x
    store_f32(p[8] + 4 * (p[9] + tile), load_f32(p[7]) * sum_lanes(squares))


@kernel
def penalty(p, tile):
    """g += d penalty / d w; partial[tile] = penalty of the tile. p = [w, g, partial, l1, l2, n]."""
    w, g, n = p[0], p[1], p[5]
    l1, l2 = broadcast(p[3]), broadcast(p[4])
    total = fill(ZERO)
    stop = min(n, (tile + 1) * CHUNK)
    for i in range(tile * CHUNK, stop, WIDTH):
        o, left = 4 * i, stop - i
        if left >= WIDTH:
            x = load(w + o)
            store(g + o, load(g + o) + _penalty_gradient(x, l1, l2))
        else:
            x = load_n(w + o, left)
            store_n(g + o, load_n(g + o, left) + _penalty_gradient(x, l1, l2), left)
        total = total + (l1 * absolute(x) + l2 * x * x)  # a short chain
    store_f32(p[2] + 4 * tile, sum_lanes(total))


@kernel
def squared_norm(p, tile):
    """partial[tile] = sum of squares of the tile. p = [x, partial, n]."""
    x, n = p[0], p[2]
    total = fill(ZERO)
    stop = min(n, (tile + 1) * CHUNK)
    for i in range(tile * CHUNK, stop, WIDTH):
        v = load_n(x + 4 * i, min(stop - i, WIDTH))
        total = total + v * v
    store_f32(p[1] + 4 * tile, sum_lanes(total))


@kernel
def clip_scale(p, tile):
    """scale = min(1, limit / norm), norm from partial sums. p = [partial, n, limit, scale]."""
    total = ZERO
    for i in range(p[1]):
        total += load_f32(p[0] + 4 * i)
    limit = load_f32(p[2])
    norm = np.sqrt(total)
    store_f32(p[3], limit / norm if norm > limit else ONE)


@kernel
def loss_total(p, tile):
    """out = sum of single numbers and of partial sums. p = [out, count, (address, length)...]."""
    total = ZERO
    for k in range(p[1]):
        for i in range(p[3 + 2 * k]):
            total += load_f32(p[2 + 2 * k] + 4 * i)
    store_f32(p[0], total)


@kernel
def normalize_weights(p, tile):
    """out = w / sum(w), zeros when the sum is zero. p = [w, out, n]."""
    total = ZERO
    for i in range(p[2]):
        total += load_f32(p[0] + 4 * i)
    inverse = ONE / total if total > ZERO else ZERO
    for i in range(p[2]):
        store_f32(p[1] + 4 * i, load_f32(p[0] + 4 * i) * inverse)


# ---- CUDA twins ----------------------------------------------------------------------------------


def _chunks(size):
    """Blocks of an optimizer's twin: one per tile. ``size`` is the position of that operand."""
    return lambda p: -(-p[size] // CHUNK)


@cuda_twin(adam_step, blocks=_chunks(6))
def adam_step_twin(f, i, p):
    """One block per tile."""
    tile, r, scale, l2, total = cuda.blockIdx.x, p[4] // 4, f[p[5] // 4], f[p[7] // 4], ZERO
    for k in range(tile * CHUNK + cuda.threadIdx.x, min(p[6], (tile + 1) * CHUNK), THREADS):
        w, m, v = p[0] // 4 + k, p[2] // 4 + k, p[3] // 4 + k
        total += l2 * f[w] * f[w]
        g = scale * (f[p[1] // 4 + k] + (l2 + l2) * f[w])
        f[w], f[m], f[v] = adam(f[w], g, f[m], f[v],
                                f[r + 2], f[r + 3], f[r + 4], f[r + 5], f[r + 6])  # fmt: skip
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        f[p[8] // 4 + p[9] + tile] = total


@cuda_twin(momentum_step, blocks=_chunks(5))
def momentum_step_twin(f, i, p):
    """One block per tile."""
    tile, r, scale, l2, total = cuda.blockIdx.x, p[3] // 4, f[p[4] // 4], f[p[6] // 4], ZERO
    for k in range(tile * CHUNK + cuda.threadIdx.x, min(p[5], (tile + 1) * CHUNK), THREADS):
        w, m = p[0] // 4 + k, p[2] // 4 + k
        total += l2 * f[w] * f[w]
        g = scale * (f[p[1] // 4 + k] + (l2 + l2) * f[w])
        f[w], f[m] = momentum(f[w], g, f[m], f[r + 2], f[r + 3], f[r + 4], f[r + 5])
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        f[p[7] // 4 + p[8] + tile] = total


@cuda_twin(rmsprop_step, blocks=_chunks(6))
def rmsprop_step_twin(f, i, p):
    """One block per tile."""
    tile, r, scale, l2, total = cuda.blockIdx.x, p[4] // 4, f[p[5] // 4], f[p[7] // 4], ZERO
    for k in range(tile * CHUNK + cuda.threadIdx.x, min(p[6], (tile + 1) * CHUNK), THREADS):
        w, v, m = p[0] // 4 + k, p[2] // 4 + k, p[3] // 4 + k
        total += l2 * f[w] * f[w]
        g = scale * (f[p[1] // 4 + k] + (l2 + l2) * f[w])
        f[w], f[v], f[m] = rmsprop(f[w], g, f[v], f[m],
                                   f[r + 2], f[r + 3], f[r + 4], f[r + 5])  # fmt: skip
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        f[p[8] // 4 + p[9] + tile] = total


@cuda_twin(penalty, blocks=lambda p: -(-p[5] // CHUNK))
def penalty_twin(f, i, p):
    """One block per partial sum."""
    tile, w, g = cuda.blockIdx.x, p[0] // 4, p[1] // 4
    l1, l2, total = f[p[3] // 4], f[p[4] // 4], ZERO
    for k in range(tile * CHUNK + cuda.threadIdx.x, min(p[5], (tile + 1) * CHUNK), THREADS):
        x = f[w + k]
        f[g + k] += penalty_gradient(x, l1, l2)
        total += l1 * absolute(x) + l2 * x * x
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        f[p[2] // 4 + tile] = total


@cuda_twin(squared_norm, blocks=lambda p: -(-p[2] // CHUNK))
def squared_norm_twin(f, i, p):
    """One block per partial sum."""
    tile, x, total = cuda.blockIdx.x, p[0] // 4, ZERO
    for k in range(tile * CHUNK + cuda.threadIdx.x, min(p[2], (tile + 1) * CHUNK), THREADS):
        total += f[x + k] * f[x + k]
    total = block_sum(total)
    if cuda.threadIdx.x == 0:
        f[p[1] // 4 + tile] = total


def sum_by_block(f, x, n):
    """Sum of n elements from f[x], by all threads of the block."""
    total = ZERO
    for k in range(cuda.threadIdx.x, n, THREADS):
        total += f[x + k]
    return block_sum(total)


@cuda_twin(clip_scale, blocks=lambda p: 1)
def clip_scale_twin(f, i, p):
    """One block."""
    norm, limit = sqrt(sum_by_block(f, p[0] // 4, p[1])), f[p[2] // 4]
    if cuda.threadIdx.x == 0:
        f[p[3] // 4] = limit / norm if norm > limit else ONE


@cuda_twin(loss_total, blocks=lambda p: 1)
def loss_total_twin(f, i, p):
    """One block."""
    total = ZERO
    for k in range(p[1]):
        total += sum_by_block(f, p[2 + 2 * k] // 4, p[3 + 2 * k])
    if cuda.threadIdx.x == 0:
        f[p[0] // 4] = total


@cuda_twin(normalize_weights, blocks=lambda p: 1)
def normalize_weights_twin(f, i, p):
    """One block."""
    w, out = p[0] // 4, p[1] // 4
    total = sum_by_block(f, w, p[2])
    inverse = ONE / total if total > ZERO else ZERO
    for k in range(cuda.threadIdx.x, p[2], THREADS):
        f[out + k] = f[w + k] * inverse
