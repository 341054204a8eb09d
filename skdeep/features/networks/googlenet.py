"""GoogLeNet with batch norm, without the auxiliary classifiers, as torchvision predicts with it.

Two habits of torchvision's are kept, because its weights were trained so: the third branch of an
inception block has a 3x3 convolution where the paper has 5x5, and batch norm's epsilon is 1e-3.
"""

from ...layers import (
    BatchNorm,
    Conv2D,
    Dense,
    Dropout,
    GlobalAveragePool2D,
    MaxPool2D,
    Parallel,
    Sequential,
)
from .architecture import register


def conv(filters, kernel_size, stride=1, padding=0):
    """Convolution, batch norm, relu."""
    convolution = Conv2D(filters, kernel_size, stride=stride, padding=padding, use_bias=False)
    return Sequential([("conv", convolution), ("bn", BatchNorm("relu", epsilon=1e-3))])


def inception(one, three_in, three, five_in, five, pooled):
    """Four branches, side by side."""
    pool = MaxPool2D(3, stride=1, padding=1, ceil_mode=True)
    return Parallel(
        [
            ("branch1", conv(one, 1)),
            ("branch2", Sequential([("0", conv(three_in, 1)), ("1", conv(three, 3, padding=1))])),
            ("branch3", Sequential([("0", conv(five_in, 1)), ("1", conv(five, 3, padding=1))])),
            ("branch4", Sequential([("0", pool), ("1", conv(pooled, 1))])),
        ]
    )


def googlenet(n_outputs=1000):
    """Nine inception blocks."""
    return [
        ("conv1", conv(64, 7, stride=2, padding=3)),
        ("maxpool1", MaxPool2D(3, stride=2, ceil_mode=True)),
        ("conv2", conv(64, 1)),
        ("conv3", conv(192, 3, padding=1)),
        ("maxpool2", MaxPool2D(3, stride=2, ceil_mode=True)),
        ("inception3a", inception(64, 96, 128, 16, 32, 32)),
        ("inception3b", inception(128, 128, 192, 32, 96, 64)),
        ("maxpool3", MaxPool2D(3, stride=2, ceil_mode=True)),
        ("inception4a", inception(192, 96, 208, 16, 48, 64)),
        ("inception4b", inception(160, 112, 224, 24, 64, 64)),
        ("inception4c", inception(128, 128, 256, 24, 64, 64)),
        ("inception4d", inception(112, 144, 288, 32, 64, 64)),
        ("inception4e", inception(256, 160, 320, 32, 128, 128)),
        ("maxpool4", MaxPool2D(2, stride=2, ceil_mode=True)),
        ("inception5a", inception(256, 160, 320, 32, 128, 128)),
        ("inception5b", inception(384, 192, 384, 48, 128, 128)),
        ("avgpool", GlobalAveragePool2D()),
        ("dropout", Dropout(0.2)),
        ("fc", Dense(n_outputs)),
    ]


register(
    "googlenet",
    googlenet,
    paper="Szegedy et al., Going deeper with convolutions, 2015",
    points=(
        ("stem", "conv1"),
        ("stage1", "conv3"),
        ("stage2", "inception3b"),
        ("stage3", "inception4e"),
        ("stage4", "inception5b"),
        ("pool", "avgpool"),
        ("penultimate", "avgpool"),
        ("logits", "fc"),
    ),
    transform_input=True,
)
