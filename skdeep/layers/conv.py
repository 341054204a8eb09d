"""Convolution over images."""

from numbers import Integral

from .. import ops
from .._validation import COUNT, COUNT_PAIR, FLAG, NOT_NEGATIVE, PADDING, one_of
from ..ops.winograd import ALGORITHMS
from .activation import activate
from .base import Layer, current_trace, describe, shown
from .initializers import resolve_initializer

__all__ = ["Conv2D", "SqueezeExcite"]


def pair(value):
    """(a, b) of an int or a pair."""
    return (value, value) if isinstance(value, Integral) else tuple(value)


def same_padding(size, kernel, stride, dilation):
    """Padding (before, after) that makes the output ceil(size / stride) long; the odd one after."""
    reach = (kernel - 1) * dilation + 1
    out = -(-size // stride)
    total = max(0, (out - 1) * stride + reach - size)
    return total // 2, total - total // 2


class Conv2D(Layer):
    """2-D convolution of images (n, h, w, c), channels last.

    Parameters
    ----------
    filters : int, default=32
        Number of output channels.
    kernel_size : int or pair, default=3
    activation : str, callable or None, default=None
        See :class:`Activation`.
    stride : int or pair, default=1
    padding : {"valid", "same"}, int, pair or pair of pairs, default="valid"
        Zeros around the image: none; as many as keep ``ceil(size / stride)``; the same number on
        all sides; (vertical, horizontal); ((top, bottom), (left, right)).
    dilation : int or pair, default=1
    groups : int, default=1
        Channels are cut into this many groups, each with its own filters; with
        ``groups=c`` the convolution is depthwise.
    algorithm : {"auto", "direct", "winograd2", "winograd4"}, default="auto"
        How it is computed, see :func:`skdeep.ops.conv2d`. "auto" takes what is fastest for the
        shapes; the ``summary()`` of a fitted estimator names it. On CUDA it is "direct".
    use_bias : bool, default=True
    weight_init, bias_init : str, float or Initializer
        As for :class:`Dense`.
    l1, l2 : float, default=0.0
        Penalty on the weights.
    trainable : bool, default=True

    Examples
    --------
    >>> from skdeep.layers import Conv2D
    >>> Conv2D(16, 3, activation="relu", padding="same").filters
    16
    """

    _rules = {
        "filters": COUNT,
        "kernel_size": COUNT_PAIR,
        "stride": COUNT_PAIR,
        "dilation": COUNT_PAIR,
        "padding": PADDING,
        "groups": COUNT,
        "algorithm": one_of(ALGORITHMS),
        "use_bias": FLAG,
        "l1": NOT_NEGATIVE,
        "l2": NOT_NEGATIVE,
        "trainable": FLAG,
    }

    def __init__(
        self,
        filters=32,
        kernel_size=3,
        activation=None,
        *,
        stride=1,
        padding="valid",
        dilation=1,
        groups=1,
        algorithm="auto",
        use_bias=True,
        weight_init="auto",
        bias_init="zeros",
        l1=0.0,
        l2=0.0,
        trainable=True,
    ):
        self.filters = filters
        self.kernel_size = kernel_size
        self.activation = activation
        self.stride = stride
        self.padding = padding
        self.dilation = dilation
        self.groups = groups
        self.algorithm = algorithm
        self.use_bias = use_bias
        self.weight_init = weight_init
        self.bias_init = bias_init
        self.l1 = l1
        self.l2 = l2
        self.trainable = trainable

    def _padding(self, x, kernel, stride, dilation):
        if self.padding == "valid":
            return 0
        if self.padding == "same":
            return tuple(
                same_padding(s, k, t, d)
                for s, k, t, d in zip(x.shape[1:3], kernel, stride, dilation)
            )
        return self.padding

    def forward(self, x):
        """(n, h, w, c) to (n, h', w', filters)."""
        if x.ndim != 4:
            raise ValueError(
                f"{describe(self)} needs (n, h, w, c) input, got {shown(x.shape)}; pass images, "
                "give the estimator input_shape=(h, w, c), or put Reshape before it."
            )
        kernel, stride, dilation = (pair(v) for v in (self.kernel_size, self.stride, self.dilation))
        channels = x.shape[3]
        if self.groups < 1 or channels % self.groups or self.filters % self.groups:
            raise ValueError(
                f"{describe(self)}: groups={self.groups} must divide both the {channels} input "
                f"channels and the {self.filters} filters."
            )
        shape = (*kernel, channels // self.groups, self.filters)
        init = resolve_initializer(self.weight_init, self.activation)
        w = self.parameter("W", shape, init, l1=self.l1, l2=self.l2)
        b = self.parameter("b", (self.filters,), self.bias_init) if self.use_bias else None
        low_memory = current_trace().memory == "low" and self.algorithm == "auto"
        y = ops.conv2d(
            x,
            w,
            b,
            stride=stride,
            padding=self._padding(x, kernel, stride, dilation),
            dilation=dilation,
            groups=self.groups,
            algorithm="direct" if low_memory else self.algorithm,
        )
        return activate(y, self.activation)


class SqueezeExcite(Layer):
    """Scale every channel of an image by a number computed from the means of all channels.

    Mean over the image, a 1x1 convolution "fc1" to few channels, another, "fc2", back, and a gate
    that limits the numbers.

    Parameters
    ----------
    filters : int, default=8
        Channels between the two convolutions; a quarter or less of what comes in is usual.
    activation : str, callable or None, default="relu"
        After "fc1", see :class:`Activation`.
    gate : str, callable or None, default="sigmoid"
        After "fc2"; MobileNet V3 has "hardsigmoid".
    trainable : bool, default=True

    References
    ----------
    Hu, Shen & Sun, Squeeze-and-excitation networks, 2018.

    Examples
    --------
    >>> from skdeep.layers import SqueezeExcite
    >>> SqueezeExcite(16, gate="hardsigmoid")
    SqueezeExcite(filters=16, gate='hardsigmoid')
    """

    _rules = {"filters": COUNT, "trainable": FLAG}

    def __init__(self, filters=8, activation="relu", gate="sigmoid", *, trainable=True):
        self.filters = filters
        self.activation = activation
        self.gate = gate
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the input."""
        if x.ndim != 4:
            raise ValueError(
                f"{describe(self)} needs (n, h, w, c) input, got {shown(x.shape)}; put it before "
                "pooling over all of the image, Flatten and Dense."
            )
        trace = current_trace()
        y = ops.average_pool2d(x, x.shape[1:3])
        y = trace.call(Conv2D(self.filters, 1, self.activation), y, "fc1")
        y = trace.call(Conv2D(x.shape[3], 1, self.gate), y, "fc2")
        return x * y
