"""Reading the contract entry out of an artifact, without trusting the archive (wire protocol A.1, A.3 rule
13).

An archive is whatever has a plausible end record, as the readers of the workers' platforms see it. Its
directory is walked here, in bounded memory and before zipfile sees it; then zipfile extracts one entry,
under a hard cap on the bytes that come out. Nothing else is ever extracted.
"""

from __future__ import annotations

import io
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from coordinator.documents import bounded, shown
from coordinator.findings import DocumentError, Finding
from releases.contract import CONTRACT_ENTRY, MAX_CONTRACT_BYTES


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
    """How many times its compressed size the contract may have, once it is larger than `ratio_floor`."""
    ratio_floor: int = 64 * 1024


DEFAULT_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the central directory lies and what the end record says of it."""

    start: int
    size: int
    entries: int


@dataclass(frozen=True, slots=True)
class _Entry:
    """What the central directory says of one entry."""

    name: str
    flags: int
    method: int
    compressed: int
    size: int
    mode: int


_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE: Final = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR64 = struct.Struct("<4sLQL")
_HEADER = struct.Struct("<4s6H3L5H2L")
_HEADER_SIGNATURE: Final = b"PK\x01\x02"
_LONGEST_COMMENT: Final = 0xFFFF
_ENCRYPTED: Final = 0x1
_UTF8_NAME: Final = 0x800
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)


def is_archive(file: BinaryIO) -> bool:
    """Say whether `file` ends as a zip archive does; a damaged archive is one too. Raises OSError."""
    try:
        return _find_directory(file) is not None
    except ArchiveError:
        return True


def read_contract_entry(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
    """Return the contract entry's bytes, at most `limits.contract_bytes`; None when there is none.

    A file that is no archive has none. Reads `file`, which must be seekable, in memory bounded by `limits`.
    Raises ArchiveError with every finding about the archive, and OSError when `file` cannot be read.
    """
    directory = _find_directory(file)
    if directory is None:
        return None
    entries = _entries(file, directory, limits)
    contract = next((entry for entry in entries if entry.name == CONTRACT_ENTRY), None)
    findings = [*_name_findings(entries), *(_contract_findings(contract, limits) if contract else ())]
    if findings:
        raise ArchiveError(bounded(findings, ""))
    return _extract(file, limits) if contract else None


# --- the end record -------------------------------------------------------------------------------


def _find_directory(file: BinaryIO) -> _Directory | None:
    """Return the directory that the end record points at; None when the file is no archive.

    Raises ArchiveError where readers could disagree about which end record counts, so about what the archive
    holds: more than one reaches exactly to the end of the file, or the last one does not.
    """
    length = file.seek(0, io.SEEK_END)
    tail_start = max(0, length - _END.size - _LONGEST_COMMENT)
    tail = _read_at(file, tail_start, length - tail_start)
    found: _Directory | None = None
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
            raise _malformed("the archive has two end records")
        if exact:
            found = directory
        elif directory.entries:
            raise _malformed("bytes follow the archive's end record")
    return found


def _directory_before(file: BinaryIO, end: int, record: bytes) -> _Directory | None:
    """Return the directory that lies before the end record at `end`; None when there is none."""
    _, disk, first_disk, _, entries, size, offset, _ = _END.unpack(record)
    wide = _wide_record(file, end)
    if wide is not None:
        narrow = (entries, size)
        disk, first_disk, entries, size, offset, end = wide
        if narrow[0] not in (entries, 0xFFFF) or narrow[1] not in (size, 0xFFFFFFFF):
            raise _malformed("the archive's two end records disagree")
    start = end - size
    if start < 0 or (entries and _read_at(file, start, 4) != _HEADER_SIGNATURE) or (size and not entries):
        return None
    if disk or first_disk or offset > start:
        raise _malformed("the archive's end record is inconsistent")
    return _Directory(start=start, size=size, entries=entries)


def _wide_record(file: BinaryIO, end: int) -> tuple[int, int, int, int, int, int] | None:
    """Return disk, first disk, entries, size, offset and position of a zip64 end record, where zipfile
    looks.
    """
    start = end - _LOCATOR64.size - _END64.size
    if start < 0:
        return None
    data = _read_at(file, start, _LOCATOR64.size + _END64.size)
    if data[_END64.size : _END64.size + 4] != b"PK\x06\x07":
        return None
    fields = _END64.unpack(data[: _END64.size])
    if fields[0] != b"PK\x06\x06":
        raise _malformed("the archive's zip64 end record is missing")
    return fields[4], fields[5], fields[7], fields[8], fields[9], start


# --- the directory --------------------------------------------------------------------------------


def _entries(file: BinaryIO, directory: _Directory, limits: Limits) -> list[_Entry]:
    """Return the directory's entries, or raise ArchiveError if it is too large or not what the end record
    says.
    """
    if directory.entries > limits.entries:
        message = f"the archive has {directory.entries} entries; at most {limits.entries} are read"
        raise ArchiveError([_finding("ARCHIVE_TOO_MANY_ENTRIES", "", message)])
    if directory.size > limits.directory_bytes:
        message = f"the archive's directory is larger than {limits.directory_bytes} bytes"
        raise ArchiveError([_finding("ARCHIVE_DIRECTORY_TOO_LARGE", "", message)])
    data = _read_at(file, directory.start, directory.size)
    entries: list[_Entry] = []
    position = 0
    while position < len(data) or len(entries) < directory.entries:
        header = data[position : position + _HEADER.size]
        if len(header) < _HEADER.size or header[:4] != _HEADER_SIGNATURE or len(entries) == directory.entries:
            raise _malformed("the archive's directory is not what its end record says")
        fields = _HEADER.unpack(header)
        name_size, extra_size, comment_size = fields[10:13]
        position += _HEADER.size
        if name_size > limits.name_bytes:
            message = f"an entry's name is longer than {limits.name_bytes} bytes"
            raise ArchiveError([_finding("ARCHIVE_NAME_TOO_LONG", "", message)])
        entries.append(_entry(fields, data[position : position + name_size]))
        position += name_size + extra_size + comment_size
    if position != len(data):
        raise _malformed("the archive's directory is cut short")
    return entries


def _entry(fields: tuple[int, ...], name: bytes) -> _Entry:
    flags = fields[3]
    try:
        text = name.decode("utf-8" if flags & _UTF8_NAME else "cp437")
    except UnicodeDecodeError:
        raise _malformed("an entry's name is not UTF-8 although it says so") from None
    return _Entry(name=text, flags=flags, method=fields[4], compressed=fields[8], size=fields[9], mode=fields[15] >> 16)


def _name_findings(entries: list[_Entry]) -> Iterator[Finding]:
    seen: set[str] = set()
    for entry in entries:
        if entry.name in seen:
            yield _finding("ARCHIVE_DUPLICATE_NAME", entry.name, "the archive has two entries of this name")
        seen.add(entry.name)
        rule = _name_rule(entry.name)
        if rule:
            yield _finding("ARCHIVE_NAME_UNSAFE", entry.name, f"an entry's name {rule}")


def _name_rule(name: str) -> str | None:
    if not name or "\x00" in name:
        return "is empty or holds U+0000"
    if "\\" in name:
        return "holds a backslash"
    if name.startswith("/") or (name[1:2] == ":" and name[0].isalpha()):
        return "is absolute"
    if ".." in name.split("/"):
        return "leads out of the archive"
    return None


# --- the contract entry ---------------------------------------------------------------------------


def _contract_findings(entry: _Entry, limits: Limits) -> Iterator[Finding]:
    if entry.flags & _ENCRYPTED:
        yield _finding("ARCHIVE_CONTRACT_ENCRYPTED", entry.name, "the contract is encrypted")
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFREG):
        message = "the contract is not a regular file but a link or a device"
        yield _finding("ARCHIVE_CONTRACT_NOT_A_FILE", entry.name, message)
    if entry.method not in _METHODS:
        message = f"the contract is compressed by method {entry.method}; stored and deflated are read"
        yield _finding("ARCHIVE_METHOD_UNSUPPORTED", entry.name, message)
    if entry.size > limits.contract_bytes:
        yield _too_large(limits)
    elif entry.size > limits.ratio_floor and entry.size > limits.ratio * max(1, entry.compressed):
        message = f"the contract is more than {limits.ratio} times its compressed size"
        yield _finding("ARCHIVE_RATIO_TOO_HIGH", entry.name, message)


def _extract(file: BinaryIO, limits: Limits) -> bytes:
    """Return the contract's bytes, counted as they come out, whatever the directory says of their number."""
    try:
        with zipfile.ZipFile(file) as archive:
            # An extra field may give an entry a second name, which only some readers heed.
            named = [info for info in archive.infolist() if CONTRACT_ENTRY in (info.filename, info.orig_filename)]
            if len(named) != 1 or named[0].filename != named[0].orig_filename:
                raise _malformed("the contract's name can be read in two ways")
            with archive.open(named[0]) as stream:
                data = stream.read(limits.contract_bytes + 1)
    except _BROKEN as error:
        raise _malformed(shown(str(error)) or "the archive is damaged") from None
    if len(data) > limits.contract_bytes:
        raise ArchiveError([_too_large(limits)])
    return data


def _too_large(limits: Limits) -> Finding:
    message = f"the contract is larger than {limits.contract_bytes} bytes"
    return _finding("ARCHIVE_CONTRACT_TOO_LARGE", CONTRACT_ENTRY, message)


def _read_at(file: BinaryIO, position: int, size: int) -> bytes:
    file.seek(position)
    return file.read(size)


def _malformed(reason: str) -> ArchiveError:
    return ArchiveError([_finding("ARCHIVE_MALFORMED", "", reason)])


def _finding(code: str, entry: str, reason: str) -> Finding:
    return Finding(code=code, field=shown(entry), message=f"Failed to inspect release artifact: {reason}")
