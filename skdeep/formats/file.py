"""Files mapped to memory, and arrays in them that are read when asked for."""

import math
import mmap
import os
import stat
from collections.abc import Mapping

import numpy as np

from .base import FormatError

__all__ = ["BFLOAT16", "Tensors", "array_at", "check_file", "is_shape", "map_file", "size_of"]

BFLOAT16 = "bfloat16"  # in the place of a dtype: NumPy has none
MAX_DIMENSIONS, MAX_ELEMENTS = 32, 1 << 48


class Tensors(Mapping):
    """Arrays by name, each made when it is asked for.

    Parameters
    ----------
    entries : dict
        What ``load`` needs of each.
    load : callable
        ``load(name, entry) -> ndarray``.
    """

    def __init__(self, entries, load):
        self._entries = entries
        self._load = load

    def __getitem__(self, name):
        return self._load(name, self._entries[name])

    def __iter__(self):
        return iter(self._entries)

    def __len__(self):
        return len(self._entries)

    def __contains__(self, name):
        return name in self._entries

    def __repr__(self):
        return f"<{len(self)} tensors>"


def check_file(path):
    """Path as a string; an error unless it names a regular file with something in it."""
    path = os.fsdecode(path)
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise FormatError(f"{path} is a folder; name the weights file inside it")
    if not stat.S_ISREG(status.st_mode):
        raise FormatError(f"{path} is not a regular file; copy what it gives to a file first")
    if not status.st_size:
        raise FormatError(f"{path} is empty; fetch it again")
    return path


def map_file(path):
    """Bytes of a file as a read-only uint8 array; pages are read when they are touched.

    The file must not be cut short by others while arrays of it are in use.
    """
    with open(check_file(path), "rb") as file:
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def is_shape(shape):
    """Whether numbers from a file are a shape that NumPy can hold, empty or not."""
    return (
        len(shape) <= MAX_DIMENSIONS
        and all(type(n) is int and n >= 0 for n in shape)
        and math.prod(max(n, 1) for n in shape) <= MAX_ELEMENTS
    )


def size_of(dtype):
    """Bytes of an element."""
    return 2 if dtype == BFLOAT16 else np.dtype(dtype).itemsize


def array_at(data, dtype, offset, shape, strides=None):
    """Array of a tensor within mapped bytes; the caller has checked that it lies inside.

    Parameters
    ----------
    data : ndarray of uint8
    dtype : dtype or "bfloat16"
    offset : int
        Of the first element, in bytes.
    shape : tuple of int
    strides : tuple of int or None
        In bytes.

    Returns
    -------
    array : ndarray
        Read-only; mapped where its elements are aligned and of a type and byte order that NumPy
        computes with, else a copy.
    """
    if dtype == BFLOAT16:
        bits = array_at(data, np.dtype("<u2"), offset, shape, strides)
        array = np.left_shift(bits, 16, dtype=np.uint32).view(np.float32)
    elif 0 in shape:
        array = np.empty(shape, dtype.newbyteorder("="))
    elif dtype == np.bool_:  # a byte that is neither 0 nor 1 is no valid bool
        array = array_at(data, np.dtype("u1"), offset, shape, strides) != 0
    else:
        array = np.ndarray(shape, dtype, data, offset, strides)
        if not (array.flags.aligned and dtype.isnative):
            array = array.astype(dtype.newbyteorder("="))
    array = np.asarray(array)  # what is computed of no dimensions is no array
    array.flags.writeable = False
    return array
