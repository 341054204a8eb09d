"""ResNet, with the stride of a bottleneck in its 3x3 convolution, as torchvision has it.

ResNeXt has grouped 3x3 convolutions and Wide-ResNet more channels in them.
"""

from functools import partial

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
from .namings import HUGGING_FACE_RESNET


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


def bottleneck(filters, stride, shortcut, part=4, groups=1):
    """1x1 to a ``part`` of the channels, 3x3, 1x1 back."""
    few = filters // part
    middle = Conv2D(few, 3, stride=stride, padding=1, groups=groups, use_bias=False)
    return Residual(
        [
            ("conv1", Conv2D(few, 1, use_bias=False)),
            ("bn1", BatchNorm("relu")),
            ("conv2", middle),
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


HE = "He et al., Deep residual learning for image recognition, 2016"
XIE = "Xie et al., Aggregated residual transformations for deep neural networks, 2017"
ZAGORUYKO = "Zagoruyko & Komodakis, Wide residual networks, 2016"

for name, block, first, counts, paper in (
    ("resnet18", basic, 64, (2, 2, 2, 2), HE),
    ("resnet34", basic, 64, (3, 4, 6, 3), HE),
    ("resnet50", bottleneck, 256, (3, 4, 6, 3), HE),
    ("resnet101", bottleneck, 256, (3, 4, 23, 3), HE),
    ("resnet152", bottleneck, 256, (3, 8, 36, 3), HE),
    ("resnext50_32x4d", partial(bottleneck, part=2, groups=32), 256, (3, 4, 6, 3), XIE),
    ("wide_resnet50_2", partial(bottleneck, part=2), 256, (3, 4, 6, 3), ZAGORUYKO),
):
    register(
        name,
        resnet,
        block,
        first,
        counts,
        paper=paper,
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
        namings=(HUGGING_FACE_RESNET,),
    )
