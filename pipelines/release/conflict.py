"""Says how the code of a release differs from that of a release which has its version already."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from coordinator_client.api import Client, Request
from coordinator_client.errors import ClientError
from pipelines.environment import locked
from pipelines.errors import DefinitionError
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, LOCK_ENTRY, PYTHON_ENTRY

if TYPE_CHECKING:
    from wire.documents.descriptor import Descriptor

RELEASE_CONFLICT: Final = "RELEASE_CONFLICT"
"""The coordinator's code for a version that is registered with other metadata."""
_MOST_BYTES: Final = 64 * 1024 * 1024
_SHOWN: Final = 8
_DOCUMENTS: Final = {
    CONTRACT_ENTRY: "the contract (steps or types)",
    CAPABILITIES_ENTRY: "checkpoint=",
    PYTHON_ENTRY: "",
    LOCK_ENTRY: "",
}


@dataclass(frozen=True, slots=True)
class Contents:
    """What an artifact contains: the checksum of each file, and the versions of its environment by name."""

    files: Mapping[str, int] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def contents(artifact: Path | IO[bytes]) -> Contents:
    """Return the contents of an artifact that ``build`` wrote; nothing if it is none."""
    try:
        with zipfile.ZipFile(artifact) as archive:
            files = {entry.filename: entry.CRC for entry in archive.infolist() if not entry.is_dir()}
            python = json.loads(archive.read(PYTHON_ENTRY))
            distributions = dict(locked(archive.read(LOCK_ENTRY).decode()))
        return Contents(files, _environment(python, distributions))
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, DefinitionError):
        return Contents()


def differences(old: Contents, new: Contents) -> list[str]:
    """Return how ``new`` differs from ``old``, one phrase for each difference, files first."""
    known, present = old.environment, new.environment
    return [
        *_files(old.files, new.files),
        *(
            f"{name} is {present[name]}, was {known[name]}"
            for name in sorted(known.keys() & present.keys())
            if known[name] != present[name]
        ),
        *(f"{name} {present[name]} is new" for name in sorted(present.keys() - known.keys())),
        *(f"{name} {known[name]} is missing" for name in sorted(known.keys() - present.keys())),
    ]


def _files(old: Mapping[str, int], new: Mapping[str, int]) -> Iterator[str]:
    if not old or not new:
        return
    for name in sorted(old.keys() | new.keys()):
        shown = _DOCUMENTS.get(name, name)
        if shown and old.get(name) != new.get(name):
            yield f"{shown} is {'new' if name not in old else 'missing' if name not in new else 'changed'}"


def _environment(python: Mapping[str, Any], distributions: Mapping[str, str]) -> dict[str, str]:
    interpreter = f"{python['implementation']} {python['version']}"
    return {**distributions, "Python": interpreter, "the platform": str(python["platform"])}


def version_taken(
    client: Client, address: str, descriptor: Descriptor, artifacts: Mapping[str, Path]
) -> DefinitionError:
    """Return the error VERSION_TAKEN for a version that is registered with other code.

    ``address`` is that of the registered release, and ``artifacts`` are the local files by digest. The environment is
    known from the registered release, the files only if the token may download artifacts.
    """
    changes: list[str] = []
    for registered, new in _changed(_answer(client, address), artifacts):
        environment = registered.get("environment") or {}
        versions = {row["name"]: row["version"] for row in environment.get("distributions", ())}
        known = Contents(environment=_environment(environment, versions)) if environment else Contents()
        changes += differences(_downloaded(client, registered) or known, new)
    more = f" and {len(changes) - _SHOWN} more differences" if len(changes) > _SHOWN else ""
    named = f": {'; '.join(changes[:_SHOWN])}{more}" if changes else ""
    version = descriptor.release_version
    return DefinitionError(
        "VERSION_TAKEN",
        f"{descriptor.pipeline_id} {version} is registered with other code{named}. A registered release never changes: "
        f"give this code a new version, such as pipelines release --release-version {_next(version)}, and publish that",
    )


def _answer(client: Client, address: str) -> dict[str, Any]:
    try:
        return client.get(address)
    except ClientError:
        return {}


def _changed(release: Mapping[str, Any], artifacts: Mapping[str, Path]) -> Iterator[tuple[dict[str, Any], Contents]]:
    """Yield each registered artifact that is not among the local ones, with the local one that replaces it."""
    registered = release.get("artifacts", ())
    old = [artifact for artifact in registered if artifact["digest"] not in artifacts and artifact["size"] is not None]
    new = [artifacts[digest] for digest in artifacts.keys() - {artifact["digest"] for artifact in registered}]
    if len(old) == len(new) == 1:
        yield old[0], contents(new[0])


def _downloaded(client: Client, registered: Mapping[str, Any]) -> Contents | None:
    """Return the contents of a registered artifact; None if it is large, or this token may not download it."""
    if registered["size"] > _MOST_BYTES:
        return None
    request = Request("GET", f"artifacts/{registered['digest']}")
    with tempfile.TemporaryFile() as file:
        try:
            with client.opened(request, {"Accept": "application/octet-stream"}) as response:
                if response.status != 200:
                    return None
                for piece in response.pieces():
                    file.write(piece)
        except (ClientError, OSError):
            return None
        return contents(file)


def _next(version: str) -> str:
    """Return a version after this one: its last number plus one."""
    counted = re.fullmatch(r"(.*?)(\d{1,9})", version)
    return f"{counted[1]}{int(counted[2]) + 1}" if counted else f"{version}.1"
