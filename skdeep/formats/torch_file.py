"""Files of torch.save: zip (1.6 and later), legacy pickles (0.2 to 1.5) and tar (up to 0.1)."""

import numpy as np

from .archive import MARKS, Archive, members
from .base import FormatError, WeightsFile
from .file import Tensors, array_at, map_file, size_of
from .torch_state import state_dict
from .torch_tar import read_tar
from .torch_types import finder, sized, whole_storage
from .unpickle import unpickle

MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."  # a LONG1 of ten bytes and STOP
USTAR = slice(257, 262)


def recognise(start, path):
    """Whether a file begins as torch.save has it begin, in any of its three forms."""
    if start.startswith(MARKS):
        return any(name.endswith("data.pkl") for name in members(path))
    return (start[:1] == b"\x80" and MAGIC in start[:32]) or start[USTAR] == b"ustar"


def read(path):
    """Tensors of a state dict, or of the one within a checkpoint.

    Parameters
    ----------
    path : str

    Returns
    -------
    file : WeightsFile
        The metadata holds numbers and text that a checkpoint has beside its weights.
    """
    data = map_file(path)
    start = data[:512].tobytes()
    if start.startswith(MARKS):
        value, locate = read_zip(path)
    elif start[USTAR] == b"ustar":
        value, locate = read_tar(path, data)
    else:
        value, locate = read_legacy(path, data)
    tensors, metadata = state_dict(value, path)

    def load(name, tensor):
        data, start = locate(tensor.storage)
        start += tensor.storage.first * size_of(tensor.storage.dtype)
        item = size_of(tensor.dtype)
        strides = tuple(step * item for step in tensor.strides)
        return array_at(data, tensor.dtype, start + tensor.offset * item, tensor.shape, strides)

    return WeightsFile("torch", Tensors(tensors, load), metadata)


def read_zip(path):
    """Object of a zip archive, and where its storages are."""
    archive = Archive(path)
    roots = [name.removesuffix("data.pkl") for name in archive.infos if name.endswith("data.pkl")]
    if len(roots) != 1:
        raise FormatError(f"{path}: a file of torch has one data.pkl, this one {len(roots)}")
    root = roots[0]
    if any(name.startswith((f"{root}code/", f"{root}constants.pkl")) for name in archive.infos):
        raise FormatError(
            f"{path} is a TorchScript archive, which holds code; save the weights alone with "
            "torch.save(torch.jit.load(path).state_dict(), ...) or as .safetensors"
        )
    order = f"{root}byteorder"
    if order in archive.infos and archive.head(order, 16) != b"little":
        raise FormatError(
            f"{path} was saved on a big-endian machine; save it as .safetensors there"
        )
    places = {}

    def storage(identifier):
        made = whole_storage(identifier)
        name = f"{root}data/{made.key}"
        if name not in archive.infos:
            raise FormatError(f"{path}: the storage {name!r} is missing; fetch the file again")
        if made.key not in places:
            places[made.key], packed = archive.stored(name)
            if packed:
                places[made.key] = np.frombuffer(archive.unpack(name, checksum=False), np.uint8)
        if len(places[made.key]) != made.numel * size_of(made.dtype):
            raise FormatError(
                f"{path}: the storage {name!r} has {len(places[made.key])} bytes where "
                f"{made.numel} elements are due; fetch the file again"
            )
        return made

    pickled = memoryview(archive.unpack(f"{root}data.pkl", checksum=False))
    value, _ = unpickle(pickled, 0, finder(path), storage, path)
    return value, lambda storage: (places[storage.key], 0)


def read_legacy(path, data):
    """Object of five pickles in a row, and where the storages behind them are."""
    view, storages = memoryview(data), {}
    find = finder(path)

    def storage(identifier):
        made = whole_storage(identifier)
        same = storages.setdefault(made.key, made)
        if (same.numel, same.dtype) != (made.numel, made.dtype):
            raise ValueError("two sizes or types of one storage")
        return made

    _, position = unpickle(view, 0, find, storage, path)  # the magic number
    _, position = unpickle(view, position, find, storage, path)  # version of the protocol
    system, position = unpickle(view, position, find, storage, path)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise FormatError(f"{path} does not say that it was saved on a little-endian machine")
    value, position = unpickle(view, position, find, storage, path)
    keys, position = unpickle(view, position, find, storage, path)
    if type(keys) is not list or not all(type(key) in (str, int) for key in keys):
        raise FormatError(f"{path}: the list of storages is damaged; fetch the file again")
    places = {}
    for key in keys:
        if key not in storages or key in places:
            raise FormatError(f"{path}: the list of storages does not fit; fetch the file again")
        places[key], position = sized(view, position, storages[key], path)
    if len(places) != len(storages):
        raise FormatError(f"{path}: a storage is missing; fetch the file again")
    return value, lambda storage: (data, places[storage.key])
