"""Weights in Caffe's files under the names that state dicts have."""

import re

__all__ = ["CaffeNaming", "is_caffe"]

AUXILIARY = re.compile(r"loss[12]/")  # classifiers of GoogLeNet that training alone has a use for
PARTS = ("weight", "bias")
BLOB = re.compile(r".\.[01]$")


def is_caffe(names):
    """Whether weights have names as of Caffe's blobs, all of them: layer.0, layer.1."""
    return bool(names) and all(BLOB.search(name) for name in names)


class CaffeNaming:
    """Blobs of layers, "conv1.0" and "conv1.1", as "conv1.weight" and "conv1.bias".

    Parameters
    ----------
    renames : tuple of (str, str), default=()
        Caffe's names of layers, and torchvision's.
    """

    def __init__(self, renames=()):
        self.renames = renames

    def __call__(self, state):
        """A state dict, or None when the arrays are not blobs of convolutions and dense layers."""
        names, found = dict(self.renames), {}
        for key, array in state.items():
            layer, _, number = key.rpartition(".")
            if not layer or number not in ("0", "1"):
                return None
            if AUXILIARY.match(layer):
                continue
            if number == "1":
                array = array.reshape(-1)
            elif array.ndim == 4 and array.shape[:2] == (1, 1):  # the old shape of dense layers
                array = array[0, 0]
            found[f"{names.get(layer, layer)}.{PARTS[int(number)]}"] = array
        return found or None
