"""Element-by-element kernels of one table of formulas, and the loop that computes them.

A formula of a table ``MAPS`` (here, in ``activation.py`` and in ``arithmetic.py``) is computed over
tensors of one shape. Each entry becomes a kernel of that name, compiled when first used: a new
activation is a formula and a line in its table.

In gradients ``y`` is the result of the forward formula, ``x`` its argument and ``dy`` the gradient
with respect to ``y``; whichever of ``x`` and ``y`` is cheaper is used.
"""

from inspect import isfunction

import numpy as np

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .maths import absolute, cpu, erf, exp, expm1, log, log1p, maximum, sigmoid, sqrt, where
from .simd import WIDTH, broadcast, fill, load, load_f32, store, store_n

f = np.float32
ZERO, HALF, ONE = f(0), f(0.5), f(1)
TWO_OVER_SQRT_PI = f(2 / np.pi**0.5)

CHUNK = 32768  # elements of one tile


# ---- formulas ----------------------------------------------------------------------------------


def copy(x):
    """x itself."""
    return x


def negative(x):
    """-x."""
    return -x


def exp_grad(dy, y):
    """exp' = exp."""
    return dy * y


def expm1_grad(dy, y):
    """expm1' = expm1 + 1."""
    return dy * (y + ONE)


def log_grad(dy, x):
    """log' = 1 / x."""
    return dy / x


def log1p_grad(dy, x):
    """log1p' = 1 / (1 + x)."""
    return dy / (x + ONE)


def sqrt_grad(dy, y):
    """sqrt' = 1 / (2 sqrt)."""
    return dy * HALF / y


def square(x):
    """x ** 2."""
    return x * x


def square_grad(dy, x):
    """2 x."""
    return dy * (x + x)


def absolute_grad(dy, x):
    """The sign of x; zero at zero."""
    return where(x > ZERO, dy, where(x < ZERO, -dy, ZERO))


def sign(x):
    """-1, 0 or 1; NaN stays."""
    return where(x > ZERO, ONE, where(x < ZERO, -ONE, x))


def erf_grad(dy, x):
    """2 / sqrt(pi) exp(-x ** 2)."""
    return dy * TWO_OVER_SQRT_PI * exp(-(x * x))


def sigmoid_log_loss(z, t):
    """-t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z)), without overflow."""
    return maximum(z, ZERO) - z * t + log1p(exp(-absolute(z)))


def sigmoid_log_loss_grad(dy, z, t):
    """sigmoid(z) - t."""
    return dy * (sigmoid(z) - t)


# name: (formula, tensors it reads, numbers it takes)
MAPS = {
    "absolute": (absolute, 1, 0),
    "absolute_grad": (absolute_grad, 2, 0),
    "copy": (copy, 1, 0),
    "erf": (erf, 1, 0),
    "erf_grad": (erf_grad, 2, 0),
    "exp": (exp, 1, 0),
    "exp_grad": (exp_grad, 2, 0),
    "expm1": (expm1, 1, 0),
    "expm1_grad": (expm1_grad, 2, 0),
    "log": (log, 1, 0),
    "log1p": (log1p, 1, 0),
    "log1p_grad": (log1p_grad, 2, 0),
    "log_grad": (log_grad, 2, 0),
    "negative": (negative, 1, 0),
    "sigmoid_log_loss": (sigmoid_log_loss, 2, 0),
    "sigmoid_log_loss_grad": (sigmoid_log_loss_grad, 3, 0),
    "sign": (sign, 1, 0),
    "sqrt": (sqrt, 1, 0),
    "sqrt_grad": (sqrt_grad, 2, 0),
    "square": (square, 1, 0),
    "square_grad": (square_grad, 2, 0),
}


# ---- kernels -----------------------------------------------------------------------------------

# How a formula is called from the loop, which always offers three tensors and two numbers. Loads
# that a formula does not use vanish when the loop is optimised.
_ADAPTERS = {
    (1, 0): lambda g: lambda a, b, c, s, t: g(a),
    (1, 1): lambda g: lambda a, b, c, s, t: g(a, s),
    (1, 2): lambda g: lambda a, b, c, s, t: g(a, s, t),
    (2, 0): lambda g: lambda a, b, c, s, t: g(a, b),
    (2, 1): lambda g: lambda a, b, c, s, t: g(a, b, s),
    (2, 2): lambda g: lambda a, b, c, s, t: g(a, b, s, t),
    (3, 0): lambda g: lambda a, b, c, s, t: g(a, b, c),
}


def _compiled(formula):
    """The formula for vectors; primitives are so already."""
    return cpu(formula) if isfunction(formula) else formula


def _named(function, name):
    """Give a generated function a name of its own: machine code is linked by it."""
    function.__name__ = function.__qualname__ = name
    return function


def _map_kernel(name, formula, tensors, numbers):
    value = inline(_named(_ADAPTERS[tensors, numbers](_compiled(formula)), f"{name}_formula"))

    def body(p, tile):
        y, a, b, c, s, t = p[0], p[1], p[2], p[3], broadcast(p[4]), broadcast(p[5])
        first = tile * CHUNK
        stop = min(p[6], first + CHUNK)
        whole = stop - (stop - first) % WIDTH
        for i in range(4 * first, 4 * whole, 4 * WIDTH):
            store(y + i, value(load(a + i), load(b + i), load(c + i), s, t))
        if whole < stop:
            i = 4 * whole
            store_n(y + i, value(load(a + i), load(b + i), load(c + i), s, t), stop - whole)

    body.__doc__ = (
        f"y[i] = {name}(a[i], b[i], c[i]; s, t). p = [y, a, b, c, s, t, size]; a tile is "
        f"{CHUNK} elements. Formula: {formula.__doc__}"
    )
    return kernel(_named(body, name))


def _map_twin(name, formula, tensors, numbers):
    value = _named(_ADAPTERS[tensors, numbers](formula), f"{name}_formula")

    def body(f, i, p):
        k, s, t = cuda.grid(1), f[p[4] // 4], f[p[5] // 4]
        if k < p[6]:
            a, b, c = f[p[1] // 4 + k], f[p[2] // 4 + k], f[p[3] // 4 + k]
            f[p[0] // 4 + k] = value(a, b, c, s, t)

    cuda_twin(name, items=lambda p: p[6])(_named(body, name))


def kernels_of(maps):
    """Make a kernel and its CUDA twin of every formula of a table."""
    for name, entry in maps.items():
        _map_kernel(name, *entry)
        _map_twin(name, *entry)


kernels_of(MAPS)


@kernel
def full(p, tile):
    """y[i] = value. p = [y, value, size]; a tile is CHUNK elements."""
    value = fill(load_f32(p[1]))
    stop = min(p[2], (tile + 1) * CHUNK)
    for i in range(tile * CHUNK, stop, WIDTH):
        store_n(p[0] + 4 * i, value, stop - i)


@cuda_twin(full, items=lambda p: p[2])
def full_twin(f, i, p):
    """One thread per element."""
    k = cuda.grid(1)
    if k < p[2]:
        f[p[0] // 4 + k] = f[p[1] // 4]
