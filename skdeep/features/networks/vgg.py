"""VGG: 3x3 convolutions and three dense layers."""

from ...layers import BatchNorm, Conv2D, Dense, Dropout, Flatten, MaxPool2D, Sequential
from .architecture import register
from .caffe_names import CaffeNaming
from .keras_names import keras_vgg
from .namings import TIMM_VGG

FILTERS = (64, 128, 256, 512, 512)


def vgg(counts, batch_norm=False, n_outputs=1000):
    """Five stages of ``counts`` convolutions, a pooling after each."""
    features, place = [], 0  # torchvision numbers the activations as well
    for filters, count in zip(FILTERS, counts):
        for _ in range(count):
            if batch_norm:
                features.append((f"{place}", Conv2D(filters, 3, padding=1)))
                features.append((f"{place + 1}", BatchNorm("relu")))
            else:
                features.append((f"{place}", Conv2D(filters, 3, "relu", padding=1)))
            place += 3 if batch_norm else 2
        features.append((f"{place}", MaxPool2D(2)))
        place += 1
    classifier = [
        ("0", Dense(4096, "relu")),
        ("2", Dropout(0.5)),
        ("3", Dense(4096, "relu")),
        ("5", Dropout(0.5)),
        ("6", Dense(n_outputs)),
    ]
    return [
        ("features", Sequential(features)),
        ("flatten", Flatten()),
        ("classifier", Sequential(classifier)),
    ]


def points(counts, batch_norm):
    """The first pooling, the last layer before each other one, the last pooling, and the head."""
    per_layer = 3 if batch_norm else 2
    pools = [per_layer * sum(counts[: k + 1]) + k for k in range(len(counts))]
    stages = [*(pool - per_layer + batch_norm for pool in pools[2:]), pools[-1]]
    return (
        ("stem", f"features.{pools[0]}"),
        *((f"stage{k}", f"features.{place}") for k, place in enumerate(stages, 1)),
        ("pool", "flatten"),
        ("penultimate", "classifier.3"),
        ("logits", "classifier.6"),
    )


def caffe_names(counts):
    """The authors' names of the layers without batch norm, and torchvision's."""
    places = [sum(counts[:k]) for k in range(len(counts))]
    return (
        *(
            (f"conv{k + 1}_{j + 1}", f"features.{2 * (places[k] + j) + k}")
            for k, count in enumerate(counts)
            for j in range(count)
        ),
        *((f"fc{6 + k}", f"classifier.{3 * k}") for k in range(3)),
    )


for name, counts in {
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}.items():
    authors = caffe_names(counts)
    plain = (TIMM_VGG, CaffeNaming(authors))
    if name in ("vgg16", "vgg19"):
        plain = (*plain, keras_vgg(authors))
    for batch_norm in (False, True):
        register(
            f"{name}_bn" if batch_norm else name,
            vgg,
            counts,
            batch_norm,
            paper="Simonyan & Zisserman, Very deep convolutional networks for large-scale image "
            "recognition, 2015",
            points=points(counts, batch_norm),
            flattened=(("classifier.0", (512, 7, 7)),),
            namings=(TIMM_VGG,) if batch_norm else plain,
        )
