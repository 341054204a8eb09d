"""Tile registers: where they are, and the few things that can be done with them.

A tile is up to 16 rows of one vector. There are eight, and a product

    c[m, n] += sum over k of a[m, 2k] * b[k, 2n] + a[m, 2k + 1] * b[k, 2n + 1]

of three of them, with rows of pairs of bfloat16 in ``a`` and ``b`` and of float32 in ``c``. It adds
up the first and the second numbers of the pairs apart, then both to ``c``.

Processors with AMX have such registers (``Registers``). Elsewhere ``Memory`` stands for them, with
vectors of any width: what is built of tiles runs on every machine, though slowly. Nothing but these
two classes knows the difference. Numbers below 1.2e-38 are zeros to AMX, and numbers to ``Memory``.
"""

from functools import cached_property

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import isa
from .bfloat16 import first_halves, second_halves
from .simd import I32, I64, VECTOR_BYTES, VI, WIDTH, V, multiply_add, pointer, splat

I8 = ir.IntType(8)
TILES = 8
TILE_ROWS = 16
TILE_BYTES = TILE_ROWS * VECTOR_BYTES
# Palette 1: bytes of a row of each tile from byte 16 on, numbers of rows from byte 48 on.
CONFIGURATION = [1, *[0] * 15, *[64, 0] * TILES, *[0] * 16, *[TILE_ROWS] * TILES, *[0] * 8]


def _number(register):
    return ir.Constant(I8, register)


class Registers:
    """Code that works on the tile registers of AMX.

    Between :meth:`configure` and :meth:`release` a thread can use them.
    """

    def __init__(self, builder):
        self.builder = builder

    def _call(self, name, *args):
        kind = ir.FunctionType(ir.VoidType(), [a.type for a in args])
        name = f"llvm.x86.{name}"
        self.builder.call(cgutils.get_or_insert_function(self.builder.module, kind, name), args)

    def configure(self):
        """All tiles have 16 rows of 64 bytes."""
        kind = ir.ArrayType(I8, len(CONFIGURATION))
        place = cgutils.alloca_once(self.builder, kind)
        self.builder.store(ir.Constant(kind, CONFIGURATION), place)
        self._call("ldtilecfg", self.builder.bitcast(place, I8.as_pointer()))

    def release(self):
        """Give the registers back."""
        self._call("tilerelease")

    def zero(self, register):
        """Set a tile to zero."""
        self._call("tilezero", _number(register))

    def load(self, register, address, stride):
        """Rows of a tile from memory, ``stride`` bytes apart."""
        self._call("tileloadd64", _number(register), pointer(self.builder, address, I8), stride)

    def store(self, register, address, stride):
        """The same to memory."""
        self._call("tilestored64", _number(register), pointer(self.builder, address, I8), stride)

    def product(self, c, a, b):
        """Add the product of tiles ``a`` and ``b`` to tile ``c``."""
        self._call("tdpbf16ps", *map(_number, (c, a, b)))


class Memory:
    """The same, on memory of the function that is emitted."""

    def __init__(self, builder):
        self.builder = builder

    @cached_property
    def _space(self):
        with self.builder.goto_entry_block():
            space = self.builder.alloca(I8, ir.Constant(I64, TILES * TILE_BYTES))
            space.align = 64
            return self.builder.ptrtoint(space, I64)

    def _place(self, register):
        return self.builder.add(self._space, ir.Constant(I64, TILE_BYTES * register))

    def configure(self):
        """Nothing to do."""

    release = configure

    def zero(self, register):
        """See :class:`Registers`."""
        nothing = cgutils.alloca_once_value(self.builder, ir.Constant(V, [0.0] * WIDTH))
        nothing = self.builder.ptrtoint(nothing, I64)
        self._move(nothing, ir.Constant(I64, 0), self._place(register), _step())

    def load(self, register, address, stride):
        """See :class:`Registers`."""
        self._move(address, stride, self._place(register), _step())

    def store(self, register, address, stride):
        """See :class:`Registers`."""
        self._move(self._place(register), _step(), address, stride)

    def _move(self, *args):
        self._call("skdeep_move_tile", _define_move, args)

    def product(self, c, a, b):
        """See :class:`Registers`."""
        self._call("skdeep_tile_product", _define_product, list(map(self._place, (c, a, b))))

    def _call(self, name, define, args):
        """A function of the module, so that its code is there but once."""
        kind = ir.FunctionType(ir.VoidType(), [I64] * len(args))
        function = cgutils.get_or_insert_function(self.builder.module, kind, name)
        if function.is_declaration:
            function.linkage = "internal"
            function.attributes.add("noinline")
            inside = ir.IRBuilder(function.append_basic_block("entry"))
            define(inside, *function.args)
            inside.ret_void()
        self.builder.call(function, args)


def _step():
    return ir.Constant(I64, VECTOR_BYTES)


def _row(builder, start, index, step, kind):
    """A row of a tile as a place in memory."""
    return pointer(builder, builder.add(start, builder.mul(index, step)), kind)


def _define_move(builder, source, source_step, target, target_step):
    with cgutils.for_range(builder, ir.Constant(I64, TILE_ROWS), intp=I64) as m:
        row = builder.load(_row(builder, source, m.index, source_step, VI), align=4)
        builder.store(row, _row(builder, target, m.index, target_step, VI), align=4)


def _define_product(builder, c, a, b):
    halves = first_halves, second_halves
    with cgutils.for_range(builder, ir.Constant(I64, TILE_ROWS), intp=I64) as m:
        left = builder.add(a, builder.mul(m.index, _step()))
        sums = [cgutils.alloca_once(builder, V) for _ in halves]
        for total in sums:
            builder.store(ir.Constant(V, [0.0] * WIDTH), total)
        with cgutils.for_range(builder, ir.Constant(I64, WIDTH), intp=I64) as k:
            pairs = splat(builder, builder.load(_row(builder, left, k.index, I64(4), I32)))
            row = builder.load(_row(builder, b, k.index, _step(), VI), align=4)
            for half, total in zip(halves, sums):
                x, y = half(builder, pairs), half(builder, row)
                builder.store(multiply_add(builder, x, y, builder.load(total)), total)
        place = _row(builder, c, m.index, _step(), V)
        total = builder.fadd(*map(builder.load, sums))
        builder.store(builder.fadd(builder.load(place, align=4), total), place, align=4)


Tiles = Registers if "amx-bf16" in isa.current().flags else Memory


@intrinsic
def configure_tiles(typingctx):
    """Let this thread use tile registers until :func:`release_tiles`."""

    def emit(context, builder, sig, args):
        Tiles(builder).configure()
        return context.get_dummy_value()

    return types.void(), emit


@intrinsic
def release_tiles(typingctx):
    """Give the tile registers back; what they hold is lost."""

    def emit(context, builder, sig, args):
        Tiles(builder).release()
        return context.get_dummy_value()

    return types.void(), emit
