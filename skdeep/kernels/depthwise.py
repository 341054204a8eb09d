"""Depthwise convolution: every channel has a kernel of its own. Weights w are (kh, kw, c).

Forward   y[n, i, j, c] = clamp(b[c] + sum over p, q of
                                x[n, i sh + p dh - top, j sw + q dw - left, c] w[p, q, c])
Input     dx[n, y, x, c] = sum over p, q of dy[n, i, j, c] w[p, q, c] over the i, j, p, q that hit
Weights   dw[p, q, c] = sum over n, i, j of x[n, i sh + p dh - top, ..., c] dy[n, i, j, c]

Channels are the lanes; four pixels share the loads of the weights.
"""

import numpy as np

from .compiler import expand, inline, kernel
from .conv import axis, region_end, taps_inside
from .simd import WIDTH, fill, fma, load, load_f32, load_n, maximum, minimum, store_n, where

ZERO = np.float32(0)


@inline
def finish(value, out, mask, low, high, lanes):
    """Clamp one vector, close it where the mask is not positive, and store it."""
    value = minimum(maximum(value, low), high)
    if mask != 0:
        value = where(load_n(mask, lanes) <= ZERO, fill(ZERO), value)
    store_n(out, value, lanes)


@expand
def four_pixels(x, move, w, taps_h, xh, wh, taps_w, xw, ww, start):
    """Sums over the taps of four pixels that lie ``move`` bytes apart in the input."""
    a, b, c, d = start, start, start, start
    for u in range(taps_h):
        for v in range(taps_w):
            weight = load(w + u * wh + v * ww)
            at = x + u * xh + v * xw
            a = fma(load(at), weight, a)
            b = fma(load(at + move), weight, b)
            c = fma(load(at + 2 * move), weight, c)
            d = fma(load(at + 3 * move), weight, d)
    return a, b, c, d


@kernel
def depthwise_rows(p, tile):
    """Depthwise convolution, or with ``transposed`` its input gradient.

    p = [x, w, bias, out, mask, low, high, n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left,
    transposed, rows of a tile]; mask is like out.
    """
    x, weights, bias, out, mask = p[0], p[1], p[2], p[3], p[4]
    low, high = fill(load_f32(p[5])), fill(load_f32(p[6]))
    h, w, c, oh, ow, kh, kw = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    sh, sw, dh, dw, top, left, transposed = p[15], p[16], p[17], p[18], p[19], p[20], p[21]
    phases_h, phases_w = (sh, sw) if transposed else (1, 1)
    bands = ((oh + phases_h - 1) // phases_h + p[22] - 1) // p[22]
    image, start = tile // bands, tile % bands * p[22]
    x += 4 * image * h * w * c
    pixel = 4 * c
    for rh in range(phases_h):
        taps_h, origin_h, move_h, step_h, last_h, skip_h = axis(rh, kh, sh, dh, top, transposed)
        for i in range(start, min((oh - rh + phases_h - 1) // phases_h, start + p[22])):
            row = i * move_h + origin_h
            u, u_end = taps_inside(row, step_h, taps_h, h)
            for rw in range(phases_w):
                taps_w, origin_w, move_w, step_w, last_w, skip_w = axis(
                    rw, kw, sw, dw, left, transposed
                )
                columns = (ow - rw + phases_w - 1) // phases_w
                j = 0
                while j < columns:
                    column = j * move_w + origin_w
                    v, v_end = taps_inside(column, step_w, taps_w, w)
                    end = region_end(j, columns, origin_w, move_w, step_w, taps_w, w)
                    tap = (last_h - u * skip_h) * kw + last_w - v * skip_w
                    source = x + pixel * ((row + u * step_h) * w + column + v * step_w)
                    target = ((image * oh + rh + i * phases_h) * ow + rw + j * phases_w) * pixel
                    while j < end:
                        pixels = 4 if end - j >= 4 else 1
                        move = pixel * move_w if pixels == 4 else 0
                        for k in range(0, c, WIDTH):
                            o, lanes = 4 * k, min(c - k, WIDTH)
                            first = load_n(bias + o, lanes) if bias != 0 else fill(ZERO)
                            ys = four_pixels(
                                source + o, move, weights + pixel * tap + o, u_end - u,
                                pixel * w * step_h, -pixel * kw * skip_h, v_end - v,
                                pixel * step_w, -pixel * skip_w, first,
                            )  # fmt: skip
                            step = pixel * phases_w
                            at = target + o
                            gate = mask + at if mask != 0 else 0
                            finish(ys[0], out + at, gate, low, high, lanes)
                            if pixels == 4:
                                beside = step if mask != 0 else 0
                                finish(ys[1], out + at + step, gate + beside, low, high, lanes)
                                at, gate = at + 2 * step, gate + 2 * beside
                                finish(ys[2], out + at, gate, low, high, lanes)
                                finish(ys[3], out + at + step, gate + beside, low, high, lanes)
                        j += pixels
                        source += pixels * pixel * move_w
                        target += pixels * pixel * phases_w


@inline
def outputs_inside(tap, count, size, stride):
    """First and end of the outputs i < count with 0 <= i * stride + tap < size."""
    start = 0 if tap >= 0 else (stride - 1 - tap) // stride
    return start, min(count, (size - 1 - tap) // stride + 1)


@kernel
def depthwise_weights(p, tile):
    """Weight gradient, a partial sum for each group of images.

    p = [x, dy, partial, n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left, images of a group].
    """
    x, dy, out = p[0], p[1], p[2]
    n, h, w, c, oh, ow, kh, kw = p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10]
    sh, sw, dh, dw, top, left = p[11], p[12], p[13], p[14], p[15], p[16]
    pixel = 4 * c
    out += tile * kh * kw * pixel
    first = tile * p[17]
    for image in range(first, min(n, first + p[17])):
        for t in range(kh * kw):
            row, column = t // kw * dh - top, t % kw * dw - left
            i_start, i_end = outputs_inside(row, oh, h, sh)
            j_start, j_end = outputs_inside(column, ow, w, sw)
            for k in range(0, c, WIDTH):
                a, b, d, e = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
                for i in range(i_start, i_end):
                    at = x + pixel * ((image * h + i * sh + row) * w + column) + 4 * k
                    by = dy + pixel * (image * oh + i) * ow + 4 * k
                    j, jump = j_start, pixel * sw
                    while j + 4 <= j_end:
                        xj, yj = at + j * jump, by + j * pixel
                        a = fma(load(xj), load(yj), a)
                        b = fma(load(xj + jump), load(yj + pixel), b)
                        d = fma(load(xj + 2 * jump), load(yj + 2 * pixel), d)
                        e = fma(load(xj + 3 * jump), load(yj + 3 * pixel), e)
                        j += 4
                    while j < j_end:
                        a = fma(load(at + j * jump), load(by + j * pixel), a)
                        j += 1
                total = (a + b) + (d + e)
                lanes = min(c - k, WIDTH)
                address = out + t * pixel + 4 * k
                if image > first:
                    total = load_n(address, lanes) + total
                store_n(address, total, lanes)
