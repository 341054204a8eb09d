"""HDF5, as far as files of weights use it: groups, text attributes, arrays stored in one piece.

The HDF5 library is not made for files of strangers: a flipped bit can crash or hang it, and the
process with it. This reader follows the published file format, checks every address against the
file's length and every loop against a budget, and reads nothing but this one file.
"""

import math

import numpy as np

from .base import FormatError
from .file import BFLOAT16, is_shape, size_of
from .hdf5_groups import old_links, stored_links

__all__ = ["MARK", "Hdf5"]

MARK = b"\x89HDF\r\n\x1a\n"
NOWHERE = (1 << 64) - 1  # the address of what is not stored
STEPS = 1_000_000  # messages, nodes and links of a file
MAX_NAME, MAX_TEXT, MAX_DEPTH = 1000, 1 << 24, 32
# Kinds of messages in the header of an object.
DATASPACE, LINK_INFO, DATATYPE, LINK, EXTERNAL, LAYOUT = 1, 2, 3, 6, 7, 8
ATTRIBUTE, CONTINUATION, SYMBOL_TABLE, ATTRIBUTE_INFO = 0x0C, 0x10, 0x11, 0x15
SHARED = 2  # flag: the message is elsewhere
FIXED, FLOAT, STRING, OPAQUE, ENUM, VARIABLE = 0, 1, 3, 5, 8, 9  # classes of datatypes
FLOATS = {(2, 5, 10): "f2", (2, 8, 7): BFLOAT16, (4, 8, 23): "f4", (8, 11, 52): "f8"}


class Hdf5:
    """Objects of an HDF5 file.

    Parameters
    ----------
    data : ndarray of uint8
        The file's bytes.
    path : str
        What messages call it.
    """

    def __init__(self, data, path):
        self.path = path
        self.view = memoryview(data)
        self.steps = STEPS
        self.text = MAX_TEXT
        self.collections = {}  # of texts, by address: many attributes refer to the same one
        version = self.number(8, 1)
        self.expect(version <= 3, f"version {version} of the format is unknown")
        sizes = 13 if version < 2 else 9
        self.expect(self.bytes(sizes, 2) == b"\x08\x08", "addresses are not of 8 bytes")
        base = {0: 24, 1: 28}.get(version, 12)
        self.expect(self.number(base, 8) == 0, "the file begins with something else")
        self.expect(self.number(base + 16, 8) <= len(self.view), "it is cut short")
        self.root = self.number(base + (40 if version < 2 else 24), 8)

    def expect(self, condition, why):
        """An error unless the file is as it must be."""
        if not condition:
            raise FormatError(f"{self.path}: {why}; fetch it again or save it anew")

    def step(self):
        """Count what is read, since a damaged file may lead in circles."""
        self.steps -= 1
        self.expect(self.steps > 0, "its parts are too many, or lead in a circle")

    def bytes(self, position, n):
        """Bytes at a place in the file."""
        self.expect(0 <= position <= len(self.view) - n and n >= 0, "it is damaged or cut short")
        return bytes(self.view[position : position + n])

    def number(self, position, n):
        """Unsigned number of ``n`` bytes at a place in the file."""
        return int.from_bytes(self.bytes(position, n), "little")

    def name(self, raw):
        """Text of a name."""
        raw = raw.split(b"\0")[0]
        self.text -= len(raw)
        self.expect(len(raw) <= MAX_NAME and self.text > 0, "a name in it is too long")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise FormatError(f"{self.path}: a name in it is no text; fetch it again") from None

    def messages(self, address):
        """Kind, flags, begin and end of each message of an object."""
        if self.bytes(address, 4) != b"OHDR":
            self.expect(self.number(address, 1) == 1, "an object's header is damaged")
            todo = [(address + 16, self.number(address + 8, 4))]
            form, head = self.old_message, 8
        else:
            flags = self.number(address + 5, 1)
            start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
            size = 1 << (flags & 3)
            todo = [(start + size, self.number(start, size))]
            form, head = self.new_message, 6 if flags & 4 else 4
        found = []
        while todo:
            at, size = todo.pop()
            end = at + size
            while at + head <= end:
                self.step()
                kind, flags, length = form(at)
                at += head
                self.expect(at + length <= end, "an object's header is damaged")
                if kind == CONTINUATION:
                    place, size = self.number(at, 8), self.number(at + 8, 8)
                    # a continuation of the new form has a mark before it and a checksum behind
                    todo.append(
                        (place, size) if form == self.old_message else (place + 4, size - 8)
                    )
                else:
                    found.append((kind, flags, at, at + length))
                at += length
        return found

    def old_message(self, at):
        return self.number(at, 2), self.number(at + 4, 1), self.number(at + 2, 2)

    def new_message(self, at):
        return self.number(at, 1), self.number(at + 3, 1), self.number(at + 1, 2)

    def objects(self):
        """Messages of each object by its path, "" for the root; links to elsewhere are left out."""
        found, seen, todo = {}, set(), [("", self.root, 0)]
        while todo:
            path, address, depth = todo.pop()
            self.expect(address not in seen, "a group leads back to another")
            self.expect(depth <= MAX_DEPTH, "its groups are nested too deeply")
            seen.add(address)
            found[path] = messages = self.messages(address)
            for name, place in self.links(messages):
                self.expect(name and "/" not in name, "a name in it is damaged")
                inner = f"{path}/{name}" if path else name
                todo.append((inner, place, depth + 1))
        return found

    def links(self, messages):
        """Names and addresses of what a group holds."""
        for kind, _, at, end in messages:
            if kind == SYMBOL_TABLE:
                yield from old_links(self, self.number(at, 8), self.number(at + 8, 8))
            elif kind == LINK:
                yield from self.link(self.bytes(at, end - at))
            elif kind == LINK_INFO:
                at += 10 if self.number(at + 1, 1) & 1 else 2
                heap, tree = self.number(at, 8), self.number(at + 8, 8)
                if heap != NOWHERE:
                    for raw in stored_links(self, heap, tree):
                        yield from self.link(raw)

    def link(self, raw):
        """Name and address that a link message gives; nothing if it leads elsewhere."""
        self.step()
        self.expect(len(raw) > 2, "a link is damaged")
        flags, at = raw[1], 2
        kind = raw[at] if flags & 8 else 0
        at += (1 if flags & 8 else 0) + (8 if flags & 4 else 0) + (1 if flags & 16 else 0)
        size = 1 << (flags & 3)
        n = int.from_bytes(raw[at : at + size], "little")
        at += size
        if kind == 0:
            self.expect(at + n + 8 <= len(raw), "a link is damaged")
            yield self.name(raw[at : at + n]), int.from_bytes(raw[at + n : at + n + 8], "little")

    def attributes(self, messages):
        """Texts of the attributes that hold text, each a list, by name."""
        found = {}
        for kind, flags, at, end in messages:
            if kind == ATTRIBUTE_INFO:
                at += 4 if self.number(at + 1, 1) & 1 else 2
                self.expect(self.number(at, 8) == NOWHERE, "an object has too many attributes")
            if kind != ATTRIBUTE or flags & SHARED:
                continue
            version, shared = self.number(at, 1), self.number(at + 1, 1)
            sizes = [self.number(at + 2 + 2 * i, 2) for i in range(3)]
            at += 9 if version == 3 else 8
            parts = []
            for size in sizes:
                parts.append((at, size))
                at += size + (-size % 8 if version == 1 else 0)
            self.expect(at <= end and 1 <= version <= 3, "an attribute is damaged")
            name = self.name(self.bytes(*parts[0]))
            if version == 1 or not shared:
                texts = self.texts(parts[1][0], self.dataspace(parts[2][0]), at, end)
                if texts is not None:
                    found[name] = texts
        return found

    def texts(self, datatype, shape, at, end):
        """List of the texts of an attribute; None if it holds something else."""
        kind, size = self.number(datatype, 1) & 15, self.number(datatype + 4, 4)
        variable = kind == VARIABLE and self.number(datatype + 1, 1) & 15 == 1
        if not (kind == STRING or variable) or shape is None:
            return None
        n = math.prod(shape)
        self.expect(size > 0 and n * size <= end - at, "an attribute is damaged")
        places = range(at, at + n * size, size)
        if variable:
            return [self.variable(place) for place in places]
        return [self.name(self.bytes(place, size)) for place in places]

    def variable(self, at):
        """Text of the collection of texts that a length, an address and a number refer to."""
        length, heap, index = self.number(at, 4), self.number(at + 4, 8), self.number(at + 12, 4)
        if not length:
            return ""
        if heap not in self.collections:
            self.collections[heap] = self.collection(heap)
        found = self.collections[heap].get(index)
        self.expect(found is not None, "a text is not where it must be")
        place, size = found
        return self.name(self.bytes(place, min(length, size, MAX_NAME + 1)))

    def collection(self, heap):
        """Place and size of each object of a collection, by its number."""
        self.expect(self.bytes(heap, 4) == b"GCOL", "a text is not where it must be")
        end, at, found = heap + self.number(heap + 8, 8), heap + 16, {}
        while at + 16 <= end:
            self.step()
            number, size = self.number(at, 2), self.number(at + 8, 8)
            if number == 0:  # what is left of the collection
                break
            found.setdefault(number, (at + 16, size))
            at += 16 + size + -size % 8
        return found

    def dataspace(self, at):
        """Shape; None if there is nothing in it."""
        version, rank = self.number(at, 1), self.number(at + 1, 1)
        if version == 2 and self.number(at + 3, 1) == 2:
            return None
        self.expect(version in (1, 2), "the shape of an array is damaged")
        start = at + (8 if version == 1 else 4)
        shape = tuple(self.number(start + 8 * i, 8) for i in range(rank))
        self.expect(is_shape(shape), "the shape of an array is damaged")
        return shape

    def array(self, messages, name):
        """Type, shape and place in the file of a dataset; None if the object is none."""
        at = {kind: (begin, flags) for kind, flags, begin, _ in messages}
        if LAYOUT not in at or DATATYPE not in at or DATASPACE not in at:
            return None
        where = f"{name!r} in it"
        self.expect(EXTERNAL not in at, f"{where} is stored in another file")
        self.expect(not at[DATATYPE][1] & SHARED, f"{where} is of a type of its own")
        dtype = self.datatype(at[DATATYPE][0])
        self.expect(dtype is not None, f"{where} does not hold numbers of a usual type")
        if np.dtype(dtype).kind == "V":
            marked = self.attributes(messages).get("dtype") == [BFLOAT16]
            self.expect(marked, f"{where} does not hold numbers of a usual type")
            dtype = BFLOAT16
        shape = self.dataspace(at[DATASPACE][0])
        self.expect(shape is not None, f"{where} has no shape")
        size = math.prod(shape) * size_of(dtype)
        place = self.layout(at[LAYOUT][0], where, size)
        return dtype, shape, place

    def datatype(self, at):
        """dtype of numbers, a void of two bytes for what may be bfloat16, or None."""
        kind, bits, size = self.number(at, 1) & 15, self.number(at + 1, 1), self.number(at + 4, 4)
        order = ">" if bits & 1 else "<"
        if kind == FIXED and size in (1, 2, 4, 8) and self.number(at + 10, 2) == 8 * size:
            return np.dtype(f"{order}{'i' if bits & 8 else 'u'}{size}")
        if kind == FLOAT and not bits & 0x40:
            code = FLOATS.get((size, self.number(at + 13, 1), self.number(at + 15, 1)))
            if code == BFLOAT16:
                return BFLOAT16 if order == "<" else None
            return code and np.dtype(order + code)
        if kind == ENUM and size == 1:
            return np.dtype(np.bool_)
        if kind == OPAQUE and size == 2:
            return np.dtype("V2")
        return None

    def layout(self, at, where, size):
        """Where the elements of an array begin."""
        version, kind = self.number(at, 1), self.number(at + 1, 1)
        start = at + 2
        if version < 3:
            rank, kind = kind, self.number(at + 2, 1)
            start = at + 8 + (4 * rank if kind == 0 else 0)
        self.expect(
            kind < 2, f"{where} is stored in chunks, perhaps compressed, which is not supported"
        )
        if kind == 0:
            width = 2 if version > 2 else 4
            place, held = start + width, self.number(start, width)
        else:
            place = self.number(start, 8)
            held = self.number(start + 8, 8) if version > 2 else size
        if not size:
            return 0
        self.expect(place != NOWHERE, f"{where} was never written")
        self.expect(held >= size, f"{where} has {held} bytes where {size} are due")
        self.expect(place + size <= len(self.view), f"{where} reaches beyond the end of the file")
        return place
