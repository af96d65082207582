"""The local headers and data descriptors of a zip archive, compared with its directory.

Some readers follow the directory, others read the file from its beginning. They see the same entries only if each local
header repeats its directory entry, and if the entries fill the file up to the directory without a gap.
"""

from __future__ import annotations

import struct
from typing import BinaryIO, Final

from wire.archive.directory import WIDE, Entry, finding, read_at, wide_values
from wire.findings import Finding

LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_LOCAL = struct.Struct("<4s5H3L2H")
_DESCRIPTOR = struct.Struct("<4s3L")
_DESCRIPTOR_SIGNATURE: Final = b"PK\x07\x08"
_COMPRESSION_LEVEL: Final = 0x6


def smallest_end(entry: Entry) -> int:
    """Return the smallest possible end offset of the entry, computed only from the directory."""
    return entry.offset + _LOCAL.size + len(entry.raw_name) + entry.compressed


def place_of_data(file: BinaryIO, entry: Entry) -> tuple[int, int] | Finding:
    """Return the offset of the entry's data, and the end offset of the entry including its data descriptor.

    Returns a finding instead if the local header or the descriptor differs from the directory.
    """
    header = read_at(file, entry.offset, _LOCAL.size)
    if len(header) < _LOCAL.size or header[:4] != LOCAL_SIGNATURE:
        return _disagree(entry, "an entry is not at its offset in the directory")
    _, _, flags, method, _, _, crc, compressed, size, name_size, extra_size = _LOCAL.unpack(header)
    rest = read_at(file, entry.offset + _LOCAL.size, name_size + extra_size)
    name, extra = rest[:name_size], rest[name_size:]
    if (flags & ~_COMPRESSION_LEVEL, method, name) != (
        entry.flags & ~_COMPRESSION_LEVEL,
        entry.method,
        entry.raw_name,
    ) or not _sizes_agree(entry, crc, compressed, size, extra):
        return _disagree(entry, "an entry's own header differs from the directory")
    start = entry.offset + _LOCAL.size + name_size + extra_size
    end = start + entry.compressed
    if not entry.is_described_later:
        return start, end
    descriptor = _DESCRIPTOR.pack(_DESCRIPTOR_SIGNATURE, entry.crc, entry.compressed, entry.size)
    if read_at(file, end, len(descriptor)) != descriptor:
        return _disagree(entry, "the sizes after an entry's data differ from the directory")
    return start, end + len(descriptor)


def _sizes_agree(entry: Entry, crc: int, compressed: int, size: int, extra: bytes) -> bool:
    wide_size, wide_compressed = wide_values((size, compressed), extra)
    repeated = (crc, wide_compressed, wide_size) == (entry.crc, entry.compressed, entry.size)
    if not entry.is_described_later:
        return repeated
    # Readers expect different descriptor lengths for an entry with zip64 sizes.
    narrow = max(compressed, size, entry.compressed, entry.size) < WIDE
    return narrow and (repeated or (crc, compressed, size) == (0, 0, 0))


def _disagree(entry: Entry, message: str) -> Finding:
    return finding("ARCHIVE_HEADERS_DISAGREE", entry.name, message)
