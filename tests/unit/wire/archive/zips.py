"""Builds zip archives field by field, including archives that no tool would produce."""

from __future__ import annotations

import struct
import zipfile
import zlib
from dataclasses import dataclass

LOCAL, HEADER, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
DESCRIPTOR, END64, LOCATOR64 = b"PK\x07\x08", b"PK\x06\x06", b"PK\x06\x07"
WIDE = 0xFFFFFFFF


@dataclass(frozen=True)
class Member:
    """One entry: its bytes in the file and the fields of its two headers. The defaults describe a valid entry."""

    name: bytes
    packed: bytes
    size: int
    crc: int
    method: int = zipfile.ZIP_STORED
    flags: int = 0
    compressed: int | None = None
    extra: bytes = b""
    local_sizes: tuple[int, int, int] | None = None
    """Checksum, compressed size and size in the local header."""
    local_extra: bytes = b""
    after: bytes = b""
    """Bytes that follow the data, such as a data descriptor."""

    @property
    def sizes(self) -> tuple[int, int, int]:
        return self.crc, len(self.packed) if self.compressed is None else self.compressed, self.size

    @property
    def local(self) -> bytes:
        sizes = self.sizes if self.local_sizes is None else self.local_sizes
        lengths = len(self.name), len(self.local_extra)
        header = struct.pack("<4s5H3L2H", LOCAL, 20, self.flags, self.method, 0, 0x21, *sizes, *lengths)
        return header + self.name + self.local_extra + self.packed + self.after

    def record(self, offset: int) -> bytes:
        lengths = len(self.name), len(self.extra), 0
        header = struct.pack("<4s6H3L", HEADER, 20, 20, self.flags, self.method, 0, 0x21, *self.sizes)
        return header + struct.pack("<5H2L", *lengths, 0, 0, 0, offset) + self.name + self.extra


def stored(name: str, body: bytes) -> Member:
    return Member(name.encode(), body, len(body), zlib.crc32(body))


def deflated(name: str, body: bytes) -> Member:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(body) + packer.flush()
    return Member(name.encode(), packed, len(body), zlib.crc32(body), zipfile.ZIP_DEFLATED)


def assembled(*members: Member, offsets: tuple[int, ...] | None = None) -> bytes:
    """Return an archive of these entries. `offsets` replaces the correct offsets in the directory."""
    data, places = b"", []
    for member in members:
        places.append(len(data))
        data += member.local
    return closed(data, b"".join(map(Member.record, members, offsets or places)), len(members))


def closed(data: bytes, directory: bytes, entries: int, comment: bytes = b"") -> bytes:
    end = struct.pack("<4s4H2LH", END, 0, 0, entries, entries, len(directory), len(data), len(comment))
    return data + directory + end + comment
