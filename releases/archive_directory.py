"""The end record and the central directory of a zip archive, read without trusting them.

An archive is whatever has a plausible end record, as the readers of the workers' platforms see it. Its directory is
walked in bounded memory.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from coordinator.documents import shown
from coordinator.findings import DocumentError, Finding
from releases.contract import MAX_CONTRACT_BYTES


class ArchiveError(DocumentError):
    """An archive is refused; a finding's field is the entry's name, or empty for the archive as a whole."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may hold. Sizes are in bytes."""

    entries: int = 100_000
    directory_bytes: int = 32 * 1024 * 1024
    name_bytes: int = 1024
    contract_bytes: int = MAX_CONTRACT_BYTES
    ratio: int = 200
    """How many times its compressed size an entry may have, once it is larger than `ratio_floor`."""
    ratio_floor: int = 64 * 1024
    """Of the contract, which has four megabytes at most."""
    entry_ratio_floor: int = 16 * 1024 * 1024
    """Of every other entry: an empty log or a sparse table may well shrink to nothing."""
    unpacked_bytes: int = 8 * 1024**3
    """What all entries may unpack to, those of archives inside included: as much as is unpacked to look at it."""
    nesting: int = 3
    """How many archives may lie inside one another, the outermost included."""
    inner_bytes: int = 256 * 1024 * 1024
    """How much of compressed archives inside is unpacked to look into them; stored ones are read where they lie."""


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory lies and what the end record says of it. `base` is what lies before the archive."""

    start: int
    size: int
    entries: int
    base: int


@dataclass(frozen=True, slots=True)
class Entry:
    """What the central directory says of one entry. `offset` is that of its local header in the file."""

    name: str
    raw_name: bytes
    flags: int
    method: int
    compressed: int
    size: int
    mode: int
    offset: int

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & _ENCRYPTED)

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")


_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_HEADER = struct.Struct("<4s6H3L5H2L")
_HEADER_SIGNATURE: Final = b"PK\x01\x02"
_LONGEST_COMMENT: Final = 0xFFFF
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_UTF8_NAME: Final = 0x800
_WIDE: Final = 0xFFFFFFFF
_WIDE_FIELD: Final = 0x0001


# --- the end record -------------------------------------------------------------------------------


def find_directory(file: BinaryIO) -> Directory | None:
    """Return the directory that the end record points at; None when the file is no archive.

    Raises ArchiveError where readers could disagree about which end record counts, so about what the archive
    holds: more than one reaches exactly to the end of the file, or the last one does not.
    """
    length = file.seek(0, io.SEEK_END)
    tail_start = max(0, length - _END.size - _LONGEST_COMMENT)
    tail = read_at(file, tail_start, length - tail_start)
    found: Directory | None = None
    at = len(tail)
    while (at := tail.rfind(_END_SIGNATURE, 0, at)) >= 0:
        record = tail[at : at + _END.size]
        if len(record) < _END.size:
            continue
        exact = at + _END.size + int(_END.unpack(record)[7]) == len(tail)
        if found is not None and not exact:
            continue  # such as the end of an archive inside this one
        directory = _directory_before(file, tail_start + at, record)
        if directory is None:
            continue
        if found is not None:
            raise malformed("the archive has two end records")
        if exact:
            found = directory
        elif directory.entries:
            raise malformed("bytes follow the archive's end record")
    return found


def _directory_before(file: BinaryIO, end: int, record: bytes) -> Directory | None:
    """Return the directory that lies before the end record at `end`; None when there is none."""
    _, disk, first_disk, _, entries, size, offset, _ = _END.unpack(record)
    wide = _wide_record(file, end)
    if wide is not None:
        narrow = (entries, size)
        disk, first_disk, entries, size, offset, end = wide
        if narrow[0] not in (entries, 0xFFFF) or narrow[1] not in (size, 0xFFFFFFFF):
            raise malformed("the archive's two end records disagree")
    start = end - size
    if start < 0 or (entries and read_at(file, start, 4) != _HEADER_SIGNATURE) or (size and not entries):
        return None
    if disk or first_disk or offset > start:
        raise malformed("the archive's end record is inconsistent")
    return Directory(start=start, size=size, entries=entries, base=start - offset)


def _wide_record(file: BinaryIO, end: int) -> tuple[int, int, int, int, int, int] | None:
    """Return disk, first disk, entries, size, offset and position of a zip64 end record, where zipfile
    looks.
    """
    start = end - _LOCATOR64.size - _END64.size
    if start < 0:
        return None
    data = read_at(file, start, _LOCATOR64.size + _END64.size)
    if data[_END64.size : _END64.size + 4] != b"PK\x06\x07":
        return None
    fields = _END64.unpack(data[: _END64.size])
    if fields[0] != b"PK\x06\x06":
        raise malformed("the archive's zip64 end record is missing")
    return fields[4], fields[5], fields[7], fields[8], fields[9], start


# --- the directory --------------------------------------------------------------------------------


def read_entries(file: BinaryIO, directory: Directory, limits: Limits) -> list[Entry]:
    """Return the directory's entries, or raise ArchiveError if it is too large or not what the end record
    says.
    """
    if directory.entries > limits.entries:
        message = f"the archive has {directory.entries} entries; at most {limits.entries} are read"
        raise ArchiveError([finding("ARCHIVE_TOO_MANY_ENTRIES", "", message)])
    if directory.size > limits.directory_bytes:
        message = f"the archive's directory is larger than {limits.directory_bytes} bytes"
        raise ArchiveError([finding("ARCHIVE_DIRECTORY_TOO_LARGE", "", message)])
    data = read_at(file, directory.start, directory.size)
    entries: list[Entry] = []
    position = 0
    while position < len(data) or len(entries) < directory.entries:
        header = data[position : position + _HEADER.size]
        if len(header) < _HEADER.size or header[:4] != _HEADER_SIGNATURE or len(entries) == directory.entries:
            raise malformed("the archive's directory is not what its end record says")
        fields = _HEADER.unpack(header)
        name_size, extra_size, comment_size = fields[10:13]
        position += _HEADER.size
        if name_size > limits.name_bytes:
            message = f"an entry's name is longer than {limits.name_bytes} bytes"
            raise ArchiveError([finding("ARCHIVE_NAME_TOO_LONG", "", message)])
        name = data[position : position + name_size]
        extra = data[position + name_size : position + name_size + extra_size]
        entries.append(_entry(fields, name, extra, directory.base))
        position += name_size + extra_size + comment_size
    if position != len(data):
        raise malformed("the archive's directory is cut short")
    return entries


def _entry(fields: tuple[int, ...], name: bytes, extra: bytes, base: int) -> Entry:
    flags = fields[3]
    try:
        text = name.decode("utf-8" if flags & _UTF8_NAME else "cp437")
    except UnicodeDecodeError:
        raise malformed("an entry's name is not UTF-8 although it says so") from None
    size, compressed, offset = _sizes(fields[9], fields[8], fields[16], extra)
    return Entry(
        name=text,
        raw_name=name,
        flags=flags,
        method=fields[4],
        compressed=compressed,
        size=size,
        mode=fields[15] >> 16,
        offset=offset + base,
    )


def _sizes(size: int, compressed: int, offset: int, extra: bytes) -> tuple[int, int, int]:
    """Size, compressed size and offset, of which a zip64 extra field holds those that are marked as too large."""
    values = [size, compressed, offset]
    if _WIDE not in values:
        return size, compressed, offset
    at = 0
    while at + 4 <= len(extra):
        kind, length = struct.unpack_from("<HH", extra, at)
        if kind == _WIDE_FIELD:
            wanted = [place for place, value in enumerate(values) if value == _WIDE]
            if length < 8 * len(wanted) or at + 4 + length > len(extra):
                break
            for number, place in enumerate(wanted):
                values[place] = struct.unpack_from("<Q", extra, at + 4 + 8 * number)[0]
            return values[0], values[1], values[2]
        at += 4 + length
    raise malformed("an entry's zip64 sizes are missing")


def name_findings(entries: list[Entry]) -> Iterator[Finding]:
    """Yield what is wrong with the entries' names."""
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            yield finding("ARCHIVE_DUPLICATE_NAME", entry.name, "the archive has two entries of this name")
        seen.add(entry.name)
        broken = _name_rule(entry.name)
        if broken:
            yield finding(broken[0], entry.name, f"an entry's name {broken[1]}")


def _name_rule(name: str) -> tuple[str, str] | None:
    if not name or "\x00" in name:
        return "ARCHIVE_NAME_UNSAFE", "is empty or holds U+0000"
    if "\\" in name:
        return "ARCHIVE_NAME_UNSAFE", "holds a backslash"
    if name.startswith("/") or (name[1:2] == ":" and name[0].isalpha()):
        return "ARCHIVE_NAME_ABSOLUTE", "is absolute"
    if ".." in name.split("/"):
        return "ARCHIVE_NAME_CLIMBS_OUT", "leads out of the archive"
    return None


def read_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def malformed(reason: str) -> ArchiveError:
    return ArchiveError([finding("ARCHIVE_MALFORMED", "", reason)])


def finding(code: str, entry: str, reason: str) -> Finding:
    return Finding(code=code, field=shown(entry), message=f"Failed to inspect release artifact: {reason}")
