"""Describes the artifacts of a descriptor of the profile ``tpf-2026-10``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.errors import DefinitionError
from wire.documents.artifact_uri import (
    MAVEN,
    ArtifactUriError,
    FileUri,
    ImageUri,
    MavenUri,
    parse_artifact_uri,
)
from wire.documents.contract import Contract
from wire.documents.descriptor import ArtifactKind
from wire.documents.json_reader import shown
from wire.release.carrier import known_capabilities

_ARTIFACT_ID: Final = re.compile(r"[A-Za-z0-9_.-]+")
_COORDINATES: Final = "GROUP:ARTIFACT[:EXTENSION[:CLASSIFIER]]:VERSION"


@dataclass(frozen=True, slots=True)
class Locations:
    """Where others find the artifacts, and which artifact is the carrier.

    ``carrier`` is an artifactId. It may be None if there is one artifact. ``maven`` has the Maven coordinates of the
    artifacts in their order, or nothing if they are files of this machine. ``images`` are the ``oci:`` URIs of
    container images in which the artifacts run.
    """

    carrier: str | None = None
    maven: Sequence[str] = ()
    images: Sequence[str] = ()

    @property
    def are_defaults(self) -> bool:
        """True if nothing was requested, so that the locations suit either profile."""
        return self.carrier is None and not self.maven and not self.images


ON_THIS_MACHINE: Final = Locations()
"""One artifact, a file of this machine, without images."""


def artifact_id_of(path: Path) -> str:
    """Return the artifactId that ``release`` gives to a file. It is derived from the file's name."""
    return f"{path.stem}-artifact"


def located_artifacts(
    digests: Mapping[Path, str], contract: Contract, locations: Locations
) -> tuple[str, list[dict[str, Any]]]:
    """Return the artifactId of the carrier, and the artifacts as JSON objects.

    ``digests`` are those of the files. The carrier has all steps and capabilities of the contract. The other artifacts
    have none.

    Raises ``DefinitionError``: INVALID_ARTIFACT_NAME, INVALID_CARRIER, INVALID_MAVEN_COORDINATES, INVALID_IMAGE.
    """
    carrier = _carrier([_checked_id(path) for path in digests], locations.carrier)
    archives = [
        {
            "artifactId": artifact_id_of(path),
            "kind": ArtifactKind.APPLICATION_ARCHIVE.value,
            "uri": uri,
            "digest": digest,
            "stepIds": [step.authored_name for step in contract.steps] if artifact_id_of(path) == carrier else [],
            "capabilities": known_capabilities(contract) if artifact_id_of(path) == carrier else [],
        }
        for (path, digest), uri in zip(digests.items(), _uris(list(digests), locations.maven), strict=True)
    ]
    images = [_image(number, text) for number, text in enumerate(locations.images, start=1)]
    return carrier, archives + images


def _checked_id(path: Path) -> str:
    artifact_id = artifact_id_of(path)
    if _ARTIFACT_ID.fullmatch(artifact_id) is None:
        raise DefinitionError(
            "INVALID_ARTIFACT_NAME",
            f"{shown(str(path))}: the artifactId is made from the file name, which may only have letters of ASCII, "
            "digits, . _ and -; rename the file",
        )
    return artifact_id


def _carrier(artifact_ids: list[str], requested: str | None) -> str:
    if requested is None and len(artifact_ids) == 1:
        return artifact_ids[0]
    if requested in artifact_ids:
        return requested
    problem = "there are several artifacts" if requested is None else f"no artifact is {shown(requested)}"
    raise DefinitionError(
        "INVALID_CARRIER",
        f"{problem}; name the one that carries the contract and hosts its steps with --carrier: "
        f"{', '.join(artifact_ids)}",
    )


def _uris(paths: list[Path], maven: Sequence[str]) -> list[str]:
    if not maven:
        return [_file_uri(path) for path in paths]
    if len(maven) != len(paths):
        raise DefinitionError(
            "INVALID_MAVEN_COORDINATES",
            f"there are {len(paths)} artifacts, but --maven is given {len(maven)} times; give it once for each "
            f"artifact, in this order: {', '.join(path.name for path in paths)}",
        )
    return [_maven_uri(text) for text in maven]


def _file_uri(path: Path) -> str:
    try:
        return str(FileUri(str(path.parent.resolve() / path.name)))
    except UnicodeEncodeError:
        message = f"{shown(str(path.parent))}: the path of the artifact is not UTF-8; move it to another folder"
        raise DefinitionError("INVALID_ARTIFACT_NAME", message) from None


def _maven_uri(text: str) -> str:
    """Return the canonical URI of coordinates, which may name the default extension ``jar``."""
    parts = text.removeprefix(MAVEN).split(":")
    if len(parts) == 4 and parts[2] == "jar":
        del parts[2]
    try:
        uri = parse_artifact_uri(MAVEN + ":".join(parts))
    except ArtifactUriError as error:
        message = f"{shown(text)} is not {_COORDINATES}: {error}"
        raise DefinitionError("INVALID_MAVEN_COORDINATES", message) from None
    if not isinstance(uri, MavenUri) or not uri.is_promotable:
        message = f"{shown(text)} is a snapshot, whose bytes can change; release a version instead"
        raise DefinitionError("INVALID_MAVEN_COORDINATES", message)
    return str(uri)


def _image(number: int, text: str) -> dict[str, Any]:
    try:
        uri = parse_artifact_uri(text)
    except ArtifactUriError as error:
        raise DefinitionError("INVALID_IMAGE", f"{shown(text)}: {error}") from None
    if not isinstance(uri, ImageUri):
        message = f"{shown(text)} is not oci://registry/repository@sha256:<digest>"
        raise DefinitionError("INVALID_IMAGE", message)
    return {
        "artifactId": f"image-{number}",
        "kind": ArtifactKind.CONTAINER_IMAGE.value,
        "uri": text,
        "digest": uri.digest,
        "stepIds": [],
        "capabilities": [],
    }
