"""Operations on whole rows: of a data set into a batch and back, and parts of a batch."""

import math

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels import rows as _rows  # noqa: F401  (registers its kernels)
from ..kernels.shape import TILE

__all__ = ["gather_rows"]


def gather_rows(data, rows):
    """Rows of a data set, by number: ``data[rows]``.

    Parameters
    ----------
    data : Tensor of shape (n_samples, ...)
        float32 or int32.
    rows : int32 Tensor of shape (n,)
        Numbers below ``n_samples``. They are not checked when the program runs.

    Returns
    -------
    Tensor of shape (n, ...)
        Gradients do not pass through it.

    Raises
    ------
    ValueError
        When ``data`` has no axes, or ``rows`` is not of that kind.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> data, rows = graph.Tensor((3, 2)), graph.Tensor((2,), "int32")
    >>> feeds = {data: [[0.0, 1.0], [10.0, 11.0], [20.0, 21.0]], rows: [2, 0]}
    >>> graph.program.evaluate([ops.gather_rows(data, rows)], feeds)[0]
    array([[20., 21.],
           [ 0.,  1.]], dtype=float32)
    """
    return GatherRows(data, rows).output


@register
class GatherRows(Op):
    """See :func:`gather_rows`."""

    differentiable = False

    def infer(self):
        data, rows = self.inputs
        if rows.ndim != 1 or rows.dtype != "int32" or data.ndim < 1:
            raise ValueError(
                f"gather_rows needs data (n_samples, ...) and int32 row numbers (n,), got "
                f"{data.shape} and {rows.dtype} of shape {rows.shape}"
            )
        return [Tensor((*rows.shape, *data.shape[1:]), data.dtype)]

    def rows(self):
        data, rows = self.inputs
        n, size = rows.size, math.prod(data.shape[1:])
        block = max(1, TILE // max(size, 16))
        operands = [data, rows, self.output, n, size, block]
        return [Row("gather_rows", operands, -(-n // block), n * (6 + 0.3 * size))]


@register
class LoadRows(Op):
    """Rows start .. start + n of a data set, as ``registers`` say; zeros beyond its end.

    start is registers[0] + ``first``; registers[1] is the number of rows there are.
    """

    differentiable = False
    first = 0

    def infer(self):
        data = self.inputs[0]
        return [Tensor((self.n, *data.shape[1:]), data.dtype)]

    def rows(self):
        data, registers = self.inputs
        y = self.output
        operands = [data, registers, y, self.n, y.size // max(self.n, 1), self.first]
        return [Row("load_rows", operands)]


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


@register
class TakeRows(Op):
    """Rows ``start`` .. ``stop`` - 1 of a tensor, in its memory."""

    differentiable = False

    def infer(self):
        (x,) = self.inputs
        return [Tensor((self.stop - self.start, *x.shape[1:]), x.dtype)]

    def rows(self):
        return []

    def shares(self):
        (x,) = self.inputs
        return [(self.output, x, x.words * self.start // x.shape[0])]


@register
class JoinRows(Op):
    """The rows of all inputs, which are computed in its memory."""

    differentiable = False

    def infer(self):
        first = self.inputs[0]
        return [Tensor((sum(t.shape[0] for t in self.inputs), *first.shape[1:]), first.dtype)]

    def rows(self):
        return []

    def shares(self):
        shares, offset = [], 0
        for t in self.inputs:
            shares.append((t, self.output, offset))
            offset += t.words
        return shares
