"""Files of torch.save up to PyTorch 0.1: a tar archive of storages, tensors and a pickle."""

import struct

from .base import FormatError
from .file import size_of
from .torch_types import Storage, finder, rebuild_tensor, sized, whole_numbers
from .unpickle import Global, unpickle

__all__ = ["read_tar"]

BLOCK = 512  # bytes, to whose multiples members are padded
MAX_OBJECTS, MAX_DIMENSIONS = 100_000, 32


def read_tar(path, data):
    """Object of a tar archive, and where its storages are.

    Parameters
    ----------
    path : str
    data : ndarray of uint8
        The file's bytes.

    Returns
    -------
    value : object
    locate : callable
        ``locate(storage) -> (bytes, start)``.
    """
    parts = members(path, data)
    if not {"storages", "tensors", "pickle"} <= set(parts):
        raise FormatError(f"{path} is a tar archive, but none of torch; unpack it first")
    reader = Reader(path)
    storages = parts["storages"]
    reader.read_storages(memoryview(storages))
    reader.read_tensors(memoryview(parts["tensors"]))
    value, _ = reader.pickle(memoryview(parts["pickle"]), 0)
    return value, lambda storage: (storages, reader.places[storage.key])


def members(path, data):
    """Bytes of regular files in a tar archive, by name."""
    found, position = {}, 0
    while position + BLOCK <= len(data):
        head = data[position : position + BLOCK].tobytes()
        name = head[:100].rstrip(b"\0").decode("latin-1")
        if not name:
            break
        start = position + BLOCK
        end = start + octal(head[124:136], path)
        if end > len(data):
            raise FormatError(f"{path}: {name!r} is cut short; fetch the file again")
        if head[156:157] in (b"0", b"\0"):
            found[name.removeprefix("./")] = data[start:end]
        position = end + -end % BLOCK
    return found


def octal(field, path):
    """Number in a header of tar."""
    if field[0] == 0x80:  # beyond 8 GB
        return int.from_bytes(field[1:], "big")
    try:
        return int(field.strip(b"\0 ") or b"0", 8)
    except ValueError:
        raise FormatError(f"{path}: the tar archive is damaged; fetch it again") from None


class Reader:
    """Objects of the archive by the number that refers to them."""

    def __init__(self, path):
        self.path = path
        self.find = finder(path)
        self.objects = {}
        self.places = {}

    def pickle(self, view, position):
        """Next object of a member and the position behind it."""
        return unpickle(view, position, self.find, self.known, self.path)

    def known(self, identifier):
        """Object that a pickle refers to."""
        if isinstance(identifier, tuple):
            raise ValueError("it is a whole pickled module; save model.state_dict() alone")
        if isinstance(identifier, str) and identifier.isdecimal() and len(identifier) < 20:
            identifier = int(identifier)
        if type(identifier) is not int or identifier not in self.objects:
            raise ValueError("a reference to what is not there")
        return self.objects[identifier]

    def read_storages(self, view):
        """Storages, each followed by its elements; then parts of them."""
        count, position = self.pickle(view, 0)
        self.expect(type(count) is int and 0 <= count <= MAX_OBJECTS)
        for _ in range(count):
            entry, position = self.pickle(view, position)
            self.expect(isinstance(entry, tuple) and len(entry) == 3)
            key, _, kind = entry
            self.expect(whole_numbers([key]) and isinstance(kind, Global) and kind.dtype)
            unsized = Storage(key, kind.dtype, None)
            start, position = sized(view, position, unsized, self.path)
            numel = (position - start) // size_of(kind.dtype)
            self.places[key] = start
            self.objects[key] = Storage(key, kind.dtype, numel, 0, numel)
        views, _ = self.pickle(view, position)
        self.expect(type(views) is list)
        for part in views:
            self.expect(isinstance(part, tuple) and len(part) == 4 and whole_numbers(part))
            key, root, first, length = part
            whole = self.objects.get(root)
            self.expect(isinstance(whole, Storage) and whole.first + first + length <= whole.numel)
            self.objects[key] = Storage(
                whole.key, whole.dtype, whole.numel, whole.first + first, length
            )

    def read_tensors(self, view):
        """Tensors, each a reference to a storage followed by shape, strides and offset."""
        count, position = self.pickle(view, 0)
        self.expect(type(count) is int and 0 <= count <= MAX_OBJECTS)
        for _ in range(count):
            entry, position = self.pickle(view, position)
            self.expect(isinstance(entry, tuple) and len(entry) == 3 and whole_numbers(entry[:2]))
            try:
                (n,) = struct.unpack_from("<i4x", view, position)
                self.expect(0 <= n <= MAX_DIMENSIONS)
                numbers = struct.unpack_from(f"<{2 * n + 1}q", view, position + 8)
                shape, strides, offset = numbers[:n], numbers[n:-1], numbers[-1]
                storage = self.objects.get(entry[1])
                self.objects[entry[0]] = rebuild_tensor(storage, offset, shape, strides)
            except (struct.error, TypeError, ValueError) as error:
                raise FormatError(f"{self.path}: a tensor is damaged: {error}") from None
            position += 16 * n + 16

    def expect(self, condition):
        """An error unless the archive is as it must be."""
        if not condition:
            raise FormatError(f"{self.path}: the tar archive of torch is damaged; fetch it again")
