"""Reading the contract entry out of an artifact, without trusting the archive (wire protocol A.1, A.3 rule 13).

The archive is walked first, in bounded time and memory, and refused if anything in it is hostile
(`releases.archive_layout`); then zipfile extracts one entry, under a hard cap on the bytes that come out. Nothing else
is ever extracted.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import BinaryIO, Final

from coordinator.documents import bounded, shown
from releases.archive_directory import DEFAULT_LIMITS, ArchiveError, Limits, find_directory, finding, malformed, read_at
from releases.archive_layout import LOCAL_SIGNATURE, Budget, inspect
from releases.contract import CONTRACT_ENTRY

__all__ = ["ArchiveError", "Limits", "read_contract_entry"]

_BROKEN: Final = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    NotImplementedError,
    RuntimeError,
    ValueError,
    OverflowError,
    struct.error,
)


def read_contract_entry(file: BinaryIO, limits: Limits = DEFAULT_LIMITS, *, prefixed: bool = False) -> bytes | None:
    """Return the contract entry's bytes, at most `limits.contract_bytes`; None when there is none.

    A file that is no archive has none. With `prefixed` bytes may come before the archive, as in an executable that
    carries one. Reads `file`, which must be seekable, in memory bounded by `limits`. Raises ArchiveError with the
    findings about the archive, and OSError when `file` cannot be read.
    """
    directory = find_directory(file)
    if directory is None:
        if read_at(file, 0, 4) == LOCAL_SIGNATURE:
            message = "the file begins as an archive and has no end record: it is cut short"
            raise ArchiveError([finding("ARCHIVE_TRUNCATED", "", message)])
        return None
    try:
        entries = inspect(file, directory, Budget(limits), prefixed=prefixed)
    except ArchiveError as error:
        raise ArchiveError(bounded(error.findings, "")) from None
    return _extract(file, limits) if any(entry.name == CONTRACT_ENTRY for entry in entries) else None


def _extract(file: BinaryIO, limits: Limits) -> bytes:
    """Return the contract's bytes, counted as they come out, whatever the directory says of their number."""
    try:
        with zipfile.ZipFile(file) as archive:
            # An extra field may give an entry a second name, which only some readers heed.
            named = [info for info in archive.infolist() if CONTRACT_ENTRY in (info.filename, info.orig_filename)]
            if len(named) != 1 or named[0].filename != named[0].orig_filename:
                raise malformed("the contract's name can be read in two ways")
            with archive.open(named[0]) as stream:
                data = stream.read(limits.contract_bytes + 1)
    except _BROKEN as error:
        raise malformed(shown(str(error)) or "the archive is damaged") from None
    if len(data) > limits.contract_bytes:
        message = f"the contract is larger than {limits.contract_bytes} bytes"
        raise ArchiveError([finding("ARCHIVE_CONTRACT_TOO_LARGE", CONTRACT_ENTRY, message)])
    return data
