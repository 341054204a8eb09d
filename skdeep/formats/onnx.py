"""ONNX files: initializers as arrays, and the graph that uses them.

Specification: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import math
import os
from pathlib import Path

import numpy as np

from .base import FormatError, Graph, Node, WeightsFile
from .file import map_file
from .protobuf import decode, text

__all__ = ["read"]

ENTRY = {1: ("key", "string"), 2: ("value", "string")}
TENSOR = {
    1: ("dims", "ints"),
    2: ("type", "int"),
    3: ("segment", "bytes"),
    4: ("floats", "floats"),
    5: ("int32", "ints"),
    7: ("int64", "ints"),
    8: ("name", "string"),
    9: ("raw", "bytes"),
    10: ("doubles", "doubles"),
    11: ("uint64", "ints"),
    13: ("external", [ENTRY]),
    14: ("location", "int"),
}
ATTRIBUTE = {
    1: ("name", "string"),
    2: ("f", "float"),
    3: ("i", "int"),
    4: ("s", "bytes"),
    5: ("t", TENSOR),
    6: ("g", "bytes"),
    7: ("floats", "floats"),
    8: ("ints", "ints"),
    9: ("strings", "strings"),
    11: ("graphs", "bytes"),
    20: ("type", "int"),
}
NODE = {
    1: ("inputs", "strings"),
    2: ("outputs", "strings"),
    3: ("name", "string"),
    4: ("op", "string"),
    5: ("attributes", [ATTRIBUTE]),
    7: ("domain", "string"),
}
SHAPE = {1: ("dims", [{1: ("size", "int"), 2: ("symbol", "string")}])}
VALUE = {
    1: ("name", "string"),
    2: ("type", {1: ("tensor", {1: ("type", "int"), 2: ("shape", SHAPE)})}),
}
GRAPH = {
    1: ("nodes", [NODE]),
    2: ("name", "string"),
    5: ("initializers", [TENSOR]),
    11: ("inputs", [VALUE]),
    12: ("outputs", [VALUE]),
    15: ("sparse", "bytes"),
}
MODEL = {
    1: ("ir_version", "int"),
    2: ("producer", "string"),
    3: ("producer_version", "string"),
    7: ("graph", GRAPH),
    8: ("opsets", [{1: ("domain", "string"), 2: ("version", "int")}]),
    14: ("properties", [ENTRY]),
}
BFLOAT16, EXTERNAL = 16, 1
# By the number of a type: how raw bytes are to be read, and the field of values that are not raw.
TYPES = {
    1: ("<f4", "floats"),
    2: ("u1", "int32"),
    3: ("i1", "int32"),
    4: ("<u2", "int32"),
    5: ("<i2", "int32"),
    6: ("<i4", "int32"),
    7: ("<i8", "int64"),
    9: ("?", "int32"),
    10: ("<f2", "int32"),
    11: ("<f8", "doubles"),
    12: ("<u4", "uint64"),
    13: ("<u8", "uint64"),
    BFLOAT16: ("<u2", "int32"),
}
# What an attribute of a type is in; of files that give no type, the first of these that is there.
KINDS = {1: "f", 2: "i", 3: "s", 4: "t", 5: "g", 6: "floats", 7: "ints", 8: "strings", 10: "graphs"}
DEFAULTS = {"f": 0.0, "i": 0, "s": b"", "floats": (), "ints": (), "strings": ()}
MAIN = ("", "ai.onnx")  # domains of ONNX's own operators


def read(path):
    """Read an ONNX file.

    Parameters
    ----------
    path : str or path
        Tensors that the model keeps in other files are read if these lie in its folder.

    Returns
    -------
    WeightsFile
        ``tensors`` are the initializers, mapped to memory where the file holds their bytes;
        ``metadata`` has "ir_version", "producer", "producer_version", "name", "opsets" and the
        file's own properties.

    Raises
    ------
    FormatError
        When the file is damaged, or has something that is not supported: graphs inside of nodes
        (If, Loop), sparse tensors, strings, numbers of eight bits or less that are not integers.
    """
    path = Path(path)
    view = memoryview(map_file(path))
    try:
        return _model(decode(view, MODEL), path)
    except FormatError as error:
        raise FormatError(f"{path}: {error}") from None


def _model(model, path):
    graph = model.get("graph")
    if graph is None:
        raise FormatError("there is no graph in it; is it an ONNX file?")
    if "sparse" in graph:
        raise FormatError("sparse initializers are not supported.")
    tensors, files = {}, {}
    for fields in graph.get("initializers", ()):
        name = fields.get("name", "")
        if not name or name in tensors:
            raise FormatError(f"an initializer is called {name!r}, which is empty or taken.")
        tensors[name] = _tensor(fields, f"initializer {name!r}", path.parent, files)
    nodes = [_node(fields, k) for k, fields in enumerate(graph.get("nodes", ()))]
    inputs = {v.get("name", ""): _shape(v) for v in graph.get("inputs", ())}
    outputs = [v.get("name", "") for v in graph.get("outputs", ())]
    opsets = {o.get("domain", ""): o.get("version", 0) for o in model.get("opsets", ())}
    metadata = {key: model[key] for key in ("ir_version", "producer", "producer_version")
                if key in model}  # fmt: skip
    metadata.update(name=graph.get("name", ""), opsets=opsets)
    for entry in model.get("properties", ()):
        metadata.setdefault(entry.get("key", ""), entry.get("value", ""))
    opset = max((opsets[d] for d in MAIN if d in opsets), default=0)
    return WeightsFile("onnx", tensors, metadata, Graph(nodes, inputs, outputs, opset))


def _shape(value):
    """Sizes of an input; None for those that are free."""
    tensor = value.get("type", {}).get("tensor", {})
    if "shape" not in tensor:
        return None
    sizes = (d.get("size", 0) for d in tensor["shape"].get("dims", ()))
    return tuple(s if s > 0 else None for s in sizes)


def _node(fields, k):
    op, domain = fields.get("op", ""), fields.get("domain", "")
    name = fields.get("name", "")
    where = f"node {name or k!r} ({op})"
    attributes = {}
    for attribute in fields.get("attributes", ()):
        key = attribute.get("name", "")
        attributes[key] = _attribute(attribute, f"attribute {key!r} of {where}")
    op = op if domain in MAIN else f"{domain}.{op}"
    return Node(op, name, fields.get("inputs", []), fields.get("outputs", []), attributes)


def _attribute(fields, where):
    if "type" in fields:
        kind = KINDS.get(fields["type"])
    else:
        kind = next((k for k in KINDS.values() if k in fields), None)
    if kind in ("g", "graphs"):
        raise FormatError(
            f"{where} is a graph of its own, which is not supported; export the network without "
            "loops and branches."
        )
    if kind is None or (kind not in fields and kind not in DEFAULTS):
        raise FormatError(f"{where} is of a type that is not supported, or is empty.")
    value = fields.get(kind, DEFAULTS.get(kind))
    if kind == "t":
        return _tensor(value, where, None, {})
    if kind == "s":
        return text(value)
    return [v.item() for v in np.asarray(value)] if kind in ("floats", "ints") else value


def _tensor(fields, where, folder, files):
    """The array of a tensor."""
    shape = tuple(int(d) for d in fields.get("dims", ()))
    kind = fields.get("type", 0)
    if kind not in TYPES:
        raise FormatError(f"{where} has numbers of type {kind}, which are not supported.")
    if "segment" in fields:
        raise FormatError(f"{where} is stored in segments, which is not supported.")
    dtype, field = TYPES[kind]
    if fields.get("location", 0) == EXTERNAL:
        array = _external(fields.get("external", ()), where, folder, files, dtype, shape)
    elif "raw" in fields:
        array = _whole(fields["raw"], dtype, where)
    else:
        array = fields.get(field, np.empty(0, dtype))
        if kind == 10 and field == "int32":
            array = np.asarray(array).astype(np.uint16)
        array = array.view("<f2") if kind == 10 else np.asarray(array).astype(dtype, copy=False)
    if min(shape, default=0) < 0 or math.prod(shape) != array.size:
        raise FormatError(
            f"{where} of shape {shape} has {array.size} elements; the file is cut short or damaged."
        )
    if kind == BFLOAT16:
        array = (array.astype(np.uint32) << 16).view(np.float32)
    if dtype == "?" and array.dtype != np.bool_:
        array = array.astype(np.bool_)
    return array.reshape(shape)


def _whole(view, dtype, where):
    if len(view) % np.dtype(dtype).itemsize:
        raise FormatError(f"{where} has {len(view)} bytes, which is no whole number of {dtype}.")
    if dtype == "?":  # any byte but 0 is true
        return np.frombuffer(view, np.uint8) != 0
    return np.frombuffer(view, dtype)


def _external(entries, where, folder, files, dtype, shape):
    """An array in another file, which must lie in the model's folder."""
    entries = {e.get("key", ""): e.get("value", "") for e in entries}
    location = entries.get("location", "")
    if folder is None or not location or "\0" in location:
        raise FormatError(f"{where} is said to be in another file, but not in which.")
    home = folder.resolve()
    try:
        target = (home / location).resolve()
    except (OSError, RuntimeError) as error:
        raise FormatError(f"{where} is in {location!r}, which cannot be opened: {error}") from None
    if not target.is_relative_to(home):
        raise FormatError(f"{where} is in {location!r}, outside the model's folder; not read.")
    if target not in files:
        if not os.path.isfile(target):
            raise FormatError(f"{where} is in {location!r}, which is not there; fetch it, too.")
        files[target] = memoryview(map_file(target))
    try:
        offset = int(entries.get("offset") or 0)
        size = math.prod(shape) * np.dtype(dtype).itemsize
        length = int(entries.get("length") or size)
    except ValueError:
        raise FormatError(f"{where} has an offset or a length that is no number.") from None
    if offset < 0 or length != size or offset + length > len(files[target]):
        raise FormatError(
            f"{where} should be {length} bytes from byte {offset} of {location!r} on, which has "
            f"{len(files[target])}; it does not fit, or the file is cut short."
        )
    return _whole(files[target][offset : offset + length], dtype, where)
