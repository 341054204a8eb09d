"""RegNet Y: residual blocks of grouped convolutions with squeeze-and-excitation."""

from ...layers import Dense, GlobalAveragePool2D, Residual, Sequential, SqueezeExcite
from .architecture import register
from .blocks import conv_norm
from .namings import HUGGING_FACE_REGNET, TIMM_REGNET


def block(channels, filters, group_width, stride):
    """1x1, grouped 3x3, squeeze by a quarter of the block's input, 1x1."""
    branch = [
        ("a", conv_norm(filters, 1, "relu")),
        ("b", conv_norm(filters, 3, "relu", stride=stride, groups=filters // group_width)),
        ("se", SqueezeExcite(round(channels / 4))),
        ("c", conv_norm(filters, 1)),
    ]
    project = stride > 1 or channels != filters
    shortcut = conv_norm(filters, 1, stride=stride) if project else None
    return Residual([("f", Sequential(branch))], shortcut=shortcut, activation="relu")


def regnet(counts, filters, group_width, n_outputs=1000):
    """A 3x3 convolution and four stages."""
    stages, channels = [], 32
    for stage, (count, width) in enumerate(zip(counts, filters), 1):
        blocks = []
        for k in range(count):
            part = block(channels, width, group_width, 1 if k else 2)
            blocks.append((f"block{stage}-{k}", part))
            channels = width
        stages.append((f"block{stage}", Sequential(blocks)))
    return [
        ("stem", conv_norm(32, 3, "relu", stride=2)),
        ("trunk_output", Sequential(stages)),
        ("avgpool", GlobalAveragePool2D()),
        ("fc", Dense(n_outputs)),
    ]


for name, counts, filters, group_width in (
    ("regnet_y_400mf", (1, 3, 6, 6), (48, 104, 208, 440), 8),
    ("regnet_y_1_6gf", (2, 6, 17, 2), (48, 120, 336, 888), 24),
):
    register(
        name,
        regnet,
        counts,
        filters,
        group_width,
        paper="Radosavovic et al., Designing network design spaces, 2020",
        points=(
            ("stem", "stem"),
            *((f"stage{k}", f"trunk_output.block{k}") for k in range(1, 5)),
            ("pool", "avgpool"),
            ("penultimate", "avgpool"),
            ("logits", "fc"),
        ),
        renames=((".shortcut.", ".proj."),),
        namings=(TIMM_REGNET, HUGGING_FACE_REGNET),
    )
