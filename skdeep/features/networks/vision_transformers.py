"""Vision transformers under timm's names: ViT-S/16, DINOv2, and CLIP's encoder of images.

All are blocks of self-attention and of two dense layers per token. DINOv2 scales what a block adds;
CLIP normalises the tokens before the first block, approximates GELU and projects the class token.
"""

from ...layers import (
    Conv2D,
    Dense,
    LayerNorm,
    LayerScale,
    MultiHeadAttention,
    Residual,
    SelectToken,
    Sequential,
    TokenEmbedding,
)
from .architecture import register
from .transformer_names import (
    FACEBOOK_DINOV2,
    HUGGING_FACE_CLIP,
    HUGGING_FACE_DINOV2,
    HUGGING_FACE_VIT,
    OPEN_CLIP,
    timm_clip,
)
from .vit import PatchMap


def block(width, heads, activation, epsilon, scaled):
    """Attention, then two dense layers per token, each after layer norm and added to its input."""
    mlp = [
        ("fc1", Dense(4 * width, activation, flatten=False)),
        ("fc2", Dense(width, flatten=False)),
    ]
    attend = [("norm1", LayerNorm(epsilon=epsilon)), ("attn", MultiHeadAttention(heads))]
    feed = [("norm2", LayerNorm(epsilon=epsilon)), ("mlp", Sequential(mlp))]
    if scaled:
        attend.append(("ls1", LayerScale()))
        feed.append(("ls2", LayerScale()))
    return Sequential([("attend", Residual(attend)), ("feed", Residual(feed))])


def transformer(patch, width, heads, activation="gelu", epsilon=1e-6, scaled=False):
    """Patches, tokens, twelve blocks, the class token."""
    blocks = [(f"{k}", block(width, heads, activation, epsilon, scaled)) for k in range(12)]
    return [
        ("patch_embed", Sequential([("proj", Conv2D(width, patch, stride=patch))])),
        ("tokens", TokenEmbedding()),
        ("blocks", Sequential(blocks)),
        ("norm", LayerNorm(epsilon=epsilon)),
        ("patches", PatchMap("patch_embed.proj")),
        ("token", SelectToken()),
    ]


def vit(patch, width, heads, n_outputs=1000):
    """With a classifier."""
    return [*transformer(patch, width, heads), ("head", Dense(n_outputs))]


def dinov2(width, heads):
    """Without one: trained to see, not to tell classes."""
    return transformer(14, width, heads, scaled=True)


def clip(patch, width, heads, n_outputs=512, activation="quick_gelu"):
    """With a projection to the space that pictures and sentences share."""
    layers = transformer(patch, width, heads, activation, 1e-5)
    proj = Conv2D(width, patch, stride=patch, use_bias=False)
    layers[0] = ("patch_embed", Sequential([("proj", proj)]))
    layers.insert(2, ("norm_pre", LayerNorm(epsilon=1e-5)))
    return [*layers, ("head", Dense(n_outputs, use_bias=False))]


RENAMES = (
    ("tokens.class_token", "cls_token"),
    ("tokens.position", "pos_embed"),
    (".attend.", "."),
    (".feed.", "."),
    (".attn.in_proj.", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
)


def points(stem, *more):
    """Of a network of twelve blocks."""
    token = (("pool", "token"), ("penultimate", "token"))
    stages = ((f"stage{k}", f"blocks.{3 * k - 1}") for k in range(1, 5))
    return (("stem", stem), *stages, *token, *more)


register(
    "vit_s_16",
    vit,
    16,
    384,
    6,
    paper="Touvron et al., Training data-efficient image transformers & distillation through "
    "attention, 2021",
    points=points("tokens", ("logits", "head")),
    renames=RENAMES,
    patches="patch_embed.proj",
    namings=(HUGGING_FACE_VIT,),
)

for name, width, heads in (("dinov2_vits14", 384, 6), ("dinov2_vitb14", 768, 12)):
    register(
        name,
        dinov2,
        width,
        heads,
        paper="Oquab et al., DINOv2: learning robust visual features without supervision, 2023",
        points=points("tokens"),
        n_outputs=width,
        renames=RENAMES,
        patches="patch_embed.proj",
        position_offset=0.1,
        namings=(FACEBOOK_DINOV2, HUGGING_FACE_DINOV2),
    )

register(
    "clip_vit_b_32",
    clip,
    32,
    768,
    12,
    paper="Radford et al., Learning transferable visual models from natural language supervision, "
    "2021",
    points=points("norm_pre", ("logits", "head")),
    n_outputs=512,
    renames=RENAMES,
    patches="patch_embed.proj",
    namings=(HUGGING_FACE_CLIP, OPEN_CLIP, timm_clip),
    activations=("quick_gelu", "gelu"),
)
