"""The wire format of protocol buffers: fields, arrays, and bytes that are no message."""

import random
import struct

import numpy as np
import pytest

from skdeep.formats import FormatError
from skdeep.formats.protobuf import decode, doubles, fields, floats, integers, signed


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(value)


def real(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def counted(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


def test_fields_of_every_kind():
    message = number(1, 300) + counted(2, b"abc") + real(3, 1.5)
    message += varint(4 << 3 | 1) + struct.pack("<d", -2.0) + number(536870911, 7)
    found = [(n, w, v if isinstance(v, int) else bytes(v)) for n, w, v in fields(message)]
    assert found == [
        (1, 0, 300),
        (2, 2, b"abc"),
        (3, 5, struct.pack("<f", 1.5)),
        (4, 1, struct.pack("<d", -2.0)),
        (536870911, 0, 7),
    ]


def test_nothing_is_copied():
    payload = np.arange(1000, dtype="<f4")
    message = np.frombuffer(counted(5, payload.tobytes()), np.uint8)
    ((_, _, value),) = fields(memoryview(message))
    assert np.shares_memory(floats([value]), message)
    np.testing.assert_array_equal(floats([value]), payload)


@pytest.mark.parametrize("value", [0, 1, -1, 127, 128, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63)])
def test_signed_integers(value):
    ((_, _, raw),) = fields(number(3, value))
    assert signed(raw) == value
    assert integers([raw])[0] == value


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 200, 5000])
def test_numbers_that_are_not_packed(count):
    values = np.arange(count, dtype=np.float32)
    singles = b"".join(real(5, v) for v in values)
    message = number(1, 9) + singles + number(2, 8) + real(5, -1)
    found = decode(message, {1: ("a", "int"), 5: ("x", "floats"), 2: ("b", "int")})
    assert (found["a"], found["b"]) == (9, 8)
    np.testing.assert_array_equal(found["x"], np.append(values, np.float32(-1)))
    assert len(list(fields(message))) <= 4


def test_doubles_in_a_run_and_beside_packed_ones():
    one = varint(8 << 3 | 1)
    message = b"".join(one + struct.pack("<d", v) for v in (1, 2, 3))
    message += counted(8, np.array([4.0, 5.0], "<f8").tobytes())
    assert decode(message, {8: ("x", "doubles")})["x"].tolist() == [1, 2, 3, 4, 5]
    assert doubles([]).tolist() == []


def test_integers_packed_and_not():
    values = [0, 1, 127, 128, 300, -1, 2**40, -(2**63), 2**63 - 1]
    packed = counted(1, b"".join(map(varint, values)))
    message = number(1, 5) + packed + number(1, -7)
    found = decode(message, {1: ("x", "ints")})["x"]
    assert found.tolist() == [5, *values, -7]
    assert decode(counted(1, b""), {1: ("x", "ints")})["x"].tolist() == []


def test_messages_in_messages():
    inner = {1: ("size", "int"), 2: ("name", "string")}
    message = {3: ("one", inner), 4: ("many", [inner]), 5: ("words", "strings"), 6: ("on", "bool")}
    whole = counted(3, number(1, 2)) + counted(4, number(1, 3)) + counted(4, counted(2, b"b"))
    whole += counted(3, counted(2, b"a")) + counted(5, b"x") + counted(5, "é".encode())
    assert decode(whole + number(6, 1) + number(99, 1), message) == {
        "one": {"size": 2, "name": "a"},  # the parts of one message are merged
        "many": [{"size": 3}, {"name": "b"}],
        "words": ["x", "é"],
        "on": True,
    }


@pytest.mark.parametrize(
    ("message", "match"),
    [
        (varint(1 << 3 | 3), "wire type 3"),
        (varint(1 << 3 | 6), "wire type 6"),
        (varint(0), "field 0"),
        (varint(2**29 << 3), "which cannot be"),
        (varint(1 << 3), "over the end"),
        (varint(1 << 3) + b"\xff" * 12, "over the end"),
        (counted(1, b"abcd")[:-1], "cut short"),
        (varint(1 << 3 | 2) + varint(2**63), "cut short"),
        (real(1, 0)[:-1], "cut short"),
    ],
)
def test_what_is_no_message(message, match):
    with pytest.raises(FormatError, match=match):
        list(fields(message))


@pytest.mark.parametrize(
    ("message", "kind", "match"),
    [
        (counted(1, b"abc"), "floats", "4 bytes"),
        (number(1, 3), "floats", "4 bytes"),
        (counted(1, b""), "int", "got nothing"),
        (counted(1, b"\x80"), "ints", "within a number"),
        (counted(1, b"\x80" * 11 + b"\0"), "ints", "64 bits"),
        (counted(1, b"\xff"), "string", "UTF-8"),
        (number(1, 3), "string", "number 3"),
        (number(1, 3), {}, "bytes were expected"),
        (number(1, 3), [{}], "bytes were expected"),
        (number(1, 3), "bytes", "bytes were expected"),
    ],
)
def test_fields_of_another_kind(message, kind, match):
    with pytest.raises(FormatError, match=f"thing: .*{match}"):
        decode(message, {1: ("thing", kind)})


def test_endless_descent_is_refused():
    description = {}
    description[1] = ("next", description)
    message = b""
    for _ in range(100):
        message = counted(1, message)
    with pytest.raises(FormatError, match="nested"):
        decode(message, description)


def test_damaged_messages_give_our_error():
    inner = {1: ("ints", "ints"), 2: ("name", "string"), 3: ("floats", "floats")}
    message = {1: ("many", [inner]), 2: ("x", "doubles"), 3: ("f", "float"), 4: ("i", "int")}
    part = number(1, 300) + counted(2, b"name") + b"".join(real(3, v) for v in range(5))
    whole = counted(1, part) * 3 + counted(2, bytes(32)) + real(3, 2) + number(4, -2)
    assert len(decode(whole, message)["many"]) == 3
    rng = random.Random(0)
    refused = 0
    for _ in range(3000):
        bad = bytearray(whole)
        for _ in range(rng.randint(0, 3)):
            bad[rng.randrange(len(bad))] ^= 1 << rng.randrange(8)
        bad = bytes(bad[: rng.randint(1, len(bad))])
        try:
            decode(bad, message)
        except FormatError:
            refused += 1
    assert refused > 1000
