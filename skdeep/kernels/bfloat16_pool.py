"""Pooling and depthwise convolution of bfloat16 images, computed in float32.

Formulas and borders are those of :mod:`skdeep.kernels.pool` and :mod:`skdeep.kernels.depthwise`.
"""

import numpy as np

from .bfloat16 import latest, load_bf16, load_ordered, store_bf16_n, store_ordered_n
from .compiler import expand, inline, kernel, shared
from .conv import taps_inside
from .depthwise import four_pixels
from .pool import ONE, ZERO, counted, tap_range
from .simd import (
    WIDTH,
    broadcast,
    fill,
    fma,
    load,
    load_f32,
    load_n,
    maximum,
    minimum,
    scratch,
    store,
)


@kernel
def max_pool_bf16(p, tile):
    """Maximum of each window. p is as for :func:`~skdeep.kernels.pool.max_pool`, without index."""
    h, w, c, down, across = p[4], p[5], p[6], p[7], p[8]
    kh, kw, sh, sw, top, left = p[9], p[10], p[11], p[12], p[13], p[14]
    row, column = 2 * w * c, 2 * c
    for r in range(tile * p[15], min(p[3], (tile + 1) * p[15])):
        n, i = r // down, r % down
        i0 = i * sh - top
        p0, p1 = tap_range(i0, kh, h)
        for j in range(across):
            j0 = j * sw - left
            q0, q1 = tap_range(j0, kw, w)
            x = p[0] + (n * h + i0) * row + j0 * column
            y = p[1] + (r * across + j) * column
            for k in range(0, c, 2 * WIDTH):
                source = x + 2 * k
                best = load_ordered(source + p0 * row + q0 * column)
                for u in range(p0, p1):
                    for v in range(q0, q1):
                        best = latest(load_ordered(source + u * row + v * column), best)
                store_ordered_n(y + 2 * k, best, min(2 * WIDTH, c - k))


@kernel
def average_pool_bf16(p, tile):
    """Mean of each window, over the taps inside the image or (``padded``) inside the padding too.

    p = [x, y, rows of y in all images, h, w, c, windows down, windows across, kh, kw, sh, sw, top,
    left, bottom, right, padded, rows per tile]
    """
    h, w, c, down, across = p[3], p[4], p[5], p[6], p[7]
    kh, kw, sh, sw, top, left = p[8], p[9], p[10], p[11], p[12], p[13]
    row, column = 2 * w * c, 2 * c
    for r in range(tile * p[17], min(p[2], (tile + 1) * p[17])):
        n, i = r // down, r % down
        i0 = i * sh - top
        p0, p1 = tap_range(i0, kh, h)
        high = counted(i0, kh, h, top, p[14], p[16])
        for j in range(across):
            j0 = j * sw - left
            q0, q1 = tap_range(j0, kw, w)
            factor = ONE / np.float32(high * counted(j0, kw, w, left, p[15], p[16]))
            x = p[0] + (n * h + i0) * row + j0 * column
            y = p[1] + (r * across + j) * column
            for k in range(0, c, WIDTH):
                total = fill(ZERO)
                for u in range(p0, p1):
                    part = fill(ZERO)
                    for v in range(q0, q1):
                        part = part + load_bf16(x + u * row + v * column + 2 * k)
                    total = total + part
                store_bf16_n(y + 2 * k, total * factor, min(WIDTH, c - k))


@inline
def column_3(rows, steps, at, inside):
    """Pixels of three rows; zeros outside the image. A row of zeros has the step 0."""
    if inside:
        return (
            load_bf16(rows[0] + steps[0] * at), load_bf16(rows[1] + steps[1] * at),
            load_bf16(rows[2] + steps[2] * at),
        )  # fmt: skip
    return fill(ZERO), fill(ZERO), fill(ZERO)


@inline
def add_3(pixels, x, y, z, total):
    """Products of three pixels."""
    return fma(pixels[2], z, fma(pixels[1], y, fma(pixels[0], x, total)))


@expand
def strip_3x3(rows, steps, offset, pixel, w, move, left, weights, tap, shift, out, count, low, high,
              lanes):  # fmt: skip
    """A row of outputs of one vector of channels: each pixel is loaded once, weights never again.

    Every output is one chain of products, column by column.
    """
    a0, a1, a2 = load(weights), load(weights + 3 * tap), load(weights + 6 * tap)
    b0, b1, b2 = load(weights + tap), load(weights + 4 * tap), load(weights + 7 * tap)
    c0, c1, c2 = load(weights + 2 * tap), load(weights + 5 * tap), load(weights + 8 * tap)
    x = -left
    one = column_3(rows, steps, offset + x * pixel, x >= 0)
    two = column_3(rows, steps, offset + (x + 1) * pixel, x + 1 < w)
    for _ in range(count):
        three = column_3(rows, steps, offset + (x + 2) * pixel, x + 2 < w)
        total = add_3(three, c0, c1, c2, add_3(two, b0, b1, b2, add_3(one, a0, a1, a2, shift)))
        store_bf16_n(out, minimum(maximum(total, low), high), lanes)
        out += pixel
        x += move
        if move == 1:
            one, two = two, three
        else:
            one = three
            two = column_3(rows, steps, offset + (x + 1) * pixel, x + 1 < w)


@shared
def depthwise_3x3_bf16(first, row, h, w, c, zeros, weights, bias, out, count, move, left, lowest,
                       highest):  # fmt: skip
    """A row of outputs of a depthwise convolution of bfloat16 with 3x3 kernels.

    ``first`` is where pixels of ``row`` begin, which may lie outside of the image; ``lowest`` and
    ``highest`` are addresses.
    """
    low, high, pixel = broadcast(lowest), broadcast(highest), 2 * c
    rows_in = (
        first if 0 <= row < h else zeros,
        first + pixel * w if 0 <= row + 1 < h else zeros,
        first + 2 * pixel * w if 0 <= row + 2 < h else zeros,
    )
    steps = (
        1 if 0 <= row < h else 0,
        1 if 0 <= row + 1 < h else 0,
        1 if 0 <= row + 2 < h else 0,
    )
    for k in range(0, c, WIDTH):
        lanes = min(WIDTH, c - k)
        shift = load_n(bias + 4 * k, lanes) if bias != 0 else fill(ZERO)
        strip_3x3(rows_in, steps, 2 * k, pixel, w, move, left, weights + 4 * k, 4 * c, shift,
                  out + 2 * k, count, low, high, lanes)  # fmt: skip


@kernel
def depthwise_rows_bf16(p, tile):
    """Depthwise convolution of bfloat16 with float32 weights and bias.

    p = [x, w, bias, out, low, high, n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left, rows of
    a tile]
    """
    weights, bias = p[1], p[2]
    low, high = fill(load_f32(p[4])), fill(load_f32(p[5]))
    h, w, c, oh, ow, kh, kw = p[7], p[8], p[9], p[10], p[11], p[12], p[13]
    sh, sw, dh, dw, top, left = p[14], p[15], p[16], p[17], p[18], p[19]
    bands = (oh + p[20] - 1) // p[20]
    image, start = tile // bands, tile % bands * p[20]
    pixel = 2 * c
    zeros = scratch(64)
    store(zeros, fill(ZERO))
    small = kh == 3 and kw == 3 and dh == 1 and dw == 1 and sw <= 2 and left <= 1 and w >= 2
    for i in range(start, min(oh, start + p[20])):
        row = i * sh - top
        if small:
            depthwise_3x3_bf16(p[0] + pixel * (image * h + row) * w, row, h, w, c, zeros, weights,
                               bias, p[3] + pixel * (image * oh + i) * ow, ow, sw, left, p[4],
                               p[5])  # fmt: skip
            continue
        u, u_end = taps_inside(row, dh, kh, h)
        j = 0
        while j < ow:
            column = j * sw - left
            v, v_end = taps_inside(column, dw, kw, w)
            last, last_end = taps_inside(column + 3 * sw, dw, kw, w)
            four = j + 4 <= ow and v == 0 and v_end == kw and last == 0 and last_end == kw
            source = p[0] + pixel * ((image * h + row + u * dh) * w + column + v * dw)
            target = p[3] + pixel * ((image * oh + i) * ow + j)
            for k in range(0, c, WIDTH):
                lanes = min(WIDTH, c - k)
                first = load_n(bias + 4 * k, lanes) if bias != 0 else fill(ZERO)
                ys = four_pixels(
                    load_bf16,
                    source + 2 * k, pixel * sw if four else 0,
                    weights + 4 * ((u * kw + v) * c + k), u_end - u, pixel * w * dh, 4 * kw * c,
                    v_end - v, pixel * dw, 4 * c, first,
                )  # fmt: skip
                at = target + 2 * k
                store_bf16_n(at, minimum(maximum(ys[0], low), high), lanes)
                if four:
                    store_bf16_n(at + pixel, minimum(maximum(ys[1], low), high), lanes)
                    store_bf16_n(at + 2 * pixel, minimum(maximum(ys[2], low), high), lanes)
                    store_bf16_n(at + 3 * pixel, minimum(maximum(ys[3], low), high), lanes)
            j += 4 if four else 1
