"""What a training step does beside forward and backward: penalties, clipping, updates, totals."""

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
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
    step must wait for. ``penalties`` is a tuple of (offset, size, l2): ``l2 * sum(w ** 2)`` of a
    part of the parameters, whose gradient the step adds. Output: partial sums of its value.
    """

    differentiable = False
    slots = 1

    def __init__(self, *inputs, penalties=()):
        super().__init__(*inputs, penalties=penalties)

    def parts(self):
        """(offset, size, l2) of pieces that cover the parameters, in order."""
        found, done = [], 0
        for offset, size, l2 in sorted(self.penalties):
            found += [(done, offset - done, 0.0), (offset, size, l2)]
            done = offset + size
        found.append((done, self.inputs[0].size - done, 0.0))
        return [part for part in found if part[1]]

    def infer(self):
        return [(sum(_tiles(size) for _, size, _ in self.parts()),)]

    def rows(self):
        vectors = self.inputs[: 2 + self.slots]
        registers, scale = self.inputs[2 + self.slots : 4 + self.slots]
        scale, first, rows = 1.0 if scale is None else scale, 0, []
        for offset, size, l2 in self.parts():
            pieces = [Tensor((size,), role=t.role, offset=t.offset + offset) for t in vectors]
            operands = [*pieces, registers, scale, size, l2, self.output, first]
            rows.append(Row(self.kernel, operands, _tiles(size), 0.4 * size))
            first += _tiles(size)
        return rows


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
