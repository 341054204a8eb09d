"""Operations that draw random numbers."""

from ..graph.op import Op, Row, register
from ..kernels.random import TILE, threshold

__all__ = ["dropout"]


def dropout(x, rate, registers, stream):
    """Zero each element with probability ``rate``, else x / (1 - rate).

    Which ones depends on the seed, the step, the stream and the position of the element, and on
    nothing else: not on the device, not on the number of threads.

    Parameters
    ----------
    x : float32 Tensor
    rate : float
        In [0, 1).
    registers : int32 Tensor
        A leaf that starts with two numbers: the seed and the step.
    stream : int
        Tells the random operations of one step apart.

    Returns
    -------
    float32 Tensor of the shape of ``x``
        Its gradient draws the same mask again. ``x`` itself when the rate is 0.

    Raises
    ------
    ValueError
        When ``rate`` is outside [0, 1), or ``registers`` has less than two elements.

    References
    ----------
    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> x, registers = graph.Tensor((8,)), graph.Tensor((2,), "int32")
    >>> y = ops.dropout(x, 0.5, registers, stream=0)
    >>> graph.program.evaluate([y], {x: [1.0] * 8, registers: [42, 0]})[0]
    array([0., 0., 0., 2., 2., 0., 0., 2.], dtype=float32)
    """
    if not 0 <= rate < 1:
        raise ValueError(f"dropout: rate must be in [0, 1), got {rate}")
    if rate == 0:
        return x
    return Dropout(x, registers, rate=float(rate), stream=int(stream)).output


@register
class Dropout(Op):
    """See :func:`dropout`."""

    def infer(self):
        x, registers = self.inputs
        if registers.size < 2:
            raise ValueError(
                f"dropout: registers hold the seed and the step, got shape {registers.shape}"
            )
        return [x.shape]

    def gradient(self, dy):
        return [dropout(dy, self.rate, self.inputs[1], self.stream), None]

    def rows(self):
        x, registers = self.inputs
        operands = [x, registers, self.output, self.stream, threshold(self.rate)]
        operands += [1.0 / (1.0 - self.rate), x.size]
        return [Row("dropout", operands, max(1, -(-x.size // TILE)), 0.4 * x.size)]
