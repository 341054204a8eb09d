"""Writes Caffe's files, byte by byte: what the tests of their reader read."""

import struct

import numpy as np

V1_TYPES = {
    "Concat": 3, "Convolution": 4, "Data": 5, "Dropout": 6, "Flatten": 8, "InnerProduct": 14,
    "LRN": 15, "Pooling": 17, "ReLU": 18, "Sigmoid": 19, "Softmax": 20, "SoftmaxWithLoss": 21,
    "Split": 22, "TanH": 23, "Eltwise": 25, "Power": 26, "AbsVal": 35,
}  # fmt: skip
# Parameter message of a type: its number in V1 and in V2, and its fields.
WINDOW = {"pad_h": 9, "pad_w": 10}
PARAMETERS = {
    "BatchNorm": (None, 139, {"use_global_stats": 1, "eps": 3}),
    "Bias": (None, 141, {"axis": 1}),
    "Concat": (9, 104, {"concat_dim": 1, "axis": 2}),
    "Convolution": (
        10,
        106,
        {"num_output": 1, "bias_term": 2, "pad": 3, "kernel_size": 4, "group": 5, "stride": 6,
         "kernel_h": 11, "kernel_w": 12, "stride_h": 13, "stride_w": 14, "axis": 16,
         "dilation": 18, **WINDOW},
    ),
    "Data": (36, 100, {"crop_size": 3}),
    "Dropout": (12, 108, {"dropout_ratio": 1, "scale_train": 2}),
    "ELU": (None, 140, {"alpha": 1}),
    "Eltwise": (24, 110, {"operation": 1, "coeff": 2}),
    "Flatten": (None, 135, {"axis": 1}),
    "InnerProduct": (17, 117, {"num_output": 1, "bias_term": 2, "axis": 5, "transpose": 6}),
    "LRN": (18, 118, {"local_size": 1, "alpha": 2, "beta": 3, "norm_region": 4, "k": 5}),
    "PReLU": (None, 131, {"channel_shared": 2}),
    "Pooling": (
        19,
        121,
        {"pool": 1, "kernel_size": 2, "stride": 3, "pad": 4, "kernel_h": 5, "kernel_w": 6,
         "stride_h": 7, "stride_w": 8, "global_pooling": 12, "round_mode": 13, **WINDOW},
    ),
    "Power": (21, 122, {"power": 1, "scale": 2, "shift": 3}),
    "ReLU": (30, 123, {"negative_slope": 1}),
    "Scale": (None, 142, {"axis": 1, "num_axes": 2, "bias_term": 4}),
    "Softmax": (39, 125, {"axis": 2}),
}  # fmt: skip
FLOATS = ("alpha", "beta", "coeff", "dropout_ratio", "eps", "k", "negative_slope", "power",
          "scale", "shift")  # fmt: skip


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def number(field, value):
    return varint(field << 3) + varint(int(value))


def real(field, value):
    return varint(field << 3 | 5) + struct.pack("<f", value)


def counted(field, data):
    data = data.encode() if isinstance(data, str) else data
    return varint(field << 3 | 2) + varint(len(data)) + data


def blob(array, form="shape"):
    """A BlobProto: "shape", "legacy" (four axes), "unpacked" or "double"."""
    array = np.asarray(array)
    if form == "legacy":
        shape = (1,) * (4 - array.ndim) + array.shape
        out = b"".join(number(k, size) for k, size in enumerate(shape, 1))
    else:
        out = counted(7, counted(1, b"".join(varint(size) for size in array.shape)))
    flat = array.reshape(-1)
    if form == "double":
        return out + counted(8, flat.astype("<f8").tobytes())
    if form == "unpacked":
        return out + b"".join(real(5, value) for value in flat)
    return counted(5, flat.astype("<f4").tobytes()) + out  # the order of fields is free


def parameters(kind, values):
    """The parameter message of a layer."""
    fields, out = PARAMETERS[kind][2], b""
    for key, value in values.items():
        for item in value if isinstance(value, (tuple, list)) else [value]:
            out += (real if key in FLOATS else number)(fields[key], item)
    return out


def layer(version, kind, name, bottoms, tops, values=None, blobs=(), form=None, extra=b""):
    """A layer of a network: its number in the message, and its bytes."""
    at = PARAMETERS.get(kind, (None, None))[0 if version == 1 else 1]
    if version == 1:
        form, out = form or "legacy", counted(4, name) + number(5, V1_TYPES[kind])
        bottom, top, blob_field = 2, 3, 6
    else:
        form, out = form or "shape", counted(1, name) + counted(2, kind)
        bottom, top, blob_field = 3, 4, 7
    out += b"".join(counted(bottom, b) for b in bottoms) + b"".join(counted(top, t) for t in tops)
    out += b"".join(counted(blob_field, blob(b, form)) for b in blobs)
    if values:
        out += counted(at, parameters(kind, values))
    return counted(2 if version == 1 else 100, out + extra)


def declared_input(name, shape):
    """The old way to name an input and its four sizes."""
    return counted(3, name) + b"".join(number(4, size) for size in shape)


def write_net(path, layers, version=2, head=b"", form=None):
    """A .caffemodel of (kind, name, bottoms, tops, values, blobs) tuples."""
    body = b"".join(layer(version, *one, form=form) for one in layers)
    path.write_bytes(counted(1, "net") + head + body)
    return path
