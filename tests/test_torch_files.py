"""Files of torch.save: recorded ones, and every part of the three forms made by hand."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
from torch_files import (
    Call,
    Name,
    Storage,
    legacy_file,
    recorded,
    storages,
    tar_file,
    tensor,
    zip_file,
)

from skdeep.formats import FormatError, read_weights, sniff

DATA = Path(__file__).parent / "data" / "formats"
RAMP = np.arange(12, dtype=np.float32)
FORMS = {"zip": zip_file, "legacy": legacy_file}
KINDS = {
    "Float": "f4",
    "Half": "f2",
    "Double": "f8",
    "Long": "i8",
    "Int": "i4",
    "Short": "i2",
    "Char": "i1",
    "Byte": "u1",
    "Bool": "?",
    "ComplexFloat": "c8",
    "ComplexDouble": "c16",
}


def dictionary(module="collections", name="OrderedDict", items=()):
    return Call(Name(module, name), items)


def read(path):
    """All tensors of a file."""
    assert sniff(path) == "torch"
    return dict(read_weights(path).tensors)


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_files_that_torch_wrote(form):
    file = read_weights(DATA / f"{form}.pth")
    assert file.format == "torch"
    assert list(file.tensors) == list(recorded())
    for name, expected in recorded().items():
        np.testing.assert_array_equal(file.tensors[name], expected, err_msg=name, strict=True)
    assert file.metadata == ({"epoch": 3, "arch": "tiny"} if form == "legacy" else {})


def test_zip_members_are_mapped_and_read_only():
    weight = read_weights(DATA / "zip.pth").tensors["conv.weight"]
    part = read_weights(DATA / "zip.pth").tensors["part"]
    assert not weight.flags.owndata
    with pytest.raises(ValueError, match="read-only"):
        part[0] = 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", FORMS)
def test_types(tmp_path, form, kind):
    values = (np.arange(6) % 3).astype(KINDS[kind])
    FORMS[form](tmp_path / "net", {"w": tensor(Storage("0", kind, values), (2, 3))})
    np.testing.assert_array_equal(read(tmp_path / "net")["w"], values.reshape(2, 3), strict=True)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("form", FORMS)
def test_protocols(tmp_path, form, protocol):
    value = {f"layer{i}": tensor(Storage(str(i), "Float", RAMP), (3, 4)) for i in range(300)}
    FORMS[form](tmp_path / "net", value, protocol=protocol)
    tensors = read(tmp_path / "net")
    assert list(tensors) == list(value)
    np.testing.assert_array_equal(tensors["layer299"], RAMP.reshape(3, 4), strict=True)


@pytest.mark.parametrize("form", FORMS)
def test_strides_offsets_and_shared_storages(tmp_path, form):
    one = Storage("0", "Float", RAMP)
    value = {
        "all": tensor(one, (3, 4)),
        "transposed": tensor(one, (4, 3), (1, 4)),
        "column": tensor(one, (3,), (4,), 2),
        "number": tensor(one, (), (), 11),
        "repeated": tensor(one, (2, 3), (0, 1), 4),
        "none": tensor(one, (0, 3), (3, 1), 12),
        "old": tensor(one, (2,), (1,), 3, function="_rebuild_tensor"),
    }
    FORMS[form](tmp_path / "net", value)
    assert len(storages(value)) == 1
    tensors = read(tmp_path / "net")
    np.testing.assert_array_equal(tensors["transposed"], RAMP.reshape(3, 4).T)
    np.testing.assert_array_equal(tensors["column"], [2, 6, 10])
    np.testing.assert_array_equal(tensors["number"], np.float32(11))
    np.testing.assert_array_equal(tensors["repeated"], [[4, 5, 6], [4, 5, 6]])
    np.testing.assert_array_equal(tensors["old"], [3, 4])
    assert tensors["none"].shape == (0, 3)


@pytest.mark.parametrize("form", FORMS)
def test_bfloat16_is_widened(tmp_path, form):
    values = np.array([1, -2.5, 0, np.inf, np.nan, 3.1415927], np.float32)
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    FORMS[form](tmp_path / "net", {"w": tensor(Storage("0", "BFloat16", bits), (3, 2), (1, 3))})
    kept = (bits.astype(np.uint32) << 16).view(np.float32).reshape(2, 3).T
    np.testing.assert_array_equal(read(tmp_path / "net")["w"], kept, strict=True)


def test_untyped_storages(tmp_path):
    """What PyTorch 2 writes of types that have no storage of their own."""
    held = Storage("0", "Untyped", np.arange(4, dtype="<u2").view(np.uint8))
    arguments = (held, 1, (3,), (1,), False, dictionary(), Name("torch", "uint16"))
    zip_file(tmp_path / "net", {"w": Call(Name("torch._utils", "_rebuild_tensor_v3"), arguments)})
    np.testing.assert_array_equal(read(tmp_path / "net")["w"], np.array([1, 2, 3], "u2"))


def test_parameters_and_subclasses(tmp_path):
    plain = tensor(Storage("0", "Float", RAMP), (12,))
    of = Name("torch._utils", "_rebuild_tensor_v2")
    value = {
        "parameter": Call(Name("torch._utils", "_rebuild_parameter"), (plain, True, dictionary())),
        "subclass": Call(
            Name("torch._tensor", "_rebuild_from_type_v2"),
            (of, Name("torch", "Tensor"), plain.arguments, {}),
        ),
    }
    zip_file(tmp_path / "net", value)
    for array in read(tmp_path / "net").values():
        np.testing.assert_array_equal(array, RAMP)


def test_parts_of_storages_in_legacy_files(tmp_path):
    whole = Storage("0", "Float", RAMP)
    part = Storage("0", "Float", RAMP, view=("1", 4, 5))
    legacy_file(tmp_path / "net", {"a": tensor(whole, (12,)), "b": tensor(part, (2, 2), (2, 1), 1)})
    np.testing.assert_array_equal(read(tmp_path / "net")["b"], [[5, 6], [7, 8]])
    legacy_file(tmp_path / "net", {"a": tensor(whole, (12,)), "b": tensor(part, (2, 3))})
    with pytest.raises(FormatError, match="beyond the 5 elements"):
        read_weights(tmp_path / "net")


def test_tar(tmp_path):
    whole, part = Storage(7, "Float", RAMP), Storage(8, "Float", RAMP[3:9])
    half = Storage(9, "Half", RAMP.astype(np.float16))
    tensors = {
        "all": (whole, (3, 4), (4, 1), 0),
        "turned": (whole, (4, 3), (1, 4), 0),
        "part": (part, (2, 2), (3, 1), 1),
        "half": (half, (2,), (5,), 1),
    }
    tar_file(tmp_path / "net", tensors, [(8, 7, 3, 6)])
    found = read(tmp_path / "net")
    np.testing.assert_array_equal(found["turned"], RAMP.reshape(3, 4).T, strict=True)
    np.testing.assert_array_equal(found["part"], [[4, 5], [7, 8]])
    np.testing.assert_array_equal(found["half"], np.array([1, 6], np.float16), strict=True)
    tar_file(tmp_path / "net", {"part": (part, (2, 4), (4, 1), 0)}, [(8, 7, 3, 6)])
    with pytest.raises(FormatError):
        read_weights(tmp_path / "net")


WEIGHT = tensor(Storage("0", "Float", RAMP), (12,))


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ({"fc.weight": WEIGHT}, ["fc.weight"]),
        ({"model": {"module.fc": WEIGHT, "module.b": WEIGHT}}, ["fc", "b"]),
        ({"state_dict": {"module.fc": WEIGHT, "b": WEIGHT}}, ["module.fc", "b"]),
        ({"module._orig_mod.fc": WEIGHT}, ["fc"]),
        ({"optimizer": {"state": {0: WEIGHT}}, "model_state": {"fc": WEIGHT}}, ["fc"]),
        ({"student": {"a": WEIGHT}, "teacher": {"b": WEIGHT}, "epoch": 3}, ["b"]),
        ({"state_dict": {"model": {"fc": WEIGHT}}}, ["fc"]),
        ({"model": "resnet", "state_dict": {"fc": WEIGHT}}, ["fc"]),
        ({"trunk": {"fc": WEIGHT}, "heads": [WEIGHT, WEIGHT]}, ["trunk.fc", "heads.0", "heads.1"]),
        (dictionary(items=([["fc", WEIGHT], ["b", WEIGHT]],)), ["fc", "b"]),  # Python 2
        (dictionary("collections", "defaultdict", (Name("builtins", "dict"),)), None),
        ({"model": {}, "epoch": 1}, None),
        (WEIGHT, None),
        (7, None),
    ],
)
@pytest.mark.parametrize("form", FORMS)
def test_where_the_weights_are(tmp_path, form, value, names):
    FORMS[form](tmp_path / "net", value)
    if names is None:
        with pytest.raises(FormatError, match="holds no named tensors"):
            read_weights(tmp_path / "net")
    else:
        assert list(read(tmp_path / "net")) == names


def test_what_lies_beside_the_weights_is_left_out(tmp_path):
    value = {
        "model": {"fc": WEIGHT, "extra": Call(Name("builtins", "set"), ([1, 2],)), "none": None},
        "args": Call(Name("argparse", "Namespace"), (), {"lr": 0.1, "epochs": 90}),
        "best": Call(Name("numpy.core.multiarray", "scalar"), (Name("numpy", "dtype"), b"1234")),
        "epoch": 12,
        "arch": "resnet50",
        (1, 2): "a key that is no text",
        "ids": {1, 2},
    }
    for protocol in (2, 4):
        zip_file(tmp_path / "net", value, protocol=protocol)
        file = read_weights(tmp_path / "net")
        assert list(file.tensors) == ["fc"]
        assert file.metadata == {"epoch": 12, "arch": "resnet50"}


@pytest.mark.parametrize(
    ("file", "match"),
    [("module.pth", "torch.nn.modules.linear.Linear.*state_dict"), ("script.pth", "TorchScript")],
)
def test_whole_modules_are_refused(file, match):
    with pytest.raises(FormatError, match=match) as error:
        read_weights(DATA / file)
    assert file in str(error.value)


def test_machines_of_the_other_byte_order_are_refused(tmp_path):
    zip_file(tmp_path / "net", {"w": WEIGHT}, byteorder=b"big")
    with pytest.raises(FormatError, match="big-endian"):
        read_weights(tmp_path / "net")
    legacy_file(tmp_path / "net", {"w": WEIGHT}, system={"little_endian": False})
    with pytest.raises(FormatError, match="little-endian"):
        read_weights(tmp_path / "net")


def test_packed_members_are_unpacked(tmp_path):
    """Those of archives that other tools wrote anew."""
    zip_file(tmp_path / "net", {"w": WEIGHT})
    with zipfile.ZipFile(tmp_path / "net") as source:
        contents = {name: source.read(name) for name in source.namelist()}
    with zipfile.ZipFile(tmp_path / "packed", "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in contents.items():
            target.writestr(name, content)
    np.testing.assert_array_equal(read(tmp_path / "packed")["w"], RAMP)


def test_against_torch(tmp_path):
    """What it reads of our hand-made files; only where it is installed."""
    torch = pytest.importorskip("torch", reason="needs PyTorch, which the tests do not install")
    whole, part = Storage(7, "Float", RAMP), Storage(8, "Float", RAMP[3:9])
    tensors = {"all": (whole, (12,), (1,), 0), "part": (part, (2, 2), (3, 1), 1)}
    tar_file(tmp_path / "tar", tensors, [(8, 7, 3, 6)])
    for name, write in FORMS.items():
        write(tmp_path / name, {"part": tensor(Storage("0", "Float", RAMP), (4, 3), (1, 4))})
    for name in ("tar", *FORMS):
        theirs = torch.load(tmp_path / name, weights_only=name != "tar")["part"].numpy()
        np.testing.assert_array_equal(read(tmp_path / name)["part"], theirs, strict=True)
