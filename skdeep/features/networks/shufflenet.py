"""ShuffleNet V2: half of the channels pass by, and the halves are mixed."""

from ...layers import (
    BatchNorm,
    ChannelShuffle,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    MaxPool2D,
    Parallel,
    Sequential,
)
from .architecture import register
from .blocks import conv_norm, numbered


def pointwise(place, filters):
    """1x1 convolution, batch norm, relu."""
    return [(f"{place}", Conv2D(filters, 1, use_bias=False)), (f"{place + 1}", BatchNorm("relu"))]


def depthwise(place, channels, stride):
    """3x3 convolution of each channel, batch norm."""
    convolution = Conv2D(channels, 3, stride=stride, padding=1, groups=channels, use_bias=False)
    return [(f"{place}", convolution), (f"{place + 1}", BatchNorm())]


def block(channels, half, stride):
    """Two branches; with stride 1 the first is half of the input, with 2 both read all of it."""
    branch = pointwise(0, half) + depthwise(3, half, stride) + pointwise(5, half)
    same = stride == 1
    first = "passthrough" if same else Sequential(depthwise(0, channels, 2) + pointwise(2, half))
    halves = Parallel([("branch1", first), ("branch2", Sequential(branch))], split=same)
    return Sequential([("halves", halves), ("shuffle", ChannelShuffle(2))])


def shufflenet_v2(filters, n_outputs=1000):
    """Three stages, whose maps have ``filters`` channels, between two convolutions."""
    stages, channels = [], 24
    for name, width, count in zip(("stage2", "stage3", "stage4"), filters, (4, 8, 4)):
        blocks = [
            block(channels, width // 2, 2),
            *(block(width, width // 2, 1) for _ in range(1, count)),
        ]
        stages.append((name, numbered(blocks)))
        channels = width
    return [
        ("conv1", conv_norm(24, 3, "relu", stride=2)),
        ("maxpool", MaxPool2D(3, stride=2, padding=1)),
        *stages,
        ("conv5", conv_norm(1024, 1, "relu")),
        ("avgpool", GlobalAveragePool2D()),
        ("fc", Dense(n_outputs)),
    ]


for name, filters in (
    ("shufflenet_v2_x0_5", (48, 96, 192)),
    ("shufflenet_v2_x1_0", (116, 232, 464)),
):
    register(
        name,
        shufflenet_v2,
        filters,
        paper="Ma et al., ShuffleNet V2: practical guidelines for efficient CNN architecture "
        "design, 2018",
        points=(
            ("stem", "conv1"),
            ("stage1", "maxpool"),
            ("stage2", "stage2"),
            ("stage3", "stage3"),
            ("stage4", "conv5"),
            ("pool", "avgpool"),
            ("penultimate", "avgpool"),
            ("logits", "fc"),
        ),
        renames=((".halves.", "."),),
    )
