"""Pictures out of random numbers: noise, dead leaves, fractals, contours, strokes, glyphs.

A picture is painted *front to back* on a canvas of float32 planes: red, green, blue, and the light
that still passes (1 where nothing is yet). What is painted covers a share ``alpha`` of a pixel:
``colour += passes * alpha * c``, then ``passes *= 1 - alpha``. A painter lays what is in front, and
:data:`paint_ground` fills the rest with noise. So edges are smooth and no pixel stays empty.

Every number drawn is the hash of (seed, picture, how many were drawn before), see
:mod:`skdeep.kernels.random`: a picture depends on nothing else. No sum runs over the lanes of a
vector, and products are fused where ``fma`` says so, so that the width of vectors is not seen.

``draw_pictures`` calls the painters; they take its operands, and in place of a tile the address of
a *state*: [numbers drawn, two words of the key, whether the ground is all there is], and the canvas
64 bytes after it.

p = [jobs, pictures, pictures of a tile, workspace, bytes of it per tile, y, size, bytes of a row,
indices 0, 1, ..., sines, noise from rough to smooth, its tiles, bytes of a tile, bytes of its
rows, period, systems, number of systems, address of paint_ground, p]
"""

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from .compiler import inline, kernel
from .random import _stir
from .runner import call
from .simd import (
    WIDTH,
    absolute,
    fill,
    first,
    fma,
    load,
    load_f32,
    load_i32,
    load_i64,
    max_lanes,
    maximum,
    minimum,
    pointer,
    round_even,
    sqrt,
    store,
    store_f32,
    store_i64,
)

f = np.float32
ZERO, QUARTER, HALF, ONE, TWO = f(0), f(0.25), f(0.5), f(1), f(2)
FAR = f(1e30)
REACH = f(3)  # the smooth edge of a triangle ends up to 1.6 pixels beyond its corners
UNIT = f(2.0**-24)
TURN, RIGHT = 1024, 256  # steps of a full turn and of a right angle in the table of sines
CANVAS = 64  # bytes of a state before its canvas
PLANES = 6  # red, green, blue, light that passes, points of a fractal, sum of their colours
JOB = 64  # bytes: painters of a picture and of what is mixed in, two keys, share, two flags
SECOND = 1 << 20  # numbers that the first picture of a mix may draw
MAPS = 7  # of a fractal at most
SLOTS = 64  # equally likely choices of a map
RECORD = 512  # bytes of a fractal: maps of 6 numbers, centre x, y, extent; slots from byte 256
PLACE, CHOICES = 4 * 6 * MAPS, 256
MANY = 4000  # leaves; what they leave open is ground
OPEN = f(1 / 32)  # light that may pass through a finished picture of leaves
LEVELS = f(255)


@intrinsic
def store_byte(typingctx, address, value):
    """Write the low byte of an int64."""

    def emit(context, builder, sig, args):
        byte = ir.IntType(8)
        builder.store(builder.trunc(args[1], byte), pointer(builder, args[0], byte))
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), emit


# ---- random numbers ------------------------------------------------------------------------------


@inline
def bits(s):
    """The next 32 random bits of a state."""
    n = load_i64(s)
    store_i64(s, n + 1)
    return _stir(n + load_i64(s + 8), load_i64(s + 16))


@inline
def draw(s, low, high):
    """A number between two."""
    return low + (high - low) * (np.float32(bits(s) >> 8) * UNIT)


@inline
def choose(s, n):
    """A whole number below n."""
    return (bits(s) * n) >> 32


@inline
def colour_of(s, vivid):
    """Red, green and blue, the closer to a grey the less vivid."""
    grey = draw(s, ZERO, ONE)
    pale = (ONE - vivid) * grey
    return (
        pale + vivid * draw(s, ZERO, ONE),
        pale + vivid * draw(s, ZERO, ONE),
        pale + vivid * draw(s, ZERO, ONE),
    )


@inline
def sine(p, steps):
    """Sine of an angle of whole steps."""
    return load_f32(p[9] + 4 * (steps & (TURN - 1)))


# ---- canvas --------------------------------------------------------------------------------------


@inline
def cover(at, plane, alpha, red, green, blue):
    """Paint a share of the pixels at an address."""
    passes = load(at + 3 * plane)
    weight = passes * alpha
    store(at, fma(weight, red, load(at)))
    store(at + plane, fma(weight, green, load(at + plane)))
    store(at + 2 * plane, fma(weight, blue, load(at + 2 * plane)))
    store(at + 3 * plane, passes * (ONE - alpha))


@inline
def edge(distance):
    """Share of a pixel that lies inside, for the distance of its centre from the edge."""
    return minimum(maximum(HALF - distance, fill(ZERO)), fill(ONE))


@inline
def inside(position, limit):
    """Whole part of a position, moved into 0 .. limit."""
    return np.int64(max(ZERO, min(position, np.float32(limit))))


@inline
def noise_window(p, s, least):
    """Address of a random place of a random tile of noise, from tile ``least`` on; later ones are
    smoother."""
    tile = least + choose(s, p[11] - least)
    row = choose(s, p[14])
    return p[10] + tile * p[12] + row * p[13] + 4 * choose(s, p[14])


@inline
def blank(p, s):
    """Nothing is painted; the pixels that pad a row let no light pass."""
    size, pitch = p[6], p[7]
    plane = size * pitch
    for i in range(size):
        at = s + CANVAS + i * pitch
        for j in range(0, pitch // 4, WIDTH):
            for k in range(3):
                store(at + k * plane + 4 * j, fill(ZERO))
            store(at + 3 * plane + 4 * j, first(fill(ONE), size - j, ZERO))


@inline
def most_light(p, s):
    """The most that passes anywhere."""
    size, pitch = p[6], p[7]
    at, most = s + CANVAS + 3 * size * pitch, fill(ZERO)
    for k in range(0, size * pitch, 4 * WIDTH):
        most = maximum(most, load(at + k))
    return max_lanes(most)


# ---- ground: noise in random colours -------------------------------------------------------------


@inline
def spread(p, window):
    """Middle of a window of noise, and the factor that brings it to -1 .. 1."""
    low, high = fill(FAR), fill(-FAR)
    for i in range(p[6]):
        for j in range(0, p[7] // 4, WIDTH):
            x = load(window + i * p[13] + 4 * j)
            low, high = minimum(low, x), maximum(high, x)
    top, bottom = max_lanes(high), -max_lanes(-low)
    return (top + bottom) * HALF, TWO / max(top - bottom, f(1e-6))


@kernel
def paint_ground(p, tile):
    """c = base + M n, for three windows n of noise, where light passes.

    Some have ridges: the absolute value of noise.
    """
    s, size, pitch, step = tile, p[6], p[7], p[13]
    plane = size * pitch
    one, two, three = noise_window(p, s, 0), noise_window(p, s, 0), noise_window(p, s, 0)
    middle1, scale1 = spread(p, one)
    middle2, scale2 = spread(p, two)
    middle3, scale3 = spread(p, three)
    least = f(0.3) if load_i64(s + 24) else f(0.05)
    amount = draw(s, least, f(0.6))
    chroma = draw(s, f(0.1), f(0.45))
    rest = draw(s, ZERO, f(0.3))
    ridged = draw(s, ZERO, ONE) < QUARTER
    for k in range(3):
        base = draw(s, f(0.25), f(0.75))
        a1 = amount * draw(s, f(0.4), f(1.6))
        a2 = chroma * draw(s, f(-1), ONE)
        a3 = rest * draw(s, f(-1), ONE)
        for i in range(size):
            at, light = s + CANVAS + k * plane + i * pitch, s + CANVAS + 3 * plane + i * pitch
            for j in range(0, pitch, 4 * WIDTH):
                x = (load(one + i * step + j) - middle1) * scale1
                if ridged:
                    x = fma(absolute(x), TWO, fill(-ONE))
                y = (load(two + i * step + j) - middle2) * scale2
                z = (load(three + i * step + j) - middle3) * scale3
                c = fma(x, a1, fma(y, a2, fma(z, a3, fill(base))))
                store(at + j, fma(load(light + j), c, load(at + j)))


# ---- dead leaves ---------------------------------------------------------------------------------


@inline
def leaf_radius(u, least, ratio):
    """Radius with density r^-3 from ``least`` to ``least / sqrt(ratio)``, for u in [0, 1)."""
    return least / np.sqrt(ONE - u * (ONE - ratio))


@inline
def between(p, steps, other, x, y, r):
    """Distance from the chord between two points of a circle, given by their angles."""
    middle, half = (steps + other) >> 1, (other - steps) >> 1
    return fma(
        x, sine(p, middle + RIGHT), fma(y, sine(p, middle), fill(-r * sine(p, half + RIGHT)))
    )


@inline
def leaf_distance(p, shape, angle, one, two, x, y, r):
    """Distance from the edge of a leaf at 0, 0: circle (0), rectangle (1, 2), triangle (3).

    All lie in a circle of radius r; a corner is at ``angle``, and ``one`` and ``two`` further on
    are others.
    """
    if shape == 0:
        return sqrt(fma(x, x, y * y)) - r
    if shape == 3:
        d = between(p, angle, angle + one, x, y, r)
        d = maximum(d, between(p, angle + one, angle + two, x, y, r))
        return maximum(d, between(p, angle + two, angle + TURN, x, y, r))
    side, up = sine(p, angle + RIGHT), sine(p, angle)
    along = absolute(fma(x, side, y * up)) - r * sine(p, one + RIGHT)
    across = absolute(fma(y, side, -(x * up))) - r * sine(p, one)
    return maximum(along, across)


@inline
def paint_leaf(p, s, shape, cx, cy, r, vivid):
    """One leaf: a colour, and two windows of noise that vary it."""
    size, pitch, step = p[6], p[7], p[13]
    plane = size * pitch
    angle = choose(s, TURN) if shape != 1 else 0
    one, two = RIGHT // 2, 0  # of a square
    if shape == 3:
        one, two = 280 + choose(s, 120), 620 + choose(s, 120)
    elif shape == 2 or choose(s, 2):
        one = 32 + choose(s, RIGHT - 64)
    first_noise, second_noise = noise_window(p, s, 0), noise_window(p, s, 0)
    amount, chroma = draw(s, ZERO, f(0.3)), draw(s, ZERO, f(0.25)) * vivid
    red, green, blue = colour_of(s, vivid)
    a1, a2 = amount * draw(s, HALF, f(1.5)), chroma * draw(s, f(-1), ONE)
    b1, b2 = amount * draw(s, HALF, f(1.5)), chroma * draw(s, f(-1), ONE)
    c1, c2 = amount * draw(s, HALF, f(1.5)), chroma * draw(s, f(-1), ONE)
    left, right = inside(cx - r - TWO, size) // WIDTH * WIDTH, inside(cx + r + REACH, size)
    for i in range(inside(cy - r - TWO, size), inside(cy + r + REACH, size)):
        at, noise = s + CANVAS + i * pitch, i * step
        y = fill(np.float32(i) - cy)
        for j in range(left, right, WIDTH):
            if max_lanes(load(at + 3 * plane + 4 * j)) > ZERO:
                x = load(p[8] + 4 * j) - cx
                alpha = edge(leaf_distance(p, shape, angle, one, two, x, y, r))
                n1 = load(first_noise + noise + 4 * j)
                n2 = load(second_noise + noise + 4 * j)
                cover(at + 4 * j, plane, alpha, fma(n1, a1, fma(n2, a2, fill(red))),
                      fma(n1, b1, fma(n2, b2, fill(green))),
                      fma(n1, c1, fma(n2, c2, fill(blue))))  # fmt: skip


@kernel
def paint_leaves(p, tile):
    """Leaves of radius r with density r^-3, until no light passes."""
    s, size = tile, np.float32(p[6])
    least, vivid = size * draw(s, f(0.02), f(0.1)), draw(s, f(0.2), ONE)
    ratio = least / (size * draw(s, f(0.4), ONE))
    kind = choose(s, 8)  # one shape for the whole picture, or any
    for k in range(MANY):
        if k % 64 == 63 and most_light(p, s) < OPEN:
            break
        r = leaf_radius(draw(s, ZERO, ONE), least, ratio * ratio)
        margin = min(r, size * QUARTER)
        cx, cy = draw(s, -margin, size + margin), draw(s, -margin, size + margin)
        shape = choose(s, 4)
        paint_leaf(p, s, kind if kind < 4 else shape, cx, cy, r, vivid)


# ---- fractals ------------------------------------------------------------------------------------


@inline
def scatter(p, s, system, points, view):
    """Play the chaos game: count the points that fall on each pixel, and add up their colours.

    ``view`` is six numbers that bring points to pixels.
    """
    size, pitch = p[6], p[7]
    plane = size * pitch
    v = view
    limit = np.float32(size)
    x = y = colour = ZERO
    at = s + CANVAS + 4 * plane
    for k in range(0, 2 * plane, 4 * WIDTH):
        store(at + k, fill(ZERO))
    for k in range(points // 4):
        some = bits(s)
        for _ in range(4):
            which = load_i32(system + CHOICES + 4 * (some & (SLOTS - 1)))
            some = some >> 6
            m = system + 24 * which
            x, y = (
                load_f32(m) * x + load_f32(m + 4) * y + load_f32(m + 8),
                load_f32(m + 12) * x + load_f32(m + 16) * y + load_f32(m + 20),
            )
            colour = (colour + np.float32(which) * f(1 / (MAPS - 1))) * HALF
            u = v[0] * x + v[1] * y + v[2]
            w = v[3] * x + v[4] * y + v[5]
            if k > 4 and u >= ZERO and u < limit and w >= ZERO and w < limit:
                to = at + np.int64(w) * pitch + 4 * np.int64(u)
                store_f32(to, load_f32(to) + ONE)
                store_f32(to + plane, load_f32(to + plane) + colour)


@inline
def tone(p, s, strength):
    """Paint what was counted, in colours between two."""
    size, pitch = p[6], p[7]
    plane = size * pitch
    at = s + CANVAS
    vivid = draw(s, f(0.3), ONE)
    red, green, blue = colour_of(s, vivid)
    other = colour_of(s, vivid)
    to_red, to_green, to_blue = other[0] - red, other[1] - green, other[2] - blue
    for k in range(0, plane, 4 * WIDTH):
        count = load(at + 4 * plane + k)
        q = load(at + 5 * plane + k) / maximum(count, fill(ONE))
        q = minimum(maximum(fma(q, f(1.8), fill(f(-0.4))), fill(ZERO)), fill(ONE))
        cover(at + k, plane, count / (count + strength), fma(q, to_red, fill(red)),
              fma(q, to_green, fill(green)), fma(q, to_blue, fill(blue)))  # fmt: skip


@kernel
def paint_fractals(p, tile):
    """One or two iterated function systems of the bank, turned and mirrored at any size."""
    s, size = tile, np.float32(p[6])
    count = 1 + choose(s, 2)
    for _ in range(count):
        system = p[15] + RECORD * choose(s, p[16])
        mx, my = load_f32(system + PLACE), load_f32(system + PLACE + 4)
        scale = size * draw(s, f(0.5), f(1.4)) / (TWO * load_f32(system + PLACE + 8))
        angle = choose(s, TURN)
        co, si = scale * sine(p, angle + RIGHT), scale * sine(p, angle)
        sign = ONE if choose(s, 2) else -ONE
        reach = f(0.3) if count == 2 else f(0.15)
        px = size * (HALF + draw(s, -reach, reach))
        py = size * (HALF + draw(s, -reach, reach))
        view = (co, -si, px - co * mx + si * my,
                sign * si, sign * co, py - sign * (si * mx + co * my))  # fmt: skip
        strength = draw(s, f(0.3), f(2))
        scatter(p, s, system, 2 * p[6] * p[6], view)
        tone(p, s, strength)


# ---- contours ------------------------------------------------------------------------------------


@inline
def power(x, y, n):
    """(x + i y)^n."""
    a, b = x, y
    for _ in range(n - 1):
        a, b = fma(a, x, -(b * y)), fma(a, y, b * x)
    return a, b


@inline
def paint_rings(p, s, body):
    """Lines around a centre, of a radius that is a sum of two waves of the angle."""
    size, pitch, step = p[6], p[7], p[13]
    plane, wide = size * pitch, np.float32(size)
    cx, cy = draw(s, f(-0.1), f(1.1)) * wide, draw(s, f(-0.1), f(1.1)) * wide
    outer = wide * draw(s, f(0.2), f(0.9))
    hole = outer * draw(s, f(-0.5), HALF)
    n1, n2 = 1 + choose(s, 6), 2 + choose(s, 14)
    a1, a2 = draw(s, ZERO, f(0.35)), draw(s, ZERO, f(0.3))
    turn1, turn2 = choose(s, TURN), choose(s, TURN)
    p1, q1, p2, q2 = sine(p, turn1), sine(p, turn1 + RIGHT), sine(p, turn2), sine(p, turn2 + RIGHT)
    p1, q1, p2, q2 = p1 * a1, q1 * a1, p2 * a2, q2 * a2
    spacing = max(f(2.5), wide * draw(s, f(0.03), f(0.16)))
    half = spacing * draw(s, f(0.08), f(0.3))
    warp = spacing * draw(s, ZERO, f(0.8)) if choose(s, 2) else ZERO
    noise = noise_window(p, s, p[11] * 2 // 3)
    vivid = draw(s, f(0.3), ONE)
    red, green, blue = colour_of(s, vivid)
    other = colour_of(s, vivid)
    to_red, to_green, to_blue = other[0] - red, other[1] - green, other[2] - blue
    in_red, in_green, in_blue = colour_of(s, vivid)
    for i in range(size):
        at = s + CANVAS + i * pitch
        y = fill(np.float32(i) - cy)
        for j in range(0, size, WIDTH):
            if max_lanes(load(at + 3 * plane + 4 * j)) > ZERO:
                x = load(p[8] + 4 * j) - cx
                rho = sqrt(fma(x, x, fma(y, y, fill(f(0.01)))))
                u, v = x / rho, y / rho
                re1, im1 = power(u, v, n1)
                re2, im2 = power(u, v, n2)
                wave = fma(re1, p1, fma(im1, q1, fma(re2, p2, im2 * q2)))
                phi = rho / (ONE + wave)
                phi = fma(load(noise + i * step + 4 * j), warp, phi)
                ring = phi / spacing
                off = absolute(ring - round_even(ring)) * spacing
                whole = minimum(edge(phi - outer), edge(hole - phi))
                q = minimum(maximum(phi / outer, fill(ZERO)), fill(ONE))
                cover(at + 4 * j, plane, edge(off - half) * whole, fma(q, to_red, fill(red)),
                      fma(q, to_green, fill(green)), fma(q, to_blue, fill(blue)))  # fmt: skip
                cover(at + 4 * j, plane, whole * body, in_red, in_green, in_blue)


@kernel
def paint_contours(p, tile):
    """Two to five bundles of closed lines, some with a body."""
    s = tile
    for _ in range(2 + choose(s, 4)):
        body = draw(s, f(-1), ONE)
        paint_rings(p, s, max(ZERO, body))


# ---- strokes -------------------------------------------------------------------------------------


@inline
def paint_capsule(p, s, ax, ay, bx, by, half, window, colour):
    """A straight piece of a stroke with round ends."""
    size, pitch, step = p[6], p[7], p[13]
    plane = size * pitch
    dx, dy = bx - ax, by - ay
    inverse = ONE / max(dx * dx + dy * dy, f(1e-6))
    ex, ey = dx * inverse, dy * inverse
    left = inside(min(ax, bx) - half - ONE, size) // WIDTH * WIDTH
    right = inside(max(ax, bx) + half + TWO, size)
    top, end = inside(min(ay, by) - half - ONE, size), inside(max(ay, by) + half + TWO, size)
    for i in range(top, end):
        at = s + CANVAS + i * pitch
        y = fill(np.float32(i) - ay)
        for j in range(left, right, WIDTH):
            x = load(p[8] + 4 * j) - ax
            t = minimum(maximum(fma(x, ex, y * ey), fill(ZERO)), fill(ONE))
            u, v = fma(t, -dx, x), fma(t, -dy, y)
            alpha = edge(sqrt(fma(u, u, v * v)) - half)
            n = load(window + i * step + 4 * j)
            cover(at + 4 * j, plane, alpha, fma(n, colour[3], fill(colour[0])),
                  fma(n, colour[4], fill(colour[1])),
                  fma(n, colour[5], fill(colour[2])))  # fmt: skip


@inline
def paint_curve(p, s, a, b, c, half, taper, window, colour):
    """A quadratic Bezier curve in straight pieces; it ends thinner by ``taper``."""
    pieces = 8
    x, y = a[0], a[1]
    for k in range(1, pieces + 1):
        t = np.float32(k) * f(1 / pieces)
        r = ONE - t
        u = r * r * a[0] + TWO * r * t * b[0] + t * t * c[0]
        v = r * r * a[1] + TWO * r * t * b[1] + t * t * c[1]
        paint_capsule(p, s, x, y, u, v, half * (ONE - taper * t), window, colour)
        x, y = u, v


@inline
def lattice(s, x, y, height, slant):
    """One of the 3 x 4 points that glyphs are made of."""
    i, j = np.float32(choose(s, 4)) * f(1 / 3), np.float32(choose(s, 3)) * f(0.3)
    return x + height * (j + slant * i), y + height * i


@inline
def anywhere(s, size):
    """A point of the picture or near it."""
    return draw(s, f(-0.15), f(1.15)) * size, draw(s, f(-0.15), f(1.15)) * size


@kernel
def paint_strokes(p, tile):
    """Brush strokes and lines of glyphs.

    A glyph is a few strokes between points of a lattice; those of a line share height, slant,
    width and colour.
    """
    s, size = tile, np.float32(p[6])
    vivid = draw(s, f(0.3), ONE)
    for _ in range(3 + choose(s, 9)):
        written = choose(s, 2) == 1
        x, y = anywhere(s, size)
        height = size * draw(s, f(0.12), f(0.7))
        slant = draw(s, f(-0.3), f(0.3))
        half = height * draw(s, f(0.03), f(0.09)) if written else size * draw(s, f(0.006), f(0.06))
        half = max(half, f(0.4))
        taper = ZERO if written else draw(s, ZERO, ONE)
        red, green, blue = colour_of(s, vivid)
        grain = draw(s, ZERO, f(0.15))
        colour = (red, green, blue, grain, grain * draw(s, f(-1), ONE), grain * draw(s, f(-1), ONE))
        window = noise_window(p, s, 0)
        glyphs = 1 + choose(s, 6) if written else 1
        for _ in range(glyphs):
            strokes = 2 + choose(s, 4) if written else 1 + choose(s, 2)
            a = lattice(s, x, y, height, slant) if written else anywhere(s, size)
            for _ in range(strokes):
                b = lattice(s, x, y, height, slant) if written else anywhere(s, size)
                c = lattice(s, x, y, height, slant) if written else anywhere(s, size)
                if choose(s, 2):
                    b = ((a[0] + c[0]) * HALF, (a[1] + c[1]) * HALF)
                paint_curve(p, s, a, b, c, half, taper, window, colour)
                if choose(s, 3):
                    a = c
            x += height * f(0.8)


@inline
def ink(s, vivid, least):
    """A colour from ``least`` to ``least`` + 0.45, and how much noise is seen in its parts."""
    red, green, blue = colour_of(s, vivid)
    part = f(0.45)
    grain = draw(s, ZERO, f(0.1))
    return (least + part * red, least + part * green, least + part * blue, grain, ZERO, ZERO)


@kernel
def paint_glyphs(p, tile):
    """One or two large glyphs in the middle, most of them on plain ground, dark or light.

    They are made of strokes as those of :data:`paint_strokes` are.
    """
    s, size = tile, np.float32(p[6])
    vivid = draw(s, ZERO, ONE)
    glyphs = 1 + choose(s, 3) // 2
    height = size * draw(s, f(0.3), f(0.9)) / (f(0.5) + HALF * np.float32(glyphs))
    slant = draw(s, f(-0.25), f(0.25))
    half = max(height * draw(s, f(0.02), f(0.1)), f(0.4))
    x = (size - height * (f(0.8) * np.float32(glyphs) - f(0.2) + slant)) * HALF
    y = (size - height) * HALF
    x += size * draw(s, f(-0.08), f(0.08))
    y += size * draw(s, f(-0.08), f(0.08))
    dark = np.float32(choose(s, 2)) * f(0.55)
    window = noise_window(p, s, 0)
    colour = ink(s, vivid, dark)
    for _ in range(glyphs):
        a = lattice(s, x, y, height, slant)
        for _ in range(2 + choose(s, 4)):
            b = lattice(s, x, y, height, slant)
            c = lattice(s, x, y, height, slant)
            if choose(s, 2):
                b = ((a[0] + c[0]) * HALF, (a[1] + c[1]) * HALF)
            paint_curve(p, s, a, b, c, half, ZERO, window, colour)
            if choose(s, 3):
                a = c
        x += height * f(0.8)
    if choose(s, 4):
        middle = HALF * size
        colour = ink(s, vivid, f(0.55) - dark)
        paint_capsule(p, s, middle, middle, middle, middle, size, window, colour)


# ---- pictures ------------------------------------------------------------------------------------


@inline
def paint(p, s, painter, flag, job, begin):
    """A whole picture on a canvas."""
    store_i64(s, begin)
    store_i64(s + 8, load_i64(job + 16))
    store_i64(s + 16, load_i64(job + 24))
    store_i64(s + 24, flag)
    blank(p, s)
    if painter != 0:
        call(painter, p[18], s)
    call(p[17], p[18], s)


@inline
def level(x):
    """Whole levels 0 .. 255 of numbers of which 0 .. 1 are kept."""
    return round_even(minimum(maximum(x, fill(ZERO)), fill(ONE)) * LEVELS)


@inline
def write(p, one, two, share, y):
    """Mix two canvases, and write levels."""
    size, pitch = p[6], p[7]
    plane = size * pitch
    rest = ONE - share
    for k in range(0, plane, 4 * WIDTH):
        a, b = one + CANVAS + k, two + CANVAS + k
        red, green, blue = load(a), load(a + plane), load(a + 2 * plane)
        if rest > ZERO:
            red = fma(red, share, load(b) * rest)
            green = fma(green, share, load(b + plane) * rest)
            blue = fma(blue, share, load(b + 2 * plane) * rest)
        # three levels in one whole float32, below 2**24
        store(a, fma(level(blue), f(65536), fma(level(green), f(256), level(red))))
    for i in range(size):
        for j in range(size):
            levels = np.int64(load_f32(one + CANVAS + i * pitch + 4 * j))
            store_byte(y, levels)
            store_byte(y + 1, levels >> 8)
            store_byte(y + 2, levels >> 16)
            y += 3


@kernel
def draw_pictures(p, tile):
    """Paint the pictures of a tile.

    p = [as above]; a job is [painter or 0, painter of what is mixed in or -1, two words of a
    key, share of the first in units of 2**-24, two flags for the ground].
    """
    one = p[3] + tile * p[4]
    two = one + p[4] // 2
    for k in range(tile * p[2], min(p[1], (tile + 1) * p[2])):
        job = p[0] + k * JOB
        paint(p, one, load_i64(job), load_i64(job + 40), job, 16)
        share = np.float32(load_i64(job + 32)) * UNIT
        if load_i64(job + 8) >= 0:
            paint(p, two, load_i64(job + 8), load_i64(job + 48), job, SECOND)
        else:
            share = ONE
        write(p, one, two, share, p[5] + k * 3 * p[6] * p[6])
