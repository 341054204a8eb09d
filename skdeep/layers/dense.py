"""Fully connected layer."""

from .. import ops
from .._validation import COUNT, FLAG, NOT_NEGATIVE
from .activation import activate
from .base import Layer
from .initializers import resolve_initializer

__all__ = ["Dense"]


class Dense(Layer):
    """y = activation(x W + b).

    Input of more than two axes is flattened per sample first, unless ``flatten=False``. Sparse
    rows are multiplied as they are, without becoming dense, when this is the first layer.

    Parameters
    ----------
    units : int, default=100
        Number of outputs.
    activation : str, callable or None, default=None
        See :class:`Activation`.
    use_bias : bool, default=True
    weight_init : str or Initializer, default="auto"
        "auto" is He for relu-like activations, LeCun for selu, Glorot otherwise.
    bias_init : str, float or Initializer, default="zeros"
    flatten : bool, default=True
        False applies the layer along the last axis, to every token of (n, tokens, c) alike.
    l1, l2 : float, default=0.0
        Penalty on the weights: ``l1 * sum(abs(W)) + l2 * sum(W ** 2)``.
    trainable : bool, default=True

    Examples
    --------
    >>> from skdeep.layers import Dense
    >>> Dense(64, activation="relu").units
    64
    """

    _rules = {
        "units": COUNT,
        "use_bias": FLAG,
        "flatten": FLAG,
        "l1": NOT_NEGATIVE,
        "l2": NOT_NEGATIVE,
        "trainable": FLAG,
    }
    accepts_sparse = True

    def __init__(
        self,
        units=100,
        activation=None,
        *,
        use_bias=True,
        weight_init="auto",
        bias_init="zeros",
        flatten=True,
        l1=0.0,
        l2=0.0,
        trainable=True,
    ):
        self.units = units
        self.activation = activation
        self.use_bias = use_bias
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.flatten = flatten
        self.l1 = l1
        self.l2 = l2
        self.trainable = trainable

    def forward(self, x):
        """(n, ...) to (n, units), or to (n, ..., units)."""
        if self.flatten and x.ndim != 2:
            x = ops.flatten(x)
        init = resolve_initializer(self.weight_init, self.activation)
        w = self.parameter("W", (x.shape[-1], self.units), init, l1=self.l1, l2=self.l2)
        b = self.parameter("b", (self.units,), self.bias_init) if self.use_bias else None
        product = ops.sparse_dense if isinstance(x, ops.SparseRows) else ops.dense
        return activate(product(x, w, b), self.activation)
