"""Kernels of two operands that broadcast as NumPy's do, and the choice of one of two.

A formula in :data:`BROADCASTS` becomes a kernel of that name, compiled when first used.
"""

import numpy as np

from .compiler import kernel
from .cuda import cuda, cuda_twin
from .elementwise import _named, kernels_of
from .maths import cpu, exp, log, maximum, minimum, where
from .simd import WIDTH, broadcast, load, store, store_n

f = np.float32
ZERO, ONE = f(0), f(1)


# ---- formulas ----------------------------------------------------------------------------------


def power(x, exponent):
    """x ** exponent for a fractional exponent; NaN for negative x."""
    return exp(log(x) * exponent)


def select(condition, x, y):
    """x where the condition is not zero, else y."""
    return where(condition == ZERO, y, x)


def select_grad(dy, condition):
    """dy where the condition is not zero, else 0."""
    return where(condition == ZERO, ZERO, dy)


def select_other_grad(dy, condition):
    """dy where the condition is zero, else 0."""
    return where(condition == ZERO, dy, ZERO)


def add(a, b):
    """a + b."""
    return a + b


def subtract(a, b):
    """a - b."""
    return a - b


def multiply(a, b):
    """a b."""
    return a * b


def divide(a, b):
    """a / b."""
    return a / b


def larger(a, b):
    """The maximum; NaN when either is."""
    return where(b == b, maximum(a, b), b)


def smaller(a, b):
    """The minimum; NaN when either is."""
    return where(b == b, minimum(a, b), b)


def greater(a, b):
    """1 where a > b, else 0."""
    return where(a > b, ONE, ZERO)


def left(a, b):
    """a, repeated along the axes where only b (which is not read) has a size."""
    return a


# name: (formula, tensors it reads, numbers it takes)
MAPS = {
    "power": (power, 1, 1),
    "select": (select, 3, 0),
    "select_grad": (select_grad, 2, 0),
    "select_other_grad": (select_other_grad, 2, 0),
}

BROADCASTS = {
    "add": add,
    "subtract": subtract,
    "multiply": multiply,
    "divide": divide,
    "maximum": larger,
    "minimum": smaller,
    "greater": greater,
    "broadcast": left,
}


# ---- kernels -----------------------------------------------------------------------------------


def _broadcast_kernel(name, formula):
    value = cpu(formula)

    def body(p, tile):
        chunks = -(-p[4] // p[12])
        block, chunk = tile // chunks, tile % chunks
        start = chunk * p[12]
        n = min(p[12], p[4] - start)
        whole = n - n % WIDTH
        sa, sb = p[7], p[10]
        first = block * p[11]
        stop = min(p[13], first + p[11])
        i, j = first // p[3], first % p[3]
        for row in range(first, stop):
            y = p[0] + 4 * (row * p[4] + start)
            a = p[1] + i * p[5] + j * p[6] + start * sa
            b = p[2] + i * p[8] + j * p[9] + start * sb
            if sa == 4 and sb == 4:
                for k in range(0, 4 * whole, 4 * WIDTH):
                    store(y + k, value(load(a + k), load(b + k)))
                if whole < n:
                    k = 4 * whole
                    store_n(y + k, value(load(a + k), load(b + k)), n - whole)
            elif sa == 4:
                vb = broadcast(b)
                for k in range(0, 4 * whole, 4 * WIDTH):
                    store(y + k, value(load(a + k), vb))
                if whole < n:
                    k = 4 * whole
                    store_n(y + k, value(load(a + k), vb), n - whole)
            else:
                va = broadcast(a)
                for k in range(0, 4 * whole, 4 * WIDTH):
                    store(y + k, value(va, load(b + k)))
                if whole < n:
                    k = 4 * whole
                    store_n(y + k, value(va, load(b + k)), n - whole)
            j += 1
            if j == p[3]:
                i, j = i + 1, 0

    body.__doc__ = f"""y[i, j, k] = {name}(a[i, j, k], b[i, j, k]), y contiguous.

    p = [y, a, b, size of j, size of k, strides of a along i j k, of b along i j k, rows per tile,
    elements of k per tile, rows in all]; a row is one (i, j). Strides are in bytes, 0 where an
    operand is repeated; along k one of them is 4 and the other 0 or 4. Formula:
    {formula.__doc__}"""
    return kernel(_named(body, name))


def _broadcast_twin(name, formula):
    def body(f, i, p):
        at = cuda.grid(1)
        if at < p[13] * p[4]:
            row, k = at // p[4], at % p[4]
            u, v = row // p[3], row % p[3]
            a = f[(p[1] + u * p[5] + v * p[6] + k * p[7]) // 4]
            b = f[(p[2] + u * p[8] + v * p[9] + k * p[10]) // 4]
            f[p[0] // 4 + at] = formula(a, b)

    cuda_twin(name, items=lambda p: p[13] * p[4])(_named(body, name))


kernels_of(MAPS)
for _name, _formula in BROADCASTS.items():
    _broadcast_kernel(_name, _formula)
    _broadcast_twin(_name, _formula)
