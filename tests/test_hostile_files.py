"""Files that are damaged or made to harm: always FormatError or right data, and nothing runs."""

import os
import pickle
import struct
import tracemalloc
import zipfile

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch_files import Call, Name, Storage, legacy_file, tar_file, tensor, zip_file

from skdeep.formats import FormatError, read_weights, write_weights
from skdeep.formats.table import FORMATS

RAMP = np.arange(6, dtype=np.float32)
ARRAYS = {"w": RAMP.reshape(2, 3), "b": RAMP[:2].astype(np.float16), "m": RAMP[:3] > 1}
LARGEST = 1 << 27  # bytes that reading a small file may take, whatever it claims
CASES = 600  # of each kind of damage to each file; files of 500 to 12 000 bytes
FORMS = {"zip": zip_file, "legacy": legacy_file}


def make_torch(write):
    def make(path):
        kinds = {"f": "Float", "e": "Half", "?": "Bool"}
        held = {k: Storage(k, kinds[v.dtype.char], v) for k, v in ARRAYS.items()}
        state = {k: tensor(held[k], v.shape) for k, v in ARRAYS.items()}
        write(path, {"model": state, "epoch": 3})

    return make


def make_tar(path):
    held = {k: Storage(7, "Float", RAMP) for k in "ab"}
    tar_file(path, {k: (s, (2, 3), (3, 1), 0) for k, s in held.items()}, [(8, 7, 1, 2)])


def make_npz(path):
    with open(path, "wb") as file:
        np.savez(file, **ARRAYS)


def make_packed_npz(path):
    with open(path, "wb") as file:
        np.savez_compressed(file, **ARRAYS, z=np.zeros((30, 40), np.float32))


def make_safetensors(path):
    write_weights(f"{path}.safetensors", ARRAYS, {"licence": "CC0"})
    os.replace(f"{path}.safetensors", path)


def make_keras(version):
    def make(path):
        with h5py.File(path, "w", libver=version) as file:
            if version == "earliest":
                file.attrs["layer_names"] = [b"fc"]
                file.create_group("fc").attrs["weight_names"] = [b"fc/kernel:0"]
                file["fc/fc/kernel:0"] = ARRAYS["w"]
            else:
                for i in range(9):  # more than fit into the group itself
                    file[f"layers/dense_{i}/vars/0"] = ARRAYS["w"]
                file["layers/dense_0/vars"].attrs["name"] = "fc"

    return make


MAKERS = {
    "safetensors": make_safetensors,
    "npz": make_npz,
    "npz packed": make_packed_npz,
    "torch zip": make_torch(zip_file),
    "torch legacy": make_torch(legacy_file),
    "torch tar": make_tar,
    "keras old": make_keras("earliest"),
    "keras new": make_keras("latest"),
}


@pytest.fixture(scope="module", params=MAKERS)
def sound(request, tmp_path_factory):
    """Bytes of a small sound file, and a path to write others to."""
    path = tmp_path_factory.mktemp("hostile") / "net"
    MAKERS[request.param](path)
    assert len(dict(read_weights(path).tensors)) >= 1
    return path.read_bytes(), path


def read_all(path):
    """Tensors, or None where the file is refused; any other error is the caller's to see."""
    try:
        tensors = dict(read_weights(path).tensors)
    except FormatError as error:
        assert str(path) in str(error)
        return None
    assert sum(array.nbytes for array in tensors.values()) < LARGEST
    return tensors


# Formats that are not damaged here, and why.
ELSEWHERE = {
    "caffemodel": "in test_caffe.py: a message cut between two fields is a message",
    "onnx": "below, likewise",
    "overfeat": "bytes without a structure, of one size",
}


def test_every_format_is_damaged_somewhere():
    here = {name.split()[0] for name in MAKERS}
    assert set(FORMATS) <= here | set(ELSEWHERE)


def test_every_cut_is_refused(sound):
    """But for the padding behind the last byte that counts."""
    content, path = sound
    whole = len(content.rstrip(b"\0"))
    for end in range(0, len(content), 1 + len(content) // CASES):
        path.write_bytes(content[:end])
        tensors = read_all(path)
        assert tensors is None or end >= whole, f"cut at {end} of {len(content)}"


def test_flipped_bits_do_no_harm(sound):
    content, path = sound
    random = np.random.RandomState(0)
    for place in random.permutation(len(content))[:CASES]:
        damaged = bytearray(content)
        damaged[place] ^= 1 << random.randint(8)
        path.write_bytes(damaged)
        read_all(path)


def test_damaged_onnx_does_no_harm(tmp_path):
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in "xy"]
    node = helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[3, 3])
    weight = numpy_helper.from_array(np.ones((2, 3, 3, 3), np.float32), "w")
    graph = helper.make_graph([node], "net", ends[:1], ends[1:], [weight])
    content, path = helper.make_model(graph).SerializeToString(), tmp_path / "net.onnx"
    random, refused = np.random.RandomState(0), 0
    path.write_bytes(content)
    np.testing.assert_array_equal(read_all(path)["w"], numpy_helper.to_array(weight))
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << random.randint(8)
        for damaged in (content[:place], flipped):
            path.write_bytes(damaged)
            refused += read_all(path) is None
    assert refused > len(content)


NUMBERS = [-1, 1 << 62, 1 << 40, (1 << 32) - 1, 1 << 31, 0, 255]
EDIT = st.tuples(
    st.sampled_from(["set", "number", "copy", "delete", "insert"]),
    st.integers(0, 1 << 16),
    st.integers(0, 1 << 16),
    st.sampled_from(NUMBERS),
    st.sampled_from([1, 2, 4, 8]),
)


@settings(
    max_examples=200,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(edits=st.lists(EDIT, min_size=1, max_size=6))
def test_edits_do_no_harm(sound, edits):
    content, path = sound
    damaged = bytearray(content)
    for kind, place, other, number, size in edits:
        place, other = place % len(damaged), other % len(damaged)
        raw = (number % (1 << 8 * size)).to_bytes(size, "little")
        if kind == "set":
            damaged[place] = other & 255
        elif kind == "number":
            damaged[place : place + size] = raw
        elif kind == "copy":
            damaged[place : place + 8 * size] = damaged[other : other + 8 * size]
        elif kind == "delete" and len(damaged) > 100:
            del damaged[place : place + size]
        elif kind == "insert":
            damaged[place:place] = raw
    path.write_bytes(damaged)
    read_all(path)


@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(data=st.binary(min_size=1, max_size=300))
def test_any_bytes_are_refused_as_any_format(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "noise"
    starts = [b"", b"PK\x03\x04", b"\x89HDF\r\n\x1a\n", b"\x80\x02\x8a\x0a"]
    for name in FORMATS:
        for start in starts:
            path.write_bytes(start + data)
            with pytest.raises(FormatError):
                dict(read_weights(path, name).tensors)


# Code in pickles.


class Runs:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def inst(module, name, argument):
    return b"(S'" + argument.encode() + b"'\ni" + f"{module}\n{name}\n".encode() + b"."


def obj(module, name, argument):
    return b"(c" + f"{module}\n{name}\n".encode() + b"S'" + argument.encode() + b"'\no."


def payloads(sentinel):
    """Pickles that create a file where they are unpickled by Python."""
    touch = f"touch {sentinel}"
    code = f"open({str(sentinel)!r}, 'w').close()"
    text = f"__import__('os').system({touch!r})"
    nested = Runs(getattr, Runs(__import__, "os"), "system")
    yield from (pickle.dumps(Runs(os.system, touch), protocol) for protocol in range(6))
    yield pickle.dumps(Runs(eval, text), 2)
    yield pickle.dumps(Runs(exec, code), 4)
    yield pickle.dumps({"state_dict": {"fc.weight": Runs(eval, text)}}, 2)
    yield pickle.dumps([Runs(os.system, touch)] * 3, 2)
    yield pickle.dumps(Runs(list, (Runs(eval, text),)), 4)
    yield (
        pickle.dumps(nested, 2)[:-1]
        + b"X"
        + struct.pack("<I", len(touch))
        + touch.encode()
        + (b"\x85R.")
    )
    yield inst("os", "system", touch)
    yield obj("os", "system", touch)
    yield (
        b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c"
        + bytes([len(touch)])
        + touch.encode()
        + (b"\x85R.")
    )


@pytest.mark.parametrize("number", range(15))
@pytest.mark.parametrize("form", FORMS)
def test_no_code_runs(tmp_path, form, number):
    sentinel = tmp_path / "s"
    payload = list(payloads(sentinel))[number]
    pickle.loads(payload)
    assert sentinel.exists(), "the payload does not work, so it tests nothing"
    sentinel.unlink()
    FORMS[form](tmp_path / "net", {}, data=payload)
    with pytest.raises(FormatError):
        read_weights(tmp_path / "net")
    for name in FORMATS:
        with pytest.raises(FormatError):
            read_weights(tmp_path / "net", name)
    assert not sentinel.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("torch._utils", "os.system"),
        ("torch._utils", "__builtins__"),
        ("collections", "namedtuple"),
        ("numpy", "load"),
        ("torch.nn.modules.linear", "Linear"),
        ("torch._utils", "_rebuild_qtensor"),
        ("evil", "name" * 200),
    ],
)
def test_globals_that_are_not_listed_are_refused(tmp_path, module, name):
    for protocol in (2, 4):
        zip_file(tmp_path / "net", {"w": Call(Name(module, name), ("x",))}, protocol=protocol)
        with pytest.raises(FormatError, match="asks for|damaged"):
            read_weights(tmp_path / "net")


# Sizes that a file claims.


def nested_tuples(n):
    return b"\x80\x02}" + b")" + b"\x85" * n + b"K\x01s."


def shared_lists(n):
    """Each list holds the one before ten times: 10 ** n ends."""
    inner = (b"]q%c(" % i + b"h%c" % (i - 1) * 10 + b"e0" for i in range(1, n))
    return b"\x80\x02]q\x00(K\x01K\x02e0" + b"".join(inner) + b"h%c." % (n - 1)


def colliding(n):
    """Integers that share one hash."""
    step = (1 << 61) - 1
    items = (b"\x8a\x0b" + (i * step).to_bytes(11, "little") + b"N" for i in range(1, n))
    return b"\x80\x02}(" + b"".join(items) + b"u."


BOMBS = {
    "bytes of 2**62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"abc.",
    "text of 2**40": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 40) + b"abc.",
    "text of 2**31": b"\x80\x02X" + struct.pack("<I", 1 << 31) + b"abc.",
    "bytearray of 2**40": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"abc.",
    "frame of 2**62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "integer of 2**31": b"\x80\x02\x8b" + struct.pack("<i", (1 << 31) - 1) + b"abc.",
    "integer of negative length": b"\x80\x02\x8b" + struct.pack("<i", -5) + b"abc.",
    "memo of 2**32": b"\x80\x02Nr\xff\xff\xff\xff.",
    "millions of dictionaries": b"\x80\x02" + b"}" * 1_000_001 + b".",
    "tuples nested as a key": nested_tuples(150_000),
    "lists nested": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists shared": shared_lists(200),
    "integers of one hash": colliding(50_000),
    "dictionary in itself": b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.",
    "no end": b"\x80\x02N",
    "nothing": b"",
    "stack underflow": b"\x80\x02\x87\x87RRR.",
    "no mark": b"\x80\x02t.",
    "unknown opcode": b"\x80\x02\xff.",
    "extension": b"\x80\x02\x82\x01.",
    "memo missing": b"\x80\x02h\x05.",
    "items of a number": b"\x80\x02K\x01K\x02K\x03s.",
    "odd items": b"\x80\x02}(K\x01K\x02K\x03u.",
    "state of a number": b"\x80\x02K\x01}b.",
    "text that is none": b"\x80\x02X\x02\x00\x00\x00\xff\xfe.",
    "global without a line": b"\x80\x02c" + b"x" * 5000,
    "global of numbers": b"\x80\x04K\x01K\x02\x93.",
    "storage of numbers": b"\x80\x02(K\x01K\x02tQ.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_claim_too_much(tmp_path, name):
    zip_file(tmp_path / "net", {}, data=BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            read_weights(tmp_path / "net")
        assert tracemalloc.get_traced_memory()[1] < 3 * LARGEST
    finally:
        tracemalloc.stop()


def test_names_are_not_multiplied(tmp_path):
    """A long name above many tensors would take the product of both."""
    weight = tensor(Storage("0", "Float", RAMP), (6,))
    zip_file(tmp_path / "net", {"x" * 100_000: {str(i): weight for i in range(1000)}})
    with pytest.raises(FormatError, match="too long"):
        read_weights(tmp_path / "net")


def rebuilt(shape, strides, offset=0):
    """A tensor of a storage of six elements, with whatever is said of it."""
    arguments = (Storage("0", "Float", RAMP), offset, shape, strides, False, ())
    return Call(Name("torch._utils", "_rebuild_tensor_v2"), arguments)


@pytest.mark.parametrize(
    ("shape", "strides", "offset"),
    [
        ((7,), (1,), 0),
        ((6,), (1,), 1),
        ((2, 3), (4, 1), 0),
        ((1,), (1,), 1 << 62),
        ((1,), (1,), -1),
        ((2,), (-1,), 3),
        ((-1,), (1,), 0),
        ((1 << 62,), (0,), 0),
        ((1 << 30, 1 << 30, 1 << 30), (0, 0, 0), 0),
        ((1 << 26,), (0,), 0),
        ((2, 3), (3,), 0),
        ((2.0, 3), (3, 1), 0),
        ((True, 3), (3, 1), 0),
        ((1,) * 70, (1,) * 70, 0),
        ("ab", (1, 1), 0),
        ((2,), None, 0),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_tensors_outside_of_their_storage(tmp_path, form, shape, strides, offset):
    FORMS[form](tmp_path / "net", {"w": rebuilt(shape, strides, offset)})
    assert read_all(tmp_path / "net") is None


def test_storages_of_another_size(tmp_path):
    weight = rebuilt((6,), (1,))
    zip_file(tmp_path / "net", {"w": weight}, members={"net/data/1": b""})
    read_weights(tmp_path / "net")
    with zipfile.ZipFile(tmp_path / "net") as archive:
        pickled = archive.read("net/data.pkl")
    for content in (RAMP.tobytes()[:-1], RAMP.tobytes() * 2, b""):
        zip_file(tmp_path / "net", {}, data=pickled, members={"net/data/0": content})
        with pytest.raises(FormatError, match="bytes where 6 elements are due"):
            read_weights(tmp_path / "net")
    zip_file(tmp_path / "net", {}, data=pickled)
    with pytest.raises(FormatError, match="is missing"):
        read_weights(tmp_path / "net")


def test_zip_bombs(tmp_path):
    path = tmp_path / "net.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("w.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "<f4", "fortran_order": False, "shape": (25 << 20,)}
            )
            for _ in range(100):
                member.write(bytes(1 << 20))
    assert path.stat().st_size < 1 << 20
    with pytest.raises(FormatError, match="no sane compression"):
        read_weights(path)
    content = path.read_bytes()
    head = content.index(b"PK\x01\x02")
    small = bytearray(content)  # the directory says that it is small
    struct.pack_into("<I", small, head + 24, 1 << 20)
    path.write_bytes(small)
    assert read_all(path) is None


def test_sizes_and_paths_of_members(tmp_path):
    path = tmp_path / "net.npz"
    header = {"descr": "<f4", "fortran_order": False}
    for shape in [(7,), (1 << 40,), (1 << 62, 4), (0, 1 << 62), (1,) * 64]:
        with zipfile.ZipFile(path, "w") as archive, archive.open("w.npy", "w") as member:
            np.lib.format.write_array_header_2_0(member, {**header, "shape": shape})
            member.write(RAMP.tobytes())
        assert read_all(path) is None, shape
    outside = tmp_path / "outside.npy"
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open(f"../{outside.name}", "w") as member:
            np.save(member, RAMP)
        with archive.open("/w.npy", "w") as member:
            np.save(member, RAMP)
    assert set(read_all(path)) == {"../outside", "/w"}
    assert not outside.exists() and not (tmp_path.parent / "outside.npy").exists()


def test_objects_of_npz_are_not_unpickled(tmp_path):
    sentinel = tmp_path / "s"
    objects = np.array([Runs(os.system, f"touch {sentinel}")], dtype=object)
    np.savez(tmp_path / "net.npz", w=RAMP, evil=objects)
    with pytest.raises(FormatError, match="Python objects"):
        read_weights(tmp_path / "net.npz")
    assert not sentinel.exists()


HEADERS = {
    "overlap": '{"a":{"dtype":"U8","shape":[20],"data_offsets":[0,20]},'
    '"b":{"dtype":"U8","shape":[14],"data_offsets":[10,24]}}',
    "gap": '{"a":{"dtype":"U8","shape":[20],"data_offsets":[4,24]}}',
    "too little": '{"a":{"dtype":"U8","shape":[20],"data_offsets":[0,20]}}',
    "too much": '{"a":{"dtype":"U8","shape":[25],"data_offsets":[0,25]}}',
    "wrong size": '{"a":{"dtype":"F32","shape":[5],"data_offsets":[0,24]}}',
    "backwards": '{"a":{"dtype":"U8","shape":[24],"data_offsets":[24,0]}}',
    "negative": '{"a":{"dtype":"U8","shape":[-24],"data_offsets":[0,-24]}}',
    "huge": '{"a":{"dtype":"U8","shape":[4611686018427387904,4],"data_offsets":[0,24]}}',
    "huge and empty": '{"a":{"dtype":"U8","shape":[0,4611686018427387904],"data_offsets":[0,0]}}',
    "float": '{"a":{"dtype":"U8","shape":[24.0],"data_offsets":[0,24]}}',
    "bool": '{"a":{"dtype":"U8","shape":[true,24],"data_offsets":[0,24]}}',
    "no dtype": '{"a":{"shape":[24],"data_offsets":[0,24]}}',
    "no entry": '{"a":[1,2,3]}',
    "unknown dtype": '{"a":{"dtype":"F8_E4M3","shape":[24],"data_offsets":[0,24]}}',
    "dtype of a list": '{"a":{"dtype":[],"shape":[24],"data_offsets":[0,24]}}',
    "three offsets": '{"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24,3]}}',
    "twice": '{"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]},'
    '"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]}}',
    "list": "{[]}",
    "metadata": '{"__metadata__":{"a":1},"a":{"dtype":"U8","shape":[24],"data_offsets":[0,24]}}',
    "nested": '{"a":' + "[" * 100_000,
    "digits": '{"a":{"dtype":"U8","shape":[' + "9" * 10_000 + '],"data_offsets":[0,24]}}',
    "not utf-8": '{"\udcff":1}',
}


@pytest.mark.parametrize("name", HEADERS)
def test_headers_of_safetensors(tmp_path, name):
    text = HEADERS[name].encode(errors="surrogateescape")
    path = tmp_path / "net.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(24))
    with pytest.raises(FormatError, match="net.safetensors"):
        read_weights(path)


def test_length_of_the_header_of_safetensors(tmp_path):
    path = tmp_path / "net.safetensors"
    for length in (0, 1, 50, 100_000_001, 1 << 63):
        path.write_bytes(struct.pack("<Q", length) + b"{}" + bytes(24))
        with pytest.raises(FormatError):
            read_weights(path, "safetensors")


def test_loops_end(tmp_path):
    """Addresses that all lead to the root: HDF5 is the one format that has them."""
    path = tmp_path / "net"
    MAKERS["keras new"](path)
    content = path.read_bytes()
    address = struct.pack("<Q", content.index(b"OHDR"))
    refused = 0
    for place in range(0, len(content) - 8, 31):
        path.write_bytes(content[:place] + address + content[place + 8 :])
        refused += read_all(path) is None
    assert refused > 20
