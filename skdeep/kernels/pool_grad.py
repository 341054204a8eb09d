"""Gradients of pooling over windows of images, channels innermost.

They are gathered: a pixel of ``dx`` looks at the windows that contain it, in a fixed order, so that
tiles never write to the same place. Cheaper ways serve windows that do not overlap, and few
channels.
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline, kernel, shared
from .cuda import cuda, cuda_twin
from .pool import ONE, ZERO, counted
from .simd import (
    I32,
    VI,
    WIDTH,
    V,
    call_llvm,
    fill,
    load,
    load_f32,
    load_i32,
    mask_t,
    pointer,
    splat,
    store,
    store_f32,
    store_n,
    vec,
    where,
)

FEW = 8  # with so few channels the gradient of the maximum is scattered one by one


@intrinsic
def equals_whole(typingctx, address, number):
    """Lanes where the int32 at an address equals a number."""

    def emit(context, builder, sig, args):
        found = builder.load(pointer(builder, args[0], VI), align=4)
        return builder.icmp_signed("==", found, splat(builder, builder.trunc(args[1], I32)))

    return mask_t(types.int64, types.int64), emit


@intrinsic
def lane_numbers(typingctx):
    """0, 1, 2, ..."""

    def emit(context, builder, sig, args):
        return ir.Constant(V, [float(k) for k in range(WIDTH)])

    return vec(), emit


@intrinsic
def floor(typingctx, value):
    """Largest whole number not above each lane."""

    def emit(context, builder, sig, args):
        return call_llvm(builder, f"llvm.floor.v{WIDTH}f32", V, args[0])

    return vec(vec), emit


PERMUTE = {16: "llvm.x86.avx512.permvar.sf.512", 8: "llvm.x86.avx2.permps"}


@intrinsic
def permute(typingctx, value, lanes):
    """Lane k of the result is lane ``lanes[k]``, a whole number, of the value."""

    def emit(context, builder, sig, args):
        value, lanes = args[0], builder.fptosi(args[1], VI)
        if WIDTH in PERMUTE:
            return call_llvm(builder, PERMUTE[WIDTH], V, value, lanes)
        result = value
        for k in (ir.Constant(I32, k) for k in range(WIDTH)):
            lane = builder.extract_element(value, builder.extract_element(lanes, k))
            result = builder.insert_element(result, lane, k)
        return result

    return vec(vec, vec), emit


@intrinsic
def whole_equals(typingctx, bits, number):
    """Lanes where an int32, loaded as a vector, equals a whole number."""

    def emit(context, builder, sig, args):
        return builder.icmp_signed("==", builder.bitcast(args[0], VI), builder.fptosi(args[1], VI))

    return mask_t(vec, vec), emit


@inline
def window_range(position, taps, stride, windows):
    """Windows [first, last) of one axis that contain a position counted from the padding's edge."""
    first = (position - taps + stride) // stride
    return max(0, first), min(windows, position // stride + 1)


@inline
def share(dy, index, pick, tap, factor):
    """What a window gives the pixel at ``tap``: dy if the maximum was there, or dy / count."""
    if pick:
        return where(equals_whole(index, tap), load(dy), ZERO)
    return load(dy) * factor


@inline
def put(address, value, lanes):
    """Write the first lanes; the usual case is all of them, and cheaper."""
    if lanes == WIDTH:
        store(address, value)
    else:
        store_n(address, value, lanes)


@inline
def share_three(dy, index, pick, tap, factor, sums):
    """Add what a window gives three pixels side by side, the first of them at ``tap``."""
    if pick:
        value = load(dy)
        return (
            sums[0] + where(equals_whole(index, tap), value, ZERO),
            sums[1] + where(equals_whole(index, tap + 1), value, ZERO),
            sums[2] + where(equals_whole(index, tap + 2), value, ZERO),
        )
    value = load(dy) * factor
    return sums[0] + value, sums[1] + value, sums[2] + value


@shared
def three_by_two(dy, index, dx, i, h, w, c, down, across, kh, sh, top, left, bottom, right, padded):
    """One row of the gradient of pooling for windows three pixels wide and two apart.

    A window is read once. A pixel is in the middle of a window, or the last of one and the first of
    the next.
    """
    pick, factor = index != 0, ONE
    a0, a1 = window_range(i + top, kh, sh, down)
    none, width, tap = fill(ZERO), 1, 3 * (i + top - a0 * sh)
    high = counted(a0 * sh - top, kh, h, top, bottom, padded)
    for block in range(0, c, WIDTH):
        k, lanes = 4 * max(0, min(block, c - WIDTH)), min(c, WIDTH)
        before = none
        at, to = 4 * a0 * across * c + k, dx - 4 * left * c + k
        for j in range(-left, 2 * across - left, 2):
            sums = none, none, none
            if not pick:
                width = counted(j, 3, w, left, right, padded)
                factor = ONE / np.float32(high * width)
            if a0 < a1:
                sums = share_three(dy + at, index + at, pick, tap, factor, sums)
            for a in range(a0 + 1, a1):
                if not pick:
                    lower = counted(a * sh - top, kh, h, top, bottom, padded)
                    factor = ONE / np.float32(lower * width)
                o = at + 4 * (a - a0) * across * c
                sums = share_three(dy + o, index + o, pick, tap - 3 * sh * (a - a0), factor, sums)
            if j >= 0:
                put(to, before + sums[0], lanes)
            if 0 <= j + 1 < w:
                put(to + 4 * c, sums[1], lanes)
            before = sums[2]
            at += 4 * c
            to += 8 * c
        for _ in range(2 * across - left, w):
            put(to, before, lanes)
            before = none
            to += 4 * c


@kernel
def pool_grad(p, tile):
    """dx[n, i, j, c] = sum over the windows that contain (i, j) of what they give it.

    p = [dy, index (0 for the mean), dx, rows of dx in all images, h, w, c, windows down, windows
    across, kh, kw, sh, sw, top, left, bottom, right, padded, rows per tile]
    """
    h, w, c, down, across = p[4], p[5], p[6], p[7], p[8]
    kh, kw, sh, sw, top, left = p[9], p[10], p[11], p[12], p[13], p[14]
    step, pick, factor = 4 * WIDTH, p[1] != 0, ONE
    for r in range(tile * p[18], min(p[3], (tile + 1) * p[18])):
        n, i = r // h, r % h
        if kw == 3 and sw == 2:
            image = 4 * n * down * across * c
            three_by_two(p[0] + image, p[1] + image if pick else 0, p[2] + 4 * r * w * c, i, h, w,
                         c, down, across, kh, sh, top, left, p[15], p[16], p[17])  # fmt: skip
            continue
        a0, a1 = window_range(i + top, kh, sh, down)
        b0, b1 = 0, 0
        for j in range(w):
            while b1 < across and b1 * sw - left <= j:
                b1 += 1
            while b0 < across and b0 * sw - left + kw <= j:
                b0 += 1
            dx = p[2] + 4 * (r * w + j) * c
            k = 0
            while k < c:
                t0, t1, t2, t3 = fill(ZERO), fill(ZERO), fill(ZERO), fill(ZERO)
                wide = k + 4 * WIDTH <= c
                for a in range(a0, a1):
                    high = counted(a * sh - top, kh, h, top, p[15], p[17])
                    at = 4 * (((n * down + a) * across + b0) * c + k)
                    tap = (i + top - a * sh) * kw + (j + left - b0 * sw)
                    for b in range(b0, b1):
                        dy, index = p[0] + at, p[1] + at
                        if not pick:
                            width = counted(b * sw - left, kw, w, left, p[16], p[17])
                            factor = ONE / np.float32(high * width)
                        t0 = t0 + share(dy, index, pick, tap, factor)
                        if wide:
                            t1 = t1 + share(dy + step, index + step, pick, tap, factor)
                            t2 = t2 + share(dy + 2 * step, index + 2 * step, pick, tap, factor)
                            t3 = t3 + share(dy + 3 * step, index + 3 * step, pick, tap, factor)
                        at += 4 * c
                        tap -= sw
                dx_k = dx + 4 * k
                if wide:
                    store(dx_k, t0)
                    store(dx_k + step, t1)
                    store(dx_k + 2 * step, t2)
                    store(dx_k + 3 * step, t3)
                    k += 4 * WIDTH
                else:
                    store_n(dx_k, t0, min(WIDTH, c - k))
                    k += WIDTH


@shared
def inside_apart(dy, index, dx, row, c, windows, kh, kw):
    """Gradient of pooling for windows side by side that touch one another, within the image.

    ``dx`` is written row by row.
    """
    last, factor = c - WIDTH, ONE / np.float32(kh * kw)
    for p in range(kh):
        at, to = 0, dx + p * row
        for _ in range(windows):
            for k in range(0, c, WIDTH):
                o = at + 4 * min(k, last)
                value = load(dy + o)
                if index != 0:
                    tap = p * kw
                    for q in range(kw):
                        chosen = where(equals_whole(index + o, tap + q), value, ZERO)
                        store(to + 4 * (q * c + min(k, last)), chosen)
                else:
                    value = value * factor
                    for q in range(kw):
                        store(to + 4 * (q * c + min(k, last)), value)
            at += 4 * c
            to += 4 * kw * c


@shared
def inside_apart_few(dy, index, dx, start, stop, h, w, c, down, across, kh, kw, top, left, first,
                     end):  # fmt: skip
    """Gradient of pooling apart for fewer channels than a vector has lanes.

    In rows [start, stop) of dy. A vector of dx covers several pixels; its lanes are taken from one
    vector of dy.
    """
    width, taps = np.float32(c), np.float32(kw)
    half, factor = np.float32(0.5), ONE / np.float32(kh * kw)
    size = (end - first) * kw * c
    for t in range(0, size, WIDTH):
        flat = lane_numbers() + np.float32(t)
        pixel = floor((flat + half) / width)
        window = floor((pixel + half) / taps)
        column = pixel - window * taps
        j = t // c
        base = j // kw * c
        if j % kw == kw - 1:
            base += t - j * c
        lanes = (window - pixel) * width + (flat - np.float32(base))
        count, a, n = min(WIDTH, size - t), start % down, start // down
        at = 4 * ((start * across + first) * c + base)
        image = dx + 4 * (n * h * w * c + (first * kw - left) * c + t)
        for _ in range(start, stop):
            i = a * kh - top
            if i >= 0 and i + kh <= h:
                to, tap = image + 4 * i * w * c, column
                value = permute(load(dy + at), lanes)
                if index != 0:
                    found = permute(load(index + at), lanes)
                    for _ in range(kh):
                        put(to, where(whole_equals(found, tap), value, ZERO), count)
                        to += 4 * w * c
                        tap = tap + taps
                else:
                    value = value * factor
                    for _ in range(kh):
                        put(to, value, count)
                        to += 4 * w * c
            at += 4 * across * c
            a += 1
            if a == down:
                a, image = 0, image + 4 * h * w * c


@kernel
def pool_grad_apart(p, tile):
    """The same for windows that do not overlap; each also clears the pixels up to the next one.

    p = [dy, index (0 for the mean), dx, rows of dy in all images, h, w, c, windows down, windows
    across, kh, kw, sh, sw, top, left, bottom, right, padded, rows per tile]
    """
    h, w, c, down, across = p[4], p[5], p[6], p[7], p[8]
    kh, kw, sh, sw, top, left = p[9], p[10], p[11], p[12], p[13], p[14]
    pick, factor, zero = p[1] != 0, ONE, fill(ZERO)
    # Windows of a row that lie within the image, when they touch one another.
    whole, whole_end = (left + sw - 1) // sw, min(across, (w + left) // sw)
    if sw != kw or sh != kh:
        whole_end = whole
    stop = min(p[3], (tile + 1) * p[18])
    if c < WIDTH:
        inside_apart_few(p[0], p[1], p[2], tile * p[18], stop, h, w, c, down, across, kh, kw, top,
                         left, whole, whole_end)  # fmt: skip
    for r in range(tile * p[18], stop):
        n, a = r // down, r % down
        i0 = a * sh - top
        i1, i2 = max(0, i0), (h if a + 1 == down else i0 + sh)
        high = counted(i0, kh, h, top, p[15], p[17])
        first, end = whole, whole_end
        if i0 < 0 or i0 + kh > h or end <= first:
            first, end = 0, 0
        elif c >= WIDTH:
            at = 4 * (r * across + first) * c
            inside_apart(p[0] + at, p[1] + at if pick else 0,
                         p[2] + 4 * ((n * h + i0) * w + first * sw - left) * c, 4 * w * c, c,
                         end - first, kh, kw)  # fmt: skip
        if i2 != i0 + kh:
            end = first  # there are more rows to clear
        elif end == across and across * sw - left < w:
            end -= 1
        for other in range(across - (end - first)):
            b = other if other < first else other + end - first
            j0 = b * sw - left
            j1, j2 = max(0, j0), (w if b + 1 == across else j0 + sw)
            if not pick:
                factor = ONE / np.float32(high * counted(j0, kw, w, left, p[16], p[17]))
            for k in range(0, c, WIDTH):
                at = 4 * ((r * across + b) * c + k)
                lanes = min(WIDTH, c - k)
                for i in range(i1, i2):
                    dx = p[2] + 4 * (((n * h + i) * w + j1) * c + k)
                    tap = (i - i0) * kw + j1 - j0
                    inside = min(j2, j0 + kw) if i - i0 < kh else j1
                    for _ in range(j1, inside):
                        put(dx, share(p[0] + at, p[1] + at, pick, tap, factor), lanes)
                        dx += 4 * c
                        tap += 1
                    for _ in range(inside, j2):
                        put(dx, zero, lanes)
                        dx += 4 * c


@kernel
def max_pool_grad_few(p, tile):
    """The same for few channels, element by element.

    p = [dy, index, dx, images, h, w, c, windows down, windows across, kh, kw, sh, sw, top, left,
    images per tile]
    """
    h, w, c, down, across = p[4], p[5], p[6], p[7], p[8]
    kw, sh, sw, top, left = p[10], p[11], p[12], p[13], p[14]
    inverse = (1 << 32) // kw + 1  # tap * inverse >> 32 is tap // kw
    for n in range(tile * p[15], min(p[3], (tile + 1) * p[15])):
        image = p[2] + 4 * n * h * w * c
        for k in range(0, h * w * c, WIDTH):
            store_n(image + 4 * k, fill(ZERO), min(WIDTH, h * w * c - k))
        at = 4 * n * down * across * c
        for a in range(down):
            for b in range(across):
                corner = image + 4 * ((a * sh - top) * w + b * sw - left) * c
                for k in range(c):
                    tap = load_i32(p[1] + at)
                    if tap >= 0:
                        row = (tap * inverse) >> 32
                        dx = corner + 4 * ((row * w + tap - row * kw) * c + k)
                        store_f32(dx, load_f32(dx) + load_f32(p[0] + at))
                    at += 4


# ---- CUDA twins: one thread per number of the result ---------------------------------------------


def gathered(f, i, p, at, padded, bottom, right):
    """Write dx[at]: what all windows give it. Operands as for ``pool_grad`` up to ``left``."""
    h, w, c, down, across, kh, kw = p[4], p[5], p[6], p[7], p[8], p[9], p[10]
    y, x, n = at // c // w % h + p[13], at // c % w + p[14], at // c // w // h
    a0, a1 = window_range(y, kh, p[11], down)
    b0, b1 = window_range(x, kw, p[12], across)
    total = ZERO
    for a in range(a0, a1):
        high = counted(a * p[11] - p[13], kh, h, p[13], bottom, padded)
        for b in range(b0, b1):
            k = ((n * down + a) * across + b) * c + at % c
            dy = f[p[0] // 4 + k]
            if p[1] == 0:
                wide = counted(b * p[12] - p[14], kw, w, p[14], right, padded)
                total += dy * (ONE / np.float32(high * wide))
            elif i[p[1] // 4 + k] == (y - a * p[11]) * kw + x - b * p[12]:
                total += dy
    f[p[2] // 4 + at] = total


@cuda_twin(pool_grad, items=lambda p: p[3] * p[5] * p[6])
def pool_grad_twin(f, i, p):
    """Windows that overlap."""
    at = cuda.grid(1)
    if at < p[3] * p[5] * p[6]:
        gathered(f, i, p, at, p[17], p[15], p[16])


@cuda_twin(pool_grad_apart, items=lambda p: p[3] // p[7] * p[4] * p[5] * p[6])
def pool_grad_apart_twin(f, i, p):
    """Windows that do not, of which at most one holds a pixel."""
    at = cuda.grid(1)
    if at < p[3] // p[7] * p[4] * p[5] * p[6]:
        gathered(f, i, p, at, p[17], p[15], p[16])


@cuda_twin(max_pool_grad_few, items=lambda p: p[3] * p[4] * p[5] * p[6])
def max_pool_grad_few_twin(f, i, p):
    """The same for few channels."""
    at = cuda.grid(1)
    if at < p[3] * p[4] * p[5] * p[6]:
        gathered(f, i, p, at, 0, 0, 0)
