"""Weights that are published: where they are, how they are verified, what pictures they expect."""

import os
import re
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from ..formats import read_weights, sniff
from .networks import NETWORKS
from .networks.caffe_names import CaffeNaming, is_caffe
from .networks.keras_names import is_keras, refuse_keras
from .networks.states import refuse_name
from .preprocessing import Preprocessing

__all__ = ["WEIGHTS", "WeightsRecord", "find_weights", "list_weights"]

NAMES_AT_HAND = ("keras", "npz", "safetensors")  # formats that tell names without being unpacked


@dataclass(frozen=True)
class WeightsRecord:
    """Facts about a file with weights.

    Parameters
    ----------
    network : str
        As in :func:`find_network`.
    tag : str
        Which of the network's weights: "V1", "V2", the name of a file.
    url : str or None, default=None
        None where there is nothing to fetch: a local file, or a licence that does not allow it.
    sha256 : str, default=""
        In hexadecimal digits; the first eight or more where no more is published.
    sha1 : str, default=""
        For old files whose publisher gives no other hash.
    md5 : str, default=""
        For files of Keras, of which no other hash is published.
    size : int, default=0
        About how many bytes; 0 when unknown.
    licence : str, default=""
    source : str, default=""
        Who published it.
    preprocessing : Preprocessing or None, default=Preprocessing()
        None where it is not known, and has to be given to who reads pictures.
    labels : str or None, default=None
        What the network's outputs are called: "imagenet" or unknown.
    metrics : dict, default={}
        In percent, as published: "imagenet_top1".
    naming : str, default="torchvision"
        Whose names the weights have in the file: a hint, files are recognised by their contents.
    hub : tuple of str, default=()
        Repositories of Hugging Face whose ``model.safetensors`` has the same weights; used when
        another program left it on this machine.
    file : str, default=""
        What the file is called on disk; by default the last part of the url.
    path : str or None, default=None
        Of a local file.
    note : str, default=""

    Raises
    ------
    ValueError
        For a hash that is none, or a file name with a folder in it.

    Examples
    --------
    >>> from skdeep.features import WeightsRecord
    >>> record = WeightsRecord("resnet18", "mine", "https://example.org/mine-0123abcd.pth",
    ...                        sha256="0123abcd")
    >>> record.file, record.preprocessing.crop
    ('mine-0123abcd.pth', 224)
    """

    network: str
    tag: str
    url: str | None = None
    sha256: str = ""
    sha1: str = ""
    md5: str = ""
    size: int = 0
    licence: str = ""
    source: str = ""
    preprocessing: Preprocessing | None = Preprocessing()
    labels: str | None = None
    metrics: dict = field(default_factory=dict, hash=False)
    naming: str = "torchvision"
    hub: tuple = ()
    file: str = ""
    path: str | None = None
    note: str = ""

    def __post_init__(self):
        name = self.file
        if not name and self.url:
            name = PurePosixPath(unquote(urlsplit(self.url).path)).name
        if name and not re.fullmatch(r"\w[\w.,+() -]*", name):
            raise ValueError(f"{name!r} is not the name of a file for weights {self.tag!r}.")
        object.__setattr__(self, "file", Path(self.path).name if self.path else name)
        if not re.fullmatch(r"([0-9a-f]{8,64})?", self.sha256):
            raise ValueError(
                f"sha256={self.sha256!r} of weights {self.tag!r} must be 8 to 64 digits of 0-9a-f."
            )
        for name, digits in (("sha1", 40), ("md5", 32)):
            value = getattr(self, name)
            if not re.fullmatch(rf"([0-9a-f]{{{digits}}})?", value):
                raise ValueError(
                    f"{name}={value!r} of weights {self.tag!r} must be {digits} digits of 0-9a-f."
                )

    @property
    def hash(self):
        """The hash in words, as messages give it."""
        if self.sha256:
            return f"SHA-256 {self.sha256}" + ("..." if len(self.sha256) < 64 else "")
        if self.sha1:
            return f"SHA-1 {self.sha1}"
        return f"MD5 {self.md5}" if self.md5 else "no hash known"


# network, tag, file on download.pytorch.org/models, MiB, top-1, top-5, resize/crop ("c": bicubic).
TORCHVISION = """
alexnet            V1 alexnet-owt-7be5be79                233.087 56.522 79.066 256/224
vgg11              V1 vgg11-8a719046                      506.840 69.020 88.628 256/224
vgg13              V1 vgg13-19584684                      507.545 69.928 89.246 256/224
vgg16              V1 vgg16-397923af                      527.796 71.592 90.382 256/224
vgg19              V1 vgg19-dcbb9e9d                      548.051 72.376 90.876 256/224
vgg11_bn           V1 vgg11_bn-6002323d                   506.881 70.370 89.810 256/224
vgg13_bn           V1 vgg13_bn-abd245e5                   507.590 71.586 90.374 256/224
vgg16_bn           V1 vgg16_bn-6c64b313                   527.866 73.360 91.516 256/224
vgg19_bn           V1 vgg19_bn-c79401a0                   548.143 74.218 91.842 256/224
googlenet          V1 googlenet-1378be20                   49.731 69.778 89.530 256/224
inception_v3       V1 inception_v3_google-0cc3c7bd        103.903 77.294 93.450 342/299
squeezenet1_0      V1 squeezenet1_0-b66bff10                4.778 58.092 80.420 256/224
squeezenet1_1      V1 squeezenet1_1-b8a52dc0                4.729 58.178 80.624 256/224
resnet18           V1 resnet18-f37072fd                    44.661 69.758 89.078 256/224
resnet34           V1 resnet34-b627a593                    83.275 73.314 91.420 256/224
resnet50           V1 resnet50-0676ba61                    97.781 76.130 92.862 256/224
resnet50           V2 resnet50-11ad3fa6                    97.790 80.858 95.434 232/224
resnet101          V1 resnet101-63fe2227                  170.511 77.374 93.546 256/224
resnet101          V2 resnet101-cd907fc2                  170.530 81.886 95.780 232/224
resnet152          V1 resnet152-394f9c45                  230.434 78.312 94.046 256/224
resnet152          V2 resnet152-f82ba261                  230.474 82.284 96.002 232/224
resnext50_32x4d    V1 resnext50_32x4d-7cdf4587             95.789 77.618 93.698 256/224
resnext50_32x4d    V2 resnext50_32x4d-1a0047aa             95.833 81.198 95.340 232/224
wide_resnet50_2    V1 wide_resnet50_2-95faca4d            131.820 78.468 94.086 256/224
wide_resnet50_2    V2 wide_resnet50_2-9ba9bcbe            263.124 81.602 95.758 232/224
mobilenet_v2       V1 mobilenet_v2-b0353104                13.555 71.878 90.286 256/224
mobilenet_v2       V2 mobilenet_v2-7ebf99e0                13.598 72.154 90.822 232/224
mobilenet_v3_small V1 mobilenet_v3_small-047dcff4           9.829 67.668 87.402 256/224
mobilenet_v3_large V1 mobilenet_v3_large-8738ca79          21.114 74.042 91.340 256/224
mobilenet_v3_large V2 mobilenet_v3_large-5c1a4163          21.107 75.274 92.566 232/224
efficientnet_b0    V1 efficientnet_b0_rwightman-7f5810bc   20.451 77.692 93.532 256/224c
efficientnet_b1    V1 efficientnet_b1_rwightman-bac287d4   30.134 78.642 94.186 256/240c
efficientnet_b1    V2 efficientnet_b1-c27df63c             30.136 79.838 94.934 255/240
efficientnet_b2    V1 efficientnet_b2_rwightman-c35c1473   35.174 80.608 95.310 288/288c
efficientnet_b3    V1 efficientnet_b3_rwightman-b3899882   47.184 82.008 96.054 320/300c
efficientnet_b4    V1 efficientnet_b4_rwightman-23ab8bcd   74.489 83.384 96.594 384/380c
densenet121        V1 densenet121-a639ec97                 30.845 74.434 91.972 256/224
densenet169        V1 densenet169-b2777c0a                 54.708 75.600 92.806 256/224
densenet201        V1 densenet201-c1103571                 77.373 76.896 93.370 256/224
shufflenet_v2_x0_5 V1 shufflenetv2_x0.5-f707e7126e          5.282 60.552 81.746 256/224
shufflenet_v2_x1_0 V1 shufflenetv2_x1-5666bf0f80            8.791 69.362 88.316 256/224
mnasnet0_5         V1 mnasnet0.5_top1_67.823-3ffadce67e     8.591 67.734 87.490 256/224
mnasnet1_0         V1 mnasnet1.0_top1_73.512-f206786ef8    16.915 73.456 91.510 256/224
regnet_y_400mf     V1 regnet_y_400mf-c65dace8              16.806 74.046 91.716 256/224
regnet_y_400mf     V2 regnet_y_400mf-e6988f5f              16.806 75.804 92.742 232/224
regnet_y_1_6gf     V1 regnet_y_1_6gf-b11a554e              43.152 77.950 93.966 256/224
regnet_y_1_6gf     V2 regnet_y_1_6gf-0d7bc02a              43.152 80.876 95.444 232/224
convnext_tiny      V1 convnext_tiny-983f1562              109.119 82.520 96.146 236/224
convnext_small     V1 convnext_small-0c510722             191.703 83.616 96.650 230/224
vit_b_16           V1 vit_b_16-c867db91                   330.285 81.072 95.318 256/224
"""
# Where more than the prefix has become known.
FULL_HASHES = (
    "7f5810bc96def8f7552d5b7e68d53c4786f81167d28291b21c0d90e1fca14934",
    "b3899882250c22946d0229d266049fcd133c169233530b36b9ffa7983988362f",
)
# timm's repositories whose weights were converted from the very files above, under the same names.
SAME_ON_HUB = {
    **{
        (f"{name}", f"V{v}"): (f"timm/{name}.tv{'2' * (v == 2)}_in1k",)
        for name in ("resnet50", "resnet101", "resnet152", "resnext50_32x4d", "wide_resnet50_2")
        for v in (1, 2)
    },
    ("resnet18", "V1"): ("timm/resnet18.tv_in1k",),
    ("resnet34", "V1"): ("timm/resnet34.tv_in1k",),
}
HALF = {"mean": (0.5,) * 3, "std": (0.5,) * 3}
# torchvision normalises for these networks as for all, and undoes it within the network.
NORMALISED_BY_HALF = ("googlenet", "inception_v3")
OF_TORCHVISION = {
    "licence": "BSD-3-Clause; weights may be bound by the terms of ImageNet (non-commercial)",
    "source": "torchvision",
}
BGR = {"std": (1.0, 1.0, 1.0), "scale": 1.0, "channels": "bgr"}
OXFORD = Preprocessing(mean=(103.939, 116.779, 123.68), **BGR)


def _of_torchvision(line):
    network, tag, stem, mebibytes, top1, top5, sizes = line.split()
    resize, crop = map(int, sizes.rstrip("c").split("/"))
    interpolation = "bicubic" if sizes[-1] == "c" else "bilinear"
    normalise = HALF if network in NORMALISED_BY_HALF else {}
    prefix = stem.rpartition("-")[2]
    return WeightsRecord(
        network,
        tag,
        f"https://download.pytorch.org/models/{stem}.pth",
        sha256=next((h for h in FULL_HASHES if h.startswith(prefix)), prefix),
        size=round(float(mebibytes) * 2**20),
        preprocessing=Preprocessing(resize, crop, interpolation, **normalise),
        labels="imagenet",
        metrics={"imagenet_top1": float(top1), "imagenet_top5": float(top5)},
        hub=SAME_ON_HUB.get((network, tag), ()),
        **OF_TORCHVISION,
    )


def _of_caffe(network, tag, file, sha1, preprocessing, top1, top5, **facts):
    defaults = {
        "url": f"http://dl.caffe.berkeleyvision.org/{file}.caffemodel",
        "licence": "unrestricted",
        "source": "Berkeley Vision and Learning Center (Caffe)",
    }
    return WeightsRecord(
        network,
        tag,
        sha1=sha1,
        preprocessing=preprocessing,
        labels="imagenet",
        metrics={"imagenet_top1": top1, "imagenet_top5": top5},
        naming="caffe",
        **defaults | facts,
    )


def _of_oxford(depth, sha1, mebibytes, top1, top5):
    file = f"VGG_ILSVRC_{depth}_layers"
    return _of_caffe(
        f"vgg{depth}",
        "caffe",
        file,
        sha1,
        OXFORD,
        top1,
        top5,
        url=f"http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/{file}.caffemodel",
        size=mebibytes * 2**20,
        licence="CC BY 4.0",
        source="Visual Geometry Group, Oxford",
    )


# network, MD5, MB, top-1, top-5, as published by keras.applications.
KERAS = """
vgg16       64373286793e3c8b2b4e3219cbf3544b 553.5 71.3 90.1
vgg19       cbe5617147190e668d6c5d5026f83318 574.7 71.3 90.0
densenet121 9d60b8095a5708f2dcce2bca79d332c7  33.2 75.0 92.3
densenet169 d699b8f76981ab1b30698df4c175e90b  58.5 76.2 93.2
densenet201 1ceb130c1ea1b78c3bf6114dbdfd8807  82.5 77.3 93.6
"""


def _of_keras(line):
    network, md5, megabytes, top1, top5 = line.split()
    family = "densenet" if network.startswith("densenet") else network
    facts = {
        "preprocessing": OXFORD,
        "licence": "CC BY 4.0",
        "source": "Visual Geometry Group, Oxford, by way of Keras",
    }
    if family == "densenet":
        facts = {
            "preprocessing": Preprocessing(),
            "licence": "BSD-3-Clause",
            "source": "Zhuang Liu, DenseNet, by way of Keras",
        }
    return WeightsRecord(
        network,
        "keras",
        f"https://storage.googleapis.com/tensorflow/keras-applications/{family}/{network}_weights_"
        "tf_dim_ordering_tf_kernels.h5",
        md5=md5,
        size=round(float(megabytes) * 1e6),
        labels="imagenet",
        metrics={"imagenet_top1": float(top1), "imagenet_top5": float(top5)},
        naming="keras",
        **facts,
    )


def _of_dinov2(letter, sha256, size, knn, linear):
    name = f"dinov2_vit{letter}14"
    return WeightsRecord(
        name,
        "lvd142m",
        f"https://dl.fbaipublicfiles.com/dinov2/{name}/{name}_pretrain.pth",
        sha256=sha256,
        size=size,
        licence="Apache-2.0",
        source="Meta AI, DINOv2",
        preprocessing=Preprocessing(256, 224, "bicubic"),
        metrics={"imagenet_knn": knn, "imagenet_linear": linear},
        naming="timm",
    )


def _of_overfeat(size, number, crop, n_bytes):
    return WeightsRecord(
        f"overfeat_{size}",
        "overfeat",
        size=n_bytes,
        licence="research and evaluation only, no redistribution",
        source="New York University, OverFeat",
        preprocessing=Preprocessing(
            crop, crop, mean=(118.380948,) * 3, std=(61.896913,) * 3, scale=1.0
        ),
        naming="overfeat",
        file=f"net_weight_{number}",
        note="Its licence does not let it be fetched for you; pass weights='/path/to/"
        f"net_weight_{number}'.",
    )


def _published():
    yield EMBEDDED
    yield from map(_of_torchvision, TORCHVISION.strip().splitlines())
    yield from map(_of_keras, KERAS.strip().splitlines())
    yield WeightsRecord(
        "vgg16",
        "features",
        "https://download.pytorch.org/models/vgg16_features-amdegroot-88682ab5.pth",
        sha256="88682ab5",
        size=553_440_500,
        preprocessing=Preprocessing(mean=(0.48235, 0.45882, 0.40784), std=(1 / 255,) * 3),
        note="Features only: the dense layers are not filled.",
        **OF_TORCHVISION,
    )
    yield _of_oxford(16, "9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24", 528, 73.4, 91.4)
    yield _of_oxford(19, "239785e7862442717d831f682bb824055e51e9ba", 548, 73.1, 91.3)
    imagenet_mean = (104.00699, 116.66877, 122.67891)
    yield _of_caffe(
        "caffenet",
        "bvlc",
        "bvlc_reference_caffenet",
        "4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        Preprocessing((256, 256), 227, mean=imagenet_mean, **BGR),
        57.4,
        80.4,
        size=243_860_896,
    )
    yield _of_caffe(
        "bvlc_alexnet",
        "bvlc",
        "bvlc_alexnet",
        "9116a64c0fbe4459d18f4bb6b56d647b63920377",
        Preprocessing((256, 256), 227, mean=imagenet_mean, **BGR),
        57.1,
        80.2,
        size=243_860_896,
    )
    yield _of_caffe(
        "bvlc_googlenet",
        "bvlc",
        "bvlc_googlenet",
        "405fc5acd08a3bb12de8ee5e23a96bec22f08204",
        Preprocessing((256, 256), 224, mean=(104.0, 117.0, 123.0), **BGR),
        68.7,
        88.9,
        size=53_530_000,
    )
    yield _of_overfeat("small", 0, 231, 583_683_488)
    yield _of_overfeat("large", 1, 221, 578_625_952)
    yield _of_dinov2(
        "s",
        "b938bf1bc15cd2ec0feacfe3a1bb553fe8ea9ca46a7e1d8d00217f29aef60cd9",
        88_283_115,
        79.0,
        81.1,
    )
    yield _of_dinov2(
        "b",
        "0b8b82f85de91b424aded121c7e1dcc2b7bc6d0adeea651bf73a13307fad8c73",
        346_378_731,
        82.1,
        84.5,
    )
    yield WeightsRecord(
        "vit_s_16",
        "augreg",
        "https://huggingface.co/timm/vit_small_patch16_224.augreg_in21k_ft_in1k/resolve/"
        "7e2c55630205e1266030f18370f4c6ed1a514b52/model.safetensors",
        sha256="79c03c635cdfd798a364a9d8c4e5c0b7255b975ea2c9616046d4f77ab01435aa",
        size=88_200_000,
        licence="Apache-2.0",
        source="Google Research, by way of timm",
        preprocessing=Preprocessing(248, 224, "bicubic", **HALF),
        labels="imagenet",
        naming="timm",
        hub=("timm/vit_small_patch16_224.augreg_in21k_ft_in1k",),
        file="vit_small_patch16_224.augreg_in21k_ft_in1k-79c03c63.safetensors",
    )
    yield WeightsRecord(
        "clip_vit_b_32",
        "openai",
        "https://huggingface.co/openai/clip-vit-base-patch32/resolve/"
        "3d74acf9a28c67741b2f4f2ea7635f0aaf6f0268/pytorch_model.bin",
        sha256="a63082132ba4f97a80bea76823f544493bffa8082296d62d71581a4feff1576f",
        size=605_247_071,
        licence="MIT",
        source="OpenAI, CLIP",
        preprocessing=Preprocessing(
            224,
            224,
            "bicubic",
            mean=(0.48145466, 0.4578275, 0.40821073),
            std=(0.26862954, 0.26130258, 0.27577711),
        ),
        naming="huggingface",
        file="clip-vit-base-patch32-a6308213.bin",
        note="The file holds the encoder of texts, too, which is not read.",
    )


# Trained by this project, on pictures out of random numbers: docs/formula/train.py.
EMBEDDED = WeightsRecord(
    "formula",
    "V1",
    sha256="0712bc73b8fcce41eae0c4f8cde1fe38cb701387d549ef3499661c76b55ec411",
    size=3550512,
    licence="BSD-3-Clause",
    source="skdeep",
    preprocessing=Preprocessing(64, 64, mean=(0.5,) * 3, std=(0.25,) * 3),
    path=str(Path(__file__).parent / "data" / "formula.safetensors"),
    note="Comes with the package. It has seen generated pictures only, not ImageNet.",
)

# By (network, tag); of each network the first is its default: the plain recipe, whose features suit
# other tasks better than those of recipes tuned for ImageNet's own score (Kornblith et al., Do
# better ImageNet models transfer better?, 2019).
WEIGHTS = {(record.network, record.tag): record for record in _published()}


def _default(network):
    return next((r for r in WEIGHTS.values() if r.network == network), None)


def find_weights(network, weights="default"):
    """The record of a network's weights.

    Parameters
    ----------
    network : str
        As in :func:`find_network`.
    weights : str, path or WeightsRecord, default="default"
        "default": the plain recipe, whose features suit other tasks best; another of the tags
        that :func:`list_weights` gives ("IMAGENET1K_V2" is "V2"); a local file of any format, to
        which the network's default preprocessing applies (to a file that is named as a published
        one, that one's; to a .caffemodel that of Caffe's); or a record of your own.

    Returns
    -------
    WeightsRecord

    Raises
    ------
    ValueError
        When there are no such weights, or a file's name is that of a model whose weights would fit
        but not give its features.

    Examples
    --------
    >>> from skdeep.features import find_weights
    >>> record = find_weights("resnet50")
    >>> record.tag, record.file, record.metrics["imagenet_top1"]
    ('V1', 'resnet50-0676ba61.pth', 76.13)
    >>> find_weights("resnet50", "V2").preprocessing.resize
    232
    """
    if isinstance(weights, WeightsRecord):
        if weights.network != network:
            raise ValueError(
                f"weights {weights.tag!r} are those of {weights.network!r}, not of {network!r}."
            )
        return weights
    default = _default(network)
    if isinstance(weights, str):
        tag = weights.removeprefix("IMAGENET1K_")  # as torchvision has it
        record = default if tag == "default" else WEIGHTS.get((network, tag))
        if record is not None:
            return record
    elif not isinstance(weights, os.PathLike):
        raise ValueError(
            f"weights={weights!r} is neither a tag nor a path nor a WeightsRecord; "
            f"{_known(network)}"
        )
    path = Path(weights).expanduser()
    if not path.is_file():
        raise ValueError(
            f"there are no weights {os.fspath(weights)!r} for {network!r}, and no file of that "
            f"name; {_known(network)}"
        )
    return _of_local_file(network, path, default)


def _of_local_file(network, path, default):
    refuse_name(path.name)
    fitting = (r for r in WEIGHTS.values() if r.network == network and r.file == path.name)
    like = next(fitting, default)
    whose = _whose_names(os.fspath(path), path.stat().st_mtime_ns, path.stat().st_size)
    like = _of_other_names(network, whose) or like
    if like is None:
        side = NETWORKS[network].input_shape[:2] if network in NETWORKS else (224, 224)
        like = WeightsRecord(network, "", preprocessing=Preprocessing(crop=side))
    return replace(
        like,
        tag=path.name,
        url=None,
        sha256="",
        sha1="",
        md5="",
        size=path.stat().st_size,
        licence="",
        source="a local file",
        metrics={},
        hub=(),
        file="",
        path=os.fspath(path.absolute()),
        note="",
    )


@lru_cache(64)
def _whose_names(path, changed, size):
    """ "keras" or "caffe" where the names in a file, as it is now, are theirs; else None."""
    try:
        kind = sniff(path)
        if kind in NAMES_AT_HAND:
            return whose_names(read_weights(path, kind).tensors)
    except ValueError:  # damaged: whoever reads it will say how
        return None
    return "caffe" if kind == "caffemodel" else None


def whose_names(names):
    """ "keras" or "caffe" for names of weights that only these give; else None."""
    if is_keras(names):
        return "keras"
    return "caffe" if is_caffe(names) else None


def _of_other_names(network, whose):
    """The record whose preprocessing goes with weights of Keras or Caffe, which is their own."""
    if whose == "keras":
        record = WEIGHTS.get((network, "keras"))
        if record is None:
            refuse_keras(network)
        return record
    if whose == "caffe" and network in NETWORKS:
        if any(isinstance(naming, CaffeNaming) for naming in NETWORKS[network].namings):
            unknown = WeightsRecord(network, "caffe", preprocessing=None, naming="caffe")
            ours = (r for r in WEIGHTS.values() if r.network == network and r.naming == "caffe")
            return next(ours, unknown)
    return None


def record_of_arrays(network, names):
    """The record whose preprocessing goes with arrays of some names.

    Parameters
    ----------
    network : str
    names : collection of str

    Returns
    -------
    WeightsRecord or None
        None where the names do not tell, and that of the default applies.

    Raises
    ------
    ValueError
        For Keras' weights of a network that computes something else there.
    """
    return _of_other_names(network, whose_names(names))


def _known(network):
    tags = [tag for name, tag in WEIGHTS if name == network]
    if not tags:
        return "none are published for it, so pass the path of a file or a WeightsRecord."
    return f"choose one of {tags}, or pass the path of a file or a WeightsRecord."


def list_weights(network=None):
    """What is published.

    Parameters
    ----------
    network : str or None, default=None
        None for all networks.

    Returns
    -------
    list of WeightsRecord
        Of each network the default comes first.

    Examples
    --------
    >>> from skdeep.features import list_weights
    >>> [(record.tag, record.size // 10**6) for record in list_weights("mobilenet_v2")]
    [('V1', 14), ('V2', 14)]
    """
    return [record for record in WEIGHTS.values() if network in (None, record.network)]
