"""Archives that attack their readers, or in which two readers could find different entries.

Each is refused with its code. A fault in the headers is found before any entry is inflated.
"""

import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial

from tests.cases import cases
from tests.raising import error_of
from tests.unit.wire.archive.conftest import (
    CONTRACT,
    DESCRIPTOR,
    END,
    END64,
    HEADER,
    LOCAL,
    LOCATOR64,
    MEGABYTE,
    WIDE,
    Inflated,
    Member,
    assembled,
    both,
    closed,
    codes,
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
from tests.words import words
from wire.documents.contract import CONTRACT_ENTRY, MAX_CONTRACT_BYTES
from wire.release.directory import ArchiveError

Build = Callable[[], bytes]
Rows = dict[str, list[Build]]
"""Archives by the code of their findings."""

A, B = stored("a", b"first"), deflated("b", b"second" * 9)
PLAIN = assembled(A, CONTRACT, B)
TEXTS = zipped(("a.txt", b"some text " * 20), ("b.txt", b"other text " * 20))
packed = partial(zipped, method=zipfile.ZIP_STORED)
WIDE_SIZES = struct.pack("<HHQQ", 1, 16, B.size, len(B.packed))
WIDE_SIZE = struct.pack("<HHQ", 1, 8, A.size)
SECOND_NAME = struct.pack("<HHBL", 0x7075, 6, 1, zlib.crc32(b"a")) + b"x"
SET_TO_9 = {"end": (4, 6, 8, 12, 16), "wide": (0, 4, 16, 20, 24, 32, 40, 48), "locator": (4, 8, 16)}


def chain(depth: int) -> bytes:
    data = zipped(("leaf.txt", b"leaf"))
    for number in range(depth):
        data = packed((f"level-{number}.zip", data))
    return data


@cache
def zeros(megabytes: int) -> Member:
    return deflated("zeros", bytes(megabytes * MEGABYTE))


def copies(member: Member, count: int) -> bytes:
    return assembled(*(replace(member, name=b"%d" % number) for number in range(count)))


IN_THE_DATA: Rows = {
    "ARCHIVE_SIZE_WRONG": [lambda: assembled(replace(zeros(32), size=1000)), lambda: both(TEXTS, 22, long(5000))],
    "ARCHIVE_CHECKSUM_WRONG": [lambda: both(PLAIN, 14, bytes(4))],
    "ARCHIVE_MALFORMED": [lambda: patched(TEXTS, b"a.txt", 5, b"\xff" * 8)],
    "ARCHIVE_RATIO_TOO_HIGH": [lambda: zipped(("in.zip", assembled(zeros(32))))],
    "ARCHIVE_NESTED_TOO_DEEP": [lambda: chain(3)],
    "ARCHIVE_NAME_CLIMBS_OUT": [lambda: packed(("in.zip", zipped(("../x", b""))))],
}
IN_THE_SIZES: Rows = {
    "ARCHIVE_RATIO_TOO_HIGH": [lambda: zipped((CONTRACT_ENTRY, bytes(MEGABYTE))), lambda: assembled(A, zeros(32), B)],
    "ARCHIVE_UNPACKS_TOO_LARGE": [lambda: copies(zeros(15), 20)],
    "ARCHIVE_CONTRACT_TOO_LARGE": [lambda: zipped((CONTRACT_ENTRY, bytes(MAX_CONTRACT_BYTES + 1)))],
}


def with_gap(before: int) -> bytes:
    """Return an archive with a zero byte before the entry at `before`; 3 is the directory."""
    data, records = b"", b""
    for place, member in enumerate([A, CONTRACT, B]):
        data += bytes(place == before)
        records += member.record(len(data))
        data += member.local
    return closed(data + bytes(before == 3), records, 3)


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


PLACES: Rows = {
    "ARCHIVE_HEADERS_DISAGREE": [
        *(partial(with_gap, before) for before in (0, 2, 3)),
        lambda: assembled(CONTRACT, replace(B, flags=0x8)),  # its data descriptor would lie in the directory
    ],
    "ARCHIVE_ENTRIES_OVERLAP": [
        lambda: assembled(CONTRACT, replace(A, size=A.size + 1, compressed=A.size + 1)),  # ends in the directory
        lambda: assembled(CONTRACT, A, replace(A, name=b"b"), offsets=(0, len(CONTRACT.local), len(CONTRACT.local))),
        inside_an_extra_field,
    ],
}


def described(**changes: object) -> bytes:
    """Return an archive whose middle entry has a data descriptor with its sizes."""
    descriptor = struct.pack("<4s3L", DESCRIPTOR, *B.sizes)
    member = replace(B, flags=0x8, local_sizes=(0, 0, 0), after=descriptor)
    return assembled(CONTRACT, replace(member, **changes), A)  # type: ignore[arg-type]


def wide(**changes: object) -> bytes:
    return assembled(CONTRACT, replace(B, local_sizes=(B.crc, WIDE, WIDE), **changes), A)  # type: ignore[arg-type]


HEADERS: Rows = {
    "ARCHIVE_AMBIGUOUS": [
        lambda: both(PLAIN, 6, short(1 << 5)),
        lambda: patched(PLAIN, HEADER, 6, short(46)),
        lambda: patched(PLAIN, HEADER, 5, b"\x01"),
        lambda: both(PLAIN, 6, short(0x8)),  # stored, with its sizes behind its data
    ],
    "ARCHIVE_HEADERS_DISAGREE": [
        lambda: patched(PLAIN, LOCAL, 6, short(0x800)),
        lambda: patched(PLAIN, LOCAL, 8, short(8)),
        *(partial(patched, PLAIN, LOCAL, offset, long(4)) for offset in (14, 18, 22)),
        lambda: patched(PLAIN, LOCAL, 30, b"A"),
        lambda: described(after=b""),
        *(partial(patched, described(), DESCRIPTOR, offset, b"\x7e") for offset in (4, 8, 12)),
        *(partial(described, local_sizes=sizes) for sizes in ((1, 0, 0), (B.crc, 0, B.size))),
    ],
    "ARCHIVE_NOT_A_FILE": [
        lambda: zipped((named("a/", mode=stat.S_IFDIR), b"x")),
        lambda: zipped((named("a/", mode=stat.S_IFREG), b"")),
        *(partial(zipped, (named("a", mode=mode), b"")) for mode in (stat.S_IFCHR, stat.S_IFDIR, stat.S_IFLNK | 0o777)),
        lambda: patched(PLAIN, HEADER, 38, long(0x10)),  # DOS calls it a folder
    ],
    "ARCHIVE_ENCRYPTED": [partial(both, TEXTS, 6, flags) for flags in (b"\x01\0", b"\x40\0", b"\0\x20")],
    "ARCHIVE_METHOD_UNSUPPORTED": [lambda: zipped((named("a", method=zipfile.ZIP_LZMA), b"x"))],
    "ARCHIVE_MALFORMED": [
        lambda: patched(PLAIN, HEADER, 34, short(1)),  # another disk
        lambda: assembled(replace(A, extra=WIDE_SIZE)),
        lambda: wide(local_extra=WIDE_SIZE),
        lambda: wide(local_extra=2 * WIDE_SIZES),
        lambda: assembled(replace(A, extra=SECOND_NAME)),
        lambda: assembled(replace(A, local_extra=SECOND_NAME)),
        lambda: assembled(replace(A, extra=b"UT\x09\0")),
        lambda: assembled(replace(A, name="é".encode())),
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
    lambda: patched(PLAIN, HEADER, 5, b"\x03"),
    lambda: both(PLAIN, 6, short(0x800)),
    lambda: patched(PLAIN, HEADER, 6, short(45)),
]


NAMES = {
    "ARCHIVE_DUPLICATE_NAME": ["a", "a/", CONTRACT_ENTRY],
    "ARCHIVE_NAME_UNSAFE": [
        *words(r"./b b/./c b//c b\c b;1 b/c;12"),
        *("", "b\0c", "b\u202ec", "b\u00a0c", CONTRACT_ENTRY.upper()),
        CONTRACT_ENTRY.replace("pipeline/", "Pipeline/"),
        f"{CONTRACT_ENTRY[:-4]}JSON",
        "META-INF/pipeline/python.j\u017fon",
    ],
    "ARCHIVE_NAME_ABSOLUTE": ["/b", "C:b"],
    "ARCHIVE_NAME_CLIMBS_OUT": ["..", "../b", "b/..", "b/../c"],
    "ARCHIVE_NAME_TOO_LONG": ["n" * 1025],
}
HARMLESS_NAMES = [*words("b/ b/c .b ..b b/... b;1c é/ü Cc:b meta-inf/a META-INF/pipeline/A"), "n" * 1024]


def with_name(name: str) -> bytes:
    return assembled(CONTRACT, A, Member(name.encode(), b"", 0, 0, flags=0x800))


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


ENDS: Rows = {
    "ARCHIVE_MALFORMED": [
        *(partial(commented, comment) for comment in (END + bytes(18), b"x" + END, END + b"\xff" * 40)),
        lambda: PLAIN + b"x",
        lambda: marked_wide(wide_end()) + b"x",
        lambda: b"MZ" + marked_wide(wide_end()) + b"x",
        *(partial(wide_end, **{f"{record}_{offset}": 9}) for record, offsets in SET_TO_9.items() for offset in offsets),
        lambda: wide_end(end_8=2, end_10=2),
        lambda: patched(PLAIN, HEADER, 32, short(3), last=True),  # a comment of the last record that is not there
        *(partial(patched, PLAIN, END, 8, short(number) * 2) for number in (2, 5)),
    ],
    "ARCHIVE_PREPENDED": [
        lambda: b"MZ" + bytes(500) + PLAIN,
        lambda: PLAIN[: PLAIN.find(END)] + PLAIN,
        lambda: patched(PLAIN, END, 8, bytes(8)),  # an empty directory after entries
    ],
    "ARCHIVE_TRUNCATED": [
        lambda: PLAIN[:-1],
        lambda: PLAIN[:60],
        lambda: PLAIN[:4],
        *(partial(bytes.__add__, beginning, bytes(100)) for beginning in (DESCRIPTOR, b"PK00")),
    ],
}


def rows(*tables: Rows) -> Iterator[tuple[Build, str]]:
    return ((build, code) for table in tables for code, builds in table.items() for build in builds)


@cases(("build", "code"), rows(IN_THE_DATA))
def test_a_fault_in_the_data_is_refused(build: Build, code: str) -> None:
    assert codes(build()) == {code}


@cases(("build", "code"), rows(IN_THE_SIZES, PLACES, HEADERS, ENDS))
def test_a_wrong_header_is_refused_before_any_entry_is_inflated(inflated: Inflated, build: Build, code: str) -> None:
    data, before = build(), inflated.total
    assert codes(data) == {code}
    assert inflated.total == before


@cases(("name", "code"), [(name, code) for code, names in NAMES.items() for name in names])
def test_a_name_that_leads_elsewhere_or_that_readers_change_is_refused(name: str, code: str) -> None:
    assert codes(with_name(name)) == {code}


@cases("build", [*ACCEPTED, lambda: marked_wide(wide_end()), *(partial(with_name, name) for name in HARMLESS_NAMES)])
def test_an_archive_that_all_readers_understand_alike_is_accepted(build: Build) -> None:
    assert read(build()) == b"{}"


@cases(
    ("data", "expected"),
    [
        (with_name("b\0c"), [("ARCHIVE_NAME_UNSAFE", "b\\u0000c")]),
        (zipped(("/a", b""), ("b/..", b"")), [("ARCHIVE_NAME_ABSOLUTE", "/a"), ("ARCHIVE_NAME_CLIMBS_OUT", "b/..")]),
        (packed(("in.zip", zipped(("../x", b"")))), [("ARCHIVE_NAME_CLIMBS_OUT", "in.zip!../x")]),
    ],
)
def test_findings_name_their_entry_and_all_are_reported(data: bytes, expected: list[tuple[str, str]]) -> None:
    assert [(finding.code, finding.field) for finding in error_of(ArchiveError, read, data).findings] == expected
