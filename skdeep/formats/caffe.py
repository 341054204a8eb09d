"""Caffe's files: trained networks (.caffemodel) with their graph, mean pictures (.binaryproto)."""

import math

import numpy as np

from .base import FormatError, Graph, Node, WeightsFile
from .caffe_messages import BLOB, ENUMERATIONS, LAYERS, NET, V1_TYPES
from .file import map_file
from .protobuf import decode

__all__ = ["read", "read_mean"]

TEST = 1  # Caffe's number of the phase that predicts
MOST_AXES = 32
# What only a training run has a use for; losses are known by the end of their type.
TRAINING = ("Accuracy", "Silence", "HDF5Output")
# (first field, field of the height, field of the width, default), by what attributes call it.
GEOMETRY = {
    "kernel_size": ("kernel_h", "kernel_w", None),
    "stride": ("stride_h", "stride_w", 1),
    "pad": ("pad_h", "pad_w", 0),
    "dilation": ("dilation_h", "dilation_w", 1),
}


def read(path):
    """The network of a .caffemodel file.

    Files of Caffe 1.0 and of the generation before (``layers`` with numbered types) are read; both
    come out in the words of 1.0. What only training needs is left out: losses, accuracy, and the
    layers that read data, whose tops become the graph's inputs.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    WeightsFile
        Tensors are named after their layer and number, "conv1.0", "conv1.1", and share the memory
        of the file. In the graph a layer is a node, whose attributes are its parameters, with the
        default where the file has none, and the names of its tensors as "blobs". What is computed
        in place has an output of its own, "conv1@relu1". Dead ends of training, such as auxiliary
        classifiers, are still there; the last of the graph's outputs is the network's own.

    Raises
    ------
    FormatError
        When the file is damaged, holds no layers, or is older than that.
    """
    try:
        net = decode(memoryview(map_file(path)), NET)
        old = "layer" not in net
        layers = [_modern(layer) for layer in net.get("layers", [])] if old else net["layer"]
        nodes, tensors, sources = _nodes(layers, _declared(net))
        if not nodes:
            raise FormatError("no layers were found; is it a .caffemodel?")
    except FormatError as error:
        raise _naming(path, error) from None
    about = {"name": net.get("name", ""), "version": "V1" if old else "V2"}
    return WeightsFile("caffemodel", tensors, about, _graph(nodes, sources))


def read_mean(path):
    """The mean picture of a .binaryproto file of Caffe.

    ``tuple(read_mean(path).mean(axis=(0, 1)))`` is the mean of a
    :class:`~skdeep.features.Preprocessing` with ``channels="bgr"``.

    Parameters
    ----------
    path : str or path

    Returns
    -------
    ndarray of float32 of shape (h, w, c)
        Channels last, in the order of the file: blue, green, red.

    Raises
    ------
    FormatError
        When the file is damaged or does not hold one picture.

    Examples
    --------
    >>> import tempfile
    >>> from skdeep.formats import read_mean
    >>> with tempfile.NamedTemporaryFile(suffix=".binaryproto") as file:
    ...     size = b"\\x08\\x01\\x10\\x03\\x18\\x01\\x20\\x01"  # 1 picture, 3 channels, 1 x 1
    ...     n = file.write(size + b"\\x2a\\x0c" + np.float32([104, 117, 123]).tobytes())
    ...     file.flush()
    ...     read_mean(file.name)
    array([[[104., 117., 123.]]], dtype=float32)
    """
    try:
        array = _array(decode(memoryview(map_file(path)), BLOB))
        if array.ndim == 4 and array.shape[0] == 1:
            array = array[0]
        if array.ndim != 3 or not array.size:
            raise FormatError(f"an array of shape {array.shape} is no mean picture.")
    except FormatError as error:
        raise _naming(path, error) from None
    return np.ascontiguousarray(array.transpose(1, 2, 0), np.float32)


def _naming(path, error):
    """The error with the name of the file."""
    return error if str(error).startswith(str(path)) else FormatError(f"{path}: {error}")


def _modern(layer):
    """A layer of the old generation as one of 1.0."""
    if "layer" in layer:
        raise FormatError(
            "this network was written by a Caffe of 2013 or before (V0); convert it with the "
            "upgrade_net_proto_binary that comes with Caffe 1.0."
        )
    number = layer.get("type", 0)
    if not 0 <= number < len(V1_TYPES):
        raise FormatError(f"layer {layer.get('name')!r} is of type {number}, which is unknown.")
    return layer | {"type": V1_TYPES[number]}


def _array(blob):
    """The numbers of a blob in their shape."""
    old = [blob.get(key) for key in ("num", "channels", "height", "width")]
    if any(size is not None for size in old):
        shape = tuple(size or 0 for size in old)
    else:
        shape = tuple(int(size) for size in blob.get("shape", {}).get("dim", ()))
    data = blob["double_data"] if "double_data" in blob else blob.get("data", np.empty(0, "<f4"))
    if len(shape) > MOST_AXES or min(shape, default=0) < 0 or math.prod(shape) != data.size:
        raise FormatError(f"a blob of shape {shape} has {data.size} numbers.")
    return data.reshape(shape)


def _nodes(layers, sources):
    """What predicts, the arrays of it, and the shapes of what it may read from outside."""
    tensors, nodes, versions, names = {}, [], {}, {}
    for place, layer in enumerate(layers):
        kind = layer.get("type", "")
        name = _unused(layer.get("name") or f"{kind.lower()}{place + 1}", names)
        bottoms, tops = layer.get("bottom", []), layer.get("top", [])
        if not bottoms:
            sources.update(zip(tops, _source_shapes(layer, len(tops))))
            continue
        if kind in TRAINING or kind.endswith("Loss") or not _predicts(layer):
            continue
        inputs = [versions.get(blob, blob) for blob in bottoms]
        if kind == "Split":
            versions.update((top, inputs[0]) for top in tops)
            continue
        outputs = []
        for top in tops:
            taken = top in versions or top in inputs or top in sources
            outputs.append(f"{top}@{name}" if taken else top)
            versions[top] = outputs[-1]
        try:
            blobs = {f"{name}.{k}": _array(b) for k, b in enumerate(layer.get("blobs", []))}
            attributes = _attributes(kind, layer) | {"blobs": list(blobs)}
        except FormatError as error:
            raise FormatError(f"layer {name!r}: {error}") from None
        tensors |= blobs
        nodes.append(Node(kind, name, inputs, outputs, attributes))
    return nodes, tensors, sources


def _graph(nodes, sources):
    made = {t for node in nodes for t in node.outputs}
    read = {t for node in nodes for t in node.inputs}
    inputs = {t: sources.get(t) for node in nodes for t in node.inputs if t not in made}
    outputs = [t for node in nodes for t in node.outputs if t not in read]
    return Graph(nodes, inputs, outputs)


def _unused(name, names):
    """A name that no layer has yet; ``names`` counts how often each was wanted."""
    unique = name
    while unique in names:
        names[name] += 1
        unique = f"{name}_{names[name]}"
    names[unique] = 1
    return unique


def _predicts(layer):
    """Whether a layer is there when the network predicts."""

    def met(rule):
        apart = rule.get("phase", TEST) != TEST or rule.get("min_level", 0) > 0
        return not apart and not rule.get("stage")

    include, exclude = layer.get("include", []), layer.get("exclude", [])
    return (not include or any(map(met, include))) and not any(map(met, exclude))


def _declared(net):
    """Shapes of the inputs that the network names itself."""
    names, sizes = net.get("input", []), [int(size) for size in net.get("input_dim", ())]
    shapes = [_free(shape) for shape in net.get("input_shape", [])]
    if not shapes:
        shapes = [_free({"dim": sizes[k : k + 4]}) for k in range(0, len(sizes) - 3, 4)]
    return dict(zip(names, [*shapes, *[None] * len(names)]))


def _free(shape):
    """A shape whose first axis, the batch, is free."""
    dim = [int(size) for size in shape.get("dim", ())]
    return (None, *dim[1:]) if len(dim) > 1 and min(dim[1:]) > 0 else None


def _source_shapes(layer, count):
    """Shapes of what a layer without bottoms gives, as far as it tells."""
    if "input_param" in layer:
        shapes = [_free(shape) for shape in layer["input_param"].get("shape", [])]
        return (shapes * count if len(shapes) == 1 else [*shapes, *[None] * count])[:count]
    data = {}
    for name in ("data_param", "image_data_param", "memory_data_param", "transform_param"):
        data |= {key: value for key, value in layer.get(name, {}).items() if value > 0}
    height = data.get("crop_size", data.get("new_height", data.get("height")))
    width = data.get("crop_size", data.get("new_width", data.get("width")))
    picture = None if None in (height, width) else (None, data.get("channels"), height, width)
    return [picture, *[None] * count][:count]


def _attributes(kind, layer):
    """Parameters of a layer with their defaults."""
    if kind not in LAYERS:
        return {}
    message, _, defaults = LAYERS[kind]
    values = defaults | layer.get(message, {})
    for key, value in values.items():
        choices = ENUMERATIONS.get((kind, key))
        if choices is not None:
            if not 0 <= value < len(choices):
                raise FormatError(f"{key} is {value}, which means nothing.")
            values[key] = choices[value]
        elif isinstance(value, float) and not math.isfinite(value):
            raise FormatError(f"{key} is {value}.")
        elif isinstance(value, np.ndarray):
            values[key] = value.tolist()
    if kind == "Concat":
        values = {"axis": values.get("axis", values["concat_dim"])}
    if kind in ("Convolution", "Pooling"):
        _pairs(kind, values)
    return values


def _pairs(kind, values):
    """Sizes of windows as [height, width]."""
    for key, (high, wide, default) in GEOMETRY.items():
        if kind == "Pooling" and key == "dilation":
            continue
        both, given = [values.pop(high, None), values.pop(wide, None)], values.get(key, [])
        if any(both):
            if None in both and default is None:
                raise FormatError(f"{key} has no height or no width.")
            both = [default if size is None else size for size in both]
        elif len(given) in (1, 2):
            both = [given[0], given[-1]]
        elif given or (default is None and not values.get("global_pooling")):
            raise FormatError(f"{key} is {given}; networks for pictures have one or two of it.")
        else:
            both = [default, default]
        if any(size is not None and not 0 <= size < 2**31 for size in both):
            raise FormatError(f"{key} is {both}.")
        values[key] = None if None in both else both
