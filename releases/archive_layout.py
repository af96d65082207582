"""Where the entries of a zip archive lie and what they unpack to: local headers, overlaps, bombs, archives inside.

Every entry is unpacked once, into nothing, and stopped where it gives more than its directory says: so what a bomb
costs here is bounded by what it admits to, which `Limits` bound.
"""

from __future__ import annotations

import io
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, Final, cast

from coordinator.findings import Finding
from releases.archive_directory import (
    ArchiveError,
    Directory,
    Entry,
    Limits,
    find_directory,
    finding,
    malformed,
    name_findings,
    read_at,
    read_entries,
)
from releases.contract import CONTRACT_ENTRY

_LOCAL = struct.Struct("<4s5H3L2H")
LOCAL_SIGNATURE: Final = b"PK\x03\x04"
_DESCRIBED_LATER: Final = 0x8
_LONGEST_DESCRIPTOR: Final = 24
_WIDE: Final = 0xFFFFFFFF
_METHODS: Final = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})
_CHUNK: Final = 256 * 1024


@dataclass(slots=True)
class Budget:
    """What is left of the limits that an archive shares with those inside it."""

    limits: Limits
    unpacked: int = 0
    inner: int = 0
    entries: int = 0


@dataclass(slots=True)
class Layout:
    """The entries of one archive whose directory was read, and where the data of each begins."""

    file: BinaryIO
    directory: Directory
    entries: list[Entry]
    data_at: dict[int, int] = field(default_factory=dict)
    """By the offset of the local header."""


def inspect(file: BinaryIO, directory: Directory, budget: Budget, *, depth: int = 1, prefixed: bool) -> list[Entry]:
    """Return the archive's entries, or raise ArchiveError with every finding about it and the archives inside it.

    Rules about single entries are all told; what makes looking further pointless or dear ends the look.
    """
    limits = budget.limits
    entries = read_entries(file, directory, limits)
    budget.entries += len(entries)
    if budget.entries > limits.entries:
        message = f"the archive and those inside it have more than {limits.entries} entries"
        raise ArchiveError([finding("ARCHIVE_TOO_MANY_ENTRIES", "", message)])
    findings = [*name_findings(entries), *_entry_findings(entries, limits)]
    if directory.base and entries and not prefixed:
        findings.append(finding("ARCHIVE_PREPENDED", "", "bytes come before the archive"))
    if findings:
        raise ArchiveError(findings)
    _spend(entries, budget)
    layout = Layout(file, directory, entries)
    findings += _place(layout)
    if findings:
        raise ArchiveError(findings)
    for entry in entries:
        _unpack(layout, entry, budget, depth)
    return entries


def _entry_findings(entries: list[Entry], limits: Limits) -> Iterator[Finding]:
    for entry in entries:
        if entry.is_encrypted:
            yield finding("ARCHIVE_ENCRYPTED", entry.name, "an entry is encrypted")
        kind = stat.S_IFMT(entry.mode)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR) or (kind == stat.S_IFDIR and not entry.is_folder):
            yield finding("ARCHIVE_NOT_A_FILE", entry.name, "an entry is not a regular file but a link or a device")
        if entry.method not in _METHODS:
            message = f"an entry is compressed by method {entry.method}; stored and deflated are read"
            yield finding("ARCHIVE_METHOD_UNSUPPORTED", entry.name, message)
        contract = entry.name == CONTRACT_ENTRY
        if contract and entry.size > limits.contract_bytes:
            message = f"the contract is larger than {limits.contract_bytes} bytes"
            yield finding("ARCHIVE_CONTRACT_TOO_LARGE", entry.name, message)
            continue
        floor = limits.ratio_floor if contract else limits.entry_ratio_floor
        if entry.size > floor and entry.size > limits.ratio * max(1, entry.compressed):
            message = f"an entry is more than {limits.ratio} times its compressed size"
            yield finding("ARCHIVE_RATIO_TOO_HIGH", entry.name, message)


def _spend(entries: list[Entry], budget: Budget) -> None:
    budget.unpacked += sum(entry.size for entry in entries)
    if budget.unpacked > budget.limits.unpacked_bytes:
        message = f"the archive unpacks to more than {budget.limits.unpacked_bytes} bytes"
        raise ArchiveError([finding("ARCHIVE_UNPACKS_TOO_LARGE", "", message)])


# --- local headers ---


def _place(layout: Layout) -> Iterator[Finding]:
    """Hold each local header against the directory, in the order in which they lie, and find where data begins."""
    in_order = sorted(layout.entries, key=lambda each: each.offset)
    over = _overlapping(in_order, layout.directory.base)
    if over is not None:
        yield _overlap(over)
        return
    end, before = layout.directory.base, None
    for entry in in_order:
        if entry.offset < end:
            yield _overlap(entry)
            return
        if _hides_an_entry(layout.file, end, entry.offset, before):
            yield _hidden()
        header = read_at(layout.file, entry.offset, _LOCAL.size)
        if len(header) < _LOCAL.size or header[:4] != LOCAL_SIGNATURE:
            yield finding("ARCHIVE_HEADERS_DISAGREE", entry.name, "an entry is not where the directory says")
            return
        fields = _LOCAL.unpack(header)
        if not _agree(layout.file, entry, fields):
            yield finding("ARCHIVE_HEADERS_DISAGREE", entry.name, "an entry's own header says other than the directory")
            return
        start = entry.offset + _LOCAL.size + fields[9] + fields[10]
        end, before = start + entry.compressed, entry
        layout.data_at[entry.offset] = start
        if end > layout.directory.start:
            yield finding("ARCHIVE_ENTRIES_OVERLAP", entry.name, "an entry lies over the directory")
            return
    if _hides_an_entry(layout.file, end, layout.directory.start, before):
        yield _hidden()


def _overlapping(in_order: list[Entry], end: int) -> Entry | None:
    """The first entry that lies over another by what the directory alone says."""
    for entry in in_order:
        if entry.offset < end:
            return entry
        end = entry.offset + _LOCAL.size + len(entry.raw_name) + entry.compressed
    return None


def _overlap(entry: Entry) -> Finding:
    return finding("ARCHIVE_ENTRIES_OVERLAP", entry.name, "an entry lies over another")


def _agree(file: BinaryIO, entry: Entry, fields: tuple[int, ...]) -> bool:
    _, _, flags, method, _, _, _, compressed, size, name_size, _ = fields
    if (flags & ~0x6, method) != (entry.flags & ~0x6, entry.method) or name_size != len(entry.raw_name):
        return False
    if read_at(file, entry.offset + _LOCAL.size, name_size) != entry.raw_name:
        return False
    if flags & _DESCRIBED_LATER and not (compressed or size):
        return True
    return compressed in (entry.compressed, _WIDE) and size in (entry.size, _WIDE)


def _hides_an_entry(file: BinaryIO, start: int, end: int, before: Entry | None) -> bool:
    """Whether an entry lies in a gap that the directory does not name: readers that stream would see it."""
    if end - start < _LOCAL.size:
        return False
    described = _LONGEST_DESCRIPTOR if before is not None and before.flags & _DESCRIBED_LATER else 0
    return LOCAL_SIGNATURE in read_at(file, start, min(end - start, described + 4))


def _hidden() -> Finding:
    return finding("ARCHIVE_HEADERS_DISAGREE", "", "the archive holds an entry that its directory does not name")


# --- what comes out ---


def _unpack(layout: Layout, entry: Entry, budget: Budget, depth: int) -> None:
    """Unpack one entry into nothing, and look inside where it is an archive."""
    if entry.method == zipfile.ZIP_STORED:
        if entry.size != entry.compressed:
            raise _wrong_size(entry)
        slice_ = _Slice(layout.file, layout.data_at[entry.offset], entry.size)
        if slice_.read(4) == LOCAL_SIGNATURE:
            _look_inside(cast("BinaryIO", slice_), entry, budget, depth)
        return
    rest = _inflated(layout, entry)
    first = b""
    while len(first) < 4 and (chunk := next(rest, None)) is not None:
        first += chunk
    if first[:4] != LOCAL_SIGNATURE:
        for _ in rest:
            pass
        return
    if budget.inner + entry.size > budget.limits.inner_bytes:
        message = f"archives inside unpack to more than {budget.limits.inner_bytes} bytes; store them uncompressed"
        raise ArchiveError([finding("ARCHIVE_NESTED_TOO_LARGE", entry.name, message)])
    budget.inner += entry.size
    with tempfile.SpooledTemporaryFile(max_size=4 * 1024 * 1024) as inner:
        inner.write(first)
        for chunk in rest:
            inner.write(chunk)
        _look_inside(cast("BinaryIO", inner), entry, budget, depth)


def _inflated(layout: Layout, entry: Entry) -> Iterator[bytes]:
    """The entry's bytes in bounded pieces. Raises ArchiveError where they are not as many as the directory says."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    position, left, given = layout.data_at[entry.offset], entry.compressed, 0
    pending = b""
    while not inflater.eof:
        if not pending:
            pending = read_at(layout.file, position, min(_CHUNK, left))
            position, left = position + len(pending), left - len(pending)
        try:
            chunk = inflater.decompress(pending, _CHUNK)
        except zlib.error:
            raise malformed("an entry's compressed data is damaged") from None
        if not pending and not chunk:  # nothing more to come, and no end
            raise _wrong_size(entry)
        pending = inflater.unconsumed_tail
        given += len(chunk)
        if given > entry.size:
            raise _wrong_size(entry)
        yield chunk
    if given != entry.size or left or inflater.unused_data:
        raise _wrong_size(entry)


def _wrong_size(entry: Entry) -> ArchiveError:
    return ArchiveError(
        [finding("ARCHIVE_SIZE_WRONG", entry.name, "an entry has another size than the directory says")]
    )


def _look_inside(inner: BinaryIO, entry: Entry, budget: Budget, depth: int) -> None:
    directory = find_directory(inner)
    if directory is None:
        return
    if depth >= budget.limits.nesting:
        message = f"archives lie more than {budget.limits.nesting} deep inside one another"
        raise ArchiveError([finding("ARCHIVE_NESTED_TOO_DEEP", entry.name, message)])
    try:
        inspect(inner, directory, budget, depth=depth + 1, prefixed=True)
    except ArchiveError as error:
        raise ArchiveError([_inside(entry, each) for each in error.findings]) from None


def _inside(entry: Entry, found: Finding) -> Finding:
    name = f"{entry.name}!{found.field}" if found.field else entry.name
    return finding(found.code, name, found.message.partition(": ")[2])


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: BinaryIO, start: int, size: int) -> None:
        self._file, self._start, self._size, self._at = file, start, size, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, base + offset)
        return self._at

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._size - self._at)
        data = read_at(self._file, self._start + self._at, left if size < 0 else min(size, left))
        self._at += len(data)
        return data
