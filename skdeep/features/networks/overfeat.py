"""OverFeat in its small, fast and its large, accurate form; convolutions to the end."""

from ...layers import Conv2D, GlobalAveragePool2D, MaxPool2D
from .architecture import register


def small(n_outputs=1000):
    """Six convolutions and, as convolutions, three dense layers."""
    return [
        ("conv1", Conv2D(96, 11, "relu", stride=4)),
        ("pool1", MaxPool2D(2)),
        ("conv2", Conv2D(256, 5, "relu")),
        ("pool2", MaxPool2D(2)),
        ("conv3", Conv2D(512, 3, "relu", padding=1)),
        ("conv4", Conv2D(1024, 3, "relu", padding=1)),
        ("conv5", Conv2D(1024, 3, "relu", padding=1)),
        ("pool5", MaxPool2D(2)),
        ("conv6", Conv2D(3072, 6, "relu")),
        ("conv7", Conv2D(4096, 1, "relu")),
        ("conv8", Conv2D(n_outputs, 1)),
        ("mean", GlobalAveragePool2D()),
    ]


def large(n_outputs=1000):
    """Seven convolutions and, as convolutions, three dense layers."""
    return [
        ("conv1", Conv2D(96, 7, "relu", stride=2)),
        ("pool1", MaxPool2D(3)),
        ("conv2", Conv2D(256, 7, "relu")),
        ("pool2", MaxPool2D(2)),
        ("conv3", Conv2D(512, 3, "relu", padding=1)),
        ("conv4", Conv2D(512, 3, "relu", padding=1)),
        ("conv5", Conv2D(1024, 3, "relu", padding=1)),
        ("conv6", Conv2D(1024, 3, "relu", padding=1)),
        ("pool6", MaxPool2D(3)),
        ("conv7", Conv2D(4096, 5, "relu")),
        ("conv8", Conv2D(4096, 1, "relu")),
        ("conv9", Conv2D(n_outputs, 1)),
        ("mean", GlobalAveragePool2D()),
    ]


# The large network's maps are 1/2, 1/6, 1/12 and 1/36 of the picture, near to nobody else's.
for name, build, side, points, head in (
    ("overfeat_small", small, 231, ("conv1", "conv1", "pool1", "conv5", "pool5", "pool5", "conv7"),
     "conv8"),
    ("overfeat_large", large, 221, ("conv1", "pool1", "pool1", "conv6", "pool6", "pool6", "conv8"),
     "conv9"),
):  # fmt: skip
    canonical = ("stem", "stage1", "stage2", "stage3", "stage4", "pool", "penultimate")
    register(
        name,
        build,
        paper="Sermanet et al., OverFeat: integrated recognition, localization and detection "
        "using convolutional networks, 2014",
        points=(*zip(canonical, points), ("logits", "mean")),
        input_shape=(side, side, 3),
        head=head,
    )
