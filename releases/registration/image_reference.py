"""Parses references to container images by the grammar of the OCI distribution project: `name[:tag]@digest`. Pure.

As in Docker, a name without a host is on Docker Hub, and a name of one part there is below `library/`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wire.documents.artifact_uri import ImageUri
from wire.documents.descriptor import ArtifactRef, Descriptor, LocatedArtifactRef, artifact_field
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


def images(descriptor: Descriptor) -> Iterator[tuple[int, ArtifactRef]]:
    """Yield the artifacts that are images, with their positions."""
    for position, artifact in enumerate(descriptor.artifacts):
        if artifact.kind.is_image:
            yield position, artifact


def pinned(artifact: ArtifactRef) -> ImageReference | None:
    """Return the reference of an image. None if it is malformed or does not pin the digest of the artifact."""
    try:
        reference = _reference(artifact)
    except ValueError:
        return None
    return reference if reference.digest == artifact.digest else None


def _reference(artifact: ArtifactRef) -> ImageReference:
    location = artifact.location if isinstance(artifact, LocatedArtifactRef) else None
    return ImageReference.at(location) if isinstance(location, ImageUri) else ImageReference.parse(artifact.uri)


def findings(descriptor: Descriptor, severity: Severity = Severity.ERROR) -> list[Finding]:
    """Return a finding for each image whose reference does not pin the digest of its artifact."""
    return [
        Finding(code, artifact_field(position, "uri"), message, severity)
        for position, artifact in images(descriptor)
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
