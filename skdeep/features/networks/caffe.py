"""Networks that came with Caffe: AlexNet and CaffeNet in two halves, and GoogLeNet as published.

Layers have the names of Caffe's files.
"""

from ... import ops
from ...layers import (
    Conv2D,
    Dense,
    Dropout,
    Flatten,
    GlobalAveragePool2D,
    LocalResponseNorm,
    MaxPool2D,
)
from ..imported import Wired
from .architecture import register
from .caffe_names import CaffeNaming


def norm():
    """As in all of these networks."""
    return LocalResponseNorm(5, alpha=1e-4, beta=0.75)


def pool():
    """Windows of 3 every 2 pixels; a last one may hang over, as Caffe's do."""
    return MaxPool2D(3, stride=2, ceil_mode=True)


def alexnet(norm_first, n_outputs=1000):
    """The network of 2012, whose halves were on two processors: convolutions of two groups."""
    first, second = [("norm1", norm()), ("pool1", pool())], [("norm2", norm()), ("pool2", pool())]
    if not norm_first:
        first, second = first[::-1], second[::-1]
    return [
        ("conv1", Conv2D(96, 11, "relu", stride=4)),
        *first,
        ("conv2", Conv2D(256, 5, "relu", padding=2, groups=2)),
        *second,
        ("conv3", Conv2D(384, 3, "relu", padding=1)),
        ("conv4", Conv2D(384, 3, "relu", padding=1, groups=2)),
        ("conv5", Conv2D(256, 3, "relu", padding=1, groups=2)),
        ("pool5", pool()),
        ("flatten", Flatten()),
        ("fc6", Dense(4096, "relu")),
        ("drop6", Dropout(0.5)),
        ("fc7", Dense(4096, "relu")),
        ("drop7", Dropout(0.5)),
        ("fc8", Dense(n_outputs)),
    ]


for name, norm_first in (("bvlc_alexnet", True), ("caffenet", False)):
    register(
        name,
        alexnet,
        norm_first,
        paper="Krizhevsky, Sutskever & Hinton, ImageNet classification with deep convolutional "
        "neural networks, 2012",
        points=(
            ("stem", "conv1"),
            ("stage1", "norm1" if norm_first else "conv1"),
            ("stage2", "norm2" if norm_first else "conv2"),
            ("stage3", "conv5"),
            ("stage4", "pool5"),
            ("pool", "flatten"),
            ("penultimate", "fc7"),
            ("logits", "fc8"),
        ),
        input_shape=(227, 227, 3),
        flattened=(("fc6", (256, 6, 6)),),
        namings=(CaffeNaming(),),
    )


class _Listing:
    """A list of wired layers in the making; ``last`` is the one that the next reads."""

    def __init__(self, name):
        self.layers, self.last = [(name, Wired())], name

    def add(self, name, compute, *sources):
        """Append a layer; its name."""
        self.layers.append((name, Wired(sources or (self.last,), compute)))
        self.last = name
        return name

    def inception(self, name, one, three_in, three, five_in, five, pooled):
        """Four branches side by side, with filters of 1, 3 and 5 pixels, and a pooling."""
        source = self.last
        joined = [self.add(f"{name}/1x1", Conv2D(one, 1, "relu"))]
        self.add(f"{name}/3x3_reduce", Conv2D(three_in, 1, "relu"), source)
        joined.append(self.add(f"{name}/3x3", Conv2D(three, 3, "relu", padding=1)))
        self.add(f"{name}/5x5_reduce", Conv2D(five_in, 1, "relu"), source)
        joined.append(self.add(f"{name}/5x5", Conv2D(five, 5, "relu", padding=2)))
        self.add(f"{name}/pool", MaxPool2D(3, stride=1, padding=1, ceil_mode=True), source)
        joined.append(self.add(f"{name}/pool_proj", Conv2D(pooled, 1, "relu")))
        self.add(f"{name}/output", join, *joined)


def join(*tensors):
    """Channels of all."""
    return ops.concatenate(tensors, axis=-1)


def googlenet(n_outputs=1000):
    """Nine inception blocks, without the auxiliary classifiers."""
    net = _Listing("data")
    net.add("conv1/7x7_s2", Conv2D(64, 7, "relu", stride=2, padding=3))
    net.add("pool1/3x3_s2", pool())
    net.add("pool1/norm1", norm())
    net.add("conv2/3x3_reduce", Conv2D(64, 1, "relu"))
    net.add("conv2/3x3", Conv2D(192, 3, "relu", padding=1))
    net.add("conv2/norm2", norm())
    net.add("pool2/3x3_s2", pool())
    net.inception("inception_3a", 64, 96, 128, 16, 32, 32)
    net.inception("inception_3b", 128, 128, 192, 32, 96, 64)
    net.add("pool3/3x3_s2", pool())
    net.inception("inception_4a", 192, 96, 208, 16, 48, 64)
    net.inception("inception_4b", 160, 112, 224, 24, 64, 64)
    net.inception("inception_4c", 128, 128, 256, 24, 64, 64)
    net.inception("inception_4d", 112, 144, 288, 32, 64, 64)
    net.inception("inception_4e", 256, 160, 320, 32, 128, 128)
    net.add("pool4/3x3_s2", pool())
    net.inception("inception_5a", 256, 160, 320, 32, 128, 128)
    net.inception("inception_5b", 384, 192, 384, 48, 128, 128)
    net.add("pool5/7x7_s1", GlobalAveragePool2D())
    net.add("pool5/drop_7x7_s1", Dropout(0.4))
    net.add("loss3/classifier", Dense(n_outputs))
    return net.layers


register(
    "bvlc_googlenet",
    googlenet,
    paper="Szegedy et al., Going deeper with convolutions, 2015",
    points=(
        ("stem", "conv1/7x7_s2"),
        ("stage1", "conv2/norm2"),
        ("stage2", "inception_3b/output"),
        ("stage3", "inception_4e/output"),
        ("stage4", "inception_5b/output"),
        ("pool", "pool5/7x7_s1"),
        ("penultimate", "pool5/7x7_s1"),
        ("logits", "loss3/classifier"),
    ),
    namings=(CaffeNaming(),),
)
