"""MobileNet V2 and V3: inverted residual blocks."""

from ...layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    Sequential,
    SqueezeExcite,
)
from .architecture import register
from .blocks import conv_norm, numbered, residual_where_it_fits, rounded
from .namings import TIMM_MOBILENET_V2, TIMM_MOBILENET_V3

# Expansion, filters, blocks, and stride of the first of them.
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


def inverted_residual(channels, expansion, filters, stride):
    """Expand by 1x1, filter each channel, project by 1x1; added to the input where that fits."""
    wide = channels * expansion
    parts = [] if expansion == 1 else [conv_norm(wide, 1, "relu6")]
    parts += [
        conv_norm(wide, 3, "relu6", stride=stride, groups=wide),
        Conv2D(filters, 1, use_bias=False),
        BatchNorm(),
    ]
    return residual_where_it_fits("conv", numbered(parts), stride, channels, filters)


def mobilenet_v2(n_outputs=1000):
    """Seventeen blocks between two convolutions."""
    features, channels = [conv_norm(32, 3, "relu6", stride=2)], 32
    for expansion, filters, count, stride in STAGES:
        for k in range(count):
            features.append(inverted_residual(channels, expansion, filters, 1 if k else stride))
            channels = filters
    features.append(conv_norm(1280, 1, "relu6"))
    return [
        ("features", numbered(features)),
        ("avgpool", GlobalAveragePool2D()),
        ("classifier", Sequential([("0", Dropout(0.2)), ("1", Dense(n_outputs))])),
    ]


register(
    "mobilenet_v2",
    mobilenet_v2,
    paper="Sandler et al., MobileNetV2: inverted residuals and linear bottlenecks, 2018",
    points=(
        ("stem", "features.0"),
        ("stage1", "features.3"),
        ("stage2", "features.6"),
        ("stage3", "features.13"),
        ("stage4", "features.18"),
        ("pool", "avgpool"),
        ("penultimate", "avgpool"),
        ("logits", "classifier.1"),
    ),
    namings=(TIMM_MOBILENET_V2,),
)

# Kernel size, channels in the middle, filters, squeeze-and-excitation, activation, stride.
LARGE = (
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hardswish", 2),
    (3, 200, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 184, 80, False, "hardswish", 1),
    (3, 480, 112, True, "hardswish", 1),
    (3, 672, 112, True, "hardswish", 1),
    (5, 672, 160, True, "hardswish", 2),
    (5, 960, 160, True, "hardswish", 1),
    (5, 960, 160, True, "hardswish", 1),
)
SMALL = (
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hardswish", 2),
    (5, 240, 40, True, "hardswish", 1),
    (5, 240, 40, True, "hardswish", 1),
    (5, 120, 48, True, "hardswish", 1),
    (5, 144, 48, True, "hardswish", 1),
    (5, 288, 96, True, "hardswish", 2),
    (5, 576, 96, True, "hardswish", 1),
    (5, 576, 96, True, "hardswish", 1),
)
EPSILON = 1e-3


def block_v3(channels, kernel_size, wide, filters, excite, activation, stride):
    """The block of V2 with squeeze-and-excitation before the projection."""
    parts = [] if wide == channels else [conv_norm(wide, 1, activation, epsilon=EPSILON)]
    parts.append(
        conv_norm(wide, kernel_size, activation, stride=stride, groups=wide, epsilon=EPSILON)
    )
    if excite:
        parts.append(SqueezeExcite(rounded(wide // 4), gate="hardsigmoid"))
    parts.append(conv_norm(filters, 1, epsilon=EPSILON))
    return residual_where_it_fits("block", numbered(parts), stride, channels, filters)


def mobilenet_v3(blocks, hidden, n_outputs=1000):
    """Blocks between two convolutions, and a dense layer of ``hidden`` units."""
    features, channels = [conv_norm(16, 3, "hardswish", stride=2, epsilon=EPSILON)], 16
    for block in blocks:
        features.append(block_v3(channels, *block))
        channels = block[2]
    features.append(conv_norm(6 * channels, 1, "hardswish", epsilon=EPSILON))
    classifier = [
        ("0", Dense(hidden, "hardswish")),
        ("2", Dropout(0.2)),
        ("3", Dense(n_outputs)),
    ]
    return [
        ("features", numbered(features)),
        ("avgpool", GlobalAveragePool2D()),
        ("classifier", Sequential(classifier)),
    ]


for name, blocks, hidden, stages in (
    ("mobilenet_v3_large", LARGE, 1280, (3, 6, 12, 16)),
    ("mobilenet_v3_small", SMALL, 1024, (1, 3, 8, 12)),
):
    register(
        name,
        mobilenet_v3,
        blocks,
        hidden,
        paper="Howard et al., Searching for MobileNetV3, 2019",
        points=(
            ("stem", "features.0"),
            *((f"stage{k}", f"features.{place}") for k, place in enumerate(stages, 1)),
            ("pool", "avgpool"),
            ("penultimate", "classifier.0"),
            ("logits", "classifier.3"),
        ),
        namings=(TIMM_MOBILENET_V3,),
    )
