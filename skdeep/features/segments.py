"""Arrays by digest in a folder, for several processes at once.

The folder holds segments: files to which one process at a time appends records, a head of 96 bytes
and an array, while others read. Each record carries its digest and checksums of head and array, and
all three are compared whenever it is read: half a record, wherever it ends, is one that is not
there, never a wrong array. Nothing is changed in place: segments grow, and are removed as a whole.
"""

import os
import secrets
import struct
import threading
import zlib
from contextlib import suppress
from math import prod
from typing import NamedTuple

import numpy as np

from .._warnings import warn
from .locks import try_lock

SUFFIX = ".features1"  # with the version of the layout
SEGMENT = 64 << 20  # bytes after which a segment is full
RUN = 4 << 20  # bytes that are written, or read where records follow each other, at once
# magic, checksum of what follows it in the head, digest, dtype, dimensions, shape, bytes of the
# array, their checksum
HEAD = struct.Struct("<4sI32s3sB8IQI8x")
MAGIC = b"skF1"
CHECKED = 8  # where that begins which the checksum of the head is of
ALIGNED = 32
DTYPES = {b"<f4": np.dtype("<f4"), b"<f2": np.dtype("<f2"), b"<f8": np.dtype("<f8")}


class Place(NamedTuple):
    """Where a record is."""

    segment: str
    offset: int
    length: int


class Head(NamedTuple):
    """What the head of a record says; ``length`` is the record's."""

    digest: bytes
    dtype: np.dtype
    shape: tuple
    nbytes: int
    checksum: int
    length: int


def pack(digest, array):
    """A record."""
    if len(digest) != 32:
        raise ValueError(f"{digest!r} is no key; FeatureCache.key makes them.")
    array = np.ascontiguousarray(array).reshape(np.shape(array))
    array = array.astype(array.dtype.newbyteorder("<"), copy=False)
    code = array.dtype.str.encode()
    if code not in DTYPES or array.ndim > 8:
        raise ValueError(
            f"features of dtype {array.dtype} and shape {array.shape} are not kept: they must be "
            "float16, float32 or float64, with at most 8 dimensions."
        )
    data = array.tobytes()
    shape = array.shape + (0,) * (8 - array.ndim)
    head = HEAD.pack(MAGIC, 0, digest, code, array.ndim, *shape, len(data), zlib.crc32(data))
    checksum = struct.pack("<I", zlib.crc32(head[CHECKED:]))
    return b"".join((MAGIC, checksum, head[CHECKED:], data, bytes(-len(data) % ALIGNED)))


def unpack_head(data):
    """The head that ``data`` begins with, or None when it is not a whole and intact one."""
    if len(data) < HEAD.size:
        return None
    magic, checksum, digest, code, ndim, *shape, nbytes, of_array = HEAD.unpack_from(data)
    if magic != MAGIC or checksum != zlib.crc32(data[CHECKED : HEAD.size]):
        return None
    dtype, shape = DTYPES.get(code), tuple(shape[:ndim])
    if dtype is None or ndim > 8 or prod(shape) * dtype.itemsize != nbytes:
        return None
    return Head(digest, dtype, shape, nbytes, of_array, HEAD.size + nbytes + -nbytes % ALIGNED)


def unpack(digest, data):
    """The array of the record that ``data`` is, or None when it is not that of ``digest``."""
    head = unpack_head(data)
    if head is None or head.digest != digest or head.length != len(data):
        return None
    if zlib.crc32(memoryview(data)[HEAD.size : HEAD.size + head.nbytes]) != head.checksum:
        return None
    count = head.nbytes // head.dtype.itemsize
    return np.frombuffer(data, head.dtype, count, HEAD.size).reshape(head.shape)


class File:
    """An open file, closed when nobody has it any more."""

    def __init__(self, path, flags=os.O_RDONLY):
        self.descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
        self.lock = threading.Lock()

    def __del__(self):
        with suppress(AttributeError, OSError):
            os.close(self.descriptor)

    @property
    def size(self):
        return os.fstat(self.descriptor).st_size

    @property
    def removed(self):
        return os.fstat(self.descriptor).st_nlink == 0

    def read(self, count, offset):
        if hasattr(os, "pread"):
            return os.pread(self.descriptor, count, offset)
        with self.lock:
            os.lseek(self.descriptor, offset, os.SEEK_SET)
            return os.read(self.descriptor, count)

    def append(self, data):
        """All of ``data``, or as good as nothing."""
        before, rest = self.size, memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.descriptor, rest) :]
        except BaseException:
            with suppress(OSError):
                os.ftruncate(self.descriptor, before)
            raise
        return before


class Store:
    """What one process knows of the folder, and the segment that it appends to.

    Parameters
    ----------
    folder : pathlib.Path
    """

    def __init__(self, folder):
        self.folder = folder
        self.start()

    def start(self):
        """Forget everything."""
        self.process = os.getpid()
        self.mutex = threading.RLock()
        self.index = {}  # digest: place
        self.files = {}  # segment: File
        self.ends = {}  # segment: up to where its records are in the index
        self.writer = None  # (segment, File)
        self.unwatched = None  # bytes written since the folder's size was looked at
        self.full = False

    def lock(self):
        """For one thread at a time; the child of a fork starts anew, its parent's segment is not
        its own."""
        if self.process != os.getpid():
            self.start()
        return self.mutex

    def segments(self):
        """(name, bytes, time of the last change) of each, the oldest first."""
        found = []
        with suppress(OSError), os.scandir(self.folder) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIX):
                    with suppress(OSError):
                        status = os.stat(entry.path)  # of the entry it may be out of date
                        found.append((entry.name, status.st_size, status.st_mtime_ns))
        return sorted(found, key=lambda segment: segment[2])

    # -- reading --------------------------------------------------------------------------------

    def scan(self):
        """Take what was written into the index, what was removed out of it."""
        segments = self.segments()
        gone = self.ends.keys() - {name for name, _, _ in segments}
        if gone:
            self.index = {d: place for d, place in self.index.items() if place.segment not in gone}
        for name in gone:
            self.ends.pop(name)
            self.files.pop(name, None)
        for name, size, _ in segments:
            if size > self.ends.get(name, 0):
                with suppress(OSError):
                    self.scan_segment(name, self.file(name), size)

    def scan_segment(self, name, file, size):
        """Go from head to head up to one that is none, or whose array is not all there yet."""
        offset = self.ends.get(name, 0)
        while offset + HEAD.size <= size:
            head = unpack_head(file.read(HEAD.size, offset))
            if head is None or offset + head.length > size:
                break
            self.index[head.digest] = Place(name, offset, head.length)
            offset += head.length
        self.ends[name] = offset
        return offset

    def file(self, name):
        if name not in self.files:
            self.files[name] = File(self.folder / name)
        return self.files[name]

    def get(self, digests):
        """Arrays by digest, of those that are there."""
        if not self.index.keys() >= digests:
            self.scan()
        places = sorted((self.index[d], d) for d in digests if d in self.index)
        found = {}
        for run in _runs(places):
            (name, start, _), (_, last, length) = run[0][0], run[-1][0]
            data = b""
            with suppress(OSError):
                data = self.file(name).read(last + length - start, start)
            for (_, offset, size), digest in run:
                array = unpack(digest, data[offset - start : offset - start + size])
                if array is None:
                    del self.index[digest]
                else:
                    found[digest] = array
        return found

    # -- writing --------------------------------------------------------------------------------

    def put(self, arrays, max_bytes):
        """Append arrays by digest; where that fails, say so once and never try again."""
        if self.full:
            return
        slack = max(max_bytes // 16, 1)
        records = ((d, pack(d, array)) for d, array in arrays.items() if d not in self.index)
        fitting = (item for item in records if len(item[1]) <= slack)
        try:
            for batch in _batches(fitting, min(RUN, slack)):
                self.append(batch, max_bytes, slack)
        except OSError as error:
            self.full, self.writer = True, None
            warn(
                f"features are no longer kept in {self.folder}: {error}; they are computed anew.",
            )

    def append(self, records, max_bytes, slack):
        size = sum(len(record) for _, record in records)
        if self.unwatched is None or self.unwatched + size > slack:
            self.evict(max_bytes - slack)
        self.unwatched += size
        name, file = self.open_writer(min(SEGMENT, max(max_bytes // 8, 1)))
        try:
            offset = file.append(b"".join(record for _, record in records))
        except BaseException:
            self.writer = None
            raise
        known = self.ends.get(name) == offset
        for digest, record in records:
            self.index[digest] = Place(name, offset, len(record))
            offset += len(record)
        if known:
            self.ends[name] = offset

    def open_writer(self, limit):
        """A segment that is this process's alone to append to: the present one, one that others
        have left, or a new one."""
        if self.writer is not None:
            _, file = self.writer
            if file.size < limit and not file.removed:
                return self.writer
            self.writer = None
        os.makedirs(self.folder, exist_ok=True)
        # Who makes a segment locks it before the first byte, so that an empty one may be anyone's.
        for name, size, _ in self.segments():
            if 0 < size < limit:
                file = File(self.folder / name, os.O_RDWR | os.O_APPEND)
                if try_lock(file.descriptor) and self.is_whole(name, file):
                    self.writer = name, file
                    return self.writer
        name = secrets.token_hex(8) + SUFFIX
        file = File(self.folder / name, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL)
        try_lock(file.descriptor)
        self.ends[name] = 0
        self.writer = name, file
        return self.writer

    def is_whole(self, name, file):
        """Whether the segment ends with a record: a kill or a crash may have torn the last one."""
        size = file.size
        return not file.removed and self.scan_segment(name, file, size) == size

    def evict(self, room):
        """Remove the oldest segments until no more than ``room`` bytes are left."""
        self.unwatched = 0
        segments = self.segments()
        total = sum(size for _, size, _ in segments)
        mine = self.writer and self.writer[0]
        for name, size, _ in segments:
            if total <= room:
                return
            if name != mine:
                with suppress(OSError):  # another process was faster, or reads it on Windows
                    os.unlink(self.folder / name)
                total -= size
        self.scan()

    def clear(self):
        """Remove everything."""
        self.start()
        for name, _, _ in self.segments():
            with suppress(OSError):
                os.unlink(self.folder / name)


def _runs(places):
    """Lists of (place, digest) that follow each other in one segment."""
    runs, end = [], None
    for place, digest in places:
        begin = runs[-1][0][0].offset if runs else 0
        if end == (place.segment, place.offset) and place.offset + place.length - begin <= RUN:
            runs[-1].append((place, digest))
        else:
            runs.append([(place, digest)])
        end = place.segment, place.offset + place.length
    return runs


def _batches(records, limit):
    """Lists of records of at most ``limit`` bytes together, or of one."""
    batch, size = [], 0
    for item in records:
        if batch and size + len(item[1]) > limit:
            yield batch
            batch, size = [], 0
        batch.append(item)
        size += len(item[1])
    if batch:
        yield batch
