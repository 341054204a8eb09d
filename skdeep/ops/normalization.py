"""Batch normalisation and running averages."""

import math
from functools import cache

from ..graph.op import Op, Row, register
from ..kernels.normalization import CHUNK, EVEN, TILE, WIDEST
from .dense import clamp_gradient

__all__ = ["batch_norm", "batch_norm_train", "moving_average"]


def batch_norm(x, gamma, beta, mean, var, eps):
    """Normalise channels with given statistics: (x - mean) / sqrt(var + eps) * gamma + beta.

    Parameters
    ----------
    x : float32 Tensor of shape (n, ..., c)
    gamma, beta : float32 Tensor of shape (c,)
        Scale and shift.
    mean, var : float32 Tensor of shape (c,)
    eps : float
        Added to the variance; not negative.

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        When ``eps`` is negative, ``x`` is empty or has one axis, or a vector has not c elements.

    References
    ----------
    Ioffe & Szegedy, Batch normalization: accelerating deep network training by reducing internal
    covariate shift, 2015.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((3, 1))
    >>> gamma, beta, mean, var = (graph.Tensor((1,)) for _ in range(4))
    >>> y = ops.batch_norm(x, gamma, beta, mean, var, eps=0.0)
    >>> feeds = {x: [[1.0], [3.0], [5.0]], gamma: [2.0], beta: [10.0], mean: [3.0], var: [4.0]}
    >>> graph.program.evaluate([y], feeds)[0].ravel()
    array([ 8., 10., 12.], dtype=float32)
    """
    return BatchNorm(x, gamma, beta, mean, var, eps=_epsilon("batch_norm", eps)).output


def batch_norm_train(x, gamma, beta, eps):
    """Normalise channels with the batch's own mean and variance; the formula of :func:`batch_norm`.

    Parameters
    ----------
    x : float32 Tensor of shape (n, ..., c)
    gamma, beta : float32 Tensor of shape (c,)
        Scale and shift.
    eps : float
        Added to the variance; not negative.

    Returns
    -------
    y : float32 Tensor of the shape of ``x``
    mean, var : float32 Tensor of shape (c,)
        Mean and (biased) variance over all axes but the last. Gradients do not pass through them.

    Raises
    ------
    ValueError
        When ``eps`` is negative, ``x`` is empty or has one axis, or a vector has not c elements.

    References
    ----------
    Ioffe & Szegedy, Batch normalization: accelerating deep network training by reducing internal
    covariate shift, 2015.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, gamma, beta = graph.Tensor((4, 1)), graph.Tensor((1,)), graph.Tensor((1,))
    >>> outputs = ops.batch_norm_train(x, gamma, beta, eps=0.0)
    >>> feeds = {x: [[1.0], [1.0], [5.0], [5.0]], gamma: [1.0], beta: [0.0]}
    >>> y, mean, var = graph.program.evaluate(list(outputs), feeds)
    >>> y.ravel(), mean, var
    (array([-1., -1.,  1.,  1.], dtype=float32), array([3.], dtype=float32),
     array([4.], dtype=float32))
    """
    op = BatchNormTrain(x, gamma, beta, eps=_epsilon("batch_norm_train", eps))
    return op.outputs[:3]


def moving_average(state, value, momentum, scale=1.0):
    """Update ``state = momentum * state + (1 - momentum) * scale * value`` in place.

    Parameters
    ----------
    state : float32 Tensor
        A leaf, whose memory is overwritten.
    value : float32 Tensor of the same shape
    momentum : float
        In [0, 1].
    scale : float
        Such as n / (n - 1), which makes a variance unbiased.

    Returns
    -------
    Tensor
        A token that stands for "done", to list among the outputs of a program.

    Raises
    ------
    ValueError
        When ``momentum`` is outside [0, 1], or the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> from skdeep import graph, ops
    >>> state, value = graph.Tensor((2,)), graph.Tensor((2,))
    >>> kept = np.array([0.0, 8.0], np.float32)
    >>> done = ops.moving_average(state, value, momentum=0.75)
    >>> _ = graph.program.evaluate([done], {state: kept, value: [4.0, 4.0]})
    >>> kept
    array([1., 7.], dtype=float32)
    """
    if not 0 <= momentum <= 1:
        raise ValueError(f"moving_average: momentum must be in [0, 1], got {momentum}")
    return MovingAverage(state, value, momentum=float(momentum), scale=float(scale)).output


def _epsilon(name, eps):
    if not eps >= 0:
        raise ValueError(f"{name}: eps must not be negative, got {eps}")
    return float(eps)


class _Cut:
    """A tensor (..., c) as a matrix of rows x width, cut into tiles of rows.

    A row holds ``fold`` pixels, a divisor of their number, so that it fills blocks of ``EVEN``
    elements if possible.
    """

    def __init__(self, shape):
        self.c, self.size = shape[-1], math.prod(shape)
        self.values = self.size // self.c  # of each channel
        most = max(1, min(WIDEST // self.c, self.values // CHUNK))
        folds = [k for k in range(1, most + 1) if self.values % k == 0]
        even = [k for k in folds if k * self.c % EVEN == 0]
        self.fold = even[0] if even else max(k for k in folds if k == 1 or k * self.c < 2 * EVEN)
        self.width = self.c * self.fold
        self.rows = self.values // self.fold
        self.block = CHUNK * max(1, TILE // (CHUNK * max(self.width, 16)))
        self.tiles = -(-self.rows // self.block)


_cut = cache(_Cut)


def _check(name, x, *vectors):
    if x.ndim < 2 or 0 in x.shape:
        raise ValueError(f"{name} needs a tensor (n, ..., channels), got shape {x.shape}")
    for v in vectors:
        if v.shape != x.shape[-1:]:
            raise ValueError(
                f"{name} needs one number per channel, shape {x.shape[-1:]}, got {v.shape}"
            )


@register
class BatchNorm(Op):
    """See :func:`batch_norm`; nothing below ``low``.

    The second output holds coefficients for the gradient.
    """

    low = -math.inf

    def infer(self):
        x = self.inputs[0]
        _check("batch_norm", *self.inputs)
        return [x.shape, (3, _cut(x.shape).width)]

    def gradient(self, dy, _):
        x, _, _, _, var = self.inputs
        op = BatchNormGrad(
            x, dy, self.outputs[1], var, eps=self.eps, batch=False, low=self.low
        )  # fmt: skip
        return op.outputs[:5]

    def rows(self):
        x, gamma, beta, mean, var = self.inputs
        y, coefficients = self.outputs
        cut = _cut(x.shape)
        operands = [gamma, beta, mean, var, coefficients, cut.c, cut.fold, self.eps]
        return [
            Row("fixed_coefficients", operands),
            _normalize(x, y, coefficients, cut, None, self.low),
        ]


@register
class BatchNormTrain(Op):
    """See :func:`batch_norm_train`. More outputs: coefficients for the gradient, scratch.

    With a ``residual`` of the shape of x and a lower bound, y = max(batch norm(x) + residual, low).
    """

    def __init__(self, x, gamma, beta, residual=None, *, eps, low=-math.inf):
        super().__init__(x, gamma, beta, residual, eps=eps, low=low)

    def infer(self):
        x = self.inputs[0]
        _check("batch_norm_train", *self.inputs[:3])
        cut = _cut(x.shape)
        return [x.shape, (cut.c,), (cut.c,), (3, cut.width), (cut.tiles, 2, cut.width)]

    def gradient(self, dy, dmean, dvar, *_):
        if dmean is not None or dvar is not None:
            raise ValueError(
                "batch_norm_train: gradients do not pass through the mean and the variance; "
                "compute them with ops.mean to differentiate them"
            )
        x, _, _, residual = self.inputs
        y, _, var, coefficients, _ = self.outputs
        low = self.low
        if residual is not None:  # which needs the gradient in front of the clamp as well
            dy, low = clamp_gradient(dy, y, low, math.inf), -math.inf
        grad = BatchNormGrad(x, dy, coefficients, var, eps=self.eps, batch=True, low=low)
        return (*grad.outputs[:3], None if residual is None else dy)

    def rows(self):
        x, gamma, beta, residual = self.inputs
        y, mean, var, coefficients, partial = self.outputs
        cut = _cut(x.shape)
        end = [partial, x, gamma, beta, mean, var, coefficients]
        end += [cut.rows, cut.c, cut.fold, cut.block, self.eps]
        return [
            Row("batch_moments", [x, partial, cut.rows, cut.width, cut.block], cut.tiles,
                0.15 * cut.size),
            Row("batch_moments_end", end),
            _normalize(x, y, coefficients, cut, residual, self.low),
        ]  # fmt: skip


def _normalize(x, y, coefficients, cut, residual=None, low=-math.inf):
    operands = [x, y, coefficients, residual, float(low), cut.rows, cut.width, cut.block, cut.tiles]
    return Row("normalize", operands, cut.tiles, 0.25 * cut.size)


@register
class BatchNormGrad(Op):
    """(dx, dgamma, dbeta, dmean, dvar) from x, dy, the forward pass's coefficients and variance.

    ``batch`` says whether the statistics came from ``x`` itself: dmean and dvar are then part of
    dx, and must not be used again. Where the forward pass gave no more than ``low``, dy counts as
    zero. Two passes over memory.
    """

    def __init__(self, x, dy, coefficients, var, *, eps, batch, low=-math.inf):
        super().__init__(x, dy, coefficients, var, eps=eps, batch=batch, low=low)

    def infer(self):
        x = self.inputs[0]
        cut = _cut(x.shape)
        return [x.shape, *[(cut.c,)] * 4, (2, cut.width), (cut.tiles, 2, cut.width)]

    def rows(self):
        x, dy, coefficients, var = self.inputs
        dx, *vectors, more, partial = self.outputs
        cut = _cut(x.shape)
        low = float(self.low)
        sums = [x, dy, coefficients, low, partial, cut.rows, cut.width, cut.block]
        end = [partial, coefficients, var, *vectors, more, cut.tiles, cut.c, cut.fold]
        end += [cut.values, self.eps, int(self.batch)]
        apply = [x, dy, dx, coefficients, more, low, cut.rows, cut.width, cut.block, cut.tiles]
        return [
            Row("normalize_grad_sums", sums, cut.tiles, 0.3 * cut.size),
            Row("normalize_grad_end", end),
            Row("normalize_grad", apply, cut.tiles, 0.4 * cut.size),
        ]


@register
class MovingAverage(Op):
    """See :func:`moving_average`."""

    differentiable = False
    writes = (0,)

    def infer(self):
        state, value = self.inputs
        if state.shape != value.shape:
            raise ValueError(
                f"moving_average: the state has shape {state.shape}, the value {value.shape}"
            )
        return [(1,)]

    def rows(self):
        state, value = self.inputs
        gain = (1.0 - self.momentum) * self.scale
        operands = [state, value, self.momentum, gain, state.size, self.output]
        return [Row("moving_average", operands)]
