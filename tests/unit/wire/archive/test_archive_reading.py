"""Reads contract entries of harmless archives, up to the limits."""

import io
import zipfile

from tests.cases import cases
from tests.unit.wire.archive.zips import CONTRACT, END, LOCAL, assembled, codes, named, read, stored, zipped
from wire.archive.reader import Limits
from wire.documents.contract import CONTRACT_ENTRY

BODY = b'{"schemaVersion": 1}'
ENTRY = (CONTRACT_ENTRY, BODY)
TEXT = zipped(("a.txt", b"some text " * 20))


class Unseekable(io.RawIOBase):
    """A stream without seek, so that zipfile cannot fill in sizes later and writes data descriptors."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


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
