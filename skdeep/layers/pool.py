"""Pooling over windows and over whole images."""

from .. import ops
from .._validation import COUNT_PAIR, FLAG, PADDING, optional
from .base import Layer, describe, shown
from .conv import pair, same_padding

__all__ = ["AveragePool2D", "GlobalAveragePool2D", "GlobalMaxPool2D", "MaxPool2D"]


def _need_images(layer, x):
    if x.ndim != 4:
        raise ValueError(
            f"{describe(layer)} needs (n, h, w, c) input, got {shown(x.shape)}; put it before "
            "Flatten and Dense, or give the estimator input_shape=(h, w, c)."
        )


class _Pool2D(Layer):
    _rules = {
        "pool_size": COUNT_PAIR,
        "stride": optional(COUNT_PAIR),
        "padding": PADDING,
        "ceil_mode": FLAG,
    }

    def __init__(self, pool_size=2, *, stride=None, padding=0, ceil_mode=False):
        self.pool_size = pool_size
        self.stride = stride
        self.padding = padding
        self.ceil_mode = ceil_mode

    def forward(self, x):
        """(n, h, w, c) to (n, h', w', c)."""
        _need_images(self, x)
        size = pair(self.pool_size)
        stride = size if self.stride is None else pair(self.stride)
        padding = 0 if self.padding == "valid" else self.padding
        if padding == "same":
            padding = tuple(same_padding(s, k, t, 1) for s, k, t in zip(x.shape[1:3], size, stride))
        return self._pool(x, size, stride=stride, padding=padding, ceil_mode=self.ceil_mode)


class MaxPool2D(_Pool2D):
    """Largest value of each window.

    Parameters
    ----------
    pool_size : int or pair, default=2
    stride : int, pair or None, default=None
        None: the pool size.
    padding : {"valid", "same"}, int, pair or pair of pairs, default=0
        Padding never wins.
    ceil_mode : bool, default=False
        Also keep a last window that hangs over the edge.

    Examples
    --------
    >>> from skdeep.layers import MaxPool2D
    >>> MaxPool2D(3, stride=2)
    MaxPool2D(pool_size=3, stride=2)
    """

    _pool = staticmethod(ops.max_pool2d)


class AveragePool2D(_Pool2D):
    """Mean of each window.

    Parameters
    ----------
    pool_size : int or pair, default=2
    stride : int, pair or None, default=None
        None: the pool size.
    padding : {"valid", "same"}, int, pair or pair of pairs, default=0
    ceil_mode : bool, default=False
        Also keep a last window that hangs over the edge.
    count_include_pad : bool, default=False
        True: padding counts as zeros; what hangs over the padding never counts.

    Examples
    --------
    >>> from skdeep.layers import AveragePool2D
    >>> AveragePool2D(2)
    AveragePool2D()
    """

    _rules = {**_Pool2D._rules, "count_include_pad": FLAG}

    def __init__(
        self, pool_size=2, *, stride=None, padding=0, ceil_mode=False, count_include_pad=False
    ):
        super().__init__(pool_size, stride=stride, padding=padding, ceil_mode=ceil_mode)
        self.count_include_pad = count_include_pad

    def _pool(self, x, size, **windows):
        return ops.average_pool2d(x, size, count_include_pad=self.count_include_pad, **windows)


class GlobalAveragePool2D(Layer):
    """Mean of every channel over the image: (n, h, w, c) to (n, c).

    Examples
    --------
    >>> from skdeep.layers import GlobalAveragePool2D
    >>> GlobalAveragePool2D()
    GlobalAveragePool2D()
    """

    def forward(self, x):
        """(n, h, w, c) to (n, c)."""
        _need_images(self, x)
        return ops.global_average_pool2d(x)


class GlobalMaxPool2D(Layer):
    """Largest value of every channel over the image: (n, h, w, c) to (n, c).

    Examples
    --------
    >>> from skdeep.layers import GlobalMaxPool2D
    >>> GlobalMaxPool2D()
    GlobalMaxPool2D()
    """

    def forward(self, x):
        """(n, h, w, c) to (n, c)."""
        _need_images(self, x)
        return ops.global_max_pool2d(x)
