"""What pickles of PyTorch are made of: storages, tensors, and the globals that they may name."""

import math
from dataclasses import dataclass

import numpy as np

from .base import FormatError
from .file import BFLOAT16, is_shape, size_of
from .unpickle import IGNORED, Global, is_key

__all__ = [
    "Storage",
    "Tensor",
    "finder",
    "rebuild_tensor",
    "sized",
    "whole_numbers",
    "whole_storage",
]

MAX_EXPANDED = 1 << 20  # elements of a tensor that repeats those of its storage
DTYPES = {
    "Float": np.dtype("<f4"),
    "Half": np.dtype("<f2"),
    "Double": np.dtype("<f8"),
    "BFloat16": BFLOAT16,
    "Long": np.dtype("<i8"),
    "Int": np.dtype("<i4"),
    "Short": np.dtype("<i2"),
    "Char": np.dtype("i1"),
    "Byte": np.dtype("u1"),
    "Bool": np.dtype(np.bool_),
    "ComplexFloat": np.dtype("<c8"),
    "ComplexDouble": np.dtype("<c16"),
    "Untyped": np.dtype("u1"),
}
# torch.float32 and so on, for tensors whose storage is untyped.
NAMED = {
    "float32": np.dtype("<f4"),
    "float16": np.dtype("<f2"),
    "float64": np.dtype("<f8"),
    "bfloat16": BFLOAT16,
    "int64": np.dtype("<i8"),
    "int32": np.dtype("<i4"),
    "int16": np.dtype("<i2"),
    "int8": np.dtype("i1"),
    "uint8": np.dtype("u1"),
    "uint16": np.dtype("<u2"),
    "uint32": np.dtype("<u4"),
    "uint64": np.dtype("<u8"),
    "bool": np.dtype(np.bool_),
    "complex64": np.dtype("<c8"),
    "complex128": np.dtype("<c16"),
}


@dataclass
class Storage:
    """A run of elements in the file: all of a storage, or a part of it."""

    key: object
    dtype: object
    numel: int | None  # of the whole storage; None until it is found
    first: int = 0
    length: int | None = None


@dataclass
class Tensor:
    """A view of a storage, in elements."""

    storage: Storage
    dtype: object
    offset: int
    shape: tuple
    strides: tuple


def whole_numbers(values):
    """Whether all of a sequence are integers from 0 to what fits into 63 bits."""
    return all(type(v) is int and 0 <= v < 1 << 63 for v in values)


def whole_storage(identifier):
    """Storage that the pickle of a tensor refers to."""
    if not (isinstance(identifier, tuple) and len(identifier) >= 5 and identifier[0] == "storage"):
        if isinstance(identifier, tuple) and identifier[:1] == ("module",):
            raise ValueError("it is a whole pickled module; save model.state_dict() alone")
        raise ValueError("an unknown kind of reference")
    _, kind, key, _, numel, *view = identifier
    if not isinstance(kind, Global) or kind.dtype is None or type(key) not in (str, int):
        raise TypeError("a storage without a type or name")
    if not whole_numbers([numel]):
        raise ValueError("a storage without a size")
    made = Storage(key, kind.dtype, numel, 0, numel)
    if view and view[0] is not None:
        _, made.first, made.length = view[0]
        if not whole_numbers([made.first, made.length]) or made.first + made.length > numel:
            raise ValueError("a part of a storage that lies outside of it")
    return made


def sized(view, position, storage, path):
    """Where the elements of a storage begin and end that their number precedes."""
    start = position + 8
    numel = int.from_bytes(view[position:start], "little")
    end = start + numel * size_of(storage.dtype)
    if end > len(view) or storage.numel not in (None, numel):
        raise FormatError(f"{path}: a storage is cut short or of a wrong size; fetch it again")
    return start, end


def rebuild_tensor(storage, offset, shape, strides, dtype=None):
    """A tensor, checked to lie within its storage."""
    if not isinstance(storage, Storage):
        raise TypeError("a tensor without a storage")
    dtype = storage.dtype if dtype is None else dtype
    shape, strides = tuple(shape), tuple(strides)
    if not (is_shape(shape) and len(shape) == len(strides) and whole_numbers((offset, *strides))):
        raise ValueError("a tensor of no valid shape, strides and offset")
    available = storage.length * size_of(storage.dtype) // size_of(dtype)
    last = offset + sum((n - 1) * step for n, step in zip(shape, strides))
    if 0 not in shape and last >= available:
        raise ValueError(
            f"a tensor of shape {shape}, strides {strides} and offset {offset} reaches beyond the "
            f"{available} elements of its storage"
        )
    if math.prod(shape) > max(available, MAX_EXPANDED):
        raise ValueError(f"a tensor of shape {shape} repeats {available} elements")
    return Tensor(storage, dtype, offset, shape, strides)


def rebuild_v2(storage, offset, shape, strides, *rest):
    return rebuild_tensor(storage, offset, shape, strides)


def rebuild_v3(storage, offset, shape, strides, requires_grad, hooks, dtype, *rest):
    if not isinstance(dtype, Global) or dtype.dtype is None:
        raise TypeError("a tensor without a type")
    return rebuild_tensor(storage, offset, shape, strides, dtype.dtype)


def rebuild_parameter(data, *rest):
    return data


def rebuild_subclass(function, kind, arguments, state):
    if not isinstance(function, Global) or function.call is None:
        raise TypeError("a tensor that nothing makes")
    return function.call(*arguments)


def dictionary(items=(), *rest):
    """OrderedDict(items) and defaultdict(factory)."""
    if isinstance(items, (Global, type(IGNORED))):
        return {}
    pairs = list(items.items() if isinstance(items, dict) else items)
    if not all(isinstance(pair, (tuple, list)) and len(pair) == 2 for pair in pairs):
        raise TypeError("a dictionary of what are no pairs")
    return {key: value for key, value in pairs if is_key(key)}


def size(numbers=()):
    return tuple(numbers)


def ignored(*arguments):
    return IGNORED


GLOBALS = {
    "collections.OrderedDict": dictionary,
    "collections.defaultdict": dictionary,
    "collections.Counter": dictionary,
    "builtins.dict": dictionary,
    "__builtin__.dict": dictionary,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_v2,
    "torch._utils._rebuild_tensor_v3": rebuild_v3,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": rebuild_subclass,
    "torch.nn.parameter.Parameter": rebuild_parameter,
    "torch.nn.parameter.Buffer": rebuild_parameter,
    "torch.Tensor": None,
    "torch.Size": size,
}
# What training scripts put beside the weights: never made, never called, left out.
HARMLESS = {
    "__builtin__.set",
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.frozenset",
    "builtins.set",
    "builtins.slice",
    "datetime.datetime",
    "datetime.timedelta",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.PosixPath",
    "pathlib.WindowsPath",
    "torch.Generator",
    "torch.device",
}


def finder(path):
    """What stands for each global name in a pickle of a file."""
    known = {name: Global(name, call) for name, call in GLOBALS.items()}
    known |= {name: Global(name, ignored) for name in HARMLESS}
    known |= {f"torch.{name}": Global(name, None, dtype) for name, dtype in NAMED.items()}
    for name, dtype in DTYPES.items():
        for module in ("torch", "torch.cuda", "torch.storage"):
            known[f"{module}.{name}Storage"] = Global(name, None, dtype)
            known[f"{module}.{name}Tensor"] = Global(name, None, dtype)

    def find(module, name):
        if f"{module}.{name}" in known:
            return known[f"{module}.{name}"]
        raise FormatError(
            f"{path} asks for {f'{module}.{name}'!r}: it holds more than tensors, perhaps a whole "
            "module or quantized weights, and nothing that a file brings is run here. In the "
            "framework that wrote it, save model.state_dict() alone, by torch.save or as "
            ".safetensors"
        )

    return find
