"""What a training step does beside forward and backward: penalties, clipping, updates, totals."""

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels import rows as _rows  # noqa: F401  (registers its kernels)
from ..kernels.optimizers import CHUNK

__all__ = []


def _tiles(n):
    return -(-n // CHUNK)


@register
class NormalizeWeights(Op):
    """w / sum(w) over a batch; zeros when all weights are zero."""

    differentiable = False

    def rows(self):
        (w,) = self.inputs
        return [Row("normalize_weights", [w, self.output, w.size])]


@register
class Penalty(Op):
    """Adds the gradient of l1 * sum(abs(w)) + l2 * sum(w**2) to ``g``; partial sums of the value.

    A third input, of one element, takes the place of ``l2``.
    """

    differentiable = False
    writes = (1,)

    def infer(self):
        return [(_tiles(self.inputs[0].size),)]

    def rows(self):
        w, g, *strength = self.inputs
        l2 = strength[0] if strength else float(self.l2)
        operands = [w, g, self.output, float(self.l1), l2, w.size]
        return [Row("penalty", operands, self.output.size, 0.3 * w.size)]


@register
class ClipScale(Op):
    """min(1, limit / norm of the whole gradient). Inputs: the gradient, then what fills it."""

    differentiable = False

    def infer(self):
        return [(1,), (_tiles(self.inputs[0].size),)]

    def rows(self):
        g = self.inputs[0]
        scale, partial = self.outputs
        return [
            Row("squared_norm", [g, partial, g.size], partial.size, 0.1 * g.size),
            Row("clip_scale", [partial, partial.size, float(self.limit), scale]),
        ]


@register
class LossTotal(Op):
    """Sum over all elements of all inputs (each small): the number a training step reports."""

    differentiable = False

    def infer(self):
        return [(1,)]

    def rows(self):
        parts = [x for t in self.inputs for x in (t, t.size)]
        return [Row("loss_total", [self.output, len(self.inputs), *parts])]


class _Update(Op):
    """An optimizer step over the flat parameters, in place.

    Inputs: parameters, gradient, the optimizer's slots, registers, scale; then everything the
    step must wait for. Output: an empty token that stands for "done".
    """

    differentiable = False
    slots = 1

    def infer(self):
        return [(1,)]

    def rows(self):
        w, g, *rest = self.inputs
        slots = rest[: self.slots]
        registers, scale = rest[self.slots : self.slots + 2]
        operands = [w, g, *slots, registers, 1.0 if scale is None else scale, w.size]
        return [Row(self.kernel, operands, _tiles(w.size), 0.5 * w.size)]


@register
class AdamUpdate(_Update):
    """Adam and AdamW; slots: first and second moment."""

    kernel, slots, writes = "adam_step", 2, (0, 2, 3)


@register
class MomentumUpdate(_Update):
    """SGD with momentum; slot: velocity."""

    kernel, slots, writes = "momentum_step", 1, (0, 2)


@register
class RMSpropUpdate(_Update):
    """RMSprop; slots: mean square, velocity."""

    kernel, slots, writes = "rmsprop_step", 2, (0, 2, 3)


@register
class LoadRows(Op):
    """Rows start .. start + n of a data set, as ``registers`` say; zeros beyond its end.

    registers[0] is the first row, registers[1] the number of rows there are.
    """

    differentiable = False

    def infer(self):
        data = self.inputs[0]
        return [Tensor((self.n, *data.shape[1:]), data.dtype)]

    def rows(self):
        data, registers = self.inputs
        y = self.output
        return [Row("load_rows", [data, registers, y, self.n, y.size // max(self.n, 1)])]


@register
class StoreRows(Op):
    """Writes a batch to rows start .. of an output, leaving out what lies beyond its end."""

    differentiable = False
    writes = (1,)

    def infer(self):
        return [(1,)]

    def rows(self):
        x, target, registers = self.inputs
        n = x.shape[0]
        return [Row("store_rows", [target, registers, x, n, x.size // n])]
