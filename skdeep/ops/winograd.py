"""Winograd's algorithm for convolutions: where it is used, and how its work is cut."""

import math

from ..graph.op import Op, Row, register
from ..kernels.gemm import FULL_MORE, VECTORS
from ..kernels.panels import panel_count, vector_count
from ..kernels.winograd import (
    PAIR_BYTES,
    PANEL,
    PRODUCTS,
    TRANSFORMS,
    WHOLE,
    packed_floats,
    winograd_pack,
    winograd_rows,
    winograd_transforms,
    winograd_weights,
    work_floats,
)
from .dense import RATE
from .geometry import wanted_tiles

SQUARES = {"winograd2": 2, "winograd4": 4}  # outputs along one side of a square
ALGORITHMS = ("auto", "direct", *SQUARES)
# Costs in multiply-adds, measured on one AVX-512 core, of transforming one value of a channel or
# of a filter, and of packing and loading one weight. A transformed convolution must be better than
# a direct one by the gain.
INPUT_COST, OUTPUT_COST, WEIGHT_COST, GAIN = 18, 10, 20, 1.15
BATCH = 64  # images that share the weights of a forward convolution
BLOCK = math.ceil(16 / FULL_MORE) * FULL_MORE  # squares of a block: full register tiles, in L2
STAGED = 4 * BLOCK  # squares up to which the work is done in two stages
TRANSFORM_TILES = 8  # tiles that a small transformation is cut into
TILES = 16  # of a convolution at most: each has working memory
WAVE, WORK = 512 * 1024, 4 * 1024 * 1024  # elements of the least and the largest wave of squares
PAIRS = 8  # of bands, that are enough tiles for a weight gradient


@register
class PackWinograd(Op):
    """Transformed weights (3, 3, c, f) as panels for :class:`~skdeep.ops.conv.Conv2D`.

    With ``transposed``, as panels for :class:`~skdeep.ops.conv.Conv2DGradX`.
    """

    differentiable = False

    def __init__(self, w, *, algorithm, transposed=False):
        super().__init__(w, algorithm=algorithm, transposed=transposed)

    def infer(self):
        c, f = self.inputs[0].shape[2:]
        run, columns = (f, c) if self.transposed else (c, f)
        return [(packed_floats(SQUARES[self.algorithm], run, columns),)]

    def rows(self):
        (w,) = self.inputs
        c, f = w.shape[2:]
        operands = [w, self.output, c, f, SQUARES[self.algorithm], int(self.transposed)]
        tiles = panel_count(c if self.transposed else f)
        return [Row(winograd_pack.name, operands, tiles, 0.15 * self.output.size)]


def square_count(m, n, oh, ow):
    """Squares of m x m pixels that cover n images of oh x ow pixels."""
    return n * math.ceil(oh / m) * math.ceil(ow / m)


def taps_inside(size, out, pad):
    """Taps of three that lie inside an axis of an image, summed over its outputs."""
    return sum(max(0, min(out, size + pad - p) - max(0, pad - p)) for p in range(3))


def choose(c, f, height, width, padding, batch=BATCH):
    """The algorithm of a 3x3 convolution of c channels to f filters on height x width outputs.

    It depends on the size of an image but not on how many there are, unless ``batch`` says so: an
    image must not change with its company.
    """
    channels, filters = (16 * math.ceil(k / 16) for k in (c, f))
    taps = math.prod(
        taps_inside(out + 2 - sum(pads), out, pads[0])
        for out, pads in zip((height, width), padding)
    )
    costs = {"direct": taps * c * filters + 9 * c * f * WEIGHT_COST / batch}
    for name, m in SQUARES.items():
        positions = (m + 2) ** 2
        each = c * filters + INPUT_COST * channels + OUTPUT_COST * filters
        costs[name] = square_count(m, 1, height, width) * positions * each
        costs[name] = GAIN * (costs[name] + positions * c * f * WEIGHT_COST / batch)
    return min(costs, key=costs.get)


def choose_all(x_shape, out_shape, padding):
    """The algorithms of a 3x3 convolution, its input gradient and its weight gradient."""
    n, h, w, c = x_shape
    _, oh, ow, f = out_shape
    mirrored = tuple((2 - before, 2 - after) for before, after in padding)
    return (
        choose(c, f, oh, ow, padding),
        choose(f, c, h, w, mirrored, n),
        choose(c, f, oh, ow, padding, n),
    )


class Convolution:
    """How a convolution of c channels to ``shape`` (n, oh, ow, f) is cut.

    Attributes
    ----------
    floats : int
        Elements of working memory.
    """

    def __init__(self, algorithm, c, shape):
        self.m = m = SQUARES[algorithm]
        self.squares = square_count(m, *shape[:3])
        self.work = 2 * self.squares * (m + 2) ** 2 * c * shape[3] / RATE
        wanted = wanted_tiles(self.work)
        panels = panel_count(shape[3])
        self.block = min(BLOCK, self.squares)
        blocks = math.ceil(self.squares / self.block)
        v, products = work_floats(m, self.block, c, min(shape[3], PANEL))
        self.staged = self.squares <= STAGED and panels > 1 and wanted > 1
        if self.staged:
            self.shares = blocks
            chunks = min(panels, math.ceil(wanted / blocks))
            v = work_floats(m, self.squares, c, 0)[0]
        else:
            self.shares = min(blocks, wanted, max(4, blocks // 4), TILES)
            chunks = 1
        self.panels = math.ceil(panels / chunks)
        self.tiles = self.shares * math.ceil(panels / self.panels)
        self.floats = self.tiles * products + (v if self.staged else self.tiles * v)

    def rows(self, x, panels, bias, out, add, mask, work, low, high, padding):
        """Rows of a forward convolution or of an input gradient."""
        head = [x, panels, bias, out, add, mask, float(low), float(high), work, *x.shape,
                *out.shape[1:], *padding, self.m]  # fmt: skip
        name = winograd_rows.name
        whole = [*head, self.block, self.shares, self.panels, WHOLE]
        if not self.staged:
            return [Row(name, whole, self.tiles, self.work)]
        tiles = min(self.squares, TRANSFORM_TILES)
        block = math.ceil(self.squares / tiles)
        first = [*head, block, tiles, 0, TRANSFORMS]
        second = [*head, self.block, self.shares, self.panels, PRODUCTS]
        return [Row(name, first, tiles, 0.1 * self.work), Row(name, second, self.tiles, self.work)]


class WeightGradient:
    """How the weight gradient of a convolution of c channels to ``shape`` (n, oh, ow, f) is cut.

    A *wave* of squares is transformed; then every tile multiplies pairs of a band of channels and a
    panel of filters, transforms the sums back, and adds them to those of the waves before.
    """

    def __init__(self, algorithm, c, shape):
        self.m = m = SQUARES[algorithm]
        f = shape[3]
        self.squares = square_count(m, *shape[:3])
        positions = (m + 2) ** 2
        self.work = 2 * self.squares * positions * c * f / RATE
        wanted = wanted_tiles(self.work)
        floats = sum(work_floats(m, self.squares, c, f))
        self.waves = math.ceil(floats / min(max(WAVE, 2 * positions * c * f), WORK))
        self.wave = math.ceil(self.squares / self.waves)
        vectors, panels = vector_count(c), panel_count(f)
        self.band = min(VECTORS, max(1, vectors * panels // min(wanted, PAIRS)))
        self.tiles = min(wanted, math.ceil(vectors / self.band) * panels)
        self.floats = sum(work_floats(m, self.wave, c, f))
        self.floats += self.tiles * positions * PAIR_BYTES // 4

    def rows(self, x, dy, dw, work, padding):
        """Two rows for each wave."""
        c, f = x.shape[3], dy.shape[3]
        head = [x, dy, work, *x.shape, *dy.shape[1:], *padding, self.m]
        rows = []
        for start in range(0, self.squares, self.wave):
            stop = min(self.squares, start + self.wave)
            size = min(BLOCK, math.ceil((stop - start) / TRANSFORM_TILES))
            tiles = math.ceil((stop - start) / size)
            work_here = self.work * (stop - start) / self.squares
            first = [*head, start, stop, size, self.band]
            rows.append(Row(winograd_transforms.name, first, tiles, 0.3 * work_here))
            second = [work, dw, c, f, self.m, stop - start, self.band, self.tiles, int(start > 0)]
            rows.append(Row(winograd_weights.name, second, self.tiles, work_here))
        return rows
