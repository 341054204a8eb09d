"""SqueezeNet: fire modules, no dense layer."""

from ...layers import Conv2D, Dropout, GlobalAveragePool2D, MaxPool2D, Parallel, Sequential
from .architecture import register


def fire(squeeze, expand):
    """1x1 to few channels; 1x1 and 3x3 side by side."""
    wide = Parallel(
        [
            ("expand1x1", Conv2D(expand, 1, "relu")),
            ("expand3x3", Conv2D(expand, 3, "relu", padding=1)),
        ]
    )
    return Sequential([("squeeze", Conv2D(squeeze, 1, "relu")), ("expand", wide)])


def pool():
    """3x3 max pooling that keeps a window which hangs over."""
    return MaxPool2D(3, stride=2, ceil_mode=True)


def squeezenet1_0(n_outputs=1000):
    """Version 1.0."""
    features = [
        ("0", Conv2D(96, 7, "relu", stride=2)),
        ("2", pool()),
        ("3", fire(16, 64)),
        ("4", fire(16, 64)),
        ("5", fire(32, 128)),
        ("6", pool()),
        ("7", fire(32, 128)),
        ("8", fire(48, 192)),
        ("9", fire(48, 192)),
        ("10", fire(64, 256)),
        ("11", pool()),
        ("12", fire(64, 256)),
    ]
    return _classify(features, n_outputs)


def squeezenet1_1(n_outputs=1000):
    """Version 1.1: a smaller first convolution and earlier poolings."""
    features = [
        ("0", Conv2D(64, 3, "relu", stride=2)),
        ("2", pool()),
        ("3", fire(16, 64)),
        ("4", fire(16, 64)),
        ("5", pool()),
        ("6", fire(32, 128)),
        ("7", fire(32, 128)),
        ("8", pool()),
        ("9", fire(48, 192)),
        ("10", fire(48, 192)),
        ("11", fire(64, 256)),
        ("12", fire(64, 256)),
    ]
    return _classify(features, n_outputs)


def _classify(features, n_outputs):
    classifier = [
        ("0", Dropout(0.5)),
        ("1", Conv2D(n_outputs, 1, "relu")),
        ("3", GlobalAveragePool2D()),
    ]
    return [("features", Sequential(features)), ("classifier", Sequential(classifier))]


for build, stages in (
    (squeezenet1_0, ("features.5", "features.10")),
    (squeezenet1_1, ("features.4", "features.7")),
):
    register(
        build.__name__,
        build,
        paper="Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and "
        "<0.5MB model size, 2016",
        points=(
            ("stem", "features.0"),
            ("stage1", stages[0]),
            ("stage2", stages[1]),
            ("stage3", "features.12"),
            ("pool", "features.12"),
            ("penultimate", "features.12"),
            ("logits", "classifier.3"),
        ),
        head="classifier.1",
        renames=((".expand.", "."),),
    )
