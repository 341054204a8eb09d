"""Rows of a CSR matrix as a network's input: multiplied as they are, or made dense per batch."""

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.sparse import LANES, ROWS

__all__ = ["SparseRows", "densify", "sparse_dense"]


class SparseRows(Tensor):
    """A batch of rows of a CSR matrix; ``shape`` is (batch, columns).

    Parameters
    ----------
    data : float32 Tensor of shape (n_stored,)
        Values of the whole matrix, as in ``scipy.sparse.csr_matrix``.
    indices : int32 Tensor of shape (n_stored,)
        Their columns.
    indptr : int32 Tensor of shape (n_samples + 1,)
        Where each row starts among them.
    rows : int32 Tensor of shape (n,)
        Which rows make the batch.
    n_columns : int

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> leaves = [graph.Tensor((3,))] + [graph.Tensor((k,), "int32") for k in (3, 3, 2)]
    >>> ops.SparseRows(*leaves, n_columns=4).shape
    (2, 4)
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
    """Matrix product x w + b for a batch ``x`` of CSR rows.

    Parameters
    ----------
    x : SparseRows of shape (n, n_in)
    w : float32 Tensor of shape (n_in, n_out)
    b : float32 Tensor of shape (n_out,) or None

    Returns
    -------
    float32 Tensor of shape (n, n_out)
        Only w and b have gradients.

    Raises
    ------
    ValueError
        When ``x`` has not as many columns as ``w`` has rows.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from skdeep import graph, ops
    >>> X = csr_matrix([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    >>> leaves = [graph.Tensor((3,))] + [graph.Tensor((k,), "int32") for k in (3, 3, 2)]
    >>> feeds = dict(zip(leaves, [X.data, X.indices, X.indptr, [1, 0]]))
    >>> w = graph.Tensor((3, 2))
    >>> feeds[w] = [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]
    >>> y = ops.sparse_dense(ops.SparseRows(*leaves, n_columns=3), w)
    >>> graph.program.evaluate([y], feeds)[0]
    array([[16., 20.],
           [ 6.,  8.]], dtype=float32)
    """
    if x.shape[1] != w.shape[0]:
        raise ValueError(f"sparse_dense: x has {x.shape[1]} columns, w has {w.shape[0]} rows.")
    return SparseDense(*x.parts, w, b).output


def densify(x):
    """A batch of CSR rows as a dense tensor.

    Parameters
    ----------
    x : SparseRows of shape (n, columns)

    Returns
    -------
    float32 Tensor of shape (n, columns)
        Gradients do not pass through it.

    Examples
    --------
    >>> from scipy.sparse import csr_matrix
    >>> from skdeep import graph, ops
    >>> X = csr_matrix([[0.0, 2.0, 0.0], [1.0, 0.0, 3.0]])
    >>> leaves = [graph.Tensor((3,))] + [graph.Tensor((k,), "int32") for k in (3, 3, 2)]
    >>> feeds = dict(zip(leaves, [X.data, X.indices, X.indptr, [1, 0]]))
    >>> x = ops.SparseRows(*leaves, n_columns=3)
    >>> graph.program.evaluate([ops.densify(x)], feeds)[0]
    array([[1., 0., 3.],
           [0., 2., 0.]], dtype=float32)
    """
    return Densify(*x.parts, n_columns=x.shape[1]).output
