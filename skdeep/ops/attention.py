"""Attention: every query's mean of values, weighted by how well keys answer to it."""

import math

from ..graph.op import Op, Row, register
from ..kernels.attention import SPACE, forward_space, gradient_space

__all__ = ["attention", "self_attention"]

RATE = 100.0  # rough floating-point operations per ns of one core


def _check(name, q, k, v, heads, width):
    for t in (q, k, v):
        if t.ndim != 3 or 0 in t.shape or t.dtype != "float32":
            raise ValueError(f"{name} needs float32 tensors (n, tokens, width), got {t}")
    if not (q.shape[0] == k.shape[0] == v.shape[0] and k.shape[1] == v.shape[1]):
        raise ValueError(
            f"{name} needs one batch size, and as many keys as values; got q {q.shape}, "
            f"k {k.shape}, v {v.shape}"
        )
    if not (q.shape[2] == k.shape[2] == v.shape[2]):
        raise ValueError(f"{name} needs one width, got {q.shape}, {k.shape}, {v.shape}")
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(f"{name}: a width of {width} does not part into {heads!r} heads")


def attention(q, k, v, heads=1, scale=None):
    """Scaled dot-product attention: ``softmax(scale * q @ k.T) @ v`` for every head.

    Parameters
    ----------
    q : float32 Tensor of shape (n, t, width)
        Queries; a head is ``width / heads`` consecutive columns.
    k, v : float32 Tensor of shape (n, s, width)
        Keys and values.
    heads : int
    scale : float or None
        None for ``1 / sqrt(width / heads)``.

    Returns
    -------
    float32 Tensor of shape (n, t, width)

    Raises
    ------
    ValueError
        When the shapes do not fit, or ``heads`` does not divide the width.

    References
    ----------
    Vaswani et al., Attention is all you need, 2017.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> q, k, v = graph.Tensor((1, 1, 1)), graph.Tensor((1, 2, 1)), graph.Tensor((1, 2, 1))
    >>> feeds = {q: [[[1.0]]], k: [[[0.0], [100.0]]], v: [[[7.0], [9.0]]]}
    >>> graph.program.evaluate([ops.attention(q, k, v)], feeds)[0]
    array([[[9.]]], dtype=float32)
    """
    _check("attention", q, k, v, heads, q.shape[-1])
    scale = 1 / math.sqrt(q.shape[2] // heads) if scale is None else float(scale)
    return Attention(q, k, v, heads=heads, scale=scale).output


def self_attention(qkv, heads=1, scale=None):
    """Attention whose queries, keys and values lie side by side in one tensor.

    Parameters
    ----------
    qkv : float32 Tensor of shape (n, t, 3 * width)
        Queries, keys, values.
    heads : int
    scale : float or None
        As for :func:`attention`.

    Returns
    -------
    float32 Tensor of shape (n, t, width)

    Raises
    ------
    ValueError
        When the shape does not fit, or ``heads`` does not divide the width.

    Examples
    --------
    >>> from skdeep import graph, ops
    >>> qkv = graph.Tensor((1, 2, 3))
    >>> feeds = {qkv: [[[0.0, 1.0, 2.0], [0.0, 1.0, 4.0]]]}
    >>> graph.program.evaluate([ops.self_attention(qkv)], feeds)[0]
    array([[[3.],
            [3.]]], dtype=float32)
    """
    _check("self_attention", qkv, qkv, qkv, 1, qkv.shape[-1])
    width = qkv.shape[2] // 3
    if qkv.shape[2] % 3 or not isinstance(heads, int) or heads < 1 or width % heads:
        raise ValueError(
            f"self_attention: queries, keys and values of {heads!r} heads do not fit into a width "
            f"of {qkv.shape[2]}"
        )
    scale = 1 / math.sqrt(width // heads) if scale is None else float(scale)
    return Attention(qkv, heads=heads, scale=scale).output


class _Heads(Op):
    """Sizes and places that both directions share; ``sources`` are (q, k, v) or (qkv,)."""

    def sizes(self, sources):
        """(n, t, s, width)."""
        n, t, width = sources[0].shape
        return n, t, sources[-1].shape[1], width if len(sources) == 3 else width // 3

    def places(self, sources):
        """Offsets of q, k, v, and distances between their rows, in bytes."""
        width = self.sizes(sources)[3]
        if len(sources) == 3:
            return [0, 0, 0], [4 * width] * 3
        return [0, 4 * width, 8 * width], [12 * width] * 3

    def head(self, sources):
        """Columns of a head."""
        return self.sizes(sources)[3] // self.heads

    def work(self, sources, products):
        """Of so many products of all queries with all keys, in ns."""
        n, t, s, width = self.sizes(sources)
        return products * 2 * n * t * s * width / RATE


@register
class Attention(_Heads):
    """See :func:`attention` and :func:`self_attention`: of q, k and v, or of one packed tensor.

    The second output is memory for the panels of a head, one element if the stack holds them.
    """

    def infer(self):
        n, t, s, width = self.sizes(self.inputs)
        size = forward_space(s, width // self.heads)
        return [(n, t, width), (n * self.heads * size // 4 if size > SPACE else 1,)]

    def gradient(self, dy, _):
        op = AttentionGrad(dy, *self.inputs, heads=self.heads, scale=self.scale)
        return op.outputs[:-1]

    def rows(self):
        y, space = self.outputs
        n, t, s, width = self.sizes(self.inputs)
        offsets, steps = self.places(self.inputs)
        q, k, v = self.inputs * (3 // len(self.inputs))
        h = self.head(self.inputs)
        size = forward_space(s, h)
        operands = [q, k, v, y, space if size > SPACE else 0, *offsets, *steps, 4 * width, t, s]
        operands += [self.heads, h, size, self.scale, n]
        return [Row("attention", operands, n * self.heads, self.work(self.inputs, 2))]


@register
class AttentionGrad(_Heads):
    """Gradients of the inputs of :class:`Attention`; the last output is memory."""

    def infer(self):
        sources = self.inputs[1:]
        n, _, s, width = self.sizes(sources)
        size = gradient_space(s, width // self.heads)
        return [*(t.shape for t in sources), (n * self.heads * size // 4,)]

    def rows(self):
        dy, *sources = self.inputs
        *gradients, space = self.outputs
        n, t, s, width = self.sizes(sources)
        offsets, steps = self.places(sources)
        h = self.head(sources)
        times = 3 // len(sources)
        operands = [dy, *sources * times, *gradients * times, space, *offsets, *steps, 4 * width]
        operands += [t, s, self.heads, h, gradient_space(s, h), self.scale, n]
        return [Row("attention_grad", operands, n * self.heads, self.work(sources, 5))]
