"""Layer normalisation."""

from ..graph.op import Op, Row, register
from ..kernels import layer_norm as _kernels  # noqa: F401, the kernels are made there
from .reduce import sum as sum_axis
from .shape import reshape, slice_axis

__all__ = ["layer_norm"]

TILE = 16384  # elements of the rows of one tile
SUMS = 64  # partial sums of the gradient of gamma and beta, at most


def layer_norm(x, gamma, beta, eps=1e-5):
    """Standardise every sample over its last axis: (x - mean) / sqrt(var + eps) * gamma + beta.

    Parameters
    ----------
    x : float32 Tensor of shape (..., c)
    gamma, beta : float32 Tensor of shape (c,)
        Scale and shift.
    eps : float
        Added to the (biased) variance; not negative.

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        When ``eps`` is negative, ``x`` is empty or has one axis, or a vector has not c elements.

    References
    ----------
    Ba, Kiros & Hinton, Layer normalization, 2016.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, gamma, beta = graph.Tensor((1, 4)), graph.Tensor((4,)), graph.Tensor((4,))
    >>> feeds = {x: [[1.0, 1.0, 3.0, 3.0]], gamma: [1.0, 1.0, 1.0, 5.0], beta: [0.0] * 4}
    >>> graph.program.evaluate([ops.layer_norm(x, gamma, beta, eps=0.0)], feeds)[0]
    array([[-1., -1.,  1.,  5.]], dtype=float32)
    """
    if not eps >= 0:
        raise ValueError(f"layer_norm: eps must not be negative, got {eps}")
    if x.ndim < 2 or 0 in x.shape or x.dtype != "float32":
        raise ValueError(f"layer_norm needs a float32 tensor (..., channels), got {x}")
    for v in (gamma, beta):
        if v.shape != x.shape[-1:]:
            raise ValueError(
                f"layer_norm needs one number per channel, shape {x.shape[-1:]}, got {v.shape}"
            )
    return LayerNorm(x, gamma, beta, eps=float(eps)).output


def _rows_and_block(shape, size, most=None):
    """Number of rows, and of those of one tile."""
    k = shape[-1]
    rows = size // k
    block = max(1, TILE // max(k, 16))
    return rows, block if most is None else max(block, -(-rows // most))


@register
class LayerNorm(Op):
    """See :func:`layer_norm`. The second output holds each row's mean and 1 / deviation."""

    def infer(self):
        x = self.inputs[0]
        return [x.shape, (x.size // x.shape[-1], 2)]

    def gradient(self, dy, _):
        x, gamma, _ = self.inputs
        dx, partial = LayerNormGrad(dy, x, self.outputs[1], gamma).outputs
        sums = sum_axis(partial, axis=0)
        return [dx, *(reshape(slice_axis(sums, 0, k, k + 1), gamma.shape) for k in (0, 1))]

    def rows(self):
        (x, gamma, beta), (y, moments) = self.inputs, self.outputs
        rows, block = _rows_and_block(x.shape, x.size)
        operands = [y, moments, x, gamma, beta, rows, x.shape[-1], block, self.eps]
        return [Row("layer_norm", operands, -(-rows // block), 0.2 * x.size + 10 * rows)]


@register
class LayerNormGrad(Op):
    """(dx, partial sums of dgamma and dbeta) from (dy, x, moments, gamma)."""

    def infer(self):
        x = self.inputs[1]
        rows, block = _rows_and_block(x.shape, x.size, SUMS)
        return [x.shape, (-(-rows // block), 2, x.shape[-1])]

    def rows(self):
        (dy, x, moments, gamma), (dx, partial) = self.inputs, self.outputs
        rows, block = _rows_and_block(x.shape, x.size, SUMS)
        operands = [dx, partial, dy, x, moments, gamma, rows, x.shape[-1], block]
        return [Row("layer_norm_grad", operands, -(-rows // block), 0.4 * x.size + 20 * rows)]
