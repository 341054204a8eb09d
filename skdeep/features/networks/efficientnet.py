"""EfficientNet B0 to B4: one network, made wider and deeper together."""

from math import ceil

from ...layers import Dense, Dropout, GlobalAveragePool2D, Sequential, SqueezeExcite
from .architecture import register
from .blocks import conv_norm, numbered, residual_where_it_fits, rounded
from .namings import TIMM_EFFICIENTNET

# Expansion, kernel size, stride of the first block, filters and blocks of B0.
STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def block(channels, expansion, kernel_size, stride, filters):
    """Expand by 1x1, filter each channel, squeeze and excite, project by 1x1."""
    wide = channels * expansion
    parts = [] if expansion == 1 else [conv_norm(wide, 1, "silu")]
    parts += [
        conv_norm(wide, kernel_size, "silu", stride=stride, groups=wide),
        SqueezeExcite(max(1, channels // 4), "silu"),
        conv_norm(filters, 1),
    ]
    return residual_where_it_fits("block", numbered(parts), stride, channels, filters)


def efficientnet(width, depth, dropout, n_outputs=1000):
    """B0 with ``width`` times the channels and ``depth`` times the blocks."""
    channels = rounded(32 * width)
    features = [conv_norm(channels, 3, "silu", stride=2)]
    for expansion, kernel_size, stride, filters, count in STAGES:
        stage, filters = [], rounded(filters * width)
        for k in range(ceil(count * depth)):
            stage.append(block(channels, expansion, kernel_size, 1 if k else stride, filters))
            channels = filters
        features.append(numbered(stage))
    features.append(conv_norm(4 * channels, 1, "silu"))
    return [
        ("features", numbered(features)),
        ("avgpool", GlobalAveragePool2D()),
        ("classifier", Sequential([("0", Dropout(dropout)), ("1", Dense(n_outputs))])),
    ]


for name, width, depth, dropout, size in (
    ("efficientnet_b0", 1.0, 1.0, 0.2, 224),
    ("efficientnet_b1", 1.0, 1.1, 0.2, 240),
    ("efficientnet_b2", 1.1, 1.2, 0.3, 288),
    ("efficientnet_b3", 1.2, 1.4, 0.3, 300),
    ("efficientnet_b4", 1.4, 1.8, 0.4, 380),
):
    register(
        name,
        efficientnet,
        width,
        depth,
        dropout,
        paper="Tan & Le, EfficientNet: rethinking model scaling for convolutional neural networks, "
        "2019",
        points=(
            ("stem", "features.0"),
            ("stage1", "features.2"),
            ("stage2", "features.3"),
            ("stage3", "features.5"),
            ("stage4", "features.8"),
            ("pool", "avgpool"),
            ("penultimate", "avgpool"),
            ("logits", "classifier.1"),
        ),
        input_shape=(size, size, 3),
        namings=(TIMM_EFFICIENTNET,),
    )
