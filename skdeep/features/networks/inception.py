"""Inception V3, without the auxiliary classifier, as torchvision predicts with it."""

from ...layers import (
    AveragePool2D,
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


def same(filters, kernel_size):
    """A convolution that keeps height and width."""
    height, width = (kernel_size,) * 2 if isinstance(kernel_size, int) else kernel_size
    return conv(filters, kernel_size, padding=(height // 2, width // 2))


def branches(*paths):
    """Rows of (name, layer) pairs, side by side; a row is named by its place."""
    return Parallel([(f"path{k}", Sequential(list(path))) for k, path in enumerate(paths)])


def averaged(filters):
    """Mean of 3x3 pixels, then a 1x1 convolution."""
    pool = AveragePool2D(3, stride=1, padding=1, count_include_pad=True)
    return [("pool", pool), ("branch_pool", conv(filters, 1))]


def block_a(pooled):
    """1x1, 5x5, twice 3x3."""
    return branches(
        [("branch1x1", conv(64, 1))],
        [("branch5x5_1", conv(48, 1)), ("branch5x5_2", same(64, 5))],
        [
            ("branch3x3dbl_1", conv(64, 1)),
            ("branch3x3dbl_2", same(96, 3)),
            ("branch3x3dbl_3", same(96, 3)),
        ],
        averaged(pooled),
    )


def block_b():
    """Half of height and width: 3x3, twice 3x3, pooling."""
    return branches(
        [("branch3x3", conv(384, 3, stride=2))],
        [
            ("branch3x3dbl_1", conv(64, 1)),
            ("branch3x3dbl_2", same(96, 3)),
            ("branch3x3dbl_3", conv(96, 3, stride=2)),
        ],
        [("pool", MaxPool2D(3, stride=2))],
    )


def block_c(channels):
    """1x1, 7x7, twice 7x7, each of the large ones as a row and a column."""
    return branches(
        [("branch1x1", conv(192, 1))],
        [
            ("branch7x7_1", conv(channels, 1)),
            ("branch7x7_2", same(channels, (1, 7))),
            ("branch7x7_3", same(192, (7, 1))),
        ],
        [
            ("branch7x7dbl_1", conv(channels, 1)),
            ("branch7x7dbl_2", same(channels, (7, 1))),
            ("branch7x7dbl_3", same(channels, (1, 7))),
            ("branch7x7dbl_4", same(channels, (7, 1))),
            ("branch7x7dbl_5", same(192, (1, 7))),
        ],
        averaged(192),
    )


def block_d():
    """Half of height and width: 3x3, 7x7 and 3x3, pooling."""
    return branches(
        [("branch3x3_1", conv(192, 1)), ("branch3x3_2", conv(320, 3, stride=2))],
        [
            ("branch7x7x3_1", conv(192, 1)),
            ("branch7x7x3_2", same(192, (1, 7))),
            ("branch7x7x3_3", same(192, (7, 1))),
            ("branch7x7x3_4", conv(192, 3, stride=2)),
        ],
        [("pool", MaxPool2D(3, stride=2))],
    )


def block_e():
    """1x1, 3x3, twice 3x3, the last of each a row and a column side by side."""
    return branches(
        [("branch1x1", conv(320, 1))],
        [("branch3x3_1", conv(384, 1)), ("both", row_and_column("branch3x3_2"))],
        [
            ("branch3x3dbl_1", conv(448, 1)),
            ("branch3x3dbl_2", same(384, 3)),
            ("both", row_and_column("branch3x3dbl_3")),
        ],
        averaged(192),
    )


def row_and_column(name):
    """1x3 and 3x1 of the same input."""
    return Parallel([(f"{name}a", same(384, (1, 3))), (f"{name}b", same(384, (3, 1)))])


def inception_v3(n_outputs=1000):
    """Eleven blocks of five kinds."""
    return [
        ("Conv2d_1a_3x3", conv(32, 3, stride=2)),
        ("Conv2d_2a_3x3", conv(32, 3)),
        ("Conv2d_2b_3x3", same(64, 3)),
        ("maxpool1", MaxPool2D(3, stride=2)),
        ("Conv2d_3b_1x1", conv(80, 1)),
        ("Conv2d_4a_3x3", conv(192, 3)),
        ("maxpool2", MaxPool2D(3, stride=2)),
        ("Mixed_5b", block_a(32)),
        ("Mixed_5c", block_a(64)),
        ("Mixed_5d", block_a(64)),
        ("Mixed_6a", block_b()),
        ("Mixed_6b", block_c(128)),
        ("Mixed_6c", block_c(160)),
        ("Mixed_6d", block_c(160)),
        ("Mixed_6e", block_c(192)),
        ("Mixed_7a", block_d()),
        ("Mixed_7b", block_e()),
        ("Mixed_7c", block_e()),
        ("avgpool", GlobalAveragePool2D()),
        ("dropout", Dropout(0.5)),
        ("fc", Dense(n_outputs)),
    ]


register(
    "inception_v3",
    inception_v3,
    paper="Szegedy et al., Rethinking the Inception architecture for computer vision, 2016",
    points=(
        ("stem", "Conv2d_2b_3x3"),
        ("stage1", "Conv2d_4a_3x3"),
        ("stage2", "Mixed_5d"),
        ("stage3", "Mixed_6e"),
        ("stage4", "Mixed_7c"),
        ("pool", "avgpool"),
        ("penultimate", "avgpool"),
        ("logits", "fc"),
    ),
    input_shape=(299, 299, 3),
    renames=(*((f".path{k}.", ".") for k in range(4)), (".both.", ".")),
    transform_input=True,
)
