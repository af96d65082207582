"""Archives of ordinary tools, attacks, and random mutations."""

from __future__ import annotations

import io
import random
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

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


def zipped(method: int = zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    _write(buffer, method)
    return buffer.getvalue()


def streamed() -> bytes:
    buffer = Unseekable()
    _write(buffer, zipfile.ZIP_DEFLATED)
    return bytes(buffer.data)


def _write(buffer: Any, method: int) -> None:
    with zipfile.ZipFile(buffer, "w") as file:
        for name, body in CONTENTS.items():
            file.writestr(zipfile.ZipInfo(name), body, method)


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
        "data descriptors": streamed(),
        "zip64 end": with_zip64_end(zipped()),
    }


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


def entry_without_record() -> bytes:
    """An entry that only readers of local headers find."""
    return closed(CONTRACT.local + OTHER.local, CONTRACT.record(0), 1)


def second_name() -> bytes:
    """An entry that is the contract only for readers of Info-ZIP's Unicode path field."""
    name = "META-INF/pipeline/other.json"
    field = struct.pack("<BL", 1, zlib.crc32(name.encode())) + CONTRACT_ENTRY.encode()
    extra = struct.pack("<HH", 0x7075, len(field)) + field
    return assembled(replace(stored(name, EVIL), extra=extra, local_extra=extra))


def dos_folder() -> bytes:
    """A file that libarchive treats as a folder because of its attributes."""
    return patched(assembled(CONTRACT), HEADER, 38, struct.pack("<L", 0x10))


def shortened_name() -> bytes:
    """A name that unzip shortens."""
    return assembled(stored(f"{CONTRACT_ENTRY};1", EVIL))


ATTACKS = (locator_to_another_end, entry_without_record, second_name, dos_folder, shortened_name)


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


def _repeat(data: bytes, chance: random.Random) -> bytes:
    """Copy a record or another part of the file to another offset."""
    at, target = _place(data, chance), _place(data, chance)
    return data[:target] + data[at : at + chance.randrange(20, 120)] + data[target:]


def _name(data: bytes, chance: random.Random) -> bytes:
    """Change one name in all places."""
    old = chance.choice((b"a/text.txt", b"a/empty", b"b.bin"))
    new = bytearray(old)
    at = chance.randrange(len(new))
    new[at : at + 1] = chance.choice((b"/", b".", b";", b"1", b"\\", b"\x01", b"\xc3", b" ", b":", b"*", b"\n"))
    return data.replace(old, bytes(new))


_MUTATIONS = (_number, _number, _bit, _insert, _repeat, _name)
