"""Weights written in the formats that need no framework: safetensors and npz."""

import json
import os
import secrets
import zipfile
from contextlib import contextmanager

import numpy as np

from .file import BFLOAT16
from .safetensors import DTYPES

__all__ = ["write_weights"]

NAMES = {dtype: name for name, dtype in DTYPES.items() if dtype != BFLOAT16}


def write_weights(path, tensors, metadata=None):
    """Write named arrays to a .safetensors or .npz file.

    The file appears under its name when it is complete, and not before.

    Parameters
    ----------
    path : str, bytes or path-like
        Its suffix decides the format.
    tensors : Mapping of str to array
        Of numbers: float16, float32, float64, integers or bool.
    metadata : dict of str to str or None, default=None
        What else the file shall say; .npz has no place for it.

    Raises
    ------
    ValueError
        For another suffix, arrays of other types, names or metadata that are not text.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdeep.formats import read_weights, write_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/net.safetensors"
    ...     write_weights(path, {"fc.weight": np.eye(2, dtype=np.float16)}, {"licence": "CC0"})
    ...     file = read_weights(path)
    ...     print(file.tensors["fc.weight"].dtype, file.metadata)
    float16 {'licence': 'CC0'}
    """
    path = os.fsdecode(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix not in WRITERS:
        raise ValueError(f"{path}: the suffix must be one of {', '.join(WRITERS)}, not {suffix!r}")
    metadata = dict(metadata or {})
    arrays = {name: as_written(name, array) for name, array in tensors.items()}
    if not all(isinstance(text, str) for item in metadata.items() for text in item):
        raise ValueError(f"{path}: metadata must be texts by name")
    with replacing(path) as file:
        WRITERS[suffix](file, arrays, metadata)


def as_written(name, array):
    """Contiguous little-endian array of a type that is written."""
    if not isinstance(name, str) or name == "__metadata__":
        raise ValueError(f"names of tensors must be text other than '__metadata__', not {name!r}")
    array = np.asarray(array)
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{name!r} is of type {array.dtype}; pass an array of numbers")
    dtype = array.dtype.newbyteorder("<")
    if dtype not in NAMES:
        raise ValueError(f"{name!r} is of type {array.dtype}; cast it to float32")
    return array.astype(dtype, order="C", copy=False)


@contextmanager
def replacing(path):
    """A file to write to, which takes the place of ``path`` if nothing goes wrong."""
    part = f"{path}.{os.getpid()}-{secrets.token_hex(4)}.part"
    try:
        with open(part, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        if os.path.exists(part):
            os.remove(part)


def write_safetensors(file, arrays, metadata):
    """Header, then the arrays, those of large elements first so that all are aligned."""
    header, end = {"__metadata__": metadata} if metadata else {}, 0
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))
    for name in names:
        array = arrays[name]
        begin, end = end, end + array.nbytes
        header[name] = {
            "dtype": NAMES[array.dtype],
            "shape": list(array.shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for name in names:
        file.write(arrays[name].reshape(-1).view(np.uint8) if arrays[name].size else b"")


def write_npz(file, arrays, metadata):
    """A zip archive of .npy members."""
    if metadata:
        raise ValueError(".npz has no place for metadata; write .safetensors")
    with zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)


WRITERS = {".safetensors": write_safetensors, ".npz": write_npz}
