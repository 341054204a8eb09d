"""Inference in bfloat16: what computes on it, and what takes the place of each operation.

A tensor of bfloat16 has an even number of elements along its last axis, so that kernels read pairs
of them and a part of the batch begins at a whole word. Weights of products are packed as pairs,
other weights and all biases stay float32. :func:`skdeep.graph.precision.to_bfloat16` walks a graph
and looks the operations up in ``FORMS``.
"""

import math

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.bfloat16 import add_bf16, narrow_rows, widen_elements
from ..kernels.bfloat16_conv import conv_rows_bf16, dense_rows_bf16, pack_pairs
from ..kernels.bfloat16_pool import average_pool_bf16, depthwise_rows_bf16, max_pool_bf16
from ..kernels.bfloat16_tiles import STEP, conv_rows_tiles, dense_rows_tiles
from ..kernels.gemm import TABLE_ROWS
from ..kernels.isa import current
from ..kernels.panels import panel_count, panel_floats
from ..kernels.winograd import winograd_rows_bf16
from .conv import convolution
from .dense import Numbers, product
from .geometry import Geometry, wanted_tiles
from .pool import AveragePool2D, MaxPool2D
from .winograd import SQUARES, Convolution, choose

__all__ = []

ELEMENTS = 32768  # of a tile of element-wise work, about
RATE = 25.0  # rough floating-point operations per ns of a depthwise convolution
# Against float32; that of tiles from experiments, see `skdeep.kernels.bfloat16_tiles`.
SPEEDS = {"direct": 2 if current().bfloat16 else 1, "tiles": 6}
NUMBERS = {
    "direct": Numbers(dense_rows_bf16.name, conv_rows_bf16.name, 2, 2),
    "tiles": Numbers(dense_rows_tiles.name, conv_rows_tiles.name, 2, 2, TABLE_ROWS,
                     SPEEDS["tiles"] / 2),
}  # fmt: skip
FORMS = {}


def narrowed(*shape):
    """An output of bfloat16."""
    return Tensor(shape, "bfloat16")


@register
class Narrow(Op):
    """float32 rounded to bfloat16; rows of an odd number of elements get a zero more."""

    differentiable = False

    def infer(self):
        *outer, c = self.inputs[0].shape
        return [narrowed(*outer, c + c % 2)]

    def rows(self):
        (x,) = self.inputs
        c, width = x.shape[-1], self.output.shape[-1]
        if c == width:
            c = width = math.gcd(x.size, ELEMENTS)
        count = x.size // c
        block = max(1, ELEMENTS // width)
        operands = [x, self.output, count, c, width, block]
        return [Row(narrow_rows.name, operands, math.ceil(count / block), 0.1 * x.size)]


@register
class Widen(Op):
    """bfloat16 as float32."""

    differentiable = False

    def infer(self):
        return [self.inputs[0].shape]

    def rows(self):
        (x,) = self.inputs
        operands = [x, self.output, x.size, ELEMENTS]
        return [Row(widen_elements.name, operands, math.ceil(x.size / ELEMENTS), 0.1 * x.size)]


class Casts:
    """Conversions in one graph: each tensor is converted once, and without a detour."""

    def __init__(self):
        self.made = {}

    def narrow(self, t):
        """A tensor as bfloat16."""
        if t is None or t.dtype == "bfloat16":
            return t
        return t.op.inputs[0] if type(t.op) is Widen else self._convert(Narrow, t)

    def widen(self, t):
        """A tensor as float32."""
        if t is None or t.dtype != "bfloat16":
            return t
        return self._convert(Widen, t)

    def _convert(self, kind, t):
        if t not in self.made:
            self.made[t] = kind(t).output
        return self.made[t]


# ---- products ------------------------------------------------------------------------------------


@register
class PackPairs(Op):
    """Weights (..., c / groups, f) rounded to bfloat16, as panels of pairs; attribute ``groups``.

    An odd number of channels gets one of zeros more.
    """

    differentiable = False

    def infer(self):
        *taps, cg, f = self.inputs[0].shape
        rows = math.prod(taps) * math.ceil(cg / 2)
        return [(self.groups * panel_floats(rows, f // self.groups),)]

    def rows(self):
        (w,) = self.inputs
        *taps, cg, f = w.shape
        fg = f // self.groups
        operands = [w, self.output, math.prod(taps), cg, fg, self.groups]
        return [Row(pack_pairs.name, operands, self.groups * panel_count(fg), 0.1 * w.size)]


class _Product(Op):
    """Inputs: x, panels, bias or None, residual of the output's type or None."""

    differentiable = False

    def _infer(self, *shape):
        return [Tensor(shape, "float32" if self.wide else "bfloat16")]

    @property
    def numbers(self):
        """How the kernels are to read and write."""
        return NUMBERS[self.algorithm]._replace(bytes=4 if self.wide else 2)

    def may_be_wide(self):
        """Whether the output may be float32."""
        return self.algorithm in NUMBERS


@register
class DenseBfloat16(_Product):
    """Dense of bfloat16, see :class:`~skdeep.ops.dense.Dense`; float32 output if ``wide``.

    ``algorithm`` is "direct" or "tiles".
    """

    def infer(self):
        return self._infer(*self.inputs[0].shape[:-1], self.filters)

    def rows(self):
        x, panels, bias, residual = self.inputs
        return [product(x, panels, bias, self.output, residual, int(self.wide), self.low, self.high,
                        after=self.after, numbers=self.numbers)]  # fmt: skip


@register
class Conv2DBfloat16(_Product, Geometry):
    """Conv2D of bfloat16, see :class:`~skdeep.ops.conv.Conv2D`; float32 output if ``wide``.

    ``kernel`` is the shape (kh, kw, c / groups, f) of the weights. ``algorithm`` is "direct",
    "tiles" or one of Winograd's, which take the panels of float32 and have bfloat16 output.
    """

    within = None

    def infer(self):
        outputs = self._infer(*self.output_shape(self.inputs[0], Tensor(self.kernel)))
        if self.algorithm in SQUARES:
            r, _, c, _ = self.kernel
            self.cut = Convolution(self.algorithm, c, outputs[0].shape, r)
            outputs.append((self.cut.floats,))
        return outputs

    def rows(self):
        x, panels, bias, residual = self.inputs
        if self.algorithm in SQUARES:
            return self.cut.rows(x, panels, bias, self.output, residual, None, self.outputs[1],
                                 self.low, self.high, self.steps[4:], self.within,
                                 winograd_rows_bf16.name)  # fmt: skip
        return convolution(x, panels, bias, self.output, residual, int(self.wide), self, False,
                           self.kernel[:2], self.within, self.numbers)  # fmt: skip

    def may_be_part(self):
        """Whether the output may become a part of a wider tensor."""
        return self.within is None and self.inputs[-1] is None


@register
class DepthwiseConv2DBfloat16(Op, Geometry):
    """DepthwiseConv2D of bfloat16. Inputs: x, float32 weights, bias or None."""

    differentiable = False

    def infer(self):
        return [narrowed(*self.output_shape(*self.inputs[:2]))]

    def rows(self):
        x, w, bias = self.inputs
        n, h, width, c = x.shape
        _, oh, ow, _ = self.output.shape
        work = 2 * self.output.size * math.prod(w.shape[:2]) / RATE
        rows = math.ceil(oh / max(1, min(oh, wanted_tiles(work) // n)))
        operands = [x, w, bias, self.output, float(self.low), float(self.high), n, h, width, c, oh,
                    ow, *w.shape[:2], *self.steps, rows]  # fmt: skip
        return [Row(depthwise_rows_bf16.name, operands, n * math.ceil(oh / rows), work)]


# ---- pooling, sums -------------------------------------------------------------------------------


class _Narrow:
    """A pooling operation whose output is bfloat16."""

    differentiable = False

    def infer(self):
        return [narrowed(*shape) for shape in super().infer()]


@register
class MaxPool2DBfloat16(_Narrow, MaxPool2D):
    """See :class:`~skdeep.ops.pool.MaxPool2D`."""

    def rows(self):
        (row,) = super().rows()
        return [row._replace(kernel=max_pool_bf16.name)]


@register
class AveragePool2DBfloat16(_Narrow, AveragePool2D):
    """See :class:`~skdeep.ops.pool.AveragePool2D`."""

    def rows(self):
        (row,) = super().rows()
        return [row._replace(kernel=average_pool_bf16.name)]


@register
class AddBfloat16(Op):
    """min(max(x + y, low), high) of one shape; ``y`` may be None."""

    differentiable = False

    def __init__(self, x, y=None, *, low=-math.inf, high=math.inf):
        super().__init__(x, y, low=low, high=high)

    def infer(self):
        return [narrowed(*self.inputs[0].shape)]

    def rows(self):
        x, y = self.inputs
        operands = [x, y, self.output, float(self.low), float(self.high), x.size, ELEMENTS]
        return [Row(add_bf16.name, operands, math.ceil(x.size / ELEMENTS), 0.1 * x.size)]


# ---- what takes the place of what ----------------------------------------------------------------


def form(name):
    """Decorator: a function ``(op, casts, *inputs)`` that gives an operation's form for bfloat16.

    ``inputs`` may be float32 or bfloat16. The function returns the output, or None where there is
    no such form: then the operation gets float32.
    """

    def keep(function):
        FORMS[name] = function
        return function

    return keep


def _is_even(t):
    return t.ndim > 0 and t.shape[-1] % 2 == 0


def _limits(op):
    return {"low": op.low, "high": op.high}


def _direct(run):
    """How products with ``run`` terms side by side are computed."""
    return "tiles" if current().tiles and run >= STEP else "direct"


def _product(kind, op, casts, x, w, panels, bias, residual, algorithm, **attributes):
    """The panels know the weights with batch norm folded into them; ``w`` are the original ones."""
    wide = w.shape[-1] % 2 == 1
    if residual is not None:
        residual = casts.widen(residual) if wide else casts.narrow(residual)
    if x.shape[-1] % 2:
        x = casts.widen(x)
    if algorithm in SQUARES:
        panels = panels.op.like(panels.op.inputs[0], algorithm=algorithm).output
    else:
        panels = PackPairs(panels.op.inputs[0], groups=attributes.get("groups", 1)).output
    made = kind(casts.narrow(x), panels, bias, residual, wide=wide, algorithm=algorithm,
                **attributes, **_limits(op))  # fmt: skip
    made.scope = op.scope
    return made.output


@form("Dense")
def dense(op, casts, x, w, panels, bias, residual):
    """Any."""
    return _product(DenseBfloat16, op, casts, x, w, panels, bias, residual, _direct(w.shape[0]),
                    filters=w.shape[1], after=op.after)  # fmt: skip


@form("Conv2D")
def conv2d(op, casts, x, w, panels, bias, residual):
    """Any, unless groups have an odd number of channels.

    Winograd's algorithm in float32 needs fewer products, and is better than pairs of bfloat16 by
    less than it is better than float32, and not at all than tiles.
    """
    if op.groups > 1 and w.shape[2] % 2:
        return None
    kh, kw, c, f = w.shape
    joined = op.groups == 1 and op.dilation[1] == 1  # taps side by side are one longer tap
    direct = _direct((kw if joined else 1) * (c + c % 2))
    algorithm = op.algorithms[0]
    if algorithm != "direct":
        if f % 2 or c % 2:
            return None
        if op.free and SPEEDS[direct] > 1:
            algorithm = choose(c, f, *op.output.shape[1:3], op.padding, r=kh, speed=SPEEDS[direct])
    return _product(Conv2DBfloat16, op, casts, x, w, panels, bias, residual,
                    direct if algorithm == "direct" else algorithm, kernel=w.shape,
                    **op.geometry)  # fmt: skip


@form("DepthwiseConv2D")
def depthwise(op, casts, x, w, bias):
    """An even number of channels."""
    if not _is_even(x):
        return None
    made = DepthwiseConv2DBfloat16(casts.narrow(x), w, bias, **op.geometry, **_limits(op))
    made.scope = op.scope
    return made.output


def _pool(kind):
    def of(op, _, x):
        if x.dtype != "bfloat16":
            return None
        made = kind(x, **op.attributes)
        made.scope = op.scope
        return made.output

    return of


form("MaxPool2D")(_pool(MaxPool2DBfloat16))
form("AveragePool2D")(_pool(AveragePool2DBfloat16))


@form("Add")
def add(op, _, x, y):
    """Two of one shape and type."""
    if x is None or y is None or x.shape != y.shape or {x.dtype, y.dtype} != {"bfloat16"}:
        return None
    return AddBfloat16(x, y).output


@form("Relu")
def relu(op, _, x):
    """As a clamp."""
    return AddBfloat16(x, low=0.0).output if x.dtype == "bfloat16" else None


@form("Clip")
def clip(op, _, x):
    """As a clamp."""
    return AddBfloat16(x, **_limits(op)).output if x.dtype == "bfloat16" else None


@form("Reshape")
def reshape(op, _, x):
    """Of whole pairs."""
    if x.dtype != "bfloat16" or not op.shape or op.shape[-1] % 2:
        return None
    return op.like(x).output


@form("Concatenate")
def concatenate(op, _, *inputs):
    """Of tensors that all are bfloat16."""
    if {t.dtype for t in inputs} != {"bfloat16"}:
        return None
    return op.like(*inputs).output


form("Copy")(lambda op, _, x: x)
