"""Layers that only rearrange."""

from .. import ops
from .._validation import COUNT, SHAPE
from .base import Layer

__all__ = ["ChannelShuffle", "Flatten", "Reshape"]


class ChannelShuffle(Layer):
    """Channels of several groups in turn, so that the next grouped layer sees all groups.

    Parameters
    ----------
    groups : int, default=2
        A divisor of the number of channels.

    References
    ----------
    Zhang et al., ShuffleNet: an extremely efficient convolutional neural network for mobile
    devices, 2018.

    Examples
    --------
    >>> from skdeep.layers import ChannelShuffle
    >>> ChannelShuffle(3)
    ChannelShuffle(groups=3)
    """

    _rules = {"groups": COUNT}

    def __init__(self, groups=2):
        self.groups = groups

    def forward(self, x):
        """Same shape as the input; channels are the last axis."""
        return ops.shuffle_channels(x, self.groups)


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
