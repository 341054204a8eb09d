"""Winograd's algorithm for convolutions: where it is used, and how its work is cut."""

import math

from ..graph.op import Op, Row, register
from ..kernels.conv import CHUNK, sum_groups
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
    winograd_scatter,
    winograd_transforms,
    winograd_weights,
    work_floats,
)
from .dense import RATE
from .geometry import wanted_tiles

SQUARES = {"winograd2": 2, "winograd4": 4}  # outputs along one side of a square
SIZES = {3: ("winograd2", "winograd4"), 5: ("winograd2",)}  # what exists for kernels of this size
SCATTER = "scatter"  # of an input gradient, from squares with 6 x 6 inputs
ALGORITHMS = ("auto", "direct", *SQUARES)
# Costs in multiply-adds, measured on one AVX-512 core, of transforming one value of a channel or
# of a filter, and of packing and loading one weight. A transformed convolution must be better than
# a direct one by the gain.
INPUT_COST, OUTPUT_COST, WEIGHT_COST, GAIN = 18, 10, 20, 1.15
SCATTER_GAIN = 1.1  # what adding overlapping squares costs over storing others
TRANSFORM_TIME = 0.2  # ns for one value of a square in a weight gradient
BATCH = 64  # images that share the weights of a forward convolution
BLOCK = math.ceil(16 / FULL_MORE) * FULL_MORE  # squares of a block: full register tiles, in L2
STAGED = 4 * BLOCK  # squares up to which the work is done in two stages
TRANSFORM_TILES = 8  # tiles that a small transformation is cut into
TILES = 16  # of a convolution at most: each has working memory
WAVE, WORK = 512 * 1024, 4 * 1024 * 1024  # elements of the least and the largest wave of squares
PAIRS = 8  # of bands, that are enough tiles for a weight gradient


@register
class PackWinograd(Op):
    """Transformed weights (r, r, c, f) as panels for :class:`~skdeep.ops.conv.Conv2D`.

    With ``transposed``, as panels for :class:`~skdeep.ops.conv.Conv2DGradX`.
    """

    differentiable = False

    def __init__(self, w, *, algorithm, transposed=False):
        super().__init__(w, algorithm=algorithm, transposed=transposed)

    def infer(self):
        r, _, c, f = self.inputs[0].shape
        run, columns = (f, c) if self.transposed else (c, f)
        self.size = square_size(self.algorithm, r)
        return [(packed_floats(self.size, run, columns),)]

    def rows(self):
        (w,) = self.inputs
        r, _, c, f = w.shape
        operands = [w, self.output, c, f, self.size, r, int(self.transposed)]
        operands.append(int(self.transposed and self.algorithm != SCATTER))
        tiles = panel_count(c if self.transposed else f)
        return [Row(winograd_pack.name, operands, tiles, 0.15 * self.output.size)]


def square_size(algorithm, r):
    """Inputs along one side of a square, for kernels of r x r."""
    return 6 if algorithm == SCATTER else SQUARES[algorithm] + r - 1


def square_count(m, n, oh, ow):
    """Squares of m x m pixels that cover n images of oh x ow pixels."""
    return n * math.ceil(oh / m) * math.ceil(ow / m)


def taps_inside(size, out, pad, r):
    """Taps of r that lie inside an axis of an image, summed over its outputs."""
    return sum(max(0, min(out, size + pad - p) - max(0, pad - p)) for p in range(r))


def choose(c, f, height, width, padding, batch=BATCH, r=3, speed=1):
    """The algorithm of an r x r convolution of c channels to f filters on height x width outputs.

    It depends on the size of an image but not on how many there are, unless ``batch`` says so: an
    image must not change with its company. A direct convolution goes ``speed`` times as fast as
    one of float32.
    """
    costs = _costs(c, f, height, width, padding, batch, r)
    costs["direct"] /= speed
    return min(costs, key=costs.get)


def _costs(c, f, height, width, padding, batch, r):
    taps = math.prod(
        taps_inside(out + r - 1 - sum(pads), out, pads[0], r)
        for out, pads in zip((height, width), padding)
    )
    costs = {"direct": taps * c * filled(f) + r**2 * c * f * WEIGHT_COST / batch}
    for name in SIZES[r]:
        squares = square_count(SQUARES[name], 1, height, width)
        costs[name] = _transformed_cost(c, f, squares, square_size(name, r), batch)
    return costs


def _transformed_cost(c, f, squares, size, batch):
    return GAIN * size**2 * (squares * _square_cost(c, f) + c * f * WEIGHT_COST / batch)


def _square_cost(c, f):
    """Of one position of a square, in multiply-adds."""
    return c * filled(f) + INPUT_COST * filled(c) + OUTPUT_COST * filled(f)


def filled(k):
    """Lanes that k channels take."""
    return 16 * math.ceil(k / 16)


def choose_all(x_shape, out_shape, padding, r=3):
    """The algorithms of an r x r convolution, its input gradient and its weight gradient."""
    n, h, w, c = x_shape
    _, oh, ow, f = out_shape
    mirrored = tuple((r - 1 - before, r - 1 - after) for before, after in padding)
    costs = _costs(f, c, h, w, mirrored, n, r)
    costs[SCATTER] = SCATTER_GAIN * _transformed_cost(f, c, square_count(7 - r, 1, oh, ow), 6, n)
    return (
        choose(c, f, oh, ow, padding, r=r),
        min(costs, key=costs.get),
        choose(c, f, oh, ow, padding, n, r),
    )


class Convolution:
    """How a convolution of r x r kernels and c channels to ``shape`` (n, oh, ow, f) is cut.

    Attributes
    ----------
    floats : int
        Elements of working memory.
    """

    def __init__(self, algorithm, c, shape, r):
        self.m = m = SQUARES[algorithm]
        self.size = size = square_size(algorithm, r)
        self.squares = square_count(m, *shape[:3])
        self.work = 2 * self.squares * size**2 * _square_cost(c, shape[3]) / RATE
        wanted = wanted_tiles(self.work)
        panels = panel_count(shape[3])
        self.block = min(BLOCK, self.squares)
        blocks = math.ceil(self.squares / self.block)
        v, products = work_floats(size, self.block, c, min(shape[3], PANEL))
        self.staged = self.squares <= STAGED and panels > 1 and wanted > 1
        if self.staged:
            self.shares = blocks
            chunks = min(panels, math.ceil(wanted / blocks))
            v = work_floats(size, self.squares, c, 0)[0]
        else:
            self.shares = min(blocks, wanted, max(4, blocks // 4), TILES)
            chunks = 1
        self.panels = math.ceil(panels / chunks)
        self.tiles = self.shares * math.ceil(panels / self.panels)
        self.floats = self.tiles * products + (v if self.staged else self.tiles * v)

    def rows(self, x, panels, bias, out, add, mask, work, low, high, padding, stride=None,
             name=winograd_rows.name):  # fmt: skip
        """Rows of a forward convolution or of an input gradient.

        ``stride`` is the distance of the pixels of ``out``, where it is a part of a wider tensor;
        ``name`` that of the kernel.
        """
        head = [x, panels, bias, out, add, mask, float(low), float(high), work, *x.shape,
                *out.shape[1:], *padding, self.m, self.size]  # fmt: skip
        stride = stride or out.shape[3]
        whole = [*head, self.block, self.shares, self.panels, WHOLE, stride]
        if not self.staged:
            return [Row(name, whole, self.tiles, self.work)]
        tiles = min(self.squares, TRANSFORM_TILES)
        block = math.ceil(self.squares / tiles)
        first = [*head, block, tiles, 0, TRANSFORMS, stride]
        second = [*head, self.block, self.shares, self.panels, PRODUCTS, stride]
        return [Row(name, first, tiles, 0.1 * self.work), Row(name, second, self.tiles, self.work)]


class Scatter:
    """How an input gradient, from the squares of ``dy_shape`` (n, oh, ow, f) to c channels, is cut.

    Attributes
    ----------
    floats : int
        Elements of working memory.
    """

    def __init__(self, dy_shape, c, r):
        n, oh, ow, f = dy_shape
        self.m = 7 - r
        each = square_count(self.m, 1, oh, ow)
        self.work = 2 * n * each * 36 * SCATTER_GAIN * _square_cost(f, c) / RATE
        wanted = min(wanted_tiles(self.work), TILES)
        self.images = math.ceil(n / wanted)
        self.tiles = math.ceil(n / self.images)
        self.block = min(BLOCK, self.images * each)
        self.floats = self.tiles * sum(work_floats(6, self.block, f, min(c, PANEL)))

    def rows(self, dy, panels, out, mask, work, padding):
        """The row of the input gradient."""
        operands = [dy, panels, out, mask, work, *dy.shape, *out.shape[1:], *padding, self.m,
                    self.block, self.images]  # fmt: skip
        return [Row(winograd_scatter.name, operands, self.tiles, self.work)]


class WeightGradient:
    """How the weight gradient of r x r kernels and c channels to ``shape`` (n, oh, ow, f) is cut.

    A *wave* of squares is transformed; then every tile multiplies pairs of a band of channels and a
    panel of filters, transforms the sums back, and adds them to those of the waves before. Where
    there are few pairs, the squares of a wave are cut into ``parts`` with sums of their own.
    """

    def __init__(self, algorithm, c, shape, r):
        self.m, self.r, self.size = SQUARES[algorithm], r, square_size(algorithm, r)
        f = shape[3]
        self.squares = square_count(self.m, *shape[:3])
        positions = self.size**2
        self.work = 2 * self.squares * positions * c * filled(f) / RATE
        self.transforms = self.squares * positions * TRANSFORM_TIME * (filled(c) + filled(f))
        wanted = wanted_tiles(self.work)
        floats = sum(work_floats(self.size, self.squares, c, f))
        self.waves = math.ceil(floats / min(max(WAVE, 2 * positions * c * f), WORK))
        self.wave = math.ceil(self.squares / self.waves)
        vectors, panels = vector_count(c), panel_count(f)
        self.band = min(VECTORS, max(1, vectors * panels // min(wanted, PAIRS)))
        self.shares = min(wanted, math.ceil(vectors / self.band) * panels)
        self.parts = min(math.ceil(PAIRS / self.shares), max(1, wanted // self.shares))
        self.tiles = self.shares * self.parts
        self.floats = sum(work_floats(self.size, self.wave, c, f))
        self.floats += self.tiles * positions * PAIR_BYTES // 4

    def rows(self, x, dy, dw, work, padding):
        """Two rows for each wave, and one for the sum of parts."""
        c, f = x.shape[3], dy.shape[3]
        work, *partial = work
        out = partial[0] if partial else dw
        head = [x, dy, work, *x.shape, *dy.shape[1:], *padding, self.m, self.size]
        rows = []
        for start in range(0, self.squares, self.wave):
            stop = min(self.squares, start + self.wave)
            size = min(BLOCK, math.ceil((stop - start) / TRANSFORM_TILES))
            tiles = math.ceil((stop - start) / size)
            share = (stop - start) / self.squares
            first = [*head, start, stop, size, self.band]
            rows.append(Row(winograd_transforms.name, first, tiles, share * self.transforms))
            second = [work, out, c, f, self.size, self.r, stop - start, self.band, self.shares,
                      int(start > 0), self.parts]  # fmt: skip
            rows.append(Row(winograd_weights.name, second, self.tiles, share * self.work))
        if partial:
            operands = [out, dw, self.parts, dw.size]
            rows.append(Row(sum_groups.name, operands, math.ceil(dw.size / CHUNK), 0.1 * dw.size))
        return rows
