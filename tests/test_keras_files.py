"""Keras files, written by h5py in every version of HDF5 that it knows."""

import zipfile

import h5py
import numpy as np
import pytest

from skdeep.formats import FormatError, hdf5, read_weights, sniff

# Types as stored; None is bfloat16, which Keras 3 stores as two bytes and says so.
TYPES = ["<f4", "<f2", "<f8", "<i4", ">f4", "u1", "<i8", "?", None]
VERSIONS = ["earliest", "v108", "v110", "latest"]
KERNEL = np.arange(12, dtype=np.float32).reshape(1, 2, 3, 2)
BIAS = np.arange(2, dtype=np.float32)


def write_legacy(group, layers):
    """As Keras 1 and 2: {layer: {weight: array}}, names in attributes."""
    names = [name.encode() for name in layers]
    if len(names) < 500:
        group.attrs["layer_names"] = names
    else:  # Keras splits what is too long for an attribute
        for i, part in enumerate(np.array_split(names, 3)):
            group.attrs[f"layer_names{i}"] = part
    group.attrs["keras_version"] = "2.2.4"
    for layer, weights in layers.items():
        inner = group.create_group(layer)
        inner.attrs["weight_names"] = [name.encode() for name in weights]
        for name, array in weights.items():
            inner[name] = array


def read(path):
    assert sniff(path) == "keras"
    return read_weights(path).tensors


@pytest.mark.parametrize("layers", [1, 9, 40, 700])
@pytest.mark.parametrize("version", VERSIONS)
def test_legacy_files(tmp_path, version, layers):
    """Groups of every size: they are kept in another way as they grow."""
    path, expected = tmp_path / "net.h5", {}
    model = {}
    for i in range(layers):
        arrays = np.full((i % 3, 2), i, np.float32), np.full(3, -i, np.float32)
        weights = f"layer_{i}/kernel:0", f"layer_{i}/bias:0"
        model[f"layer_{i}"] = dict(zip(weights, arrays))
        expected |= dict(zip((f"layer_{i}/kernel", f"layer_{i}/bias"), arrays))
    with h5py.File(path, "w", libver=version) as file:
        write_legacy(file, model)
    tensors = read(path)
    assert list(tensors) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(tensors[name], array, err_msg=name, strict=True)


@pytest.mark.parametrize("version", ["earliest", "latest"])
def test_many_texts_of_variable_length(tmp_path, version, monkeypatch):
    """Which h5py keeps side by side: to find them costs steps in proportion to their number."""
    readers = []

    class Counted(hdf5.Hdf5):
        def __init__(self, *args):
            super().__init__(*args)
            readers.append(self)

    monkeypatch.setattr("skdeep.formats.keras.Hdf5", Counted)
    for n in (400, 800, 1600):
        path = tmp_path / f"{n}.h5"
        with h5py.File(path, "w", libver=version) as file:
            file.attrs["layer_names"] = [f"layer_{i}" for i in range(n)]
            for i in range(n):
                file[f"layer_{i}/bias:0"] = np.full(1, i, np.float32)
                file[f"layer_{i}"].attrs["weight_names"] = ["bias:0"]
        tensors = read(path)
        assert list(tensors) == [f"layer_{i}/bias" for i in range(n)]
        assert [tensors[name][0] for name in tensors] == list(range(n))
    few, more, most = (hdf5.STEPS - reader.steps for reader in readers)
    assert most - more < 2.5 * (more - few)


@pytest.mark.parametrize(
    ("layer", "weight", "name"),
    [
        ("conv1", "conv1/kernel:0", "conv1/kernel"),
        ("conv1", "conv1_2/kernel:0", "conv1/kernel"),
        ("conv1", "conv1_W_1:0", "conv1/kernel"),
        ("bn", "bn_running_std:0", "bn/moving_variance"),
        ("lstm", "lstm/cell/kernel:0", "lstm/cell/kernel"),
        ("trunk", "block1/conv/kernel:0", "trunk/block1/conv/kernel"),
    ],
)
def test_names_of_weights(tmp_path, layer, weight, name):
    """Of a whole model too, whose weights lie in a group."""
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        write_legacy(file.create_group("model_weights"), {layer: {weight: BIAS}})
        file["optimizer_weights/iterations"] = 3
    assert list(read(path)) == [name]


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("version", VERSIONS)
def test_types(tmp_path, version, dtype):
    values = np.array([[0, 1, 2.5], [3, 1, 0]], np.float32)
    stored = values.astype(dtype) if dtype else (values.view(np.uint32) >> 16).astype("u2")
    with h5py.File(tmp_path / "net.h5", "w", libver=version) as file:
        group = file.create_group("layers/dense/vars")
        dataset = group.create_dataset("0", data=stored if dtype else stored.view("V2"))
        if dtype is None:
            dataset.attrs["dtype"] = "bfloat16"
    expected = stored.astype(stored.dtype.newbyteorder("=")) if dtype else values
    np.testing.assert_array_equal(read(tmp_path / "net.h5")["dense/kernel"], expected, strict=True)


def fill_weights(file):
    """As Keras 3 writes weights: numbered, under the names of classes or, later, of layers."""
    for path, arrays in {
        "layers/conv2d/vars": [KERNEL, BIAS],
        "layers/batch_normalization/vars": [BIAS] * 4,
        "layers/layer_normalization/vars": [BIAS] * 2,
        "layers/functional/layers/dense/vars": [KERNEL[0, 0]],
        "layers/gru/cell/vars": [KERNEL[0], KERNEL[0], BIAS],
        "optimizer/vars": [np.array(3)],
    }.items():
        group = file.create_group(path)
        for i, array in enumerate(arrays):
            group[str(i)] = array
    file["layers/conv2d/vars"].attrs["name"] = "conv1"
    file.create_group("layers/activation/vars")


NUMBERED = [
    "conv1/kernel",
    "conv1/bias",
    "batch_normalization/gamma",
    "batch_normalization/beta",
    "batch_normalization/moving_mean",
    "batch_normalization/moving_variance",
    "layer_normalization/gamma",
    "layer_normalization/beta",
    "functional/dense/kernel",
    "gru/cell/0",
    "gru/cell/1",
    "gru/cell/2",
]


@pytest.mark.parametrize("version", VERSIONS)
def test_keras_3(tmp_path, version):
    path = tmp_path / "net.weights.h5"
    with h5py.File(path, "w", libver=version) as file:
        fill_weights(file)
    tensors = read(path)
    assert set(tensors) == set(NUMBERED)
    np.testing.assert_array_equal(tensors["conv1/kernel"], KERNEL, strict=True)
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.write(path, "model.weights.h5")
    packed = read(tmp_path / "net.keras")
    assert set(packed) == set(NUMBERED)
    np.testing.assert_array_equal(packed["gru/cell/1"], KERNEL[0], strict=True)


def test_hdf5_of_others(tmp_path):
    with h5py.File(tmp_path / "net.h5", "w") as file:
        file["trunk/w"] = BIAS
    assert list(read(tmp_path / "net.h5")) == ["trunk/w"]


def test_links_to_elsewhere_are_not_followed(tmp_path):
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["secret"] = BIAS
    for version in ("earliest", "latest"):
        with h5py.File(tmp_path / "net.h5", "w", libver=version) as file:
            file["w"] = BIAS
            file["away"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "/secret")
            file["alias"] = h5py.SoftLink("/w")
        assert list(read(tmp_path / "net.h5")) == ["w"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", ["chunks", "external", "text", "unwritten", "circle", "virtual"])
def test_what_is_not_supported_is_said(tmp_path, kind, version):
    match = {
        "chunks": "stored in chunks",
        "external": "stored in another file",
        "text": "does not hold numbers",
        "unwritten": "never written",
        "circle": "leads back",
        "virtual": "chunks",
    }[kind]
    path = tmp_path / "net.h5"
    with h5py.File(path, "w", libver="latest" if kind == "virtual" else version) as file:
        if kind == "chunks":
            file.create_dataset("w", data=KERNEL, chunks=(1, 1, 3, 2), compression="gzip")
        elif kind == "external":
            file.create_dataset("w", (3,), "f4", external=str(tmp_path / "raw"))
        elif kind == "text":
            file["w"] = ["some", "text"]
        elif kind == "unwritten":
            file.create_dataset("w", (3,), "f4")
        elif kind == "virtual":
            file.create_virtual_dataset("w", h5py.VirtualLayout((3,), "f4"))
        else:
            file["a/b"] = file["/"]
    with pytest.raises(FormatError, match=match):
        read_weights(path)
