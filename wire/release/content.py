"""Reads what a stored artifact contains: its digest, and the entries below `META-INF/pipeline/`. Pure."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from wire.archive.layout import Layout
from wire.archive.reader import content, read_entry, read_layout
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY
from wire.findings import DocumentError, Finding
from wire.release.required_environment import RequiredEnvironment, required_environment

COMPILED_TRUTH: Final = "META-INF/pipeline/"
"""Entries below this folder are what the compiler of a pipeline wrote."""
MAX_CAPABILITIES_BYTES: Final = 64 * 1024
"""The largest list of capabilities in an artifact."""
_OF_ONE_ARTIFACT: Final = frozenset({PYTHON_ENTRY, LOCK_ENTRY, CAPABILITIES_ENTRY})
_CHUNK: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Content:
    """What an artifact's bytes contain. `findings` are about the archive, and the rest is empty if there are any.

    `is_archive` is False for a file that readers do not take for an archive. `contract` are the bytes of the contract.
    `truth` has the SHA-256 of each entry below `META-INF/pipeline/` that describes the pipeline and not only this
    artifact; `others` has the names of up to ten entries outside that folder. `environment` is the one that the
    artifact requires, and `warnings` are about the entries that describe it. `capabilities` are what its code requires.
    """

    digest: str
    findings: tuple[Finding, ...] = ()
    is_archive: bool = True
    contract: bytes | None = None
    truth: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()
    environment: RequiredEnvironment | None = None
    warnings: tuple[Finding, ...] = ()
    capabilities: frozenset[str] = frozenset()


def content_of(file: BinaryIO) -> Content:
    """Return what a seekable file contains, and close it. Raises what reading raises."""
    with file:
        digest = digest_of(file)
        try:
            layout = read_layout(file)
            return Content(digest, is_archive=False) if layout is None else _archived(digest, layout)
        except DocumentError as error:
            return Content(digest, error.findings)


def digest_of(file: BinaryIO) -> str:
    """Return `sha256:` and the lower-case hex SHA-256 of a seekable file, in constant memory."""
    file.seek(0, io.SEEK_SET)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _archived(digest: str, layout: Layout) -> Content:
    environment, warnings = required_environment(layout)
    files = [entry.name for entry in layout.entries if not entry.is_folder]
    return Content(
        digest,
        contract=read_entry(layout, CONTRACT_ENTRY),
        truth=_truth(layout),
        others=tuple(name for name in files if not name.startswith(COMPILED_TRUTH))[:10],
        environment=environment,
        warnings=tuple(warnings),
        capabilities=_capabilities(layout),
    )


def _truth(layout: Layout) -> dict[str, str]:
    found = {}
    for entry in layout.entries:
        if entry.name.startswith(COMPILED_TRUTH) and not entry.is_folder and entry.name not in _OF_ONE_ARTIFACT:
            digest = hashlib.sha256()
            for piece in content(layout, entry):
                digest.update(piece)
            found[entry.name] = digest.hexdigest()
    return found


def _capabilities(layout: Layout) -> frozenset[str]:
    """Return the names in the list of capabilities; none if the artifact has no such list."""
    if any(entry.name == CAPABILITIES_ENTRY and entry.size > MAX_CAPABILITIES_BYTES for entry in layout.entries):
        return frozenset()
    try:
        names = json.loads(read_entry(layout, CAPABILITIES_ENTRY) or b"[]")
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(name for name in names if isinstance(name, str)) if isinstance(names, list) else frozenset()
