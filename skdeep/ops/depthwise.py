"""Depthwise convolution and its gradients; :func:`skdeep.ops.conv2d` builds them."""

import math
from importlib import import_module

from ..graph.op import Op, Row, register
from ..kernels.conv import CHUNK, sum_groups
from ..kernels.depthwise import depthwise_rows, depthwise_weights
from .dense import clamp_gradient
from .geometry import Geometry, image_parts, wanted_tiles

__all__ = []

RATE = 30.0  # rough floating-point operations per ns of one core
PARTIALS = 1024 * 1024  # elements of partial sums at most


def _row(x, w, bias, out, mask, op, transposed, low, high):
    n, h, width, c = x.shape
    _, oh, ow, _ = out.shape
    work = 2 * max(x.size, out.size) * math.prod(w.shape[:2]) / RATE
    if transposed:
        work /= math.prod(op.stride)
    height = math.ceil(oh / op.stride[0]) if transposed else oh
    rows = math.ceil(height / max(1, min(height, wanted_tiles(work) // n)))
    operands = [x, w, bias, out, mask, float(low), float(high), n, h, width, c, oh, ow,
                *w.shape[:2], *op.steps, int(transposed), rows]  # fmt: skip
    return Row(depthwise_rows.name, operands, n * math.ceil(height / rows), work)


@register
class DepthwiseConv2D(Op, Geometry):
    """y = min(max(convolution(x, w) + b, low), high), each channel by itself.

    Inputs: x (n, h, w, c), w (kh, kw, 1, c), b (c,) or None.
    """

    def __init__(self, x, w, bias=None, *, stride, padding, dilation, groups, low=-math.inf,
                 high=math.inf):  # fmt: skip
        super().__init__(x, w, bias, stride=stride, padding=padding, dilation=dilation,
                         groups=groups, low=low, high=high)  # fmt: skip

    def infer(self):
        return [self.output_shape(*self.inputs[:2])]

    def rows(self):
        x, w, bias = self.inputs
        return [_row(x, w, bias, self.output, None, self, False, self.low, self.high)]

    def gradient(self, dy):
        x, w, bias = self.inputs
        ops = import_module("skdeep.ops")
        dy = clamp_gradient(dy, self.output, self.low, self.high)
        return (
            DepthwiseGradX(dy, w, shape=x.shape, **self.geometry).output,
            DepthwiseGradW(x, dy, kernel=w.shape[:2], **self.geometry).outputs[0],
            None if bias is None else ops.sum(dy, axis=(0, 1, 2)),
        )


@register
class DepthwiseGradX(Op, Geometry):
    """Gradient with respect to the input, zero where ``mask`` is not positive.

    Inputs: dy, w, mask of the input's shape or None.
    """

    def __init__(self, dy, w, mask=None, *, shape, stride, padding, dilation, groups):
        super().__init__(dy, w, mask, shape=tuple(shape), stride=stride, padding=padding,
                         dilation=dilation, groups=groups)  # fmt: skip

    def infer(self):
        return [self.shape]

    def rows(self):
        dy, w, mask = self.inputs
        return [_row(dy, w, None, self.output, mask, self, True, -math.inf, math.inf)]


@register
class DepthwiseGradW(Op, Geometry):
    """Gradient with respect to the weights. Inputs: x, dy."""

    def infer(self):
        x, dy = self.inputs
        shape = (*self.kernel, 1, x.shape[3])
        self.work = 2 * dy.size * math.prod(self.kernel) / RATE
        self.images = image_parts(x.shape[0], self.work, math.prod(shape), PARTIALS)
        parts = math.ceil(x.shape[0] / self.images)
        return [shape] if parts == 1 else [shape, (parts, *shape)]

    def rows(self):
        x, dy = self.inputs
        dw, parts = self.output, math.ceil(x.shape[0] / self.images)
        operands = [x, dy, self.outputs[-1], *x.shape, *dy.shape[1:3], *self.kernel, *self.steps,
                    self.images]  # fmt: skip
        rows = [Row(depthwise_weights.name, operands, parts, self.work)]
        if parts > 1:
            operands = [self.outputs[1], dw, parts, dw.size]
            rows.append(Row(sum_groups.name, operands, math.ceil(dw.size / CHUNK), 0.1 * dw.size))
        return rows
