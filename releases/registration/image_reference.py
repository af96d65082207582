"""References to container images, by the grammar of the OCI distribution project: `name[:tag]@digest`. Pure.

A name without a host is read as Docker reads it: on Docker Hub, and below `library/` where it has one part.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from wire.documents.descriptor import ArtifactKind, ArtifactRef, Descriptor, artifact_field
from wire.findings import Finding, Severity

IMAGE_KINDS: Final = frozenset({ArtifactKind.CONTAINER_IMAGE, ArtifactKind.LAMBDA_IMAGE})
DOCKER_HUB: Final = "docker.io"
LONGEST_NAME: Final = 255
_LONGEST: Final = 1000

_LABEL = r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[0-9a-fA-F:.]+\])(?::[0-9]{{1,5}})?")
_COMPONENT = r"[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """An image in a repository of a registry. `tag` and `digest` are empty where the reference has none."""

    host: str
    repository: str
    tag: str
    digest: str

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Raises ValueError with what is wrong, for a person to read."""
        if len(text) > _LONGEST:
            raise ValueError("it is too long")
        name, at, digest = text.partition("@")
        if at and not _DIGEST.fullmatch(digest):
            raise ValueError("what follows @ is no digest")
        if digest.startswith("sha256:") and not _SHA256.fullmatch(digest):
            raise ValueError("a sha256 digest has 64 lower-case hex digits")
        name, tag = _without_tag(name)
        host, path = _split(name)
        if not _HOST.fullmatch(host):
            raise ValueError("the registry's host is malformed")
        if not _PATH.fullmatch(path):
            raise ValueError("the repository's name is malformed: it has lower-case letters, digits and separators")
        if len(host) + 1 + len(path) > LONGEST_NAME:
            raise ValueError(f"the name has more than {LONGEST_NAME} characters")
        return cls(host, path, tag, digest)


def _without_tag(name: str) -> tuple[str, str]:
    """The name and its tag. A colon before the last slash is a port's."""
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
    """The artifacts that are images, with their positions."""
    for position, artifact in enumerate(descriptor.artifacts):
        if artifact.kind in IMAGE_KINDS:
            yield position, artifact


def pinned(artifact: ArtifactRef) -> ImageReference | None:
    """The reference of an image where it is well-formed and pins the artifact's own digest."""
    try:
        reference = ImageReference.parse(artifact.uri)
    except ValueError:
        return None
    return reference if reference.digest == artifact.digest else None


def findings(descriptor: Descriptor, severity: Severity = Severity.ERROR) -> list[Finding]:
    """What is wrong with the references of a descriptor's images: each pins the digest of its artifact."""
    return [
        Finding(code, artifact_field(position, "uri"), message, severity)
        for position, artifact in images(descriptor)
        for code, message in _wrong(artifact)
    ]


def _wrong(artifact: ArtifactRef) -> Iterator[tuple[str, str]]:
    try:
        reference = ImageReference.parse(artifact.uri)
    except ValueError as error:
        yield "IMAGE_REFERENCE_MALFORMED", f"the uri is no reference to an image: {error}"
        return
    if not reference.digest:
        yield "IMAGE_REFERENCE_NOT_PINNED", "the reference names no digest: write name@sha256:<hex>"
    elif reference.digest != artifact.digest:
        yield "IMAGE_REFERENCE_OTHER_DIGEST", "the reference pins another digest than the artifact"
