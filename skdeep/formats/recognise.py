"""Protobuf messages, which have no magic bytes: told apart by the fields that they consist of."""

__all__ = ["is_caffemodel", "is_onnx"]

VARINT, FIXED64, LENGTH, FIXED32 = 0, 1, 2, 5  # how a field of protobuf is written
# Field: how it is written, of the outermost message.
NET_PARAMETER = {1: LENGTH, 2: LENGTH, 3: LENGTH, 4: VARINT, 5: VARINT, 6: LENGTH, 7: VARINT}
NET_PARAMETER |= {8: LENGTH, 100: LENGTH}
MODEL_PROTO = {1: VARINT, 2: LENGTH, 3: LENGTH, 4: LENGTH, 5: VARINT, 6: LENGTH, 7: LENGTH}
MODEL_PROTO |= {8: LENGTH, 14: LENGTH, 20: LENGTH, 25: LENGTH, 26: LENGTH}
LAYERS = {2, 100}
GRAPH = {7}
FIELDS_READ = 100_000  # enough for any network; a file of tiny fields is none


def is_caffemodel(start, path):
    """Whether a file is a NetParameter of Caffe."""
    return has_fields(path, NET_PARAMETER, LAYERS, ".caffemodel")


def is_onnx(start, path):
    """Whether a file is a ModelProto of ONNX."""
    return has_fields(path, MODEL_PROTO, GRAPH, ".onnx")


def has_fields(path, message, needed, suffix):
    """Whether a file consists of a message's fields, one of the needed among them.

    Of a file that is cut short the suffix decides, so that its reader can say what is missing.
    """
    found, whole = set(), False
    with open(path, "rb") as file:
        size = file.seek(0, 2)
        file.seek(0)
        for _ in range(FIELDS_READ):
            if file.tell() >= size:
                whole = file.tell() == size
                break
            tag = varint(file)
            if tag is None:
                break
            field, kind = tag >> 3, tag & 7
            if message.get(field) != kind:
                return False
            found.add(field)
            length = varint(file)
            if length is None:
                break
            if kind == LENGTH:
                if length > size:
                    break
                file.seek(length, 1)
    if whole:
        return bool(found & needed)
    return bool(found) and path.lower().endswith(suffix)


def varint(file):
    """The next number of a protobuf message, or None where there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = file.read(1)
        if not byte:
            return None
        value |= (byte[0] & 127) << shift
        if byte[0] < 128:
            return value
    return None
