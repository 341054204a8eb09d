"""Local response normalisation across channels."""

from operator import index

from ..graph.op import Op, Row, register
from ..kernels import local_response_norm as _kernels  # noqa: F401, the kernels are made there

__all__ = ["local_response_norm"]

TILE = 16384  # elements of the rows of one tile


def local_response_norm(x, size=5, alpha=1e-4, beta=0.75, k=1.0):
    """Divide by the neighbouring channels: x / (k + alpha / size * sum of x ** 2) ** beta.

    Parameters
    ----------
    x : float32 Tensor of shape (..., c)
    size : int
        Channels that are summed over: as many before as after each; the odd one of an even
        number comes after. Beyond the first and the last channel there is nothing to add, while
        ``alpha`` is divided by ``size`` all the same.
    alpha : float
        Not negative.
    beta : float
        Not negative.
    k : float
        Positive.

    Returns
    -------
    float32 Tensor of the shape of ``x``

    Raises
    ------
    ValueError
        When a number is out of range, or ``x`` is empty or has one axis.

    References
    ----------
    Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional neural
    networks, 2012.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x = graph.Tensor((1, 4))
    >>> y = ops.local_response_norm(x, size=3, alpha=3.0, beta=1.0)
    >>> graph.program.evaluate([y], {x: [[1.0, 0.0, 2.0, 2.0]]})[0].round(3)
    array([[0.5  , 0.   , 0.222, 0.222]], dtype=float32)
    """
    size = index(size)
    if size < 1:
        raise ValueError(f"local_response_norm: size must be at least 1, got {size}")
    if not (alpha >= 0 and beta >= 0 and k > 0):
        raise ValueError(
            "local_response_norm needs alpha and beta not negative and k above zero, got "
            f"alpha={alpha}, beta={beta}, k={k}"
        )
    if x.ndim < 2 or 0 in x.shape or x.dtype != "float32":
        raise ValueError(f"local_response_norm needs a float32 tensor (..., channels), got {x}")
    numbers = {"alpha": float(alpha), "beta": float(beta), "k": float(k)}
    return LocalResponseNorm(x, size=min(size, 2 * x.shape[-1]), share=1 / size, **numbers).output


class _Neighbours(Op):
    def window(self):
        """Channels before each that are summed over, and channels in all."""
        return (self.size - 1) // 2, self.size

    def numbers(self):
        """Factor of the sum of squares, k and beta."""
        return self.alpha * self.share, self.k, self.beta


@register
class LocalResponseNorm(_Neighbours):
    """See :func:`local_response_norm`; ``share`` is what a neighbour counts of the mean."""

    def gradient(self, dy):
        return [LocalResponseNormGrad(dy, self.inputs[0], **self.attributes).output]

    def rows(self):
        (x,) = self.inputs
        rows, c = x.size // x.shape[-1], x.shape[-1]
        block = max(1, TILE // max(c, 16))
        operands = [self.output, x, rows, c, *self.window(), block, *self.numbers()]
        work = x.size * (0.2 + 0.02 * self.size) + 20 * rows
        return [Row("local_response_norm", operands, -(-rows // block), work)]


@register
class LocalResponseNormGrad(_Neighbours):
    """Gradient of :class:`LocalResponseNorm` from (dy, x); the second output is scratch memory."""

    def cut(self):
        """Rows in all, rows per tile, tiles."""
        x = self.inputs[1]
        rows, block = x.size // x.shape[-1], max(1, TILE // max(x.shape[-1], 16))
        return rows, block, -(-rows // block)

    def infer(self):
        x = self.inputs[1]
        return [x.shape, (self.cut()[2], x.shape[-1])]

    def rows(self):
        (dy, x), (dx, ratios) = self.inputs, self.outputs
        rows, block, tiles = self.cut()
        sizes = [rows, x.shape[-1], *self.window(), block]
        operands = [dx, ratios, dy, x, *sizes, *self.numbers()]
        work = x.size * (0.4 + 0.04 * self.size) + 40 * rows
        return [Row("local_response_norm_grad", operands, tiles, work)]
