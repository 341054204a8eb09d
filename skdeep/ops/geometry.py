"""Sizes of windows that slide over images."""

import math
from numbers import Integral

TILE = 20_000.0  # ns of work worth a tile of its own
TILES = 32  # of one row at most, or about that


def wanted_tiles(work):
    """Into how many tiles work of so many ns is cut, about."""
    return max(1, min(TILES, int(work / TILE)))


class Geometry:
    """Attributes that all convolution operations share, as the kernels want them."""

    @property
    def geometry(self):
        """Attributes of the operations derived from this one."""
        return {k: self.attributes[k] for k in ("stride", "padding", "dilation", "groups")}

    @property
    def steps(self):
        """sh, sw, dh, dw, top, left."""
        return [*self.stride, *self.dilation, self.padding[0][0], self.padding[1][0]]

    def output_shape(self, x, w):
        """Shape of the convolution of x (n, h, w, c) with w (kh, kw, cg, f)."""
        axes = zip(x.shape[1:3], w.shape[:2], self.stride, self.padding, self.dilation)
        return (x.shape[0], *(output_size(*axis) for axis in axes), w.shape[3])


def output_size(size, kernel, stride, padding, dilation):
    """Length of one output axis; 0 or less when the kernel does not fit."""
    return (size + sum(padding) - dilation * (kernel - 1) - 1) // stride + 1


def pair(value, name):
    """A positive int twice, or a pair of them; ValueError otherwise."""
    both = (value, value) if isinstance(value, Integral) else tuple(value)
    if len(both) != 2 or not all(isinstance(v, Integral) and v >= 1 for v in both):
        raise ValueError(f"conv2d needs {name} as a positive int or a pair of them, got {value!r}.")
    return both


def padding_pairs(padding):
    """Padding as ((top, bottom), (left, right)), from an int, a pair, or pairs."""
    both = (padding, padding) if isinstance(padding, Integral) else tuple(padding)
    pairs = tuple((v, v) if isinstance(v, Integral) else tuple(v) for v in both)
    flat = [v for p in pairs for v in p]
    if (
        len(pairs) != 2
        or len(flat) != 4
        or not all(isinstance(v, Integral) and v >= 0 for v in flat)
    ):
        raise ValueError(
            "conv2d needs padding as an int, (vertical, horizontal) or "
            f"((top, bottom), (left, right)), none negative; got {padding!r}."
        )
    return pairs


def image_parts(n, work, size, limit):
    """Images of one partial sum of a weight gradient of ``size`` elements.

    There are at most ``limit`` elements of partial sums, and no more parts than the work is worth.
    """
    parts = max(1, min(n, wanted_tiles(work) // 2, limit // size))
    return math.ceil(n / parts)
