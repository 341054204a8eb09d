"""Products and convolutions of bfloat16 on tile registers.

A *block*, up to 32 rows times a panel of up to three vectors, has its sums in up to six tiles. The
other tiles hold what is multiplied, straight from where it is: a part of a panel, whose rows of
pairs are as far apart as the panel is wide, and ``WIDTH`` pairs of 16 pixels, if those are equally
far apart. Other pixels, and the last pairs where there are fewer, are first brought together on the
stack, the latter with zeros on both sides of the product: what lies behind a pixel may be NaN. Sums
go through the stack to the code that every row tile ends with.

They are sums as in :mod:`skdeep.kernels.bfloat16_conv` but for the order, in which ``WIDTH`` pairs
come together before they join the rest; it is the same wherever a row falls.

Experiments on a processor with AMX, with two times two tiles, made 800 to 1900 GFLOP/s of the
layers of ResNet-50, on a core that has 250 for float32. This code was never timed on one; on an
emulated one (Bochs) it gave the bits that ``Memory`` gives.
"""

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .bfloat16_conv import MOST, PairTile
from .compiler import SharedFunction, inline, kernel, shared
from .conv import convolve, convolve_slice
from .dense import RUN, multiply
from .gemm import INPUTS, ROW_TILE_ARGUMENTS, TABLE_ROWS, VECTORS, close_tile
from .simd import I64, VECTOR_BYTES, VI, WIDTH, V, first_lanes, load_masked, pointer
from .tiles import TILE_BYTES, TILE_ROWS, TILES, Tiles, configure_tiles, release_tiles

STEP = 2 * WIDTH  # terms of one product of tiles
GROUPS = TABLE_ROWS // TILE_ROWS  # of 16 rows, in a block at most
CHUNK = 4  # steps whose pixels are brought together at a time: tiles wait for stores to end
# Where things are on the stack: sums, pixels that were brought together, the end of a panel.
PIXELS_AT = GROUPS * VECTORS * TILE_BYTES
PANEL_AT = PIXELS_AT + GROUPS * CHUNK * TILE_BYTES
SPACE = PANEL_AT + VECTORS * WIDTH * VECTOR_BYTES


def _i64(n):
    return ir.Constant(I64, n)


def _loop(builder, count):
    return cgutils.for_range(builder, count, intp=I64)


def _least(builder, value, limit):
    some = builder.icmp_signed("<", value, _i64(limit))
    return builder.select(some, value, _i64(limit))


def _parts(builder, value, size):
    return builder.sdiv(builder.add(value, _i64(size - 1)), _i64(size))


class _Block:
    """Code of a block of some groups of 16 rows by some vectors, while it is emitted."""

    def __init__(self, builder, tiles, space, groups, vectors, rows, table):
        self.builder, self.tiles, self.space = builder, tiles, space
        self.groups, self.vectors, self.rows, self.table = groups, vectors, rows, table
        self.pitch = VECTOR_BYTES * vectors
        free = range(groups * vectors, TILES)
        self.a_tiles = free[: groups if len(free) >= groups + vectors else 1]
        self.b_tiles = free[len(self.a_tiles) :][:vectors]

    def at(self, start, index, step):
        """``start`` and ``index`` steps."""
        return self.builder.add(start, self.builder.mul(index, _i64(step)))

    def row(self, m, first=0):
        """The address in row m of the table."""
        place = self.at(self.builder.add(self.table, _i64(first)), m, 8)
        return self.builder.load(pointer(self.builder, place, I64))

    def spacing(self, group):
        """First row of a group, bytes from each to the next, and whether that is so for all 16."""
        builder, count = self.builder, TILE_ROWS - 1
        start = builder.add(self.table, _i64(INPUTS + 8 * TILE_ROWS * group))
        kind = ir.VectorType(I64, count)
        rows, following = (
            builder.load(pointer(builder, builder.add(start, _i64(8 * k)), kind), align=8)
            for k in (0, 1)
        )
        steps = builder.sub(following, rows)
        first = ir.Constant(ir.VectorType(ir.IntType(32), count), [0] * count)
        same = builder.icmp_signed("==", steps, builder.shuffle_vector(steps, steps, first))
        every = ir.IntType(count)
        same = builder.icmp_signed("==", builder.bitcast(same, every), ir.Constant(every, -1))
        full = builder.icmp_signed(">=", self.rows, _i64(TILE_ROWS * (group + 1)))
        zero = ir.Constant(ir.IntType(32), 0)
        row, step = (builder.extract_element(v, zero) for v in (rows, steps))
        return row, step, builder.and_(same, full)

    def pixels(self, group, spacing, offset, pairs, steps):
        """Where, and how far apart, ``pairs`` of the 16 rows of a group are, for some steps."""
        builder, (first, step, equal) = self.builder, spacing
        where = cgutils.alloca_once_value(builder, builder.add(first, offset))
        apart = cgutils.alloca_once_value(builder, step)
        whole = builder.icmp_signed("==", pairs, builder.mul(steps, _i64(WIDTH)))
        with builder.if_then(builder.not_(builder.and_(equal, whole))):
            own = builder.add(self.space, _i64(PIXELS_AT + CHUNK * TILE_BYTES * group))
            left = builder.sub(self.rows, _i64(TILE_ROWS * group))
            count = _least(builder, left, TILE_ROWS)
            with _loop(builder, steps) as s, _loop(builder, count) as m:
                wanted = first_lanes(builder, self.at(pairs, s.index, -WIDTH))
                row = self.row(m.index, INPUTS + 8 * TILE_ROWS * group)
                source = self.at(builder.add(row, offset), s.index, VECTOR_BYTES)
                target = self.at(own, s.index, VECTOR_BYTES)
                target = pointer(builder, self.at(target, m.index, CHUNK * VECTOR_BYTES), V)
                builder.store(load_masked(builder, source, wanted), target)
            builder.store(own, where)
            builder.store(_i64(CHUNK * VECTOR_BYTES), apart)
        return builder.load(where), builder.load(apart)

    def panel(self, start, pairs):
        """Where ``pairs`` rows of a panel are, and zeros after them up to ``WIDTH``."""
        builder = self.builder
        where = cgutils.alloca_once_value(builder, start)
        with cgutils.if_unlikely(builder, builder.icmp_signed("<", pairs, _i64(WIDTH))):
            own = builder.add(self.space, _i64(PANEL_AT))
            with _loop(builder, _i64(WIDTH)) as k:
                inside = builder.icmp_signed("<", k.index, pairs)
                source = self.at(start, builder.select(inside, k.index, _i64(0)), self.pitch)
                target = self.at(own, k.index, self.pitch)
                for v in range(self.vectors):
                    words, place = (
                        pointer(builder, builder.add(row, _i64(VECTOR_BYTES * v)), VI)
                        for row in (source, target)
                    )
                    words = builder.load(words, align=4)
                    words = builder.select(inside, words, ir.Constant(VI, [0] * WIDTH))
                    builder.store(words, place)
            builder.store(own, where)
        return builder.load(where)

    def multiply(self, pixels, panel):
        """Add products to all sums, with no load of what a tile holds already."""
        held = {}

        def load(tile, what, address, step):
            if held.get(tile) != what:
                self.tiles.load(tile, address, step)
                held[tile] = what

        order = range(self.vectors)
        for group, (address, step) in enumerate(pixels):
            a = self.a_tiles[group % len(self.a_tiles)]
            load(a, ("pixels", group), address, step)
            for v in order:
                b = self.b_tiles[v % len(self.b_tiles)]
                column = self.builder.add(panel, _i64(VECTOR_BYTES * v))
                load(b, ("panel", v), column, _i64(self.pitch))
                self.tiles.product(group * self.vectors + v, a, b)
            order = order[::-1]

    def sums(self):
        """Address and number of all tiles of sums."""
        for group in range(self.groups):
            for v in range(self.vectors):
                place = TILE_ROWS * group * self.pitch + VECTOR_BYTES * v
                yield self.builder.add(self.space, _i64(place)), group * self.vectors + v


def _emit_block(builder, args, block):
    table, panel, _, nu, au, bu, nv, av, bv, run, bias, add, wide, low, high, lanes, _ = args
    spacings = [block.spacing(group) for group in range(block.groups)]
    for _, tile in block.sums():
        block.tiles.zero(tile)
    with _loop(builder, nu) as u, _loop(builder, nv) as w:
        a = builder.add(builder.mul(u.index, au), builder.mul(w.index, av))
        b = builder.add(builder.mul(u.index, bu), builder.mul(w.index, bv))
        b = builder.add(b, panel)
        with _loop(builder, _parts(builder, run, CHUNK * WIDTH)) as chunk:
            pairs = _least(builder, block.at(run, chunk.index, -CHUNK * WIDTH), CHUNK * WIDTH)
            steps = _parts(builder, pairs, WIDTH)
            offset = block.at(a, chunk.index, CHUNK * VECTOR_BYTES)
            chosen = [block.pixels(g, s, offset, pairs, steps) for g, s in enumerate(spacings)]
            rows = block.at(b, chunk.index, CHUNK * WIDTH * block.pitch)
            with _loop(builder, steps) as step:
                here = _least(builder, block.at(pairs, step.index, -WIDTH), WIDTH)
                pixels = [(block.at(p, step.index, VECTOR_BYTES), apart) for p, apart in chosen]
                at = block.at(rows, step.index, WIDTH * block.pitch)
                block.multiply(pixels, block.panel(at, here))
    for place, tile in block.sums():
        block.tiles.store(tile, place, _i64(block.pitch))
    valid = first_lanes(builder, lanes)
    with _loop(builder, block.rows) as m:  # a row once: what is added may be the output itself
        tile = PairTile(builder, 1, block.vectors)
        row = block.at(block.space, m.index, block.pitch)
        for v, slot in enumerate(tile.slots[0]):
            place = pointer(builder, builder.add(row, _i64(VECTOR_BYTES * v)), V)
            builder.store(builder.load(place), slot)
        with builder.if_then(builder.icmp_signed("!=", bias, _i64(0))):
            tile.update(lambda m, v, x: builder.fadd(x, tile.load(bias, v, valid)))
        close_tile(builder, tile, [block.row(m.index)], valid, add, wide, low, high, lanes)


def define_block(function, kind=Tiles):
    """Code of all shapes of a block, and a switch that takes the one asked for."""
    function.attributes.add("noinline")
    function.attributes.add("optsize")
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    rows, vectors, *args = function.args
    space = builder.alloca(ir.IntType(8), _i64(SPACE))
    space.align = 64
    space, tiles = builder.ptrtoint(space, I64), kind(builder)
    other = builder.append_basic_block("other")
    more = builder.zext(builder.icmp_signed(">", rows, _i64(TILE_ROWS)), I64)
    switch = builder.switch(builder.add(builder.mul(vectors, _i64(2)), more), other)
    for groups in range(1, GROUPS + 1):
        for v in range(1, VECTORS + 1):
            start = builder.append_basic_block(f"block{groups}x{v}")
            switch.add_case(_i64(2 * v + groups - 1), start)
            builder.position_at_end(start)
            _emit_block(builder, args, _Block(builder, tiles, space, groups, v, rows, args[0]))
            builder.ret_void()
    builder.position_at_end(other)
    builder.ret_void()


BLOCK = SharedFunction(
    "skdeep_block_bf16", ROW_TILE_ARGUMENTS, define_block,
    "A block of products of pairs of bfloat16, on tile registers or what stands for them.",
)  # fmt: skip


@intrinsic
def block_bf16(typingctx, rows, vectors, table, panel, pitch, nu, au, bu, nv, av, bv, run, bias,
               add, wide, low, high, lanes, ahead):  # fmt: skip
    """As :func:`~skdeep.kernels.bfloat16_conv.row_tile_bf16`, for up to 32 rows and no more.

    Panels are packed, and no memory is asked for ahead: in the experiments that made it slower.
    """

    def emit(context, builder, sig, args):
        BLOCK.call(builder, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 15, types.float32, types.float32, *[types.int64] * 2), emit


@inline
def block_rows(vectors, left):
    """Rows of a block where ``left`` are left."""
    return min(TABLE_ROWS, left)


@kernel
def dense_rows_tiles(p, tile):
    """out (n, f) = clamp(bias + add + x (n, c) times panels) for bfloat16, on tile registers.

    p is as for :func:`~skdeep.kernels.bfloat16_conv.dense_rows_bf16`.
    """
    configure_tiles()
    element, limit = (4, RUN) if p[5] != 0 else (2, MOST)
    multiply(p, tile, block_bf16, block_rows, (p[5], p[5]), element, limit)
    release_tiles()


@shared
def convolve_tiles(p, images, i_start, i_stop, x, out, weights, vectors, lanes, u_start, u_stop,
                   v_start, v_stop, offset, so_far, last, final):  # fmt: skip
    """Some taps of a convolution of bfloat16 with one panel of weights, on tile registers."""
    convolve_slice(p, block_bf16, block_rows, images, i_start, i_stop, x, out, weights, vectors,
                   lanes, u_start, u_stop, v_start, v_stop, offset, so_far, last,
                   final)  # fmt: skip


@kernel
def conv_rows_tiles(p, tile):
    """Convolution of bfloat16 with packed pairs, on tile registers.

    p is as for :func:`~skdeep.kernels.bfloat16_conv.conv_rows_bf16`.
    """
    configure_tiles()
    convolve(p, tile, convolve_tiles, (p[5], p[5]), 4 if p[5] != 0 else 2)
    release_tiles()
