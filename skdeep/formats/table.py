"""Every format with what recognises it and what reads it."""

from . import caffe, keras, npz, onnx, overfeat, safetensors, torch_file
from .base import FormatError
from .file import check_file
from .recognise import is_caffemodel, is_onnx

__all__ = ["read_weights", "sniff"]

# Format: (recognise(start, path) -> bool, read(path) -> WeightsFile), asked in this order. Formats
# of protobuf (is_caffemodel, is_onnx of recognise.py) have no magic bytes and come last, after
# OverFeat's, which a size tells.
FORMATS = {
    "safetensors": (safetensors.recognise, safetensors.read),
    "torch": (torch_file.recognise, torch_file.read),
    "npz": (npz.recognise, npz.read),
    "keras": (keras.recognise, keras.read),
    "overfeat": (overfeat.recognise, overfeat.read),
    "caffemodel": (is_caffemodel, caffe.read),
    "onnx": (is_onnx, onnx.read),
}
START = 512  # bytes that recognise sees: the magic of a tar archive is at 257
# What is often taken for weights: what it is, and what to do.
MISTAKEN = {
    b"version https://git-lfs": "a pointer of Git LFS, not the weights; fetch with git lfs pull",
    b"<": "a web page or XML; the download went wrong, or the address was that of a page",
    b"{": "JSON; name the weights file that lies beside it",
    b"\x1f\x8b": "compressed by gzip; unpack it first",
    b"\xfd7zXZ": "compressed by xz; unpack it first",
    b"BZh": "compressed by bzip2; unpack it first",
    b"\x93NUMPY": "a single array; save named arrays with numpy.savez",
    b"\x80": "a pickle that torch.save did not write; save named arrays as .safetensors or .npz",
    b"GGUF": "GGUF, which is not supported; convert it to .safetensors",
}


def sniff(path):
    """Format of a weights file, by its contents.

    Parameters
    ----------
    path : str, bytes or path-like

    Returns
    -------
    format : str
        "safetensors", "torch", "npz", "keras", "overfeat", "caffemodel" or "onnx".

    Raises
    ------
    FormatError
        For a folder, an empty file, and a file of none of these formats.
    FileNotFoundError

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdeep.formats import sniff
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(f"{folder}/weights", w=np.zeros(3))
    ...     sniff(f"{folder}/weights.npz")
    'npz'
    """
    path = check_file(path)
    with open(path, "rb") as file:
        start = file.read(START)
    for name, (recognise, _) in FORMATS.items():
        if recognise(start, path):
            return name
    what = next((what for mark, what in MISTAKEN.items() if start.lstrip().startswith(mark)), None)
    if what is None:
        what = f"of no known format ({', '.join(FORMATS)}); it begins with {start[:8]!r}"
    else:
        what = f"no weights file but {what}"
    raise FormatError(f"{path} is {what}")


def read_weights(path, format=None):
    """Named arrays of a weights file, without the framework that wrote it.

    Reading runs no code that a file may bring, and allocates no more than the file can fill.

    Parameters
    ----------
    path : str, bytes or path-like
    format : str or None, default=None
        As :func:`sniff` names it; None to find out.

    Returns
    -------
    file : WeightsFile
        Its ``tensors`` are read when they are asked for, so the file must stay as it is until then.

    Raises
    ------
    FormatError
        For a file that is damaged, hostile, or of a kind that is not supported.
    FileNotFoundError

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skdeep.formats import read_weights, write_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_weights(f"{folder}/net.safetensors", {"fc.bias": np.arange(3.0)})
    ...     file = read_weights(f"{folder}/net.safetensors")
    ...     print(file.format, file.tensors["fc.bias"])
    safetensors [0. 1. 2.]
    """
    path = check_file(path)
    if format is None:
        format = sniff(path)
    elif format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    return FORMATS[format][1](path)
