"""A data set on a device, and its batches as symbolic tensors."""

import numpy as np
from scipy import sparse

from .. import ops
from ..graph.tensor import Tensor
from ..ops.rows import LoadRows


class Data:
    """Arrays that programs read rows of.

    Parameters
    ----------
    x : ndarray of float32, or CSR matrix of float32
        Samples along the first axis.
    input_shape : tuple of int
        Shape of one sample; rows of ``x`` are given this shape.
    y : ndarray of float32 or int32, or None
    weight : ndarray of float32 of shape (n,), or None
    """

    def __init__(self, x, input_shape, y=None, weight=None):
        self.n = x.shape[0]
        self.input_shape = tuple(input_shape)
        self.arrays = {}
        self.n_columns = None
        if sparse.issparse(x):
            if x.nnz >= 2**31:
                raise ValueError(f"sparse X has {x.nnz} stored values; at most 2**31 - 1 fit.")
            self.n_columns = x.shape[1]
            self.arrays["x_data"] = np.ascontiguousarray(x.data, np.float32)
            self.arrays["x_indices"] = np.ascontiguousarray(x.indices, np.int32)
            self.arrays["x_indptr"] = np.ascontiguousarray(x.indptr, np.int32)
            self.arrays["x_rows"] = np.arange(self.n, dtype=np.int32)
        else:
            self.arrays["x"] = x
        if y is not None:
            self.arrays["y"] = y
        if weight is not None:
            self.arrays["weight"] = weight

    def _leaf(self, role):
        array = self.arrays[role]
        kind = "float32" if array.dtype == np.float32 else "int32"
        return Tensor(array.shape, kind, role=role)

    def chosen(self, index):
        """The batch of the rows that the int32 tensor ``index`` lists: (x, y, weight)."""
        if self.n_columns is None:
            x = self._shaped(ops.gather_rows(self._leaf("x"), index))
        else:
            x = self._sparse(index)
        return x, *(
            ops.gather_rows(self._leaf(role), index) if role in self.arrays else None
            for role in ("y", "weight")
        )

    def consecutive(self, n, registers):
        """The batch of ``n`` rows from where ``registers`` say: (x, y)."""

        def block(role):
            return LoadRows(self._leaf(role), registers, n=n).output

        x = self._shaped(block("x")) if self.n_columns is None else self._sparse(block("x_rows"))
        return x, block("y") if "y" in self.arrays else None

    def _shaped(self, x):
        shape = (x.shape[0], *self.input_shape)
        return x if x.shape == shape else ops.reshape(x, shape)

    def _sparse(self, rows):
        parts = (self._leaf(role) for role in ("x_data", "x_indices", "x_indptr"))
        x = ops.SparseRows(*parts, rows, self.n_columns)
        return x if len(self.input_shape) == 1 else self._shaped(ops.densify(x))

    def upload(self, device):
        """Memories by role, on a device."""
        return {role: device.upload(array) for role, array in self.arrays.items()}
