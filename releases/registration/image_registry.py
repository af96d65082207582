"""Checks that registries have the images of a release, with a request for each manifest (OCI distribution API).

The request is HEAD, or GET if the registry does not implement HEAD: then the manifest must have the digest. No image is
pulled. If a registry gives no usable response, there is no verdict and the check is retried later. Requests are sent
only to public addresses and to the networks that the installation allows (`foundation.exchange`). Redirects
are not followed.

References follow the grammar of the OCI distribution project, `name[:tag]@digest`. As in Docker, a name without a host
is on Docker Hub, and a name of one part there is below `library/`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

from django.conf import settings

from coordinator_client.errors import Broken, NotConnected, TimedOut
from foundation.exchange import MOST_ADDRESSES, Response, TargetRefused, Unreachable, exchange, vet
from releases.registration.maven import ArtifactRefused, RepositoryUnavailable, Unanswered
from wire.documents.artifact_uri import ImageUri
from wire.documents.descriptor import ArtifactRef, Descriptor, LocatedArtifactRef, artifact_field
from wire.documents.json_reader import shown
from wire.findings import Finding, Severity

DOCKER_HUB: Final = "docker.io"
MAX_NAME_LENGTH: Final = 255
_MAX_LENGTH: Final = 1000

_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image in a repository of a registry. `tag` and `digest` are empty if the reference has none."""

    host: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def at(cls, location: ImageUri) -> ImageReference:
        """Return the reference of an `oci:` URI. Raises ValueError with a message for users."""
        host, path = location.registry, location.repository
        if host == DOCKER_HUB:
            path = _on_docker_hub(path)
        return cls(*_valid(host, path), "", location.digest)

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Parse `text`. Raises ValueError with a message for users."""
        if len(text) > _MAX_LENGTH:
            raise ValueError("it is too long")
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise ValueError("the part after @ is not a digest")
        if digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
            raise ValueError("a sha256 digest has 64 lower-case hex digits")
        name, tag = _without_tag(name)
        return cls(*_valid(*_split(name)), tag, digest)


def _valid(host: str, path: str) -> tuple[str, str]:
    """Return the host and the path. Raises ValueError with a message for users."""
    if not _HOST.fullmatch(host):
        raise ValueError("the registry's host is malformed")
    if not _PATH.fullmatch(path):
        raise ValueError(
            "the name of the repository is malformed: it may only have lower-case letters, digits and separators"
        )
    if len(host) + 1 + len(path) > MAX_NAME_LENGTH:
        raise ValueError(f"the name has more than {MAX_NAME_LENGTH} characters")
    return host, path


def _without_tag(name: str) -> tuple[str, str]:
    """Return the name and the tag. A colon before the last slash belongs to a port."""
    before, colon, tag = name.rpartition(":")
    if not colon or "/" in tag or before.endswith("["):
        return name, ""
    if not _TAG.fullmatch(tag):
        raise ValueError("the tag is malformed")
    return before, tag


def _split(name: str) -> tuple[str, str]:
    first, slash, rest = name.partition("/")
    if slash and (first == "localhost" or any(mark in first for mark in ".:[") or first != first.lower()):
        return (DOCKER_HUB, _on_docker_hub(rest)) if first in (DOCKER_HUB, "index.docker.io") else (first, rest)
    return DOCKER_HUB, _on_docker_hub(name)


def _on_docker_hub(path: str) -> str:
    return path if "/" in path else f"library/{path}"


def _images(descriptor: Descriptor) -> Iterator[tuple[int, ArtifactRef]]:
    """Yield the artifacts that are images, with their positions."""
    for position, artifact in enumerate(descriptor.artifacts):
        if artifact.kind.is_image:
            yield position, artifact


def _reference(artifact: ArtifactRef) -> ImageReference:
    location = artifact.location if isinstance(artifact, LocatedArtifactRef) else None
    return ImageReference.at(location) if isinstance(location, ImageUri) else ImageReference.parse(artifact.uri)


def unusable(descriptor: Descriptor, severity: Severity = Severity.ERROR) -> list[Finding]:
    """Return a finding for each image whose reference does not pin the digest of its artifact."""
    return [
        Finding(code, artifact_field(position, "uri"), message, severity)
        for position, artifact in _images(descriptor)
        for code, message in _wrong(artifact)
    ]


def _wrong(artifact: ArtifactRef) -> Iterator[tuple[str, str]]:
    try:
        reference = _reference(artifact)
    except ValueError as error:
        yield "IMAGE_REFERENCE_MALFORMED", f"the uri is not an image reference: {error}"
        return
    if not reference.digest:
        yield "IMAGE_REFERENCE_NOT_PINNED", "the reference has no digest: use name@sha256:<hex>"
    elif reference.digest != artifact.digest:
        yield "IMAGE_REFERENCE_OTHER_DIGEST", "the reference pins a different digest than the artifact"


log = logging.getLogger(__name__)
MANIFESTS: Final = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
MAX_MANIFEST_BYTES: Final = 4 * 1024 * 1024
"""The specification requires that clients and registries support manifests of this size."""
MOST_UNANSWERED: Final = 3
_NO_HEAD: Final = (405, 501)
_MAX_TOKEN_BYTES = 64 * 1024
_PARAMETER = re.compile(r'([a-zA-Z]+)="([^"\\]*)"')
_PRINTABLE = re.compile(r"[!-~]+")


def findings(descriptor: Descriptor) -> tuple[list[Finding], Unanswered | None]:
    """Return a finding for each image that its registry does not have, and the first image without a verdict.

    The checks of all images together may take IMAGE_REGISTRY_SECONDS, and end after MOST_UNANSWERED images without a
    verdict. References that do not pin the digest of their artifact are skipped, because they have findings already
    (`unusable`).
    """
    refused: list[Finding] = []
    unanswered: list[Unanswered] = []
    deadline = time.monotonic() + settings.IMAGE_REGISTRY_SECONDS
    for position, artifact in _images(descriptor):
        if any(_wrong(artifact)) or len(unanswered) == MOST_UNANSWERED:
            continue
        reference = _reference(artifact)
        try:
            _Check(reference, artifact, deadline).run()
        except ArtifactRefused as refusal:
            refused.append(Finding(refusal.code, artifact_field(position, "uri"), str(refusal)))
        except RepositoryUnavailable as error:
            message = f"image {shown(artifact.artifact_id)}: {reference.host} is unavailable: {error}"
            unanswered.append(Unanswered("IMAGE_REGISTRY_UNAVAILABLE", position, message))
    return refused, unanswered[0] if unanswered else None


@dataclass(frozen=True, slots=True)
class _Check:
    """The check of one image. `deadline` is a time of the monotonic clock."""

    reference: ImageReference
    artifact: ArtifactRef
    deadline: float

    def run(self) -> None:
        """Return if the registry has the manifest. Raises `ArtifactRefused` and `RepositoryUnavailable`."""
        host = self.reference.host
        if settings.IMAGE_REGISTRIES and host not in settings.IMAGE_REGISTRIES:
            raise ArtifactRefused(
                "IMAGE_REGISTRY_NOT_ALLOWED", f"{host} is not among the registries in IMAGE_REGISTRIES"
            )
        response = self._ask("HEAD")
        if response.status not in _NO_HEAD:
            self._judge(response, response.headers.get("docker-content-digest"))
            return
        response = self._ask("GET")
        if response.status == 200 and not response.complete:
            message = f"{host} has a manifest of more than {MAX_MANIFEST_BYTES} bytes"
            raise ArtifactRefused("IMAGE_MANIFEST_TOO_LARGE", message)
        self._judge(response, f"sha256:{hashlib.sha256(response.body).hexdigest()}")

    def _ask(self, method: str) -> Response:
        """Return the response to a request for the manifest, with the authorization that the registry requires."""
        response = self._request(method, {})
        return self._request(method, self._authorised(response)) if response.status == 401 else response

    def _judge(self, response: Response, digest: str | None) -> None:
        """Return if the response is a manifest. `digest` is that of the manifest, if it is known."""
        host = self.reference.host
        if response.status == 404:
            raise ArtifactRefused(
                "IMAGE_MANIFEST_MISSING", f"{host} has no manifest {self.artifact.digest} in this repository"
            )
        if response.status in (401, 403):
            raise ArtifactRefused("IMAGE_REGISTRY_DENIED", f"{host} denies this coordinator access to the repository")
        if response.status != 200:
            raise RepositoryUnavailable(f"it responded with status {response.status}")
        if digest and digest != self.artifact.digest:
            raise ArtifactRefused("IMAGE_MANIFEST_OTHER_DIGEST", f"{host} returned a manifest with a different digest")

    def _request(self, method: str, headers: dict[str, str]) -> Response:
        scheme = "http" if self.reference.host in settings.IMAGE_REGISTRIES_PLAIN_HTTP else "https"
        host = "registry-1.docker.io" if self.reference.host == DOCKER_HUB else self.reference.host
        url = f"{scheme}://{host}/v2/{self.reference.repository}/manifests/{self.artifact.digest}"
        return self._call(method, url, {"Accept": MANIFESTS, **headers}, MAX_MANIFEST_BYTES)

    def _authorised(self, challenged: Response) -> dict[str, str]:
        """Return the authorization header for a challenge: a token from the realm of the registry, or the password."""
        scheme, _, rest = challenged.headers.get("www-authenticate", "").partition(" ")
        if scheme.lower() == "basic":
            return self._password()
        if scheme.lower() != "bearer":
            return {}
        challenge = {name.lower(): value for name, value in _PARAMETER.findall(rest)}
        return {"Authorization": f"Bearer {self._token(challenge)}"}

    def _token(self, challenge: dict[str, str]) -> str:
        realm, host = challenge.get("realm", ""), self.reference.host
        # A registry must not make us send a password without TLS.
        if urlsplit(realm).scheme != "https" and host not in settings.IMAGE_REGISTRIES_PLAIN_HTTP:
            raise ArtifactRefused("IMAGE_REGISTRY_DENIED", f"{host} names no https address for tokens")
        query = {"service": challenge.get("service", ""), "scope": f"repository:{self.reference.repository}:pull"}
        joined = f"{realm}{'&' if urlsplit(realm).query else '?'}{urlencode(query)}"
        response = self._call("GET", joined, self._password(), _MAX_TOKEN_BYTES)
        if response.status in (400, 401, 403, 404):
            raise ArtifactRefused("IMAGE_REGISTRY_DENIED", f"{host} gives this coordinator no token for the repository")
        try:
            document = json.loads(response.body) if response.status == 200 and response.complete else None
        except (ValueError, RecursionError):
            document = None
        token = (document.get("token") or document.get("access_token")) if isinstance(document, dict) else None
        if not isinstance(token, str) or not _PRINTABLE.fullmatch(token):
            raise RepositoryUnavailable(f"no usable token was returned (status {response.status})")
        return token

    def _password(self) -> dict[str, str]:
        known = settings.IMAGE_REGISTRY_CREDENTIALS.get(self.reference.host)
        return {"Authorization": f"Basic {base64.b64encode(known.encode()).decode()}"} if known else {}

    def _call(self, method: str, url: str, headers: dict[str, str], limit: int) -> Response:
        """Return the response, with at most `limit` bytes of its body."""
        remaining = self.deadline - time.monotonic()
        if remaining <= 0:
            raise RepositoryUnavailable("the registries of this release take too long")
        try:
            target = vet(url, allowed=settings.IMAGE_REGISTRY_ALLOWED_NETWORKS)
            return exchange(
                target,
                method,
                b"",
                headers=headers,
                connect_seconds=remaining / MOST_ADDRESSES,
                seconds=remaining,
                limit=limit,
                ca_file=settings.IMAGE_REGISTRY_CA_FILE,
            )
        except TargetRefused as error:
            raise ArtifactRefused("IMAGE_REGISTRY_NOT_ALLOWED", f"the registry may not be called: {error}") from None
        except (Unreachable, NotConnected, TimedOut, Broken) as error:
            log.warning("registry %s: %s", urlsplit(url).netloc, error)
            raise RepositoryUnavailable(str(error)) from error
