"""Safetensors: a JSON header with the place of each tensor, then their bytes."""

import json
import math

import numpy as np

from .base import FormatError, WeightsFile
from .file import BFLOAT16, Tensors, array_at, is_shape, map_file, size_of

MAX_HEADER = 100_000_000  # bytes, as the format's own reader
DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": BFLOAT16,
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype(np.bool_),
    "C64": np.dtype("<c8"),
}


def recognise(start, path):
    """Whether a file begins with a plausible length of a header and a brace."""
    return 2 <= int.from_bytes(start[:8], "little") <= MAX_HEADER and start[8:9] == b"{"


def read(path):
    """Tensors and metadata of a safetensors file.

    Parameters
    ----------
    path : str

    Returns
    -------
    file : WeightsFile
    """
    data = map_file(path)
    length = int.from_bytes(data[:8].tobytes(), "little")
    if len(data) < 8 or length > MAX_HEADER or length > len(data) - 8:
        raise FormatError(f"{path}: the header does not fit into the file; fetch it again")
    header = parse(data[8 : 8 + length].tobytes(), path)
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(v, str) for v in metadata.values())):
        raise FormatError(f"{path}: __metadata__ must be strings by name")
    start = 8 + length
    entries = {name: place(name, entry, path) for name, entry in header.items()}
    end = 0
    for name in sorted(entries, key=lambda name: entries[name][2:]):
        if entries[name][2] != end:
            raise FormatError(
                f"{path}: tensor {name!r} begins at byte {entries[name][2]} where {end} is due; "
                "tensors must neither overlap nor leave gaps"
            )
        end = entries[name][3]
    if end != len(data) - start:
        raise FormatError(
            f"{path}: the tensors take {end} bytes, the file has {len(data) - start} for them; "
            "fetch it again"
        )

    def load(name, entry):
        dtype, shape, begin, _ = entry
        return array_at(data, dtype, start + begin, shape)

    return WeightsFile("safetensors", Tensors(entries, load), metadata)


def parse(text, path):
    """The header as a dictionary."""

    def unique(pairs):
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ValueError("a name occurs twice")
        return found

    try:
        header = json.loads(text.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"{path}: the header is no JSON of safetensors: {error}") from None
    if not isinstance(header, dict):
        raise FormatError(
            f"{path}: the header must be a JSON object, not a {type(header).__name__}"
        )
    return header


def place(name, entry, path):
    """Type, shape, begin and end of a tensor, checked against each other."""
    try:
        dtype, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
        whole = type(begin) is type(end) is int and type(shape) is list and is_shape(shape)
    except (TypeError, KeyError, ValueError):
        whole = False
    if not whole or not isinstance(dtype, str):
        raise FormatError(f"{path}: tensor {name!r} needs dtype, shape and data_offsets")
    if dtype not in DTYPES:
        raise FormatError(
            f"{path}: tensor {name!r} is of type {dtype}, which is not supported; "
            f"convert it to one of {', '.join(DTYPES)}"
        )
    if math.prod(shape) * size_of(DTYPES[dtype]) != end - begin:
        raise FormatError(
            f"{path}: tensor {name!r} of shape {shape} and type {dtype} does not fit the "
            f"{end - begin} bytes that are given to it"
        )
    return DTYPES[dtype], tuple(shape), begin, end
