"""DenseNet: every layer reads the maps of all layers before it in its block."""

from ...layers import (
    AveragePool2D,
    BatchNorm,
    Conv2D,
    Dense,
    GlobalAveragePool2D,
    MaxPool2D,
    Parallel,
    Sequential,
)
from .architecture import register
from .keras_names import KERAS_DENSENET
from .namings import DENSENET_2017

GROWTH = 32  # channels that a layer adds


def layer():
    """Batch norm and relu, then a convolution: 1x1 to few channels, 3x3; joined to the input."""
    new = [
        ("norm1", BatchNorm("relu")),
        ("conv1", Conv2D(4 * GROWTH, 1, use_bias=False)),
        ("norm2", BatchNorm("relu")),
        ("conv2", Conv2D(GROWTH, 3, padding=1, use_bias=False)),
    ]
    return Parallel([("old", "passthrough"), ("new", Sequential(new))])


def transition(channels):
    """Half of the channels, half of the height and width."""
    parts = [
        ("norm", BatchNorm("relu")),
        ("conv", Conv2D(channels // 2, 1, use_bias=False)),
        ("pool", AveragePool2D(2)),
    ]
    return Sequential(parts)


def densenet(counts, n_outputs=1000):
    """Four blocks of ``counts`` layers."""
    features, channels = (
        [
            ("conv0", Conv2D(64, 7, stride=2, padding=3, use_bias=False)),
            ("norm0", BatchNorm("relu")),
            ("pool0", MaxPool2D(3, stride=2, padding=1)),
        ],
        64,
    )
    for place, count in enumerate(counts, 1):
        block = [(f"denselayer{k}", layer()) for k in range(1, count + 1)]
        features.append((f"denseblock{place}", Sequential(block)))
        channels += GROWTH * count
        if place < len(counts):
            features.append((f"transition{place}", transition(channels)))
            channels //= 2
    features.append(("norm5", BatchNorm("relu")))
    return [
        ("features", Sequential(features)),
        ("avgpool", GlobalAveragePool2D()),
        ("classifier", Dense(n_outputs)),
    ]


for name, counts in (
    ("densenet121", (6, 12, 24, 16)),
    ("densenet169", (6, 12, 32, 32)),
    ("densenet201", (6, 12, 48, 32)),
):
    register(
        name,
        densenet,
        counts,
        paper="Huang et al., Densely connected convolutional networks, 2017",
        points=(
            ("stem", "features.norm0"),
            *((f"stage{k}", f"features.denseblock{k}") for k in range(1, 4)),
            ("stage4", "features.norm5"),
            ("pool", "avgpool"),
            ("penultimate", "avgpool"),
            ("logits", "classifier"),
        ),
        renames=((".new.", "."),),
        namings=(DENSENET_2017, KERAS_DENSENET),
    )
