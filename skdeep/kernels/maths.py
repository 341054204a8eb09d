"""Elementary functions of float32, and how one formula serves SIMD vectors, CUDA and Python.

A *formula* is a plain function of values that uses only operators and the names in :data:`SIMD`:
``exp``, ``where``, ``maximum``, ... It is written once. :func:`cpu` compiles it for vectors;
:func:`bind` rebuilds it over any other set of these names, such as :data:`SCALAR` (NumPy scalars,
for tests and for the CUDA simulator) or the functions of a GPU.

The vector functions are polynomials (our own fits, relative error below 4e-9) with argument
reduction; no call leaves the kernel. Errors quoted are the largest found against float64, in units
in the last place (ulp), over all exponents.
"""

import math
import types

import numpy as np
from llvmlite import ir
from numba.extending import intrinsic

from . import isa
from .compiler import inline
from .simd import (
    VI,
    WIDTH,
    V,
    absolute,
    call_llvm,
    copysign,
    exponent,
    fill,
    fma,
    mantissa,
    maximum,
    minimum,
    power_of_two,
    round_even,
    sqrt,
    vec,
    where,
)

__all__ = ["SCALAR", "SIMD", "absolute", "bind", "complete", "composed", "cpu", "erf", "exp",
           "expm1", "fill", "fma", "log", "log1p", "maximum", "minimum", "sigmoid", "softplus",
           "sqrt", "tanh", "where"]  # fmt: skip

f = np.float32
ZERO, HALF, ONE, TWO = f(0), f(0.5), f(1), f(2)
INFINITY, NAN = f(np.inf), f(np.nan)
SQRT_TWO = f(2**0.5)
AVX512 = isa.current().width == 16
LOG2_E = f(1.4426950408889634)
LN2_HIGH, LN2_LOW = f(0.693359375), f(-2.12194440e-4)  # the high part has 9 bits: n * high is exact
SMALLEST_NORMAL, TWO_TO_25, TWENTY_FIVE = f(2.0**-126), f(2.0**25), f(25)


# ---- binding -----------------------------------------------------------------------------------


def bind(formula, namespace):
    """The same formula with the names it uses looked up in ``namespace`` first."""
    bound = types.FunctionType(
        formula.__code__,
        {**formula.__globals__, **namespace},
        formula.__name__,
        formula.__defaults__,
        formula.__closure__,
    )
    bound.__qualname__, bound.__doc__ = formula.__qualname__, formula.__doc__
    return bound


def cpu(formula):
    """The formula compiled for SIMD vectors, to be called in kernels."""
    return inline(bind(formula, SIMD))


COMPOSED = {}  # formulas that other formulas use as if they were primitives


def composed(formula):
    """Decorator: a formula that other formulas may call by its name."""
    COMPOSED[formula.__name__] = formula
    return cpu(formula)


def complete(primitives):
    """Primitives and all composed formulas, the latter bound to the former."""
    namespace = dict(primitives)
    for name, formula in COMPOSED.items():
        namespace[name] = bind(formula, namespace)
    return namespace


# ---- SIMD primitives -----------------------------------------------------------------------------


@intrinsic
def _scale(typingctx, x, n):
    """x * 2**n for integral n in [-250, 250], rounded once, with gradual underflow."""

    def emit(context, builder, sig, args):
        x, n = args
        if AVX512:
            every, nearest = ir.Constant(ir.IntType(16), -1), ir.Constant(ir.IntType(32), 4)
            return call_llvm(
                builder, "llvm.x86.avx512.mask.scalef.ps.512", V, x, n, x, every, nearest
            )
        # 2**n alone leaves the exponent range at both ends: two factors.
        whole = builder.fptosi(n, VI)
        half = builder.ashr(whole, ir.Constant(VI, [1] * WIDTH))
        for part in (half, builder.sub(whole, half)):
            biased = builder.add(part, ir.Constant(VI, [127] * WIDTH))
            factor = builder.bitcast(builder.shl(biased, ir.Constant(VI, [23] * WIDTH)), V)
            x = builder.fmul(x, factor)
        return x

    return vec(vec, vec), emit


def _avx512_unary(name, doc, *before):
    """An intrinsic of a vector that exists with AVX-512 alone; ``before`` are its immediates."""

    def typing(typingctx, x):
        def emit(context, builder, sig, args):
            constants = [ir.Constant(ir.IntType(32), k) for k in before]
            every, nearest = ir.Constant(ir.IntType(16), -1), ir.Constant(ir.IntType(32), 4)
            full = f"llvm.x86.avx512.mask.{name}.ps.512"
            return call_llvm(builder, full, V, args[0], *constants, args[0], every, nearest)

        return vec(vec), emit

    typing.__name__, typing.__doc__ = f"_{name}", doc
    return intrinsic(typing)


_getexp = _avx512_unary("getexp", "Exponent as a float; minus infinity for zero.")
# 8: the mantissa in [1, 2), NaN for a negative number
_getmant = _avx512_unary("getmant", "Mantissa in [1, 2); 1 for zero and infinity.", 8)


@inline
def _reduced(x):
    """(n, q) with x = n ln 2 + r, |r| <= ln(2) / 2 and q = exp(r) - 1."""
    n = round_even(x * LOG2_E)
    r = fma(n, -LN2_LOW, fma(n, -LN2_HIGH, x))
    q = fma(fill(f(0.001395049155689776)), r, f(0.008368889801204205))
    q = fma(q, r, f(0.04166620597243309))
    q = fma(q, r, f(0.166665181517601))
    q = fma(q, r, HALF)
    return n, fma(q, r * r, r)


@inline
def exp(x):
    """e ** x to 1.1 ulp; gradual underflow, infinity above 88.72."""
    n, q = _reduced(maximum(minimum(x, f(89)), f(-104)))
    return _scale(q + ONE, n)


def _power_by_scale(n):
    """2**n, by one instruction of AVX-512."""
    return _scale(fill(ONE), n)


def _power_by_bits(n):
    """2**n for n in [-126, 127]."""
    return power_of_two(n)


_power = inline(_power_by_scale if AVX512 else _power_by_bits)


@inline
def expm1(x):
    """e ** x - 1 to 1.6 ulp, without cancellation near zero."""
    n, q = _reduced(maximum(minimum(x, f(89)), f(-20)))
    s = _power(n - ONE)
    y = fma(s, q, s - HALF)
    return where(absolute(x) < f(1e-6), fma(x * HALF, x, x), y + y)


@inline
def _log_of(m, e):
    """log(2**e (1 + m)) for 1 + m in [sqrt(1/2), sqrt(2))."""
    z = m * m
    p = fma(fill(f(-0.07634499669075012)), m, f(0.127615824341774))
    p = fma(p, m, f(-0.13160184025764465))
    p = fma(p, m, f(0.14201757311820984))
    p = fma(p, m, f(-0.16623356938362122))
    p = fma(p, m, f(0.20001226663589478))
    p = fma(p, m, f(-0.2500081956386566))
    p = fma(p, m, f(0.3333333134651184))
    y = fma(z, fma(p, m, -HALF), fma(e, LN2_LOW, m))
    return fma(e, LN2_HIGH, y)


def _in_parts(x):
    """(m, e): 1 + m in [sqrt(1/2), sqrt(2)) and e with x = 2**e (1 + m); NaN for negative x.

    For zero and infinity e is the logarithm itself. Denormal numbers are as good as any.
    """
    e, m = _getexp(x), _getmant(x)
    large = m > SQRT_TWO
    return where(large, m * HALF, m) - ONE, where(large, e + ONE, e)


def _log_by_parts(x):
    """log(x) with AVX-512's own way to part a number: a third fewer instructions."""
    m, e = _parts(x)
    return where(absolute(e) < INFINITY, _log_of(m, e), e + m)


def _log_by_bits(x):
    """log(x) from the bits of x."""
    tiny = x < SMALLEST_NORMAL
    scaled = where(tiny, x * TWO_TO_25, x)
    e = exponent(scaled) - where(tiny, TWENTY_FIVE, ZERO)
    y = _log_of(mantissa(scaled) - ONE, e)
    y = where(x < INFINITY, y, x)  # infinity and NaN are their own logarithms
    return where(x > ZERO, y, where(x == ZERO, fill(-INFINITY), fill(NAN)))


def _log1p_by_parts(x):
    """log(1 + x) as :func:`_log_by_parts`."""
    u = x + ONE
    m, e = _parts(u)
    # The exponent of 1 + x scales x itself, so that the bits lost in 1 + x come back.
    s = _scale(fill(ONE), -e)
    y = where(x < INFINITY, _log_of(fma(x, s, s - ONE), e), x)
    return where(u > ZERO, y, e + m)


def _log1p_by_bits(x):
    """log(1 + x) from the bits of 1 + x."""
    u = x + ONE
    e = exponent(u)
    # The exponent of 1 + x scales x itself, so that the bits lost in 1 + x come back.
    s = power_of_two(-e)
    m = where(x < f(1e9), fma(x, s, s - ONE), mantissa(u) - ONE)
    y = _log_of(m, e)
    y = where(x < INFINITY, y, x)
    return where(u > ZERO, y, where(u == ZERO, fill(-INFINITY), fill(NAN)))


_parts = inline(_in_parts)


_log = inline(_log_by_parts if AVX512 else _log_by_bits)
_log1p = inline(_log1p_by_parts if AVX512 else _log1p_by_bits)


@inline
def log(x):
    """Natural logarithm to 1 ulp, of denormal numbers too; NaN below zero."""
    return _log(x)


@inline
def log1p(x):
    """log(1 + x) to 1.5 ulp, without cancellation near zero; NaN below -1."""
    return _log1p(x)


@inline
def tanh(x):
    """Hyperbolic tangent to 2.5 ulp."""
    a = minimum(absolute(x), f(9.1))
    n, q = _reduced(a + a)
    s = _power(n)
    t = fma(s, q, s - ONE)
    return copysign(t / (t + TWO), x)


@inline
def erf(x):
    """Error function to 1.1 ulp."""
    a = minimum(absolute(x), f(4))
    z = a * a
    p = fma(fill(f(7.853857823647559e-05)), z, f(-0.0008010192541405559))
    p = fma(p, z, f(0.005188327748328447))
    p = fma(p, z, f(-0.026853810995817184))
    p = fma(p, z, f(0.1128358542919159))
    p = fma(p, z, f(-0.3761262595653534))
    p = fma(p, z, f(0.12837916612625122))
    t = fma(fill(f(0.00019821978639811277)), a, f(-0.003065491560846567))  # t = log(1 - erf(a))
    t = fma(t, a, f(0.022315217182040215))
    t = fma(t, a, f(-0.10411369055509567))
    t = fma(t, a, f(-0.6369760632514954))
    t = fma(t, a, f(-1.127797245979309))
    t = fma(t, a, f(-0.00016644620336592197))
    n, q = _reduced(t)
    s = _power(n)
    far = (ONE - s) - s * q
    return copysign(where(a < ONE, fma(p, a, a), far), x)


SIMD = {
    "absolute": absolute,
    "erf": erf,
    "exp": exp,
    "expm1": expm1,
    "fill": fill,
    "fma": fma,
    "log": log,
    "log1p": log1p,
    "maximum": maximum,
    "minimum": minimum,
    "sqrt": sqrt,
    "tanh": tanh,
    "where": where,
}


# ---- composed formulas ---------------------------------------------------------------------------


@composed
def sigmoid(x):
    """1 / (1 + exp(-x)) to 2.5 ulp, without overflow at either end."""
    t = exp(-absolute(x))
    return where(x < ZERO, t, ONE) / (t + ONE)


@composed
def softplus(x):
    """log(1 + exp(x)) to 2 ulp, without overflow."""
    return maximum(x, ZERO) + log1p(exp(-absolute(x)))


SIMD.update(sigmoid=sigmoid, softplus=softplus)


# ---- NumPy scalars -------------------------------------------------------------------------------


def _scalar(function):
    """A function of float64 numbers as a function of float32 scalars, rounded once."""

    def call(*args):
        with np.errstate(all="ignore"):
            return f(function(*map(np.float64, args)))

    call.__name__ = function.__name__
    return call


def _where(condition, a, b):
    return a if condition else b


def _maximum(a, b):
    return b if b > a else a


def _minimum(a, b):
    return b if b < a else a


SCALAR = complete(
    {
        "absolute": abs,
        "erf": _scalar(math.erf),
        "exp": _scalar(np.exp),
        "expm1": _scalar(np.expm1),
        "fill": f,
        "fma": _scalar(lambda a, b, c: a * b + c),
        "log": _scalar(np.log),
        "log1p": _scalar(np.log1p),
        "maximum": _maximum,
        "minimum": _minimum,
        "sqrt": _scalar(np.sqrt),
        "tanh": _scalar(np.tanh),
        "where": _where,
    }
)
