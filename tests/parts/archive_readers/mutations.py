"""Archives of ordinary tools, attacks, and random mutations."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from tests.unit.wire.archive.zips import (
    DESCRIPTOR,
    END,
    END64,
    HEADER,
    LOCAL,
    LOCATOR64,
    assembled,
    closed,
    patched,
    stored,
    with_zip64_end,
    zip64_end,
)
from wire.documents.contract import CONTRACT_ENTRY

GOOD, EVIL = b'{"this": "was verified"}', b'{"this": "runs"}'
SIGNATURES = (LOCAL, HEADER, END, END64, LOCATOR64, DESCRIPTOR)
CONTENTS = {CONTRACT_ENTRY: GOOD, "a/text.txt": b"some text " * 20, "a/empty": b"", "b.bin": bytes(range(256))}


class Unseekable(io.RawIOBase):
    """A stream without seek, so that zipfile cannot fill in sizes later and writes data descriptors."""

    def __init__(self) -> None:
        self.data = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.data += data
        return len(data)


def zipped(method: int = zipfile.ZIP_DEFLATED, *, wide: bool = False, comment: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as file:
        for name, body in CONTENTS.items():
            with file.open(zipfile.ZipInfo(name), "w", force_zip64=wide) as entry:
                entry.write(body)
        file.comment = comment
    return buffer.getvalue()


def streamed() -> bytes:
    buffer = Unseekable()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        for name, body in CONTENTS.items():
            file.writestr(zipfile.ZipInfo(name), body, zipfile.ZIP_DEFLATED)
    return bytes(buffer.data)


def by_tools(folder: Path) -> dict[str, bytes]:
    """The same files, packed by the tools of this machine."""
    source = folder / "source"
    for name, body in CONTENTS.items():
        path = source / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    commands = {
        "jar": ["jar", "cf", "../jar", "."],
        "jar, stored": ["jar", "c0f", "../jar, stored", "."],
        "bsdtar": ["bsdtar", "--format", "zip", "-cf", "../bsdtar", *CONTENTS],
    }
    for command in commands.values():
        subprocess.run(command, cwd=source, check=True, capture_output=True)
    return {name: (folder / name).read_bytes() for name in commands}


def ordinary() -> dict[str, bytes]:
    """Archives created by Python."""
    return {
        "deflated": zipped(),
        "stored": zipped(zipfile.ZIP_STORED),
        "wide sizes": zipped(wide=True),
        "comment": zipped(comment=b"a comment"),
        "data descriptors": streamed(),
        "zip64 end": with_zip64_end(zipped()),
    }


# --- attacks ---

CONTRACT, OTHER = stored(CONTRACT_ENTRY, GOOD), stored(CONTRACT_ENTRY, EVIL)


def locator_to_another_end() -> bytes:
    """A zip64 locator that points to one end record while another directly precedes the locator."""
    first = CONTRACT.local + bytes(8)  # so that no entry begins where the first one ends
    record = OTHER.record(len(first))
    data = first + OTHER.local + record
    followed = zip64_end(1, len(record), len(first + OTHER.local), 0)[:56]
    position = len(data)
    data += followed + CONTRACT.record(0)
    adjacent = zip64_end(1, len(CONTRACT.record(0)), len(data) - len(CONTRACT.record(0)), position)
    return data + adjacent + struct.pack("<4s4H2LH", END, 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)


def entry_without_record(*, first: bool) -> bytes:
    """An entry that only readers of local headers find."""
    if not first:
        return closed(CONTRACT.local + OTHER.local, CONTRACT.record(0), 1)
    hidden = stored("hidden.txt", EVIL)
    return closed(hidden.local + CONTRACT.local, CONTRACT.record(len(hidden.local)), 1)


def empty_directory_after_entries() -> bytes:
    return patched(closed(CONTRACT.local, b"", 0), END, 16, bytes(4))


def second_name() -> bytes:
    """An entry that is the contract only for readers of Info-ZIP's Unicode path field."""
    name = "META-INF/pipeline/other.json"
    field = struct.pack("<BL", 1, zlib.crc32(name.encode())) + CONTRACT_ENTRY.encode()
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    return assembled(replace(stored(name, EVIL), extra=extra, local_extra=extra))


def dos_folder() -> bytes:
    """A file that libarchive treats as a folder because of its attributes."""
    return patched(assembled(CONTRACT), HEADER, 38, struct.pack("<L", 0x10))


ATTACKS: dict[str, Callable[[], bytes]] = {
    "a zip64 locator to another end record": locator_to_another_end,
    "an entry without a record": lambda: entry_without_record(first=False),
    "a first entry without a record": lambda: entry_without_record(first=True),
    "an empty directory after entries": empty_directory_after_entries,
    "a second name": second_name,
    "a name that unzip shortens": lambda: assembled(stored(f"{CONTRACT_ENTRY};1", EVIL)),
    "a folder to some": dos_folder,
}


# --- mutations ---

_NUMBERS = (0, 1, 2, 8, 0x10, 0x14, 0x2D, 0x7F, 0x80, 0xFF, 0xFFFE, 0xFFFF, 0x0800, 0x0808, 0xFFFFFFFE, 0xFFFFFFFF)


def mutated(bases: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Yield archives with one to three mutations each, most of them in their headers."""
    chance = random.Random(seed)
    for _ in range(count):
        data: bytes = chance.choice(bases)
        for _ in range(chance.choice((1, 1, 1, 2, 3))):
            mutate = chance.choice(_MUTATIONS)
            data = mutate(data, chance)
        yield data


def _place(data: bytes, chance: random.Random) -> int:
    """A random offset, most often in a header."""
    starts = [at for signature in SIGNATURES for at in _all(data, signature)]
    if not starts or chance.random() < 0.1:
        return chance.randrange(len(data) + 1)
    return min(len(data), chance.choice(starts) + chance.randrange(60))


def _all(data: bytes, signature: bytes) -> Iterator[int]:
    at = data.find(signature)
    while at >= 0:
        yield at
        at = data.find(signature, at + 1)


def _number(data: bytes, chance: random.Random) -> bytes:
    size = chance.choice((1, 2, 4, 8))
    value = chance.choice((*_NUMBERS, len(data), chance.getrandbits(8 * size)))
    at = _place(data, chance)
    return data[:at] + (value & ((1 << 8 * size) - 1)).to_bytes(size, "little") + data[at + size :]


def _bit(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :] if at < len(data) else data


def _insert(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    piece = chance.choice(
        (b"\0", b"PK", bytes(4), chance.choice(SIGNATURES), chance.randbytes(chance.randrange(1, 30)))
    )
    return data[:at] + piece + data[at:]


def _delete(data: bytes, chance: random.Random) -> bytes:
    at = _place(data, chance)
    return data[:at] + data[at + chance.randrange(1, 50) :]


def _repeat(data: bytes, chance: random.Random) -> bytes:
    """Copy a record or another part of the file to another offset."""
    at, target = _place(data, chance), _place(data, chance)
    return data[:target] + data[at : at + chance.randrange(20, 120)] + data[target:]


def _around(data: bytes, chance: random.Random) -> bytes:
    piece = chance.choice((b"\0", b"#!/bin/sh\n", chance.randbytes(20), data, zipped(zipfile.ZIP_STORED)))
    return piece + data if chance.random() < 0.5 else data + piece


def _both_headers(data: bytes, chance: random.Random) -> bytes:
    """Set a number to the same value in an entry's local header and its directory record."""
    numbers = list(zip(_all(data, LOCAL), _all(data, HEADER), strict=False))
    if not numbers:
        return data
    local, record = chance.choice(numbers)
    offset, size = chance.choice(((4, 2), (6, 2), (8, 2), (10, 4), (14, 4), (18, 4), (22, 4), (26, 2), (28, 2)))
    value = (chance.choice(_NUMBERS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    for at in (local + offset, record + offset + 2):
        data = data[:at] + value + data[at + size :]
    return data


def _name(data: bytes, chance: random.Random) -> bytes:
    """Change one name in all places."""
    old = chance.choice((b"a/text.txt", b"a/empty", b"b.bin"))
    new = bytearray(old)
    at = chance.randrange(len(new))
    new[at : at + 1] = chance.choice((b"/", b".", b";", b"1", b"\\", b"\x01", b"\xc3", b" ", b":", b"*", b"\n"))
    return data.replace(old, bytes(new))


_MUTATIONS = (_number, _number, _bit, _insert, _delete, _repeat, _around, _both_headers, _name)
