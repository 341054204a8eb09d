"""Activations and their gradients as formulas; ``elementwise.py`` makes the kernels of them."""

import numpy as np

from .elementwise import kernels_of
from .maths import (
    absolute,
    erf,
    exp,
    expm1,
    fma,
    maximum,
    minimum,
    sigmoid,
    softplus,
    tanh,
    where,
)

f = np.float32
ZERO, HALF, ONE, TWO, THREE, FOUR, TWENTY = f(0), f(0.5), f(1), f(2), f(3), f(4), f(20)
SIXTH, THIRD = f(1 / 6), f(1 / 3)
SQRT_HALF, ONE_OVER_SQRT_TWO_PI = f(0.5**0.5), f(1 / (2 * np.pi) ** 0.5)
QUICK = f(1.702)
SELU_ALPHA, SELU_SCALE = f(1.6732632423543772), f(1.0507009873554805)


def tanh_grad(dy, y):
    """1 - tanh ** 2."""
    return dy * (ONE - y * y)


def sigmoid_grad(dy, y):
    """y (1 - y)."""
    return dy * y * (ONE - y)


def mish(x):
    """x tanh(softplus(x)) = x n / (n + 2) with n = w (w + 2) and w = exp(x)."""
    w = exp(minimum(x, TWENTY))  # beyond, n / (n + 2) is 1
    n = w * (w + TWO)
    return x * (n / (n + TWO))


def mish_grad(dy, x):
    """t + 4 x w (w + 1) / (n + 2)**2 with t = n / (n + 2), n and w as for mish."""
    w = exp(minimum(x, TWENTY))
    n = w * (w + TWO)
    d = n + TWO
    return dy * (n / d + x * (FOUR * w * (w + ONE) / (d * d)))


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
    """x Phi(x) = max(x, 0) - |x| Phi(-|x|), with the normal distribution function Phi.

    A polynomial gives log Phi(-|x|) with an error of Phi below 8e-9; two thirds of erf's time.
    """
    a = minimum(absolute(x), TWENTY)
    t = fma(a, f(-1.9214381527889246e-06), f(2.6769862492305505e-05))
    t = fma(t, a, f(-0.0001265323546398815))
    t = fma(t, a, f(-0.00010110948151173363))
    t = fma(t, a, f(0.004904343330988656))
    t = fma(t, a, f(-0.0363937126243013))
    t = fma(t, a, f(-0.3182965867573478))
    t = fma(t, a, f(-0.7978856867893345))
    t = fma(t, a, f(-0.6931471655064301))
    return maximum(x, ZERO) - a * exp(t)


def gelu_grad(dy, x):
    """Phi(x) + x phi(x)."""
    density = ONE_OVER_SQRT_TWO_PI * exp(x * x * -HALF)
    return dy * (HALF + HALF * erf(x * SQRT_HALF) + x * density)


def quick_gelu(x):
    """x sigmoid(1.702 x)."""
    return x * sigmoid(x * QUICK)


def quick_gelu_grad(dy, x):
    """s + 1.702 x s (1 - s) with s = sigmoid(1.702 x)."""
    s = sigmoid(x * QUICK)
    return dy * (s + x * QUICK * s * (ONE - s))


def silu(x):
    """x sigmoid(x)."""
    return x * sigmoid(x)


def silu_grad(dy, x):
    """s + x s (1 - s) with s = sigmoid(x)."""
    s = sigmoid(x)
    return dy * (s + x * s * (ONE - s))


def hardsigmoid(x):
    """x / 6 + 1 / 2 limited to [0, 1]; NaN stays."""
    return where(x < -THREE, ZERO, where(x > THREE, ONE, x * SIXTH + HALF))


def hardsigmoid_grad(dy, y):
    """1 / 6 between the limits."""
    return where(y > ZERO, where(y < ONE, dy * SIXTH, ZERO), ZERO)


def hardswish(x):
    """x hardsigmoid(x)."""
    return where(x < -THREE, ZERO, where(x > THREE, x, x * (x * SIXTH + HALF)))


def hardswish_grad(dy, x):
    """x / 3 + 1 / 2 between -3 and 3, 0 below, 1 above."""
    return where(x < -THREE, ZERO, where(x > THREE, dy, dy * (x * THIRD + HALF)))


def softplus_grad(dy, y):
    """sigmoid(x) = 1 - exp(-y)."""
    return -dy * expm1(-y)


def clip(x, low, high):
    """x limited to [low, high]; NaN stays."""
    return where(x < low, low, where(x > high, high, x))


def clip_grad(dy, x, low, high):
    """dy inside the limits, zero outside."""
    return where(x < low, ZERO, where(x > high, ZERO, dy))


# name: (formula, tensors it reads, numbers it takes)
MAPS = {
    "clip": (clip, 1, 2),
    "clip_grad": (clip_grad, 2, 2),
    "elu": (elu, 1, 1),
    "elu_grad": (elu_grad, 2, 1),
    "gelu": (gelu, 1, 0),
    "gelu_grad": (gelu_grad, 2, 0),
    "hardsigmoid": (hardsigmoid, 1, 0),
    "hardsigmoid_grad": (hardsigmoid_grad, 2, 0),
    "hardswish": (hardswish, 1, 0),
    "hardswish_grad": (hardswish_grad, 2, 0),
    "leaky_relu": (leaky_relu, 1, 1),
    "leaky_relu_grad": (leaky_relu_grad, 2, 1),
    "mish": (mish, 1, 0),
    "mish_grad": (mish_grad, 2, 0),
    "quick_gelu": (quick_gelu, 1, 0),
    "quick_gelu_grad": (quick_gelu_grad, 2, 0),
    "relu": (relu, 1, 0),
    "relu_grad": (relu_grad, 2, 0),
    "selu": (selu, 1, 0),
    "selu_grad": (selu_grad, 2, 0),
    "sigmoid": (sigmoid, 1, 0),
    "sigmoid_grad": (sigmoid_grad, 2, 0),
    "silu": (silu, 1, 0),
    "silu_grad": (silu_grad, 2, 0),
    "softplus": (softplus, 1, 0),
    "softplus_grad": (softplus_grad, 2, 0),
    "tanh": (tanh, 1, 0),
    "tanh_grad": (tanh_grad, 2, 0),
}

kernels_of(MAPS)
