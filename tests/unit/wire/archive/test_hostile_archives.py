"""Archives that attack their readers. Each is refused with its code, in bounded time and memory."""

from __future__ import annotations

import io
import resource
import stat
import struct
import tracemalloc
import warnings
import zipfile
import zlib
from collections.abc import Callable
from typing import BinaryIO

import pytest

from tests.cases import cases
from wire.archive.reader import ArchiveError, Limits, read_contract_entry
from wire.documents.contract import CONTRACT_ENTRY

END, HEADER, LOCAL = b"PK\x05\x06", b"PK\x01\x02", b"PK\x03\x04"
MEGABYTE = 1024 * 1024
LIMITS = Limits(unpacked_bytes=256 * MEGABYTE, inner_bytes=64 * MEGABYTE)
MEMORY = 64 * MEGABYTE
CPU_SECONDS = 20.0
"""Far above what any of them takes, and far below what following one would."""


def named(
    name: str, *, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED, flags: int = 0
) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, method
    info.flag_bits |= flags
    return info


def zipped(*entries: tuple[str | zipfile.ZipInfo, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", method) as file:
        warnings.simplefilter("ignore", UserWarning)  # two entries of one name
        for name, body in entries:
            file.writestr(name if isinstance(name, zipfile.ZipInfo) else named(name, method=method), body)
    return buffer.getvalue()


def stored(*entries: tuple[str, bytes]) -> bytes:
    return zipped(*entries, method=zipfile.ZIP_STORED)


def patched(data: bytes, signature: bytes, offset: int, value: bytes, *, last: bool = False) -> bytes:
    at = (data.rfind(signature) if last else data.find(signature)) + offset
    return data[:at] + value + data[at + len(value) :]


def both(data: bytes, offset: int, value: bytes) -> bytes:
    """Make the same change in an entry's local header and in the directory, whose members are two bytes further."""
    return patched(patched(data, LOCAL, offset, value), HEADER, offset + 2, value)


PLAIN = zipped(("a.txt", b"some text " * 20), ("b.txt", b"other text " * 20))
ZEROS = bytes(32 * MEGABYTE)


def chain(depth: int, *, method: int = zipfile.ZIP_STORED) -> bytes:
    data = zipped(("leaf.txt", b"leaf"))
    for number in range(depth):
        data = zipped((f"level-{number}.zip", data), method=method)
    return data


def overlapping(names: int) -> bytes:
    """Return an archive whose entries all share the same data, like the most compact bombs."""
    kernel = zipped(("000", bytes(MEGABYTE)))
    start = kernel.find(HEADER)
    record = kernel[start : kernel.find(END)]
    entries = b"".join(record[:-3] + b"%03d" % number for number in range(names))
    end = struct.pack("<4s4H2LH", END, 0, 0, names, names, len(entries), start, 0)
    return kernel[:start] + entries + end


def quoted() -> bytes:
    """Return an archive whose entries cover each other's local headers."""
    data = stored(("outer", stored(("inner", b"x" * 100))))
    start, end_at = data.rfind(HEADER), data.rfind(END)
    record = data[start:end_at]
    second = record[:42] + struct.pack("<L", data.find(LOCAL, 4)) + b"inner"
    second = second[:28] + struct.pack("<H", 5) + second[30:]
    inner = struct.pack("<LLL", zlib.crc32(b"x" * 100), 100, 100)
    second = second[:16] + inner + second[28:]
    entries = record + second
    return data[:start] + entries + struct.pack("<4s4H2LH", END, 0, 0, 2, 2, len(entries), start, 0)


def hidden() -> bytes:
    """Return an archive with an entry that only streaming readers find, because the directory omits it."""
    archive = zipped(("seen", b"1"), ("hidden", b"2"), ("seen too", b"3"))
    start = archive.find(HEADER)
    records = archive[start : archive.find(END)]
    second = records.find(HEADER, 4)
    third = records.find(HEADER, second + 4)
    entries = records[:second] + records[third:]
    return archive[:start] + entries + struct.pack("<4s4H2LH", END, 0, 0, 2, 2, len(entries), start, 0)


def hidden_first() -> bytes:
    archive = zipped(("hidden", b"2"), ("seen", b"1"))
    start = archive.find(HEADER)
    records = archive[start : archive.find(END)]
    entries = records[records.find(HEADER, 4) :]
    return archive[:start] + entries + struct.pack("<4s4H2LH", END, 0, 0, 1, 1, len(entries), start, 0)


def a_million(claimed: int) -> bytes:
    """Return a small archive of a million empty entries, with a directory but without their data."""
    record = struct.pack("<4s6H3L5H2L", HEADER, 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    directory = b"".join(record + b"%07d" % number for number in range(1_000_000))
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, claimed, claimed, len(directory), 0)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(directory), 1)
    narrow = min(claimed, 0xFFFF)
    return directory + wide + locator + struct.pack("<4s4H2LH", END, 0, 0, narrow, narrow, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def lying(size: int) -> bytes:
    """Return an entry that unpacks to 32 MB, while both headers declare `size`."""
    return both(zipped(("bomb", ZEROS)), 22, struct.pack("<L", size))


HOSTILE: dict[str, tuple[Callable[[], bytes], str]] = {
    # bombs
    "a ratio": (lambda: zipped(("bomb", ZEROS)), "ARCHIVE_RATIO_TOO_HIGH"),
    "a ratio of the contract": (lambda: zipped((CONTRACT_ENTRY, bytes(MEGABYTE))), "ARCHIVE_RATIO_TOO_HIGH"),
    "a ratio among others": (lambda: zipped(("a", b"a"), ("bomb", ZEROS), ("b", b"b")), "ARCHIVE_RATIO_TOO_HIGH"),
    "many entries below the ratio's floor": (
        lambda: zipped(*((f"{number}", bytes(15 * MEGABYTE)) for number in range(20))),
        "ARCHIVE_UNPACKS_TOO_LARGE",
    ),
    "a size that the data exceeds": (lambda: lying(1000), "ARCHIVE_SIZE_WRONG"),
    "a size of nothing": (lambda: lying(0), "ARCHIVE_SIZE_WRONG"),
    "a size that the data never reaches": (lambda: both(PLAIN, 22, struct.pack("<L", 5000)), "ARCHIVE_SIZE_WRONG"),
    "a stored entry of two sizes": (
        lambda: both(stored(("a", b"12345678")), 22, struct.pack("<L", 7)),
        "ARCHIVE_SIZE_WRONG",
    ),
    "a gigantic size": (lambda: both(PLAIN, 22, struct.pack("<L", 0xFFFFFFFE)), "ARCHIVE_RATIO_TOO_HIGH"),
    "a bomb inside": (lambda: stored(("inner.zip", zipped(("bomb", ZEROS)))), "ARCHIVE_RATIO_TOO_HIGH"),
    "a bomb inside that is compressed": (lambda: zipped(("in.zip", zipped(("bomb", ZEROS)))), "ARCHIVE_RATIO_TOO_HIGH"),
    "a bomb of archives": (
        lambda: stored(*((f"{n}.zip", zipped(("x", bytes(15 * MEGABYTE)))) for n in range(20))),
        "ARCHIVE_UNPACKS_TOO_LARGE",
    ),
    "archives in archives": (lambda: chain(3), "ARCHIVE_NESTED_TOO_DEEP"),
    "many archives in archives": (lambda: chain(40), "ARCHIVE_NESTED_TOO_DEEP"),
    "compressed archives in archives": (lambda: chain(12, method=zipfile.ZIP_DEFLATED), "ARCHIVE_NESTED_TOO_DEEP"),
    "a large compressed archive inside": (
        lambda: zipped(*((f"{n}.zip", stored(("x", bytes(15 * MEGABYTE)))) for n in range(5))),
        "ARCHIVE_NESTED_TOO_LARGE",
    ),
    "two entries over one kernel": (lambda: overlapping(2), "ARCHIVE_ENTRIES_OVERLAP"),
    "a hundred entries over one kernel": (lambda: overlapping(100), "ARCHIVE_ENTRIES_OVERLAP"),
    "an entry that quotes another": (quoted, "ARCHIVE_ENTRIES_OVERLAP"),
    "an entry over the directory": (
        lambda: both(both(PLAIN, 18, struct.pack("<L", 4000)), 22, struct.pack("<L", 4000)),
        "ARCHIVE_ENTRIES_OVERLAP",
    ),
    # numbers
    "a million entries": (lambda: a_million(1_000_000), "ARCHIVE_TOO_MANY_ENTRIES"),
    "a million that say they are ten": (lambda: a_million(10), "ARCHIVE_DIRECTORY_TOO_LARGE"),
    "a hundred thousand and one": (
        lambda: stored(*((f"{number}", b"") for number in range(100_001))),
        "ARCHIVE_TOO_MANY_ENTRIES",
    ),
    # names
    "a way out": (lambda: zipped(("../../etc/cron.d/x", b"")), "ARCHIVE_NAME_CLIMBS_OUT"),
    "a way out in the middle": (lambda: zipped(("a/b/../../../c", b"")), "ARCHIVE_NAME_CLIMBS_OUT"),
    "a way out at the end": (lambda: zipped(("a/..", b"")), "ARCHIVE_NAME_CLIMBS_OUT"),
    "a way out inside": (lambda: stored(("in.zip", zipped(("../x", b"")))), "ARCHIVE_NAME_CLIMBS_OUT"),
    "an absolute name": (lambda: zipped(("/etc/passwd", b"")), "ARCHIVE_NAME_ABSOLUTE"),
    "a drive": (lambda: zipped(("C:/windows", b"")), "ARCHIVE_NAME_ABSOLUTE"),
    "another system's separator": (lambda: zipped(("..\\..\\x", b"")), "ARCHIVE_NAME_UNSAFE"),
    "U+0000": (lambda: zipped(("a!b", b"")).replace(b"a!b", b"a\0b"), "ARCHIVE_NAME_UNSAFE"),
    "one name twice": (lambda: zipped(("a", b"1"), ("a", b"2")), "ARCHIVE_DUPLICATE_NAME"),
    "two contracts": (lambda: zipped((CONTRACT_ENTRY, b"{}"), (CONTRACT_ENTRY, b"[]")), "ARCHIVE_DUPLICATE_NAME"),
    "an endless name": (lambda: zipped(("n" * 60_000, b"")), "ARCHIVE_NAME_TOO_LONG"),
    # kinds
    "a symbolic link": (lambda: zipped((named("link", mode=stat.S_IFLNK | 0o777), b"/etc")), "ARCHIVE_NOT_A_FILE"),
    "a link as the contract": (
        lambda: zipped((named(CONTRACT_ENTRY, mode=stat.S_IFLNK | 0o777), b"/etc/passwd")),
        "ARCHIVE_NOT_A_FILE",
    ),
    "a device": (lambda: zipped((named("null", mode=stat.S_IFCHR), b"")), "ARCHIVE_NOT_A_FILE"),
    "a pipe": (lambda: zipped((named("pipe", mode=stat.S_IFIFO), b"")), "ARCHIVE_NOT_A_FILE"),
    "a folder with a file's name": (lambda: zipped((named("a", mode=stat.S_IFDIR), b"")), "ARCHIVE_NOT_A_FILE"),
    "an encrypted entry": (lambda: both(PLAIN, 6, b"\x01\0"), "ARCHIVE_ENCRYPTED"),
    "strong encryption": (lambda: both(PLAIN, 6, b"\x40\0"), "ARCHIVE_ENCRYPTED"),
    "an encrypted directory": (lambda: both(PLAIN, 6, b"\0\x20"), "ARCHIVE_ENCRYPTED"),
    "LZMA": (lambda: zipped((named("a", method=zipfile.ZIP_LZMA), b"x")), "ARCHIVE_METHOD_UNSUPPORTED"),
    "bzip2": (lambda: zipped((named("a", method=zipfile.ZIP_BZIP2), b"x")), "ARCHIVE_METHOD_UNSUPPORTED"),
    # directory and local headers
    "another name in the local header": (lambda: patched(PLAIN, LOCAL, 30, b"A"), "ARCHIVE_HEADERS_DISAGREE"),
    "another size in the local header": (lambda: patched(PLAIN, LOCAL, 22, b"\x01\0\0\0"), "ARCHIVE_HEADERS_DISAGREE"),
    "another compressed size": (lambda: patched(PLAIN, LOCAL, 18, b"\x01\0\0\0"), "ARCHIVE_HEADERS_DISAGREE"),
    "another method": (lambda: patched(PLAIN, LOCAL, 8, b"\0\0"), "ARCHIVE_HEADERS_DISAGREE"),
    "encrypted in one header alone": (lambda: patched(PLAIN, LOCAL, 6, b"\x01\0"), "ARCHIVE_HEADERS_DISAGREE"),
    "a local header elsewhere": (
        lambda: patched(PLAIN, HEADER, 42, b"\x05\0\0\0", last=True),
        "ARCHIVE_ENTRIES_OVERLAP",
    ),
    "an entry beyond the file": (
        lambda: patched(PLAIN, HEADER, 42, b"\0\0\xff\0", last=True),
        "ARCHIVE_HEADERS_DISAGREE",
    ),
    "an entry that the directory does not name": (hidden, "ARCHIVE_HEADERS_DISAGREE"),
    "a first entry that the directory does not name": (hidden_first, "ARCHIVE_HEADERS_DISAGREE"),
    # around the archive
    "bytes before": (lambda: b"MZ" + bytes(500) + PLAIN, "ARCHIVE_PREPENDED"),
    "an executable before": (lambda: b"\x7fELF" + bytes(1000) + PLAIN, "ARCHIVE_PREPENDED"),
    "a script before": (lambda: b"#!/bin/sh\nrm -rf /\n" + PLAIN, "ARCHIVE_PREPENDED"),
    "another archive before": (lambda: PLAIN[: PLAIN.find(END)] + PLAIN, "ARCHIVE_PREPENDED"),
    "bytes after": (lambda: PLAIN + b"more", "ARCHIVE_MALFORMED"),
    "cut in the end record": (lambda: PLAIN[:-1], "ARCHIVE_TRUNCATED"),
    "cut in the directory": (lambda: PLAIN[: PLAIN.find(HEADER) + 20], "ARCHIVE_TRUNCATED"),
    "cut in the data": (lambda: PLAIN[:60], "ARCHIVE_TRUNCATED"),
    "cut after the first bytes": (lambda: PLAIN[:4], "ARCHIVE_TRUNCATED"),
    "damaged data": (lambda: patched(PLAIN, b"a.txt", 5, b"\xff" * 8), "ARCHIVE_MALFORMED"),
    "a wide size that is missing": (lambda: patched(PLAIN, HEADER, 24, b"\xff" * 4), "ARCHIVE_MALFORMED"),
}


def test_there_are_at_least_forty() -> None:
    assert len(HOSTILE) >= 40


@cases(("build", "code"), HOSTILE.values())
def test_it_is_refused_with_its_code_in_bounded_time_and_memory(build: Callable[[], bytes], code: str) -> None:
    file = io.BytesIO(build())
    tracemalloc.start()
    began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    try:
        with pytest.raises(ArchiveError) as caught:
            read_contract_entry(file, LIMITS)
        used = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert {finding.code for finding in caught.value.findings} == {code}
    assert used < MEMORY
    assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < CPU_SECONDS
    assert len(caught.value.findings) <= 101


def test_the_entries_of_nested_archives_count_too() -> None:
    data = stored(*((f"{n}.zip", stored(*((f"{m}", b"") for m in range(26)))) for n in range(4)))
    with pytest.raises(ArchiveError) as caught:
        read_contract_entry(io.BytesIO(data), Limits(entries=100))
    assert [(finding.code, finding.field) for finding in caught.value.findings] == [
        ("ARCHIVE_TOO_MANY_ENTRIES", "3.zip")
    ]


class Streamed(io.BytesIO):
    """Prevents zipfile from seeking, so that it writes sizes after each entry."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: int) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def streamed() -> bytes:
    buffer = Streamed()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"text" * 100)
        file.writestr(CONTRACT_ENTRY, b"{}")
    return buffer.getvalue()


def zip64() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open(named("wide"), "w", force_zip64=True) as entry:
            entry.write(b"text" * 100)
        file.writestr(CONTRACT_ENTRY, b"{}")
    return buffer.getvalue()


CONTRACT = (CONTRACT_ENTRY, b"{}")
HARMLESS: dict[str, Callable[[], bytes]] = {
    "sizes behind the data": streamed,
    "zip64": zip64,
    "folders": lambda: zipped((named("a/", mode=stat.S_IFDIR), b""), ("a/b", b"x"), CONTRACT),
    "archives inside": lambda: stored(("lib/a.jar", stored(("b.jar", PLAIN))), CONTRACT),
    "a compressed archive inside": lambda: zipped(("lib/a.jar", PLAIN), CONTRACT),
    "an executable inside": lambda: zipped(("tool", b"\x7fELF" + bytes(100) + PLAIN), CONTRACT),
    "empty files": lambda: zipped(("a", b""), ("b", b""), CONTRACT),
    "a large file of zeros": lambda: zipped(("zeros", bytes(15 * MEGABYTE)), CONTRACT),
    "a file that begins like an archive": lambda: zipped(("odd", LOCAL + b"but is none"), CONTRACT),
}


@cases("build", HARMLESS.values())
def test_an_unusual_but_harmless_archive_is_read(build: Callable[[], bytes]) -> None:
    assert read_contract_entry(io.BytesIO(build()), LIMITS) == b"{}"


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


@cases("entries", [0, 1, 100, 65535])
def test_only_the_end_of_a_file_is_read_to_find_its_directory(entries: int) -> None:
    file = Sparse(struct.pack("<4s4H2LH", END, 0, 0, entries, entries, 46 * entries, 0, 0))
    stream: BinaryIO = file  # type: ignore[assignment]
    with pytest.raises(ArchiveError):
        read_contract_entry(stream)
    assert file.given < MEGABYTE


def test_only_the_end_of_a_file_is_read_to_find_that_it_is_not_an_archive() -> None:
    file = Sparse(b"the end")
    stream: BinaryIO = file  # type: ignore[assignment]
    assert read_contract_entry(stream) is None
    assert file.given < MEGABYTE
