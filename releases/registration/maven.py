"""Downloads artifacts from configured Maven repositories, and accepts them by their digest alone.

So a repository can withhold bytes and cannot replace them. Versions that can change (`-SNAPSHOT`) are refused.

Requests are sent only to public addresses and to the networks that the installation allows
(`foundation.exchange`). Redirects are followed, because repositories keep their files in object stores. Each
hop is checked like the first one. Credentials are sent to the origin of their repository's `url` alone.
"""

import base64
import hashlib
import logging
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import urldefrag, urljoin

from django.conf import settings

from coordinator_client.errors import Broken, NotConnected, TimedOut
from foundation import secret_reference
from foundation.exchange import MOST_ADDRESSES, Response, TargetRefused, Unreachable, exchange, vet
from releases.artifacts.store import StagedBlob, artifact_store
from releases.registration.maven_repositories import Repository
from wire.addresses import DEFAULT_PORTS, split_url
from wire.documents.artifact_uri import MavenUri
from wire.documents.descriptor import artifact_field
from wire.documents.json_reader import shown
from wire.findings import Finding

log = logging.getLogger(__name__)
OTHER_DIGEST: Final = "MAVEN_ARTIFACT_OTHER_DIGEST"
"""The code of the refusal of an artifact that a repository has with other bytes."""


class ArtifactRefused(Exception):
    """A finding, with its code and message. A retry does not help."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class RepositoryUnavailable(Exception):
    """There is no verdict, because a repository or registry gave no usable response. A retry may help."""


class Unanswered(Exception):
    """There is no verdict on a release, because nothing says whether the bytes of the artifact at `position` exist.

    `finding` names the artifact, and the repository or registry that gave no usable response.
    """

    def __init__(self, code: str, position: int, message: str) -> None:
        super().__init__(message)
        self.position = position
        self.finding = Finding(code, artifact_field(position, "uri"), message)


MAX_REDIRECTS: Final = 3
CONNECT_SECONDS: Final = 10.0
SILENT_SECONDS: Final = 30.0
"""A server that sends nothing for this long is unavailable, so that the next one is tried in time."""
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_LONGEST_URL: Final = 8192
"""The signed URLs of object stores are longer than other URLs."""
_BEARER = re.compile(r"Bearer [!-~]+")
_ABSENT: Final = (404, 410)
_DENIED: Final = (401, 403)
_MISSING: Final = "MAVEN_ARTIFACT_MISSING"
_MAX_CHECKSUM_BYTES: Final = 1024
_HEX = re.compile(r"\b[0-9a-f]+\b")


def fetch(uri: MavenUri, digest: str, tenant: str, *, renew: Callable[[], None]) -> StagedBlob:
    """Download the artifact with this digest, and return its bytes. The caller keeps or discards them.

    The repositories that serve the group for the tenant are tried in order, each with its mirrors, until one has the
    bytes. All of this may take MAVEN_SECONDS. `renew` is called for each piece that arrives, and about once a minute if
    nothing arrives.

    Raises `ArtifactRefused`, `RepositoryUnavailable` if a repository that gave no usable response might have the bytes,
    and `ArtifactStoreUnavailable`.
    """
    if not uri.is_promotable:
        raise ArtifactRefused("MAVEN_SNAPSHOT", f"{shown(str(uri))} is a snapshot, whose bytes can change")
    configured: tuple[Repository, ...] = settings.MAVEN_REPOSITORIES
    repositories = [repository for repository in configured if repository.serves(uri.group, tenant)]
    if not repositories:
        message = f"no Maven repository is configured for the group {shown(uri.group)} and this tenant"
        raise ArtifactRefused("MAVEN_NOT_CONFIGURED", message)
    deadline = time.monotonic() + settings.MAVEN_SECONDS
    refusals: list[ArtifactRefused] = []
    unavailable: RepositoryUnavailable | None = None
    for repository in repositories:
        for url in repository.urls:
            try:
                return _Download(repository, f"{url}/{uri.path}", digest, deadline, renew).run()
            except RepositoryUnavailable as error:
                unavailable = unavailable or error
            except ArtifactRefused as error:
                refusals.append(error)
    raise unavailable or _verdict(uri, repositories, refusals)


def _verdict(uri: MavenUri, repositories: list[Repository], refusals: list[ArtifactRefused]) -> ArtifactRefused:
    """Return the first refusal by a repository that may have the artifact, or else that none has it."""
    for refusal in refusals:
        if refusal.code != _MISSING:
            return refusal
    names = ", ".join(repository.id for repository in repositories)
    return ArtifactRefused(_MISSING, f"{shown(str(uri))} is in none of the Maven repositories {names}")


@dataclass(frozen=True, slots=True)
class _Download:
    """The download of one artifact from one URL of a repository.

    `deadline` is a time of the monotonic clock. `renew` is called before each request, and for each piece that arrives.
    A request without a byte of its response ends within a minute.
    """

    repository: Repository
    url: str
    digest: str
    deadline: float
    renew: Callable[[], None]

    def run(self) -> StagedBlob:
        """Return the bytes with the digest. Raises `ArtifactRefused` and `RepositoryUnavailable`."""
        staged = artifact_store().stage(settings.MAX_ARTIFACT_BYTES)
        try:
            sha1 = self._receive(staged)
            if staged.digest != self.digest:
                raise self._difference(staged.checksum.hex(), sha1)
        except BaseException:
            staged.discard()
            raise
        return staged

    def _receive(self, staged: StagedBlob) -> str:
        """Write the artifact to `staged`. Return its SHA-1, which older repositories publish."""
        sha1 = hashlib.sha1(usedforsecurity=False)

        def receive(piece: bytes) -> None:
            staged.write(piece)
            sha1.update(piece)
            self.renew()

        name, limit = self.repository.id, settings.MAX_ARTIFACT_BYTES
        response = self._get(self.url, limit=limit, receive=receive)
        if response.status in _ABSENT:
            raise ArtifactRefused(_MISSING, f"the Maven repository {name} does not have the artifact")
        if response.status in _DENIED:
            message = f"the Maven repository {name} denies this coordinator access to the artifact"
            raise ArtifactRefused("MAVEN_ACCESS_DENIED", message)
        if response.status != 200:
            raise self._unavailable(f"it responded with status {response.status}")
        if not response.complete:
            message = f"the artifact in the Maven repository {name} has more than {limit} bytes"
            raise ArtifactRefused("MAVEN_ARTIFACT_TOO_LARGE", message)
        return sha1.hexdigest()

    def _difference(self, sha256: str, sha1: str) -> Exception:
        """Return why the bytes have another digest: the repository has other bytes, or the download is damaged.

        The message does not contain their digest, because a tenant gets the bytes of a digest that it knows.
        """
        for algorithm, actual in (("sha256", sha256), ("sha1", sha1)):
            published = self._published(algorithm, len(actual))
            if published == actual:
                break
            if published is not None:
                return self._unavailable(f"the download does not match its {algorithm} file")
        message = f"the artifact in the Maven repository {self.repository.id} has another digest"
        return ArtifactRefused(OTHER_DIGEST, message)

    def _published(self, algorithm: str, length: int) -> str | None:
        """Return the checksum that the repository has for the artifact; None if it has none of `length` digits."""
        response = self._get(f"{self.url}.{algorithm}", limit=_MAX_CHECKSUM_BYTES)
        if response.status in (*_ABSENT, *_DENIED):
            return None
        if response.status != 200:
            raise self._unavailable(f"it responded with status {response.status}")
        text = response.body.decode("ascii", "replace").lower() if response.complete else ""
        return next((digits for digits in _HEX.findall(text) if len(digits) == length), None)

    def _get(self, url: str, *, limit: int, receive: Callable[[bytes], object] | None = None) -> Response:
        """Return the response to a GET request, after at most MAX_REDIRECTS redirects.

        `limit` and `receive` are those of `exchange`. Raises `ArtifactRefused` for a URL that may not be called, and
        `RepositoryUnavailable`.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = self._call(url, limit, receive)
            if response.status not in _REDIRECTS:
                return response
            url = self._redirected(url, response.headers.get("location", ""))
        raise self._unavailable(f"it redirects more than {MAX_REDIRECTS} times")

    def _unavailable(self, reason: str) -> RepositoryUnavailable:
        """Return the error for a repository without a usable response, and log it."""
        log.warning("Maven repository %s: %s", self.repository.id, reason)
        return RepositoryUnavailable(f"the Maven repository {self.repository.id} is unavailable: {reason}")

    def _call(self, url: str, limit: int, receive: Callable[[bytes], object] | None) -> Response:
        self.renew()
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise self._unavailable("the artifact takes longer than MAVEN_SECONDS")
        try:
            target = vet(url, allowed=settings.MAVEN_ALLOWED_NETWORKS, longest=_LONGEST_URL)
            return exchange(
                target,
                "GET",
                b"",
                headers={"Accept": "*/*", "User-Agent": "durable-coordinator", **self._authorization(url)},
                connect_seconds=min(CONNECT_SECONDS, remaining / MOST_ADDRESSES),
                seconds=remaining,
                silent_seconds=SILENT_SECONDS,
                limit=limit,
                ca_file=settings.MAVEN_CA_FILE,
                receive=receive,
            )
        except TargetRefused as error:
            raise self._not_allowed(str(error)) from None
        except (Unreachable, NotConnected, TimedOut, Broken) as error:
            raise self._unavailable(str(error)) from error

    def _authorization(self, url: str) -> dict[str, str]:
        """Return the header with the credentials, if they belong to the origin of `url`."""
        if not self.repository.credentials or _origin(url) != _origin(self.repository.url):
            return {}
        text = (secret_reference.read(self.repository.credentials) or "").strip()
        if _BEARER.fullmatch(text):
            return {"Authorization": text}
        if not all(text.partition(":")) or not text.isprintable():
            raise self._unavailable(
                "its credentials cannot be read, or are neither user:password nor Bearer and a token"
            )
        return {"Authorization": f"Basic {base64.b64encode(text.encode()).decode()}"}

    def _redirected(self, url: str, location: str) -> str:
        """Return the URL to which the response to `url` redirects."""
        try:
            joined = urldefrag(urljoin(url, location)).url if location else ""
            scheme = _origin(joined)[0]
        except ValueError:
            raise self._unavailable("it redirects to no usable URL") from None
        if scheme == "http" and _origin(url)[0] == "https":
            raise self._not_allowed("it redirects from https to http")
        return joined

    def _not_allowed(self, reason: str) -> ArtifactRefused:
        message = f"the Maven repository {self.repository.id} may not be called: {reason}"
        return ArtifactRefused("MAVEN_REPOSITORY_NOT_ALLOWED", message)


def _origin(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port. Raises ValueError for anything that `vet` would refuse."""
    address = split_url(url, _LONGEST_URL)
    return address.scheme, (address.hostname or "").rstrip("."), address.port or DEFAULT_PORTS[address.scheme]
