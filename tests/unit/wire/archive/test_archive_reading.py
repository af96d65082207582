"""Reads contract entries of archives, and no more of a file than is needed."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.cases import cases
from tests.parts.archive_readers.mutations import Unseekable
from tests.unit.wire.archive.zips import (
    CONTRACT,
    END,
    HEADER,
    LIMITS,
    LOCAL,
    MEGABYTE,
    assembled,
    named,
    patched,
    read,
    stored,
    zipped,
)
from wire.archive.reader import ArchiveError, Limits, read_contract_entry
from wire.documents.contract import CONTRACT_ENTRY

BODY = b'{"schemaVersion": 1}'
ENTRY = (CONTRACT_ENTRY, BODY)
TEXT = zipped(("a.txt", b"some text " * 20))


def streamed() -> bytes:
    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"text" * 100)
        file.writestr(*ENTRY)
    return bytes(buffer.data)


def zip64() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open(named("wide"), "w", force_zip64=True) as entry:
            entry.write(b"text" * 100)
        file.writestr(*ENTRY)
    return buffer.getvalue()


def many(entries: int) -> bytes:
    return assembled(*(stored(f"f{number}", b"") for number in range(entries)))


@cases(
    "data",
    [
        zipped((named(CONTRACT_ENTRY, method=zipfile.ZIP_STORED), BODY)),
        zipped((named(CONTRACT_ENTRY, mode=0), BODY)),
        zipped((named("META-INF/", mode=0), b""), ENTRY, comment=b"a comment"),
        zipped(("été/ü.txt", b"x"), ENTRY),
        zipped((named("a/", mode=stat.S_IFDIR), b""), ("a/b", b""), ("c", b""), ENTRY),
        zipped(ENTRY, (named("lib.jar", method=zipfile.ZIP_STORED), zipped(("b.jar", TEXT)))),
        zipped(ENTRY, ("lib.jar", TEXT)),
        zipped(ENTRY, ("tool", b"\x7fELF" + bytes(100) + TEXT)),
        zipped(ENTRY, ("odd", LOCAL + b"but is no archive")),
        zipped(ENTRY, ("zeros", bytes(15 * MEGABYTE))),
        streamed(),
        zip64(),
    ],
)
def test_the_contract_of_any_harmless_archive_is_read(data: bytes) -> None:
    assert read(data) == BODY


@cases("data", [b"", b"MZ" + bytes(100_000), END, bytes(50) + END + bytes(18) + b"more", b"text " + END + b"\xff" * 40])
def test_a_file_that_is_no_archive_has_no_contract(data: bytes) -> None:
    assert read(data) is None


@cases("data", [zipped(), zipped(("a", b"x")), zipped(("x/" + CONTRACT_ENTRY, BODY))])
def test_an_archive_without_the_entry_has_no_contract(data: bytes) -> None:
    assert read(data) is None


@cases(
    ("data", "limits", "code"),
    [
        (many(11), Limits(entries=10), "ARCHIVE_TOO_MANY_ENTRIES"),
        (many(9), Limits(directory_bytes=9 * 48 - 1), "ARCHIVE_DIRECTORY_TOO_LARGE"),
        (assembled(CONTRACT), Limits(contract_bytes=1), "ARCHIVE_CONTRACT_TOO_LARGE"),
        (assembled(CONTRACT), Limits(name_bytes=len(CONTRACT_ENTRY) - 1), "ARCHIVE_NAME_TOO_LONG"),
    ],
)
def test_each_limit_is_the_largest_number_that_is_allowed(data: bytes, limits: Limits, code: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        read(data, limits)
    assert [finding.code for finding in caught.value.findings] == [code]
    [(name, value)] = [
        (name, getattr(limits, name)) for name in Limits.__slots__ if getattr(limits, name) != getattr(Limits(), name)
    ]
    read(data, Limits(**{name: value + 1}))


def test_a_file_on_disk_is_read(tmp_path: Path) -> None:
    path = tmp_path / "app.jar"
    path.write_bytes(zipped(ENTRY))
    with path.open("rb") as file:
        assert read_contract_entry(file) == BODY
    with path.open("ab") as file, pytest.raises(OSError, match="read"):
        read_contract_entry(file)


def test_inflated_bytes_are_counted_for_any_size_in_the_directory() -> None:
    lying = patched(zipped((CONTRACT_ENTRY, bytes(64 * MEGABYTE))), HEADER, 24, struct.pack("<L", 100))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            read(lying)
        assert tracemalloc.get_traced_memory()[1] < 16 * MEGABYTE
    finally:
        tracemalloc.stop()


class Sparse(io.RawIOBase):
    """A sparse file of a terabyte, with an end record at its end."""

    SIZE = 2**40

    def __init__(self, end: bytes) -> None:
        self.end, self.at, self.given = end, 0, 0

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.at = {io.SEEK_SET: 0, io.SEEK_CUR: self.at, io.SEEK_END: self.SIZE}[whence] + offset
        return self.at

    def read(self, size: int = -1) -> bytes:
        assert size >= 0, "never all of it"
        size = min(size, self.SIZE - self.at)
        place, self.at, self.given = self.at, self.at + size, self.given + size
        data = bytearray(size)
        for number, byte in enumerate(self.end):
            if 0 <= (index := self.SIZE - len(self.end) + number - place) < size:
                data[index] = byte
        return bytes(data)


def read_of(end: bytes) -> tuple[bool, int]:
    """Return whether the file is refused as an archive, and how many of its bytes are read."""
    file = Sparse(end)
    stream: BinaryIO = file  # type: ignore[assignment]
    try:
        assert read_contract_entry(stream, LIMITS) is None
    except ArchiveError:
        return True, file.given
    return False, file.given


@cases("entries", [0, 1, 100, 65535, None])
def test_only_the_end_of_a_file_is_read_to_find_its_directory(entries: int | None) -> None:
    end = b"the end"
    if entries is not None:
        end = struct.pack("<4s4H2LH", END, 0, 0, entries, entries, 46 * entries, 0, 0)
    refused, size = read_of(end)
    assert (refused, size < MEGABYTE) == (entries is not None, True)
