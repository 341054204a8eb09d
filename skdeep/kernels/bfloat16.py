"""bfloat16, the upper half of a float32: conversions, and element-wise work on it.

Values are kept as 16 bits and rounded to the nearest, ties to even; an infinity stays one, a NaN
stays one. Whatever is computed is computed in float32.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import isa
from .compiler import inline, kernel
from .simd import (
    I32,
    I64,
    VECTOR_BYTES,
    VI,
    WIDTH,
    V,
    call_llvm,
    fill,
    first_lanes,
    load,
    load_f32,
    load_n,
    maximum,
    minimum,
    pointer,
    store,
    store_n,
    vec,
)

I16 = ir.IntType(16)
VS = ir.VectorType(I16, WIDTH)
HALF = VECTOR_BYTES // 2  # bytes of a vector of bfloat16
PAIRS = isa.current().bfloat16


class BFloat(ir.Type):
    """LLVM's bfloat, which llvmlite lacks."""

    def _to_string(self):
        return "bfloat"

    def __eq__(self, other):
        return isinstance(other, BFloat)

    def __hash__(self):
        return hash(BFloat)


def constant(value):
    return ir.Constant(VI, [value] * WIDTH)


def first_halves(builder, pairs):
    """The first of each pair of bfloat16, the lower half of a word, as float32."""
    return builder.bitcast(builder.shl(pairs, constant(16)), V)


def second_halves(builder, pairs):
    return builder.bitcast(builder.and_(pairs, constant(-65536)), V)


def narrow(builder, value):
    """Bits of the nearest bfloat16. The CPU's own conversion takes denormal numbers as zeros."""
    if PAIRS:
        return builder.bitcast(builder.fptrunc(value, ir.VectorType(BFloat(), WIDTH)), VS)
    bits = builder.bitcast(value, VI)
    odd = builder.and_(builder.lshr(bits, constant(16)), constant(1))
    rounded = builder.add(bits, builder.add(odd, constant(0x7FFF)))
    quiet = builder.or_(bits, constant(0x400000))
    bits = builder.select(builder.fcmp_unordered("uno", value, value), quiet, rounded)
    return builder.trunc(builder.lshr(bits, constant(16)), VS)


def load_half(builder, address):
    half = builder.load(pointer(builder, address, VS), align=2)
    return first_halves(builder, builder.zext(half, VI))


def store_half(builder, value, address):
    builder.store(narrow(builder, value), pointer(builder, address, VS), align=2)


def store_half_first(builder, value, address, n):
    """Write the first ``n`` lanes, rounded."""
    store_shorts_first(builder, narrow(builder, value), address, n)


def store_shorts_first(builder, half, address, n):
    """Write the first ``n`` lanes of 16 bits; a call where that is more than one instruction."""
    name = f"llvm.masked.store.v{WIDTH}i16.p0"

    def masked(builder, half, address, n):
        args = (half, pointer(builder, address, VS), ir.Constant(I32, 2), first_lanes(builder, n))
        call_llvm(builder, name, ir.VoidType(), *args)

    if WIDTH == 16:
        masked(builder, half, address, n)
        return
    kind = ir.FunctionType(ir.VoidType(), [VS, I64, I64])
    function = cgutils.get_or_insert_function(builder.module, kind, "skdeep_store_first_bf16")
    if function.is_declaration:
        function.linkage = "internal"
        function.attributes.add("noinline")
        inside = ir.IRBuilder(function.append_basic_block("entry"))
        masked(inside, *function.args)
        inside.ret_void()
    builder.call(function, [half, address, n])


@intrinsic
def load_bf16(typingctx, address):
    """Vec of the bfloat16 at a byte address."""

    def emit(context, builder, sig, args):
        return load_half(builder, args[0])

    return vec(types.int64), emit


@intrinsic
def store_bf16(typingctx, address, value):
    """Round a whole Vec to bfloat16 and write it."""

    def emit(context, builder, sig, args):
        store_half(builder, args[1], args[0])
        return context.get_dummy_value()

    return types.void(types.int64, vec), emit


@intrinsic
def store_bf16_n(typingctx, address, value, n):
    """Round to bfloat16 and write the first ``n`` lanes."""

    def emit(context, builder, sig, args):
        store_half_first(builder, args[1], args[0], args[2])
        return context.get_dummy_value()

    return types.void(types.int64, vec, types.int64), emit


@intrinsic
def pair_up(typingctx, address, one, other):
    """Write ``WIDTH`` words: the lanes of two Vecs as pairs of bfloat16, ``one`` first."""

    def emit(context, builder, sig, args):
        address, one, other = args
        low, high = (builder.zext(narrow(builder, value), VI) for value in (one, other))
        words = builder.or_(low, builder.shl(high, constant(16)))
        builder.store(words, pointer(builder, address, VI), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, vec, vec), emit


@intrinsic
def threes_to_fours(typingctx, value):
    """The first lanes with a zero after every three of them."""

    def emit(context, builder, sig, args):
        order = [WIDTH if k % 4 == 3 else k // 4 * 3 + k % 4 for k in range(WIDTH)]
        zeros = ir.Constant(V, [0.0] * WIDTH)
        return builder.shuffle_vector(args[0], zeros, ir.Constant(VI, order))

    return vec(vec), emit


# ---- 2 * WIDTH numbers at once, in an order of whole numbers -------------------------------------
#
# With the other bits of a negative number flipped, bfloat16 sort like whole numbers, but for
# negative NaN, which come before -inf. Counted from -inf, without a sign, every NaN comes last.

VW = ir.VectorType(I16, 2 * WIDTH)


def _shorts(value):
    return ir.Constant(VW, [value] * (2 * WIDTH))


LOWEST_SHORT = 0x807F  # -inf, flipped


def _flip(builder, bits):
    sign = builder.ashr(bits, _shorts(15))
    return builder.xor(bits, builder.and_(sign, _shorts(0x7FFF)))


@intrinsic
def load_ordered(typingctx, address):
    """``2 * WIDTH`` bfloat16 as ordered numbers, in the lanes of a Vec."""

    def emit(context, builder, sig, args):
        bits = builder.load(pointer(builder, args[0], VW), align=2)
        return builder.bitcast(builder.sub(_flip(builder, bits), _shorts(LOWEST_SHORT)), V)

    return vec(types.int64), emit


@intrinsic
def latest(typingctx, a, b):
    """The later of ordered numbers: the maximum, or a NaN."""

    def emit(context, builder, sig, args):
        a, b = (builder.bitcast(value, VW) for value in args)
        later = builder.select(builder.icmp_unsigned(">", a, b), a, b)
        return builder.bitcast(later, V)

    return vec(vec, vec), emit


@intrinsic
def store_ordered_n(typingctx, address, value, n):
    """Write the first ``n`` of ``2 * WIDTH`` ordered numbers as bfloat16."""

    def emit(context, builder, sig, args):
        address, value, n = args
        bits = builder.add(builder.bitcast(value, VW), _shorts(LOWEST_SHORT))
        bits = _flip(builder, bits)
        low, high = (
            builder.shuffle_vector(bits, bits, ir.Constant(VI, list(range(first, first + WIDTH))))
            for first in (0, WIDTH)
        )
        store_shorts_first(builder, low, address, n)
        rest = builder.sub(n, ir.Constant(I64, WIDTH))
        with builder.if_then(builder.icmp_signed(">", rest, ir.Constant(I64, 0))):
            store_shorts_first(builder, high, builder.add(address, ir.Constant(I64, HALF)), rest)
        return context.get_dummy_value()

    return types.void(types.int64, vec, types.int64), emit


# ---- either format -------------------------------------------------------------------------------


@inline
def load_any(address, size):
    """Vec of elements of ``size`` bytes: 2 for bfloat16, 4 for float32."""
    if size == 2:
        return load_bf16(address)
    return load(address)


@inline
def store_any(address, value, size):
    """Write a whole Vec as elements of ``size`` bytes."""
    if size == 2:
        store_bf16(address, value)
    else:
        store(address, value)


@inline
def store_any_n(address, value, n, size):
    """Write the first ``n`` lanes as elements of ``size`` bytes."""
    if size == 2:
        store_bf16_n(address, value, n)
    else:
        store_n(address, value, n)


# ---- kernels -------------------------------------------------------------------------------------


@kernel
def narrow_rows(p, tile):
    """Rows of float32 as bfloat16, with zeros after them where the output is wider.

    p = [x, y, rows, elements of a row of x, of a row of y, rows per tile]
    """
    c, width = p[3], p[4]
    row, stop = tile * p[5], min(p[2], (tile + 1) * p[5])
    x, y = p[0] + 4 * row * c, p[1] + 2 * row * width
    if c == 3 and width == 4:
        left = 4 * (stop - row)
        while left > 0:
            store_bf16_n(y, threes_to_fours(load(x)), min(left, WIDTH))
            x, y, left = x + 3 * WIDTH, y + HALF, left - WIDTH
        return
    for _ in range(row, stop):
        for k in range(0, width, WIDTH):
            value = load_n(x + 4 * k, max(0, min(WIDTH, c - k)))
            store_bf16_n(y + 2 * k, value, min(WIDTH, width - k))
        x, y = x + 4 * c, y + 2 * width


@kernel
def widen_elements(p, tile):
    """bfloat16 as float32. p = [x, y, elements, elements per tile]"""
    stop = min(p[2], (tile + 1) * p[3])
    for k in range(tile * p[3], stop, WIDTH):
        store_n(p[1] + 4 * k, load_bf16(p[0] + 2 * k), min(WIDTH, stop - k))


@kernel
def add_bf16(p, tile):
    """out = clamp(x + y), or clamp(x) where y is 0.

    p = [x, y, out, low, high, elements, elements per tile]
    """
    low, high = fill(load_f32(p[3])), fill(load_f32(p[4]))
    stop = min(p[5], (tile + 1) * p[6])
    for k in range(tile * p[6], stop, WIDTH):
        value = load_bf16(p[0] + 2 * k)
        if p[1] != 0:
            value = value + load_bf16(p[1] + 2 * k)
        value = minimum(maximum(value, low), high)
        store_bf16_n(p[2] + 2 * k, value, min(WIDTH, stop - k))
