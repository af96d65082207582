"""Reads the end record, the central directory and the local headers of a zip archive, without trusting them.

A file is an archive if it has a plausible end record, as the readers of the workers' platforms see it. The directory is
read in bounded memory. Some readers follow the directory, others read the file from its beginning. They see the same
entries only if each local header repeats its directory entry, and if the entries fill the file up to the directory
without a gap.
"""

from __future__ import annotations

import io
import re
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, MAX_CONTRACT_BYTES, PYTHON_ENTRY
from wire.documents.json_reader import shown
from wire.findings import DocumentError, Finding


class ArchiveError(DocumentError):
    """An archive is rejected. The field of a finding is the entry's name, or empty for the whole archive."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of an archive. Sizes are in bytes."""

    entries: int = 100_000
    directory_bytes: int = 32 * 1024 * 1024
    name_bytes: int = 1024
    contract_bytes: int = MAX_CONTRACT_BYTES
    ratio: int = 200
    """The largest ratio of size to compressed size, for entries larger than the floors below."""
    ratio_floor: int = 64 * 1024
    """For the contract, which has at most four megabytes."""
    entry_ratio_floor: int = 16 * 1024 * 1024
    """For all other entries: an empty log or a sparse table may compress to almost nothing."""
    unpacked_bytes: int = 8 * 1024**3
    """The total size of all entries, including those of nested archives."""
    nesting: int = 3
    """How many levels of archives there may be, including the outermost."""
    inner_bytes: int = 256 * 1024 * 1024
    """The total size of compressed nested archives, which are unpacked to read them. Stored ones are read in place."""


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Directory:
    """The place of the central directory, from the end record. `base` is the number of bytes before the archive."""

    start: int
    size: int
    entries: int
    base: int


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the central directory. `offset` is that of its local header in the file."""

    name: str
    raw_name: bytes
    host: int
    reader_version: int
    flags: int
    method: int
    crc: int
    compressed: int
    size: int
    attributes: int
    offset: int

    @property
    def is_encrypted(self) -> bool:
        return bool(self.flags & _ENCRYPTED)

    @property
    def is_folder(self) -> bool:
        return self.name.endswith("/")

    @property
    def is_described_later(self) -> bool:
        """True if a data descriptor with the checksum and the sizes follows the entry's data."""
        return bool(self.flags & _DESCRIBED_LATER)


_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_HEADER = struct.Struct("<4s2B5H3L5H2L")
_HEADER_SIGNATURE: Final = b"PK\x01\x02"
_LONGEST_COMMENT: Final = 0xFFFF
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000
_DESCRIBED_LATER: Final = 0x8
_UTF8_NAME: Final = 0x800
_WIDE_COUNT: Final = 0xFFFF
WIDE: Final = 0xFFFFFFFF
WIDE_FIELD: Final = 0x0001
_SECOND_NAME_FIELD: Final = 0x7075
_FILE_VERSION: Final = re.compile(r";[0-9]*$")
_OURS: Final = {name.casefold(): name for name in (CONTRACT_ENTRY, PYTHON_ENTRY, LOCK_ENTRY, CAPABILITIES_ENTRY)}


# --- the end record -------------------------------------------------------------------------------


def find_directory(file: BinaryIO) -> Directory | None:
    """Return the directory that the end record points at; None if the file is not an archive.

    Raises ArchiveError if readers could use different end records, and so see different contents.
    """
    length = file.seek(0, io.SEEK_END)
    tail_start = max(0, length - _END.size - _LONGEST_COMMENT)
    tail = read_at(file, tail_start, length - tail_start)
    directory: Directory | None = None
    at = len(tail)
    while (at := tail.rfind(_END_SIGNATURE, 0, at)) >= 0:
        record = tail[at : at + _END.size]
        if len(record) < _END.size:
            continue
        if at + _END.size + int(_END.unpack(record)[7]) == len(tail):
            if directory is not None or _END_SIGNATURE in tail[at + 1 :]:
                raise malformed("the archive has two end records")
            directory = _directory_before(file, tail_start + at, record)
        elif directory is None and _is_plausible(record, tail_start + at):
            raise malformed("bytes follow the archive's end record")
    return directory


def _is_plausible(record: bytes, end: int) -> bool:
    """True if a lenient reader might accept this end record although other bytes follow it."""
    _, disk, first_disk, here, entries, size, offset, _ = _END.unpack(record)
    fits = offset + size <= end or WIDE in (offset, size)
    return not disk and not first_disk and 0 < here == entries and fits


def _directory_before(file: BinaryIO, end: int, record: bytes) -> Directory:
    """Return the directory directly before the end record at `end`. Raises ArchiveError if the two disagree."""
    _, disk, first_disk, here, entries, size, offset, _ = _END.unpack(record)
    consistent = not disk and not first_disk and here == entries
    wide = _wide_record(file, end)
    if wide is not None:
        agree = entries in (wide.entries, _WIDE_COUNT) and size in (wide.size, WIDE) and offset in (wide.offset, WIDE)
        consistent = consistent and agree
        entries, size, offset, end = wide.entries, wide.size, wide.offset, wide.position
    start = end - size
    if not consistent or offset > start or bool(entries) != bool(size):
        raise malformed("the archive's end record is inconsistent")
    if entries and read_at(file, start, 4) != _HEADER_SIGNATURE:
        raise malformed("the archive's directory is not at the offset in its end record")
    if wide is not None and wide.located_at != wide.position - (start - offset):
        raise malformed("the archive's zip64 end record is not at the offset in its locator")
    return Directory(start=start, size=size, entries=entries, base=start - offset)


@dataclass(frozen=True, slots=True)
class _WideRecord:
    """A zip64 end record. `position` is its offset in the file, `located_at` the offset in its locator."""

    entries: int
    size: int
    offset: int
    position: int
    located_at: int


def _wide_record(file: BinaryIO, end: int) -> _WideRecord | None:
    """Return the zip64 end record before its locator and the end record at `end`; None if it is missing.

    Some readers follow the locator, others look directly before it. So the record must be in both places, and it must
    not have an extensible data sector.
    """
    locator_at = end - _LOCATOR64.size
    locator = read_at(file, locator_at, _LOCATOR64.size) if locator_at >= 0 else b""
    if locator[:4] != b"PK\x06\x07":
        return None
    _, first_disk, located_at, disks = _LOCATOR64.unpack(locator)
    position = locator_at - _END64.size
    data = read_at(file, position, _END64.size) if position >= 0 else b""
    if data[:4] != b"PK\x06\x06":
        raise malformed("the archive's zip64 end record is missing")
    _, rest, _, _, disk, directory_disk, here, entries, size, offset = _END64.unpack(data)
    if (first_disk, disks, disk, directory_disk, rest, here) != (0, 1, 0, 0, _END64.size - 12, entries):
        raise malformed("the archive's zip64 end record is inconsistent")
    return _WideRecord(entries, size, offset, position, located_at)


# --- the directory --------------------------------------------------------------------------------


def read_entries(file: BinaryIO, directory: Directory, limits: Limits) -> list[Entry]:
    """Return the directory's entries. Raises ArchiveError if it is too large or differs from the end record."""
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
            raise malformed("the archive's directory differs from its end record")
        fields = _HEADER.unpack(header)
        name_size, extra_size, comment_size = fields[11:14]
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
    _, _, host, reader_version, flags, method, _, _, crc, compressed, size, _, _, _, disk, _, attributes, offset = (
        fields
    )
    if disk:
        raise malformed("an entry is on another disk")
    size, compressed, offset = wide_values((size, compressed, offset), extra)
    return Entry(
        name=_decoded(name, flags),
        raw_name=name,
        host=host,
        reader_version=reader_version,
        flags=flags,
        method=method,
        crc=crc,
        compressed=compressed,
        size=size,
        attributes=attributes,
        offset=offset + base,
    )


def _decoded(name: bytes, flags: int) -> str:
    """Decode an entry's name. Raises ArchiveError if readers that ignore the UTF-8 flag could decode it differently."""
    try:
        return name.decode("utf-8" if flags & _UTF8_NAME else "ascii")
    except UnicodeDecodeError:
        wrong = "is not UTF-8 but marked as such" if flags & _UTF8_NAME else "is not ASCII and not marked as UTF-8"
        raise malformed(f"an entry's name {wrong}") from None


def wide_values(values: tuple[int, ...], extra: bytes) -> tuple[int, ...]:
    """Return `values`, with each value that is marked as too large replaced from the zip64 extra field.

    Raises ArchiveError unless the extra fields are well-formed, the zip64 field contains exactly the marked values, and
    no field gives the entry a second name.
    """
    wide = list[bytes]()
    at = 0
    while at < len(extra):
        kind, size = struct.unpack_from("<HH", extra, at) if at + 4 <= len(extra) else (0, len(extra))
        at += 4 + size
        if at > len(extra):
            raise malformed("an entry's extra fields are cut short")
        if kind == _SECOND_NAME_FIELD:
            raise malformed("an entry has a second name, which not all readers use")
        if kind == WIDE_FIELD:
            wide.append(extra[at - size : at])
    marked = values.count(WIDE)
    if [len(value) for value in wide] != ([8 * marked] if marked else []):
        raise malformed("an entry's zip64 sizes are missing, or do not match those that its header marks")
    numbers = iter(struct.unpack(f"<{marked}Q", wide[0]) if marked else ())
    return tuple(next(numbers) if value == WIDE else value for value in values)


def name_findings(entries: list[Entry]) -> Iterator[Finding]:
    """Yield findings about the entries' names. A file and a folder with the same name are duplicates."""
    names: set[str] = set()
    for entry in entries:
        name = entry.name.removesuffix("/")
        if name in names:
            yield finding("ARCHIVE_DUPLICATE_NAME", entry.name, "the archive has two entries of this name")
        names.add(name)
        broken = _name_rule(entry.name)
        if broken:
            yield finding(broken[0], entry.name, f"an entry's name {broken[1]}")


def _name_rule(name: str) -> tuple[str, str] | None:
    segments = name.removesuffix("/").split("/")
    if not name.isprintable():
        return "ARCHIVE_NAME_UNSAFE", "has control or invisible characters"
    if "\\" in name:
        return "ARCHIVE_NAME_UNSAFE", "contains a backslash"
    if name.startswith("/") or (name[1:2] == ":" and name[0].isalpha()):
        return "ARCHIVE_NAME_ABSOLUTE", "is absolute"
    if ".." in segments:
        return "ARCHIVE_NAME_CLIMBS_OUT", "points outside of the archive"
    if "" in segments or "." in segments:
        return "ARCHIVE_NAME_UNSAFE", "is empty, or has a part that is empty or a dot"
    if _FILE_VERSION.search(name):
        return "ARCHIVE_NAME_UNSAFE", "ends in a file version, which unzip removes"
    if _is_variant(name):
        return (
            "ARCHIVE_NAME_UNSAFE",
            "is that of a file which the product reads, in another case, which some systems do not distinguish",
        )
    return None


def _is_variant(name: str) -> bool:
    """True if a file system without case could take the entry for a file that the product reads."""
    return _OURS.get(unicodedata.normalize("NFKC", name).casefold(), name) != name


def read_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def malformed(reason: str) -> ArchiveError:
    return ArchiveError([finding("ARCHIVE_MALFORMED", "", reason)])


def finding(code: str, entry: str, reason: str) -> Finding:
    return Finding(code=code, field=shown(entry), message=f"Failed to inspect release artifact: {reason}")


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
