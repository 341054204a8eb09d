"""Activations as layers and by name."""

from functools import partial

from .. import ops
from .._validation import NUMBER, optional
from .base import Layer

__all__ = ["Activation"]

ACTIVATIONS = {
    "identity": lambda x: x,
    "linear": lambda x: x,
    "relu": ops.relu,
    "relu6": partial(ops.clip, low=0.0, high=6.0),
    "leaky_relu": ops.leaky_relu,
    "elu": ops.elu,
    "selu": ops.selu,
    "gelu": ops.gelu,
    "hardsigmoid": ops.hardsigmoid,
    "hardswish": ops.hardswish,
    "quick_gelu": ops.quick_gelu,
    "silu": ops.silu,
    "mish": ops.mish,
    "tanh": ops.tanh,
    "sigmoid": ops.sigmoid,
    "logistic": ops.sigmoid,
    "softplus": ops.softplus,
    "softmax": ops.softmax,
}


def activate(x, activation):
    """Apply an activation given by name, as a callable on tensors, or None.

    Raises
    ------
    ValueError
        For an unknown name.
    """
    if activation is None:
        return x
    if callable(activation):
        return activation(x)
    if not isinstance(activation, str) or activation not in ACTIVATIONS:
        raise ValueError(
            f"Unknown activation {activation!r}; choose one of {sorted(ACTIVATIONS)} or pass a "
            "function written with skdeep.ops."
        )
    return ACTIVATIONS[activation](x)


class Activation(Layer):
    """An element-wise function (or softmax over the last axis) as a layer of its own.

    Parameters
    ----------
    function : str or callable, default="relu"
        One of relu, relu6 (limited to 6), leaky_relu, elu, selu, gelu, quick_gelu, silu, mish,
        hardswish, tanh, sigmoid, hardsigmoid, softplus, softmax, identity; or a function of a
        tensor written with :mod:`skdeep.ops`.
    alpha : float or None, default=None
        Slope of leaky_relu (0.01) or scale of elu (1.0).

    Examples
    --------
    >>> from skdeep.layers import Activation
    >>> Activation("leaky_relu", alpha=0.2)
    Activation(alpha=0.2, function='leaky_relu')
    """

    _rules = {"alpha": optional(NUMBER)}

    def __init__(self, function="relu", *, alpha=None):
        self.function = function
        self.alpha = alpha

    def forward(self, x):
        """Same shape as the input."""
        if self.alpha is None:
            return activate(x, self.function)
        if self.function not in ("leaky_relu", "elu"):
            raise ValueError(
                f"Activation({self.function!r}) takes no alpha; only leaky_relu and elu do."
            )
        return activate(
            x, partial(ACTIVATIONS[self.function], **{_ALPHA[self.function]: self.alpha})
        )


_ALPHA = {"leaky_relu": "slope", "elu": "alpha"}
