"""Canonical locations of artifacts in release descriptors of the profile `tpf-2026-10`. Pure.

There are three: a file of this machine (`file:`), an artifact in Maven's layout (`maven:`) and an image in a registry
(`oci:`). Each location has exactly one spelling, so that equal descriptors have equal bytes.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import ClassVar, Final, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

from wire.documents.json_reader import shown
from wire.findings import CodedError

FILE, MAVEN, OCI = "file:", "maven:", "oci:"

# Neither `.` nor `..`, which would leave the artifact's folder in a repository.
_TOKEN = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.-]+")
_VERSION = re.compile(r"(?!\.{1,2}\Z)[A-Za-z0-9_.+~-]+")
_IMAGE = re.compile(r"oci://([A-Za-z0-9._:-]+)/([A-Za-z0-9._~/-]+)@(sha256:[0-9a-f]{64})")
_PLAIN: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.!~*'():@&=+$,/;")
"""The characters of a path that Java's `Path.toUri` does not escape."""
_PARTS = "maven:groupId:artifactId[:extension[:classifier]]:version"


class ArtifactUriError(CodedError):
    """A location that is not canonical. `code` is that of the finding."""


@dataclass(frozen=True, slots=True)
class FileUri:
    """A file of the machine that reads the descriptor. `path` is absolute and normalised."""

    path: str
    is_promotable: ClassVar[bool] = False

    def __str__(self) -> str:
        escaped = (chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in self.path.encode())
        return f"file://{''.join(escaped)}"


@dataclass(frozen=True, slots=True)
class MavenUri:
    """An artifact in a Maven repository. `classifier` is empty if it has none."""

    group: str
    artifact: str
    version: str
    extension: str = "jar"
    classifier: str = ""

    def __str__(self) -> str:
        middle = [] if (self.extension, self.classifier) == ("jar", "") else [self.extension]
        middle += [self.classifier] if self.classifier else []
        return "maven:" + ":".join([self.group, self.artifact, *middle, self.version])

    @property
    def is_promotable(self) -> bool:
        """False for a snapshot, whose bytes can change."""
        return not self.version.upper().endswith("-SNAPSHOT")

    @property
    def path(self) -> str:
        """The path of the artifact in a repository, in Maven's default layout."""
        suffix = f"-{self.classifier}" if self.classifier else ""
        folder = self.group.replace(".", "/")
        return f"{folder}/{self.artifact}/{self.version}/{self.artifact}-{self.version}{suffix}.{self.extension}"


@dataclass(frozen=True, slots=True)
class ImageUri:
    """An image in a registry. `digest` is that of its manifest."""

    registry: str
    repository: str
    digest: str
    is_promotable: ClassVar[bool] = True

    def __str__(self) -> str:
        return f"oci://{self.registry}/{self.repository}@{self.digest}"


ArtifactUri = FileUri | MavenUri | ImageUri
UriT = TypeVar("UriT", FileUri, MavenUri, ImageUri)


def parse_artifact_uri(text: str) -> ArtifactUri:
    """Return the location that `text` names.

    Raises `ArtifactUriError` with one of these codes: ARTIFACT_URI_SCHEME_UNSUPPORTED, ARTIFACT_URI_MALFORMED, and
    ARTIFACT_URI_NOT_CANONICAL for another spelling of a location.
    """
    if text.startswith(FILE):
        return _file(text)
    if text.startswith(MAVEN):
        return _maven(text)
    if text.startswith(OCI):
        match = _IMAGE.fullmatch(text)
        if match is None:
            raise _malformed("an oci: URI is oci://registry/repository@sha256:<64 lower-case hex digits>")
        return ImageUri(*match.groups())
    raise ArtifactUriError("ARTIFACT_URI_SCHEME_UNSUPPORTED", "the uri is not a file:, maven: or oci: URI")


def _file(text: str) -> FileUri:
    if "?" in text or "#" in text:
        raise _malformed("a file: URI has no query and no fragment")
    try:
        text.encode()
        address = urlsplit(text)
    except ValueError:
        raise _malformed("the file: URI is malformed") from None
    if not address.path.startswith("/") or address.netloc:
        raise _malformed("a file: URI is absolute, and names no host")
    try:
        path = unquote_to_bytes(address.path).decode()
    except UnicodeDecodeError:
        raise _malformed("the path of a file: URI is not UTF-8") from None
    if "\0" in path:
        raise _malformed("the path of a file: URI contains a null character")
    return _canonical(text, FileUri("/" + posixpath.normpath(path).lstrip("/")))


def _maven(text: str) -> MavenUri:
    if text.startswith("maven://"):
        raise _malformed(f"a maven: URI has no //: {_PARTS}")
    classifier: str | None = None
    match text.removeprefix(MAVEN).split(":"):
        case [group, artifact, version]:
            parsed = MavenUri(group, artifact, version)
        case [group, artifact, extension, version]:
            parsed = MavenUri(group, artifact, version, extension)
        case [group, artifact, extension, classifier, version]:
            parsed = MavenUri(group, artifact, version, extension, classifier)
        case _:
            raise _malformed(f"a maven: URI is {_PARTS}")
    part = _malformed_part(parsed, classifier)
    if part is not None:
        raise _malformed(f"the {part} of the maven: URI is malformed")
    return _canonical(text, parsed)


def _malformed_part(uri: MavenUri, classifier: str | None) -> str | None:
    """Return the name of the first malformed part. `classifier` is None if the text has no such part."""
    if not all(map(_TOKEN.fullmatch, uri.group.split("."))):
        return "groupId"
    named = {"artifactId": uri.artifact, "extension": uri.extension, "classifier": classifier}
    for name, part in named.items():
        if part is not None and not _TOKEN.fullmatch(part):
            return name
    return None if _VERSION.fullmatch(uri.version) else "version"


def _canonical(text: str, parsed: UriT) -> UriT:
    if str(parsed) != text:
        raise ArtifactUriError("ARTIFACT_URI_NOT_CANONICAL", f"the canonical form of the uri is {shown(str(parsed))}")
    return parsed


def _malformed(message: str) -> ArtifactUriError:
    return ArtifactUriError("ARTIFACT_URI_MALFORMED", message)
