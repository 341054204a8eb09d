"""Random numbers from a counter: a hash of (seed, step, stream, element), and dropout.

The hash works on whole numbers of 32 bits: three rounds of xor-shift and multiplication, the second
keyed. Multipliers lie below 2**31, so that the formula neither overflows in int64 (Python, CUDA)
nor differs from native 32-bit arithmetic (vectors): every device draws the same bits. They are
random odd numbers, kept because flipping any input bit flips each output bit half of the time.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .maths import bind
from .simd import (
    I32,
    VI,
    WIDTH,
    broadcast,
    fill,
    load,
    load_i32,
    mask_t,
    splat,
    store,
    store_n,
    where,
)

TILE = 32768  # elements of a tile
ZERO = np.float32(0)

MASK = 0xFFFFFFFF
FIRST, SECOND = 0x2545F491, 0x6C8E9CF5  # tell the two words of a key apart
M1, M2, M3 = 0x35F7D389, 0x3A3E71D7, 0x6DB0C1F7


# ---- the formula ---------------------------------------------------------------------------------


def stir(x, key):
    """A bijection of the 32-bit numbers, chosen by ``key``."""
    x = x & MASK
    x = ((x ^ (x >> 16)) * M1) & MASK
    x = x ^ key
    x = ((x ^ (x >> 15)) * M2) & MASK
    x = ((x ^ (x >> 16)) * M3) & MASK
    return x ^ (x >> 15)


def key_word(seed, step, stream, salt):
    """One of the two words that stand for (seed, step, stream)."""
    return stir(stir(stir(seed + salt, 0) + step, 0) + stream, 0)


def mix(seed, step, stream, element):
    """32 random bits, a whole number below 2**32, for four whole numbers.

    Parameters
    ----------
    seed, step, stream, element : int
        Any 32-bit numbers, signed or not.

    Returns
    -------
    int
    """
    low = key_word(seed, step, stream, FIRST)
    high = key_word(seed, step, stream, SECOND)
    return stir(element + low, high)


def threshold(rate):
    """Bits below this number happen with probability ``rate``."""
    return min(MASK, round(rate * 2.0**32))


_stir = inline(stir)
_key_word = inline(bind(key_word, {"stir": _stir}))


# ---- vectors of 32-bit whole numbers -------------------------------------------------------------


class WholeType(types.Type):
    """``WIDTH`` unsigned 32-bit numbers."""

    def __init__(self):
        super().__init__(f"Whole{WIDTH}")


whole = WholeType()


@register_model(WholeType)
class _WholeModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, VI)


def _register_operator(function, emit):
    cases = ((whole, whole), (whole, types.int64))

    class Template(ConcreteTemplate):
        pass

    Template.cases = [signature(whole, a, b) for a, b in cases]
    infer_global(function)(Template)

    for a, b in cases:

        @lower_builtin(function, a, b)
        def lower(context, builder, sig, args):
            x, y = args
            if sig.args[1] == types.int64:
                y = splat(builder, builder.trunc(y, I32))
            return emit(builder, x, y)


for _function, _name in {
    operator.add: "add",
    operator.mul: "mul",
    operator.xor: "xor",
    operator.and_: "and_",
    operator.rshift: "lshr",
}.items():
    _register_operator(_function, lambda builder, x, y, name=_name: getattr(builder, name)(x, y))


@intrinsic
def count_from(typingctx, first):
    """first, first + 1, ... in the lanes."""

    def emit(context, builder, sig, args):
        lanes = ir.Constant(VI, list(range(WIDTH)))
        return builder.add(splat(builder, builder.trunc(args[0], I32)), lanes)

    return whole(types.int64), emit


@intrinsic
def at_least(typingctx, numbers, limit):
    """Lanes whose number is not below a limit."""

    def emit(context, builder, sig, args):
        return builder.icmp_unsigned(">=", args[0], splat(builder, builder.trunc(args[1], I32)))

    return mask_t(whole, types.int64), emit


# ---- dropout -------------------------------------------------------------------------------------


@kernel
def dropout(p, tile):
    """y = x * scale where the bits of an element reach a threshold, else 0.

    p = [x, registers (seed, step, ...), y, stream, threshold, scale, n]
    """
    seed, step = load_i32(p[1]), load_i32(p[1] + 4)
    low = _key_word(seed, step, p[3], FIRST)
    high = _key_word(seed, step, p[3], SECOND)
    limit, scale, zero = p[4], broadcast(p[5]), fill(ZERO)
    stop = min(p[6], (tile + 1) * TILE)
    for i in range(tile * TILE, stop, WIDTH):
        keep = at_least(_stir(count_from(i) + low, high), limit)
        y = where(keep, load(p[0] + 4 * i) * scale, zero)
        if i + WIDTH <= stop:
            store(p[2] + 4 * i, y)
        else:
            store_n(p[2] + 4 * i, y, stop - i)


@cuda_twin(dropout, items=lambda p: p[6])
def dropout_twin(f, i, p):
    """One thread per element."""
    k = cuda.grid(1)
    if k < p[6]:
        seed, step = np.int64(i[p[1] // 4]), np.int64(i[p[1] // 4 + 1])
        low, high = key_word(seed, step, p[3], FIRST), key_word(seed, step, p[3], SECOND)
        keep = stir(k + low, high) >= p[4]
        f[p[2] // 4 + k] = f[p[0] // 4 + k] * f[p[5] // 4] if keep else ZERO
