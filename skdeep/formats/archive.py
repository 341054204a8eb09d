"""Zip archives, whose members are read in place."""

import struct
import zipfile
import zlib

from .base import FormatError
from .file import map_file

__all__ = ["MARKS", "Archive", "members"]

MARKS = b"PK\x03\x04", b"PK\x05\x06"
# Deflate packs zeros a thousand times: more than this, in more than a few megabytes, is no weights.
MAX_PACKED, FREE = 100, 1 << 26
ENCRYPTED = 0x41  # bits of the flags
LOCAL_HEADER = struct.Struct("<4s22xHH")
HEAD = 1 << 16  # packed bytes that are looked at for the first unpacked ones


class Archive:
    """Members of a zip archive by name, mapped to memory.

    Parameters
    ----------
    path : str
    """

    def __init__(self, path):
        self.path = path
        self.data = map_file(path)
        self.infos = {}
        for info in directory(path):
            if info.filename in self.infos:
                raise FormatError(f"{path}: {info.filename!r} occurs twice")
            self.infos[info.filename] = info
        unpacked = sum(info.file_size for info in self.infos.values())
        if unpacked > max(FREE, MAX_PACKED * len(self.data)):
            raise FormatError(
                f"{path}: {len(self.data)} bytes claim to hold {unpacked}, which is no sane "
                "compression; save it again without compression"
            )

    def stored(self, name):
        """Bytes of a member as the archive holds them, and whether they are packed."""
        info = self.infos[name]
        where = f"{self.path}: {name!r}"
        if info.flag_bits & ENCRYPTED:
            raise FormatError(f"{where} is encrypted; unpack and save it without a password")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise FormatError(f"{where} is packed by method {info.compress_type}; save it unpacked")
        start = info.header_offset
        if 0 <= start <= len(self.data) - LOCAL_HEADER.size:
            mark, *lengths = LOCAL_HEADER.unpack_from(self.data, start)
            start += LOCAL_HEADER.size + sum(lengths)  # the local lengths: they pad the data
            end = start + info.compress_size
            if mark == MARKS[0] and end <= len(self.data):
                packed = info.compress_type == zipfile.ZIP_DEFLATED
                if packed or info.compress_size == info.file_size:
                    return self.data[start:end], packed
        raise FormatError(f"{where} is not where the directory says; fetch the file again")

    def head(self, name, n):
        """Up to ``n`` first bytes of a member, unpacked."""
        data, packed = self.stored(name)
        if not packed:
            return data[:n].tobytes()
        try:
            return zlib.decompressobj(-15).decompress(data[:HEAD].tobytes(), n)
        except zlib.error as error:
            raise FormatError(f"{self.path}: {name!r} is damaged: {error}") from None

    def unpack(self, name, checksum=True):
        """All bytes of a member, in place if they are not packed; torch may leave checksums out."""
        data, packed = self.stored(name)
        info = self.infos[name]
        if packed:
            try:
                data = zlib.decompressobj(-15).decompress(data, info.file_size + 1)
            except zlib.error as error:
                raise FormatError(f"{self.path}: {name!r} is damaged: {error}") from None
        sound = len(data) == info.file_size and not (checksum and zlib.crc32(data) != info.CRC)
        if not sound:
            raise FormatError(f"{self.path}: {name!r} is damaged; fetch the file again")
        return data


def directory(path):
    """Entries of the directory at an archive's end."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    except OSError:
        raise
    except Exception as error:  # what zipfile makes of damage is of many types
        raise FormatError(
            f"{path} begins like a zip archive (torch, npz) but is cut short or damaged "
            f"({error}); fetch it again"
        ) from None


def members(path):
    """Names in a zip archive."""
    return [info.filename for info in directory(path)]
