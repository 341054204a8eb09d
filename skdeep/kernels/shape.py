"""Moving elements about: strided copies with padding, transposition, gathering of rows.

Elements have four bytes; their type does not matter. Sizes and strides count elements.
"""

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline, kernel
from .cuda import cuda, cuda_twin
from .simd import (
    I32,
    WIDTH,
    V,
    broadcast,
    load,
    load_i32,
    load_n,
    pointer,
    scratch,
    store,
    store_i32,
    store_n,
    vec,
)

TILE = 32768  # elements a tile moves, about
BLOCK = 4 * WIDTH


@inline
def copy_run(source, target, n):
    """target[i] = source[i], n elements, byte addresses."""
    i = 0
    while i + BLOCK <= n:
        a, b = load(source + 4 * i), load(source + 4 * (i + WIDTH))
        c, d = load(source + 4 * (i + 2 * WIDTH)), load(source + 4 * (i + 3 * WIDTH))
        store(target + 4 * i, a)
        store(target + 4 * (i + WIDTH), b)
        store(target + 4 * (i + 2 * WIDTH), c)
        store(target + 4 * (i + 3 * WIDTH), d)
        i += BLOCK
    while i + WIDTH <= n:
        store(target + 4 * i, load(source + 4 * i))
        i += WIDTH
    if i < n:
        store_n(target + 4 * i, load_n(source + 4 * i, n - i), n - i)


@inline
def fill_run(value, target, n):
    """target[i] = value, n elements."""
    i = 0
    while i + WIDTH <= n:
        store(target + 4 * i, value)
        i += WIDTH
    if i < n:
        store_n(target + 4 * i, value, n - i)


@kernel
def copy_block(p, tile):
    """Rows of a block, each padded left and right, with whole rows of padding between them.

    Row ``j`` of group ``g`` of the output is ``[left | x[g, j - first] | right]`` for
    ``first <= j < last`` and padding otherwise. Concatenation, slicing, cropping and padding are
    all this. The output is cut into tiles by rows and by columns.

    p = [x, y, value, rows, rows per group, first, last, x group stride, x row stride,
    y group stride, y row stride, left, middle, right, x offset, y offset,
    rows per tile, columns per tile, tiles per row]
    """
    value = broadcast(p[2])
    group, first, last = p[4], p[5], p[6]
    left, inner = p[11], p[11] + p[12]
    width = inner + p[13]
    x, y = p[0] + 4 * p[14], p[1] + 4 * p[15]
    block, strip = tile // p[18], tile % p[18]
    k0 = strip * p[17]
    k1 = min(width, k0 + p[17])
    a0, a1 = max(k0, left), min(k1, inner)  # columns of this tile that are copied
    r0 = block * p[16]
    g, j = r0 // group, r0 % group
    for _ in range(r0, min(p[3], r0 + p[16])):
        target = y + 4 * (g * p[9] + j * p[10])
        if first <= j < last and a0 < a1:
            fill_run(value, target + 4 * k0, a0 - k0)
            source = x + 4 * (g * p[7] + (j - first) * p[8] - left)
            copy_run(source + 4 * a0, target + 4 * a0, a1 - a0)
            fill_run(value, target + 4 * a1, k1 - a1)
        else:
            fill_run(value, target + 4 * k0, k1 - k0)
        j += 1
        if j == group:
            g, j = g + 1, 0


@cuda_twin(copy_block, items=lambda p: p[3] * (p[11] + p[12] + p[13]))
def copy_block_twin(f, i, p):
    """One thread per element of the output."""
    left, inner = p[11], p[11] + p[12]
    at, width = cuda.grid(1), inner + p[13]
    if at < p[3] * width:
        r, k = at // width, at % width
        g, j = r // p[4], r % p[4]
        y = p[1] // 4 + p[15] + g * p[9] + j * p[10] + k
        if p[5] <= j < p[6] and left <= k < inner:
            i[y] = i[p[0] // 4 + p[14] + g * p[7] + (j - p[5]) * p[8] + k - left]
        else:
            i[y] = i[p[2] // 4]


@kernel
def gather_rows(p, tile):
    """y[n, k] = x[index[n], k]. p = [x, index, y, n, row size, rows per tile]."""
    size = p[4]
    for n in range(tile * p[5], min(p[3], (tile + 1) * p[5])):
        copy_run(p[0] + 4 * load_i32(p[1] + 4 * n) * size, p[2] + 4 * n * size, size)


@cuda_twin(gather_rows, items=lambda p: p[3] * p[4])
def gather_rows_twin(f, i, p):
    """One thread per element."""
    at, size = cuda.grid(1), p[4]
    if at < p[3] * size:
        row = i[p[1] // 4 + at // size]
        i[p[2] // 4 + at] = i[p[0] // 4 + row * size + at % size]


@intrinsic
def transpose_square(typingctx, source, source_stride, target, target_stride):
    """Transpose WIDTH x WIDTH elements in registers; strides in bytes."""

    def emit(context, builder, sig, args):
        source, source_stride, target, target_stride = args

        def row(base, stride, k):
            offset = builder.mul(stride, ir.Constant(stride.type, k))
            return pointer(builder, builder.add(base, offset), V)

        rows = [builder.load(row(source, source_stride, k), align=4) for k in range(WIDTH)]
        step = 1
        while step < WIDTH:  # exchange the off-diagonal squares of side `step`
            pick = range(WIDTH)
            low = [k if not k & step else WIDTH + k - step for k in pick]
            high = [k + step if not k & step else WIDTH + k for k in pick]
            kind = ir.VectorType(I32, WIDTH)
            low, high = ir.Constant(kind, low), ir.Constant(kind, high)
            for k in range(WIDTH):
                if not k & step:
                    a, b = rows[k], rows[k + step]
                    rows[k] = builder.shuffle_vector(a, b, low)
                    rows[k + step] = builder.shuffle_vector(a, b, high)
            step *= 2
        for k in range(WIDTH):
            builder.store(rows[k], row(target, target_stride, k), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64, types.int64), emit


@intrinsic
def store_interleaved(typingctx, target, a, b):
    """The elements of two vectors in turn, a[0], b[0], a[1] ..: two vectors at byte address."""

    def emit(context, builder, sig, args):
        target, a, b = args
        kind = ir.VectorType(I32, WIDTH)
        for half in range(2):
            first = half * WIDTH // 2
            order = [first + k // 2 + (k % 2) * WIDTH for k in range(WIDTH)]
            mixed = builder.shuffle_vector(a, b, ir.Constant(kind, order))
            place = builder.add(target, ir.Constant(target.type, 4 * half * WIDTH))
            builder.store(mixed, pointer(builder, place, V), align=4)
        return context.get_dummy_value()

    return types.void(types.int64, vec, vec), emit


@kernel
def shuffle_channels(p, tile):
    """y[n, j g + i] = x[n, i c + j] for i < g groups of c channels.

    p = [x, y, n, g, c, rows per tile].
    """
    groups, c = p[3], p[4]
    size = 4 * groups * c
    for n in range(tile * p[5], min(p[2], (tile + 1) * p[5])):
        x, y = p[0] + n * size, p[1] + n * size
        j = 0
        if groups == 2:
            while j + WIDTH <= c:
                store_interleaved(y + 8 * j, load(x + 4 * j), load(x + 4 * (c + j)))
                j += WIDTH
        for k in range(j, c):
            for i in range(groups):
                store_i32(y + 4 * (k * groups + i), load_i32(x + 4 * (i * c + k)))


@cuda_twin(shuffle_channels, items=lambda p: p[2] * p[3] * p[4])
def shuffle_channels_twin(f, i, p):
    """One thread per element of the output."""
    at, groups, c = cuda.grid(1), p[3], p[4]
    if at < p[2] * groups * c:
        n, k = at // (groups * c), at % (groups * c)
        i[p[1] // 4 + at] = i[p[0] // 4 + n * groups * c + k % groups * c + k // groups]


@kernel
def transpose(p, tile):
    """y[k, j, i] = x[k, i, j] for matrices k.

    p = [x, y, rows of x, columns of x, columns per tile, tiles per matrix, matrices].
    """
    rows, columns = p[2], p[3]
    matrix, part = tile // p[5], tile % p[5]
    x, y = p[0] + 4 * matrix * rows * columns, p[1] + 4 * matrix * rows * columns
    edge = scratch(8 * 16 * 16)
    flipped = edge + 4 * 16 * 16
    for j in range(part * p[4], min(columns, (part + 1) * p[4]), WIDTH):
        for i in range(0, rows, WIDTH):
            source, target = x + 4 * (i * columns + j), y + 4 * (j * rows + i)
            height, width = min(WIDTH, rows - i), min(WIDTH, columns - j)
            if height == WIDTH and width == WIDTH:
                transpose_square(source, 4 * columns, target, 4 * rows)
            else:
                for k in range(height):
                    store(edge + 4 * k * WIDTH, load_n(source + 4 * k * columns, width))
                transpose_square(edge, 4 * WIDTH, flipped, 4 * WIDTH)
                for k in range(width):
                    store_n(target + 4 * k * rows, load(flipped + 4 * k * WIDTH), height)


@cuda_twin(transpose, items=lambda p: p[2] * p[3] * p[6])
def transpose_twin(f, i, p):
    """One thread per element."""
    at, rows, size = cuda.grid(1), p[2], p[2] * p[3]
    if at < size * p[6]:
        first, inside = at // size * size, at % size
        i[p[1] // 4 + at] = i[p[0] // 4 + first + (inside % rows) * p[3] + inside // rows]


@kernel
def swap_blocks(p, tile):
    """y[a, c, b, :] = x[a, b, c, :]. p = [x, y, size b, size c, run, rows of y, rows per tile]."""
    b, c, run = p[2], p[3], p[4]
    for row in range(tile * p[6], min(p[5], (tile + 1) * p[6])):
        outer, inside = row // (b * c), row % (b * c)
        source = (outer * b + inside % b) * c + inside // b
        copy_run(p[0] + 4 * source * run, p[1] + 4 * row * run, run)


@cuda_twin(swap_blocks, items=lambda p: p[4] * p[5])
def swap_blocks_twin(f, i, p):
    """One thread per element."""
    at, b, c, run = cuda.grid(1), p[2], p[3], p[4]
    if at < run * p[5]:
        row = at // run
        outer, inside = row // (b * c), row % (b * c)
        source = (outer * b + inside % b) * c + inside // b
        i[p[1] // 4 + at] = i[p[0] // 4 + source * run + at % run]
