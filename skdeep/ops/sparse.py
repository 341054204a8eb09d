"""Rows of a CSR matrix as a network's input: multiplied as they are, or made dense per batch."""

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.sparse import LANES, ROWS

__all__ = ["SparseRows", "densify", "sparse_dense"]


class SparseRows(Tensor):
    """A batch of rows of a CSR matrix; ``shape`` is (batch, columns).

    Parameters
    ----------
    data, indices, indptr : Tensor
        The three arrays of the whole matrix; the last two int32.
    rows : Tensor
        int32, which rows make the batch.
    n_columns : int
    """

    __slots__ = ("data", "indices", "indptr", "rows")

    def __init__(self, data, indices, indptr, rows, n_columns):
        super().__init__((rows.shape[0], n_columns), role="sparse")
        self.data, self.indices, self.indptr, self.rows = data, indices, indptr, rows

    @property
    def parts(self):
        """The four tensors, as the operations take them."""
        return self.data, self.indices, self.indptr, self.rows


def stored_per_row(parts):
    """Stored values of an average row, from (data, indices, indptr, ...)."""
    return parts[0].size / max(parts[2].size - 1, 1)


@register
class SparseDense(Op):
    """y = x w + b for CSR rows x. Inputs: data, indices, indptr, rows, w, b or None."""

    def infer(self):
        rows, w = self.inputs[3], self.inputs[4]
        return [(rows.shape[0], w.shape[1])]

    def gradient(self, dy):
        """Only w and b have gradients."""
        from .reduce import sum as reduce_sum

        *parts, w, b = self.inputs
        dw = SparseDenseGradW(*parts, dy, n_in=w.shape[0]).output
        return [None] * 4 + [dw, None if b is None else reduce_sum(dy, axis=0)]

    def rows(self):
        *parts, w, b = self.inputs
        n, m = self.output.shape
        work = 0.1 * n * m * (1 + stored_per_row(parts))
        return [Row("sparse_dense_forward", [*parts, w, b, self.output, n, m], -(-n // ROWS), work)]


@register
class SparseDenseGradW(Op):
    """dw of :class:`SparseDense`. Inputs: data, indices, indptr, rows, dy."""

    differentiable = False

    def infer(self):
        return [(self.n_in, self.inputs[4].shape[1])]

    def rows(self):
        dy = self.inputs[4]
        n, m = dy.shape
        operands = [*self.inputs, self.output, n, self.n_in, m]
        work = 0.1 * m * (self.n_in + 2 * n * stored_per_row(self.inputs))
        return [Row("sparse_dense_grad_w", operands, -(-m // LANES), work)]


@register
class Densify(Op):
    """CSR rows as a dense batch. Inputs: data, indices, indptr, rows."""

    differentiable = False

    def infer(self):
        return [(self.inputs[3].shape[0], self.n_columns)]

    def rows(self):
        n, m = self.output.shape
        return [Row("csr_to_dense", [*self.inputs, self.output, n, m])]


def sparse_dense(x, w, b=None):
    """x w + b for a batch ``x`` of CSR rows.

    Parameters
    ----------
    x : SparseRows of shape (n, n_in)
    w : Tensor of shape (n_in, n_out)
    b : Tensor of shape (n_out,) or None

    Returns
    -------
    Tensor of shape (n, n_out)
    """
    if x.shape[1] != w.shape[0]:
        raise ValueError(f"sparse_dense: x has {x.shape[1]} columns, w has {w.shape[0]} rows.")
    return SparseDense(*x.parts, w, b).output


def densify(x):
    """A batch of CSR rows as a dense tensor of shape (n, columns)."""
    return Densify(*x.parts, n_columns=x.shape[1]).output
