"""A small residual network for pictures of 64 x 64 pixels, whose weights come with the package.

They were trained by this project alone on generated pictures: see the page "formula" of the
documentation. It knows no classes: its last layer gives the features.
"""

from ...layers import BatchNorm, Conv2D, GlobalAveragePool2D, MaxPool2D
from .architecture import register
from .resnet import HE, basic, stage

SIDE = 64
FILTERS = (48, 96, 192, 256)


def formula():
    """A 5x5 convolution, a pool, and a block of two convolutions for each number of filters."""
    parts = [
        ("conv1", Conv2D(32, 5, stride=2, padding=2, use_bias=False)),
        ("bn1", BatchNorm("relu")),
        ("maxpool", MaxPool2D(2)),
    ]
    channels = 32
    for k, filters in enumerate(FILTERS, 1):
        parts.append((f"layer{k}", stage(basic, filters, 1 if k == 1 else 2, 1, channels)))
        channels = filters
    return [*parts, ("avgpool", GlobalAveragePool2D())]


register(
    "formula",
    formula,
    paper=HE,
    points=(
        ("stem", "maxpool"),
        ("stage1", "layer1"),
        ("stage2", "layer2"),
        ("stage3", "layer3"),
        ("stage4", "layer4"),
        ("pool", "avgpool"),
        ("penultimate", "avgpool"),
    ),
    input_shape=(SIDE, SIDE, 3),
    n_outputs=FILTERS[-1],
    renames=((".shortcut.", ".downsample."),),
)
