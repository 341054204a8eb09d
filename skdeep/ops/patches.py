"""Patches of pictures: taken out and normalised, encoded by a dictionary, pooled over regions."""

from ..graph.op import Op, Row, register
from ..kernels import patches as _kernels  # noqa: F401, the kernels are made there
from .geometry import output_size

__all__ = []


@register
class ExtractPatches(Op):
    """Normalised patches (n, rows, columns, kh * kw * c) of pictures (n, h, w, c).

    Attributes: ``size`` and ``stride``, pairs, and ``eps``, which is added to the variance.
    """

    def infer(self):
        n, h, w, c = self.inputs[0].shape
        (kh, kw), (down, across) = self.size, self.stride
        rows = output_size(h, kh, down, (0, 0), 1)
        columns = output_size(w, kw, across, (0, 0), 1)
        return [(n, rows, columns, kh * kw * c)]

    def rows(self):
        (x,), y = self.inputs, self.output
        n, rows, columns, _ = y.shape
        operands = [y, x, *x.shape[1:], rows, columns, *self.size, *self.stride, self.eps]
        return [Row("extract_patches", operands, n * rows, 0.3 * y.size + 20 * n * rows * columns)]


class _RegionPool(Op):
    """Sums, or with ``mean`` means, over a ``grid`` of (regions down, regions across).

    Region a of rows 0 .. r - 1 begins at row a * r // down.
    """

    def _operands(self):
        q = self.inputs[0]
        return q.shape[1:], [*self.grid, int(self.mean)]

    def _row(self, kernel, operands, cost):
        n = self.output.shape[0]
        return [Row(kernel, operands, n * self.grid[0] * self.grid[1], cost)]


@register
class TrianglePool(_RegionPool):
    """Triangle encodings (n, down, across, k) from (q, z), see :mod:`skdeep.kernels.patches`.

    The second output is where distances wait.
    """

    def infer(self):
        q, z = self.inputs
        n, k = q.shape[0], q.shape[3]
        if q.shape[:3] != z.shape[:3]:
            raise ValueError(f"TrianglePool needs products and patches of one map, got {q}, {z}")
        return [(n, *self.grid, k), (n * self.grid[0] * self.grid[1], k)]

    def rows(self):
        (q, z), (y, distances) = self.inputs, self.outputs
        shape, rest = self._operands()
        operands = [y, distances, q, z, *shape, z.shape[3], *rest]
        return self._row("triangle_pool", operands, 0.5 * q.size + 0.2 * z.size)


@register
class SoftPool(_RegionPool):
    """Encodings by soft threshold (n, down, across, 2, k) from the products q; has ``alpha``."""

    def infer(self):
        q = self.inputs[0]
        return [(q.shape[0], *self.grid, 2, q.shape[3])]

    def rows(self):
        shape, rest = self._operands()
        operands = [self.output, self.inputs[0], *shape, *rest, self.alpha]
        return self._row("soft_pool", operands, 0.4 * self.inputs[0].size)
