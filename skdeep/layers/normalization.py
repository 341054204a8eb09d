"""Normalisation layers."""

from .. import ops
from .._validation import COUNT, FLAG, NOT_NEGATIVE, NUMBER, POSITIVE, SHARE
from .activation import activate
from .base import Layer, current_trace

__all__ = ["BatchNorm", "LayerNorm", "LayerScale", "LocalResponseNorm"]


class BatchNorm(Layer):
    """Standardise every channel over the batch, then scale and shift by learnt numbers.

    Training uses the batch's mean and variance and keeps running ones for prediction.

    Parameters
    ----------
    activation : str, callable or None, default=None
        Applied afterwards.
    momentum : float, default=0.9
        Weight of the old running statistics.
    epsilon : float, default=1e-5
        Added to the variance.
    trainable : bool, default=True
        False keeps scale, shift and the running statistics, and uses the latter in training too.

    References
    ----------
    Ioffe & Szegedy, Batch normalization, 2015.

    Examples
    --------
    >>> from skdeep.layers import BatchNorm
    >>> BatchNorm(activation="relu")
    BatchNorm(activation='relu')
    """

    _rules = {"momentum": SHARE, "epsilon": POSITIVE, "trainable": FLAG}

    def __init__(self, activation=None, *, momentum=0.9, epsilon=1e-5, trainable=True):
        self.activation = activation
        self.momentum = momentum
        self.epsilon = epsilon
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the input; statistics per last axis."""
        trace = current_trace()
        shape = (x.shape[-1],)
        gamma = self.parameter("gamma", shape, "ones")
        beta = self.parameter("beta", shape, "zeros")
        mean = self.parameter("mean", shape, "zeros", trainable=False)
        var = self.parameter("var", shape, "ones", trainable=False)
        if trace.training and not trace.frozen:
            y, batch_mean, batch_var = ops.batch_norm_train(x, gamma, beta, self.epsilon)
            count = x.size // x.shape[-1]
            unbiased = count / max(count - 1, 1)
            trace.updates += [
                ops.moving_average(mean, batch_mean, self.momentum),
                ops.moving_average(var, batch_var, self.momentum, scale=unbiased),
            ]
        else:
            y = ops.batch_norm(x, gamma, beta, mean, var, self.epsilon)
        return activate(y, self.activation)


class LayerNorm(Layer):
    """Standardise every sample (or token) over its last axis, then scale and shift.

    Nothing depends on the batch: training and prediction compute the same.

    Parameters
    ----------
    activation : str, callable or None, default=None
        Applied afterwards.
    epsilon : float, default=1e-5
        Added to the variance.
    trainable : bool, default=True

    References
    ----------
    Ba, Kiros & Hinton, Layer normalization, 2016.

    Examples
    --------
    >>> from skdeep.layers import LayerNorm
    >>> LayerNorm(epsilon=1e-6)
    LayerNorm(epsilon=1e-06)
    """

    _rules = {"epsilon": POSITIVE, "trainable": FLAG}

    def __init__(self, activation=None, *, epsilon=1e-5, trainable=True):
        self.activation = activation
        self.epsilon = epsilon
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the input."""
        gamma = self.parameter("gamma", x.shape[-1:], "ones")
        beta = self.parameter("beta", x.shape[-1:], "zeros")
        return activate(ops.layer_norm(x, gamma, beta, self.epsilon), self.activation)


class LocalResponseNorm(Layer):
    """Divide every number by its neighbouring channels: x / (k + alpha mean(x ** 2)) ** beta.

    Networks before batch norm had it. The mean is over ``size`` channels around each, with zeros
    beyond the first and the last. Nothing is learnt.

    Parameters
    ----------
    size : int, default=5
    alpha : float, default=1e-4
    beta : float, default=0.75
    k : float, default=1.0

    References
    ----------
    Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional neural
    networks, 2012.

    Examples
    --------
    >>> from skdeep.layers import LocalResponseNorm
    >>> LocalResponseNorm(alpha=2e-5)
    LocalResponseNorm(alpha=2e-05)
    """

    _rules = {"size": COUNT, "alpha": NOT_NEGATIVE, "beta": NOT_NEGATIVE, "k": POSITIVE}

    def __init__(self, size=5, alpha=1e-4, beta=0.75, k=1.0):
        self.size = size
        self.alpha = alpha
        self.beta = beta
        self.k = k

    def forward(self, x):
        """Same shape as the input."""
        return ops.local_response_norm(x, self.size, self.alpha, self.beta, self.k)


class LayerScale(Layer):
    """A learnt factor per channel, small at the start: at the end of a residual branch.

    Deep networks of residual blocks begin to learn when each block changes its input by little.
    Prediction pays nothing for it: the factors become part of the layer before.

    Parameters
    ----------
    start : float, default=1e-5
        What all factors are at first.
    activation : str, callable or None, default=None
        Applied afterwards.
    trainable : bool, default=True

    References
    ----------
    Touvron et al., Going deeper with image transformers, 2021.

    Examples
    --------
    >>> from skdeep.layers import Dense, LayerNorm, LayerScale, Residual
    >>> branch = [LayerNorm(), Dense(256, "gelu", flatten=False), Dense(64, flatten=False)]
    >>> block = Residual([*branch, LayerScale(0.1)])
    """

    _rules = {"start": NUMBER, "trainable": FLAG}

    def __init__(self, start=1e-5, activation=None, *, trainable=True):
        self.start = start
        self.activation = activation
        self.trainable = trainable

    def forward(self, x):
        """Same shape as the input."""
        return activate(x * self.parameter("scale", x.shape[-1:], self.start), self.activation)
