"""Creates archives whose verification is expensive, and finds the processes that verify them."""

import functools
import io
import json
import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

from wire.documents.contract import CONTRACT_ENTRY

ENTRY_BYTES = 16 * 1024**2
"""Entries up to this size may have any compression ratio."""


def archive(document: dict[str, Any], *, entries: int, salt: str = "") -> bytes:
    """Return a valid archive with a contract and `entries` entries of 16 MiB each when unpacked."""
    buffer = io.BytesIO()
    packed, checksum = _packed_entry()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr(zipfile.ZipInfo(CONTRACT_ENTRY), json.dumps(document))
        file.writestr(zipfile.ZipInfo("salt"), salt)
        for number in range(entries):
            info = zipfile.ZipInfo(f"{number}")
            info.CRC, info.file_size, info.compress_size = checksum, ENTRY_BYTES, len(packed)
            info.header_offset, info.compress_type = buffer.tell(), zipfile.ZIP_DEFLATED
            buffer.write(info.FileHeader(zip64=False))
            buffer.write(packed)
            file.filelist.append(info)
            file.NameToInfo[info.filename] = info
        file.start_dir = buffer.tell()
    return buffer.getvalue()


@functools.cache
def _packed_entry() -> tuple[bytes, int]:
    """Return the compressed bytes of an entry and its checksum."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(bytes(ENTRY_BYTES)) + packer.flush(), zlib.crc32(bytes(ENTRY_BYTES))


def verification_processes(parent: int | None = None) -> list[int]:
    """Return the ids of the verification processes that `parent`, by default this process, has started."""
    wanted = os.getpid() if parent is None else parent
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command = (folder / "cmdline").read_bytes()
            started_by = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except OSError:  # the process has ended
            continue
        if b"releases.registration.verification_process" in command and started_by == wanted:
            found.append(int(folder.name))
    return found
