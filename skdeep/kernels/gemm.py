"""The two register tiles that every matrix product and convolution is made of.

*Row tile*: up to ``ROWS`` rows of inputs times a panel of up to ``VECTORS`` vectors of columns,

    out[m] = clamp(bias + sum over taps u, v and k < run of a[m][u, v, k] * panel[u, v, k] + add[m])

*Column tile*: sums of outer products, for weight gradients,

    out[m] += sum over n, i, j of a[n, i, j][m] * b[n, i, j]

Rows of ``a`` and ``out`` are given by address, in a small table on the stack, so that dense layers,
strided, dilated and grouped convolutions and their gradients all are the same code. A tile with
fewer rows than the code has repeats its last row: the same values are stored twice, nothing else.
Every element is one chain of multiply-adds in the order of its terms, whatever tile it falls into.

Measured on one Zen 4 core (117 GFLOP/s): 112-116 for 256 x 784 x 512, OpenBLAS 98-106. Asking for
outputs and residuals, spread over the products, makes a product of 64 channels on 56 x 56 pixels
1.3 times as fast when they come from memory; all at once, at the begin of a tile, it did not.
A last vector of which half is enough is computed with half the width: a product of 40 columns is
1.18 times as fast as one of 48, and of 100 columns 1.06 times as fast as of 112.
"""

from contextlib import contextmanager

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from . import isa
from .compiler import SharedFunction, inline
from .simd import (
    F32,
    I1,
    I32,
    I64,
    VECTOR_BYTES,
    WIDTH,
    V,
    first_lanes,
    load_masked,
    multiply_add,
    pointer,
    splat,
    store_i64,
    store_masked,
)

# Rows of the largest tile for each panel width in vectors, as many as the registers hold.
ROWS_OF = {1: 8, 2: 8, 3: 8} if isa.current().registers == 32 else {1: 8, 2: 6}
FULL_ONE, FULL_MORE = ROWS_OF[1], ROWS_OF[2]
PARTS = 4, 2  # rows of the smaller tiles, for what is left
VECTORS = max(ROWS_OF)
ROWS = max(ROWS_OF.values())
TABLE_ROWS = 32  # of the largest tile of any kind
TABLE_BYTES = 16 * TABLE_ROWS  # addresses of output rows, then of input rows
INPUTS = 8 * TABLE_ROWS  # where the input rows begin in the table
ZERO = ir.Constant(V, [0.0] * WIDTH)
HALF = ir.VectorType(F32, WIDTH // 2)
LOW = ir.Constant(ir.VectorType(I32, WIDTH // 2), list(range(WIDTH // 2)))
ALL = ir.Constant(ir.VectorType(I32, WIDTH), list(range(WIDTH)))
LINE = 64  # bytes of a cache line
ABSENT = 1  # in place of a byte distance to a tensor: there is none


def _i64(n):
    return ir.Constant(I64, n)


def _table(builder, table, first, count):
    return [
        builder.load(pointer(builder, builder.add(table, _i64(first + 8 * m)), I64))
        for m in range(count)
    ]


class Tile:
    """Accumulators of one register tile while its code is emitted.

    With ``half`` the last vector has half as many columns at most.
    """

    may_be_half = WIDTH == 16  # AMD's processors compute with 256 bits at twice the rate

    def __init__(self, builder, rows, vectors, half=False):
        self.builder, self.rows, self.vectors, self.half = builder, rows, vectors, half
        self.slots = [
            [cgutils.alloca_once(builder, V) for _ in range(vectors)] for _ in range(rows)
        ]
        self.halves = [cgutils.alloca_once(builder, HALF) for _ in range(rows if half else 0)]

    @contextmanager
    def summing(self):
        """Around the calls of :meth:`outer`: half vectors are accumulated in registers of half."""
        for row, half in zip(self.slots, self.halves):
            value = self.builder.load(row[-1])
            self.builder.store(self.builder.shuffle_vector(value, ZERO, LOW), half)
        yield
        for row, half in zip(self.slots, self.halves):
            value, rest = self.builder.load(half), ir.Constant(HALF, ir.Undefined)
            self.builder.store(self.builder.shuffle_vector(value, rest, ALL), row[-1])

    def update(self, change):
        """Replace every accumulator by ``change(m, v, value)``."""
        for m in range(self.rows):
            for v in range(self.vectors):
                slot = self.slots[m][v]
                self.builder.store(change(m, v, self.builder.load(slot)), slot)

    def fill(self, value):
        for slot in (slot for row in self.slots for slot in row):
            self.builder.store(value, slot)

    def load(self, address, v, mask):
        """Vector ``v`` of a row of memory; the last one only where the tensor has columns."""
        address = self.builder.add(address, _i64(VECTOR_BYTES * v))
        if v == self.vectors - 1:
            return load_masked(self.builder, address, mask)
        return self.builder.load(pointer(self.builder, address, V), align=4)

    def write(self, out, mask):
        """Store all rows; nothing beyond their last column."""
        for m in range(self.rows):
            for v in range(self.vectors):
                address = self.builder.add(out[m], _i64(VECTOR_BYTES * v))
                value = self.builder.load(self.slots[m][v])
                if v == self.vectors - 1:
                    store_masked(self.builder, value, address, mask)
                else:
                    self.builder.store(value, pointer(self.builder, address, V), align=4)

    def add(self, rows, valid, _):
        """Add a tensor, given by the addresses of its rows."""
        self.update(lambda m, v, x: self.builder.fadd(x, self.load(rows[m], v, valid)))

    def finish(self, out, valid, mask, _):
        """Zero where the mask, ``mask`` bytes from the output, is not positive; store the rest."""
        builder = self.builder
        with _present(builder, mask):
            where = [builder.add(o, mask) for o in out]

            def pass_positive(m, v, x):
                closed = builder.fcmp_ordered("<=", self.load(where[m], v, valid), ZERO)
                return builder.select(closed, ZERO, x)

            self.update(pass_positive)
        self.write(out, valid)

    def outer(self, scalars, b):
        """Add the product of one scalar per row (by address) and a row of vectors."""
        builder, whole = self.builder, self.vectors - self.half
        kinds = [V] * whole + [HALF] * self.half
        row = [
            builder.load(pointer(builder, builder.add(b, _i64(VECTOR_BYTES * v)), kind), align=4)
            for v, kind in enumerate(kinds)
        ]
        for m in range(self.rows):
            x = splat(builder, builder.load(pointer(builder, scalars[m], F32)))
            for slot, y in zip(self.slots[m], row[:whole]):
                builder.store(multiply_add(builder, x, y, builder.load(slot)), slot)
            for slot, y in zip(self.halves[m : m + 1], row[whole:]):
                x = builder.shuffle_vector(x, ZERO, LOW)
                builder.store(multiply_add(builder, x, y, builder.load(slot)), slot)


@contextmanager
def _present(builder, distance):
    with builder.if_then(builder.icmp_signed("!=", distance, _i64(ABSENT))):
        yield


def _prefetch(builder, address, write=False):
    """Ask for the line at an address: to be written soon, or into the L2 cache."""
    place = pointer(builder, address, ir.IntType(8))
    kind = ir.FunctionType(ir.VoidType(), [place.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
    builder.call(
        function, [place, *(ir.Constant(I32, k) for k in (int(write), 3 if write else 2, 1))]
    )


def _loop(builder, count):
    return cgutils.for_range(builder, count, intp=I64)


def emit_row_tile(builder, args, tile):
    """Code of a row tile, given its accumulators."""
    rows, vectors = tile.rows, tile.vectors
    table, panel, pitch, nu, au, bu, nv, av, bv, run, bias, add, last, low, high, lanes, ahead = (
        args
    )
    valid = first_lanes(builder, lanes)
    out, a_rows = _table(builder, table, 0, rows), _table(builder, table, INPUTS, rows)
    tile.fill(ZERO)
    with builder.if_then(builder.icmp_signed("!=", bias, _i64(0))):
        start = [tile.load(bias, v, valid) for v in range(vectors)]
        tile.update(lambda m, v, x: start[v])
    unroll = 2 if rows > PARTS[0] else 1
    cached = builder.icmp_signed("==", ahead, _i64(0))
    soon = cgutils.alloca_once_value(builder, builder.select(cached, panel, ahead))
    asked = cgutils.alloca_once_value(builder, _i64(0))  # vectors of the output, one a turn
    wanted = builder.select(cached, _i64(0), _i64(rows * vectors))
    to_add = builder.select(builder.icmp_signed("==", add, _i64(ABSENT)), _i64(0), add)

    def ask_for_output(turn, first, left):
        with cgutils.if_unlikely(builder, builder.icmp_signed("<", turn, left)):
            k = builder.add(first, turn)
            row, v = builder.urem(k, _i64(rows)), builder.udiv(k, _i64(rows))
            row = builder.load(pointer(builder, builder.add(table, builder.mul(row, _i64(8))), I64))
            place = builder.add(row, builder.mul(v, _i64(VECTOR_BYTES)))
            _prefetch(builder, place, write=True)
            _prefetch(builder, builder.add(place, to_add))

    def step(a, b, k):
        a = builder.add(a, builder.mul(k, _i64(4)))
        b = builder.add(b, builder.mul(k, pitch))
        tile.outer([builder.add(row, a) for row in a_rows], b)

    with tile.summing(), _loop(builder, nu) as u, _loop(builder, nv) as w:
        a = builder.add(builder.mul(u.index, au), builder.mul(w.index, av))
        b = builder.add(builder.mul(u.index, bu), builder.mul(w.index, bv))
        b = builder.add(b, panel)
        now = builder.load(soon)
        first, turns = builder.load(asked), builder.ashr(run, _i64(unroll - 1))
        left = builder.sub(wanted, first)
        with _loop(builder, turns) as turn:
            k = builder.mul(turn.index, _i64(unroll))
            _prefetch(builder, builder.add(now, builder.mul(k, _i64(LINE // 2))))
            ask_for_output(turn.index, first, left)
            step(a, b, k)
            if unroll == 2:
                step(a, b, builder.add(k, _i64(1)))
        if unroll == 2:
            with builder.if_then(builder.trunc(run, I1)):
                step(a, b, builder.sub(run, _i64(1)))
        builder.store(builder.add(now, builder.mul(run, _i64(LINE // 2))), soon)
        builder.store(builder.add(first, turns), asked)

    close_tile(builder, tile, out, valid, add, last, low, high, lanes)


def close_tile(builder, tile, out, valid, add, last, low, high, lanes):
    """The end of a row tile: what is added to the sums, limits, stores."""
    with _present(builder, add):
        tile.add([builder.add(o, add) for o in out], valid, last)
    lowest, highest = splat(builder, low), splat(builder, high)

    def clamp(m, v, x):  # a NaN fails both comparisons and stays
        x = builder.select(builder.fcmp_ordered("<", x, lowest), lowest, x)
        return builder.select(builder.fcmp_ordered(">", x, highest), highest, x)

    tile.update(clamp)
    tile.finish(out, valid, last, lanes)


def _emit_product_tile(builder, args, tile):
    table, panel, run, lanes = args
    rows, vectors = tile.rows, tile.vectors
    out, a_rows = _table(builder, table, 0, rows), _table(builder, table, INPUTS, rows)
    tile.fill(ZERO)

    def step(k):
        a = builder.mul(k, _i64(4))
        b = builder.add(panel, builder.mul(k, _i64(VECTOR_BYTES * vectors)))
        tile.outer([builder.add(row, a) for row in a_rows], b)

    unroll = 2 if rows > PARTS[0] else 1
    with tile.summing():
        with _loop(builder, builder.ashr(run, _i64(unroll - 1))) as turn:
            k = builder.mul(turn.index, _i64(unroll))
            step(k)
            if unroll == 2:
                step(builder.add(k, _i64(1)))
        if unroll == 2:
            with builder.if_then(builder.trunc(run, I1)):
                step(builder.sub(run, _i64(1)))
    tile.write(out, first_lanes(builder, lanes))


def _emit_column_tile(builder, args, tile):
    table, fresh, a, b, nn, an, bn, ni, ai, bi, nj, aj, bj, lanes = args
    valid = first_lanes(builder, lanes)
    out, offsets = (_table(builder, table, first, tile.rows) for first in (0, INPUTS))
    tile.fill(ZERO)
    with builder.if_then(builder.icmp_signed("==", fresh, _i64(0))):
        tile.update(lambda m, v, x: tile.load(out[m], v, valid))

    def moved(start, index, step):
        return builder.add(start, builder.mul(index, step))

    with tile.summing(), _loop(builder, nn) as n:
        a_n, b_n = moved(a, n.index, an), moved(b, n.index, bn)
        with _loop(builder, ni) as i:
            a_i, b_i = moved(a_n, i.index, ai), moved(b_n, i.index, bi)
            with _loop(builder, nj) as j:
                a_j, b_j = moved(a_i, j.index, aj), moved(b_i, j.index, bj)
                tile.outer([builder.add(a_j, offset) for offset in offsets], b_j)
    tile.write(out, valid)


def tile_function(name, arguments, emit, about, *, lanes=-1, kind=Tile):
    """The function of a register tile, rows and vectors first.

    ``lanes`` is the position of the argument that says how many columns the last vector has, and
    ``kind(builder, rows, vectors, half)`` makes the accumulators.
    Optimizing for size leaves its loops as they are; LLVM would unroll what is unrolled already.
    """

    def define(function):
        function.attributes.add("noinline")
        function.attributes.add("optsize")
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        _define(builder, emit, function.args, lanes, kind)

    return SharedFunction(name, arguments, define, about)


def _define(builder, emit, args, lanes, kind):
    """Code of every tile shape, and a switch that takes the one asked for."""
    rows, vectors, *args = args
    other = builder.append_basic_block("other")
    few = builder.icmp_signed("<=", args[lanes], _i64(WIDTH // 2))
    shape = builder.add(builder.mul(vectors, _i64(16)), rows)
    switch = builder.switch(builder.add(builder.mul(shape, _i64(2)), builder.zext(few, I64)), other)
    for v, full in ROWS_OF.items():
        for m in (full, *PARTS):
            own = kind.may_be_half and m == full  # smaller tiles compute what nobody needs
            for half in (False, True) if own else (False,):
                block = builder.append_basic_block(f"tile{m}x{v}{'half' * half}")
                for key in (half,) if own else (False, True):
                    switch.add_case(_i64(2 * (16 * v + m) + key), block)
                builder.position_at_end(block)
                emit(builder, args, kind(builder, m, v, half))
                builder.ret_void()
    builder.position_at_end(other)
    builder.ret_void()


ROW_TILE_ARGUMENTS = [I64] * 15 + [F32] * 2 + [I64] * 2
ROW_TILE = tile_function(
    "skdeep_row_tile", ROW_TILE_ARGUMENTS, emit_row_tile,
    "A row tile: sums of products of some rows with a panel of packed weights.", lanes=-2,
)  # fmt: skip
PRODUCT_TILE = tile_function(
    "skdeep_product_tile", [I64] * 6, _emit_product_tile,
    "A row tile and nothing but the product, of what the cache holds already.",
)  # fmt: skip
COLUMN_TILE = tile_function(
    "skdeep_column_tile", [I64] * 16, _emit_column_tile,
    "A column tile: sums of outer products, for gradients of weights.",
)  # fmt: skip


@intrinsic
def row_tile(typingctx, rows, vectors, table, panel, pitch, nu, au, bu, nv, av, bv, run, bias, add,
             mask, low, high, lanes, ahead):  # fmt: skip
    """Compute one row tile of ``rows`` (from :func:`tile_rows`) by ``vectors``.

    ``table`` holds the output and input rows. Taps u < nu, v < nv lie au and av bytes apart in the
    input, bu and bv bytes apart in the panel; each contributes ``run`` consecutive floats, and as
    many rows of the panel, which are ``pitch`` bytes apart. ``bias``
    is an address or 0. ``add`` and ``mask`` are byte distances from ``out`` to tensors of its
    layout, or ABSENT: the first is added to the products, and the result is zero where the second
    is not positive. Only ``lanes`` columns of the last vector exist outside the panel. Meanwhile
    memory is asked for, a line of each for every two products: from ``ahead``, and the rows of
    ``out`` and ``add``. With an ``ahead`` of 0 it is not.
    """

    def emit(context, builder, sig, args):
        ROW_TILE.call(builder, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 15, types.float32, types.float32, *[types.int64] * 2), emit


@intrinsic
def product_tile(typingctx, rows, vectors, table, panel, run, lanes):
    """As :func:`row_tile` for one tap of ``run`` floats, with nothing added and nothing asked for.

    Where all is in the cache, as in Winograd's algorithm, asking would cost 4 %.
    """

    def emit(context, builder, sig, args):
        PRODUCT_TILE.call(builder, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), emit


@intrinsic
def column_tile(typingctx, rows, vectors, table, fresh, a, b, nn, an, bn, ni, ai, bi, nj, aj, bj,
                lanes):  # fmt: skip
    """Compute one column tile of ``rows`` (from :func:`tile_rows`) by ``vectors``.

    ``table`` holds the output rows and, for each, the byte offset of its input from ``a``. Terms
    are an, ai, aj bytes apart in the input and bn, bi, bj in ``b``. The sum starts from zero if
    ``fresh``, else from what the output holds.
    """

    def emit(context, builder, sig, args):
        COLUMN_TILE.call(builder, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 16), emit


@inline
def tile_rows(vectors, left):
    """Rows of the smallest tile that holds ``left`` rows, or of the largest there is."""
    if left <= 2:
        return 2
    if left <= 4:
        return 4
    return FULL_ONE if vectors == 1 else FULL_MORE


@inline
def put_row(table, m, out, source):
    """Set row m of a table."""
    store_i64(table + 8 * m, out)
    store_i64(table + INPUTS + 8 * m, source)
