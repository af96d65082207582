import io
import os
import zipfile
import zlib
from dataclasses import replace

from tests.cases import cases
from tests.unit.wire.archive.conftest import (
    CONTRACT,
    END,
    HEADER,
    LOCAL,
    MEGABYTE,
    Inflated,
    Member,
    assembled,
    codes,
    deflated,
    named,
    patched,
    read,
    stored,
    zipped,
)
from wire.documents.contract import CONTRACT_ENTRY
from wire.release.directory import Limits

BODY = b'{"schemaVersion": 1}'
ENTRY = (CONTRACT_ENTRY, BODY)
TEXT = zipped(("a.txt", b"some text " * 20))
PIECE = 256 * 1024
"""The maximum number of bytes that one step reads, and that it inflates."""
DEFLATED_CONTRACT = deflated(CONTRACT_ENTRY, b"{}")
ZEROS = deflated("bomb", bytes(32 * MEGABYTE))


def streamed() -> bytes:
    """An archive with data descriptors, which zipfile writes because it cannot fill in sizes later."""
    reader, writer = os.pipe()
    with os.fdopen(writer, "wb") as pipe, zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a", b"text" * 100)
        file.writestr(*ENTRY)
    with os.fdopen(reader, "rb") as received:
        return received.read()


def zip64() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        with file.open(named("wide"), "w", force_zip64=True) as entry:
            entry.write(b"text" * 100)
        file.writestr(*ENTRY)
    return buffer.getvalue()


@cases(
    ("data", "contract"),
    [
        (zipped((named("META-INF/", mode=0), b""), ENTRY, comment=b"a comment"), BODY),
        (zipped(ENTRY, (named("lib.jar", method=zipfile.ZIP_STORED), zipped(("b.jar", TEXT)))), BODY),
        (zipped(ENTRY, ("tool", b"\x7fELF" + bytes(100) + TEXT)), BODY),
        (zipped(ENTRY, ("odd", LOCAL + b"but is no archive")), BODY),
        (streamed(), BODY),
        (zip64(), BODY),
        (b"", None),
        (b"MZ" + bytes(100_000), None),
        (bytes(50) + END + bytes(18) + b"more", None),
        (zipped(("x/" + CONTRACT_ENTRY, BODY)), None),
    ],
)
def test_the_contract_of_any_harmless_file_is_read(data: bytes, contract: bytes | None) -> None:
    assert read(data) == contract


@cases(
    ("data", "name", "limit", "code"),
    [
        (assembled(*(stored(name, b"") for name in "abc")), "entries", 3, "ARCHIVE_TOO_MANY_ENTRIES"),
        (assembled(stored("a", b"")), "directory_bytes", 47, "ARCHIVE_DIRECTORY_TOO_LARGE"),
        (assembled(CONTRACT), "contract_bytes", 2, "ARCHIVE_CONTRACT_TOO_LARGE"),
        (assembled(CONTRACT), "name_bytes", len(CONTRACT_ENTRY), "ARCHIVE_NAME_TOO_LONG"),
    ],
)
def test_each_limit_is_the_largest_number_that_is_allowed(data: bytes, name: str, limit: int, code: str) -> None:
    assert codes(data, Limits(**{name: limit})) == set()
    assert codes(data, Limits(**{name: limit - 1})) == {code}


def test_every_byte_of_an_accepted_archive_is_inflated_once_and_its_contract_twice(inflated: Inflated) -> None:
    data = assembled(deflated("a", bytes(3 * MEGABYTE)), DEFLATED_CONTRACT, stored("b", bytes(MEGABYTE)))
    assert codes(data) == set()
    assert inflated.total == 3 * MEGABYTE + 2 * len(b"{}")
    assert inflated.most <= PIECE


@cases("admitted", [0, PIECE, PIECE + 1, 3 * MEGABYTE])
@cases("inside", [0, 2])
def test_an_entry_is_inflated_no_further_than_its_declared_size(inflated: Inflated, admitted: int, inside: int) -> None:
    data = assembled(DEFLATED_CONTRACT, replace(ZEROS, size=admitted))
    for number in range(inside):
        data = assembled(stored(f"{number}.zip", data))
    before = inflated.total
    assert codes(data) == {"ARCHIVE_SIZE_WRONG"}
    assert 0 < inflated.total - before <= admitted + PIECE + len(b"{}")
    assert inflated.most <= PIECE


@cases("entry", [stored("a", b"x" * 100), deflated("a", b"x" * 100)])
def test_an_entry_that_is_smaller_than_its_declared_size_is_refused(entry: Member) -> None:
    assert codes(assembled(DEFLATED_CONTRACT, replace(entry, size=entry.size + 1))) == {"ARCHIVE_SIZE_WRONG"}


def test_nested_archives_are_inflated_within_their_common_bound(inflated: Inflated) -> None:
    limits = Limits(unpacked_bytes=10 * MEGABYTE)
    inner = assembled(deflated("x", bytes(3 * MEGABYTE)))
    data = assembled(*(stored(f"{number}.zip", inner) for number in range(9)))
    assert codes(data, limits) == {"ARCHIVE_UNPACKS_TOO_LARGE"}
    assert inflated.total <= limits.unpacked_bytes


def test_the_entries_of_nested_archives_count_together_and_a_directory_beyond_its_bounds_is_not_read() -> None:
    inner = assembled(*(stored(f"{number}", b"") for number in range(30)))
    data = assembled(*(stored(f"{number}.zip", inner) for number in range(4)))
    assert codes(data, Limits(entries=124)) == set()
    assert codes(data, Limits(entries=123)) == {"ARCHIVE_TOO_MANY_ENTRIES"}
    unreadable = patched(inner, HEADER, 0, b"XX", last=True)
    assert codes(unreadable, Limits(entries=29)) == {"ARCHIVE_TOO_MANY_ENTRIES"}
    assert codes(unreadable, Limits(directory_bytes=1000)) == {"ARCHIVE_DIRECTORY_TOO_LARGE"}


def test_compressed_nested_archives_have_a_separate_bound(inflated: Inflated) -> None:
    limits = Limits(inner_bytes=10 * MEGABYTE)
    inner = assembled(stored("x", bytes(3 * MEGABYTE)))
    data = assembled(*(deflated(f"{number}.zip", inner) for number in range(9)))
    assert codes(data, limits) == {"ARCHIVE_NESTED_TOO_LARGE"}
    # The beginning of the first archive beyond the limit is read to recognize it as an archive.
    assert inflated.total <= limits.inner_bytes + PIECE


# --- where a deflated stream ends ---


def of_length(length: int) -> tuple[bytes, bytes]:
    """Return a deflated stream of exactly `length` bytes and its inflated content."""
    packed, body = b"", b""
    while left := length - len(packed):
        size = min(0xFFFF, left - 5)
        packed += bytes([left == size + 5]) + size.to_bytes(2, "little") + (size ^ 0xFFFF).to_bytes(2, "little")
        packed, body = packed + bytes(size), body + bytes(size)
    return packed, body


def followed(length: int, rest: bytes) -> Member:
    """Return an entry with a deflated stream of `length` bytes, followed by `rest`. Its headers declare both."""
    packed, body = of_length(length)
    return Member(b"a", packed + rest, len(body), zlib.crc32(body), zipfile.ZIP_DEFLATED)


@cases("length", [100, PIECE, PIECE + 1])
@cases("rest", [b"x", bytes(2 * PIECE)])
def test_bytes_after_the_end_of_a_deflated_stream_are_refused(length: int, rest: bytes) -> None:
    assert codes(assembled(followed(length, b""), DEFLATED_CONTRACT)) == set()
    assert codes(assembled(followed(length, rest), DEFLATED_CONTRACT)) == {"ARCHIVE_SIZE_WRONG"}


@cases("missing", [1, 90])
def test_a_deflated_stream_without_its_end_is_refused(missing: int) -> None:
    packed, body = of_length(100)
    cut = Member(b"a", packed[:-missing], len(body), zlib.crc32(body), zipfile.ZIP_DEFLATED)
    assert codes(assembled(cut)) == {"ARCHIVE_SIZE_WRONG"}
