"""Vectors of float32 as a Numba type, and typed access to memory by address.

``Vec`` holds as many lanes as the instruction set in use (``WIDTH``). It takes part in ordinary
arithmetic with itself and with float32 scalars, so one formula serves a vector on the CPU and a
scalar on a GPU. Addresses are int64, in bytes. A vector *load* may read up to one vector past the
end of a tensor (every buffer has that slack); a *store* never writes past it: use ``store_n``.
"""

import operator

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import lower_builtin
from numba.core.typing.templates import ConcreteTemplate, infer_global, signature
from numba.extending import intrinsic, models, register_model

from . import isa

WIDTH = isa.current().width
VECTOR_BYTES = 4 * WIDTH

F32, I1, I32, I64 = ir.FloatType(), ir.IntType(1), ir.IntType(32), ir.IntType(64)
V = ir.VectorType(F32, WIDTH)
VI = ir.VectorType(I32, WIDTH)
VM = ir.VectorType(I1, WIDTH)


class VecType(types.Type):
    """``WIDTH`` float32 lanes."""

    def __init__(self):
        super().__init__(f"Vec{WIDTH}")


class MaskType(types.Type):
    """``WIDTH`` booleans, what comparing two vectors gives."""

    def __init__(self):
        super().__init__(f"Mask{WIDTH}")


vec, mask_t = VecType(), MaskType()


@register_model(VecType)
class _VecModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, V)


@register_model(MaskType)
class _MaskModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        super().__init__(dmm, fe_type, VM)


# ---- building blocks in LLVM IR ----------------------------------------------------------------


def splat(builder, scalar):
    """All lanes equal to one scalar value."""
    kind = ir.VectorType(scalar.type, WIDTH)
    undefined = ir.Constant(kind, ir.Undefined)
    one = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(one, undefined, ir.Constant(VI, [0] * WIDTH))


def call_llvm(builder, name, result, *args):
    """Call an LLVM intrinsic by name; the argument types are taken from the values."""
    kind = ir.FunctionType(result, [a.type for a in args])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), args)


def pointer(builder, address, kind):
    """An int64 address as a pointer to ``kind``."""
    return builder.inttoptr(address, kind.as_pointer())


def first_lanes(builder, n):
    """Mask with the first ``n`` (an int64 value) lanes set."""
    lanes = ir.Constant(VI, list(range(WIDTH)))
    return builder.icmp_signed("<", lanes, splat(builder, builder.trunc(n, I32)))


def load_masked(builder, address, mask):
    """Lanes in ``mask`` from memory, zero elsewhere."""
    p = pointer(builder, address, V)
    name = f"llvm.masked.load.v{WIDTH}f32.p0"
    return call_llvm(builder, name, V, p, ir.Constant(I32, 4), mask, ir.Constant(V, [0.0] * WIDTH))


def store_masked(builder, value, address, mask):
    """Write only the lanes in ``mask``."""
    p = pointer(builder, address, V)
    name = f"llvm.masked.store.v{WIDTH}f32.p0"
    call_llvm(builder, name, ir.VoidType(), value, p, ir.Constant(I32, 4), mask)


def multiply_add(builder, a, b, c):
    """a * b + c, fused where the CPU can."""
    name = "fma" if "fma" in isa.host_flags() else "fmuladd"
    return call_llvm(builder, f"llvm.{name}.v{a.type.count}f32", a.type, a, b, c)


# ---- operators ---------------------------------------------------------------------------------

_ARITHMETIC = {
    operator.add: "fadd",
    operator.sub: "fsub",
    operator.mul: "fmul",
    operator.truediv: "fdiv",
}
_INPLACE = {
    operator.iadd: "fadd",
    operator.isub: "fsub",
    operator.imul: "fmul",
    operator.itruediv: "fdiv",
}
_COMPARE = {
    operator.lt: "<",
    operator.le: "<=",
    operator.gt: ">",
    operator.ge: ">=",
    operator.eq: "==",
}
_PAIRS = ((vec, vec), (vec, types.float32), (types.float32, vec))


def _as_vectors(builder, values, kinds):
    return [v if k == vec else splat(builder, v) for v, k in zip(values, kinds)]


def _register_binary(function, result, emit):
    class Template(ConcreteTemplate):
        cases = [signature(result, a, b) for a, b in _PAIRS]

    infer_global(function)(Template)
    for a, b in _PAIRS:

        @lower_builtin(function, a, b)
        def lower(context, builder, sig, args):
            return emit(builder, *_as_vectors(builder, args, sig.args))


for _table in (_ARITHMETIC, _INPLACE):
    for _function, _name in _table.items():
        _register_binary(
            _function,
            vec,
            lambda b, x, y, name=_name: getattr(b, name)(x, y, flags=("contract",)),
        )
for _function, _name in _COMPARE.items():
    _register_binary(_function, mask_t, lambda b, x, y, name=_name: b.fcmp_ordered(name, x, y))


@infer_global(operator.neg)
class _Negative(ConcreteTemplate):
    cases = [signature(vec, vec)]


@lower_builtin(operator.neg, vec)
def _negative(context, builder, sig, args):
    return builder.fneg(args[0])


# ---- memory ------------------------------------------------------------------------------------


@intrinsic
def load(typingctx, address):
    """Vec at a byte address."""

    def emit(context, builder, sig, args):
        return builder.load(pointer(builder, args[0], V), align=4)

    return vec(types.int64), emit


@intrinsic
def load_n(typingctx, address, n):
    """The first ``n`` lanes at a byte address, zero in the others; reads nothing beyond."""

    def emit(context, builder, sig, args):
        return load_masked(builder, args[0], first_lanes(builder, args[1]))

    return vec(types.int64, types.int64), emit


@intrinsic
def load_between(typingctx, address, start, stop):
    """Lanes ``start`` to ``stop`` of a Vec, zero in the others; reads nothing but these."""

    def emit(context, builder, sig, args):
        address, start, stop = args
        inside = builder.and_(first_lanes(builder, stop), builder.not_(first_lanes(builder, start)))
        return load_masked(builder, address, inside)

    return vec(types.int64, types.int64, types.int64), emit


@intrinsic
def store(typingctx, address, value):
    """Write a whole Vec."""

    def emit(context, builder, sig, args):
        builder.store(args[1], pointer(builder, args[0], V), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, vec), emit


@intrinsic
def store_n(typingctx, address, value, n):
    """Write the first ``n`` lanes."""

    def emit(context, builder, sig, args):
        store_masked(builder, args[1], args[0], first_lanes(builder, args[2]))
        return context.get_dummy_value()

    return types.void(types.int64, vec, types.int64), emit


@intrinsic
def broadcast(typingctx, address):
    """All lanes equal to the float32 at an address."""

    def emit(context, builder, sig, args):
        return splat(builder, builder.load(pointer(builder, args[0], F32)))

    return vec(types.int64), emit


@intrinsic
def load_f32(typingctx, address):
    """The float32 at a byte address."""

    def emit(context, builder, sig, args):
        return builder.load(pointer(builder, args[0], F32))

    return types.float32(types.int64), emit


@intrinsic
def store_f32(typingctx, address, value):
    """Write one float32."""

    def emit(context, builder, sig, args):
        builder.store(args[1], pointer(builder, args[0], F32))
        return context.get_dummy_value()

    return types.void(types.int64, types.float32), emit


@intrinsic
def load_i32(typingctx, address):
    """The int32 at a byte address, widened to int64."""

    def emit(context, builder, sig, args):
        return builder.sext(builder.load(pointer(builder, args[0], I32)), I64)

    return types.int64(types.int64), emit


@intrinsic
def store_i32(typingctx, address, value):
    """Write one int64 value as an int32."""

    def emit(context, builder, sig, args):
        builder.store(builder.trunc(args[1], I32), pointer(builder, args[0], I32))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def load_i64(typingctx, address):
    """The int64 at a byte address."""

    def emit(context, builder, sig, args):
        return builder.load(pointer(builder, args[0], I64))

    return types.int64(types.int64), emit


@intrinsic
def store_i64(typingctx, address, value):
    """Write one int64."""

    def emit(context, builder, sig, args):
        builder.store(args[1], pointer(builder, args[0], I64))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


@intrinsic
def scratch(typingctx, size):
    """Address of ``size`` (a literal) bytes on the stack, 64-byte aligned, for this call."""
    if not isinstance(size, types.IntegerLiteral):
        from numba.core.errors import RequireLiteralValue

        raise RequireLiteralValue("scratch(size)")
    count = size.literal_value

    def emit(context, builder, sig, args):
        with builder.goto_entry_block():
            space = builder.alloca(ir.IntType(8), ir.Constant(I64, count))
            space.align = 64
        return builder.ptrtoint(space, I64)

    return types.int64(size), emit


# ---- lanes -------------------------------------------------------------------------------------


@intrinsic
def fill(typingctx, value):
    """All lanes equal to a float32."""

    def emit(context, builder, sig, args):
        return splat(builder, args[0])

    return vec(types.float32), emit


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c with one rounding (two where the CPU has no FMA). Scalars are broadcast."""
    if not all(t in (vec, types.float32) for t in (a, b, c)):
        return None

    def emit(context, builder, sig, args):
        return multiply_add(builder, *_as_vectors(builder, args, sig.args))

    return vec(a, b, c), emit


@intrinsic
def where(typingctx, condition, a, b):
    """Lane by lane: ``a`` where the condition holds, else ``b``. Scalars are broadcast."""
    if condition != mask_t:
        return None

    def emit(context, builder, sig, args):
        return builder.select(args[0], *_as_vectors(builder, args[1:], sig.args[1:]))

    return vec(condition, a, b), emit


def _extremum(symbol, name, doc):
    def typing(typingctx, a, b):
        def emit(context, builder, sig, args):
            x, y = _as_vectors(builder, args, sig.args)
            return builder.select(builder.fcmp_ordered(symbol, x, y), y, x)

        return vec(a, b), emit

    typing.__name__, typing.__doc__ = name, doc
    return intrinsic(typing)


maximum = _extremum("<", "maximum", "Lane by lane maximum; a NaN in ``a`` is kept.")
minimum = _extremum(">", "minimum", "Lane by lane minimum; a NaN in ``a`` is kept.")


def _unary(llvm_name, name, doc):
    def typing(typingctx, a):
        def emit(context, builder, sig, args):
            return call_llvm(builder, f"llvm.{llvm_name}.v{WIDTH}f32", V, args[0])

        return vec(vec), emit

    typing.__name__, typing.__doc__ = name, doc
    return intrinsic(typing)


sqrt = _unary("sqrt", "sqrt", "Square root.")
absolute = _unary("fabs", "absolute", "Absolute value.")
round_even = _unary("roundeven", "round_even", "Nearest integer, ties to even.")


def _estimate(name, exact, doc):
    """An instruction of 14 bits where there is one, or the exact value."""
    lanes = ir.IntType(16)

    def typing(typingctx, a):
        def emit(context, builder, sig, args):
            if "avx512f" not in isa.current().flags:
                return exact(builder, args[0])
            kind = ir.FunctionType(V, [V, V, lanes])
            symbol = f"llvm.x86.avx512.{name}14.ps.512"
            function = cgutils.get_or_insert_function(builder.module, kind, symbol)
            return builder.call(function, [args[0], args[0], ir.Constant(lanes, -1)])

        return vec(vec), emit

    typing.__name__, typing.__doc__ = f"estimate_{name}", doc
    return intrinsic(typing)


def _one_over(builder, x):
    return builder.fdiv(ir.Constant(V, [1.0] * WIDTH), x)


estimate_rcp = _estimate("rcp", _one_over, "1 / x, to 14 bits at least.")
estimate_rsqrt = _estimate(
    "rsqrt",
    lambda builder, x: _one_over(builder, call_llvm(builder, f"llvm.sqrt.v{WIDTH}f32", V, x)),
    "1 / sqrt(x), to 14 bits at least.",
)


@intrinsic
def first(typingctx, value, n, other):
    """The first ``n`` lanes of ``value``, the float32 ``other`` in the rest."""

    def emit(context, builder, sig, args):
        return builder.select(first_lanes(builder, args[1]), args[0], splat(builder, args[2]))

    return vec(vec, types.int64, types.float32), emit


@intrinsic
def sum_lanes(typingctx, value):
    """Sum of the lanes, pairwise, in an order fixed by the width."""

    def emit(context, builder, sig, args):
        return _tree(builder, args[0], lambda x, y: builder.fadd(x, y))

    return types.float32(vec), emit


@intrinsic
def max_lanes(typingctx, value):
    """Largest lane."""

    def emit(context, builder, sig, args):
        return _tree(
            builder,
            args[0],
            lambda x, y: builder.select(builder.fcmp_unordered(">", x, y), x, y),
        )

    return types.float32(vec), emit


def _tree(builder, value, combine):
    """Reduce lanes by halves: (x0 + x8), then (x0 + x4), ..."""
    width = WIDTH
    while width > 1:
        width //= 2
        low = ir.Constant(ir.VectorType(I32, width), list(range(width)))
        high = ir.Constant(ir.VectorType(I32, width), list(range(width, 2 * width)))
        undefined = ir.Constant(value.type, ir.Undefined)
        value = combine(
            builder.shuffle_vector(value, undefined, low),
            builder.shuffle_vector(value, undefined, high),
        )
    return builder.extract_element(value, ir.Constant(I32, 0))


# ---- bits of a float32, for polynomials ----------------------------------------------------------


@intrinsic
def power_of_two(typingctx, n):
    """2**n for integral lanes in [-126, 127]."""

    def emit(context, builder, sig, args):
        whole = builder.fptosi(args[0], VI)
        biased = builder.add(whole, ir.Constant(VI, [127] * WIDTH))
        return builder.bitcast(builder.shl(biased, ir.Constant(VI, [23] * WIDTH)), V)

    return vec(vec), emit


_SQRT_HALF = int(np.float32(np.sqrt(0.5)).view(np.int32))


@intrinsic
def exponent(typingctx, x):
    """e with x = m * 2**e and m in [sqrt(1/2), sqrt(2)), for positive normal x."""

    def emit(context, builder, sig, args):
        bits = builder.sub(builder.bitcast(args[0], VI), ir.Constant(VI, [_SQRT_HALF] * WIDTH))
        return builder.sitofp(builder.ashr(bits, ir.Constant(VI, [23] * WIDTH)), V)

    return vec(vec), emit


@intrinsic
def mantissa(typingctx, x):
    """m with x = m * 2**e and m in [sqrt(1/2), sqrt(2)), for positive normal x."""

    def emit(context, builder, sig, args):
        bits = builder.bitcast(args[0], VI)
        e = builder.ashr(
            builder.sub(bits, ir.Constant(VI, [_SQRT_HALF] * WIDTH)),
            ir.Constant(VI, [23] * WIDTH),
        )
        return builder.bitcast(builder.sub(bits, builder.shl(e, ir.Constant(VI, [23] * WIDTH))), V)

    return vec(vec), emit


@intrinsic
def copysign(typingctx, magnitude, sign):
    """The magnitude of one vector with the sign of another."""

    def emit(context, builder, sig, args):
        return call_llvm(builder, f"llvm.copysign.v{WIDTH}f32", V, *args)

    return vec(vec, vec), emit


@intrinsic
def prefetch(typingctx, address):
    """Ask for the cache line at an address (into L2)."""

    def emit(context, builder, sig, args):
        p = pointer(builder, args[0], ir.IntType(8))
        kind = ir.FunctionType(ir.VoidType(), [p.type, I32, I32, I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        builder.call(function, [p] + [ir.Constant(I32, k) for k in (0, 2, 1)])
        return context.get_dummy_value()

    return types.void(types.int64), emit
