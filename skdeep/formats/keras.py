"""Keras: weights in HDF5 (.h5 of any version, .weights.h5 of Keras 3) and in .keras archives."""

import re

import numpy as np

from .archive import MARKS, Archive, members
from .base import FormatError, WeightsFile
from .file import Tensors, array_at, map_file
from .hdf5 import MARK, Hdf5

INNER = "model.weights.h5"  # in a .keras archive
# What Keras 3 numbers instead of naming, told by the dimensions: a matrix or more, or a vector.
NUMBERED = {
    "M": ("kernel",),
    "MV": ("kernel", "bias"),
    "VV": ("gamma", "beta"),
    "VVVV": ("gamma", "beta", "moving_mean", "moving_variance"),
}
CONTAINERS = {"layers", "vars", "_layer_checkpoint_dependencies"}  # components that say nothing
NUMBER = r":\d+$"  # of a variable's output, at the end of its name
# Keras 1 and early Keras 2.
RENAMED = {
    "W": "kernel",
    "b": "bias",
    "running_mean": "moving_mean",
    "running_std": "moving_variance",
}


def recognise(start, path):
    """Whether a file is HDF5, or an archive of Keras 3."""
    return start.startswith(MARK) or (start.startswith(MARKS) and INNER in members(path))


def read(path):
    """Weights of a Keras model by "layer/kernel", laid out as Keras does.

    Parameters
    ----------
    path : str

    Returns
    -------
    file : WeightsFile
        Where Keras 3 wrote numbers instead of names, "kernel", "bias" and those of batch norm are
        told by the dimensions, and what they do not tell stays a number.
    """
    data = map_file(path)
    if data[: len(MARK)].tobytes() != MARK:
        archive = Archive(path)
        if INNER not in archive.infos:
            raise FormatError(f"{path} is neither HDF5 nor an archive with {INNER}")
        data = np.frombuffer(archive.unpack(INNER), np.uint8)
    file = Hdf5(data, path)
    objects = file.objects()
    arrays = {place: file.array(messages, place) for place, messages in objects.items()}
    arrays = {place: array for place, array in arrays.items() if array}
    names = legacy_names(file, objects) or numbered_names(file, objects, arrays)
    for place in names.values():
        file.expect(place in arrays, f"{place!r} in it is missing")
    if not names:
        raise FormatError(f"{path} holds no weights; save them with model.save_weights")

    def load(name, place):
        dtype, shape, start = arrays[place]
        return array_at(data, dtype, start, shape)

    return WeightsFile("keras", Tensors(names, load))


def texts(attributes, name):
    """List of texts in an attribute, which Keras splits where it is long; None if there is none."""
    if name in attributes:
        return attributes[name]
    parts = []
    while f"{name}{len(parts)}" in attributes:
        parts.append(attributes[f"{name}{len(parts)}"])
    return [text for part in parts for text in part] if parts else None


def legacy_names(file, objects):
    """Datasets by "layer/kernel" where attributes list the layers and their weights."""
    root = "model_weights" if "model_weights" in objects else ""
    layers = texts(file.attributes(objects[root]), "layer_names")
    if layers is None:
        return None
    found = {}
    for layer in layers:
        group = f"{root}/{layer}".lstrip("/")
        file.expect(group in objects, f"the layer {layer!r} in it is missing")
        weights = texts(file.attributes(objects[group]), "weight_names") or ()
        names = [plain_name(layer, weight) for weight in weights]
        if len(set(names)) < len(names):  # a model inside the model
            names = [f"{layer}/{re.sub(NUMBER, '', weight)}" for weight in weights]
        for name, weight in zip(names, weights):
            file.expect(name not in found, f"{name!r} in it occurs twice")
            found[name] = f"{group}/{weight}"
    return found


def plain_name(layer, weight):
    """ "layer/kernel" of a layer and what Keras calls a variable of it."""
    weight = re.sub(NUMBER, "", weight)
    if weight.startswith(f"{layer}/"):  # which may have a slash in it
        return weight
    parts = weight.split("/")
    if len(parts) == 1:  # "conv1_W_1"
        name = re.sub(r"_\d+$", "", parts[0].removeprefix(f"{layer}_"))
        return f"{layer}/{RENAMED.get(name, name)}"
    if len(parts) == 2:
        parts = parts[1:]
    return "/".join([layer, *parts])


def numbered_names(file, objects, arrays):
    """Datasets by "layer/kernel" where variables are numbered in groups called "vars"."""
    found = {}
    for path, messages in objects.items():
        parts = path.split("/")
        if parts[-1] != "vars" or parts[0].startswith(("optimizer", "_metrics")):
            continue
        places = []
        while f"{path}/{len(places)}" in arrays:
            places.append(f"{path}/{len(places)}")
        layer = [part for part in parts if part not in CONTAINERS]
        known = file.attributes(messages).get("name")
        if layer and known:
            layer[-1] = known[0]
        kinds = "".join("V" if len(arrays[place][1]) == 1 else "M" for place in places)
        for name, place in zip(NUMBERED.get(kinds, range(len(places))), places):
            full = "/".join([*layer, str(name)])
            found[place if full in found else full] = place
    return found or {place: place for place in arrays}
