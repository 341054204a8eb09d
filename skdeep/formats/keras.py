"""Keras: weights in HDF5 (.h5 of any version, .weights.h5 and .keras of Keras 3), through h5py."""

import io
import re
from contextlib import contextmanager

import numpy as np

from .archive import FREE, MARKS, MAX_PACKED, Archive, members
from .base import FormatError, WeightsFile
from .file import BFLOAT16, Tensors, array_at, is_shape, map_file, size_of

MARK = b"\x89HDF\r\n\x1a\n"
INNER = "model.weights.h5"  # in a .keras archive
MAX_DEPTH, MAX_OBJECTS = 32, 100_000
FILTERS = {1, 2, 3}  # deflate, shuffle, checksum; others could load code
# What Keras 3 numbers instead of naming, told by the dimensions: a matrix or more, or a vector.
NUMBERED = {
    "M": ("kernel",),
    "MV": ("kernel", "bias"),
    "VV": ("gamma", "beta"),
    "VVVV": ("gamma", "beta", "moving_mean", "moving_variance"),
}
CONTAINERS = {"layers", "vars", "_layer_checkpoint_dependencies"}  # components that say nothing
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
    try:
        import h5py
    except ImportError:
        raise ImportError(
            f'{path} is an HDF5 file of Keras, read through h5py: pip install "skdeep[keras]"'
        ) from None
    data, source = map_file(path), path
    if data[: len(MARK)].tobytes() != MARK:
        archive = Archive(path)
        if INNER not in archive.infos:
            raise FormatError(f"{path} is neither HDF5 nor an archive with {INNER}")
        data = np.frombuffer(archive.unpack(INNER), np.uint8)
        source = data.tobytes()

    def opened():
        return h5py.File(io.BytesIO(source) if isinstance(source, bytes) else source, "r")

    with guarded(path), opened() as file:
        groups, datasets = contents(h5py, file, path)
        names = legacy_names(groups, datasets, path) or numbered_names(groups, datasets)
        entries = {
            name: checked(h5py, datasets[place], place, path, len(data))
            for name, place in names.items()
        }
    if not entries:
        raise FormatError(f"{path} holds no weights; save them with model.save_weights")

    def load(name, entry):
        place, offset, dtype, shape = entry
        if offset is not None:
            array = array_at(data, dtype, offset, shape)
        else:
            with guarded(path), opened() as file:
                array = file[place][()]
            if dtype == BFLOAT16:
                array = array_at(array.view(np.uint8).reshape(-1), dtype, 0, shape)
        return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))

    return WeightsFile("keras", Tensors(entries, load))


@contextmanager
def guarded(path):
    """Errors of h5py, which are of many types, as FormatError."""
    try:
        yield
    except (FormatError, FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise FormatError(f"{path}: HDF5 cannot read it ({error}); fetch it again") from None


def contents(h5py, file, path):
    """Groups and datasets by their path; links to elsewhere are not followed."""
    groups, datasets, seen, todo = {"": file}, {}, set(), [("", file, 0)]
    while todo:
        prefix, group, depth = todo.pop()
        for key in group:
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                continue
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if depth > MAX_DEPTH or len(seen) > MAX_OBJECTS or address in seen:
                raise FormatError(f"{path}: its groups are too many, too deep or in a circle")
            seen.add(address)
            name = f"{prefix}{key}"
            if isinstance(item, h5py.Group):
                groups[name] = item
                todo.append((f"{name}/", item, depth + 1))
            elif isinstance(item, h5py.Dataset):
                datasets[name] = item
    return groups, datasets


def checked(h5py, dataset, place, path, size):
    """Place, offset in the file if it can be mapped, type and shape of a dataset."""
    where = f"{path}: {place!r}"
    plan = dataset.id.get_create_plist()
    filters = {plan.get_filter(i)[0] for i in range(plan.get_nfilters())}
    if dataset.external or dataset.is_virtual or not filters <= FILTERS:
        raise FormatError(f"{where} lies outside of the file or is packed in an unknown way")
    dtype, shape = dataset.dtype, dataset.shape
    if dataset.attrs.get("dtype") == BFLOAT16 and dtype.itemsize == 2:
        dtype = BFLOAT16
    elif dtype.kind not in "biuf" or dtype.itemsize > 8:
        raise FormatError(f"{where} is of type {dtype}, not of numbers")
    if shape is None or not is_shape(shape):
        raise FormatError(f"{where} has no valid shape")
    bytes_ = dataset.size * size_of(dtype)
    offset = dataset.id.get_offset()
    exact = dataset.id.get_type().equal(h5py.h5t.py_create(dataset.dtype))
    if bytes_ > max(FREE, MAX_PACKED * size):
        raise FormatError(f"{where} claims to hold {bytes_} bytes in a file of {size}")
    if offset is None or not exact or dataset.dtype.kind == "b" or dataset.file.userblock_size:
        return place, None, dtype, shape
    if offset + bytes_ > size:
        raise FormatError(f"{where} reaches beyond the end of the file; fetch it again")
    return place, offset, dtype, shape


def texts(attributes, name):
    """List of texts in an attribute, which Keras splits where it is long; None if there is none."""
    parts = [name] if name in attributes else []
    while not parts or parts[-1] != name:
        if f"{name}{len(parts)}" not in attributes:
            break
        parts.append(f"{name}{len(parts)}")
    if not parts:
        return None
    found = [text for part in parts for text in np.ravel(attributes[part]).tolist()]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in found]


def legacy_names(groups, datasets, path):
    """Datasets by "layer/kernel" where attributes list the layers and their weights."""
    root = "model_weights" if "model_weights" in groups else ""
    layers = texts(groups[root].attrs, "layer_names")
    if layers is None:
        return None
    found = {}
    for layer in layers:
        group = f"{root}/{layer}".lstrip("/")
        if group not in groups:
            raise FormatError(f"{path}: the layer {layer!r} is missing; fetch the file again")
        for weight in texts(groups[group].attrs, "weight_names") or ():
            place, name = f"{group}/{weight}", plain_name(layer, weight)
            if place not in datasets or name in found:
                raise FormatError(f"{path}: {place!r} is missing or occurs twice")
            found[name] = place
    return found


def plain_name(layer, weight):
    """ "layer/kernel" of a layer and what Keras calls a variable of it."""
    parts = re.sub(r":\d+$", "", weight).split("/")
    if len(parts) == 1:  # "conv1_W_1"
        name = re.sub(r"_\d+$", "", parts[0].removeprefix(f"{layer}_"))
        return f"{layer}/{RENAMED.get(name, name)}"
    if len(parts) == 2 or parts[0] == layer:
        parts = parts[1:]
    return "/".join([layer, *parts])


def numbered_names(groups, datasets):
    """Datasets by "layer/kernel" where variables are numbered in groups called "vars"."""
    found = {}
    for path, group in groups.items():
        parts = path.split("/")
        if parts[-1] != "vars" or parts[0].startswith(("optimizer", "_metrics")):
            continue
        places = [f"{path}/{i}" for i in range(len(group)) if f"{path}/{i}" in datasets]
        layer = [part for part in parts if part not in CONTAINERS]
        known = group.attrs.get("name")
        if layer and isinstance(known, str) and known:
            layer[-1] = known
        kinds = "".join("V" if datasets[place].ndim == 1 else "M" for place in places)
        names = NUMBERED.get(kinds, range(len(places)))
        for name, place in zip(names, places):
            full = "/".join([*layer, str(name)])
            found[place if full in found else full] = place
    return found or {place: place for place in datasets}
