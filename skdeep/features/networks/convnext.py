"""ConvNeXt: residual networks with the habits of transformers."""

from ...layers import (
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    LayerNorm,
    LayerScale,
    Residual,
    Sequential,
)
from .architecture import register
from .renaming import Renaming


def norm():
    """Every pixel on its own, over the channels."""
    return LayerNorm(epsilon=1e-6)


def block(filters):
    """A 7x7 filter for each channel, then two dense layers per pixel."""
    branch = [
        ("0", Conv2D(filters, 7, padding=3, groups=filters)),
        ("2", norm()),
        ("3", Dense(4 * filters, "gelu", flatten=False)),
        ("5", Dense(filters, flatten=False)),
    ]
    return Residual([("block", Sequential(branch)), ("layer_scale", LayerScale())])


def convnext(counts, filters, n_outputs=1000):
    """Four stages of ``counts`` blocks, with a 2x2 convolution before each but the first."""
    stem = [("0", Conv2D(filters[0], 4, stride=4)), ("1", norm())]
    parts = [Sequential(stem)]
    for k, (count, width) in enumerate(zip(counts, filters)):
        if k:
            parts.append(Sequential([("0", norm()), ("1", Conv2D(width, 2, stride=2))]))
        parts.append(Sequential([(f"{i}", block(width)) for i in range(count)]))
    return [
        ("features", Sequential([(f"{k}", part) for k, part in enumerate(parts)])),
        ("avgpool", GlobalAveragePool2D()),
        ("classifier", Sequential([("0", norm()), ("2", Dense(n_outputs))])),
    ]


def _stages(key, *rules):
    """Rules for the blocks of each stage, and for the convolution before it.

    ``key`` gives the names of both as patterns, the stage's number put in.
    """
    made = []
    for stage in range(4):
        blocks, before = (pattern.format(stage) for pattern in key)
        made += [
            (rf"^{before}\.([01])\.", rf"features.{2 * stage}.\1."),
            *(
                (rf"^{blocks}\.(\d+)\.{theirs}", rf"features.{2 * stage + 1}.\1.{ours}")
                for theirs, ours in rules
            ),
        ]
    return made


NAMINGS = (
    Renaming(  # timm
        r"^stages\.0\.blocks\.0\.conv_dw\.weight$",
        *_stages(
            (r"stages\.{}\.blocks", r"stages\.{}\.downsample"),
            (r"gamma$", "layer_scale"),
            (r"conv_dw\.", "block.0."),
            (r"norm\.", "block.2."),
            (r"mlp\.fc1\.", "block.3."),
            (r"mlp\.fc2\.", "block.5."),
        ),
        (r"^stem\.", "features.0."),
        (r"^head\.norm\.", "classifier.0."),
        (r"^head\.fc\.", "classifier.2."),
    ),
    Renaming(  # the authors' own
        r"^stages\.0\.0\.dwconv\.weight$",
        *_stages(
            (r"stages\.{}", r"downsample_layers\.{}"),
            (r"gamma$", "layer_scale"),
            (r"dwconv\.", "block.0."),
            (r"norm\.", "block.2."),
            (r"pwconv1\.", "block.3."),
            (r"pwconv2\.", "block.5."),
        ),
        (r"^norm\.", "classifier.0."),
        (r"^head\.", "classifier.2."),
    ),
    Renaming(  # Hugging Face
        r"^(convnext\.)?encoder\.stages\.0\.layers\.0\.dwconv\.weight$",
        (r"^convnext\.", ""),
        *_stages(
            (r"encoder\.stages\.{}\.layers", r"encoder\.stages\.{}\.downsampling_layer"),
            (r"layer_scale_parameter$", "layer_scale"),
            (r"dwconv\.", "block.0."),
            (r"layernorm\.", "block.2."),
            (r"pwconv1\.", "block.3."),
            (r"pwconv2\.", "block.5."),
        ),
        (r"^embeddings\.patch_embeddings\.", "features.0.0."),
        (r"^embeddings\.layernorm\.", "features.0.1."),
        (r"^layernorm\.", "classifier.0."),
        (r"^classifier\.(weight|bias)$", r"classifier.2.\1"),
    ),
)

for name, counts in (("convnext_tiny", (3, 3, 9, 3)), ("convnext_small", (3, 3, 27, 3))):
    register(
        name,
        convnext,
        counts,
        (96, 192, 384, 768),
        paper="Liu et al., A ConvNet for the 2020s, 2022",
        points=(
            ("stem", "features.0"),
            *((f"stage{k}", f"features.{2 * k - 1}") for k in range(1, 5)),
            ("pool", "avgpool"),
            ("penultimate", "classifier.0"),
            ("logits", "classifier.2"),
        ),
        renames=((".layer_scale.scale", ".layer_scale"),),
        namings=NAMINGS,
    )
