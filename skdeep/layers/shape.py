"""Layers that only rearrange."""

from .. import ops
from .._validation import SHAPE
from .base import Layer

__all__ = ["Flatten", "Reshape"]


class Flatten(Layer):
    """(n, ...) to (n, everything else).

    Examples
    --------
    >>> from skdeep.layers import Flatten
    >>> Flatten()
    Flatten()
    """

    def forward(self, x):
        """(n, ...) to (n, product)."""
        return ops.flatten(x)


class Reshape(Layer):
    """Give every sample another shape.

    Parameters
    ----------
    shape : tuple of int, default=(-1,)
        Shape of one sample, without the batch axis; one entry may be -1.

    Examples
    --------
    >>> from skdeep.layers import Reshape
    >>> Reshape((8, 8, 1)).shape
    (8, 8, 1)
    """

    _rules = {"shape": SHAPE}

    def __init__(self, shape=(-1,)):
        self.shape = shape

    def forward(self, x):
        """(n, ...) to ``(n, *shape)``."""
        return ops.reshape(x, (x.shape[0], *self.shape))
