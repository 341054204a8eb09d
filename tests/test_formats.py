"""Weights files: what is written comes back, from our writers and from those of others."""

import json
import os
import tracemalloc
import zipfile

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from skdeep.formats import FormatError, read_weights, sniff, write_weights
from skdeep.formats.recognise import is_caffemodel, is_onnx

RNG = np.random.RandomState(0)
ARRAYS = {
    "conv.weight": RNG.randn(4, 3, 2, 2).astype(np.float32),
    "conv.bias": RNG.randn(4).astype(np.float16),
    "odd": RNG.randint(0, 9, 3).astype(np.uint8),
    "steps": np.array(7, np.int64),
    "empty": np.zeros((0, 5), np.float32),
    "mask": np.array([[True, False]]),
    "exact": RNG.randn(3, 2),
}


def assert_same(tensors, expected):
    """The same names, types, shapes and bits."""
    assert set(tensors) == set(expected)
    for name, array in expected.items():
        assert tensors[name].dtype == array.dtype, name
        np.testing.assert_array_equal(tensors[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_round_trip(tmp_path, suffix):
    path = tmp_path / f"net.{suffix}"
    write_weights(path, ARRAYS)
    assert sniff(path) == suffix
    assert_same(read_weights(path).tensors, ARRAYS)
    assert_same(read_weights(str(path).encode(), suffix).tensors, ARRAYS)


def test_names_the_file_that_cannot_be_read(tmp_path):
    path = tmp_path / "net.bin"
    with pytest.raises(FileNotFoundError, match="net.bin"):
        sniff(path)
    with pytest.raises(FormatError, match="folder"):
        read_weights(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(FormatError, match="net.bin is empty"):
        read_weights(path)
    path.write_bytes(b"hello, world")
    with pytest.raises(FormatError, match="net.bin is of no known format"):
        sniff(path)


@pytest.mark.parametrize(
    ("start", "match"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid", "pointer of Git LFS"),
        (b"\n<!DOCTYPE html><html>", "web page"),
        (b'{"architectures": []}', "JSON"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"\x80\x04\x95\x10", "a pickle that torch.save did not write"),
        (b"\x93NUMPY\x01\x00", "a single array"),
        (b"PK\x03\x04 and so on", "zip archive .* cut short"),
    ],
)
def test_what_is_taken_for_weights(tmp_path, start, match):
    (tmp_path / "net.bin").write_bytes(start)
    with pytest.raises(FormatError, match=f"net.bin .*{match}"):
        sniff(tmp_path / "net.bin")


def test_contents_count_not_the_name(tmp_path):
    write_weights(tmp_path / "net.npz", ARRAYS)
    (tmp_path / "net.npz").rename(tmp_path / "net.safetensors")
    assert sniff(tmp_path / "net.safetensors") == "npz"
    with pytest.raises(FormatError, match=r"net\.safetensors"):
        read_weights(tmp_path / "net.safetensors", format="safetensors")
    with pytest.raises(ValueError, match="format must be one of safetensors, torch"):
        read_weights(tmp_path / "net.safetensors", format="h5")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are of POSIX")
def test_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FormatError, match="pipe is not a regular file"):
        sniff(tmp_path / "pipe")


def test_zip_archives_of_others(tmp_path):
    for names in (["readme.txt"], []):
        with zipfile.ZipFile(tmp_path / "net.zip", "w") as archive:
            for name in names:
                archive.writestr(name, "text")
        with pytest.raises(FormatError, match=r"net\.zip is of no known format"):
            sniff(tmp_path / "net.zip")


# Protobuf has no magic bytes: the fields tell.


def field(number, content):
    """A field of protobuf: bytes, or a number below 128."""
    if isinstance(content, int):
        return varint(number << 3) + bytes([content])
    return varint(number << 3 | 2) + varint(len(content)) + content


def varint(number):
    low = number & 127
    return bytes([low]) if number < 128 else bytes([low | 128]) + varint(number >> 7)


CAFFE = [
    field(1, b"CaffeNet") + field(100, b"x" * 300) * 3,
    field(1, b"VGG") + field(2, b"layer") * 2,
    field(2, b"layer"),
    field(1, b"n") + field(3, b"data") + field(4, 1) * 4 + field(5, 0) + field(100, b""),
]
ONNX = [
    field(1, 8) + field(2, b"pytorch") + field(3, b"2.0") + field(7, b"graph") + field(8, b"v"),
    field(7, b"graph"),
    field(1, 3) + field(5, 0) + field(7, b"g" * 300) + field(8, b"") + field(14, b"meta"),
]
NEITHER = [
    b"hello, world, this is text and no message",
    field(1, b"a name alone"),
    field(1, 8) + field(2, b"producer alone"),
    field(1, 1) + field(2, 3) + field(5, b"data of a mean file") + field(7, b"shape"),
    field(9, b"unknown") + field(100, b"layer"),
    b"\x80" * 40,
]


@pytest.mark.parametrize(
    ("content", "caffemodel", "onnx"),
    [(c, True, False) for c in CAFFE]
    + [(c, False, True) for c in ONNX]
    + [(c, False, False) for c in NEITHER],
)
def test_protobuf_is_told_by_its_fields(tmp_path, content, caffemodel, onnx):
    path = str(tmp_path / "net.bin")
    with open(path, "wb") as file:
        file.write(content)
    assert is_caffemodel(content[:512], path) == caffemodel
    assert is_onnx(content[:512], path) == onnx


def test_the_suffix_tells_where_protobuf_is_cut_short(tmp_path):
    for content, suffix, recognise in ((CAFFE[0], "caffemodel", is_caffemodel),
                                       (ONNX[0], "onnx", is_onnx)):  # fmt: skip
        for name, told in ((f"net.{suffix}", True), ("net.bin", False)):
            (tmp_path / name).write_bytes(content[:-2])
            assert recognise(b"", str(tmp_path / name)) == told


def test_onnx_files_of_the_onnx_package(tmp_path):
    onnx = pytest.importorskip("onnx", reason="needs the onnx package")
    value = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    node = onnx.helper.make_node("Relu", ["x"], ["x2"])
    graph = onnx.helper.make_graph([node], "net", [value], [onnx.ValueInfoProto(name="x2")])
    path = str(tmp_path / "net")
    onnx.save(onnx.helper.make_model(graph), path)
    assert is_onnx(b"", path) and not is_caffemodel(b"", path)


# Safetensors, against the format's own package.


def test_safetensors_of_the_package(tmp_path):
    path = tmp_path / "net.safetensors"
    save_file(ARRAYS, path, metadata={"format": "np"})
    file = read_weights(path)
    assert_same(file.tensors, ARRAYS)
    assert file.metadata == {"format": "np"}


def test_the_package_reads_what_we_write(tmp_path):
    path = tmp_path / "net.safetensors"
    write_weights(path, ARRAYS, metadata={"licence": "CC0"})
    assert_same(load_file(path), ARRAYS)
    with safe_open(path, "np") as file:
        assert file.metadata() == {"licence": "CC0"}


def test_bfloat16_of_safetensors_is_widened(tmp_path):
    path = tmp_path / "net.safetensors"
    values = np.array([[1, -2.5, 0], [np.inf, 3.140625, 1e-38]], np.float32)
    bits = (values.view(np.uint32) >> 16).astype("<u2")
    header = {"w": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}}
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + bits.tobytes())
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_array_equal(read_weights(path).tensors["w"], expected, strict=True)


def test_tensors_are_mapped_aligned_and_read_only(tmp_path):
    path = tmp_path / "net.safetensors"
    write_weights(path, ARRAYS)
    tensors = read_weights(path).tensors
    assert not tensors["conv.weight"].flags.owndata
    for array in tensors.values():
        assert array.flags.aligned
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    (tmp_path / "odd").write_bytes(  # one more space in the header: nothing is aligned
        (length + 1).to_bytes(8, "little") + content[8 : 8 + length] + b" " + content[8 + length :]
    )
    odd = read_weights(tmp_path / "odd").tensors
    assert_same(odd, ARRAYS)
    assert all(array.flags.aligned for array in odd.values())


def test_only_what_is_asked_for_is_read(tmp_path):
    path = tmp_path / "net.safetensors"
    write_weights(path, {f"w{i}": np.zeros((64, 1024), np.float32) for i in range(32)})
    tracemalloc.start()
    try:
        file = read_weights(path)
        for array in file.tensors.values():
            assert not array.any()
        assert tracemalloc.get_traced_memory()[1] < 1 << 20  # of 8 MB
    finally:
        tracemalloc.stop()


def test_tensors_are_a_mapping(tmp_path):
    write_weights(tmp_path / "net.npz", ARRAYS)
    tensors = read_weights(tmp_path / "net.npz").tensors
    assert list(tensors) == list(ARRAYS) and len(tensors) == len(ARRAYS)
    assert "odd" in tensors and "even" not in tensors
    assert tensors.get("even") is None
    with pytest.raises(KeyError):
        tensors["even"]
    assert repr(tensors) == "<7 tensors>"


# NumPy's .npz.


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_of_numpy(tmp_path, save):
    arrays = ARRAYS | {
        "fortran": np.asfortranarray(ARRAYS["exact"]),
        "big": ARRAYS["exact"].astype(">f8"),
        "complex": ARRAYS["exact"].astype(np.complex64),
        "layer/kernel": ARRAYS["exact"],
    }
    save(tmp_path / "net.npz", **arrays, labels=np.array(["cat", "dog"]))
    file = read_weights(tmp_path / "net.npz")
    arrays["big"] = ARRAYS["exact"]
    assert_same(file.tensors, arrays)
    assert file.metadata == {"skipped": ["labels.npy"]}
    assert file.tensors["fortran"].flags.f_contiguous


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_versions_of_headers(tmp_path, version):
    with zipfile.ZipFile(tmp_path / "net.npz", "w") as archive:
        with archive.open("w.npy", "w") as member:
            np.lib.format.write_array(member, ARRAYS["exact"], version=version)
    assert_same(read_weights(tmp_path / "net.npz").tensors, {"w": ARRAYS["exact"]})


def test_flipped_bits_of_npz_are_noticed(tmp_path):
    """Its members have checksums."""
    path = tmp_path / "net.npz"
    np.savez(path, w=ARRAYS["exact"])
    content = bytearray(path.read_bytes())
    content[content.index(ARRAYS["exact"].tobytes()) + 3] ^= 1
    path.write_bytes(content)
    with pytest.raises(FormatError, match=r"'w.npy' is damaged"):
        read_weights(path).tensors["w"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "net.npz", "w", method) as archive:
        with archive.open("w.npy", "w") as member:
            np.save(member, ARRAYS["exact"])
    with pytest.raises(FormatError, match="packed by method"):
        read_weights(tmp_path / "net.npz")


# Writing.


@pytest.mark.parametrize("suffix", ["safetensors", "npz"])
def test_writing_takes_any_layout(tmp_path, suffix):
    path = tmp_path / f"net.{suffix}"
    base = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    write_weights(path, {"t": base.T, "s": base[:, ::2], "big": base.astype(">f4"), "list": [1, 2]})
    assert_same(
        read_weights(path).tensors,
        {"t": base.T, "s": base[:, ::2], "big": base, "list": np.array([1, 2])},
    )


@pytest.mark.parametrize(
    ("name", "tensors", "metadata", "match"),
    [
        ("net.pth", ARRAYS, None, "suffix must be one of .safetensors, .npz"),
        ("net", ARRAYS, None, "suffix must be one of"),
        ("net.npz", ARRAYS, {"a": "b"}, "no place for metadata"),
        ("net.safetensors", ARRAYS, {"a": 1}, "texts by name"),
        ("net.safetensors", {"w": np.array(["a"])}, None, "'w' is of type <U1"),
        ("net.safetensors", {"w": np.array([None])}, None, "'w' is of type object"),
        ("net.safetensors", {1: np.zeros(3)}, None, "must be text"),
        ("net.safetensors", {"__metadata__": np.zeros(3)}, None, "__metadata__"),
    ],
)
def test_what_cannot_be_written_leaves_nothing_behind(tmp_path, name, tensors, metadata, match):
    with pytest.raises(ValueError, match=match):
        write_weights(tmp_path / name, tensors, metadata)
    assert not list(tmp_path.iterdir())


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    write_weights(path, ARRAYS)

    def full(*arguments):
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_weights(path, {"other": np.zeros(3)})
    assert_same(read_weights(path).tensors, ARRAYS)
    assert list(tmp_path.iterdir()) == [path]
