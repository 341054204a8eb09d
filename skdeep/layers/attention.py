"""Layers of transformers: tokens from images, and attention between tokens."""

import math

from .. import ops
from .._validation import COUNT, FLAG, INDEX, optional
from ..graph.op import OPS
from .base import Layer, current_trace, describe, shown
from .dense import Dense

__all__ = ["MultiHeadAttention", "SelectToken", "TokenEmbedding", "TokenMap"]


class MultiHeadAttention(Layer):
    """Self-attention: every token takes from all tokens of its sample what its heads look for.

    One dense layer gives queries, keys and values, side by side; another one joins the heads.

    Parameters
    ----------
    heads : int, default=8
        Must divide the width of a token.
    use_bias : bool, default=True
    weight_init : str or Initializer, default="auto"
    trainable : bool, default=True

    References
    ----------
    Vaswani et al., Attention is all you need, 2017.

    Examples
    --------
    >>> from skdeep.layers import Dense, LayerNorm, MultiHeadAttention, Residual
    >>> block = [
    ...     Residual([LayerNorm(), MultiHeadAttention(heads=4)]),
    ...     Residual([LayerNorm(), Dense(256, "gelu", flatten=False), Dense(64, flatten=False)]),
    ... ]
    """

    _rules = {"heads": COUNT, "use_bias": FLAG, "trainable": FLAG}

    def __init__(self, heads=8, *, use_bias=True, weight_init="auto", trainable=True):
        self.heads = heads
        self.use_bias = use_bias
        self.weight_init = weight_init
        self.trainable = trainable

    def forward(self, x):
        """(n, tokens, width) to the same."""
        if x.ndim != 3:
            raise ValueError(
                f"{describe(self)} needs (n, tokens, width) input, got {shown(x.shape)}; put "
                "TokenEmbedding or Reshape before it."
            )
        width = x.shape[2]
        if width % self.heads:
            raise ValueError(
                f"{describe(self)}: heads={self.heads} does not divide the width {width} of a token"
            )
        options = {"use_bias": self.use_bias, "weight_init": self.weight_init, "flatten": False}
        call = current_trace().call
        qkv = call(Dense(3 * width, **options), x, "in_proj")
        y = ops.self_attention(qkv, int(self.heads))
        return call(Dense(width, **options), y, "out_proj")


class TokenEmbedding(Layer):
    """Pixels (or patches) as a row of tokens, a learnt class token first, positions added.

    Parameters
    ----------
    class_token : bool, default=True
        Put a learnt token before the others, for :class:`SelectToken` at the end.
    position_init : str, float, array or Initializer, default="zeros"
        Start of the position embedding, one vector per token.
    trainable : bool, default=True

    References
    ----------
    Dosovitskiy et al., An image is worth 16x16 words: transformers for image recognition at scale,
    2021.

    Examples
    --------
    >>> from skdeep.layers import Conv2D, TokenEmbedding
    >>> patches = [Conv2D(64, 4, stride=4), TokenEmbedding()]
    """

    _rules = {"class_token": FLAG, "trainable": FLAG}

    def __init__(self, class_token=True, *, position_init="zeros", trainable=True):
        self.class_token = class_token
        self.position_init = position_init
        self.trainable = trainable

    def forward(self, x):
        """(n, ..., width) to (n, tokens, width)."""
        if x.ndim < 3:
            raise ValueError(f"{describe(self)} needs (n, ..., width) input, got {shown(x.shape)}.")
        x = ops.reshape(x, (x.shape[0], -1, x.shape[-1]))
        _, tokens, width = x.shape
        tokens += int(self.class_token)
        position = self.parameter("position", (1, tokens, width), self.position_init)
        if self.class_token:
            first = self.parameter("class_token", (1, 1, width), "zeros")
            # Zeros in the place of the token, which is added with the positions.
            x = OPS["PadAxis"](x, axis=1, before=1, after=0).output
            position = position + OPS["PadAxis"](first, axis=1, before=0, after=tokens - 1).output
        return x + position


class SelectToken(Layer):
    """One token of every sample.

    Parameters
    ----------
    index : int, default=0
        0 is the class token of :class:`TokenEmbedding`.

    Examples
    --------
    >>> from skdeep.layers import Dense, SelectToken
    >>> head = [SelectToken(), Dense(10)]
    """

    _rules = {"index": INDEX}

    def __init__(self, index=0):
        self.index = index

    def forward(self, x):
        """(n, tokens, width) to (n, width)."""
        if x.ndim != 3 or not 0 <= self.index < x.shape[1]:
            raise ValueError(
                f"{describe(self)} needs (n, tokens, width) input with more than {self.index} "
                f"tokens, got {shown(x.shape)}."
            )
        token = ops.slice_axis(x, 1, int(self.index), int(self.index) + 1)
        return ops.reshape(token, (x.shape[0], x.shape[2]))


class TokenMap(Layer):
    """Tokens of pixels (or patches) as a map again: what :class:`TokenEmbedding` began with.

    Parameters
    ----------
    height : int or None, default=None
        Rows of the map; None for a square one.
    first : int, default=1
        Tokens to leave out, which belong to no pixel: the class token.

    Examples
    --------
    >>> from skdeep.layers import Conv2D, LayerNorm, MultiHeadAttention, Residual, TokenEmbedding
    >>> from skdeep.layers import TokenMap
    >>> attend = [TokenEmbedding(), Residual([LayerNorm(), MultiHeadAttention(4)]), TokenMap()]
    >>> layers = [Conv2D(32, 3, padding="same"), *attend, Conv2D(32, 3, padding="same")]
    """

    _rules = {"height": optional(COUNT), "first": INDEX}

    def __init__(self, height=None, first=1):
        self.height = height
        self.first = first

    def forward(self, x):
        """(n, tokens, width) to (n, height, tokens of a row, width)."""
        if x.ndim != 3 or x.shape[1] <= self.first:
            raise ValueError(
                f"{describe(self)} needs (n, tokens, width) input with more than {self.first} "
                f"tokens, got {shown(x.shape)}."
            )
        n, tokens, width = x.shape
        tokens -= self.first
        height = math.isqrt(tokens) if self.height is None else int(self.height)
        if tokens % height or (self.height is None and height**2 != tokens):
            rows = "as many rows as columns" if self.height is None else f"{height} rows"
            raise ValueError(f"{describe(self)}: {tokens} tokens give no map of {rows}.")
        x = ops.slice_axis(x, 1, int(self.first), tokens + int(self.first))
        return ops.reshape(x, (n, height, tokens // height, width))
