"""OverFeat's files net_weight_0 and net_weight_1: numbers without a word about them.

The size of a file says which of the two networks it is.
"""

import math
import os

import numpy as np

from .base import FormatError, WeightsFile

__all__ = ["read", "recognise"]

# Filters, channels, height and width of the convolutions; each is followed by its biases.
SMALL = (
    (96, 3, 11, 11), (256, 96, 5, 5), (512, 256, 3, 3), (1024, 512, 3, 3), (1024, 1024, 3, 3),
    (3072, 1024, 6, 6), (4096, 3072, 1, 1), (1000, 4096, 1, 1),
)  # fmt: skip
LARGE = (
    (96, 3, 7, 7), (256, 96, 7, 7), (512, 256, 3, 3), (512, 512, 3, 3), (1024, 512, 3, 3),
    (1024, 1024, 3, 3), (4096, 1024, 5, 5), (4096, 4096, 1, 1), (1000, 4096, 1, 1),
)  # fmt: skip


def size_of(shapes):
    """Bytes of a file."""
    return 4 * sum(math.prod(shape) + shape[0] for shape in shapes)


NETWORKS = {size_of(SMALL): ("overfeat_small", SMALL), size_of(LARGE): ("overfeat_large", LARGE)}


def recognise(start, path):
    """Whether a file has the size of one of the two networks."""
    return os.path.getsize(path) in NETWORKS


def read(path):
    """The weights of a file, "conv1.weight", "conv1.bias" and so on, mapped to memory.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    WeightsFile
        "network" in its metadata is "overfeat_small" or "overfeat_large".

    Raises
    ------
    FormatError
        When the file has another size.
    """
    size = os.path.getsize(path)
    if size not in NETWORKS:
        expected = " or ".join(f"{n} (network {k})" for k, n in enumerate(NETWORKS))
        raise FormatError(f"{path} has {size} bytes; OverFeat's files have {expected}.")
    name, shapes = NETWORKS[size]
    numbers, at, tensors = np.memmap(path, "<f4", "r"), 0, {}
    for layer, shape in enumerate(shapes, 1):
        for part, sizes in (("weight", shape), ("bias", shape[:1])):
            count = math.prod(sizes)
            tensors[f"conv{layer}.{part}"] = numbers[at : at + count].reshape(sizes)
            at += count
    return WeightsFile("overfeat", tensors, {"network": name})
