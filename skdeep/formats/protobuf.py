"""The wire format of protocol buffers: numbered fields, read in place, without their library.

:func:`fields` walks over one message; :func:`decode` reads one by a literal description of it. All
raise :class:`~skdeep.formats.FormatError` for bytes that are no message, without a file's name:
readers of files put it before.
"""

import numpy as np

from .base import FormatError

__all__ = ["decode", "doubles", "fields", "floats", "integers", "signed", "text"]

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
WIDTHS = {FIXED64: 8, FIXED32: 4}
DEPTH = 32  # messages inside messages
RUN = 64  # fields looked at together at first


def fields(view, depth=0):
    """The fields of a message, in the order of the file.

    Parameters
    ----------
    view : memoryview or bytes
        The message, all of it.
    depth : int, default=0
        Of how many messages it is a part; for those who descend, so that the descent ends.

    Yields
    ------
    number : int
    wire_type : int
        0 a varint, 1 eight bytes, 2 counted bytes, 5 four bytes.
    value : int or memoryview
        A varint as an int in 0 .. 2**64 - 1 (see :func:`signed`), other kinds as a memoryview that
        shares the memory of ``view``. A run of equal numbers of four or eight bytes, a repeated
        number in the form that is not packed, comes as the one packed field that means the same.

    Raises
    ------
    FormatError
        For groups and other wire types, and for a field that reaches over the end.
    """
    if depth > DEPTH:
        raise FormatError(f"messages are nested more than {DEPTH} deep; is it a hostile file?")
    view = memoryview(view).cast("B")
    at, end = 0, len(view)
    while at < end:
        start = at
        tag, at = _varint(view, at, end)
        number, wire_type = tag >> 3, tag & 7
        if not 0 < number < 2**29:
            raise FormatError(f"byte {start} of a message begins field {number}, which cannot be.")
        if wire_type == VARINT:
            value, at = _varint(view, at, end)
        else:
            if wire_type == BYTES:
                length, at = _varint(view, at, end)
            elif wire_type in WIDTHS:
                length = WIDTHS[wire_type]
            else:
                raise FormatError(f"field {number} has wire type {wire_type}, which is not read.")
            if length > end - at:
                raise FormatError(
                    f"field {number} has {length} bytes where {end - at} are left; the file is "
                    "cut short or damaged."
                )
            value, at = view[at : at + length], at + length
            if wire_type != BYTES and tag < 128 and at < end and view[at] == tag:
                count = _run(view, start, at - start)
                if count > 1:
                    value, wire_type = _joined(view, start, at - start, count), BYTES
                    at = start + count * (at - start)
        yield number, wire_type, value


def _varint(view, at, end):
    """An unsigned varint and the place behind it."""
    value, shift = 0, 0
    while at < end and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), at
        shift += 7
    raise FormatError("a number runs over the end of its message; the file is cut or damaged.")


def _run(view, start, step):
    """How many whole records of ``step`` bytes from ``start`` on begin with the same byte."""
    data = np.frombuffer(view, np.uint8)
    whole, count, window = (len(data) - start) // step, 1, RUN
    while count < whole:
        stop = min(whole, count + window)
        tags = data[start + count * step : start + stop * step : step]
        other = np.flatnonzero(tags != data[start])
        if len(other):
            return count + int(other[0])
        count, window = stop, 2 * window
    return count


def _joined(view, start, step, count):
    """The payloads of a run of records with tags of one byte."""
    records = np.frombuffer(view, np.uint8, count * step, start).reshape(count, step)
    return memoryview(np.ascontiguousarray(records[:, 1:])).cast("B")


def signed(value):
    """A varint as the int32 or int64 that it stands for.

    Parameters
    ----------
    value : int

    Returns
    -------
    int
    """
    return value - 2**64 if value >= 2**63 else value


def text(value):
    """Counted bytes as a string.

    Parameters
    ----------
    value : memoryview

    Returns
    -------
    str
    """
    if isinstance(value, int):
        raise FormatError(f"a string was expected, got the number {value}.")
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(f"a name is not UTF-8 ({error}).") from None


def floats(parts, dtype="<f4"):
    """A repeated float field.

    Parameters
    ----------
    parts : list of memoryview
        The values of all its occurrences, packed or not.
    dtype : str, default="<f4"

    Returns
    -------
    ndarray
        A view of the file where there is one packed part.
    """
    size = np.dtype(dtype).itemsize
    for part in parts:
        if isinstance(part, int) or len(part) % size:
            raise FormatError(f"an array of numbers of {size} bytes has a part of one.")
    arrays = [np.frombuffer(part, dtype) for part in parts]
    return arrays[0] if len(arrays) == 1 else np.concatenate([np.empty(0, dtype), *arrays])


def doubles(parts):
    """A repeated double field; as :func:`floats`.

    Parameters
    ----------
    parts : list of memoryview

    Returns
    -------
    ndarray of float64
    """
    return floats(parts, "<f8")


def integers(parts):
    """A repeated field of int32, int64, bool or enumeration.

    Parameters
    ----------
    parts : list of int or memoryview
        The values of all its occurrences; memoryviews are packed.

    Returns
    -------
    ndarray of int64
    """
    if all(isinstance(part, int) for part in parts):
        return np.array(parts, np.uint64).view(np.int64)
    arrays = [
        np.array([part], np.uint64) if isinstance(part, int) else _unpack(part) for part in parts
    ]
    return np.concatenate(arrays).view(np.int64)


def _unpack(part):
    """Packed varints, all at once."""
    data = np.frombuffer(part, np.uint8)
    ends = np.flatnonzero(data < 128)
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        raise FormatError("an array of integers ends within a number; the file is damaged.")
    starts = np.concatenate([[0], ends[:-1] + 1]).astype(np.int64)[: len(ends)]
    lengths = ends - starts + 1
    if len(lengths) and lengths.max() > 10:
        raise FormatError("an integer of an array has more than 64 bits; the file is damaged.")
    values = np.zeros(len(ends), np.uint64)
    for k in range(int(lengths.max()) if len(lengths) else 0):
        longer = lengths > k
        digits = (data[starts[longer] + k] & 127).astype(np.uint64)
        values[longer] |= digits << np.uint64(7 * k)
    return values


def decode(view, message, depth=0):
    """A message as a dict, by a description of the fields that are wanted.

    Parameters
    ----------
    view : memoryview or bytes
    message : dict of int to (str, kind)
        Number of a field, its name, and what it is: "int", "bool", "float", "string", "bytes" (the
        last occurrence counts), "ints", "floats", "doubles" (arrays), "strings" (a list), another
        description (a message in this one) or a list of one (any number of messages).
    depth : int, default=0

    Returns
    -------
    dict
        Without the fields that the file leaves out.
    """
    found = {}
    for number, wire_type, value in fields(view, depth):
        if number in message:
            found.setdefault(number, []).append((wire_type, value))
    return {
        message[number][0]: _decoded(*message[number], parts, depth)
        for number, parts in found.items()
    }


def _decoded(name, kind, parts, depth):
    values = [value for _, value in parts]
    try:
        if kind in ("int", "bool"):
            number = int(integers(values[-1:])[-1])
            return bool(number) if kind == "bool" else number
        if kind == "float":
            return float(floats(values[-1:])[-1])
        if isinstance(kind, str) and kind in ARRAYS:
            return ARRAYS[kind](values)
        if kind in ("string", "strings"):
            strings = [text(value) for value in values]
            return strings if kind == "strings" else strings[-1]
        if any(wire_type != BYTES for wire_type, _ in parts):
            raise FormatError("bytes were expected, got a number.")
        if kind == "bytes":
            return values[-1]
        if isinstance(kind, list):
            return [decode(value, kind[0], depth + 1) for value in values]
        whole = values[0] if len(values) == 1 else b"".join(values)
        return decode(whole, kind, depth + 1)
    except IndexError:
        raise FormatError(f"{name}: a number was expected, got nothing.") from None
    except FormatError as error:
        raise FormatError(f"{name}: {error}") from None


ARRAYS = {"floats": floats, "doubles": doubles, "ints": integers}
