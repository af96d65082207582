"""Archives that attack their readers, or in which two readers could find different entries.

Each is refused with its code, in bounded time and memory. A fault in the headers is found before any entry is inflated.
"""

from __future__ import annotations

import io
import resource
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cache, partial

import pytest

from tests.cases import cases
from tests.unit.wire.archive.inflating import Inflated, counting
from tests.unit.wire.archive.zips import (
    CONTRACT,
    DESCRIPTOR,
    END,
    END64,
    HEADER,
    LIMITS,
    LOCAL,
    LOCATOR64,
    MEGABYTE,
    WIDE,
    Member,
    assembled,
    both,
    closed,
    deflated,
    directory,
    long,
    named,
    patched,
    read,
    short,
    stored,
    with_zip64_end,
    zipped,
)
from wire.archive.reader import ArchiveError, read_contract_entry
from wire.documents.contract import CONTRACT_ENTRY, MAX_CONTRACT_BYTES

Build = Callable[[], bytes]
Rows = dict[str, list[Build]]
"""Archives by the code of their findings."""

MEMORY = 64 * MEGABYTE
CPU_SECONDS = 20.0
"""Far above what any of them takes, and far below what following one would."""
A, B = stored("a", b"first"), deflated("b", b"second" * 9)
PLAIN = assembled(A, CONTRACT, B)
TEXTS = zipped(("a.txt", b"some text " * 20), ("b.txt", b"other text " * 20))
packed = partial(zipped, method=zipfile.ZIP_STORED)


# --- bombs, and faults that only the data shows ---


def chain(depth: int, *, method: int = zipfile.ZIP_STORED) -> bytes:
    data = zipped(("leaf.txt", b"leaf"))
    for number in range(depth):
        data = zipped((f"level-{number}.zip", data), method=method)
    return data


@cache
def zeros(megabytes: int) -> Member:
    return deflated("zeros", bytes(megabytes * MEGABYTE))


def copies(member: Member, count: int) -> bytes:
    return assembled(*(replace(member, name=b"%d" % number) for number in range(count)))


def bomb() -> bytes:
    return assembled(zeros(32))


def lying(size: int) -> bytes:
    """Return an entry that unpacks to 32 MB, while both headers declare `size`."""
    return assembled(replace(zeros(32), size=size))


IN_THE_DATA: Rows = {
    "ARCHIVE_SIZE_WRONG": [
        *(lambda: lying(1000), lambda: lying(0)),
        lambda: both(TEXTS, 22, long(5000)),
        lambda: both(packed(("a", b"12345678")), 22, long(7)),
    ],
    "ARCHIVE_CHECKSUM_WRONG": [lambda: both(PLAIN, 14, bytes(4))],
    "ARCHIVE_MALFORMED": [lambda: patched(TEXTS, b"a.txt", 5, b"\xff" * 8)],
    "ARCHIVE_RATIO_TOO_HIGH": [lambda: packed(("in.zip", bomb())), lambda: zipped(("in.zip", bomb()))],
    "ARCHIVE_UNPACKS_TOO_LARGE": [lambda: copies(stored("", assembled(zeros(15))), 20)],
    "ARCHIVE_NESTED_TOO_DEEP": [*(lambda: chain(3), lambda: chain(40)), lambda: chain(12, method=zipfile.ZIP_DEFLATED)],
    "ARCHIVE_NESTED_TOO_LARGE": [lambda: copies(deflated("", assembled(stored("x", bytes(15 * MEGABYTE)))), 5)],
    "ARCHIVE_NAME_CLIMBS_OUT": [lambda: packed(("in.zip", zipped(("../x", b""))))],
}
IN_THE_SIZES: Rows = {
    "ARCHIVE_RATIO_TOO_HIGH": [
        lambda: zipped((CONTRACT_ENTRY, bytes(MEGABYTE))),
        lambda: assembled(A, zeros(32), B),
        lambda: both(TEXTS, 22, long(0xFFFFFFFE)),
    ],
    "ARCHIVE_UNPACKS_TOO_LARGE": [lambda: copies(zeros(15), 20)],
    "ARCHIVE_CONTRACT_TOO_LARGE": [lambda: zipped((CONTRACT_ENTRY, bytes(MAX_CONTRACT_BYTES + 1)))],
}


# --- where entries lie ---


def omitting(*places: int) -> bytes:
    """Return an archive with four entries whose directory omits those at `places`."""
    members = [A, CONTRACT, B, stored("c", b"third")]
    data, records = b"", b""
    for place, member in enumerate(members):
        records += b"" if place in places else member.record(len(data))
        data += member.local
    return closed(data, records, len(members) - len(places))


def with_gap(before: int) -> bytes:
    """Return an archive with a zero byte before the entry at `before`; 3 is the directory."""
    data, records = b"", b""
    for place, member in enumerate([A, CONTRACT, B]):
        data += bytes(place == before)
        records += member.record(len(data))
        data += member.local
    return closed(data + bytes(before == 3), records, 3)


def over_the_directory(size: int) -> bytes:
    """Return an archive whose last entry extends `size` bytes into the directory."""
    last = stored("last", b"some bytes")
    return assembled(CONTRACT, replace(last, size=last.size + size, compressed=last.size + size))


def inside_an_extra_field() -> bytes:
    """Return an archive with an entry inside the local extra field of another; the data of both ends together.

    The directory has no length of the local extra field, so by the directory alone the second follows the first.
    """
    second, room = stored("second", b"xy" + b"shared"), bytes(16)
    head = room + second.local[: -len(b"shared")]
    first = replace(stored("first", b"shared"), local_extra=struct.pack("<HH", 0xCAFE, len(head)) + head)
    offset = len(CONTRACT.local)
    place = offset + 30 + len(b"first") + 4 + len(room)
    return closed(CONTRACT.local + first.local, directory([CONTRACT, first, second], [0, offset, place]), 3)


def overlapping(names: int) -> bytes:
    """Return an archive whose entries all share the same data, like the most compact bombs."""
    kernel = deflated("000", bytes(MEGABYTE))
    records = [replace(kernel, name=b"%03d" % number) for number in range(names)]
    return closed(kernel.local, directory(records, [0] * names), names)


def quoted() -> bytes:
    """Return an archive whose entries cover each other's local headers."""
    inner = stored("inner", b"x" * 100)
    outer = stored("outer", inner.local)
    return closed(outer.local, directory([outer, inner], [0, 30 + len(b"outer")]), 2)


PLACES: Rows = {
    "ARCHIVE_HEADERS_DISAGREE": [
        *(partial(omitting, *places) for places in ((0,), (2,), (3,), (2, 3))),
        *(partial(with_gap, before) for before in (0, 2, 3)),
        lambda: assembled(CONTRACT, replace(B, flags=0x8)),  # its data descriptor would lie in the directory
        lambda: patched(TEXTS, HEADER, 42, b"\0\0\xff\0", last=True),
    ],
    "ARCHIVE_ENTRIES_OVERLAP": [
        *(partial(over_the_directory, size) for size in (1, 50, 5000)),
        *(partial(overlapping, names) for names in (2, 100)),
        *(inside_an_extra_field, quoted),
        lambda: assembled(CONTRACT, A, replace(A, name=b"b"), offsets=(0, len(CONTRACT.local), len(CONTRACT.local))),
        lambda: patched(TEXTS, HEADER, 42, b"\x05\0\0\0", last=True),
    ],
}


# --- the headers of one entry ---


def described(**changes: object) -> bytes:
    """Return an archive whose middle entry has a data descriptor with its sizes."""
    descriptor = struct.pack("<4s3L", DESCRIPTOR, *B.sizes)
    member = replace(B, flags=0x8, local_sizes=(0, 0, 0), after=descriptor)
    return assembled(CONTRACT, replace(member, **changes), A)  # type: ignore[arg-type]


WIDE_SIZES = struct.pack("<HHQQ", 1, 16, B.size, len(B.packed))
WIDE_SIZE = struct.pack("<HHQ", 1, 8, A.size)
SECOND_NAME = struct.pack("<HHBL", 0x7075, 6, 1, zlib.crc32(b"a")) + b"x"


def wide(**changes: object) -> bytes:
    return assembled(CONTRACT, replace(B, local_sizes=(B.crc, WIDE, WIDE), **changes), A)  # type: ignore[arg-type]


HEADERS: Rows = {
    "ARCHIVE_AMBIGUOUS": [
        *(partial(both, PLAIN, 6, short(1 << bit)) for bit in (4, 5, 7, 8, 9, 10, 12, 14, 15)),
        *(partial(patched, PLAIN, HEADER, 6, short(version)) for version in (46, 63)),
        *(partial(patched, PLAIN, HEADER, 5, system) for system in (b"\x01", b"\x02", b"\xff")),
        lambda: both(PLAIN, 6, short(0x8)),  # stored, with its sizes behind its data
    ],
    "ARCHIVE_HEADERS_DISAGREE": [
        *(partial(patched, PLAIN, LOCAL, 6, short(flags)) for flags in (0x1, 0x800)),
        lambda: patched(PLAIN, LOCAL, 8, short(8)),
        *(partial(patched, PLAIN, LOCAL, offset, long(4)) for offset in (14, 18, 22)),
        lambda: patched(PLAIN, LOCAL, 30, b"A"),
        lambda: patched(PLAIN, LOCAL, 26, short(2)),
        lambda: patched(PLAIN, HEADER, 16, bytes(4)),
        lambda: described(after=b""),
        *(partial(patched, described(), DESCRIPTOR, offset, b"\x7e") for offset in (0, 4, 8, 12)),
        *(
            partial(described, local_sizes=sizes)
            for sizes in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, len(B.packed), B.size), (B.crc, 0, B.size))
        ),
        lambda: described(local_sizes=(B.crc, WIDE, WIDE), local_extra=WIDE_SIZES),
    ],
    "ARCHIVE_NOT_A_FILE": [
        *(
            partial(zipped, (named("a/", mode=mode), body))
            for mode, body in ((stat.S_IFDIR, b"x"), (stat.S_IFREG, b""))
        ),
        *(
            partial(zipped, (named("a", mode=mode), b""))
            for mode in (stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFIFO, stat.S_IFDIR)
        ),
        *(partial(zipped, (named(name, mode=stat.S_IFLNK | 0o777), b"/etc")) for name in ("link", CONTRACT_ENTRY)),
        lambda: patched(PLAIN, HEADER, 38, long(0x10)),  # DOS calls it a folder
    ],
    "ARCHIVE_ENCRYPTED": [partial(both, TEXTS, 6, flags) for flags in (b"\x01\0", b"\x40\0", b"\0\x20")],
    "ARCHIVE_METHOD_UNSUPPORTED": [
        partial(zipped, (named("a", method=method), b"x")) for method in (zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2)
    ],
    "ARCHIVE_MALFORMED": [
        lambda: patched(PLAIN, HEADER, 34, short(1)),  # another disk
        *(lambda: assembled(replace(A, extra=WIDE_SIZE)), lambda: assembled(replace(A, local_extra=WIDE_SIZE))),
        *(lambda: wide(local_extra=WIDE_SIZE), lambda: wide(local_extra=2 * WIDE_SIZES)),
        lambda: patched(TEXTS, HEADER, 24, b"\xff" * 4),
        *(lambda: assembled(replace(A, extra=SECOND_NAME)), lambda: assembled(replace(A, local_extra=SECOND_NAME))),
        lambda: assembled(replace(A, extra=b"UT\x09\0")),
        *(partial(assembled, replace(A, name=name)) for name in (b"\xe9", "é".encode())),
        lambda: assembled(replace(A, name=b"\xe9", flags=0x800)),
    ],
}
ACCEPTED: list[Build] = [
    lambda: PLAIN,
    described,
    lambda: described(local_sizes=B.sizes),
    lambda: wide(local_extra=WIDE_SIZES),
    lambda: with_zip64_end(PLAIN),
    lambda: assembled(CONTRACT, replace(A, extra=struct.pack("<HH", 0xCAFE, 0))),
    *(partial(patched, PLAIN, HEADER, 5, bytes([host])) for host in (0, 3, 10, 14, 19)),
    *(partial(both, PLAIN, 6, short(flag)) for flag in (0x2, 0x4, 0x800)),
    lambda: patched(PLAIN, HEADER, 6, short(45)),
]


# --- names ---

NAMES = {
    "ARCHIVE_DUPLICATE_NAME": ["a", "a/", CONTRACT_ENTRY],
    "ARCHIVE_NAME_UNSAFE": [
        *("", "./b", "b/.", "b/./c", "b//c", "b\\c", "..\\..\\x", "b;1", "b;", "b/c;12", "b\0c"),
        *("b\n", "b\x7f", "b\x1b[2J", "b\u200bc", "b\u202ec", "b\ufeff", "b\u2028", "\ue000", "b\u00a0c"),
    ],
    "ARCHIVE_NAME_ABSOLUTE": ["/b", "//b", "C:b", "z:/b"],
    "ARCHIVE_NAME_CLIMBS_OUT": ["..", "../b", "b/..", "b/../c", "b/../../c", "../"],
    "ARCHIVE_NAME_TOO_LONG": ["n" * 1025, "n" * 60_000],
}
HARMLESS_NAMES = ["b", "b/", "b/c", ".b", "..b", "b..", "b/...", "b;c", "b;1c", "é/ü", "Cc:b", "b c", "n" * 1024]


def with_name(name: str) -> bytes:
    return assembled(CONTRACT, A, Member(name.encode(), b"", 0, 0, flags=0x800))


# --- the end of the file, and what lies around the archive ---


def wide_end(**changes: int) -> bytes:
    """Return PLAIN with a zip64 end record and changed end records: `locator_8=1` sets the locator's byte 8 to 1."""
    data = with_zip64_end(PLAIN)
    for name, value in changes.items():
        record, _, offset = name.partition("_")
        signature = {"locator": LOCATOR64, "wide": END64, "end": END}[record]
        data = patched(data, signature, int(offset), bytes([value]))
    return data


def marked_wide(data: bytes) -> bytes:
    """Return `data` with an end record whose values refer to the zip64 end record."""
    return patched(data, END, 8, b"\xff" * 12)


def commented(comment: bytes) -> bytes:
    at = PLAIN.find(HEADER)
    return closed(PLAIN[:at], PLAIN[at : PLAIN.find(END)], 3, comment)


@cache
def million_records() -> bytes:
    record = struct.pack("<4s6H3L5H2L", HEADER, 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0)
    return b"".join(record + b"%07d" % number for number in range(1_000_000))


def a_million(claimed: int) -> bytes:
    """Return a small archive of a million empty entries, with a directory but without their data."""
    records = million_records()
    end64 = struct.pack("<4sQ2H2L4Q", END64, 44, 45, 45, 0, 0, claimed, claimed, len(records), 0)
    locator = struct.pack("<4sLQL", LOCATOR64, 0, len(records), 1)
    narrow = min(claimed, 0xFFFF)
    return records + end64 + locator + struct.pack("<4s4H2LH", END, 0, 0, narrow, narrow, WIDE, WIDE, 0)


SET_TO_9 = {"end": (4, 6, 8, 12, 16), "wide": (0, 4, 16, 20, 24, 32, 40, 48), "locator": (4, 8, 16)}
ENDS: Rows = {
    "ARCHIVE_MALFORMED": [
        *(partial(commented, comment) for comment in (END + bytes(18), b"x" + END, END + b"\xff" * 40)),
        *(lambda: PLAIN + b"x", lambda: marked_wide(wide_end()) + b"x"),
        *(lambda: b"MZ" + PLAIN + b"x", lambda: b"MZ" + marked_wide(wide_end()) + b"x"),
        *(partial(wide_end, **{f"{record}_{offset}": 9}) for record, offsets in SET_TO_9.items() for offset in offsets),
        lambda: wide_end(end_8=2, end_10=2),
        lambda: patched(PLAIN, HEADER, 32, short(3), last=True),  # a comment of the last record that is not there
        *(partial(patched, PLAIN, END, 8, short(number) * 2) for number in (1, 2, 5)),
        lambda: patched(PLAIN, HEADER, 28, b"\x00\x03"),
        lambda: patched(PLAIN, END, 16, b"\xff\xff\xff\0"),
        lambda: patched(PLAIN, END, 4, b"\x01\0"),
    ],
    "ARCHIVE_PREPENDED": [
        *(lambda: b"MZ" + bytes(500) + PLAIN, lambda: b"\x7fELF" + bytes(1000) + PLAIN),
        *(lambda: b"#!/bin/sh\nrm -rf /\n" + PLAIN, lambda: PLAIN[: PLAIN.find(END)] + PLAIN),
        lambda: patched(PLAIN, END, 8, bytes(8)),  # an empty directory after entries
    ],
    "ARCHIVE_TRUNCATED": [
        *(lambda: PLAIN[:-1], lambda: PLAIN[: PLAIN.find(HEADER) + 20], lambda: PLAIN[:60], lambda: PLAIN[:4]),
        *(partial(bytes.__add__, beginning, bytes(100)) for beginning in (LOCAL, DESCRIPTOR, b"PK00")),
    ],
    "ARCHIVE_TOO_MANY_ENTRIES": [partial(a_million, number) for number in (1_000_000, 100_001)],
    "ARCHIVE_DIRECTORY_TOO_LARGE": [partial(a_million, number) for number in (100_000, 10)],
}


def rows(*tables: Rows) -> Iterator[tuple[Build, str]]:
    return ((build, code) for table in tables for code, builds in table.items() for build in builds)


@pytest.fixture
def inflated(monkeypatch: pytest.MonkeyPatch) -> Inflated:
    return counting(monkeypatch)


def assert_refused(builds: Iterable[tuple[Build, str]]) -> None:
    for build, code in builds:
        data = build()
        tracemalloc.start()
        began = resource.getrusage(resource.RUSAGE_SELF).ru_utime
        try:
            with pytest.raises(ArchiveError) as caught:
                read(data)
            used = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert {finding.code for finding in caught.value.findings} == {code}
        assert all(each.message.startswith("Failed to inspect release artifact: ") for each in caught.value.findings)
        assert used < MEMORY
        assert resource.getrusage(resource.RUSAGE_SELF).ru_utime - began < CPU_SECONDS


@cases(("build", "code"), rows(IN_THE_DATA))
def test_a_fault_in_the_data_is_refused_in_bounded_time_and_memory(build: Build, code: str) -> None:
    assert_refused([(build, code)])


@cases(("build", "code"), rows(IN_THE_SIZES, PLACES, HEADERS, ENDS))
def test_a_fault_in_the_headers_is_refused_before_any_entry_is_inflated(
    inflated: Inflated, build: Build, code: str
) -> None:
    before = inflated.total
    assert_refused([(build, code)])
    assert inflated.total == before


@cases(("name", "code"), [(name, code) for code, names in NAMES.items() for name in names])
def test_a_name_that_leads_elsewhere_or_that_readers_change_is_refused(name: str, code: str) -> None:
    assert_refused([(partial(with_name, name), code)])


@cases("build", [*ACCEPTED, lambda: marked_wide(wide_end()), *(partial(with_name, name) for name in HARMLESS_NAMES)])
def test_an_archive_that_all_readers_understand_alike_is_accepted(build: Build) -> None:
    assert read(build()) == b"{}"


@cases(
    ("data", "expected"),
    [
        (zipped((CONTRACT_ENTRY, b"1"), (CONTRACT_ENTRY, b"2")), [("ARCHIVE_DUPLICATE_NAME", CONTRACT_ENTRY)]),
        (with_name("b\0c"), [("ARCHIVE_NAME_UNSAFE", "b\\u0000c")]),
        (zipped(("/a", b""), ("b/..", b"")), [("ARCHIVE_NAME_ABSOLUTE", "/a"), ("ARCHIVE_NAME_CLIMBS_OUT", "b/..")]),
        (
            patched(zipped((CONTRACT_ENTRY, b"x")), HEADER, 42, b"\xff\0\0\0"),
            [("ARCHIVE_HEADERS_DISAGREE", ""), ("ARCHIVE_HEADERS_DISAGREE", CONTRACT_ENTRY)],
        ),
        (packed(("in.zip", zipped(("../x", b"")))), [("ARCHIVE_NAME_CLIMBS_OUT", "in.zip!../x")]),
        (PLAIN + b"x", [("ARCHIVE_MALFORMED", "")]),
    ],
)
def test_findings_name_their_entry_and_all_are_reported(data: bytes, expected: list[tuple[str, str]]) -> None:
    with pytest.raises(ArchiveError) as caught:
        read_contract_entry(io.BytesIO(data), LIMITS)
    assert [(finding.code, finding.field) for finding in caught.value.findings] == expected


def test_the_findings_about_names_are_bounded() -> None:
    with pytest.raises(ArchiveError) as caught:
        read(assembled(*(Member(f"/{number}".encode(), b"", 0, 0) for number in range(600))))
    assert len(caught.value.findings) == 501
