"""Convolution over (n, h, w, c) images, its input gradient and its weight gradient.

Forward   y[n, i, j, f] = clamp(b[f] + sum over p, q, c of
                                x[n, i sh + p dh - top, j sw + q dw - left, c] w[p, q, c, f])
Input     dx[n, y, x, c] = sum over p, q, f of dy[n, i, j, f] w[p, q, c, f]
          over the i, j, p, q that hit (y, x)
Weights   dw[p, q, c, f] = sum over n, i, j of x[n, i sh + p dh - top, ..., c] dy[n, i, j, f]

Nothing is copied and nothing is multiplied by padding. Pixels are visited in *regions* that see the
same part of the kernel (the interior, the edges, the corners), so that one row tile holds pixels
of any rows and images of a region; where taps lie side by side in memory they are one longer tap.
The input gradient has the form of a forward convolution for each *phase* of output pixels
(position modulo stride), with the taps that hit it in reverse order; panels are packed in that
order.
"""

import numpy as np

from .activation import clip
from .compiler import expand, inline, kernel, shared
from .cuda import cuda, cuda_twin
from .dense import INFINITY, distance
from .gemm import ABSENT, LINE, TABLE_BYTES, column_tile, put_row, row_tile, tile_rows
from .maths import fma
from .panels import count_panels, count_vectors, panel_first, panel_lanes, transpose_panel
from .simd import VECTOR_BYTES, WIDTH, fill, load, load_f32, scratch, store_n

CHUNK = 4096  # elements of one tile of `sum_groups`

ZERO = np.float32(0)


def tap_axis(phase, k, stride, dilation, pad, transposed):
    """Taps of one axis: their number, and where tap u of output a lies.

    Returns (taps, origin, step of the output, step of the taps, last, skip): tap u of the output a
    of this phase is at a * step_out + origin + u * step_tap, and is number last - u * skip of the
    kernel when transposed.
    """
    if not transposed:
        return k, -pad, stride, dilation, 0, -1
    first = 0
    while first < k and (phase + pad - first * dilation) % stride != 0:
        first += 1
    if first == k:
        return 0, 0, 1, 1, 0, 1
    skip = 1
    while (skip * dilation) % stride != 0:
        skip += 1
    taps = (k - 1 - first) // skip + 1
    last = first + (taps - 1) * skip
    return taps, (phase + pad - last * dilation) // stride, 1, skip * dilation // stride, last, skip


axis = inline(tap_axis)


@inline
def taps_inside(position, step, taps, size):
    """First and end of the taps at position + u * step that lie inside [0, size)."""
    low = 0 if position >= 0 else min(taps, (step - 1 - position) // step)
    return low, max(low, min(taps, (size - 1 - position) // step + 1))


def full_range(count, step_out, origin, step, taps, size):
    """First and end of the outputs whose taps all lie inside."""
    start = 0 if origin >= 0 else (step_out - 1 - origin) // step_out
    room = size - 1 - origin - max(0, taps - 1) * step
    end = min(count, room // step_out + 1) if room >= 0 else 0
    return start, max(start, end)


interior = inline(full_range)


@inline
def region_end(start, stop, origin, step_out, step, taps, size):
    """End of the run of outputs, from ``start``, that see the same taps."""
    low, high = taps_inside(start * step_out + origin, step, taps, size)
    end = start + 1
    while end < stop:
        other, top = taps_inside(end * step_out + origin, step, taps, size)
        if other != low or top != high:
            break
        end += 1
    return end


@expand
def convolve_slice(p, product, height_of, images, i_start, i_stop, x, out, weights, vectors, lanes,
                   u_start, u_stop, v_start, v_stop, offset, so_far, last, final):  # fmt: skip
    """What some taps, [u_start, u_stop) x [v_start, v_stop), of one panel give to some rows.

    ``product`` computes register tiles, of ``height_of(vectors, rows that are left)`` rows.
    ``x`` and ``out`` are the first pixel of the first image and its outputs. ``offset`` is the bias
    or 0, ``so_far`` the distance from the outputs to what is added, ``last`` what ``product`` is
    told, and ``final`` says whether these are the last taps.
    """
    low, high = (load_f32(p[6]), load_f32(p[7])) if final else (-INFINITY, INFINITY)
    h, w, c = p[9], p[10], p[11]
    cg = c // p[12]
    taps_h, origin_h, move_h, step_h = p[19], p[20], p[21], p[22]
    columns, taps_w, origin_w, move_w, step_w = p[23], p[24], p[25], p[26], p[27]
    joined = step_w == 1 and cg == c  # the taps of a row are one longer tap
    image, row, pixel, move = p[15], p[16], p[17], 4 * c * move_w
    tap = VECTOR_BYTES * vectors * cg  # bytes of one tap in the panel
    bytes_here = tap * (u_stop - u_start) * (v_stop - v_start)
    ahead = weights + tap * (u_start * taps_w + v_start) + bytes_here
    enough = ahead + bytes_here
    table = scratch(TABLE_BYTES)
    i = i_start
    while i < i_stop:
        i_end = min(i_stop, p[34]) if p[33] <= i < p[34] else i + 1
        y_in = i * move_h + origin_h
        u, u_end = taps_inside(y_in, step_h, taps_h, h)
        u = max(u, u_start)
        nu = max(0, min(u_end, u_stop) - u)
        j = 0
        while j < columns:
            j_end = min(columns, p[36]) if p[35] <= j < p[36] else j + 1
            x_in = j * move_w + origin_w
            v, v_end = taps_inside(x_in, step_w, taps_w, w)
            v = max(v, v_start)
            nv, terms = max(0, min(v_end, v_stop) - v), cg
            begin = weights + tap * (u * taps_w + v)
            if joined and nv > 0:
                nv, terms = 1, nv * cg
            source = x + 4 * ((y_in + u * step_h) * w + x_in + v * step_w) * c
            target = out + i * row + j * pixel
            height, width = i_end - i, j_end - j
            pixels = images * height * width
            across, down = width, height  # pixels left in the row, rows left in the image
            while pixels > 0:
                m = height_of(vectors, pixels)
                if m < across:
                    for k in range(m):
                        put_row(table, k, target, source)
                        target += pixel
                        source += move
                    across -= m
                else:
                    for k in range(m):
                        put_row(table, k, target, source)
                        if k + 1 < pixels:
                            target += pixel
                            source += move
                            across -= 1
                            if across == 0:
                                across = width
                                target += row - width * pixel
                                source += 4 * c * w * move_h - width * move
                                down -= 1
                                if down == 0:
                                    down = height
                                    target += image - height * row
                                    source += 4 * c * w * (h - height * move_h)
                product(m, vectors, table, begin, VECTOR_BYTES * vectors, nu, 4 * c * w * step_h,
                        tap * taps_w, nv, 4 * c * step_w, tap, terms, offset, so_far, last, low,
                        high, lanes, ahead if ahead < enough else begin)  # fmt: skip
                ahead += LINE // 2 * nu * nv * terms
                pixels -= m
            j = j_end
        i = i_end


@expand
def convolve(p, tile, slice_of, closing, element):
    """See :func:`conv_rows`; for the sizes of inputs and panels, words may hold other numbers.

    ``slice_of`` is :func:`convolve_slice` for some kind of numbers, and is told ``closing``: first
    for all slices of the taps but the last, then for that. The output has ``element`` bytes per
    number.
    """
    add = distance(p[4], p[3])
    h, w, c, fg = p[9], p[10], p[11], p[13]
    cg = c // p[12]
    taps_h, taps_w = p[19], p[24]
    bands, batches, chunks, slices_h, slices_w = p[39], p[40], p[41], p[42], p[43]
    i_start = tile % bands * p[31]
    i_stop = min(p[18], i_start + p[31])
    n_start = tile // bands % batches * p[30]
    images = min(p[8], n_start + p[30]) - n_start
    part = tile // bands // batches
    group, chunk = part // chunks, part % chunks
    x = p[0] + 4 * (n_start * h * w * c + group * cg)
    out = p[3] + p[14] + n_start * p[15] + element * group * fg
    panels = p[1] + VECTOR_BYTES * group * p[28] * cg * count_vectors(fg)
    bias = p[2] + 4 * group * fg
    for panel in range(chunk * p[32], min(count_panels(fg), (chunk + 1) * p[32])):
        first, end = panel_first(fg, panel), panel_first(fg, panel + 1)
        column, vectors, lanes = VECTOR_BYTES * first, end - first, panel_lanes(fg, end)
        weights = panels + p[28] * cg * column + p[29] * VECTOR_BYTES * vectors * cg
        for s in range(slices_h * slices_w):
            u_start, v_start = s // slices_w * p[37], s % slices_w * p[38]
            final = s + 1 == slices_h * slices_w
            slice_of(
                p, images, i_start, i_stop, x, out + element * WIDTH * first, weights, vectors,
                lanes, u_start, min(taps_h, u_start + p[37]), v_start,
                min(taps_w, v_start + p[38]), bias + column if p[2] != 0 and s == 0 else 0,
                add if s == 0 else 0, closing[1] if final else closing[0], final,
            )  # fmt: skip


@shared
def convolve_floats(p, images, i_start, i_stop, x, out, weights, vectors, lanes, u_start, u_stop,
                    v_start, v_stop, offset, so_far, last, final):  # fmt: skip
    """Some taps of a convolution of float32 with one panel of weights."""
    convolve_slice(p, row_tile, tile_rows, images, i_start, i_stop, x, out, weights, vectors, lanes,
                   u_start, u_stop, v_start, v_stop, offset, so_far, last, final)  # fmt: skip


@kernel
def conv_rows(p, tile):
    """One phase of a convolution with packed weights, or of its input gradient.

    p = [x, panels, bias, out, add, mask, low, high, n, h, w, c, groups, filters of a group, first
    output, bytes of an image, a row and a pixel of the outputs, then for each axis: outputs, taps,
    origin, step of the outputs, step of the taps; taps of all phases and of those before, images,
    rows and panels of a tile, first and end of the rows and of the columns that see all taps, rows
    and columns of a slice of the taps, numbers of bands of rows, of batches of images, of chunks of
    panels, of slices by rows and by columns].

    x is (n, h, w, c); add and mask are like out. The weights are one unbroken stream, of which a
    slice is used by all pixels of a tile while the next one is asked for.
    """
    convolve(p, tile, convolve_floats, (ABSENT, distance(p[5], p[3])), 4)


@kernel
def conv_pack_transposed(p, tile):
    """Panels for the input gradient: phase by phase, the taps of each in reverse order.

    p = [w, out, kh, kw, cg, f, groups, sh, sw, dh, dw, top, left]; w is (kh, kw, cg, f). One tile
    per panel and group.
    """
    w, out, kh, kw, cg, f, groups = p[0], p[1], p[2], p[3], p[4], p[5], p[6]
    fg = f // groups
    group, panel = tile // count_panels(cg), tile % count_panels(cg)
    first, end = panel_first(cg, panel), panel_first(cg, panel + 1)
    w += 4 * group * fg
    out += VECTOR_BYTES * kh * kw * fg * (group * count_vectors(cg) + first)
    for rh in range(p[7]):
        taps_h, _, _, _, last_h, skip_h = axis(rh, kh, p[7], p[9], p[11], True)
        for rw in range(p[8]):
            taps_w, _, _, _, last_w, skip_w = axis(rw, kw, p[8], p[10], p[12], True)
            for u in range(taps_h):
                for v in range(taps_w):
                    tap = (last_h - u * skip_h) * kw + last_w - v * skip_w
                    transpose_panel(w + 4 * tap * cg * f, 4 * f, fg, first, end, cg, out)
                    out += VECTOR_BYTES * fg * (end - first)


@inline
def clear_panel(out, taps, tap_bytes, rows, stride, vectors, lanes):
    """Zero the columns of one panel in some rows of every tap of the weights."""
    for t in range(taps):
        for r in range(rows):
            row = out + t * tap_bytes + r * stride
            for v in range(vectors):
                store_n(row + VECTOR_BYTES * v, fill(ZERO), WIDTH if v + 1 < vectors else lanes)


@expand
def weights_region(table, a, b, terms, out, taps, channels, strides, vectors, lanes):
    """Add the products of one region to all weights it touches.

    terms = (images, an, bn, height, ai, bi, width, aj, bj) of :func:`column_tile`;
    taps = (u, u end, v, v end); channels = number per tap; strides = bytes of (tap row, tap) in x
    and of (tap row, tap, channel) in the weights.
    """
    nn, an, bn, ni, ai, bi, nj, aj, bj = terms
    u, u_end, v_start, v_end = taps
    xh, xw, wh, ww, wc = strides
    left = (u_end - u) * (v_end - v_start) * channels
    v, c = v_start, 0
    while left > 0:
        rows = tile_rows(vectors, left)
        for m in range(rows):
            put_row(table, m, out + u * wh + v * ww + c * wc, u * xh + v * xw + 4 * c)
            if m + 1 < left:
                c += 1
                if c == channels:
                    c = 0
                    v += 1
                    if v == v_end:
                        v = v_start
                        u += 1
        column_tile(rows, vectors, table, 0, a, b, nn, an, bn, ni, ai, bi, nj, aj, bj, lanes)
        left -= rows


@kernel
def conv_weights(p, tile):
    """Weight gradient, a partial sum for each group of images.

    p = [x, dy, partial, n, h, w, c, oh, ow, f, groups, kh, kw, sh, sw, dh, dw, top, left, images,
    channels and panels of a tile, images at a time]; partial is (image groups, kh, kw, cg, f).
    """
    x, dy, out = p[0], p[1], p[2]
    n, h, w, c, oh, ow, f, groups = p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10]
    kh, kw, sh, sw, dh, dw, top, left = p[11], p[12], p[13], p[14], p[15], p[16], p[17], p[18]
    cg, fg = c // groups, f // groups
    bands = (cg + p[20] - 1) // p[20]
    count = count_panels(fg)
    chunks = (count + p[21] - 1) // p[21]
    c_start = tile % bands * p[20]
    channels = min(cg, c_start + p[20]) - c_start
    chunk, group = tile // bands % chunks, tile // bands // chunks % groups
    part = tile // bands // chunks // groups
    out += 4 * (part * kh * kw * cg * f + c_start * f + group * fg)
    x += 4 * (group * cg + c_start)
    dy += 4 * group * fg
    panel_start, panel_stop = chunk * p[21], min(count, (chunk + 1) * p[21])

    for panel in range(panel_start, panel_stop):
        first, end = panel_first(fg, panel), panel_first(fg, panel + 1)
        clear_panel(out + VECTOR_BYTES * first, kh * kw, 4 * cg * f, channels, 4 * f, end - first,
                    panel_lanes(fg, end))  # fmt: skip
    inside_h, inside_w = interior(oh, sh, -top, dh, kh, h), interior(ow, sw, -left, dw, kw, w)
    strides = (4 * dh * w * c, 4 * dw * c, 4 * kw * cg * f, 4 * cg * f, 4 * f)
    table = scratch(TABLE_BYTES)
    stop = min(n, (part + 1) * p[19])
    for begin in range(part * p[19], stop, p[22]):
        images = min(p[22], stop - begin)
        i = 0
        while i < oh:
            i_end = inside_h[1] if inside_h[0] <= i < inside_h[1] else i + 1
            u, u_end = taps_inside(i * sh - top, dh, kh, h)
            j = 0
            while j < ow:
                j_end = inside_w[1] if inside_w[0] <= j < inside_w[1] else j + 1
                v, v_end = taps_inside(j * sw - left, dw, kw, w)
                terms = (
                    images, 4 * h * w * c, 4 * oh * ow * f,
                    i_end - i, 4 * sh * w * c, 4 * ow * f,
                    j_end - j, 4 * sw * c, 4 * f,
                )  # fmt: skip
                a = x + 4 * ((begin * h + i * sh - top) * w + j * sw - left) * c
                b = dy + 4 * ((begin * oh + i) * ow + j) * f
                for panel in range(panel_start, panel_stop):
                    first, end = panel_first(fg, panel), panel_first(fg, panel + 1)
                    column = VECTOR_BYTES * first
                    weights_region(table, a, b + column, terms, out + column, (u, u_end, v, v_end),
                                   channels, strides, end - first,
                                   panel_lanes(fg, end))  # fmt: skip
                j = j_end
            i = i_end


@kernel
def sum_groups(p, tile):
    """out[k] = sum over g of partial[g, k], in order. p = [partial, out, groups, size]."""
    partial, out, groups, size = p[0], p[1], p[2], p[3]
    stop = min(size, (tile + 1) * CHUNK)
    for k in range(tile * CHUNK, stop, WIDTH):
        total = load(partial + 4 * k)
        for g in range(1, groups):
            total = total + load(partial + 4 * (g * size + k))
        store_n(out + 4 * k, total, stop - k)


# ---- CUDA twins: one thread per number of the result ---------------------------------------------


@cuda_twin(conv_rows, items=lambda p: p[8] * p[18] * p[23] * p[12] * p[13])
def conv_rows_twin(f, i, p):
    """Filters are neighbours; the panels of a group are a plain (taps, channels, filters) array."""
    at, h, w, c, filters = cuda.grid(1), p[9], p[10], p[11], p[13]
    column = at % (p[12] * filters)
    pixel = at // (p[12] * filters)
    if pixel < p[8] * p[18] * p[23]:
        cg, group, k = c // p[12], column // filters, column % filters
        a, b, n = pixel // p[23] % p[18], pixel % p[23], pixel // p[23] // p[18]
        y, x = a * p[21] + p[20], b * p[26] + p[25]
        u, u_end = taps_inside(y, p[22], p[19], h)
        v_start, v_end = taps_inside(x, p[27], p[24], w)
        weights = p[1] // 4 + (group * p[28] + p[29]) * cg * filters + k
        source = p[0] // 4 + group * cg
        to = p[14] + n * p[15] + a * p[16] + b * p[17] + 4 * column
        total = ZERO
        if p[2] != 0:
            total = f[p[2] // 4 + column]
        if p[4] != 0:
            total += f[(p[4] + to) // 4]
        for r in range(u, u_end):
            for s in range(v_start, v_end):
                image = source + ((n * h + y + r * p[22]) * w + x + s * p[27]) * c
                tap = weights + (r * p[24] + s) * cg * filters
                for t in range(cg):
                    total = fma(f[image + t], f[tap + t * filters], total)
        total = clip(total, f[p[6] // 4], f[p[7] // 4])
        if p[5] != 0 and f[(p[5] + to) // 4] <= ZERO:
            total = ZERO
        f[(p[3] + to) // 4] = total


@cuda_twin(conv_pack_transposed, items=lambda p: p[4] * p[5])
def conv_pack_transposed_twin(f, i, p):
    """All taps of one channel and one filter: (taps, filters, channels) for each group."""
    at, kh, kw, cg, filters = cuda.grid(1), p[2], p[3], p[4], p[5]
    if at < cg * filters:
        fg = filters // p[6]
        group, k, c = at // cg // fg, at // cg % fg, at % cg
        w, out = p[0] // 4 + c * filters + group * fg + k, p[1] // 4 + group * kh * kw * fg * cg
        out += k * cg + c
        for rh in range(p[7]):
            taps_h, _, _, _, last_h, skip_h = tap_axis(rh, kh, p[7], p[9], p[11], True)
            for rw in range(p[8]):
                taps_w, _, _, _, last_w, skip_w = tap_axis(rw, kw, p[8], p[10], p[12], True)
                for u in range(taps_h):
                    for v in range(taps_w):
                        tap = (last_h - u * skip_h) * kw + last_w - v * skip_w
                        f[out] = f[w + tap * cg * filters]
                        out += fg * cg


@cuda_twin(conv_weights, items=lambda p: -(-p[3] // p[19]) * p[11] * p[12] * p[6] // p[10] * p[9])
def conv_weights_twin(f, i, p):
    """Sums over the images of a part, row by row."""
    at, h, w, c, oh, ow, filters = cuda.grid(1), p[4], p[5], p[6], p[7], p[8], p[9]
    cg, size = c // p[10], p[11] * p[12] * c // p[10] * filters
    start = at // size * p[19]
    if start < p[3]:
        k, t = at % filters, at // filters % cg
        u, v = at // filters // cg // p[12] % p[11], at // filters // cg % p[12]
        x = p[0] // 4 + k // (filters // p[10]) * cg + t
        total = ZERO
        for n in range(start, min(p[3], start + p[19])):
            for a in range(oh):
                y = a * p[13] + u * p[15] - p[17]
                if y < 0 or y >= h:
                    continue
                row = ZERO
                for b in range(ow):
                    j = b * p[14] + v * p[16] - p[18]
                    if 0 <= j < w:
                        dy = f[p[1] // 4 + ((n * oh + a) * ow + b) * filters + k]
                        row = fma(f[x + ((n * h + y) * w + j) * c], dy, row)
                total += row
        f[p[2] // 4 + at] = total


@cuda_twin(sum_groups, items=lambda p: p[3])
def sum_groups_twin(f, i, p):
    """In order, too."""
    at = cuda.grid(1)
    if at < p[3]:
        total = ZERO
        for g in range(p[2]):
            total += f[p[0] // 4 + g * p[3] + at]
        f[p[1] // 4 + at] = total
