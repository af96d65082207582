import io
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from wire.documents.contract import CONTRACT_ENTRY
from wire.release.archive import read_entry, read_layout
from wire.release.directory import ArchiveError, Limits

LOCAL, HEADER, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
DESCRIPTOR, END64, LOCATOR64 = b"PK\x07\x08", b"PK\x06\x06", b"PK\x06\x07"
WIDE = 0xFFFFFFFF
MEGABYTE = 1024 * 1024
LIMITS = Limits(unpacked_bytes=256 * MEGABYTE, inner_bytes=64 * MEGABYTE)


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
    return closed(data, directory(members, offsets or places), len(members))


def closed(data: bytes, directory: bytes, entries: int, comment: bytes = b"") -> bytes:
    end = struct.pack("<4s4H2LH", END, 0, 0, entries, entries, len(directory), len(data), len(comment))
    return data + directory + end + comment


def directory(members: Sequence[Member], offsets: Sequence[int]) -> bytes:
    return b"".join(map(Member.record, members, offsets))


def with_zip64_end(data: bytes) -> bytes:
    """The same archive with a zip64 end record, as in large archives."""
    at = data.rfind(END)
    entries, size, start = struct.unpack_from("<HLL", data, at + 10)
    record = struct.pack("<4sQ2H2L4Q", END64, 44, 45, 45, 0, 0, entries, entries, size, start)
    return data[:at] + record + struct.pack("<4sLQL", LOCATOR64, 0, at, 1) + data[at:]


# --- archives that zipfile writes ---


def named(name: str, *, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    return info


def zipped(
    *entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED, comment: bytes = b""
) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as file:
        warnings.simplefilter("ignore", UserWarning)  # two entries of one name
        for name, body in entries:
            file.writestr(name if isinstance(name, zipfile.ZipInfo) else named(name, method=method), body)
        file.comment = comment
    return buffer.getvalue()


def patched(data: bytes, signature: bytes, offset: int, value: bytes, *, last: bool = False) -> bytes:
    """Return `data` with other bytes at `offset` of its first record, or its last one, with that signature."""
    at = (data.rfind(signature) if last else data.find(signature)) + offset
    return data[:at] + value + data[at + len(value) :]


def both(data: bytes, offset: int, value: bytes) -> bytes:
    """Make the same change in an entry's local header and in the directory, whose members are two bytes further."""
    return patched(patched(data, LOCAL, offset, value), HEADER, offset + 2, value)


def read(data: bytes, limits: Limits = LIMITS) -> bytes | None:
    layout = read_layout(io.BytesIO(data), limits)
    return None if layout is None else read_entry(layout, CONTRACT_ENTRY)


def codes(data: bytes, limits: Limits = LIMITS) -> set[str]:
    """Return the codes of the findings about an archive; empty if it is accepted."""
    try:
        read(data, limits)
    except ArchiveError as error:
        return {finding.code for finding in error.findings}
    return set()


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def long(value: int) -> bytes:
    return struct.pack("<L", value)


CONTRACT = stored(CONTRACT_ENTRY, b"{}")


@dataclass
class Inflated:
    """The number of bytes that zlib returned: in total, and at most in one call."""

    total: int = 0
    most: int = 0


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> Inflated:
    counts, real = Inflated(), zlib.decompressobj

    class Counting:
        def __init__(self, *arguments: Any) -> None:
            self._inner = real(*arguments)

        def decompress(self, *arguments: Any) -> bytes:
            data: bytes = self._inner.decompress(*arguments)
            counts.total += len(data)
            counts.most = max(counts.most, len(data))
            return data

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

    monkeypatch.setattr(zlib, "decompressobj", Counting)
    return counts
