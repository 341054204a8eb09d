"""NumPy's .npz: a zip archive of arrays, each with a header of its own."""

import math
import re

import numpy as np

from .archive import MARKS, Archive, members
from .base import FormatError, WeightsFile
from .file import Tensors, array_at, is_shape

SUFFIX = ".npy"
MARK = b"\x93NUMPY"
MAX_HEADER = 10_000  # bytes, as numpy.load
# NumPy writes the header as a Python literal; nothing of it is evaluated here.
DESCRIPTION = re.compile(r"""["']descr["']\s*:\s*["']([<>|=]?[a-zA-Z]\d{0,9})["']""")
ORDER = re.compile(r"""["']fortran_order["']\s*:\s*(True|False)""")
SHAPE = re.compile(r"""["']shape["']\s*:\s*\(([\d,\s]*)\)""")
NUMBERS = {"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "c8", "c16"}


def recognise(start, path):
    """Whether a file is a zip archive of .npy members."""
    return start.startswith(MARKS) and any(name.endswith(SUFFIX) for name in members(path))


def read(path):
    """Arrays of an .npz file; what is not numbers is named in the metadata's "skipped".

    Parameters
    ----------
    path : str

    Returns
    -------
    file : WeightsFile
    """
    archive = Archive(path)
    entries, skipped = {}, []
    for member in archive.infos:
        entry = header(archive, member) if member.endswith(SUFFIX) else None
        if entry:
            entries[member.removesuffix(SUFFIX)] = entry
        else:
            skipped.append(member)
    if not entries:
        raise FormatError(f"{path} holds no arrays; save some with numpy.savez")

    def load(name, entry):
        dtype, shape, order, start = entry
        data = np.frombuffer(archive.unpack(name + SUFFIX), np.uint8)
        if order == "C":
            return array_at(data, dtype, start, shape)
        return array_at(data, dtype, start, shape[::-1]).T

    return WeightsFile("npz", Tensors(entries, load), {"skipped": skipped} if skipped else {})


def header(archive, member):
    """Type, shape, order and place of a member's array; None if it is not of numbers."""
    where = f"{archive.path}: {member!r}"
    start = archive.head(member, MAX_HEADER + 12)
    wide = start[6:7] > b"\x01"  # versions 2 and 3 have longer headers
    begin = 12 if wide else 10
    end = begin + int.from_bytes(start[8:begin], "little")
    text = start[begin:end].decode("latin-1")
    found = [pattern.search(text) for pattern in (DESCRIPTION, ORDER, SHAPE)]
    if not start.startswith(MARK) or end > len(start):
        raise FormatError(f"{where} does not begin with the header of an array; fetch it again")
    if "'O'" in text or '"O"' in text or "|O" in text:
        raise FormatError(
            f"{where} holds Python objects, and unpickling them could run code; save arrays alone "
            "with numpy.savez"
        )
    if not all(found):
        raise FormatError(f"{where} has a header that is not understood: {text[:80]!r}")
    descr, order, shape = (match[1] for match in found)
    if descr.lstrip("<>|=") not in NUMBERS:
        return None
    dtype = np.dtype(descr)
    shape = tuple(int(n) if len(n) < 20 else -1 for n in shape.replace(",", " ").split())
    if not is_shape(shape) or end + math.prod(shape) * dtype.itemsize != size(archive, member):
        raise FormatError(
            f"{where} of shape {shape} and type {dtype} does not fit its {size(archive, member)} "
            "bytes; fetch the file again"
        )
    return dtype, shape, "F" if order == "True" else "C", end


def size(archive, member):
    """Bytes of a member, unpacked."""
    return archive.infos[member].file_size
