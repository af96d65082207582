"""Reads the entries of an artifact, without trusting the archive.

An archive is rejected if a part of it is hostile, or if two readers could see different entries. Every entry is
unpacked once, and the result is discarded. Unpacking stops when an entry exceeds the size in its directory, which
`Limits` bound. So the cost of a zip bomb is bounded.
"""

from __future__ import annotations

import io
import stat
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.json_reader import bounded
from wire.findings import Finding
from wire.release.directory import (
    DEFAULT_LIMITS,
    LOCAL_SIGNATURE,
    ArchiveError,
    Directory,
    Entry,
    Limits,
    find_directory,
    finding,
    malformed,
    name_findings,
    place_of_data,
    read_at,
    read_entries,
    smallest_end,
)

_KNOWN_FLAGS: Final = 0x2 | 0x4 | 0x8 | 0x800
_NEWEST_READER: Final = 45
"""Version 4.5 added zip64. Info-ZIP reads up to 4.6, Python up to 6.3; Java ignores the number."""
_KNOWN_HOSTS: Final = frozenset({0, 3, 10, 14, 19})
"""DOS, Unix, Windows, VFAT and macOS. Readers rename entries from other systems."""
_DOS_FOLDER: Final = 0x10
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_CHUNK: Final = 256 * 1024
_BEGINNINGS: Final = (LOCAL_SIGNATURE, b"PK\x07\x08", b"PK00")
"""The first bytes of files that some readers treat as archives, although they have no directory."""


@dataclass(slots=True)
class Budget:
    """The use of the limits that an archive shares with its nested archives."""

    limits: Limits
    unpacked: int = 0
    inner: int = 0
    entries: int = 0


@dataclass(slots=True)
class Layout:
    """The entries of one archive, and where the data of each begins."""

    file: BinaryIO
    directory: Directory
    entries: list[Entry]
    data_at: dict[int, int] = field(default_factory=dict)
    """By the offset of the local header."""


def inspect(file: BinaryIO, directory: Directory, budget: Budget, *, depth: int = 1) -> Layout:
    """Return the layout of the archive. Raises ArchiveError with the findings about it and about nested archives.

    Findings about single entries are collected. Any other finding ends the inspection.
    """
    limits = budget.limits
    entries = read_entries(file, directory, limits)
    budget.entries += len(entries)
    if budget.entries > limits.entries:
        message = f"the archive and its nested archives have more than {limits.entries} entries"
        raise ArchiveError([finding("ARCHIVE_TOO_MANY_ENTRIES", "", message)])
    findings = [*name_findings(entries), *_entry_findings(entries, limits)]
    if directory.base:
        findings.append(finding("ARCHIVE_PREPENDED", "", "bytes come before the archive"))
    if findings:
        raise ArchiveError(findings)
    budget.unpacked += sum(entry.size for entry in entries)
    if budget.unpacked > limits.unpacked_bytes:
        message = f"the archive unpacks to more than {limits.unpacked_bytes} bytes"
        raise ArchiveError([finding("ARCHIVE_UNPACKS_TOO_LARGE", "", message)])
    layout = Layout(file, directory, entries)
    findings += _place(layout)
    if findings:
        raise ArchiveError(findings)
    for entry in entries:
        _unpack(layout, entry, budget, depth)
    return layout


def _entry_findings(entries: list[Entry], limits: Limits) -> Iterator[Finding]:
    for entry in entries:
        unknown = entry.flags & ~_KNOWN_FLAGS or entry.reader_version > _NEWEST_READER or entry.host not in _KNOWN_HOSTS
        if entry.is_encrypted:
            yield finding("ARCHIVE_ENCRYPTED", entry.name, "an entry is encrypted")
        elif entry.method not in _METHODS:
            message = f"an entry is compressed by method {entry.method}; only stored and deflated entries are read"
            yield finding("ARCHIVE_METHOD_UNSUPPORTED", entry.name, message)
        elif unknown:
            message = "an entry has flags, a version or a system that not all readers support"
            yield finding("ARCHIVE_AMBIGUOUS", entry.name, message)
        elif entry.is_described_later and entry.method == zipfile.ZIP_STORED:
            message = "an entry is stored with its sizes after its data, which not all readers accept"
            yield finding("ARCHIVE_AMBIGUOUS", entry.name, message)
        if not _is_file_or_folder(entry):
            yield finding("ARCHIVE_NOT_A_FILE", entry.name, "an entry is not a regular file but a link or a device")
        yield from _size_findings(entry, limits)


def _is_file_or_folder(entry: Entry) -> bool:
    """True if all readers agree that the entry is a file, or that it is a folder."""
    kind = stat.S_IFMT(entry.attributes >> 16)
    if entry.is_folder:
        return kind in (0, stat.S_IFDIR) and not entry.size
    return kind in (0, stat.S_IFREG) and not entry.attributes & _DOS_FOLDER


def _size_findings(entry: Entry, limits: Limits) -> Iterator[Finding]:
    contract = entry.name == CONTRACT_ENTRY
    if contract and entry.size > limits.contract_bytes:
        message = f"the contract is larger than {limits.contract_bytes} bytes"
        yield finding("ARCHIVE_CONTRACT_TOO_LARGE", entry.name, message)
        return
    floor = limits.ratio_floor if contract else limits.entry_ratio_floor
    if entry.size > floor and entry.size > limits.ratio * max(1, entry.compressed):
        message = f"an entry is more than {limits.ratio} times its compressed size"
        yield finding("ARCHIVE_RATIO_TOO_HIGH", entry.name, message)


# --- local headers ---


def _place(layout: Layout) -> Iterator[Finding]:
    """Locate each entry's data. Yields findings unless the entries fill the file up to the directory without gaps."""
    in_order = sorted(layout.entries, key=lambda entry: entry.offset)
    over = _overlapping(in_order)
    if over is not None:
        yield _overlap(over)
        return
    gap = finding("ARCHIVE_HEADERS_DISAGREE", "", "the archive contains bytes outside of the entries in its directory")
    end = 0
    for entry in in_order:
        if entry.offset < end:
            yield _overlap(entry)
            return
        if entry.offset > end:
            yield gap
        place = place_of_data(layout.file, entry)
        if isinstance(place, Finding):
            yield place
            return
        layout.data_at[entry.offset], end = place
        if end > layout.directory.start:
            yield finding("ARCHIVE_ENTRIES_OVERLAP", entry.name, "an entry overlaps the directory")
            return
    if end < layout.directory.start:
        yield gap


def _overlapping(in_order: list[Entry]) -> Entry | None:
    """Return the first entry that overlaps another one according to the directory."""
    end = 0
    for entry in in_order:
        if entry.offset < end:
            return entry
        end = smallest_end(entry)
    return None


def _overlap(entry: Entry) -> Finding:
    return finding("ARCHIVE_ENTRIES_OVERLAP", entry.name, "an entry overlaps another one")


# --- contents ---


def unpacked(layout: Layout, entry: Entry) -> Iterator[bytes]:
    """Yield the entry's bytes in bounded pieces.

    Raises ArchiveError, at the latest after the last piece, if the size or the checksum differs from the directory.
    """
    pieces = _stored(layout, entry) if entry.method == zipfile.ZIP_STORED else _inflated(layout, entry)
    crc = 0
    for piece in pieces:
        crc = zlib.crc32(piece, crc)
        yield piece
    if crc != entry.crc:
        raise ArchiveError([finding("ARCHIVE_CHECKSUM_WRONG", entry.name, "an entry's data has a wrong checksum")])


def _unpack(layout: Layout, entry: Entry, budget: Budget, depth: int) -> None:
    """Unpack one entry and discard the data. If it is an archive, inspect that too."""
    pieces = unpacked(layout, entry)
    first = b""
    while len(first) < 4 and (piece := next(pieces, None)) is not None:
        first += piece
    if first[:4] != LOCAL_SIGNATURE:
        for _ in pieces:
            pass
    elif entry.method == zipfile.ZIP_STORED:
        for _ in pieces:
            pass
        slice_ = _Slice(layout.file, layout.data_at[entry.offset], entry.size)
        _look_inside(cast("BinaryIO", slice_), entry, budget, depth)
    else:
        _inflate_inside(first, pieces, entry, budget, depth)


def _inflate_inside(first: bytes, pieces: Iterator[bytes], entry: Entry, budget: Budget, depth: int) -> None:
    if budget.inner + entry.size > budget.limits.inner_bytes:
        message = f"nested archives unpack to more than {budget.limits.inner_bytes} bytes; store them uncompressed"
        raise ArchiveError([finding("ARCHIVE_NESTED_TOO_LARGE", entry.name, message)])
    budget.inner += entry.size
    with tempfile.SpooledTemporaryFile(max_size=4 * 1024 * 1024) as inner:
        inner.write(first)
        for piece in pieces:
            inner.write(piece)
        _look_inside(cast("BinaryIO", inner), entry, budget, depth)


def _stored(layout: Layout, entry: Entry) -> Iterator[bytes]:
    if entry.size != entry.compressed:
        raise _wrong_size(entry)
    position, remaining = layout.data_at[entry.offset], entry.size
    while remaining:
        piece = read_at(layout.file, position, min(_CHUNK, remaining))
        position, remaining = position + len(piece), remaining - len(piece)
        yield piece


def _inflated(layout: Layout, entry: Entry) -> Iterator[bytes]:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position, remaining, inflated = layout.data_at[entry.offset], entry.compressed, 0
    pending = b""
    while not inflater.eof:
        if not pending:
            pending = read_at(layout.file, position, min(_CHUNK, remaining))
            position, remaining = position + len(pending), remaining - len(pending)
        try:
            chunk = inflater.decompress(pending, _CHUNK)
        except zlib.error:
            raise malformed("an entry's compressed data is damaged") from None
        if not pending and not chunk:  # the data ends before the stream does
            raise _wrong_size(entry)
        pending = inflater.unconsumed_tail
        inflated += len(chunk)
        if inflated > entry.size:
            raise _wrong_size(entry)
        yield chunk
    if inflated != entry.size or remaining or inflater.unused_data:
        raise _wrong_size(entry)


def _wrong_size(entry: Entry) -> ArchiveError:
    return ArchiveError([finding("ARCHIVE_SIZE_WRONG", entry.name, "an entry does not have the size in the directory")])


def _look_inside(inner: BinaryIO, entry: Entry, budget: Budget, depth: int) -> None:
    directory = find_directory(inner)
    if directory is None:
        return
    if depth >= budget.limits.nesting:
        message = f"archives are nested more than {budget.limits.nesting} levels deep"
        raise ArchiveError([finding("ARCHIVE_NESTED_TOO_DEEP", entry.name, message)])
    try:
        inspect(inner, directory, budget, depth=depth + 1)
    except ArchiveError as error:
        findings = []
        for inside in error.findings:
            name = f"{entry.name}!{inside.field}" if inside.field else entry.name
            findings.append(finding(inside.code, name, inside.message.partition(": ")[2]))
        raise ArchiveError(findings) from None


class _Slice(io.RawIOBase):
    """A range of a file, as a separate file."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        remaining = max(0, self._size - self._at)
        data = read_at(self._file, self._start + self._at, remaining if size < 0 else min(size, remaining))
        self._at += len(data)
        return data


# --- the archive of an artifact ---


def read_entry(layout: Layout, name: str) -> bytes | None:
    """Return the bytes of an inspected entry; None if it is missing. The entry's `size` bounds them."""
    named = next((entry for entry in layout.entries if entry.name == name), None)
    return None if named is None else b"".join(unpacked(layout, named))


def read_layout(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Layout | None:
    """Return the inspected entries of an archive; None if `file` is not an archive.

    Reads `file`, which must be seekable, in memory bounded by `limits`. Raises ArchiveError with the findings about the
    archive, and OSError if `file` cannot be read.
    """
    directory = find_directory(file)
    if directory is None:
        if read_at(file, 0, 4) in _BEGINNINGS:
            message = "the file begins as an archive and has no end record: it is cut short"
            raise ArchiveError([finding("ARCHIVE_TRUNCATED", "", message)])
        return None
    try:
        return inspect(file, directory, Budget(limits))
    except ArchiveError as error:
        raise ArchiveError(bounded(error.findings, "")) from None
