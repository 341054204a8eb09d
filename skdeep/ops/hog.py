"""Histograms of oriented gradients."""

from ..graph.op import Op, Row, register
from ..kernels import hog as _kernels  # noqa: F401, the kernels are made there

__all__ = []


@register
class HogCells(Op):
    """Histograms (n, down, across, bins) of pictures (n, h, w, c).

    Attributes: ``cell``, pixels of its side; ``bins``; ``signed``, whether a direction and its
    opposite are two. Pixels beyond the last whole cell are left out.
    """

    def infer(self):
        n, h, w, _ = self.inputs[0].shape
        return [(n, h // self.cell, w // self.cell, self.bins)]

    def rows(self):
        (x,), y = self.inputs, self.output
        operands = [y, x, *x.shape[1:], *y.shape[1:], self.cell, int(self.signed)]
        return [Row("hog_cells", operands, x.shape[0], 30.0 * x.size)]


@register
class HogBlocks(Op):
    """Normalised blocks (n, rows, columns, size * size * bins) of histograms of cells.

    Attributes: ``size``, cells of a block's side, and ``eps``.
    """

    def infer(self):
        n, down, across, bins = self.inputs[0].shape
        return [(n, down - self.size + 1, across - self.size + 1, self.size**2 * bins)]

    def rows(self):
        (x,), y = self.inputs, self.output
        operands = [y, x, *x.shape[1:], self.size, *y.shape[1:3], self.eps]
        return [Row("hog_blocks", operands, x.shape[0], 3.0 * y.size)]
