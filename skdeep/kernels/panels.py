"""Weights packed for the register tiles.

The columns of a (rows, n) matrix are cut into panels of at most ``VECTORS`` vectors, of nearly
equal width; a panel keeps its part of every row side by side, in the order in which a row tile
reads it. Columns beyond n hold values that nobody uses.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .gemm import VECTORS
from .simd import I32, I64, VECTOR_BYTES, WIDTH, V, load_n, pointer, store


def panel_count(n):
    """How many panels n columns are cut into."""
    return -(-n // (WIDTH * VECTORS))


def vector_count(n):
    """How many vectors hold n columns."""
    return -(-n // WIDTH)


def panel_floats(rows, n):
    """Size of the packed panels of a (rows, n) matrix."""
    return rows * WIDTH * vector_count(n)


count_panels, count_vectors = inline(panel_count), inline(vector_count)


@inline
def panel_first(n, panel):
    """First vector of a panel; for ``panel_count(n)`` the number of vectors.

    The last panels are the wide ones: a half vector at the end costs least beside two whole ones.
    """
    vectors, count = count_vectors(n), count_panels(n)
    return panel * (vectors // count) + max(0, panel - count + vectors % count)


@inline
def panel_lanes(n, end):
    """Columns that exist in the last vector of a panel that ends before vector ``end``."""
    return min(WIDTH, n - (end - 1) * WIDTH)


@kernel
def pack_panels(p, tile):
    """Panels of a matrix, or of several side by side. One tile per panel.

    p = [w, out, rows, n, matrices]; w is (rows, matrices * n), out (matrices, panels, rows, width).
    """
    w, out, rows, n, matrices = p[0], p[1], p[2], p[3], p[4]
    panels = count_panels(n)
    group, panel = tile // panels, tile % panels
    first, end = panel_first(n, panel), panel_first(n, panel + 1)
    stride = 4 * n * matrices
    step = VECTOR_BYTES * (end - first)
    out += VECTOR_BYTES * rows * (group * count_vectors(n) + first)
    for v in range(first, end):
        lanes = min(WIDTH, n - v * WIDTH)
        source, target = w + 4 * (group * n + v * WIDTH), out + VECTOR_BYTES * (v - first)
        for _ in range(rows):
            store(target, load_n(source, lanes))
            source += stride
            target += step


@intrinsic
def transpose_block(typingctx, source, stride, rows, target, step, columns):
    """target[j] = source[:, j] for j < ``columns``; rows of the source past ``rows`` repeat."""

    def emit(context, builder, sig, args):
        source, stride, rows, target, step, columns = args
        last = builder.sub(rows, ir.Constant(I64, 1))
        block = []
        for r in range(WIDTH):
            row = ir.Constant(I64, r)
            row = builder.select(builder.icmp_signed("<", row, last), row, last)
            address = builder.add(source, builder.mul(row, stride))
            block.append(builder.load(pointer(builder, address, V), align=4))
        for j, column in enumerate(_transposed(builder, block)):
            with builder.if_then(builder.icmp_signed("<", ir.Constant(I64, j), columns)):
                address = builder.add(target, builder.mul(ir.Constant(I64, j), step))
                builder.store(column, pointer(builder, address, V), align=4)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 6), emit


def _transposed(builder, block):
    """Exchange, bit by bit, the row number with the lane number."""
    bit = 1
    while bit < WIDTH:
        low = [k if not k & bit else WIDTH + (k ^ bit) for k in range(WIDTH)]
        high = [k | bit if not k & bit else WIDTH + k for k in range(WIDTH)]
        low, high = (ir.Constant(ir.VectorType(I32, WIDTH), order) for order in (low, high))
        for r in range(WIDTH):
            if not r & bit:
                a, b = block[r], block[r | bit]
                block[r] = builder.shuffle_vector(a, b, low)
                block[r | bit] = builder.shuffle_vector(a, b, high)
        bit *= 2
    return block


@inline
def transpose_panel(w, stride, n, first, end, c, out):
    """Columns of one panel of the transpose of w (c, n): out (n, end - first vectors)."""
    step = VECTOR_BYTES * (end - first)
    for v in range(first, end):
        source, target = w + v * WIDTH * stride, out + VECTOR_BYTES * (v - first)
        for j in range(0, n, WIDTH):
            transpose_block(source + 4 * j, stride, min(WIDTH, c - v * WIDTH), target + j * step,
                            step, min(WIDTH, n - j))  # fmt: skip


@kernel
def pack_transposed(p, tile):
    """Panels of the transpose of a matrix. One tile per panel. p = [w, out, c, n], w is (c, n)."""
    w, out, c, n = p[0], p[1], p[2], p[3]
    first, end = panel_first(c, tile), panel_first(c, tile + 1)
    transpose_panel(w, 4 * n, n, first, end, c, out + VECTOR_BYTES * n * first)


# ---- CUDA twins: a GPU reads plain matrices, which fit into the memory of the panels -------------


@cuda_twin(pack_panels, items=lambda p: p[2] * p[3] * p[4])
def pack_panels_twin(f, i, p):
    """Matrices side by side, (rows, matrices * n), one after the other: (matrices, rows, n)."""
    at, rows, n = cuda.grid(1), p[2], p[3]
    if at < rows * n * p[4]:
        matrix, row, column = at // (rows * n), at // n % rows, at % n
        f[p[1] // 4 + at] = f[p[0] // 4 + (row * p[4] + matrix) * n + column]


@cuda_twin(pack_transposed, items=lambda p: p[2] * p[3])
def pack_transposed_twin(f, i, p):
    """The transpose, (n, c)."""
    at, c, n = cuda.grid(1), p[2], p[3]
    if at < c * n:
        f[p[1] // 4 + at] = f[p[0] // 4 + (at % c) * n + at // c]
