"""Reads contract entries of valid and hostile archives."""

from __future__ import annotations

import io
import stat
import struct
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cases import cases
from wire.archive.reader import ArchiveError, Limits, read_contract_entry
from wire.documents.contract import CONTRACT_ENTRY, MAX_CONTRACT_BYTES

BODY = b'{"schemaVersion": 1}'
END = b"PK\x05\x06"
HEADER = b"PK\x01\x02"
LOCAL = b"PK\x03\x04"


def entry(name: str, *, mode: int = stat.S_IFREG | 0o644, method: int = zipfile.ZIP_DEFLATED) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    info.compress_type = method
    return info


def archive(*entries: tuple[str | zipfile.ZipInfo, bytes], comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in entries:
            file.writestr(name, body)
        file.comment = comment
    return buffer.getvalue()


SOUND = archive(("a/b.txt", b"x"), (CONTRACT_ENTRY, BODY))


def read(data: bytes, limits: Limits | None = None) -> bytes | None:
    return read_contract_entry(io.BytesIO(data), limits or Limits())


def patched(data: bytes, signature: bytes, offset: int, value: bytes, *, last: bool = True) -> bytes:
    """Return `data` with bytes replaced behind the last (or first) record of that signature."""
    at = (data.rfind(signature) if last else data.find(signature)) + offset
    return data[:at] + value + data[at + len(value) :]


def renamed(data: bytes, old: str, new: str) -> bytes:
    assert len(old) == len(new)
    return data.replace(old.encode(), new.encode())


def with_second_name(body: bytes) -> bytes:
    """Return an archive whose first entry claims, in an Info-ZIP Unicode path field, to be the contract."""
    name = "META-INF/other.json"
    payload = struct.pack("<BL", 1, zlib.crc32(name.encode())) + CONTRACT_ENTRY.encode()
    return with_extra(struct.pack("<HH", 0x7075, len(payload)) + payload, name, body)


def with_extra(extra: bytes, name: str = "a", body: bytes = b"") -> bytes:
    info = entry(name)
    info.extra = extra
    return archive((info, body), (CONTRACT_ENTRY, BODY))


@cases(
    "data",
    [
        SOUND,
        archive((entry(CONTRACT_ENTRY, method=zipfile.ZIP_STORED), BODY)),
        archive((entry(CONTRACT_ENTRY, mode=0), BODY)),
        archive(("META-INF/", b""), (CONTRACT_ENTRY, BODY), comment=b"a comment"),
        archive(("été/ü.txt", b"x"), (CONTRACT_ENTRY, BODY)),
        archive((CONTRACT_ENTRY, BODY), (entry("lib.jar", method=zipfile.ZIP_STORED), archive(("a", b"x")))),
    ],
)
def test_the_contract_is_read(data: bytes) -> None:
    assert read(data) == BODY


@cases("data", [b"", b"MZ" + bytes(100_000), END, bytes(50) + END + bytes(18) + b"more", b"text " + END + b"\xff" * 40])
def test_a_file_that_is_no_archive_has_no_contract(data: bytes) -> None:
    assert read(data) is None


@cases("data", [archive(), archive(("a", b"x")), archive(("x/" + CONTRACT_ENTRY, BODY))])
def test_an_archive_without_the_entry_has_no_contract(data: bytes) -> None:
    assert read(data) is None


def test_an_archive_of_more_entries_than_a_plain_end_record_counts_is_read() -> None:
    assert read(archive(*((f"f{number}", b"") for number in range(66_000)), (CONTRACT_ENTRY, BODY))) == BODY


def test_a_file_on_disk_is_read(tmp_path: Path) -> None:
    path = tmp_path / "app.jar"
    path.write_bytes(SOUND)
    with path.open("rb") as file:
        assert read_contract_entry(file) == BODY


def doubled() -> bytes:
    with pytest.warns(UserWarning, match="Duplicate name"):
        return archive((CONTRACT_ENTRY, BODY), (CONTRACT_ENTRY, b"{}"))


HOSTILE: list[tuple[str, Callable[[], bytes], list[tuple[str, str]]]] = [
    ("a duplicate contract", doubled, [("ARCHIVE_DUPLICATE_NAME", CONTRACT_ENTRY)]),
    ("an absolute name", lambda: archive(("/etc/passwd", b"")), [("ARCHIVE_NAME_ABSOLUTE", "/etc/passwd")]),
    ("a drive", lambda: archive(("C:evil", b"")), [("ARCHIVE_NAME_ABSOLUTE", "C:evil")]),
    ("a way out", lambda: archive(("a/../../b", b"")), [("ARCHIVE_NAME_CLIMBS_OUT", "a/../../b")]),
    ("only dots", lambda: archive(("..", b"")), [("ARCHIVE_NAME_CLIMBS_OUT", "..")]),
    ("a backslash", lambda: archive(("a\\b", b"")), [("ARCHIVE_NAME_UNSAFE", "a\\b")]),
    ("U+0000 in a name", lambda: renamed(archive(("a!b", b"")), "a!b", "a\0b"), [("ARCHIVE_NAME_UNSAFE", "a\\u0000b")]),
    (
        "an empty name",
        lambda: patched(archive(("a", b"")), HEADER, 28, b"\0\0\0\0\x01\0"),
        [("ARCHIVE_NAME_UNSAFE", "")],
    ),
    ("a long name", lambda: archive(("n" * 1025, b"")), [("ARCHIVE_NAME_TOO_LONG", "")]),
    (
        "two unsafe names",
        lambda: archive(("/a", b""), ("b/..", b"")),
        [("ARCHIVE_NAME_ABSOLUTE", "/a"), ("ARCHIVE_NAME_CLIMBS_OUT", "b/..")],
    ),
    ("an encrypted contract", lambda: patched(SOUND, HEADER, 8, b"\x01\x00"), [("ARCHIVE_ENCRYPTED", CONTRACT_ENTRY)]),
    (
        "a symbolic link",
        lambda: archive((entry(CONTRACT_ENTRY, mode=stat.S_IFLNK | 0o777), b"/etc/passwd")),
        [("ARCHIVE_NOT_A_FILE", CONTRACT_ENTRY)],
    ),
    (
        "a pipe",
        lambda: archive((entry(CONTRACT_ENTRY, mode=stat.S_IFIFO), b"")),
        [("ARCHIVE_NOT_A_FILE", CONTRACT_ENTRY)],
    ),
    (
        "an exotic method",
        lambda: archive((entry(CONTRACT_ENTRY, method=zipfile.ZIP_LZMA), BODY)),
        [("ARCHIVE_METHOD_UNSUPPORTED", CONTRACT_ENTRY)],
    ),
    (
        "a contract too large",
        lambda: archive((CONTRACT_ENTRY, bytes(MAX_CONTRACT_BYTES + 1))),
        [("ARCHIVE_CONTRACT_TOO_LARGE", CONTRACT_ENTRY)],
    ),
    (
        "a contract that unpacks too far",
        lambda: archive((CONTRACT_ENTRY, bytes(1024 * 1024))),
        [("ARCHIVE_RATIO_TOO_HIGH", CONTRACT_ENTRY)],
    ),
    (
        "a wrong CRC",
        lambda: patched(patched(SOUND, HEADER, 16, bytes(4)), LOCAL, 14, bytes(4)),
        [("ARCHIVE_CHECKSUM_WRONG", CONTRACT_ENTRY)],
    ),
    ("two CRCs", lambda: patched(SOUND, HEADER, 16, bytes(4)), [("ARCHIVE_HEADERS_DISAGREE", CONTRACT_ENTRY)]),
    ("a second name", lambda: with_second_name(b"{}"), [("ARCHIVE_MALFORMED", "")]),
    ("an extra field cut short", lambda: with_extra(b"UT\x09\0"), [("ARCHIVE_MALFORMED", "")]),
    ("a wrong size", lambda: patched(SOUND, HEADER, 24, b"\x01\0\0\0"), [("ARCHIVE_HEADERS_DISAGREE", CONTRACT_ENTRY)]),
    (
        "a local header elsewhere",
        lambda: patched(SOUND, HEADER, 42, b"\xff\0\0\0"),
        [("ARCHIVE_HEADERS_DISAGREE", ""), ("ARCHIVE_HEADERS_DISAGREE", CONTRACT_ENTRY)],
    ),
    (
        "a local header of another name",
        lambda: SOUND.replace(CONTRACT_ENTRY.encode(), b"X" * len(CONTRACT_ENTRY), 1),
        [("ARCHIVE_HEADERS_DISAGREE", CONTRACT_ENTRY)],
    ),
    ("damaged data", lambda: SOUND.replace(zipped(BODY), b"\xff" * len(zipped(BODY))), [("ARCHIVE_MALFORMED", "")]),
    ("more entries than there are", lambda: patched(SOUND, END, 8, b"\x05\0\x05\0"), [("ARCHIVE_MALFORMED", "")]),
    ("fewer entries than there are", lambda: patched(SOUND, END, 8, b"\x01\0\x01\0"), [("ARCHIVE_MALFORMED", "")]),
    ("a name past the directory", lambda: patched(SOUND, HEADER, 28, b"\x00\x03"), [("ARCHIVE_MALFORMED", "")]),
    ("a directory elsewhere", lambda: patched(SOUND, END, 16, b"\xff\xff\xff\0"), [("ARCHIVE_MALFORMED", "")]),
    ("a second disk", lambda: patched(SOUND, END, 4, b"\x01\0"), [("ARCHIVE_MALFORMED", "")]),
    ("bytes after the end", lambda: SOUND + b"trailer", [("ARCHIVE_MALFORMED", "")]),
    (
        "an end record in the comment",
        lambda: archive((CONTRACT_ENTRY, BODY), comment=END + bytes(18)),
        [("ARCHIVE_MALFORMED", "")],
    ),
    (
        "a name that is not UTF-8",
        lambda: archive(("é", b"")).replace("é".encode(), b"\xff\xff"),
        [("ARCHIVE_MALFORMED", "")],
    ),
    (
        "many entries",
        lambda: archive(*((f"f{number}", b"") for number in range(11))),
        [("ARCHIVE_TOO_MANY_ENTRIES", "")],
    ),
    (
        "a large directory",
        lambda: archive(*(("n" * 200 + str(number), b"") for number in range(9))),
        [("ARCHIVE_DIRECTORY_TOO_LARGE", "")],
    ),
]


def zipped(body: bytes) -> bytes:
    data = archive((CONTRACT_ENTRY, body))
    start = 30 + len(CONTRACT_ENTRY)
    return data[start : data.find(HEADER)]


@cases(("build", "expected"), [row[1:] for row in HOSTILE])
def test_a_hostile_archive_gets_exactly_its_findings(
    build: Callable[[], bytes], expected: list[tuple[str, str]]
) -> None:
    data = build()
    with pytest.raises(ArchiveError) as caught:
        read(data, Limits(entries=10, directory_bytes=2048))
    assert [(finding.code, finding.field) for finding in caught.value.findings] == expected
    assert all(finding.message.startswith("Failed to inspect release artifact: ") for finding in caught.value.findings)


def test_inflated_bytes_are_counted_for_any_size_in_the_directory() -> None:
    bomb = archive((CONTRACT_ENTRY, bytes(64 * 1024 * 1024)))
    lying = patched(bomb, HEADER, 24, struct.pack("<L", 100))
    tracemalloc.start()
    try:
        with pytest.raises(ArchiveError):
            read(lying)
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_an_error_while_reading_the_file_is_raised_unchanged(tmp_path: Path) -> None:
    with (tmp_path / "out").open("wb") as file, pytest.raises(OSError, match="read"):
        read_contract_entry(file)
