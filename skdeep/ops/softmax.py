"""Softmax over classes, and the losses that are computed together with it."""

from ..graph.op import Op, Row, register
from ..graph.tensor import Tensor
from ..kernels.softmax import TILE
from .arithmetic import multiply
from .elementwise import Map, negative
from .reduce import broadcast_to

__all__ = ["log_softmax", "sigmoid_log_loss", "softmax", "softmax_log_loss"]


def _rows(kernel, y, *tensors, k, cost):
    """Row of a kernel that works on rows of ``k`` classes."""
    n = tensors[0].size // k if k else 0
    block = max(1, TILE // max(k, 16))
    return [Row(kernel, [y, *tensors, n, k, block], -(-n // block), n * (10 + cost * k))]


class _RowWise(Op):
    kernel, cost = "", 0.5

    def infer(self):
        x = self.inputs[0]
        if x.ndim < 1 or x.shape[-1] < 1 or any(t.dtype != "float32" for t in self.inputs):
            raise ValueError(f"{self.kernel}: needs float32 (..., k) with k > 0, got {x}")
        return [x.shape]

    def rows(self):
        k = self.output.shape[-1]
        return _rows(self.kernel, self.output, *self.inputs, k=k, cost=self.cost)


@register
class Softmax(_RowWise):
    """See :func:`softmax`."""

    kernel = "softmax"

    def gradient(self, dy):
        return [SoftmaxGrad(dy, self.output).output]


@register
class SoftmaxGrad(_RowWise):
    """Gradient of :class:`Softmax` from (dy, y)."""

    kernel, cost = "softmax_grad", 0.2


@register
class LogSoftmax(_RowWise):
    """See :func:`log_softmax`."""

    kernel = "log_softmax"

    def gradient(self, dy):
        return [LogSoftmaxGrad(dy, self.output).output]


@register
class LogSoftmaxGrad(_RowWise):
    """Gradient of :class:`LogSoftmax` from (dy, y)."""

    kernel = "log_softmax_grad"


@register
class SoftmaxLogLoss(Op):
    """Outputs the losses (n,) and the probabilities (n, k); see :func:`softmax_log_loss`."""

    def infer(self):
        z, t = self.inputs
        if z.ndim != 2 or z.shape[1] < 1 or z.dtype != "float32":
            raise ValueError(f"softmax_log_loss needs float32 logits (n, k), got {z}")
        if t.dtype != "int32" or t.shape != z.shape[:1]:
            raise ValueError(
                f"softmax_log_loss: for logits of shape {z.shape} the targets must be int32 "
                f"{z.shape[:1]} or float32 {z.shape}, got {t.dtype} of shape {t.shape}"
            )
        return [z.shape[:1], z.shape]

    def gradient(self, dloss, dprobabilities):
        _, t = self.inputs
        parts = []
        if dloss is not None:
            parts.append(SoftmaxLogLossGrad(self.outputs[1], t, dloss).output)
        if dprobabilities is not None:
            parts.append(SoftmaxGrad(dprobabilities, self.outputs[1]).output)
        return [parts[0] if len(parts) == 1 else parts[0] + parts[1], None]

    def rows(self):
        (z, t), (loss, p) = self.inputs, self.outputs
        return _rows("softmax_log_loss", loss, p, z, t, k=z.shape[1], cost=0.5)


@register
class SoftmaxLogLossGrad(Op):
    """Gradient of :class:`SoftmaxLogLoss` from (probabilities, targets, dloss)."""

    def rows(self):
        p, t, dloss = self.inputs
        return _rows("softmax_log_loss_grad", self.output, p, t, dloss, k=p.shape[1], cost=0.1)


@register
class SoftLogLoss(Op):
    """As :class:`SoftmaxLogLoss`, with a weight for every class."""

    def infer(self):
        z, t = self.inputs
        if z.ndim != 2 or z.shape[1] < 1 or z.shape != t.shape or z.dtype != "float32":
            raise ValueError(f"softmax_log_loss needs float32 (n, k) twice, got {z} and {t}")
        return [z.shape[:1], z.shape]

    def gradient(self, dloss, dprobabilities):
        from .shape import reshape

        z, t = self.inputs
        parts, of_targets = [], None
        if dloss is not None:
            parts.append(SoftLogLossGrad(self.outputs[1], t, dloss).output)
            column = broadcast_to(reshape(dloss, (*dloss.shape, 1)), z.shape)
            of_targets = negative(multiply(column, log_softmax(z)))
        if dprobabilities is not None:
            parts.append(SoftmaxGrad(dprobabilities, self.outputs[1]).output)
        return [parts[0] if len(parts) == 1 else parts[0] + parts[1], of_targets]

    def rows(self):
        (z, t), (loss, p) = self.inputs, self.outputs
        return _rows("soft_log_loss", loss, p, z, t, k=z.shape[1], cost=0.7)


@register
class SoftLogLossGrad(Op):
    """Gradient of :class:`SoftLogLoss` with respect to the logits."""

    def rows(self):
        p, t, dloss = self.inputs
        return _rows("soft_log_loss_grad", self.output, p, t, dloss, k=p.shape[1], cost=0.2)


@register
class SigmoidLogLoss(Map):
    """See :func:`sigmoid_log_loss`."""

    kernel, cost = "sigmoid_log_loss", 1.0

    def gradient(self, dy):
        z, t = self.inputs
        return [SigmoidLogLossGrad(dy, z, t).output, negative(multiply(dy, z))]


@register
class SigmoidLogLossGrad(Map):
    """Gradient of :class:`SigmoidLogLoss` with respect to the logits, from (dy, z, t)."""

    kernel, cost = "sigmoid_log_loss_grad", 0.4


def softmax(x):
    """Probabilities exp(x) / sum(exp(x)) over the last axis, without overflow.

    Parameters
    ----------
    x : float32 Tensor of shape (..., k)

    Returns
    -------
    float32 Tensor of shape (..., k)

    Raises
    ------
    ValueError
        When ``x`` is not float32, or has no class along its last axis.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2, 3))
    >>> feeds = {x: [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]]}
    >>> graph.program.evaluate([ops.softmax(x)], feeds)[0].round(4)
    array([[0.3333, 0.3333, 0.3333],
           [0.09  , 0.2447, 0.6652]], dtype=float32)
    """
    return Softmax(x).output


def log_softmax(x):
    """Logarithm of :func:`softmax`, x - log(sum(exp(x))), precise for small probabilities too.

    Parameters
    ----------
    x : float32 Tensor of shape (..., k)

    Returns
    -------
    float32 Tensor of shape (..., k)

    Raises
    ------
    ValueError
        When ``x`` is not float32, or has no class along its last axis.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((2, 2))
    >>> feeds = {x: [[0.0, 0.0], [0.0, 200.0]]}
    >>> graph.program.evaluate([ops.log_softmax(x)], feeds)[0].round(4)
    array([[  -0.6931,   -0.6931],
           [-200.    ,    0.    ]], dtype=float32)
    """
    return LogSoftmax(x).output


def softmax_log_loss(logits, targets):
    """Log loss (cross entropy) of softmax(logits): -log(probability of the target), per sample.

    Parameters
    ----------
    logits : float32 Tensor of shape (n, k)
    targets : Tensor
        int32 of shape (n,), classes in [0, k), which are not checked when the program runs; or
        float32 of shape (n, k), a weight for every class: sum over k of -weight * log(probability).

    Returns
    -------
    float32 Tensor of shape (n,)

    Raises
    ------
    ValueError
        When shapes or types are not these.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> logits, targets = graph.Tensor((2, 3)), graph.Tensor((2,), "int32")
    >>> feeds = {logits: [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0]], targets: [0, 2]}
    >>> graph.program.evaluate([ops.softmax_log_loss(logits, targets)], feeds)[0].round(4)
    array([1.0986, 0.4076], dtype=float32)
    """
    soft = isinstance(targets, Tensor) and targets.dtype == "float32" and targets.ndim == 2
    return (SoftLogLoss if soft else SoftmaxLogLoss)(logits, targets).output


def sigmoid_log_loss(logits, targets):
    """Log loss of p = sigmoid(logits): -t log(p) - (1 - t) log(1 - p), without overflow.

    Parameters
    ----------
    logits : float32 Tensor of any shape
    targets : float32 Tensor of that shape
        t, in [0, 1]; not checked when the program runs.

    Returns
    -------
    float32 Tensor of that shape
        One loss per element.

    Raises
    ------
    ValueError
        When the shapes differ, or a type is not float32.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> logits, targets = graph.Tensor((3,)), graph.Tensor((3,))
    >>> feeds = {logits: [0.0, 2.0, 200.0], targets: [1.0, 0.5, 0.0]}
    >>> graph.program.evaluate([ops.sigmoid_log_loss(logits, targets)], feeds)[0].round(4)
    array([  0.6931,   1.1269, 200.    ], dtype=float32)
    """
    return SigmoidLogLoss(logits, targets).output
