"""Archives in which two readers could find different entries. Each difference alone is refused with its code."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from tests.cases import cases
from tests.unit.wire.archive.archive_readers.mutations import with_zip64_end
from tests.unit.wire.archive.test_hostile_archives import both, named, patched, streamed, zipped
from tests.unit.wire.archive.zips import (
    DESCRIPTOR,
    END,
    END64,
    HEADER,
    LOCAL,
    LOCATOR64,
    WIDE,
    Member,
    assembled,
    closed,
    deflated,
    stored,
)
from wire.archive.reader import ArchiveError, read_contract_entry
from wire.documents.contract import CONTRACT_ENTRY

CONTRACT = stored(CONTRACT_ENTRY, b"{}")
A, B = stored("a", b"first"), deflated("b", b"second" * 9)
PLAIN = assembled(A, CONTRACT, B)
Build = Callable[[], bytes]


def read(data: bytes) -> bytes | None:
    return read_contract_entry(io.BytesIO(data))


def codes(data: bytes) -> set[str]:
    with pytest.raises(ArchiveError) as caught:
        read(data)
    return {finding.code for finding in caught.value.findings}


def short(value: int) -> bytes:
    return struct.pack("<H", value)


def long(value: int) -> bytes:
    return struct.pack("<L", value)


# --- where entries lie ---


def hidden(*places: int) -> bytes:
    """Return an archive with four entries whose directory omits those at `places`."""
    members = [A, CONTRACT, B, stored("c", b"third")]
    data, records = b"", b""
    for place, member in enumerate(members):
        records += b"" if place in places else member.record(len(data))
        data += member.local
    return closed(data, records, len(members) - len(places))


def gap(before: int, size: int = 1) -> bytes:
    """Return an archive with `size` zero bytes before the entry at `before`; 3 is the directory."""
    data, records = b"", b""
    for place, member in enumerate([A, CONTRACT, B]):
        data += bytes(size) * (place == before)
        records += member.record(len(data))
        data += member.local
    return closed(data + bytes(size) * (before == 3), records, 3)


def over_the_directory(size: int) -> bytes:
    """Return an archive whose last entry extends `size` bytes into the directory."""
    last = stored("last", b"some bytes")
    return assembled(CONTRACT, replace(last, size=last.size + size, compressed=last.size + size))


def descriptor_over_the_directory() -> bytes:
    """Return an archive whose last entry ends at the directory, so that its data descriptor would lie in it."""
    return assembled(CONTRACT, replace(B, flags=0x8))


def inside_an_extra_field() -> bytes:
    """Return an archive with an entry inside the local extra field of another; the data of both ends together.

    The directory has no length of the local extra field, so by the directory alone the second follows the first.
    """
    second, room = stored("second", b"xy" + b"shared"), bytes(16)
    head = room + second.local[: -len(b"shared")]
    extra = struct.pack("<HH", 0xCAFE, len(head)) + head
    first = replace(stored("first", b"shared"), local_extra=extra)
    offset = len(CONTRACT.local)
    place = offset + 30 + len(b"first") + 4 + len(room)
    data = CONTRACT.local + first.local
    records = CONTRACT.record(0) + first.record(offset) + second.record(place)
    return closed(data, records, 3)


LAYOUTS: dict[str, tuple[Build, str]] = {
    "the first entry is hidden": (lambda: hidden(0), "ARCHIVE_HEADERS_DISAGREE"),
    "one in the middle is hidden": (lambda: hidden(2), "ARCHIVE_HEADERS_DISAGREE"),
    "the last entry is hidden": (lambda: hidden(3), "ARCHIVE_HEADERS_DISAGREE"),
    "the last two entries are hidden": (lambda: hidden(2, 3), "ARCHIVE_HEADERS_DISAGREE"),
    "a byte before the first entry": (lambda: gap(0), "ARCHIVE_HEADERS_DISAGREE"),
    "a byte between two entries": (lambda: gap(2), "ARCHIVE_HEADERS_DISAGREE"),
    "a byte before the directory": (lambda: gap(3), "ARCHIVE_HEADERS_DISAGREE"),
    "an entry reaches one byte into the directory": (lambda: over_the_directory(1), "ARCHIVE_ENTRIES_OVERLAP"),
    "an entry covers a record of the directory": (lambda: over_the_directory(50), "ARCHIVE_ENTRIES_OVERLAP"),
    "an entry reaches beyond the file": (lambda: over_the_directory(5000), "ARCHIVE_ENTRIES_OVERLAP"),
    "a data descriptor would lie in the directory": (descriptor_over_the_directory, "ARCHIVE_HEADERS_DISAGREE"),
    "an entry lies inside the local header of another": (inside_an_extra_field, "ARCHIVE_ENTRIES_OVERLAP"),
    "two records of one entry": (
        lambda: assembled(CONTRACT, A, replace(A, name=b"b"), offsets=(0, len(CONTRACT.local), len(CONTRACT.local))),
        "ARCHIVE_ENTRIES_OVERLAP",
    ),
}


@cases(("build", "code"), LAYOUTS.values())
def test_entries_fill_the_file_up_to_the_directory_and_none_lies_elsewhere(build: Build, code: str) -> None:
    assert codes(build()) == {code}


# --- the headers of one entry ---


def described(**changes: object) -> bytes:
    """Return an archive whose middle entry has a data descriptor with its sizes."""
    descriptor = struct.pack("<4s3L", DESCRIPTOR, *B.sizes)
    member = replace(B, flags=0x8, local_sizes=(0, 0, 0), after=descriptor)
    return assembled(CONTRACT, replace(member, **changes), A)  # type: ignore[arg-type]


def with_changed_descriptor(offset: int) -> bytes:
    """Return the same archive with a changed byte in the data descriptor."""
    return patched(described(), DESCRIPTOR, offset, b"\x7e")


WIDE_SIZES = struct.pack("<HHQQ", 1, 16, B.size, len(B.packed))
HEADERS: dict[str, tuple[Build, str]] = {
    **{
        f"flag {1 << bit:#06x}": (partial(both, PLAIN, 6, short(1 << bit)), "ARCHIVE_AMBIGUOUS")
        for bit in (4, 5, 7, 8, 9, 10, 12, 14, 15)
    },
    **{
        f"{what} in the local header alone": (partial(patched, PLAIN, LOCAL, offset, value), "ARCHIVE_HEADERS_DISAGREE")
        for what, offset, value in (
            ("a flag", 6, short(0x800)),
            ("another method", 8, short(8)),
            ("another checksum", 14, long(1)),
            ("another compressed size", 18, long(4)),
            ("another size", 22, long(4)),
            ("another name", 30, b"A"),
            ("a longer name", 26, short(2)),
        )
    },
    "a newer version": (lambda: patched(PLAIN, HEADER, 6, short(46)), "ARCHIVE_AMBIGUOUS"),
    "the newest version": (lambda: patched(PLAIN, HEADER, 6, short(63)), "ARCHIVE_AMBIGUOUS"),
    "the Amiga": (lambda: patched(PLAIN, HEADER, 5, b"\x01"), "ARCHIVE_AMBIGUOUS"),
    "VMS": (lambda: patched(PLAIN, HEADER, 5, b"\x02"), "ARCHIVE_AMBIGUOUS"),
    "an unknown system": (lambda: patched(PLAIN, HEADER, 5, b"\xff"), "ARCHIVE_AMBIGUOUS"),
    "stored, with its sizes behind its data": (lambda: both(PLAIN, 6, short(0x8)), "ARCHIVE_AMBIGUOUS"),
    "a folder with content": (lambda: zipped((named("a/", mode=stat.S_IFDIR), b"x")), "ARCHIVE_NOT_A_FILE"),
    "a folder that is a file": (lambda: zipped((named("a/", mode=stat.S_IFREG), b"")), "ARCHIVE_NOT_A_FILE"),
    "a file that DOS calls a folder": (lambda: patched(PLAIN, HEADER, 38, long(0x10)), "ARCHIVE_NOT_A_FILE"),
    "a socket": (lambda: zipped((named("a", mode=stat.S_IFSOCK), b"")), "ARCHIVE_NOT_A_FILE"),
    "another disk": (lambda: patched(PLAIN, HEADER, 34, short(1)), "ARCHIVE_MALFORMED"),
    "no data descriptor": (lambda: described(after=b""), "ARCHIVE_HEADERS_DISAGREE"),
    **{
        f"another {what} in the data descriptor": (partial(with_changed_descriptor, offset), "ARCHIVE_HEADERS_DISAGREE")
        for what, offset in (("signature", 0), ("checksum", 4), ("compressed size", 8), ("size", 12))
    },
    **{
        f"local sizes of {sizes} before a data descriptor": (
            partial(described, local_sizes=sizes),
            "ARCHIVE_HEADERS_DISAGREE",
        )
        for sizes in ((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, len(B.packed), B.size), (B.crc, 0, B.size))
    },
    "zip64 sizes and a data descriptor": (
        lambda: described(local_sizes=(B.crc, WIDE, WIDE), local_extra=WIDE_SIZES),
        "ARCHIVE_HEADERS_DISAGREE",
    ),
    "zip64 sizes that no header marks": (
        lambda: assembled(replace(A, extra=struct.pack("<HHQ", 1, 8, A.size))),
        "ARCHIVE_MALFORMED",
    ),
    "zip64 sizes that the local header does not mark": (
        lambda: assembled(replace(A, local_extra=struct.pack("<HHQ", 1, 8, A.size))),
        "ARCHIVE_MALFORMED",
    ),
    "one zip64 size for two marks": (
        lambda: assembled(replace(B, local_sizes=(B.crc, WIDE, WIDE), local_extra=struct.pack("<HHQ", 1, 8, B.size))),
        "ARCHIVE_MALFORMED",
    ),
    "two zip64 fields": (
        lambda: assembled(replace(B, local_sizes=(B.crc, WIDE, WIDE), local_extra=2 * WIDE_SIZES)),
        "ARCHIVE_MALFORMED",
    ),
    "a second name": (
        lambda: assembled(replace(A, extra=struct.pack("<HHBL", 0x7075, 6, 1, zlib.crc32(b"a")) + b"x")),
        "ARCHIVE_MALFORMED",
    ),
    "a second name in the local header": (
        lambda: assembled(replace(A, local_extra=struct.pack("<HHBL", 0x7075, 6, 1, zlib.crc32(b"a")) + b"x")),
        "ARCHIVE_MALFORMED",
    ),
    "a name in another alphabet": (lambda: assembled(replace(A, name=b"\xe9")), "ARCHIVE_MALFORMED"),
    "a name that is UTF-8 and not marked": (lambda: assembled(replace(A, name="é".encode())), "ARCHIVE_MALFORMED"),
    "a name that is marked and not UTF-8": (
        lambda: assembled(replace(A, name=b"\xe9", flags=0x800)),
        "ARCHIVE_MALFORMED",
    ),
}


@cases(("build", "code"), HEADERS.values())
def test_a_header_that_readers_understand_differently_is_refused(build: Build, code: str) -> None:
    assert codes(build()) == {code}


ACCEPTED: dict[str, Build] = {
    "plain": lambda: PLAIN,
    "sizes behind the data": described,
    "the same sizes before and behind the data": lambda: described(local_sizes=B.sizes),
    "a stream": streamed,
    "zip64 sizes": lambda: assembled(CONTRACT, replace(B, local_sizes=(B.crc, WIDE, WIDE), local_extra=WIDE_SIZES), A),
    "a zip64 end record": lambda: with_zip64_end(PLAIN),
    "an unknown extra field": lambda: assembled(CONTRACT, replace(A, extra=struct.pack("<HH", 0xCAFE, 0))),
    **{f"system {host}": partial(patched, PLAIN, HEADER, 5, bytes([host])) for host in (0, 3, 10, 14, 19)},
    **{f"flag {flag:#x}": partial(both, PLAIN, 6, short(flag)) for flag in (0x2, 0x4, 0x800)},
    "version 4.5": lambda: patched(PLAIN, HEADER, 6, short(45)),
}


@cases("build", ACCEPTED.values())
def test_a_header_that_all_readers_understand_alike_is_accepted(build: Build) -> None:
    assert read(build()) == b"{}"


# --- names ---

NAMES: dict[str, list[str]] = {
    "ARCHIVE_DUPLICATE_NAME": ["a", "a/"],
    "ARCHIVE_NAME_UNSAFE": [
        *("", "./b", "b/.", "b/./c", "b//c", "b\\c", "b;1", "b;", "b/c;12"),
        *("b\n", "b\x7f", "b\x1b[2J", "b\u200bc", "b\u202ec", "b\ufeff", "b\u2028", "\ue000", "b\u00a0c"),
    ],
    "ARCHIVE_NAME_ABSOLUTE": ["/b", "//b", "C:b", "z:/b"],
    "ARCHIVE_NAME_CLIMBS_OUT": ["..", "../b", "b/..", "b/../c", "b/../../c", "../"],
}


@cases(("name", "code"), [(name, code) for code, names in NAMES.items() for name in names])
def test_a_name_that_leads_elsewhere_or_that_readers_change_is_refused(name: str, code: str) -> None:
    member = Member(name.encode(), b"", 0, 0, flags=0x800)
    assert codes(assembled(CONTRACT, A, member)) == {code}


@cases("name", ["b", "b/", "b/c", ".b", "..b", "b..", "b/...", "b;c", "b;1c", "é/ü", "Cc:b", "b c"])
def test_a_harmless_name_is_accepted(name: str) -> None:
    assert read(assembled(CONTRACT, A, Member(name.encode(), b"", 0, 0, flags=0x800))) == b"{}"


def test_the_findings_about_names_are_bounded() -> None:
    members = [Member(f"/{number}".encode(), b"", 0, 0) for number in range(600)]
    with pytest.raises(ArchiveError) as caught:
        read(assembled(*members))
    assert len(caught.value.findings) == 501


# --- the end of the file ---


def with_wide_end(**changes: int) -> bytes:
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


def cut_short(beginning: bytes) -> bytes:
    return beginning + bytes(100)


def commented(comment: bytes) -> bytes:
    at = PLAIN.find(HEADER)
    return closed(PLAIN[:at], PLAIN[at : PLAIN.find(END)], 3, comment)


ENDS: dict[str, tuple[Build, str]] = {
    "a whole end record in the comment": (lambda: commented(END + bytes(18)), "ARCHIVE_MALFORMED"),
    "the beginning of an end record in the comment": (lambda: commented(b"x" + END), "ARCHIVE_MALFORMED"),
    "an end record that fits nothing in the comment": (lambda: commented(END + b"\xff" * 40), "ARCHIVE_MALFORMED"),
    "a byte after the end": (lambda: PLAIN + b"x", "ARCHIVE_MALFORMED"),
    "a byte after the end of a zip64 archive": (lambda: marked_wide(with_wide_end()) + b"x", "ARCHIVE_MALFORMED"),
    "an executable before and a byte after": (lambda: b"MZ" + PLAIN + b"x", "ARCHIVE_MALFORMED"),
    "an executable before and a byte after a zip64 archive": (
        lambda: b"MZ" + marked_wide(with_wide_end()) + b"x",
        "ARCHIVE_MALFORMED",
    ),
    **{
        f"an end record that is not that of zip64 at {offset}": (
            partial(with_wide_end, **{f"end_{offset}": 9}),
            "ARCHIVE_MALFORMED",
        )
        for offset in (4, 6, 8, 12, 16)
    },
    "another number of entries on all disks": (lambda: with_wide_end(end_8=2, end_10=2), "ARCHIVE_MALFORMED"),
    **{
        f"a zip64 end record with another byte at {offset}": (
            partial(with_wide_end, **{f"wide_{offset}": 9}),
            "ARCHIVE_MALFORMED",
        )
        for offset in (0, 4, 16, 20, 24, 32, 40, 48)
    },
    **{
        f"a locator with another byte at {offset}": (
            partial(with_wide_end, **{f"locator_{offset}": 9}),
            "ARCHIVE_MALFORMED",
        )
        for offset in (4, 8, 16)
    },
    "a comment of the last record that is not there": (
        lambda: patched(PLAIN, HEADER, 32, short(3), last=True),
        "ARCHIVE_MALFORMED",
    ),
    "a record that the end record does not count": (lambda: patched(PLAIN, END, 8, short(2) * 2), "ARCHIVE_MALFORMED"),
    "an empty directory after entries": (lambda: patched(PLAIN, END, 8, bytes(8)), "ARCHIVE_PREPENDED"),
    **{
        f"a file that begins with {beginning!r} and has no end": (partial(cut_short, beginning), "ARCHIVE_TRUNCATED")
        for beginning in (LOCAL, DESCRIPTOR, b"PK00")
    },
}


@cases(("build", "code"), ENDS.values())
def test_a_file_whose_end_readers_find_in_different_places_is_refused(build: Build, code: str) -> None:
    assert codes(build()) == {code}
