"""Finds the files of a release: its descriptor, and its artifacts on this machine or in Maven repositories."""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

from coordinator_client.errors import Unreachable
from coordinator_client.http import Response, opened
from pipelines.errors import DefinitionError
from wire.addresses import is_web_address
from wire.documents.artifact_uri import FileUri, MavenUri
from wire.documents.descriptor import (
    MAX_DESCRIPTOR_BYTES,
    ArtifactRef,
    Descriptor,
    LocatedArtifactRef,
    parse_descriptor,
)
from wire.findings import DocumentError

_CHUNK: Final = 1024 * 1024


def maven_location(artifact: ArtifactRef) -> MavenUri | None:
    """Return the location of an artifact in Maven repositories; None if it is elsewhere."""
    if isinstance(artifact, LocatedArtifactRef) and isinstance(artifact.location, MavenUri):
        return artifact.location
    return None


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
    stated = uri_file(artifact)
    if not isinstance(artifact, LocatedArtifactRef):
        name = Path(artifact.uri).name
    else:
        name = Path(artifact.location.path).name if isinstance(artifact.location, FileUri) else ""
    return stated or (folder / name if name and is_file(folder / name) else None)


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
    if isinstance(error, FileNotFoundError):
        return DefinitionError("FILE_UNREADABLE", f"there is no {path}; name a file or folder of this machine")
    return DefinitionError("FILE_UNREADABLE", f"{path} cannot be read: {error.strerror}")


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


def copy_pinned(source: Path, target: Path, digest: str) -> None:
    """Copy a file. Raises OSError, and ``DefinitionError`` NO_ARTIFACT if the copy has another digest."""
    hashed = hashlib.sha256()
    with source.open("rb") as file, target.open("wb") as copy:
        while piece := file.read(_CHUNK):
            hashed.update(piece)
            copy.write(piece)
    if f"sha256:{hashed.hexdigest()}" != digest:
        raise DefinitionError("NO_ARTIFACT", f"{source} was changed while it was released; release it again")


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
        stated, named = uri_file(artifact), named_file(artifact, self.folder)
        if named is not None and (stated is not None or self.has(named, artifact)):
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


CREDENTIALS: Final = "PIPELINES_MAVEN_CREDENTIALS"
MAX_BYTES: Final = 2 * 1024**3
"""The largest artifact that is downloaded."""
DOWNLOAD_SECONDS: Final = 600.0
"""How long the download of one artifact may take."""
_SILENCE_SECONDS: Final = 30.0
"""How long a repository may be silent."""
_MOST_REDIRECTS: Final = 5
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})


class RepositoryError(Exception):
    """A repository does not return an artifact. ``code`` is stable, and the text says which repository and why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Repositories:
    """Repositories in the order in which they are asked. ``repr`` omits the credentials.

    ``places`` are folders and URLs. ``credentials`` are ``user:password`` or empty. ``download_seconds`` and
    ``max_bytes`` limit the download of one artifact.
    """

    places: Sequence[str] = ()
    credentials: str = field(default="", repr=False)
    download_seconds: float = DOWNLOAD_SECONDS
    max_bytes: int = MAX_BYTES

    def require_usable(self) -> None:
        """Check folders, URLs and credentials.

        Credentials are sent to one host only, over https or to this machine. Raises ``DefinitionError``:
        INVALID_REPOSITORY, INVALID_REPOSITORY_CREDENTIALS.
        """
        urls = [urlsplit(place) for place in self.places if _is_url(place)]
        for number, place in enumerate(self.places, start=1):
            if _is_url(place) and (not is_web_address(place) or "?" in place):
                message = f"repository {number} is a URL that has credentials, a query or a fragment, or is malformed"
                raise DefinitionError("INVALID_REPOSITORY", f"{message}; set ${CREDENTIALS} to user:password")
            if not _is_url(place) and not Path(place).is_dir():
                raise DefinitionError("INVALID_REPOSITORY", f"repository {number} is neither a folder nor a URL")
        if not self.credentials:
            return
        if ":" not in self.credentials or not self.credentials.isprintable():
            message = f"${CREDENTIALS} must be user:password, in printable characters"
            raise DefinitionError("INVALID_REPOSITORY_CREDENTIALS", message)
        if len({_origin(url) for url in urls}) > 1:
            message = f"${CREDENTIALS} is set, and would be sent to several hosts; name repositories of one host"
            raise DefinitionError("INVALID_REPOSITORY_CREDENTIALS", message)
        if any(url.scheme.lower() == "http" and not _is_this_machine(url) for url in urls):
            message = f"${CREDENTIALS} is not sent over http; use an https URL"
            raise DefinitionError("INVALID_REPOSITORY_CREDENTIALS", message)

    def get(self, location: MavenUri, target: Path) -> tuple[Path, str]:
        """Return the file of the first repository that has the artifact, and where that is.

        A download is written to ``target``. The bytes are not compared with any digest. Raises ``RepositoryError``
        with one of these codes: REPOSITORY_DENIED, REPOSITORY_UNREACHABLE, ARTIFACT_FILE_MISSING.
        """
        errors: list[RepositoryError] = []
        for place in self.places:
            if not _is_url(place):
                path = Path(place, location.path)
                if is_file(path):
                    return path, str(path)
                continue
            url = f"{place.rstrip('/')}/{location.path}"
            try:
                if self._downloaded(url, target):
                    return target, url
            except RepositoryError as error:
                errors.append(error)
        missing = RepositoryError("ARTIFACT_FILE_MISSING", "none of the repositories has this artifact")
        raise next((error for error in errors if error.code == "REPOSITORY_DENIED"), (errors or [missing])[0])

    def _downloaded(self, url: str, target: Path) -> bool:
        """Write the body at ``url`` to ``target``. Return False if there is nothing at that address."""
        deadline, origin = time.monotonic() + self.download_seconds, _origin(urlsplit(url))
        for _ in range(_MOST_REDIRECTS + 1):
            parts = urlsplit(url)
            try:
                headers = self._headers(parts, origin)
                with opened("GET", url, headers=headers, silent_seconds=_SILENCE_SECONDS) as response:
                    if response.status not in _REDIRECTS:
                        return self._received(response, parts, target, deadline)
                    url = _next(url, response.headers.get("location", ""))
            except (OSError, Unreachable) as error:
                raise _unreachable(
                    parts, str(error) if isinstance(error, Unreachable) else type(error).__name__
                ) from None
        raise _unreachable(urlsplit(url), "it redirects too often")

    def _headers(self, url: SplitResult, origin: tuple[str, str, int | None]) -> dict[str, str]:
        headers = {"Accept": "*/*", "Accept-Encoding": "identity", "User-Agent": "durable-pipelines"}
        if self.credentials and _origin(url) == origin:
            headers["Authorization"] = f"Basic {base64.b64encode(self.credentials.encode()).decode()}"
        return headers

    def _received(self, response: Response, url: SplitResult, target: Path, deadline: float) -> bool:
        if response.status in (404, 410):
            return False
        if response.status in (401, 403):
            message = f"{url.hostname} denies access with status {response.status}; check ${CREDENTIALS}"
            raise RepositoryError("REPOSITORY_DENIED", message)
        if response.status != 200:
            raise _unreachable(url, f"it responds with status {response.status}")
        with target.open("wb") as file:
            for chunk in response.pieces():
                file.write(chunk)
                if file.tell() > self.max_bytes:
                    raise _unreachable(url, f"the artifact has more than {self.max_bytes} bytes")
                if time.monotonic() > deadline:
                    raise _unreachable(url, f"the download takes longer than {self.download_seconds:g} s")
        return True


NO_REPOSITORIES: Final = Repositories()


def _is_url(place: str) -> bool:
    return "://" in place


def _origin(url: SplitResult) -> tuple[str, str, int | None]:
    return url.scheme.lower(), url.hostname or "", url.port


def _is_this_machine(url: SplitResult) -> bool:
    try:
        return url.hostname == "localhost" or ip_address(url.hostname or "").is_loopback
    except ValueError:
        return False


def _next(url: str, location: str) -> str:
    """Return the target of a redirect. It must be a web address, and a redirect from https stays with https."""
    target = urljoin(url, location)
    if not location or not is_web_address(target) or (url.lower().startswith("https:") and target[:6] != "https:"):
        raise _unreachable(urlsplit(url), "it redirects to an address that is not allowed")
    return target


def _unreachable(url: SplitResult, reason: str) -> RepositoryError:
    return RepositoryError("REPOSITORY_UNREACHABLE", f"the repository at {url.hostname}: {reason}")
