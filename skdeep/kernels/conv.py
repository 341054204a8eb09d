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

from .compiler import expand, inline, kernel
from .dense import INFINITY, distance
from .gemm import ABSENT, TABLE_BYTES, column_tile, put_row, row_tile, tile_rows
from .panels import count_panels, count_vectors, panel_first, panel_lanes, transpose_panel
from .simd import VECTOR_BYTES, WIDTH, fill, load, load_f32, scratch, store_n

PANEL = 400_000  # bytes of one panel that may stay in the L2 cache
CHUNK = 4096  # elements of one tile of `sum_groups`

ZERO = np.float32(0)


@inline
def axis(phase, k, stride, dilation, pad, transposed):
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


@inline
def taps_inside(position, step, taps, size):
    """First and end of the taps at position + u * step that lie inside [0, size)."""
    low = 0 if position >= 0 else min(taps, (step - 1 - position) // step)
    return low, max(low, min(taps, (size - 1 - position) // step + 1))


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


@inline
def put_pixels(table, rows, pixels, at, region, jumps):
    """Put the next ``rows`` of the ``pixels`` left in a region into the table, the last one again
    and again when there are too few. Returns where the pixel after them is.
    """
    source, target, i, j = at
    i_start, i_end, j_start, j_end = region
    for m in range(rows):
        put_row(table, m, target, source)
        if m + 1 < pixels:
            source += jumps[0]
            target += jumps[1]
            j += 1
            if j == j_end:
                j = j_start
                source += jumps[2]
                target += jumps[3]
                i += 1
                if i == i_end:
                    i = i_start
                    source += jumps[4]
                    target += jumps[5]
    return source, target, i, j


@expand
def convolve_panel(table, x, out, images, shapes, rows, phase, axis_h, axis_w, weights, slice_h,
                   shape, together, bias, add, mask, low, high):  # fmt: skip
    """One panel of one phase: all regions of some output rows, or a slice of the taps of them.

    shapes = (h, w, c, oh, ow, f), rows = (first, end), phase = (rh, rw, phases_h, phases_w),
    slice_h = (first, end) of the taps, shape = (input channels of a tap, vectors, lanes).
    """
    h, w, c, oh, ow, f = shapes
    rh, rw, phases_h, phases_w = phase
    taps_h, origin_h, move_h, step_h = axis_h
    taps_w, origin_w, move_w, step_w = axis_w
    run, vectors, lanes = shape
    tap = VECTOR_BYTES * vectors * run  # bytes of one tap in the panel
    columns = (ow - rw + phases_w - 1) // phases_w
    i = rows[0]
    while i < rows[1]:
        i_end = region_end(i, rows[1], origin_h, move_h, step_h, taps_h, h)
        u, u_end = taps_inside(i * move_h + origin_h, step_h, taps_h, h)
        u, u_end = max(u, slice_h[0]), min(u_end, slice_h[1])
        j = 0
        while j < columns:
            j_end = region_end(j, columns, origin_w, move_w, step_w, taps_w, w)
            v, v_end = taps_inside(j * move_w + origin_w, step_w, taps_w, w)
            nv, terms = v_end - v, run
            if together and nv > 0:
                nv, terms = 1, nv * run
            y_in = i * move_h + origin_h + u * step_h
            x_in = j * move_w + origin_w + v * step_w
            at = (
                x + 4 * (y_in * w + x_in) * c,
                out + 4 * ((rh + i * phases_h) * ow + rw + j * phases_w) * f,
                i, j,
            )  # fmt: skip
            height, width = i_end - i, j_end - j
            jumps = (
                4 * c * move_w,
                4 * f * phases_w,
                4 * c * (w * move_h - width * move_w),
                4 * f * (ow * phases_h - width * phases_w),
                4 * c * w * (h - height * move_h),
                4 * f * ow * (oh - height * phases_h),
            )
            pixels = images * height * width
            while pixels > 0:
                m = tile_rows(vectors, pixels)
                at = put_pixels(table, m, pixels, at, (i, i_end, j, j_end), jumps)
                row_tile(m, vectors, table, weights + tap * (u * taps_w + v),
                         u_end - u, 4 * c * w * step_h, tap * taps_w, nv, 4 * c * step_w, tap,
                         terms, bias, add, mask, low, high, lanes)  # fmt: skip
                pixels -= m
            j = j_end
        i = i_end


@kernel
def conv_rows(p, tile):
    """Convolution with packed weights, or with ``transposed`` its input gradient.

    p = [x, panels, bias, out, add, mask, low, high, n, h, w, c, oh, ow, f, groups, kh, kw, sh, sw,
    dh, dw, top, left, transposed, images, rows and panels of a tile]; x is (n, h, w, c), out
    (n, oh, ow, f), add and mask are like out, rows are counted within a phase.
    """
    x, panels, bias, out = p[0], p[1], p[2], p[3]
    add, mask = distance(p[4], out), distance(p[5], out)
    low, high = load_f32(p[6]), load_f32(p[7])
    n, h, w, c, oh, ow, f, groups = p[8], p[9], p[10], p[11], p[12], p[13], p[14], p[15]
    kh, kw, sh, sw, dh, dw = p[16], p[17], p[18], p[19], p[20], p[21]
    top, left, transposed = p[22], p[23], p[24]
    cg, fg = c // groups, f // groups
    phases_h, phases_w = (sh, sw) if transposed else (1, 1)

    bands = ((oh + phases_h - 1) // phases_h + p[26] - 1) // p[26]
    batches = (n + p[25] - 1) // p[25]
    count = count_panels(fg)
    chunks = (count + p[27] - 1) // p[27]
    i_start = tile % bands * p[26]
    n_start = tile // bands % batches * p[25]
    images = min(n, n_start + p[25]) - n_start
    group, chunk = tile // bands // batches // chunks, tile // bands // batches % chunks
    x += 4 * (n_start * h * w * c + group * cg)
    out += 4 * (n_start * oh * ow * f + group * fg)
    panels += VECTOR_BYTES * group * kh * kw * cg * count_vectors(fg)
    bias += 4 * group * fg if bias != 0 else 0

    table = scratch(TABLE_BYTES)
    before = 0  # taps of earlier phases
    for rh in range(phases_h):
        taps_h, origin_h, move_h, step_h, _, _ = axis(rh, kh, sh, dh, top, transposed)
        i_stop = min((oh - rh + phases_h - 1) // phases_h, i_start + p[26])
        for rw in range(phases_w):
            taps_w, origin_w, move_w, step_w, _, _ = axis(rw, kw, sw, dw, left, transposed)
            for panel in range(chunk * p[27], min(count, (chunk + 1) * p[27])):
                first, end = panel_first(fg, panel), panel_first(fg, panel + 1)
                column, vectors = VECTOR_BYTES * first, end - first
                tap = VECTOR_BYTES * vectors * cg
                size = max(1, PANEL // max(1, tap * taps_w))  # tap rows at a time
                for u in range(0, max(taps_h, 1), size):
                    u_end = min(taps_h, u + size)
                    final = u_end == taps_h
                    convolve_panel(
                        table, x, out + column, images, (h, w, c, oh, ow, f), (i_start, i_stop),
                        (rh, rw, phases_h, phases_w), (taps_h, origin_h, move_h, step_h),
                        (taps_w, origin_w, move_w, step_w),
                        panels + kh * kw * cg * column + before * tap, (u, u_end),
                        (cg, vectors, panel_lanes(fg, end)), step_w == 1 and groups == 1,
                        bias + column if bias != 0 and u == 0 else 0, add if u == 0 else 0,
                        mask if final else ABSENT, low if final else -INFINITY,
                        high if final else INFINITY,
                    )  # fmt: skip
            before += taps_h * taps_w


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
    strides = (4 * dh * w * c, 4 * dw * c, 4 * kw * cg * f, 4 * cg * f, 4 * f)
    table = scratch(TABLE_BYTES)
    stop = min(n, (part + 1) * p[19])
    for begin in range(part * p[19], stop, p[22]):
        images = min(p[22], stop - begin)
        i = 0
        while i < oh:
            i_end = region_end(i, oh, -top, sh, dh, kh, h)
            u, u_end = taps_inside(i * sh - top, dh, kh, h)
            j = 0
            while j < ow:
                j_end = region_end(j, ow, -left, sw, dw, kw, w)
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
