"""Operations that draw random numbers."""

from ..graph.op import Op, Row, register
from ..kernels.random import TILE, threshold

__all__ = ["dropout"]


def dropout(x, rate, registers, stream):
    """Zero each element with probability ``rate`` and scale the others by 1 / (1 - rate).

    Which ones depends on the seed, the step, the stream and the position of the element, and on
    nothing else: not on the device, not on the number of threads.

    Parameters
    ----------
    x : Tensor
    rate : float
        In [0, 1).
    registers : Tensor
        A leaf that starts with two int32 numbers: the seed and the step.
    stream : int
        Tells the random operations of one step apart.

    Returns
    -------
    Tensor
        Of the shape of ``x``. Its gradient draws the same mask again.

    References
    ----------
    Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014.
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
