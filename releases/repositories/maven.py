"""Downloads artifacts in Maven's layout, and accepts them by their digest alone."""

import hashlib
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from django.conf import settings

from releases.artifacts.store import StagedBlob, artifact_store
from releases.repositories.configuration import Repository
from releases.repositories.requests import OTHER_DIGEST, ArtifactRefused, Client, RepositoryUnavailable
from wire.documents.artifact_uri import MavenUri
from wire.documents.json_reader import shown

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
    repositories = [each for each in configured if each.serves(uri.group, tenant)]
    if not repositories:
        message = f"no Maven repository is configured for the group {shown(uri.group)} and this tenant"
        raise ArtifactRefused("MAVEN_NOT_CONFIGURED", message)
    deadline = time.monotonic() + settings.MAVEN_SECONDS
    refusals: list[ArtifactRefused] = []
    unavailable: RepositoryUnavailable | None = None
    for repository in repositories:
        client = Client(repository, deadline, renew)
        for url in repository.urls:
            try:
                return _Download(client, f"{url}/{uri.path}", digest).run()
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
    """The download of one artifact from one URL of a repository."""

    client: Client
    url: str
    digest: str

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
            self.client.renew()

        name, limit = self.client.repository.id, settings.MAX_ARTIFACT_BYTES
        response = self.client.get(self.url, limit=limit, receive=receive)
        if response.status in _ABSENT:
            raise ArtifactRefused(_MISSING, f"the Maven repository {name} does not have the artifact")
        if response.status in _DENIED:
            message = f"the Maven repository {name} denies this coordinator access to the artifact"
            raise ArtifactRefused("MAVEN_ACCESS_DENIED", message)
        if response.status != 200:
            raise self.client.unavailable(f"it responded with status {response.status}")
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
                return self.client.unavailable(f"the download does not match its {algorithm} file")
        message = f"the artifact in the Maven repository {self.client.repository.id} has another digest"
        return ArtifactRefused(OTHER_DIGEST, message)

    def _published(self, algorithm: str, length: int) -> str | None:
        """Return the checksum that the repository has for the artifact; None if it has none of `length` digits."""
        response = self.client.get(f"{self.url}.{algorithm}", limit=_MAX_CHECKSUM_BYTES)
        if response.status in (*_ABSENT, *_DENIED):
            return None
        if response.status != 200:
            raise self.client.unavailable(f"it responded with status {response.status}")
        text = response.body.decode("ascii", "replace").lower() if response.complete else ""
        return next((digits for digits in _HEX.findall(text) if len(digits) == length), None)
