"""Weights files: what is written comes back, from our writers and from those of others."""

import numpy as np
import pytest

from skdeep.formats import FormatError, read_weights, sniff, write_weights

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
