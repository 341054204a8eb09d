"""Element-by-element kernels: one table of formulas, two loops.

A formula in :data:`MAPS` is computed over tensors of one shape; a formula in :data:`BROADCASTS`
combines two operands with NumPy's broadcasting. Each entry of a table becomes a kernel of that
name, compiled when first used: a new activation is a formula and a line in the table.

In gradients ``y`` is the result of the forward formula, ``x`` its argument and ``dy`` the gradient
with respect to ``y``; whichever of ``x`` and ``y`` is cheaper is used.
"""

from inspect import isfunction

import numpy as np

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .maths import (
    absolute,
    cpu,
    erf,
    exp,
    expm1,
    log,
    log1p,
    maximum,
    minimum,
    sigmoid,
    softplus,
    sqrt,
    tanh,
    where,
)
from .simd import WIDTH, broadcast, fill, load, load_f32, store, store_n

f = np.float32
ZERO, HALF, ONE, TWO = f(0), f(0.5), f(1), f(2)
SQRT_HALF, TWO_OVER_SQRT_PI = f(0.5**0.5), f(2 / np.pi**0.5)
ONE_OVER_SQRT_TWO_PI = f(1 / (2 * np.pi) ** 0.5)
SELU_ALPHA, SELU_SCALE = f(1.6732632423543772), f(1.0507009873554805)

CHUNK = 32768  # elements of one tile


# ---- formulas of tensors of one shape ----------------------------------------------------------


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


def power(x, exponent):
    """x ** exponent for a fractional exponent; NaN for negative x."""
    return exp(log(x) * exponent)


def tanh_grad(dy, y):
    """1 - tanh ** 2."""
    return dy * (ONE - y * y)


def sigmoid_grad(dy, y):
    """y (1 - y)."""
    return dy * y * (ONE - y)


def relu(x):
    """max(x, 0); NaN stays."""
    return where(x < ZERO, ZERO, x)


def relu_grad(dy, y):
    """dy where the unit was active, else 0."""
    return where(y > ZERO, dy, ZERO)


def leaky_relu(x, slope):
    """x above zero, slope x below."""
    return where(x < ZERO, slope * x, x)


def leaky_relu_grad(dy, x, slope):
    """1 above zero, slope at and below."""
    return where(x > ZERO, dy, slope * dy)


def elu(x, alpha):
    """x above zero, alpha (exp(x) - 1) below."""
    return where(x < ZERO, alpha * expm1(x), x)


def elu_grad(dy, y, alpha):
    """1 above zero, y + alpha below."""
    return where(y > ZERO, dy, dy * (y + alpha))


def selu(x):
    """scale * elu(x, alpha)."""
    return SELU_SCALE * where(x < ZERO, SELU_ALPHA * expm1(x), x)


def selu_grad(dy, y):
    """scale above zero, y + scale * alpha below."""
    return dy * where(y > ZERO, SELU_SCALE, y + SELU_SCALE * SELU_ALPHA)


def gelu(x):
    """x Phi(x), with the normal distribution function Phi."""
    return x * (HALF + HALF * erf(x * SQRT_HALF))


def gelu_grad(dy, x):
    """Phi(x) + x phi(x)."""
    density = ONE_OVER_SQRT_TWO_PI * exp(x * x * -HALF)
    return dy * (HALF + HALF * erf(x * SQRT_HALF) + x * density)


def silu(x):
    """x sigmoid(x)."""
    return x * sigmoid(x)


def silu_grad(dy, x):
    """s + x s (1 - s) with s = sigmoid(x)."""
    s = sigmoid(x)
    return dy * (s + x * s * (ONE - s))


def softplus_grad(dy, y):
    """sigmoid(x) = 1 - exp(-y)."""
    return -dy * expm1(-y)


def erf_grad(dy, x):
    """2 / sqrt(pi) exp(-x ** 2)."""
    return dy * TWO_OVER_SQRT_PI * exp(-(x * x))


def clip(x, low, high):
    """x limited to [low, high]; NaN stays."""
    return where(x < low, low, where(x > high, high, x))


def clip_grad(dy, x, low, high):
    """dy inside the limits, zero outside."""
    return where(x < low, ZERO, where(x > high, ZERO, dy))


def select(condition, x, y):
    """x where the condition is not zero, else y."""
    return where(condition == ZERO, y, x)


def select_grad(dy, condition):
    """dy where the condition is not zero, else 0."""
    return where(condition == ZERO, ZERO, dy)


def select_other_grad(dy, condition):
    """dy where the condition is zero, else 0."""
    return where(condition == ZERO, dy, ZERO)


def sigmoid_log_loss(z, t):
    """-t log(sigmoid(z)) - (1 - t) log(1 - sigmoid(z)), without overflow."""
    return maximum(z, ZERO) - z * t + log1p(exp(-absolute(z)))


def sigmoid_log_loss_grad(dy, z, t):
    """sigmoid(z) - t."""
    return dy * (sigmoid(z) - t)


# ---- formulas of two operands that broadcast ---------------------------------------------------


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


# ---- kernels -----------------------------------------------------------------------------------

# name: (formula, tensors it reads, numbers it takes)
MAPS = {
    "absolute": (absolute, 1, 0),
    "absolute_grad": (absolute_grad, 2, 0),
    "clip": (clip, 1, 2),
    "clip_grad": (clip_grad, 2, 2),
    "copy": (copy, 1, 0),
    "elu": (elu, 1, 1),
    "elu_grad": (elu_grad, 2, 1),
    "erf": (erf, 1, 0),
    "erf_grad": (erf_grad, 2, 0),
    "exp": (exp, 1, 0),
    "exp_grad": (exp_grad, 2, 0),
    "expm1": (expm1, 1, 0),
    "expm1_grad": (expm1_grad, 2, 0),
    "gelu": (gelu, 1, 0),
    "gelu_grad": (gelu_grad, 2, 0),
    "leaky_relu": (leaky_relu, 1, 1),
    "leaky_relu_grad": (leaky_relu_grad, 2, 1),
    "log": (log, 1, 0),
    "log_grad": (log_grad, 2, 0),
    "log1p": (log1p, 1, 0),
    "log1p_grad": (log1p_grad, 2, 0),
    "negative": (negative, 1, 0),
    "power": (power, 1, 1),
    "relu": (relu, 1, 0),
    "relu_grad": (relu_grad, 2, 0),
    "select": (select, 3, 0),
    "select_grad": (select_grad, 2, 0),
    "select_other_grad": (select_other_grad, 2, 0),
    "selu": (selu, 1, 0),
    "selu_grad": (selu_grad, 2, 0),
    "sigmoid": (sigmoid, 1, 0),
    "sigmoid_grad": (sigmoid_grad, 2, 0),
    "sigmoid_log_loss": (sigmoid_log_loss, 2, 0),
    "sigmoid_log_loss_grad": (sigmoid_log_loss_grad, 3, 0),
    "sign": (sign, 1, 0),
    "silu": (silu, 1, 0),
    "silu_grad": (silu_grad, 2, 0),
    "softplus": (softplus, 1, 0),
    "softplus_grad": (softplus_grad, 2, 0),
    "sqrt": (sqrt, 1, 0),
    "sqrt_grad": (sqrt_grad, 2, 0),
    "square": (square, 1, 0),
    "square_grad": (square_grad, 2, 0),
    "tanh": (tanh, 1, 0),
    "tanh_grad": (tanh_grad, 2, 0),
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


def _map_twin(name, formula, tensors, numbers):
    value = _named(_ADAPTERS[tensors, numbers](formula), f"{name}_formula")

    def body(f, i, p):
        k, s, t = cuda.grid(1), f[p[4] // 4], f[p[5] // 4]
        if k < p[6]:
            a, b, c = f[p[1] // 4 + k], f[p[2] // 4 + k], f[p[3] // 4 + k]
            f[p[0] // 4 + k] = value(a, b, c, s, t)

    cuda_twin(name, items=lambda p: p[6])(_named(body, name))


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


for _name, _entry in MAPS.items():
    _map_kernel(_name, *_entry)
    _map_twin(_name, *_entry)
for _name, _formula in BROADCASTS.items():
    _broadcast_kernel(_name, _formula)
    _broadcast_twin(_name, _formula)


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
