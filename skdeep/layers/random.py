"""Layers that draw random numbers while training."""

from .. import ops
from .._validation import SHARE
from .base import Layer, current_trace

__all__ = ["Dropout"]


class Dropout(Layer):
    """While training, zero each value with probability ``rate`` and scale the others up.

    Parameters
    ----------
    rate : float, default=0.5
        In [0, 1).

    References
    ----------
    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.

    Examples
    --------
    >>> from skdeep.layers import Dropout
    >>> Dropout(0.25)
    Dropout(rate=0.25)
    """

    _rules = {"rate": SHARE}

    def __init__(self, rate=0.5):
        self.rate = rate

    def forward(self, x):
        """Same shape as the input."""
        trace = current_trace()
        trace.streams += 1
        if not trace.training or self.rate == 0:
            return x
        return ops.dropout(x, float(self.rate), trace.registers, trace.streams)
