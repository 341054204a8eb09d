"""Vision transformer: patches as tokens, blocks of self-attention and a small dense network.

torchvision keeps queries, keys and values in one matrix (3 width, width), as we do, transposed.
"""

from ...layers import (
    Conv2D,
    Dense,
    Layer,
    LayerNorm,
    MultiHeadAttention,
    Residual,
    SelectToken,
    Sequential,
    TokenEmbedding,
    TokenMap,
)
from ...layers.base import current_trace
from .architecture import register
from .transformer_names import (
    OLD_TORCHVISION,
    TIMM_TO_TORCHVISION,
    hugging_face_to_torchvision,
)


class PatchMap(Layer):
    """Shows the tokens of patches as a map, under the name "map", and passes all tokens on.

    ``source`` is the layer that made the patches; without it, as in the end of a network, there is
    no map.
    """

    def __init__(self, source):
        self.source = source

    def forward(self, x):
        trace = current_trace()
        patches = trace.activations.get(".".join([*trace.path[:-1], self.source]))
        if patches is not None:
            trace.call(TokenMap(patches.shape[1]), x, "map")
        return x


def block(width, heads, hidden):
    """Attention, then two dense layers per token, each after layer norm and added to its input."""
    attend = [
        ("ln_1", LayerNorm(epsilon=1e-6)),
        ("self_attention", MultiHeadAttention(heads)),
    ]
    feed = [
        ("ln_2", LayerNorm(epsilon=1e-6)),
        ("mlp_0", Dense(hidden, "gelu", flatten=False)),
        ("mlp_3", Dense(width, flatten=False)),
    ]
    return Sequential([("attend", Residual(attend)), ("feed", Residual(feed))])


def vit(patch, width, depth, heads, hidden, n_outputs=1000):
    """``depth`` blocks between patches and the class token."""
    blocks = [(f"encoder_layer_{k}", block(width, heads, hidden)) for k in range(depth)]
    encoder = [("blocks", Sequential(blocks)), ("ln", LayerNorm(epsilon=1e-6))]
    return [
        ("conv_proj", Conv2D(width, patch, stride=patch)),
        ("tokens", TokenEmbedding()),
        ("encoder", Sequential(encoder)),
        ("patches", PatchMap("conv_proj")),
        ("token", SelectToken()),
        ("heads", Sequential([("head", Dense(n_outputs))])),
    ]


register(
    "vit_b_16",
    vit,
    16,
    768,
    12,
    12,
    3072,
    paper="Dosovitskiy et al., An image is worth 16x16 words: transformers for image recognition "
    "at scale, 2021",
    points=(
        ("stem", "tokens"),
        ("stage1", "encoder.blocks.encoder_layer_2"),
        ("stage2", "encoder.blocks.encoder_layer_5"),
        ("stage3", "encoder.blocks.encoder_layer_8"),
        ("stage4", "encoder.blocks.encoder_layer_11"),
        ("pool", "token"),
        ("penultimate", "token"),
        ("logits", "heads.head"),
    ),
    renames=(
        ("tokens.class_token", "class_token"),
        ("tokens.position", "encoder.pos_embedding"),
        ("encoder.blocks.", "encoder.layers."),
        (".attend.", "."),
        (".feed.", "."),
        ("mlp_", "mlp."),
        (".in_proj.W", ".in_proj_weight"),
        (".in_proj.b", ".in_proj_bias"),
    ),
    patches="conv_proj",
    namings=(OLD_TORCHVISION, TIMM_TO_TORCHVISION, hugging_face_to_torchvision),
)
