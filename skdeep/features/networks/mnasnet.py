"""MNASNet B1, with half and all of its channels."""

from ...layers import BatchNorm, Conv2D, Dense, Dropout, GlobalAveragePool2D, Sequential
from .architecture import register
from .blocks import numbered, residual_where_it_fits, rounded
from .namings import TIMM_MNASNET

# Expansion, kernel size, stride of the first block, filters, blocks.
STAGES = (
    (3, 3, 2, 24, 3),
    (3, 5, 2, 40, 3),
    (6, 5, 2, 80, 3),
    (6, 3, 1, 96, 2),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


def conv(place, filters, kernel_size, activation="relu", stride=1, groups=1):
    """Convolution and batch norm; torchvision numbers the activation as well."""
    padding = kernel_size // 2
    convolution = Conv2D(
        filters, kernel_size, stride=stride, padding=padding, groups=groups, use_bias=False
    )
    return [(f"{place}", convolution), (f"{place + 1}", BatchNorm(activation))]


def block(channels, expansion, kernel_size, stride, filters):
    """Expand by 1x1, filter each channel, project by 1x1; added to the input where that fits."""
    wide = channels * expansion
    parts = conv(0, wide, 1) + conv(3, wide, kernel_size, stride=stride, groups=wide)
    branch = Sequential(parts + conv(6, filters, 1, None))
    return residual_where_it_fits("block", branch, stride, channels, filters)


def mnasnet(width, n_outputs=1000):
    """Sixteen blocks between a separable convolution and a 1x1 one."""
    first, channels = rounded(32 * width), rounded(16 * width)
    layers = conv(0, first, 3, stride=2) + conv(3, first, 3, groups=first)
    layers += conv(6, channels, 1, None)
    for place, (expansion, kernel_size, stride, filters, count) in enumerate(STAGES, 8):
        blocks, filters = [], rounded(filters * width)
        for k in range(count):
            blocks.append(block(channels, expansion, kernel_size, 1 if k else stride, filters))
            channels = filters
        layers.append((f"{place}", numbered(blocks)))
    layers += conv(14, 1280, 1)
    return [
        ("layers", Sequential(layers)),
        ("avgpool", GlobalAveragePool2D()),
        ("classifier", Sequential([("0", Dropout(0.2)), ("1", Dense(n_outputs))])),
    ]


for name, width in (("mnasnet0_5", 0.5), ("mnasnet1_0", 1.0)):
    register(
        name,
        mnasnet,
        width,
        paper="Tan et al., MnasNet: platform-aware neural architecture search for mobile, 2019",
        points=(
            ("stem", "layers.1"),
            ("stage1", "layers.8"),
            ("stage2", "layers.9"),
            ("stage3", "layers.11"),
            ("stage4", "layers.15"),
            ("pool", "avgpool"),
            ("penultimate", "avgpool"),
            ("logits", "classifier.1"),
        ),
        renames=((".block.", ".layers."),),
        namings=(TIMM_MNASNET,),
    )
