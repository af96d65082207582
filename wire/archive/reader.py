"""Reads the entries of an artifact, without trusting the archive (wire protocol A.1, A.3 rule 13).

The archive is inspected first, in bounded time and memory. It is rejected if a part of it is hostile, or if two readers
could see different entries (`wire.archive.layout`).
"""

from __future__ import annotations

from typing import BinaryIO, Final

from wire.archive.directory import DEFAULT_LIMITS, ArchiveError, Limits, find_directory, finding, read_at
from wire.archive.headers import LOCAL_SIGNATURE
from wire.archive.layout import Budget, Layout, content, inspect
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.json_reader import bounded

__all__ = ["ArchiveError", "Limits", "content", "read_contract_entry", "read_entry", "read_layout"]

_BEGINNINGS: Final = (LOCAL_SIGNATURE, b"PK\x07\x08", b"PK00")
"""The first bytes of files that some readers treat as archives, although they have no directory."""


def read_contract_entry(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> bytes | None:
    """Return the contract entry's bytes, at most `limits.contract_bytes`; None if it is missing.

    Returns None also for a file that is not an archive. Raises what `read_layout` raises.
    """
    layout = read_layout(file, limits)
    return None if layout is None else read_entry(layout, CONTRACT_ENTRY)


def read_entry(layout: Layout, name: str) -> bytes | None:
    """Return the bytes of an inspected entry; None if it is missing. The entry's `size` bounds them."""
    found = next((entry for entry in layout.entries if entry.name == name), None)
    return None if found is None else b"".join(content(layout, found))


def read_layout(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Layout | None:
    """Return the inspected entries of an archive; None if `file` is not an archive.

    Reads `file`, which must be seekable, in memory bounded by `limits`. Raises ArchiveError with the findings about the
    archive, and OSError if `file` cannot be read.
    """
    directory = find_directory(file)
    if directory is None:
        if read_at(file, 0, 4) in _BEGINNINGS:
            message = "the file begins as an archive and has no end record: it is cut short"
            raise ArchiveError([finding("ARCHIVE_TRUNCATED", "", message)])
        return None
    try:
        return inspect(file, directory, Budget(limits))
    except ArchiveError as error:
        raise ArchiveError(bounded(error.findings, "")) from None
