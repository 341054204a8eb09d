"""A value in the graph: a shape, a type, and where it comes from."""

import math
from importlib import import_module


class Tensor:
    """A symbolic array.

    Arithmetic (``+ - * / ** -x``, comparisons are not included) builds operations of
    :mod:`skdeep.ops`, with NumPy's broadcasting.

    Parameters
    ----------
    shape : tuple of int
        Full shape; the first axis of activations is the batch.
    dtype : {"float32", "int32", "bfloat16"}
        Type of the elements.
    op : Op or None
        The operation that computes it; None for what is fed from outside.
    role : str
        For tensors without an operation, the memory they live in: "parameter" (trainable),
        "state" (kept, not trained), "data", "index", "registers", ...
    offset : int
        Position inside that memory, in words of four bytes.
    name : str or None
        For messages.
    """

    __slots__ = ("shape", "dtype", "op", "role", "offset", "name")

    def __init__(self, shape, dtype="float32", op=None, role=None, offset=0, name=None):
        self.shape = tuple(int(s) for s in shape)
        self.dtype, self.op, self.role, self.offset, self.name = dtype, op, role, offset, name

    @property
    def size(self):
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def words(self):
        """Memory it takes, in words of four bytes."""
        return (self.size + 1) // 2 if self.dtype == "bfloat16" else self.size

    @property
    def ndim(self):
        """Number of axes."""
        return len(self.shape)

    def __repr__(self):
        source = self.role if self.op is None else type(self.op).__name__
        return f"Tensor({self.shape}, {self.dtype}, {self.name or source})"

    def __add__(self, other):
        return _ops().add(self, other)

    def __radd__(self, other):
        return _ops().add(other, self)

    def __sub__(self, other):
        return _ops().subtract(self, other)

    def __rsub__(self, other):
        return _ops().subtract(other, self)

    def __mul__(self, other):
        return _ops().multiply(self, other)

    def __rmul__(self, other):
        return _ops().multiply(other, self)

    def __truediv__(self, other):
        return _ops().divide(self, other)

    def __rtruediv__(self, other):
        return _ops().divide(other, self)

    def __neg__(self):
        return _ops().negative(self)

    def __pow__(self, exponent):
        return _ops().power(self, exponent)


def _ops():
    return import_module("skdeep.ops")
