"""AlexNet, in the form for one processor that torchvision has."""

from ...layers import Conv2D, Dense, Dropout, Flatten, MaxPool2D, Sequential
from .architecture import register


def alexnet(n_outputs=1000):
    """Five convolutions, three dense layers."""
    features = [
        ("0", Conv2D(64, 11, "relu", stride=4, padding=2)),
        ("2", MaxPool2D(3, stride=2)),
        ("3", Conv2D(192, 5, "relu", padding=2)),
        ("5", MaxPool2D(3, stride=2)),
        ("6", Conv2D(384, 3, "relu", padding=1)),
        ("8", Conv2D(256, 3, "relu", padding=1)),
        ("10", Conv2D(256, 3, "relu", padding=1)),
        ("12", MaxPool2D(3, stride=2)),
    ]
    classifier = [
        ("0", Dropout(0.5)),
        ("1", Dense(4096, "relu")),
        ("3", Dropout(0.5)),
        ("4", Dense(4096, "relu")),
        ("6", Dense(n_outputs)),
    ]
    return [
        ("features", Sequential(features)),
        ("flatten", Flatten()),
        ("classifier", Sequential(classifier)),
    ]


register(
    "alexnet",
    alexnet,
    paper="Krizhevsky, One weird trick for parallelizing convolutional neural networks, 2014",
    points=(
        ("stem", "features.0"),
        ("stage1", "features.0"),
        ("stage2", "features.3"),
        ("stage3", "features.10"),
        ("stage4", "features.12"),
        ("pool", "flatten"),
        ("penultimate", "classifier.4"),
        ("logits", "classifier.6"),
    ),
    flattened=(("classifier.1", (256, 6, 6)),),
)
