"""Depthwise convolution: every channel has a kernel of its own. Weights w are (kh, kw, c).

Forward   y[n, i, j, c] = clamp(b[c] + sum over p, q of
                                x[n, i sh + p dh - top, j sw + q dw - left, c] w[p, q, c])
Input     dx[n, y, x, c] = sum over p, q of dy[n, i, j, c] w[p, q, c] over the i, j, p, q that hit
Weights   dw[p, q, c] = sum over n, i, j of x[n, i sh + p dh - top, ..., c] dy[n, i, j, c]

Channels are the lanes. Kernels three or five pixels wide (any height) with a horizontal stride of 1
or 2, and seven pixels wide with a stride of 1, go through tiles of up to seven pixels of a row,
which load a pixel and a weight once for all the products they take part in; pixels beside the image
are read from a vector of zeros. The last tile of a row overlaps the one before it and stores the
same values again. Everything else goes four pixels at a time, region by region, through loops over
the taps. Both add the products of an output in the same order.

Measured on one Zen 4 core: 32 channels at 112 x 112, 3x3, take 73 us, their products alone 61,
OpenVINO 87.
"""

from functools import partial
from typing import NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from .activation import clip
from .compiler import SharedFunction, expand, inline, kernel, shared
from .conv import axis, region_end, tap_axis, taps_inside
from .cuda import cuda, cuda_twin
from .gemm import ABSENT
from .simd import (
    F32,
    I64,
    VECTOR_BYTES,
    WIDTH,
    V,
    broadcast,
    fill,
    first_lanes,
    fma,
    load,
    load_f32,
    load_n,
    maximum,
    minimum,
    multiply_add,
    pointer,
    scratch,
    splat,
    store,
    store_masked,
    store_n,
    where,
)

ZERO = np.float32(0)
LONG, SHORT = 7, 4  # pixels of a tile; they divide the rows of common images
PAIRS = 4  # pixels of dy of a tile of the input gradient with stride 2
TWICE = 16  # added to the pixels of a tile for stride 2
L1 = 24 * 1024  # bytes of the input that may stay in the L1 cache
PAIRED = 32  # and for the input gradient with stride 2
WIDER = 64  # and for every two pixels that a kernel is wider than three
FAMILY = 16  # codes of one width and stride
KERNELS = ((3, 1), (3, 2), (5, 1), (5, 2), (7, 1))  # widths and strides that tiles know


class Shape(NamedTuple):
    """What a tile computes: products (output, input, weight) of neighbouring outputs.

    ``columns`` lie between the inputs of one tile and of the next.
    """

    products: list
    width: int
    columns: int

    @property
    def outputs(self):
        return 1 + max(t for t, _, _ in self.products)


def _forward(pixels, width, stride):
    products = [(t, t * stride + v, v) for t in range(pixels) for v in range(width)]
    return Shape(products, width, pixels * stride)


def _paired(pixels):
    """Products of dx in pairs: under the centre of a window, and between two windows."""
    products = []
    for t in range(pixels):
        products += [(2 * t, t, 1), (2 * t + 1, t, 2), (2 * t + 1, t + 1, 0)]
    return Shape(products, 3, pixels)


FORWARD = {
    t + TWICE * (s - 1) + WIDER * (k // 2 - 1): _forward(t, k, s)
    for k, s in KERNELS
    for t in (LONG, SHORT, 1)
}
ROWS = FORWARD | {t + PAIRED: _paired(t) for t in (PAIRS, 1)}


def _i64(n):
    return ir.Constant(I64, n)


def _at(builder, address, *terms):
    """address + the sum of number * step over pairs of an int and an int64."""
    for number, step in terms:
        address = builder.add(address, builder.mul(_i64(number), step))
    return address


def _vector(builder, address):
    return builder.load(pointer(builder, address, V), align=4)


class _Columns:
    """Vectors of one row of the input under a tile, each loaded once, when first asked for.

    ``left`` and ``right`` of them, half of a kernel's width at most, are outside of the image.
    """

    def __init__(self, builder, row, step, shape, left, right, zeros):
        self.builder, self.row, self.step = builder, row, step
        self.edges, last = {}, max(j for _, j, _ in shape.products)
        for k in range(shape.width // 2):
            self.edges[k] = builder.icmp_signed(">", left, _i64(k))
            self.edges[last - k] = builder.icmp_signed(">", right, _i64(k))
        self.zeros, self.loaded = zeros, {}

    def __getitem__(self, j):
        if j not in self.loaded:
            address = _at(self.builder, self.row, (j, self.step))
            if j in self.edges:
                address = self.builder.select(self.edges[j], self.zeros, address)
            self.loaded[j] = _vector(self.builder, address)
        return self.loaded[j]


def _outside(builder, left, right, tile, tiles, shape):
    """Columns outside of the image under one tile, from those under the first and the last."""
    before, move = builder.mul(tile, _i64(shape.columns)), _i64(shape.columns)
    behind = builder.sub(builder.mul(builder.sub(tiles, _i64(1)), move), before)
    return builder.sub(left, before), builder.sub(right, behind)


def _loop(builder, count):
    return cgutils.for_range(builder, count, intp=I64)


def _clamp(builder, x, low, high):
    """A NaN fails both comparisons and stays."""
    x = builder.select(builder.fcmp_ordered("<", x, low), low, x)
    return builder.select(builder.fcmp_ordered(">", x, high), high, x)


def _emit_rows(builder, code, args):
    """One shape of tile of :func:`window_rows`."""
    (tiles, x, x_row, x_step, x_tile, rows, w, w_row, w_step, bias, out, out_step, out_tile, mask,
     low, high, c, left, right, zeros) = args  # fmt: skip
    shape = ROWS[code]
    low, high = splat(builder, low), splat(builder, high)
    slots = [cgutils.alloca_once(builder, V) for _ in range(shape.outputs)]
    nothing = ir.Constant(V, [0.0] * WIDTH)
    vectors = builder.sdiv(builder.add(c, _i64(WIDTH - 1)), _i64(WIDTH))
    with _loop(builder, tiles) as tile, _loop(builder, vectors) as k:
        outside = _outside(builder, left, right, tile.index, tiles, shape)
        offset = builder.mul(k.index, _i64(VECTOR_BYTES))
        start = cgutils.alloca_once_value(builder, nothing)
        with builder.if_then(builder.icmp_signed("!=", bias, _i64(0))):
            builder.store(_vector(builder, builder.add(bias, offset)), start)
        for slot in slots:
            builder.store(builder.load(start), slot)
        x_at = builder.add(builder.add(x, offset), builder.mul(tile.index, x_tile))
        w_at = builder.add(w, offset)
        with _loop(builder, rows) as u:
            row = builder.add(x_at, builder.mul(u.index, x_row))
            taps = builder.add(w_at, builder.mul(u.index, w_row))
            taps = [_vector(builder, _at(builder, taps, (v, w_step))) for v in range(shape.width)]
            columns = _Columns(builder, row, x_step, shape, *outside, zeros)
            for t, j, v in sorted(shape.products, key=lambda product: product[1]):
                total = multiply_add(builder, columns[j], taps[v], builder.load(slots[t]))
                builder.store(total, slots[t])
        for slot in slots:
            builder.store(_clamp(builder, builder.load(slot), low, high), slot)
        at = builder.add(builder.add(out, offset), builder.mul(tile.index, out_tile))
        with builder.if_then(builder.icmp_signed("!=", mask, _i64(ABSENT))):
            for t, slot in enumerate(slots):
                gate = _vector(builder, _at(builder, builder.add(at, mask), (t, out_step)))
                closed = builder.fcmp_ordered("<=", gate, nothing)
                builder.store(builder.select(closed, nothing, builder.load(slot)), slot)
        lanes = builder.sub(c, builder.mul(k.index, _i64(WIDTH)))
        with builder.if_else(builder.icmp_signed(">=", lanes, _i64(WIDTH))) as (whole, part):
            with whole:
                for t, slot in enumerate(slots):
                    place = pointer(builder, _at(builder, at, (t, out_step)), V)
                    builder.store(builder.load(slot), place, align=4)
            with part:
                valid = first_lanes(builder, lanes)
                for t, slot in enumerate(slots):
                    place = _at(builder, at, (t, out_step))
                    store_masked(builder, builder.load(slot), place, valid)


def _emit_weights(builder, code, args):
    """One shape of tile of :func:`window_weights`; even and odd pixels are summed apart."""
    tiles, x, x_step, x_tile, dy, dy_step, dy_tile, dw, dw_step, c, left, right, zeros = args
    shape = FORWARD[code]
    sums = range(min(2, shape.outputs))
    slots = [[cgutils.alloca_once(builder, V) for _ in range(shape.width)] for _ in sums]
    nothing = ir.Constant(V, [0.0] * WIDTH)
    vectors = builder.sdiv(builder.add(c, _i64(WIDTH - 1)), _i64(WIDTH))
    with _loop(builder, vectors) as k:
        offset = builder.mul(k.index, _i64(VECTOR_BYTES))
        for slot in (slot for row in slots for slot in row):
            builder.store(nothing, slot)
        with _loop(builder, tiles) as tile:
            outside = _outside(builder, left, right, tile.index, tiles, shape)
            row = builder.add(builder.add(x, offset), builder.mul(tile.index, x_tile))
            dy_at = builder.add(builder.add(dy, offset), builder.mul(tile.index, dy_tile))
            columns = _Columns(builder, row, x_step, shape, *outside, zeros)
            ys = [_vector(builder, _at(builder, dy_at, (t, dy_step))) for t in range(shape.outputs)]
            for t, j, v in shape.products:
                slot = slots[t % 2][v]
                total = multiply_add(builder, columns[j], ys[t], builder.load(slot))
                builder.store(total, slot)
        lanes = builder.sub(c, builder.mul(k.index, _i64(WIDTH)))
        valid = first_lanes(builder, lanes)
        for v in range(shape.width):
            total = builder.load(slots[0][v])
            for s in sums[1:]:
                total = builder.fadd(total, builder.load(slots[s][v]))
            place = _at(builder, builder.add(dw, offset), (v, dw_step))
            total = builder.fadd(total, _vector(builder, place))
            whole = builder.icmp_signed(">=", lanes, _i64(WIDTH))
            with builder.if_else(whole) as (then, otherwise):
                with then:
                    builder.store(total, pointer(builder, place, V), align=4)
                with otherwise:
                    store_masked(builder, total, place, valid)


def _families(name, shapes, emit, kinds, about):
    """A shared function for each family of shapes of a tile: for one width and one stride.

    Its first argument is the shape's code.
    """

    def define(codes, function):
        function.attributes.add("optsize")
        body = ir.IRBuilder(function.append_basic_block("entry"))
        code, *rest = function.args
        other = body.append_basic_block("other")
        switch = body.switch(code, other)
        for shape in codes:
            block = body.append_basic_block(f"tile{shape}")
            switch.add_case(_i64(shape), block)
            body.position_at_end(block)
            emit(body, shape, rest)
            body.ret_void()
        body.position_at_end(other)
        body.ret_void()

    return {
        family: SharedFunction(
            f"{name}_{family}",
            kinds,
            partial(define, [code for code in shapes if code // FAMILY == family]),
            f"{about}, family {family}",
        )
        for family in sorted({code // FAMILY for code in shapes})
    }


def _call(builder, families, args):
    """Call the function of the family that the code, the first argument, belongs to."""
    end = builder.append_basic_block("done")
    switch = builder.switch(builder.sdiv(args[0], _i64(FAMILY)), end)
    for family, function in families.items():
        block = builder.append_basic_block(f"family{family}")
        switch.add_case(_i64(family), block)
        builder.position_at_end(block)
        function.call(builder, args)
        builder.branch(end)
    builder.position_at_end(end)


WINDOW_ROWS = _families(
    "skdeep_window_rows", ROWS, _emit_rows, [I64] * 15 + [F32] * 2 + [I64] * 4,
    "rows of outputs of depthwise convolution",
)  # fmt: skip
WINDOW_WEIGHTS = _families(
    "skdeep_window_weights", FORWARD, _emit_weights, [I64] * 14,
    "weight gradient of depthwise convolution",
)  # fmt: skip


@intrinsic
def window_rows(typingctx, code, tiles, x, x_row, x_step, x_tile, rows, w, w_row, w_step, bias,
                out, out_step, out_tile, mask, low, high, c, left, right, zeros):  # fmt: skip
    """Compute ``tiles`` tiles side by side of a row of outputs; ``code`` is a key of ROWS.

    ``x`` is the first pixel under the first tile in the first of ``rows`` rows of taps, ``w`` its
    weight; rows, pixels and tiles are as many bytes apart as told. ``bias`` is an address or 0,
    ``mask`` the distance from ``out`` to a tensor of its layout or ABSENT. ``left`` pixels under
    the first tile and ``right`` under the last one lie outside of the image, none where that is
    negative; ``zeros`` holds what is read instead.
    """

    def emit(context, builder, sig, args):
        _call(builder, WINDOW_ROWS, args)
        return context.get_dummy_value()

    kinds = [types.int64] * 15 + [types.float32] * 2 + [types.int64] * 4
    return types.void(*kinds), emit


@intrinsic
def window_weights(typingctx, code, tiles, x, x_step, x_tile, dy, dy_step, dy_tile, dw, dw_step, c,
                   left, right, zeros):  # fmt: skip
    """Add to the weights of a row of taps what ``tiles`` tiles side by side give."""

    def emit(context, builder, sig, args):
        _call(builder, WINDOW_WEIGHTS, args)
        return context.get_dummy_value()

    return types.void(*[types.int64] * 14), emit


@inline
def tile_pixels(done, count, long, short):
    """Pixels of the next tiles, how many of them, and where they start; the last may go back."""
    left = count - done
    if left >= long:
        return long, left // long, done
    if count >= long and left > short:
        return long, 1, count - long
    if count >= short:
        return short, 1, min(done, count - short)
    return 1, left, done


@inline
def window_range(width, pad, stride, outputs, size):
    """First and end of the outputs that see at most half a kernel outside, each side."""
    half = width // 2
    first = max(0, (pad - half + stride - 1) // stride)
    return first, max(first, min(outputs, (size + half - width + pad) // stride + 1))


@inline
def finish(value, out, mask, low, high, lanes):
    """Clamp one vector, close it where the mask is not positive, and store it."""
    value = minimum(maximum(value, low), high)
    if mask != 0:
        value = where(load_n(mask, lanes) <= ZERO, fill(ZERO), value)
    store_n(out, value, lanes)


@expand
def four_pixels(get, x, move, w, taps_h, xh, wh, taps_w, xw, ww, start):
    """Sums over the taps of four pixels that ``get`` reads ``move`` bytes apart in the input."""
    a, b, c, d = start, start, start, start
    for u in range(taps_h):
        for v in range(taps_w):
            weight = load(w + u * wh + v * ww)
            at = x + u * xh + v * xw
            a = fma(get(at), weight, a)
            b = fma(get(at + move), weight, b)
            c = fma(get(at + 2 * move), weight, c)
            d = fma(get(at + 3 * move), weight, d)
    return a, b, c, d


@shared
def any_columns(begin, stop, x, weights, bias, out, mask, lowest, highest, w, c, kw, sw, dw, left,
                transposed, rows, x_row, w_row):  # fmt: skip
    """Outputs [begin, stop) of a row of a depthwise convolution, whatever the geometry.

    By regions that see the same taps. ``x`` is the first row of the input that is seen, ``weights``
    its first tap, ``rows`` how many; ``lowest`` and ``highest`` are addresses.
    """
    low, high = broadcast(lowest), broadcast(highest)
    pixel, phases = 4 * c, sw if transposed else 1
    for phase in range(phases):
        taps, origin, move, step, last, skip = axis(phase, kw, sw, dw, left, transposed)
        j = max(0, begin - phase + phases - 1) // phases
        columns = (stop - phase + phases - 1) // phases
        while j < columns:
            column = j * move + origin
            v, v_end = taps_inside(column, step, taps, w)
            end = region_end(j, columns, origin, move, step, taps, w)
            tap = pixel * (last - v * skip)
            source = x + pixel * (column + v * step)
            target = pixel * (phase + j * phases)
            while j < end:
                pixels = 4 if end - j >= 4 else 1
                moved = pixel * move if pixels == 4 else 0
                for k in range(0, c, WIDTH):
                    o, lanes = 4 * k, min(c - k, WIDTH)
                    first = load_n(bias + o, lanes) if bias != 0 else fill(ZERO)
                    ys = four_pixels(load, source + o, moved, weights + tap + o, rows, x_row, w_row,
                                     v_end - v, pixel * step, -pixel * skip, first)  # fmt: skip
                    beside = pixel * phases
                    at = out + target + o
                    gate = at + mask if mask != ABSENT else 0
                    finish(ys[0], at, gate, low, high, lanes)
                    if pixels == 4:
                        over = beside if mask != ABSENT else 0
                        finish(ys[1], at + beside, gate + over, low, high, lanes)
                        at, gate = at + 2 * beside, gate + 2 * over
                        finish(ys[2], at, gate, low, high, lanes)
                        finish(ys[3], at + beside, gate + over, low, high, lanes)
                j += pixels
                source += pixels * pixel * move
                target += pixels * pixel * phases


@inline
def tiled_columns(kw, sw, dw, left, transposed, w, ow):
    """Which outputs of a row tiles compute: (begin, units, code, outputs and inputs of a unit,
    column under the first tile, first weight, step of the weights).
    """
    known = kw == 3 or kw == 5 or (kw == 7 and sw == 1)
    paired = transposed and sw == 2
    if not known or dw != 1 or sw > 2 or (paired and kw > 3):
        return 0, 0, 0, 1, 1, 0, 0, 1
    if paired:
        begin = 1 - left % 2
        column = (begin + left - 1) // 2
        return begin, max(0, min((ow - begin) // 2, w - column)), PAIRED, 2, 1, column, 0, 1
    pad = kw - 1 - left if transposed else left
    begin, end = window_range(kw, pad, sw, ow, w)
    code = (TWICE if sw == 2 else 0) + WIDER * (kw // 2 - 1)
    if transposed:
        return begin, end - begin, code, 1, sw, begin * sw - pad, kw - 1, -1
    return begin, end - begin, code, 1, sw, begin * sw - pad, 0, 1


@kernel
def depthwise_rows(p, tile):
    """Depthwise convolution, or with ``transposed`` its input gradient.

    p = [x, w, bias, out, mask, low, high, n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left,
    transposed, rows of a tile]; mask is like out. Rows are counted within a phase.
    """
    x, weights, bias, out = p[0], p[1], p[2], p[3]
    mask = p[4] - out if p[4] != 0 else ABSENT
    low, high = load_f32(p[5]), load_f32(p[6])
    h, w, c, oh, ow, kh, kw = p[8], p[9], p[10], p[11], p[12], p[13], p[14]
    sh, sw, dh, dw, top, left, transposed = p[15], p[16], p[17], p[18], p[19], p[20], p[21]
    phases = sh if transposed else 1
    rows = p[22] * phases
    bands = (oh + rows - 1) // rows
    image, start = tile // bands, tile % bands * rows
    stop = min(oh, start + rows)
    x += 4 * image * h * w * c
    out += 4 * image * oh * ow * c
    pixel = 4 * c
    begin, units, code, unit, moves, column, tap, tap_step = tiled_columns(
        kw, sw, dw, left, transposed, w, ow
    )
    end = begin + units * unit
    long, short = (PAIRS, PAIRS) if code == PAIRED else (LONG, SHORT)
    reach = 2 if code == PAIRED else kw  # columns under one unit
    # As many tiles and channels at a time as leave the rows under them in the L1 cache.
    under = L1 // (4 * kh)
    block = max(4 * WIDTH, under // (LONG * moves + kw - 1) // WIDTH * WIDTH)
    strip = max(1, (under // min(c, block) - kw + 1) // (LONG * moves))
    zeros = scratch(VECTOR_BYTES)
    store(zeros, fill(ZERO))
    for k in range(0, c, block):
        done = 0
        while done < units:
            pixels, tiles, at = tile_pixels(done, units, long, short)
            tiles = min(tiles, strip)
            done = at + pixels * tiles
            first = column + at * moves
            over = column + (done - 1) * moves + reach - w
            for y in range(start, stop):
                taps_h, origin_h, move_h, step_h, last_h, skip_h = axis(
                    y % phases, kh, sh, dh, top, transposed
                )
                row = y // phases * move_h + origin_h
                u, u_end = taps_inside(row, step_h, taps_h, h)
                window_rows(
                    code + pixels, tiles,
                    x + pixel * ((row + u * step_h) * w + first) + 4 * k,
                    pixel * w * step_h, pixel, pixel * pixels * moves, u_end - u,
                    weights + pixel * (kw * (last_h - u * skip_h) + tap) + 4 * k,
                    -pixel * kw * skip_h, pixel * tap_step, bias + 4 * k if bias != 0 else 0,
                    out + pixel * (ow * y + begin + at * unit) + 4 * k, pixel,
                    pixel * pixels * unit, mask, low, high, min(c - k, block),
                    -first, over, zeros,
                )  # fmt: skip
    if end - begin == ow:
        return
    for y in range(start, stop):
        taps_h, origin_h, move_h, step_h, last_h, skip_h = axis(
            y % phases, kh, sh, dh, top, transposed
        )
        row = y // phases * move_h + origin_h
        u, u_end = taps_inside(row, step_h, taps_h, h)
        for part in range(2):
            any_columns(
                end if part else 0, ow if part else begin, x + pixel * w * (row + u * step_h),
                weights + pixel * kw * (last_h - u * skip_h), bias, out + pixel * ow * y, mask,
                p[5], p[6], w, c, kw, sw, dw, left, transposed, u_end - u,
                pixel * w * step_h, -pixel * kw * skip_h,
            )  # fmt: skip


@inline
def outputs_inside(tap, count, size, stride):
    """First and end of the outputs i < count with 0 <= i * stride + tap < size."""
    start = 0 if tap >= 0 else (stride - 1 - tap) // stride
    return start, min(count, (size - 1 - tap) // stride + 1)


@inline
def weight_sums(x, jump, dy, pixel, count):
    """Sum over pixels of x times dy, in four chains."""
    a, b, c, d = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
    j = 0
    while j + 4 <= count:
        a = fma(load(x), load(dy), a)
        b = fma(load(x + jump), load(dy + pixel), b)
        c = fma(load(x + 2 * jump), load(dy + 2 * pixel), c)
        d = fma(load(x + 3 * jump), load(dy + 3 * pixel), d)
        x, dy = x + 4 * jump, dy + 4 * pixel
        j += 4
    while j < count:
        a = fma(load(x), load(dy), a)
        x, dy = x + jump, dy + pixel
        j += 1
    return (a + b) + (c + d)


@kernel
def depthwise_weights(p, tile):
    """Weight gradient, a partial sum for each group of images.

    p = [x, dy, partial, n, h, w, c, oh, ow, kh, kw, sh, sw, dh, dw, top, left, images of a group].
    """
    n, h, w, c, oh, ow, kh, kw = p[3], p[4], p[5], p[6], p[7], p[8], p[9], p[10]
    sh, sw, dh, dw, top, left = p[11], p[12], p[13], p[14], p[15], p[16]
    pixel = 4 * c
    out = p[2] + tile * kh * kw * pixel
    for k in range(0, kh * kw * c, WIDTH):
        store_n(out + 4 * k, fill(ZERO), kh * kw * c - k)
    begin, units, code, _, _, column, _, _ = tiled_columns(kw, sw, dw, left, 0, w, ow)
    zeros = scratch(VECTOR_BYTES)
    store(zeros, fill(ZERO))
    for r in range(tile * p[17] * oh, min(n, (tile + 1) * p[17]) * oh):
        image, i = r // oh, r % oh
        dy = p[1] + pixel * r * ow
        for u in range(kh):
            row = i * sh + u * dh - top
            if row < 0 or row >= h:
                continue
            x = p[0] + pixel * (image * h + row) * w
            dw_at = out + pixel * u * kw
            done = 0
            while done < units:
                count = units - done
                pixels = LONG if count >= LONG else SHORT if count >= SHORT else 1
                at, tiles = done, count // pixels
                done += pixels * tiles
                first, over = column + at * sw, column + (done - 1) * sw + kw - w
                window_weights(
                    code + pixels, tiles, x + pixel * first, pixel, pixel * pixels * sw,
                    dy + pixel * (begin + at), pixel, pixel * pixels, dw_at,
                    pixel, c, -first, over, zeros,
                )  # fmt: skip
            if units == ow:
                continue
            for v in range(kw):
                place = v * dw - left
                first, last = outputs_inside(place, ow, w, sw)
                for part in range(2):
                    j = max(first, begin + units) if part else first
                    count = (last if part else min(last, begin)) - j
                    if count <= 0:
                        continue
                    for k in range(0, c, WIDTH):
                        total = weight_sums(x + pixel * (j * sw + place) + 4 * k, pixel * sw,
                                            dy + pixel * j + 4 * k, pixel, count)  # fmt: skip
                        address, lanes = dw_at + pixel * v + 4 * k, min(c - k, WIDTH)
                        store_n(address, load_n(address, lanes) + total, lanes)


# ---- CUDA twins: one thread per number of the result ---------------------------------------------


@cuda_twin(depthwise_rows, items=lambda p: p[7] * p[11] * p[12] * p[10])
def depthwise_rows_twin(f, i, p):
    """Taps in the order of the convolution, in reverse for the gradient."""
    at, h, w, c, oh, ow, kw = cuda.grid(1), p[8], p[9], p[10], p[11], p[12], p[14]
    if at < p[7] * oh * ow * c:
        k, b, a, n = at % c, at // c % ow, at // c // ow % oh, at // c // ow // oh
        transposed = p[21] != 0
        down, across = (p[15], p[16]) if transposed else (1, 1)  # phases
        taps_h, origin_h, move_h, step_h, last_h, skip_h = tap_axis(
            a % down, p[13], p[15], p[17], p[19], transposed
        )
        taps_w, origin_w, move_w, step_w, last_w, skip_w = tap_axis(
            b % across, kw, p[16], p[18], p[20], transposed
        )
        y, x = a // down * move_h + origin_h, b // across * move_w + origin_w
        u, u_end = taps_inside(y, step_h, taps_h, h)
        v_start, v_end = taps_inside(x, step_w, taps_w, w)
        total = ZERO
        if p[2] != 0:
            total = f[p[2] // 4 + k]
        for r in range(u, u_end):
            image = p[0] // 4 + (n * h + y + r * step_h) * w * c + k
            taps = p[1] // 4 + (last_h - r * skip_h) * kw * c + k
            for s in range(v_start, v_end):
                total = fma(f[image + (x + s * step_w) * c], f[taps + (last_w - s * skip_w) * c],
                            total)  # fmt: skip
        total = clip(total, f[p[5] // 4], f[p[6] // 4])
        if p[4] != 0 and f[p[4] // 4 + at] <= ZERO:
            total = ZERO
        f[p[3] // 4 + at] = total


@cuda_twin(depthwise_weights, items=lambda p: -(-p[3] // p[17]) * p[9] * p[10] * p[6])
def depthwise_weights_twin(f, i, p):
    """Sums over the images of a group, row by row."""
    at, h, w, c, oh, ow, kh, kw = cuda.grid(1), p[4], p[5], p[6], p[7], p[8], p[9], p[10]
    start = at // (kh * kw * c) * p[17]
    if start < p[3]:
        k, u, v = at % c, at // c // kw % kh, at // c % kw
        total = ZERO
        for n in range(start, min(p[3], start + p[17])):
            for a in range(oh):
                y = a * p[11] + u * p[13] - p[15]
                first, end = outputs_inside(v * p[14] - p[16], ow, w, p[12])
                if y < 0 or y >= h:
                    continue
                x = p[0] // 4 + ((n * h + y) * w + v * p[14] - p[16]) * c + k
                dy = p[1] // 4 + (n * oh + a) * ow * c + k
                row = ZERO
                for b in range(first, end):
                    row = fma(f[x + b * p[12] * c], f[dy + b * c], row)
                total += row
        f[p[2] // 4 + at] = total
