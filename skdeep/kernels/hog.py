"""Histograms of oriented gradients, as Dalal and Triggs take them.

* Gradient of a pixel: differences of its neighbours, of the channel where they are largest; at the
  edge of the picture the pixel stands in for the neighbour it lacks.
* Cells: each pixel votes with the length of its gradient for the two nearest of ``bins`` directions
  in the four nearest cells, in proportion to how near they are.
* Blocks: the histograms h of b x b cells become h / sqrt(|h|^2 + eps^2), are limited to 0.2, and
  are divided by their length again.
"""

import math

import numpy as np

from .compiler import inline, kernel
from .simd import load_f32, store_f32

ZERO, HALF, ONE = np.float32(0), np.float32(0.5), np.float32(1)
PI, MOST = np.float32(np.pi), np.float32(0.2)


@inline
def _vote(cells, a, b, down, across, bins, low, high, far, weight):
    """Add a vote to the two directions of a cell, if there is such a cell."""
    if 0 <= a < down and 0 <= b < across:
        histogram = cells + 4 * bins * (a * across + b)
        to = histogram + 4 * low
        store_f32(to, load_f32(to) + weight * (ONE - far))
        to = histogram + 4 * high
        store_f32(to, load_f32(to) + weight * far)


@kernel
def hog_cells(p, tile):
    """Histograms cells[n] (down, across, bins) of a picture x[n] (h, w, c); tile = n.

    p = [cells, x, h, w, c, down, across, bins, pixels of a cell, whether directions have a sign]
    """
    h, w, c, down, across, bins, cell = p[2], p[3], p[4], p[5], p[6], p[7], p[8]
    cells, x = p[0] + 4 * down * across * bins * tile, p[1] + 4 * h * w * c * tile
    for i in range(0, 4 * down * across * bins, 4):
        store_f32(cells + i, ZERO)
    full = PI + PI if p[9] else PI
    width, share = full / np.float32(bins), ONE / np.float32(cell * cell)
    for i in range(min(h, down * cell)):
        above, below = x + 4 * w * c * max(0, i - 1), x + 4 * w * c * min(h - 1, i + 1)
        row = x + 4 * w * c * i
        at = (np.float32(i) + HALF) / np.float32(cell) - HALF
        a = int(np.floor(at))
        under = at - np.float32(a)
        for j in range(min(w, across * cell)):
            left, right = row + 4 * c * max(0, j - 1), row + 4 * c * min(w - 1, j + 1)
            dx, dy, most = ZERO, ZERO, ZERO
            for k in range(0, 4 * c, 4):
                u = load_f32(right + k) - load_f32(left + k)
                v = load_f32(below + 4 * c * j + k) - load_f32(above + 4 * c * j + k)
                square = u * u + v * v
                if square > most:
                    dx, dy, most = u, v, square
            if most > ZERO:
                angle = np.float32(math.atan2(dy, dx))
                if angle < ZERO:
                    angle += full
                direction = angle / width - HALF
                low = int(np.floor(direction))
                far = direction - np.float32(low)
                high = (low + 1) % bins
                low = (low + bins) % bins
                length = np.sqrt(most) * share
                at = (np.float32(j) + HALF) / np.float32(cell) - HALF
                b = int(np.floor(at))
                beside = at - np.float32(b)
                upper, lower = length * (ONE - under), length * under
                near = ONE - beside
                _vote(cells, a, b, down, across, bins, low, high, far, upper * near)
                _vote(cells, a, b + 1, down, across, bins, low, high, far, upper * beside)
                _vote(cells, a + 1, b, down, across, bins, low, high, far, lower * near)
                _vote(cells, a + 1, b + 1, down, across, bins, low, high, far, lower * beside)


@kernel
def hog_blocks(p, tile):
    """Normalised blocks y[n] (rows, columns, size, size, bins) of cells[n]; tile = n.

    p = [y, cells, down, across, bins, size, rows, columns, eps]
    """
    down, across, bins, size, rows, columns = p[2], p[3], p[4], p[5], p[6], p[7]
    eps, run = load_f32(p[8]), size * bins
    cells = p[1] + 4 * down * across * bins * tile
    y = p[0] + 4 * rows * columns * size * run * tile
    for i in range(rows):
        for j in range(columns):
            total = ZERO
            for u in range(size):
                source = cells + 4 * bins * ((i + u) * across + j)
                for k in range(0, 4 * run, 4):
                    v = load_f32(source + k)
                    total += v * v
                    store_f32(y + 4 * run * u + k, v)
            r, total = ONE / np.sqrt(total + eps * eps), ZERO
            for k in range(0, 4 * size * run, 4):
                v = min(load_f32(y + k) * r, MOST)
                total += v * v
                store_f32(y + k, v)
            r = ONE / np.sqrt(total) if total > ZERO else ZERO
            for k in range(0, 4 * size * run, 4):
                store_f32(y + k, load_f32(y + k) * r)
            y += 4 * size * run
