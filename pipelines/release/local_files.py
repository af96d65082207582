"""Finds the files of a release on this machine: its descriptor and its artifacts."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from pipelines.errors import DefinitionError
from wire.documents.artifact_uri import FileUri
from wire.documents.descriptor import (
    MAX_DESCRIPTOR_BYTES,
    ArtifactRef,
    Descriptor,
    LocatedArtifactRef,
    parse_descriptor,
)
from wire.findings import DocumentError


def uri_file(artifact: ArtifactRef) -> Path | None:
    """Return the existing file that a canonical ``file:`` URI names, or None."""
    if isinstance(artifact, LocatedArtifactRef) and isinstance(artifact.location, FileUri):
        path = Path(artifact.location.path)
        return path if is_file(path) else None
    return None


def named_file(artifact: ArtifactRef, folder: Path) -> Path | None:
    """Return the file of ``uri_file``, or else the file with the name in the location in ``folder``.

    Returns None if neither exists, and for a location that is not a file. The location of a descriptor of the profile
    ``tpf-2026-08`` counts as a file name.
    """
    own, name = uri_file(artifact), _file_name(artifact)
    beside = folder / name if name and is_file(folder / name) else None
    return own or beside


def _file_name(artifact: ArtifactRef) -> str:
    if not isinstance(artifact, LocatedArtifactRef):
        return Path(artifact.uri).name
    return Path(artifact.location.path).name if isinstance(artifact.location, FileUri) else ""


def read_descriptor(path: Path) -> Descriptor:
    """Read a ``pipeline-release.json``. Raises ``DefinitionError`` INVALID_RELEASE."""
    try:
        with path.open("rb") as file:
            return parse_descriptor(file.read(MAX_DESCRIPTOR_BYTES + 1))
    except OSError as error:
        raise DefinitionError("INVALID_RELEASE", f"cannot read {path}: {error.strerror}") from error
    except DocumentError as error:
        raise DefinitionError("INVALID_RELEASE", f"{path} is not a release descriptor: {error}") from error


def is_file(path: Path) -> bool:
    """True for a regular file. False if that cannot be determined."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def read_bounded(path: Path, limit: int) -> bytes:
    """Return at most ``limit`` bytes of a file, and one more if it is longer.

    Raises ``DefinitionError``: FILE_UNREADABLE.
    """
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except OSError as error:
        raise unreadable(path, error) from None


def unreadable(path: Path, error: OSError) -> DefinitionError:
    return DefinitionError("FILE_UNREADABLE", f"{path} cannot be read: {type(error).__name__}")


def digest_of(path: Path) -> str:
    """Return ``sha256:`` and the digest of a file, in constant memory. Raises OSError."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def named_digest(path: Path) -> str:
    """Return the digest of a file that the author named. Raises ``DefinitionError``: FILE_UNREADABLE."""
    try:
        return digest_of(path)
    except OSError as error:
        raise unreadable(path, error) from None


@dataclass(slots=True)
class LocalFiles:
    """The files of a release's folder. Each file is hashed at most once."""

    folder: Path
    _digests: dict[Path, str] = field(default_factory=dict)

    def digest(self, path: Path) -> str:
        if path not in self._digests:
            self._digests[path] = digest_of(path)
        return self._digests[path]

    def find(self, artifact: ArtifactRef) -> Path | None:
        """Return the file of an artifact, or None if it was not found.

        It is the file that a ``file:`` URI names, or else one in the folder that has the digest. If no file has it, a
        file with the right name is returned, so that the caller can report its digest. Files that cannot be read have
        no digest.
        """
        own, named = uri_file(artifact), named_file(artifact, self.folder)
        if named is not None and (own is not None or self.has(named, artifact)):
            return named
        return next((path for path in self._files() if self.has(path, artifact)), named)

    def has(self, path: Path, artifact: ArtifactRef) -> bool:
        """True if the file can be read and has the digest of the artifact."""
        try:
            return self.digest(path) == artifact.digest
        except OSError:
            return False

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self.folder.iterdir() if path.name[:1] != "." and is_file(path))
        except OSError:
            return []
