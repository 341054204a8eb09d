"""What timm, Hugging Face and old files call the weights of torchvision's convolutional networks.

timm has torchvision's own names for DenseNet, Inception V3, ResNet, ResNeXt and Wide-ResNet, and
others for the rest. Its networks compute the same but for the epsilon of MobileNet V3's batch
norms, which a translation adds to the variances.
"""

import re
from functools import partial

import numpy as np

from .renaming import Renaming

__all__ = [
    "DENSENET_2017",
    "HUGGING_FACE_REGNET",
    "HUGGING_FACE_RESNET",
    "TIMM_EFFICIENTNET",
    "TIMM_MNASNET",
    "TIMM_MOBILENET_V2",
    "TIMM_MOBILENET_V3",
    "TIMM_REGNET",
    "TIMM_VGG",
]


def _shifted(template, found):
    """A template filled with the groups of a match, its letters counted up (u) or down (d)."""
    return template.format(
        *found.groups(),
        u=[int(group) + 1 if group.isdigit() else None for group in found.groups()],
        d=[int(group) - 1 if group.isdigit() else None for group in found.groups()],
    )


def shifted(template):
    """What stands for a match: groups "{0}", and "{u[0]}" or "{d[0]}" for one more or less."""
    return partial(_shifted, template)


def as_dense(array):
    """Filters of a convolution over all of a map as rows of a dense layer."""
    return array.reshape(len(array), -1)


# Files of torchvision's own, written before names of modules could not hold dots.
DENSENET_2017 = Renaming(
    r"denselayer\d+\.(norm|conv)\.\d", (r"(denselayer\d+\.(?:norm|conv))\.(\d\.)", r"\1\2")
)
TIMM_VGG = Renaming(
    r"^pre_logits\.fc1\.",
    (r"^pre_logits\.fc1\.weight$", "classifier.0.weight", as_dense),
    (r"^pre_logits\.fc2\.weight$", "classifier.3.weight", as_dense),
    (r"^pre_logits\.fc1\.", "classifier.0."),
    (r"^pre_logits\.fc2\.", "classifier.3."),
    (r"^head\.fc\.", "classifier.6."),
)
TIMM_REGNET = Renaming(
    r"^s1\.b1\.conv1\.conv\.",
    (r"\.conv\.weight$", ".0.weight"),
    (r"\.bn\.", ".1."),
    (r"\.downsample\.", ".proj."),
    (r"\.conv1\.", ".f.a."),
    (r"\.conv2\.", ".f.b."),
    (r"\.se\.", ".f.se."),
    (r"\.conv3\.", ".f.c."),
    (r"^s(\d+)\.b(\d+)\.", shifted("trunk_output.block{0}.block{0}-{d[1]}.")),
    (r"^head\.fc\.", "fc."),
)
HUGGING_FACE = (
    (r"^(resnet|regnet)\.", ""),
    (r"\.convolution\.", ".0."),
    (r"\.normalization\.", ".1."),
    (r"^classifier\.1\.", "fc."),
)
HUGGING_FACE_RESNET = Renaming(
    r"^(resnet\.)?embedder\.embedder\.convolution\.",
    *HUGGING_FACE,
    (r"^embedder\.embedder\.0\.", "conv1."),
    (r"^embedder\.embedder\.1\.", "bn1."),
    (r"^encoder\.stages\.(\d+)\.layers\.", shifted("layer{u[0]}.")),
    (r"\.shortcut\.", ".downsample."),
    (r"\.layer\.(\d+)\.0\.", shifted(".conv{u[0]}.")),
    (r"\.layer\.(\d+)\.1\.", shifted(".bn{u[0]}.")),
)
HUGGING_FACE_REGNET = Renaming(
    r"^(regnet\.)?embedder\.embedder\.convolution\.",
    *HUGGING_FACE,
    (r"^embedder\.embedder\.", "stem."),
    (
        r"^encoder\.stages\.(\d+)\.layers\.(\d+)\.",
        shifted("trunk_output.block{u[0]}.block{u[0]}-{1}."),
    ),
    (r"\.shortcut\.", ".proj."),
    (r"\.layer\.0\.", ".f.a."),
    (r"\.layer\.1\.", ".f.b."),
    (r"\.layer\.2\.attention\.0\.", ".f.se.fc1."),
    (r"\.layer\.2\.attention\.2\.", ".f.se.fc2."),
    (r"\.layer\.3\.", ".f.c."),
)


class TimmBlocks:
    """Names of timm's networks of inverted residual blocks: ``blocks.<stage>.<block>.conv_pw``.

    torchvision numbers blocks, and what is in them, in other ways; which parts a block has (an
    expansion, squeeze-and-excitation) is seen from the names.

    Parameters
    ----------
    outer : dict
        torchvision's names of the layers outside of blocks.
    block : str
        That of a block, of its {stage}, its number {k} in it, and its {place} in the network.
    part : str
        That of a convolution in it, of its {step} from 0 and three times that, {triple}.
    norm : str
        That of its batch norm; {next} and {after} are one more.
    stage : int, default=1
        torchvision's number of the first stage.
    last : tuple of (str, str) or None, default=None
        ``part`` and ``norm`` of the projection at the end, where they differ.
    first : str or None, default=None
        ``block`` of the first stage, where it differs.
    start : int, default=0
        First step in blocks of the first stage, where ``first`` is given.
    epsilon : float, default=0.0
        Added to the variances of batch norms.
    dense : tuple of str, default=()
        timm's names of 1x1 convolutions that torchvision has as dense layers.
    """

    def __init__(
        self,
        outer,
        block,
        part,
        norm,
        *,
        stage=1,
        last=None,
        first=None,
        start=0,
        epsilon=0.0,
        dense=(),
    ):
        self.outer, self.block, self.part, self.norm = outer, block, part, norm
        self.stage, self.last = stage, last or (part, norm)
        self.first, self.start = first, start
        self.epsilon, self.dense = epsilon, dense

    def __call__(self, state):
        """The same arrays under torchvision's names, or None for other states."""
        if "conv_stem.weight" not in state:
            return None
        names, renamed = {**self.outer, **self._blocks(state)}, {}
        for key, array in state.items():
            path, _, last = key.rpartition(".")
            if path in self.dense and last == "weight":
                array = as_dense(np.asarray(array))
            if last == "running_var" and self.epsilon:
                array = np.asarray(array, np.float32) + np.float32(self.epsilon)
            renamed[f"{names.get(path, path)}.{last}"] = array
        return renamed

    def _blocks(self, state):
        """torchvision's names of all layers in blocks."""
        parts = {}
        for key in state:
            found = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(.+)\.\w+", key)
            if found:
                parts.setdefault((int(found[1]), int(found[2])), set()).add(found[3])
        names = {}
        for place, ((stage, k), held) in enumerate(sorted(parts.items())):
            special = self.first is not None and stage == 0
            prefix = (self.first if special else self.block).format(
                stage=stage + self.stage, k=k, place=place + 1
            )
            inside = self._inside(held, self.start if special else 0)
            names.update((f"blocks.{stage}.{k}.{old}", prefix + new) for old, new in inside.items())
        return names

    def _inside(self, held, step):
        """torchvision's names of the parts of a block, by timm's."""
        if "conv" in held:  # a convolution alone
            return {"conv": "0", "bn1": "1"}
        expands = "conv_pwl" in held
        rows = ["conv_pw", "conv_dw", "conv_pwl"] if expands else ["conv_dw", "conv_pw"]
        names = {}
        for k, convolution in enumerate(rows, 1):
            ends = k == len(rows)
            if ends and "se.conv_reduce" in held:
                names["se.conv_reduce"] = self._numbered("block.{step}.fc1", step)
                names["se.conv_expand"] = self._numbered("block.{step}.fc2", step)
                step += 1
            part, norm = self.last if ends else (self.part, self.norm)
            names[convolution] = self._numbered(part, step)
            names[f"bn{k}"] = self._numbered(norm, step)
            step += 1
        return names

    @staticmethod
    def _numbered(name, step):
        return name.format(step=step, next=step + 1, triple=3 * step, after=3 * step + 1)


TIMM_EFFICIENTNET = TimmBlocks(
    {
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": "features.8.0",
        "bn2": "features.8.1",
        "classifier": "classifier.1",
    },
    "features.{stage}.{k}.",
    "block.{step}.0",
    "block.{step}.1",
)
TIMM_MOBILENET_V2 = TimmBlocks(
    {
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": "features.18.0",
        "bn2": "features.18.1",
        "classifier": "classifier.1",
    },
    "features.{place}.",
    "conv.{step}.0",
    "conv.{step}.1",
    last=("conv.{step}", "conv.{next}"),
)
TIMM_MOBILENET_V3 = TimmBlocks(
    {
        "conv_stem": "features.0.0",
        "bn1": "features.0.1",
        "conv_head": "classifier.0",
        "classifier": "classifier.3",
    },
    "features.{place}.",
    "block.{step}.0",
    "block.{step}.1",
    epsilon=1e-5 - 1e-3,
    dense=("conv_head",),
)
TIMM_MNASNET = TimmBlocks(
    {
        "conv_stem": "layers.0",
        "bn1": "layers.1",
        "conv_head": "layers.14",
        "bn2": "layers.15",
        "classifier": "classifier.1",
    },
    "layers.{stage}.{k}.layers.",
    "{triple}",
    "{after}",
    stage=7,
    first="layers.",
    start=1,
)
