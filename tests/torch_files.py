"""Files as PyTorch writes them, made without it: pickles that name its globals, in three frames."""

import io
import pickle
import struct
import tarfile
import zipfile
from dataclasses import dataclass

import numpy as np

PROTOCOL = 2  # what torch.save uses
MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
SYSTEM = {"protocol_version": VERSION, "little_endian": True, "type_sizes": {"int": 4}}


@dataclass(frozen=True)
class Name:
    """A global: what a pickle imports."""

    module: str
    name: str


@dataclass
class Call:
    """A global called with arguments, and perhaps given a state."""

    function: object
    arguments: tuple
    state: object = None


@dataclass
class Storage:
    """Elements by the name of their type in PyTorch; ``view`` is a part of them."""

    key: str
    kind: str
    values: np.ndarray
    view: tuple | None = None


class Pickler(pickle._Pickler):
    """Python's own pickler, which also knows the three above."""

    dispatch = dict(pickle._Pickler.dispatch)

    def persistent_id(self, value):
        if not isinstance(value, Storage):
            return None
        kind = Name("torch", f"{value.kind}Storage")
        identifier = ("storage", kind, value.key, "cpu", value.values.size)
        return (*identifier, value.view) if self.legacy else identifier

    def save_name(self, value):
        if self.proto < 4:
            self.write(f"c{value.module}\n{value.name}\n".encode())
        else:
            self.save(value.module)
            self.save(value.name)
            self.write(pickle.STACK_GLOBAL)
        self.memoize(value)

    def save_call(self, value):
        self.save(value.function)
        self.save(value.arguments)
        self.write(pickle.REDUCE)
        self.memoize(value)
        if value.state is not None:
            self.save(value.state)
            self.write(pickle.BUILD)

    dispatch[Name] = save_name
    dispatch[Call] = save_call


def pickled(value, protocol=PROTOCOL, legacy=False):
    """Bytes of a pickle."""
    file = io.BytesIO()
    pickler = Pickler(file, protocol)
    pickler.legacy = legacy
    pickler.dump(value)
    return file.getvalue()


def tensor(storage, shape, strides=None, offset=0, function="_rebuild_tensor_v2"):
    """A tensor that views a storage, C-contiguous unless strides (in elements) say otherwise."""
    if strides is None:
        strides = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
    rest = (False, Call(Name("collections", "OrderedDict"), ())) if function[-1] == "2" else ()
    return Call(Name("torch._utils", function), (storage, offset, tuple(shape), strides, *rest))


def storages(value):
    """Storages that a value refers to, each once, in their order."""
    found, todo = {}, [value]
    while todo:
        item = todo.pop(0)
        if isinstance(item, Storage):
            found.setdefault(item.key, item)
        elif isinstance(item, Call):
            todo.extend(item.arguments)
        elif isinstance(item, dict):
            todo.extend(item.values())
        elif isinstance(item, (list, tuple)):
            todo.extend(item)
    return list(found.values())


def zip_file(path, value, *, protocol=PROTOCOL, byteorder=b"little", members=(), data=None):
    """As torch.save writes since 1.6; ``data`` replaces the pickle."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/data.pkl", pickled(value, protocol) if data is None else data)
        archive.writestr("net/version", "3\n")
        archive.writestr("net/byteorder", byteorder)
        for storage in storages(value):
            archive.writestr(f"net/data/{storage.key}", storage.values.tobytes())
        for name, content in dict(members).items():
            archive.writestr(name, content)


def legacy_file(path, value, *, protocol=PROTOCOL, system=SYSTEM, data=None):
    """As torch.save wrote from 0.2 to 1.5."""
    held = storages(value)
    parts = [pickled(item, protocol) for item in (MAGIC, VERSION, system)]
    parts.append(pickled(value, protocol, legacy=True) if data is None else data)
    parts.append(pickled([storage.key for storage in held], protocol))
    for storage in held:
        parts += [struct.pack("<q", storage.values.size), storage.values.tobytes()]
    path.write_bytes(b"".join(parts))


def tar_file(path, tensors, views=()):
    """As torch.save wrote up to 0.1: {name: (storage, shape, strides, offset)}.

    ``views`` are storages that are a part of another: (key, key of the other, first, length).
    """
    held = storages([entry[0] for entry in tensors.values()])
    held = [storage for storage in held if storage.key not in {view[0] for view in views}]
    parts = [pickled(len(held))]
    for storage in held:
        parts.append(pickled((storage.key, "cpu", Name("torch", f"{storage.kind}Storage"))))
        parts += [struct.pack("<q", storage.values.size), storage.values.tobytes()]
    parts.append(pickled(list(views)))
    shapes, result = [pickled(len(tensors))], {}
    for i, (name, (storage, shape, strides, offset)) in enumerate(tensors.items(), 1000):
        shapes.append(pickled((i, storage.key, Name("torch", f"{storage.kind}Tensor"))))
        n = len(shape)
        shapes.append(struct.pack(f"<i4x{2 * n + 1}q", n, *shape, *strides, offset))
        result[name] = Reference(str(i))
    contents = {"sys_info": pickled(SYSTEM), "storages": b"".join(parts)}
    contents |= {"tensors": b"".join(shapes), "pickle": referring(result)}
    with tarfile.open(path, "w:", format=tarfile.PAX_FORMAT) as archive:
        for name, content in contents.items():
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # a fraction: a header of pax comes before
            archive.addfile(info, io.BytesIO(content))


@dataclass
class Reference:
    """What the pickle of a tar archive refers to by a number."""

    key: str


class ReferringPickler(pickle._Pickler):
    def persistent_id(self, value):
        return value.key if isinstance(value, Reference) else None


def referring(value):
    """Bytes of a pickle with references."""
    file = io.BytesIO()
    ReferringPickler(file, PROTOCOL).dump(value)
    return file.getvalue()


def recorded():
    """What tests/data/formats/*.pth hold, which data/formats/make.py wrote with PyTorch 2.13."""
    ramp = np.arange(24, dtype=np.float32) / 8 - 1
    return {
        "conv.weight": ramp.reshape(3, 2, 2, 2),
        "conv.bias": ramp[:3].astype(np.float16),
        "bn.num_batches_tracked": np.array(5, np.int64),
        "transposed": ramp[:6].reshape(2, 3).T,
        "channels_last": ramp.reshape(2, 3, 2, 2),
        "part": ramp[7:11],
        "bfloat16": ramp[:5],
        "parameter": ramp[:2],
        "mask": np.array([True, False, True]),
        "double": ramp[:4].astype(np.float64).reshape(2, 2),
        "complex": (ramp[:3] + 1j).astype(np.complex64),
        "bytes": np.arange(4, dtype=np.uint8),
        "empty": np.zeros((0, 3), np.float32),
    }
