"""MobileNet V2: inverted residual blocks."""

from ...layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    Residual,
    Sequential,
)
from .architecture import register

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


def conv(filters, kernel_size, stride=1, groups=1):
    """Convolution, batch norm, relu limited to 6."""
    convolution = Conv2D(
        filters,
        kernel_size,
        stride=stride,
        padding=kernel_size // 2,
        groups=groups,
        use_bias=False,
    )
    return Sequential([("0", convolution), ("1", BatchNorm("relu6"))])


def inverted_residual(channels, expansion, filters, stride):
    """Expand by 1x1, filter each channel, project by 1x1; added to the input where that fits."""
    wide = channels * expansion
    parts = [] if expansion == 1 else [conv(wide, 1)]
    parts += [
        conv(wide, 3, stride, groups=wide),
        Conv2D(filters, 1, use_bias=False),
        BatchNorm(),
    ]
    branch = [("conv", Sequential([(f"{k}", part) for k, part in enumerate(parts)]))]
    return Residual(branch) if stride == 1 and channels == filters else Sequential(branch)


def mobilenet_v2(n_outputs=1000):
    """Seventeen blocks between two convolutions."""
    features, channels = [conv(32, 3, stride=2)], 32
    for expansion, filters, count, stride in STAGES:
        for k in range(count):
            features.append(inverted_residual(channels, expansion, filters, 1 if k else stride))
            channels = filters
    features.append(conv(1280, 1))
    return [
        ("features", Sequential([(f"{k}", part) for k, part in enumerate(features)])),
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
)
