"""Two-dimensional convolution, channels last, and its gradients."""

import math
from importlib import import_module
from numbers import Integral

from ..graph.op import Op, Row, register
from ..kernels.conv import (
    CHUNK,
    conv_pack_transposed,
    conv_weights,
    full_range,
    sum_groups,
    tap_axis,
)
from ..kernels.dense import RUN
from ..kernels.panels import pack_panels, panel_count, panel_floats
from .dense import FLOAT32, RATE, clamp_gradient, product
from .depthwise import DepthwiseConv2D
from .geometry import Geometry, image_parts, output_size, padding_pairs, pair, wanted_tiles
from .winograd import (
    ALGORITHMS,
    SCATTER,
    SIZES,
    Convolution,
    PackWinograd,
    Scatter,
    WeightGradient,
    choose_all,
)

__all__ = ["conv2d"]

CACHE = 256 * 1024  # bytes of images that one tile goes through at a time
PIXELS = 96  # of a tile at least, where there are as many
FILLING = 8  # images that fill the register tiles of a corner
PARTIALS = 4 * 1024 * 1024  # elements of partial sums at most
DIRECT = ("direct",) * 3  # algorithms of a convolution and of its gradients


@register
class PackConv(Op):
    """Weights (kh, kw, cg, f) as panels for :class:`Conv2D`; attribute ``groups``."""

    differentiable = False

    def infer(self):
        kh, kw, cg, f = self.inputs[0].shape
        return [(self.groups * panel_floats(kh * kw * cg, f // self.groups),)]

    def rows(self):
        (w,) = self.inputs
        kh, kw, cg, f = w.shape
        fg = f // self.groups
        operands = [w, self.output, kh * kw * cg, fg, self.groups]
        return [Row(pack_panels.name, operands, self.groups * panel_count(fg), 0.1 * w.size)]


@register
class PackConvT(Op, Geometry):
    """Weights as panels for :class:`Conv2DGradX`."""

    differentiable = False

    def infer(self):
        kh, kw, cg, f = self.inputs[0].shape
        return [(panel_floats(kh * kw * f, cg),)]

    def rows(self):
        (w,) = self.inputs
        cg = w.shape[2]
        operands = [w, self.output, *w.shape, self.groups, *self.steps]
        tiles = self.groups * panel_count(cg)
        return [Row(conv_pack_transposed.name, operands, tiles, 0.2 * w.size)]


def _cut(n, height, width, panels, image_bytes, work, padded):
    """Images, rows and panels that one tile of a convolution takes.

    A tile has at least PIXELS where it can, so that a panel is used often while it is in the cache.
    At the borders of padded images a register tile is filled with pixels of several images.
    """
    wanted = wanted_tiles(work)
    if wanted == 1:
        return n, height, panels
    images = max(n // wanted, min(n, FILLING) if padded else 1, PIXELS // (height * width))
    images = max(1, min(n, images, CACHE // image_bytes))
    tiles = math.ceil(n / images)
    if images > 1 or tiles >= wanted:
        return images, height, max(1, panels * tiles // wanted)
    rows = min(height, max(math.ceil(PIXELS / width), height * tiles // wanted))
    bands = math.ceil(height / rows)
    rows = math.ceil(height / bands)
    return 1, rows, max(1, panels * bands * tiles // wanted)


def _slices(taps_h, taps_w, channels, limit):
    """Rows and columns of taps taken at a time, ``limit`` terms at most where there are more."""
    rows = max(1, min(taps_h, limit // max(1, channels * taps_w)))
    if rows * taps_w * channels <= limit:
        return rows, max(1, taps_w)
    parts = math.ceil(taps_w / max(1, limit // channels))
    return 1, math.ceil(taps_w / parts)


def convolution(x, panels, bias, out, add, mask, op, transposed, kernel, within=None,
                numbers=FLOAT32):  # fmt: skip
    """The rows of a forward convolution or of an input gradient: one for each phase."""
    if kernel == op.stride == (1, 1) and op.groups == 1 and not any(map(any, op.padding)):
        low, high = (-math.inf, math.inf) if transposed else (op.low, op.high)
        return [product(x, panels, bias, out, add, mask, low, high, within, numbers=numbers)]
    n, h, w, c = x.shape
    c //= numbers.per_word
    _, oh, ow, f = out.shape
    sh, sw, dh, dw, top, left = op.steps
    phases = op.stride if transposed else (1, 1)
    low, high = (-math.inf, math.inf) if transposed else (op.low, op.high)
    fg = f // op.groups
    count = panel_count(fg)
    padded = transposed or any(map(any, op.padding))
    pixel = numbers.bytes * (within or f)
    rows, before = [], 0
    for rh in range(phases[0]):
        taps_h, origin_h, move_h, step_h, _, _ = tap_axis(rh, kernel[0], sh, dh, top, transposed)
        height = math.ceil((oh - rh) / phases[0])
        for rw in range(phases[1]):
            taps_w, origin_w, move_w, step_w, _, _ = tap_axis(
                rw, kernel[1], sw, dw, left, transposed
            )
            width = math.ceil((ow - rw) / phases[1])
            taps = taps_h * taps_w
            if height > 0 and width > 0:
                work = 2 * n * height * width * max(1, taps) * c * fg / RATE / numbers.speed
                images, band, some = _cut(n, height, width, count, 4 * h * w * c, work, padded)
                parts = [math.ceil(a / b) for a, b in ((height, band), (n, images), (count, some))]
                # Sums of a part of the terms are kept in the output: it must be float32 for that.
                limit = RUN if numbers.bytes == 4 else 1 << 62
                slices = _slices(taps_h, taps_w, c // op.groups, limit)
                tiles = math.prod(parts) * op.groups
                operands = [
                    x, panels, bias, out, add, mask, float(low), float(high), n, h, w, c,
                    op.groups, fg, pixel * (rh * ow + rw), pixel * oh * ow,
                    pixel * ow * phases[0], pixel * phases[1],
                    height, taps_h, origin_h, move_h, step_h,
                    width, taps_w, origin_w, move_w, step_w,
                    math.prod(kernel), before, images, band, some,
                    *full_range(height, move_h, origin_h, step_h, taps_h, h),
                    *full_range(width, move_w, origin_w, step_w, taps_w, w),
                    *slices, *parts,
                    max(1, math.ceil(taps_h / slices[0])), max(1, math.ceil(taps_w / slices[1])),
                ]  # fmt: skip
                rows.append(Row(numbers.conv, operands, tiles, work))
            before += taps
    return rows


@register
class Conv2D(Op, Geometry):
    """y = min(max(convolution(x, w) + b + residual, low), high).

    Inputs: x (n, h, w, c), w (kh, kw, c / groups, f), the panels of w, b (f,) or None, residual of
    the output's shape or None. The kernels read the panels; ``w`` is there for its gradient. With
    ``within`` the filters are a part of that many channels of a wider tensor; then there is no
    residual, and nobody but :class:`~skdeep.ops.shape.Concatenate` can read the output. With
    ``free`` the algorithms were chosen here, and may be chosen anew for numbers of another kind.
    """

    def __init__(self, x, w, panels, bias=None, residual=None, *, stride, padding, dilation, groups,
                 low=-math.inf, high=math.inf, algorithms=DIRECT, free=True,
                 within=None):  # fmt: skip
        super().__init__(x, w, panels, bias, residual, stride=stride, padding=padding,
                         dilation=dilation, groups=groups, low=low, high=high,
                         algorithms=tuple(algorithms), free=free, within=within)  # fmt: skip

    def infer(self):
        x, w = self.inputs[:2]
        shape = self.output_shape(x, w)
        if self.algorithms[0] == "direct":
            return [shape]
        self.cut = Convolution(self.algorithms[0], x.shape[3], shape, w.shape[0])
        return [shape, (self.cut.floats,)]

    def rows(self):
        x, w, panels, bias, residual = self.inputs
        if self.algorithms[0] != "direct":
            return self.cut.rows(x, panels, bias, self.output, residual, None, self.outputs[1],
                                 self.low, self.high, self.steps[4:], self.within)  # fmt: skip
        kernel = w.shape[:2]
        return convolution(x, panels, bias, self.output, residual, None, self, False, kernel,
                            self.within)  # fmt: skip

    def may_be_part(self):
        """Whether the output may become a part of a wider tensor."""
        return self.within is None and self.inputs[-1] is None

    def gradient(self, dy, *_):
        x, w, _, bias, residual = self.inputs
        ops = import_module("skdeep.ops")
        dy = clamp_gradient(dy, self.output, self.low, self.high)
        _, for_x, for_w = self.algorithms
        if for_x == "direct":
            panels = PackConvT(w, **self.geometry).output
        else:
            panels = PackWinograd(w, algorithm=for_x, transposed=True).output
        dx = Conv2DGradX(dy, w, panels, shape=x.shape, algorithm=for_x, **self.geometry).output
        dw = Conv2DGradW(x, dy, kernel=w.shape[:2], algorithm=for_w, **self.geometry).output
        return (
            dx,
            dw,
            None,
            None if bias is None else ops.sum(dy, axis=(0, 1, 2)),
            None if residual is None else dy,
        )


@register
class Conv2DGradX(Op, Geometry):
    """Gradient of a convolution with respect to its input, zero where ``mask`` is not positive.

    Inputs: dy, w, the panels of :class:`PackConvT`, mask of the input's shape or None.
    """

    def __init__(self, dy, w, panels, mask=None, *, shape, stride, padding, dilation, groups,
                 algorithm="direct"):  # fmt: skip
        super().__init__(dy, w, panels, mask, shape=tuple(shape), stride=stride, padding=padding,
                         dilation=dilation, groups=groups, algorithm=algorithm)  # fmt: skip

    def infer(self):
        if self.algorithm == "direct":
            return [self.shape]
        dy, w = self.inputs[:2]
        if self.algorithm == SCATTER:
            self.cut = Scatter(dy.shape, self.shape[3], w.shape[0])
        else:
            self.cut = Convolution(self.algorithm, dy.shape[3], self.shape, w.shape[0])
        return [self.shape, (self.cut.floats,)]

    def rows(self):
        dy, w, panels, mask = self.inputs
        if self.algorithm == SCATTER:
            return self.cut.rows(dy, panels, self.output, mask, self.outputs[1], self.steps[4:])
        if self.algorithm != "direct":
            padding = [w.shape[0] - 1 - pad for pad in self.steps[4:]]
            return self.cut.rows(dy, panels, None, self.output, None, mask, self.outputs[1],
                                 -math.inf, math.inf, padding)  # fmt: skip
        kernel = w.shape[:2]
        return convolution(dy, panels, None, self.output, None, mask, self, True, kernel)


@register
class Conv2DGradW(Op, Geometry):
    """Gradient of a convolution with respect to its weights. Inputs: x, dy."""

    def __init__(self, x, dy, *, kernel, stride, padding, dilation, groups, algorithm="direct"):
        super().__init__(x, dy, kernel=tuple(kernel), stride=stride, padding=padding,
                         dilation=dilation, groups=groups, algorithm=algorithm)  # fmt: skip

    def infer(self):
        x, dy = self.inputs
        shape = (*self.kernel, x.shape[3] // self.groups, dy.shape[3])
        if self.algorithm != "direct":
            self.cut = WeightGradient(self.algorithm, x.shape[3], dy.shape, self.kernel[0])
            parts = self.cut.parts
            return [shape, (self.cut.floats,), *[(parts, *shape)] * (parts > 1)]
        self.cut = self._cut()
        parts = math.ceil(x.shape[0] / self.cut[0])
        return [shape] if parts == 1 else [shape, (parts, *shape)]

    def _cut(self):
        """Images, channels and panels of a tile, images at a time, and the work in ns."""
        x, dy = self.inputs
        n, c, f = x.shape[0], x.shape[3] // self.groups, dy.shape[3] // self.groups
        size = math.prod(self.kernel) * c * dy.shape[3]
        work = 2 * math.prod(dy.shape[:3]) * size / RATE
        panels = panel_count(f)
        image_bytes = 4 * (math.prod(x.shape[1:]) + math.prod(dy.shape[1:]))
        images = image_parts(n, work, size, PARTIALS)
        wanted = wanted_tiles(work) // math.ceil(n / images) // self.groups
        some = max(1, panels // max(wanted, 1))
        bands = max(1, min(c // 8, wanted // math.ceil(panels / some)))
        channels = math.ceil(math.ceil(c / bands) / 8) * 8
        return images, channels, some, max(1, CACHE // image_bytes), work

    def rows(self):
        x, dy = self.inputs
        if self.algorithm != "direct":
            return self.cut.rows(x, dy, self.output, self.outputs[1:], self.steps[4:])
        n, h, w, c = x.shape
        _, oh, ow, f = dy.shape
        images, channels, some, at_once, work = self.cut
        parts = math.ceil(n / images)
        panels = panel_count(f // self.groups)
        tiles = parts * self.groups
        tiles *= math.ceil(c // self.groups / channels) * math.ceil(panels / some)
        dw = self.output
        operands = [x, dy, self.outputs[-1], n, h, w, c, oh, ow, f, self.groups, *self.kernel,
                    *self.steps, images, channels, some, at_once]  # fmt: skip
        rows = [Row(conv_weights.name, operands, tiles, work)]
        if parts > 1:
            operands = [self.outputs[1], dw, parts, dw.size]
            rows.append(Row(sum_groups.name, operands, math.ceil(dw.size / CHUNK), 0.1 * dw.size))
        return rows


def _algorithms(algorithm, x, w, geometry):
    """Algorithms of a convolution, its input gradient and its weight gradient."""
    if algorithm not in ALGORITHMS:
        raise ValueError(f"conv2d needs algorithm as one of {ALGORITHMS}, got {algorithm!r}.")
    r = w.shape[0]
    plain = (w.shape[1], *geometry["stride"], *geometry["dilation"], geometry["groups"])
    if r in SIZES and plain == (r, 1, 1, 1, 1, 1):
        if algorithm in ("direct", *SIZES[r]):
            return (algorithm,) * 3
        if algorithm == "auto":
            padding = geometry["padding"]
            sizes = (output_size(*a) for a in zip(x.shape[1:3], (r, r), (1, 1), padding, (1, 1)))
            return choose_all(x.shape, (x.shape[0], *sizes, w.shape[3]), padding, r)
    if algorithm not in ("auto", "direct"):
        raise ValueError(
            f"conv2d: {algorithm!r} is for 3x3 kernels{' and 5x5 ones' * (algorithm in SIZES[5])} "
            f"with stride, dilation and groups of 1, got {w.shape[:2]} with {geometry}; leave "
            "algorithm='auto'."
        )
    return DIRECT


def conv2d(x, w, b=None, *, stride=1, padding=0, dilation=1, groups=1, algorithm="auto"):
    """Two-dimensional convolution (cross-correlation, as everywhere in deep learning).

    Parameters
    ----------
    x : Tensor of shape (n, h, w, c)
        Images, channels last.
    w : Tensor of shape (kh, kw, c / groups, f)
        Weights. With ``groups == c == f`` each channel has a kernel of its own (depthwise).
    b : Tensor of shape (f,) or None
        Bias.
    stride : int or (int, int)
        Step of the window, vertically and horizontally.
    padding : int, (int, int) or ((top, bottom), (left, right))
        Zeros around the images.
    dilation : int or (int, int)
        Distance of the window's taps.
    groups : int
        Channels and filters are cut into this many groups that do not see one another.
    algorithm : {"auto", "direct", "winograd2", "winograd4"}
        For 3x3 kernels "winograd4" needs 4 times fewer products than "direct", with about twice its
        rounding error and 4 times the memory for packed weights; "winograd2" is in between. For 5x5
        kernels "winograd2" needs 2.8 times fewer. Neither knows stride, dilation or groups. "auto"
        chooses by the shapes of an image and of the weights; for the gradients also by the number
        of images.

    Returns
    -------
    Tensor of shape (n, oh, ow, f)

    Raises
    ------
    ValueError
        When shapes do not fit or the kernel is larger than the padded image.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep import ops
    >>> from skdeep.graph import Tensor
    >>> from skdeep.graph.program import evaluate
    >>> x, w = Tensor((1, 3, 3, 1)), Tensor((2, 2, 1, 1))
    >>> feeds = {x: np.arange(9.0).reshape(1, 3, 3, 1), w: np.ones((2, 2, 1, 1))}
    >>> evaluate([ops.conv2d(x, w)], feeds)[0][0, :, :, 0]
    array([[ 8., 12.],
           [20., 24.]], dtype=float32)
    """
    stride, dilation = pair(stride, "stride"), pair(dilation, "dilation")
    padding = padding_pairs(padding)
    if x.ndim != 4:
        raise ValueError(
            f"conv2d needs (n, h, w, c) images, got {x.shape}; reshape the input first "
            "(a single grey channel has c = 1)."
        )
    c = x.shape[3]
    if not isinstance(groups, Integral) or groups < 1 or c % groups:
        raise ValueError(f"conv2d needs groups that divide the {c} channels, got {groups!r}.")
    if w.ndim != 4 or w.shape[2] != c // groups or w.shape[3] % groups:
        raise ValueError(
            f"conv2d needs weights (kh, kw, {c // groups}, f) with f a multiple of groups="
            f"{groups} for input {x.shape}, got {w.shape}."
        )
    if 0 in x.shape or 0 in w.shape:
        raise ValueError(f"conv2d needs at least one element, got {x.shape} and {w.shape}.")
    if b is not None and b.shape != (w.shape[3],):
        raise ValueError(f"conv2d needs a bias of shape ({w.shape[3]},), got {b.shape}.")
    for axis in zip(x.shape[1:3], w.shape[:2], stride, padding, dilation):
        if output_size(*axis) < 1:
            raise ValueError(
                f"conv2d: a kernel of {w.shape[:2]} (dilation {dilation}) is larger than the image "
                f"{x.shape[1:3]} with padding {padding}; pool less before it, pad, or shrink it."
            )
    geometry = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    algorithms = _algorithms(algorithm, x, w, geometry)
    if groups == c == w.shape[3]:
        return DepthwiseConv2D(x, w, b, **geometry).output
    if algorithms[0] == "direct":
        panels = PackConv(w, groups=groups).output
    else:
        panels = PackWinograd(w, algorithm=algorithms[0]).output
    free = algorithm == "auto"
    return Conv2D(x, w, panels, b, algorithms=algorithms, free=free, **geometry).output
