"""Winograd's minimal filtering for 3x3 and 5x5 convolutions of stride 1: forward and gradients.

Images are cut into squares of m x m outputs, each seen through size x size inputs, size = m + r - 1
for a kernel of r x r. With three small constant matrices B, G, A a square d of the input and a
kernel g give the outputs

    y = A^T [(G g G^T) * (B^T d B)] A                      (* element by element)

so that sums over channels are size^2 matrix products between transformed inputs V and transformed
weights U, where a direct convolution multiplies (m r)^2 times. There are 4 times fewer products for
m = 4 and r = 3, 2.25 times for m = 2 and r = 3, 2.78 times for m = 2 and r = 5. The input gradient
is a forward convolution of dy with flipped, transposed weights; or, where images shrink so much
that dy has far fewer squares than dx, it is *scattered*: every square of dx gets

    B [(G g G^T) * (A dy A^T)] B^T

added, and squares overlap. The weight gradient is accumulated in the transformed domain,

    dw = G^T [sum over squares of (B^T d B) * (A dy A^T)] G

The points of interpolation are 0, +-1 and infinity for size 4, and 0, +-5/8, +-3/2 and infinity for
size 6: with the usual 0, +-1, +-2 the error would be three times as large (A. Lavin and S. Gray,
"Fast algorithms for convolutional neural networks", 2016; B. Barabasz et al., "Error analysis and
improving the accuracy of Winograd convolution for deep neural networks", 2020).

Blocks of squares are transformed, multiplied and transformed back while they are in the L2 cache;
every tile of a program has working memory of its own. An element is computed from its own square
alone, in the same order wherever the square lies in a batch.

Measured on one Zen 4 core against the direct kernels: 2.4 to 3 times as fast forward, from 64
channels on 56 x 56 pixels to 256 on 14 x 14, and 2.1 to 2.8 times for a training step of 64 images.
"""

import numpy as np

from .bfloat16 import load_any, store_any, store_any_n
from .compiler import expand, inline, kernel, shared
from .gemm import TABLE_BYTES, VECTORS, column_tile, product_tile, put_row, tile_rows
from .panels import (
    count_panels,
    count_vectors,
    panel_count,
    panel_first,
    panel_floats,
    transpose_block,
    vector_count,
)
from .simd import (
    VECTOR_BYTES,
    WIDTH,
    fill,
    fma,
    load,
    load_f32,
    maximum,
    minimum,
    scratch,
    store,
    store_n,
    where,
)

LINE = 64  # bytes between parts of working memory, which would share cache sets otherwise
SQUARE_BYTES = 36 * VECTOR_BYTES  # a vector of channels of a square
TAPS_BYTES = 25 * WIDTH * VECTOR_BYTES  # all taps of a square of weights
PANEL = WIDTH * VECTORS  # columns of a full panel
PAIR_BYTES = 4 * PANEL * PANEL + LINE  # the sums of one position for a pair of bands
WHOLE, TRANSFORMS, PRODUCTS = 0, 1, 2  # stages

ZERO = np.float32(0)
_A2, _B2 = 25 / 64, 9 / 4  # squares of the points
A, B = np.float32(5 / 8), np.float32(3 / 2)
A2, B2 = np.float32(_A2), np.float32(_B2)
A3, B3 = np.float32(5 / 8 * _A2), np.float32(3 / 2 * _B2)
A4, B4 = np.float32(_A2**2), np.float32(_B2**2)
A_B2, B_A2 = np.float32(5 / 8 * _B2), np.float32(3 / 2 * _A2)
SUM2, PRODUCT2 = np.float32(_A2 + _B2), np.float32(_A2 * _B2)
# What the rows of G are divided by: products of distances of a point to the others.
SCALE_0 = np.float32(1 / (_A2 * _B2))
SCALE_A = np.float32(1 / (2 * _A2 * (_A2 - _B2)))
SCALE_B = np.float32(1 / (2 * _B2 * (_B2 - _A2)))
HALF = np.float32(0.5)


def packed_floats(size, run, columns):
    """Size of the panels of transformed weights."""
    return size**2 * (panel_floats(run, columns) + panel_count(columns) * LINE // 4)


def work_floats(size, squares, channels, columns):
    """Elements of V, for all channels, and of M, for all columns, of some squares."""
    return tuple(
        size**2 * (squares * vector_count(k) * WIDTH + LINE // 4) for k in (channels, columns)
    )


# ---- one dimension: values lie `step` bytes apart, results `gap` bytes ---------------------------


@inline
def times_bt(source, step, target, gap, size, element):
    """B^T d: as many values as there are, of ``element`` bytes."""
    d0, d1 = load_any(source, element), load_any(source + step, element)
    d2, d3 = load_any(source + 2 * step, element), load_any(source + 3 * step, element)
    if size == 4:
        store(target, d2 - d0)
        store(target + gap, d2 + d1)
        store(target + 2 * gap, d2 - d1)
        store(target + 3 * gap, d3 - d1)
    else:
        d4, d5 = load_any(source + 4 * step, element), load_any(source + 5 * step, element)
        even_a, odd_a = fma(d2, -B2, d4), fma(d1, -B2, d3)
        even_b, odd_b = fma(d2, -A2, d4), fma(d1, -A2, d3)
        store(target, fma(d0, PRODUCT2, fma(d2, -SUM2, d4)))
        store(target + gap, fma(odd_a, A, even_a))
        store(target + 2 * gap, fma(odd_a, -A, even_a))
        store(target + 3 * gap, fma(odd_b, B, even_b))
        store(target + 4 * gap, fma(odd_b, -B, even_b))
        store(target + 5 * gap, fma(d1, PRODUCT2, fma(d3, -SUM2, d5)))


@inline
def times_b(source, step, target, gap):
    """B m: 6 values from 6."""
    m0, m1, m2 = load(source), load(source + step), load(source + 2 * step)
    m3, m4, m5 = load(source + 3 * step), load(source + 4 * step), load(source + 5 * step)
    even_a, odd_a = m1 + m2, m2 - m1
    even_b, odd_b = m3 + m4, m4 - m3
    store(target, m0 * PRODUCT2)
    store(target + gap, fma(odd_a, A_B2, fma(odd_b, B_A2, m5 * PRODUCT2)))
    store(target + 2 * gap, fma(m0, -SUM2, fma(even_a, -B2, even_b * -A2)))
    store(target + 3 * gap, fma(m5, -SUM2, fma(odd_a, -A, odd_b * -B)))
    store(target + 4 * gap, m0 + (even_a + even_b))
    store(target + 5 * gap, m5)


@inline
def times_at(source, step, target, gap, m, size):
    """A^T y: m values from ``size``."""
    y0, y1, y2, y3 = (
        load(source), load(source + step), load(source + 2 * step), load(source + 3 * step)
    )  # fmt: skip
    if size == 4:
        store(target, y0 + (y1 + y2))
        store(target + gap, (y1 - y2) + y3)
    else:
        y4, y5 = load(source + 4 * step), load(source + 5 * step)
        even_a, odd_a = y1 + y2, y1 - y2
        even_b, odd_b = y3 + y4, y3 - y4
        store(target, y0 + (even_a + even_b))
        if m == 2:
            store(target + gap, fma(odd_b, B, fma(odd_a, A, y5)))
        else:
            store(target + gap, fma(odd_b, B, odd_a * A))
            store(target + 2 * gap, fma(even_b, B2, even_a * A2))
            store(target + 3 * gap, fma(odd_b, B3, fma(odd_a, A3, y5)))


@inline
def times_a(source, step, target, gap, m, size):
    """A y: ``size`` values from m."""
    y0, y1 = load(source), load(source + step)
    store(target, y0)
    if size == 4:
        store(target + gap, y0 + y1)
        store(target + 2 * gap, y0 - y1)
        store(target + 3 * gap, y1)
    else:
        even_a, even_b, odd_a, odd_b, last = y0, y0, y1, y1, y1
        if m == 4:
            y2, last = load(source + 2 * step), load(source + 3 * step)
            even_a, odd_a = fma(y2, A2, y0), fma(last, A2, y1)
            even_b, odd_b = fma(y2, B2, y0), fma(last, B2, y1)
        store(target + gap, fma(odd_a, A, even_a))
        store(target + 2 * gap, fma(odd_a, -A, even_a))
        store(target + 3 * gap, fma(odd_b, B, even_b))
        store(target + 4 * gap, fma(odd_b, -B, even_b))
        store(target + 5 * gap, last)


@inline
def times_g(source, step, target, gap, r, size):
    """G g: ``size`` values from r."""
    g0, g1, last = load(source), load(source + step), load(source + 2 * step)
    if size == 4:
        even, odd = (g0 + last) * HALF, g1 * HALF
        store(target, -g0)
        store(target + gap, even + odd)
        store(target + 2 * gap, even - odd)
    else:
        even_a, odd_a = fma(last, A2, g0), g1 * A
        even_b, odd_b = fma(last, B2, g0), g1 * B
        if r == 5:
            g3, last = load(source + 3 * step), load(source + 4 * step)
            even_a, odd_a = fma(last, A4, even_a), fma(g3, A3, odd_a)
            even_b, odd_b = fma(last, B4, even_b), fma(g3, B3, odd_b)
        store(target, g0 * SCALE_0)
        store(target + gap, (even_a + odd_a) * SCALE_A)
        store(target + 2 * gap, (even_a - odd_a) * SCALE_A)
        store(target + 3 * gap, (even_b + odd_b) * SCALE_B)
        store(target + 4 * gap, (even_b - odd_b) * SCALE_B)
    store(target + (size - 1) * gap, last)


@inline
def times_gt(source, step, target, gap, r, size):
    """G^T u: r values from ``size``."""
    u0, u1, u2, u3 = (
        load(source), load(source + step), load(source + 2 * step), load(source + 3 * step)
    )  # fmt: skip
    if size == 4:
        even, odd = (u1 + u2) * HALF, (u1 - u2) * HALF
        store(target, even - u0)
        store(target + gap, odd)
        store(target + 2 * gap, even + u3)
    else:
        u4, u5 = load(source + 4 * step), load(source + 5 * step)
        even_a, odd_a = (u1 + u2) * SCALE_A, (u1 - u2) * SCALE_A
        even_b, odd_b = (u3 + u4) * SCALE_B, (u3 - u4) * SCALE_B
        store(target, fma(u0, SCALE_0, even_a + even_b))
        store(target + gap, fma(odd_b, B, odd_a * A))
        if r == 3:
            store(target + 2 * gap, fma(even_b, B2, fma(even_a, A2, u5)))
        else:
            store(target + 2 * gap, fma(even_b, B2, even_a * A2))
            store(target + 3 * gap, fma(odd_b, B3, odd_a * A3))
            store(target + 4 * gap, fma(even_b, B4, fma(even_a, A4, u5)))


# ---- weights -------------------------------------------------------------------------------------


@kernel
def winograd_pack(p, tile):
    """Transformed weights as panels, (panels, size^2, run, width). One tile per panel.

    p = [w, out, c, f, size, r, transposed, flipped]; w is (r, r, c, f). Rows and columns of the
    panels are c and f or, transposed, f and c; flipped, the taps are in reverse order. Columns past
    the last are undefined.
    """
    w, out, c, f, size, r, transposed, flipped = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    columns, run = (c, f) if transposed else (f, c)
    first, end = panel_first(columns, tile), panel_first(columns, tile + 1)
    width = VECTOR_BYTES * (end - first)
    gap = width * run + LINE
    out += size * size * (VECTOR_BYTES * first * run + tile * LINE)
    between, taps = scratch(SQUARE_BYTES), scratch(TAPS_BYTES)
    for k in range(0, run, WIDTH):
        rows = min(WIDTH, run - k)
        for v in range(first, end):
            source, tap, step = w + 4 * (k * f + v * WIDTH), 4 * c * f, 4 * f
            if transposed:
                for t in range(r * r):
                    here = r * r - 1 - t if flipped else t
                    transpose_block(w + 4 * ((here * c + v * WIDTH) * f + k), 4 * f,
                                    min(WIDTH, c - v * WIDTH), taps + t * WIDTH * VECTOR_BYTES,
                                    VECTOR_BYTES, rows)  # fmt: skip
                source, tap, step = taps, WIDTH * VECTOR_BYTES, VECTOR_BYTES
            for row in range(rows):
                target = out + VECTOR_BYTES * (v - first) + width * (k + row)
                for j in range(r):
                    times_g(source + row * step + j * tap, r * tap, between + j * VECTOR_BYTES,
                            r * VECTOR_BYTES, r, size)  # fmt: skip
                for i in range(size):
                    times_g(between + r * i * VECTOR_BYTES, VECTOR_BYTES, target + i * size * gap,
                            gap, r, size)  # fmt: skip


# ---- images --------------------------------------------------------------------------------------


@inline
def place(square, down, across):
    """Image, row and column of a square."""
    image, rest = square // (down * across), square % (down * across)
    return image, rest // across, rest % across


@inline
def inside(y, x, size, h, w):
    """Whether a square with its first pixel at (y, x) lies in the image."""
    return y >= 0 and x >= 0 and y + size <= h and x + size <= w


@inline
def clear(target, count):
    """Zero ``count`` vectors."""
    for k in range(count):
        store(target + k * VECTOR_BYTES, fill(ZERO))


@inline
def copy_square(x, h, w, c, y_start, x_start, size, target, element):
    """One vector of channels of the pixels of a square that lie in the image, as float32."""
    for i in range(max(0, -y_start), min(size, h - y_start)):
        for j in range(max(0, -x_start), min(size, w - x_start)):
            pixel = x + element * ((y_start + i) * w + x_start + j) * c
            store(target + (i * size + j) * VECTOR_BYTES, load_any(pixel, element))


@shared
def transform_inputs(x, h, w, c, down, across, start, count, top, left, m, size, width, target, gap,
                     between, square, element):  # fmt: skip
    """B^T d B of ``count`` squares of Winograd's algorithm, ``width`` bytes of channels each.

    An image has down x across squares.
    """
    for t in range(count):
        image, i, j = place(start + t, down, across)
        y_start, x_start = i * m - top, j * m - left
        base, pixel = x + element * image * h * w * c, element * c
        begin, row = base + (y_start * w + x_start) * pixel, w * pixel
        whole = inside(y_start, x_start, size, h, w)
        if not whole:
            clear(square, size * size)
        for at in range(0, width, VECTOR_BYTES):
            offset = at * element // 4
            if whole:
                for k in range(size):
                    times_bt(begin + offset + k * pixel, row, between + k * VECTOR_BYTES,
                             size * VECTOR_BYTES, size, element)  # fmt: skip
            else:
                copy_square(base + offset, h, w, c, y_start, x_start, size, square, element)
                for k in range(size):
                    times_bt(square + k * VECTOR_BYTES, size * VECTOR_BYTES,
                             between + k * VECTOR_BYTES, size * VECTOR_BYTES, size,
                             4)  # fmt: skip
            for k in range(size):
                times_bt(between + k * size * VECTOR_BYTES, VECTOR_BYTES,
                         target + t * width + at + k * size * gap, gap, size, 4)  # fmt: skip


@shared
def transform_gradients(dy, oh, ow, f, down, across, start, count, m, size, width, target, gap,
                        between, square):  # fmt: skip
    """A dy A^T of ``count`` squares of Winograd's algorithm, ``width`` bytes of filters each."""
    for t in range(count):
        image, i, j = place(start + t, down, across)
        base = dy + 4 * image * oh * ow * f
        begin, row, pixel = base + 4 * (i * ow + j) * m * f, 4 * ow * f, 4 * f
        whole = inside(i * m, j * m, m, oh, ow)
        if not whole:
            clear(square, m * m)
            row, pixel = m * VECTOR_BYTES, VECTOR_BYTES
        for at in range(0, width, VECTOR_BYTES):
            source = begin + at
            if not whole:
                copy_square(base + at, oh, ow, f, i * m, j * m, m, square, 4)
                source = square
            for k in range(m):
                times_a(source + k * pixel, row, between + k * VECTOR_BYTES, m * VECTOR_BYTES, m,
                        size)  # fmt: skip
            for k in range(size):
                times_a(between + k * m * VECTOR_BYTES, VECTOR_BYTES,
                        target + t * width + at + k * size * gap, gap, m, size)  # fmt: skip


@expand
def transform_outputs(source, gap, out, bias, add, mask, low, high, rows, columns, row, pixel, m,
                      size, lanes, between, element):  # fmt: skip
    """The outputs of one square, ``rows`` x ``columns`` of which exist; one vector of filters.

    ``add`` and ``mask`` are addresses that go with ``out``, or 0.
    """
    for k in range(size):
        times_at(source + k * gap, size * gap, between + k * VECTOR_BYTES, size * VECTOR_BYTES, m,
                 size)  # fmt: skip
    shift = load(bias) if bias != 0 else fill(ZERO)
    for i in range(rows):
        line = between + i * size * VECTOR_BYTES
        times_at(line, VECTOR_BYTES, line, VECTOR_BYTES, m, size)
        for j in range(columns):
            at = i * row + j * pixel
            y = load(line + j * VECTOR_BYTES) + shift
            if add != 0:
                y = y + load_any(add + at, element)
            y = minimum(maximum(y, low), high)
            if mask != 0:
                y = where(load(mask + at) <= ZERO, ZERO, y)
            if lanes == WIDTH:
                store_any(out + at, y, element)
            else:
                store_any_n(out + at, y, lanes, element)


@shared
def write_squares(source, gap, out, bias, add, mask, lowest, highest, oh, ow, f, first, vectors,
                  down, across, start, count, m, size, pixel, between, element):  # fmt: skip
    """The outputs of ``count`` squares of Winograd's algorithm and one panel of filters.

    ``lowest`` and ``highest`` are addresses of numbers, between which the outputs are kept.
    """
    low, high = load_f32(lowest), load_f32(highest)
    for t in range(count):
        image, i, j = place(start + t, down, across)
        at = ((image * oh + i * m) * ow + j * m) * pixel + first * WIDTH * element
        for v in range(vectors):
            column = at + v * WIDTH * element
            transform_outputs(
                source + (t * vectors + v) * VECTOR_BYTES, gap, out + column,
                bias + VECTOR_BYTES * (first + v) if bias != 0 else 0,
                add + column if add != 0 else 0, mask + column if mask != 0 else 0,
                low, high, min(m, oh - i * m), min(m, ow - j * m), ow * pixel, pixel, m, size,
                min(WIDTH, f - (first + v) * WIDTH), between, element,
            )  # fmt: skip


@expand
def multiply_squares(table, v, v_gap, run, weights, terms, out, gap, vectors, count, size):
    """M of ``count`` squares and one panel: at every position a product of V and weights."""
    width = VECTOR_BYTES * vectors
    for q in range(size * size):
        i = 0
        while i < count:
            rows = tile_rows(vectors, count - i)
            for r in range(rows):
                k = min(i + r, count - 1)
                put_row(table, r, out + q * gap + k * width, v + q * v_gap + k * run)
            panel = weights + q * (terms * width + LINE)
            product_tile(rows, vectors, table, panel, terms, WIDTH)
            i += rows


@expand
def convolve_squares(p, tile, element):
    """See :func:`winograd_rows`, for images of ``element`` bytes per number."""
    x, panels, bias, out, add, mask = p[0], p[1], p[2], p[3], p[4], p[5]
    n, h, w, c, oh, ow, f, top, left = p[9], p[10], p[11], p[12], p[13], p[14], p[15], p[16], p[17]
    m, size, block, shares, stage, pixel = p[18], p[19], p[20], p[21], p[23], element * p[24]
    down, across = (oh + m - 1) // m, (ow + m - 1) // m
    squares = n * down * across
    blocks = (squares + block - 1) // block
    share, chunk = tile % shares, tile // shares
    from_panel = chunk * p[22]
    to_panel = min(count_panels(f), from_panel + p[22])
    run = VECTOR_BYTES * count_vectors(c)
    v_gap = (block if stage == WHOLE else squares) * run + LINE
    m_gap = block * VECTOR_BYTES * min(count_vectors(f), VECTORS) + LINE
    v_start = p[8] + (tile * size * size * (v_gap + m_gap) if stage == WHOLE else 0)
    m_start = v_start + size * size * (v_gap + (0 if stage == WHOLE else tile * m_gap))
    table, between, square = scratch(TABLE_BYTES), scratch(SQUARE_BYTES), scratch(SQUARE_BYTES)
    for b in range(share * blocks // shares, (share + 1) * blocks // shares):
        start = b * block
        count = min(squares, start + block) - start
        v_block = v_start + (0 if stage == WHOLE else start * run)
        if stage != PRODUCTS:
            transform_inputs(x, h, w, c, down, across, start, count, top, left, m, size, run,
                             v_block, v_gap, between, square, element)  # fmt: skip
        if stage == TRANSFORMS:
            continue
        for panel in range(from_panel, to_panel):
            first, end = panel_first(f, panel), panel_first(f, panel + 1)
            vectors = end - first
            weights = panels + size * size * (VECTOR_BYTES * first * c + panel * LINE)
            multiply_squares(table, v_block, v_gap, run, weights, c, m_start, m_gap, vectors, count,
                             size)  # fmt: skip
            write_squares(m_start, m_gap, out, bias, add, mask, p[6], p[7], oh, ow, f, first,
                          vectors, down, across, start, count, m, size, pixel, between,
                          element)  # fmt: skip


@kernel
def winograd_rows(p, tile):
    """Convolution with transformed weights, or an input gradient.

    p = [x, panels, bias, out, add, mask, low, high, work, n, h, w, c, oh, ow, f, top, left, m,
    size, squares of a block, shares, panels of a tile, stage, numbers from a pixel of out to
    the next]; x is (n, h, w, c), out (n, oh, ow, f), add and mask are like out. A tile takes a
    share of the blocks and some panels of filters. Where there are few squares and many filters the
    work is done in two stages, so that inputs are not transformed for every tile anew.
    """
    convolve_squares(p, tile, 4)


@kernel
def winograd_rows_bf16(p, tile):
    """The same for images of bfloat16, with float32 in between; there is no mask."""
    convolve_squares(p, tile, 2)


@expand
def scatter_square(source, gap, out, y, x, h, w, c, lanes, between, square):
    """Add B M B^T of a square that begins at (y, x) to an image; one vector of channels."""
    for k in range(6):
        times_b(source + k * gap, 6 * gap, between + k * VECTOR_BYTES, 6 * VECTOR_BYTES)
    for i in range(max(0, -y), min(6, h - y)):
        times_b(between + 6 * i * VECTOR_BYTES, VECTOR_BYTES, square, VECTOR_BYTES)
        for j in range(max(0, -x), min(6, w - x)):
            at = out + 4 * ((y + i) * w + x + j) * c
            value = load(at) + load(square + j * VECTOR_BYTES)
            if lanes == WIDTH:
                store(at, value)
            else:
                store_n(at, value, lanes)


@shared
def scatter_squares(source, gap, out, h, w, c, first, vectors, down, across, start, count, top,
                    left, m, between, square):  # fmt: skip
    """Add ``count`` squares of Winograd's algorithm and one panel of channels to the images."""
    for t in range(count):
        image, i, j = place(start + t, down, across)
        for v in range(vectors):
            column = (first + v) * WIDTH
            scatter_square(source + (t * vectors + v) * VECTOR_BYTES, gap,
                           out + 4 * (image * h * w * c + column), i * m - top, j * m - left, h, w,
                           c, min(WIDTH, c - column), between, square)  # fmt: skip


@kernel
def winograd_scatter(p, tile):
    """Input gradient with transformed weights, from the squares of dy. Each tile takes some images.

    p = [dy, panels, out, mask, work, n, oh, ow, f, h, w, c, top, left, m, squares of a block,
    images of a tile]; dy is (n, oh, ow, f), out and mask (n, h, w, c). Squares have 6 x 6 inputs.
    """
    dy, panels, out, mask = p[0], p[1], p[2], p[3]
    n, oh, ow, f, h, w, c, top, left = p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12], p[13]
    m, block, images = p[14], p[15], p[16]
    down, across = (oh + m - 1) // m, (ow + m - 1) // m
    run = VECTOR_BYTES * count_vectors(f)
    v_gap, m_gap = block * run + LINE, block * VECTOR_BYTES * min(count_vectors(c), VECTORS) + LINE
    v_start = p[4] + 36 * tile * (v_gap + m_gap)
    m_start = v_start + 36 * v_gap
    table, between, square = scratch(TABLE_BYTES), scratch(SQUARE_BYTES), scratch(SQUARE_BYTES)
    image_end = min(n, (tile + 1) * images)
    begin, stop = 4 * tile * images * h * w * c, 4 * image_end * h * w * c
    for at in range(begin, stop, VECTOR_BYTES):
        store_n(out + at, fill(ZERO), (stop - at) // 4)
    squares = image_end * down * across
    for start in range(tile * images * down * across, squares, block):
        count = min(squares - start, block)
        transform_gradients(dy, oh, ow, f, down, across, start, count, m, 6, run, v_start, v_gap,
                            between, square)  # fmt: skip
        for panel in range(count_panels(c)):
            first, end = panel_first(c, panel), panel_first(c, panel + 1)
            vectors = end - first
            multiply_squares(table, v_start, v_gap, run,
                             panels + 36 * (VECTOR_BYTES * first * f + panel * LINE), f, m_start,
                             m_gap, vectors, count, 6)  # fmt: skip
            scatter_squares(m_start, m_gap, out, h, w, c, first, vectors, down, across, start,
                            count, top, left, m, between, square)  # fmt: skip
    if mask != 0:
        for at in range(begin, stop, VECTOR_BYTES):
            kept = where(load(mask + at) <= ZERO, ZERO, load(out + at))
            store_n(out + at, kept, (stop - at) // 4)


# ---- weight gradient -----------------------------------------------------------------------------
# V and M of a wave of squares are kept as (positions, bands, squares, width), so that a column tile
# reads them from one end to the other. Bands of M are panels of filters; bands of V are that many
# vectors of channels.


@kernel
def winograd_transforms(p, tile):
    """V and M of the squares from ``start`` up to ``end``.

    p = [x, dy, work, n, h, w, c, oh, ow, f, top, left, m, size, start, end, squares of a tile,
    vectors of a band of V]; x is (n, h, w, c), dy (n, oh, ow, f).
    """
    h, w, c, oh, ow, f, top, left, m = p[4], p[5], p[6], p[7], p[8], p[9], p[10], p[11], p[12]
    size, squares, at, band = p[13], p[15] - p[14], tile * p[16], p[17]
    start, count = p[14] + at, min(squares, at + p[16]) - at
    down, across = (oh + m - 1) // m, (ow + m - 1) // m
    v_gap = squares * VECTOR_BYTES * count_vectors(c) + LINE
    m_gap = squares * VECTOR_BYTES * count_vectors(f) + LINE
    v_start = p[2]
    m_start = v_start + size * size * v_gap
    between, square = scratch(SQUARE_BYTES), scratch(SQUARE_BYTES)
    for first in range(0, count_vectors(c), band):
        column = VECTOR_BYTES * first
        width = VECTOR_BYTES * min(band, count_vectors(c) - first)
        transform_inputs(p[0] + column, h, w, c, down, across, start, count, top, left, m, size,
                         width, v_start + squares * column + at * width, v_gap, between, square,
                         4)  # fmt: skip
    for panel in range(count_panels(f)):
        column = VECTOR_BYTES * panel_first(f, panel)
        width = VECTOR_BYTES * panel_first(f, panel + 1) - column
        transform_gradients(p[1] + column, oh, ow, f, down, across, start, count, m, size, width,
                            m_start + squares * column + at * width, m_gap, between,
                            square)  # fmt: skip


@expand
def multiply_bands(table, a, b, squares, channels, a_width, out, width):
    """out (channels, width) = sum over squares of a (squares, a_width) by b (squares, width)."""
    vectors = width // VECTOR_BYTES
    i = 0
    while i < channels:
        rows = tile_rows(vectors, channels - i)
        for r in range(rows):
            k = min(i + r, channels - 1)
            put_row(table, r, out + k * width, 4 * k)
        column_tile(rows, vectors, table, 1, a, b, 1, 0, 0, 1, 0, 0, squares, a_width, width,
                    WIDTH)  # fmt: skip
        i += rows


@kernel
def winograd_weights(p, tile):
    """dw (parts, r, r, c, f) = G^T [sums of V M over squares] G, added to what it holds if ``add``.

    p = [work, dw, c, f, size, r, squares, vectors of a band of V, shares, add, parts]. Each tile
    takes a share of the pairs of bands and, where these are few, a part of the squares.
    """
    work, dw, c, f, size, r, squares, band = p[0], p[1], p[2], p[3], p[4], p[5], p[6], p[7]
    panels = count_panels(f)
    positions = size * size
    v_gap = squares * VECTOR_BYTES * count_vectors(c) + LINE
    m_gap = squares * VECTOR_BYTES * count_vectors(f) + LINE
    m_start = work + positions * v_gap
    sums = m_start + positions * (m_gap + tile * PAIR_BYTES)
    part, share = tile // p[8], tile % p[8]
    start, stop = part * squares // p[10], (part + 1) * squares // p[10]
    dw += 4 * part * r * r * c * f
    table, between, square = scratch(TABLE_BYTES), scratch(SQUARE_BYTES), scratch(SQUARE_BYTES)
    pairs = (count_vectors(c) + band - 1) // band * panels
    for pair in range(share * pairs // p[8], (share + 1) * pairs // p[8]):
        begin = pair // panels * band
        a_width = VECTOR_BYTES * min(band, count_vectors(c) - begin)
        channels = min(c, (begin + band) * WIDTH) - begin * WIDTH
        first, end = panel_first(f, pair % panels), panel_first(f, pair % panels + 1)
        width = VECTOR_BYTES * (end - first)
        for q in range(positions):
            a = work + q * v_gap + squares * VECTOR_BYTES * begin + start * a_width
            b = m_start + q * m_gap + squares * VECTOR_BYTES * first + start * width
            multiply_bands(table, a, b, stop - start, channels, a_width, sums + q * PAIR_BYTES,
                           width)  # fmt: skip
        for k in range(channels):
            for v in range(end - first):
                at = sums + k * width + v * VECTOR_BYTES
                for j in range(size):
                    times_gt(at + j * PAIR_BYTES, size * PAIR_BYTES, between + j * VECTOR_BYTES,
                             size * VECTOR_BYTES, r, size)  # fmt: skip
                lanes = min(WIDTH, f - (first + v) * WIDTH)
                for i in range(r):
                    times_gt(between + i * size * VECTOR_BYTES, VECTOR_BYTES, square, VECTOR_BYTES,
                             r, size)  # fmt: skip
                    for j in range(r):
                        element = (r * i + j) * c + begin * WIDTH + k
                        out = dw + 4 * (element * f + (first + v) * WIDTH)
                        value = load(square + j * VECTOR_BYTES)
                        if p[9] != 0:
                            value = value + load(out)
                        store_n(out, value, lanes)
