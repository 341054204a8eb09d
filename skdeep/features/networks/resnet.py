"""ResNet, with the stride of a bottleneck in its 3x3 convolution, as torchvision has it."""

from ...layers import (
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    MaxPool2D,
    Residual,
    Sequential,
)
from .architecture import register


def basic(filters, stride, shortcut):
    """Two 3x3 convolutions."""
    return Residual(
        [
            ("conv1", Conv2D(filters, 3, stride=stride, padding=1, use_bias=False)),
            ("bn1", BatchNorm("relu")),
            ("conv2", Conv2D(filters, 3, padding=1, use_bias=False)),
            ("bn2", BatchNorm()),
        ],
        shortcut=shortcut,
        activation="relu",
    )


def bottleneck(filters, stride, shortcut):
    """1x1 to a quarter of the channels, 3x3, 1x1 back."""
    return Residual(
        [
            ("conv1", Conv2D(filters // 4, 1, use_bias=False)),
            ("bn1", BatchNorm("relu")),
            ("conv2", Conv2D(filters // 4, 3, stride=stride, padding=1, use_bias=False)),
            ("bn2", BatchNorm("relu")),
            ("conv3", Conv2D(filters, 1, use_bias=False)),
            ("bn3", BatchNorm()),
        ],
        shortcut=shortcut,
        activation="relu",
    )


def stage(block, filters, stride, count, channels):
    """``count`` blocks; the first brings ``channels`` to ``filters`` and takes the stride."""
    shortcut = None
    if stride > 1 or channels != filters:
        project = Conv2D(filters, 1, stride=stride, use_bias=False)
        shortcut = Sequential([("0", project), ("1", BatchNorm())])
    blocks = [("0", block(filters, stride, shortcut))]
    return Sequential(blocks + [(f"{k}", block(filters, 1, None)) for k in range(1, count)])


def resnet(block, first, counts, n_outputs=1000):
    """A 7x7 convolution and four stages of blocks; the first stage has ``first`` filters."""
    filters = [first << k for k in range(4)]
    return [
        ("conv1", Conv2D(64, 7, stride=2, padding=3, use_bias=False)),
        ("bn1", BatchNorm("relu")),
        ("maxpool", MaxPool2D(3, stride=2, padding=1)),
        ("layer1", stage(block, filters[0], 1, counts[0], 64)),
        ("layer2", stage(block, filters[1], 2, counts[1], filters[0])),
        ("layer3", stage(block, filters[2], 2, counts[2], filters[1])),
        ("layer4", stage(block, filters[3], 2, counts[3], filters[2])),
        ("avgpool", GlobalAveragePool2D()),
        ("fc", Dense(n_outputs)),
    ]


for name, block, first, counts in (
    ("resnet18", basic, 64, (2, 2, 2, 2)),
    ("resnet34", basic, 64, (3, 4, 6, 3)),
    ("resnet50", bottleneck, 256, (3, 4, 6, 3)),
    ("resnet101", bottleneck, 256, (3, 4, 23, 3)),
    ("resnet152", bottleneck, 256, (3, 8, 36, 3)),
):
    register(
        name,
        resnet,
        block,
        first,
        counts,
        paper="He et al., Deep residual learning for image recognition, 2016",
        points=(
            ("stem", "maxpool"),
            ("stage1", "layer1"),
            ("stage2", "layer2"),
            ("stage3", "layer3"),
            ("stage4", "layer4"),
            ("pool", "avgpool"),
            ("penultimate", "avgpool"),
            ("logits", "fc"),
        ),
        renames=((".shortcut.", ".downsample."),),
    )
