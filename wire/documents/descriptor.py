"""`pipeline-release.json`: one deployable version of one contract (wire protocol A.2)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from wire.documents.json_reader import Dialect, Path, bounded, field_of, inspect_value, scan, shown
from wire.documents.shape import (
    ArrayOrNull,
    Document,
    Identifiers,
    Identity,
    Int32,
    RequiredIdentifier,
    SegmentIdentity,
    shape,
)
from wire.findings import DocumentError, Finding, Severity

CHECKPOINTS = "checkpoint-each-step"
"""An artifact with this capability requests a checkpoint after each step."""
MAX_DESCRIPTOR_BYTES = 1024 * 1024
DESCRIPTOR_NAME = "pipeline-release.json"

_DIGEST_PREFIX = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
_ANY_CASE_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_MALFORMED_DIGEST = "Release artifact digest must use sha256:<hex>"

_DIALECT = Dialect(
    name=DESCRIPTOR_NAME,
    code="DESCRIPTOR",
    preamble="Invalid pipeline release descriptor JSON: ",
    verbatim=frozenset(
        {
            "DESCRIPTOR_BLANK_MEMBER",
            "DESCRIPTOR_NO_ARTIFACTS",
            "ARTIFACT_KIND_UNSUPPORTED",
            "ARTIFACT_DIGEST_MALFORMED",
            "ARTIFACT_DIGEST_UPPER_CASE",
        }
    ),
)


class ArtifactKind(StrEnum):
    """The kinds of artifacts (wire protocol A.2.2)."""

    JAR = "jar"
    LOCAL_FILE = "local-file"
    NATIVE_BINARY = "native-binary"
    LAMBDA_ZIP = "lambda-zip"
    CONTAINER_IMAGE = "container-image"
    LAMBDA_IMAGE = "lambda-image"
    EXTERNAL_ENDPOINT = "external-endpoint"

    @property
    def is_stored(self) -> bool:
        """True for the four local kinds, whose bytes are stored. The others only identify something elsewhere."""
        return self in _STORED


_STORED = frozenset({ArtifactKind.JAR, ArtifactKind.LOCAL_FILE, ArtifactKind.NATIVE_BINARY, ArtifactKind.LAMBDA_ZIP})


def _supported_kind(value: Any) -> Any:
    if value is None:
        raise PydanticCustomError("missing", "null")
    if not isinstance(value, str):
        raise PydanticCustomError("string_type", "not a string")
    if not value.strip():
        raise PydanticCustomError("blank", "blank")
    try:
        return ArtifactKind(value.lower())
    except ValueError:
        message = "Unsupported release artifact kind {kind}"
        raise PydanticCustomError("ARTIFACT_KIND_UNSUPPORTED", message, {"kind": shown(value)}) from None


def _supported_schema(version: int) -> int:
    if version != 1:
        message = "Unsupported pipeline release schemaVersion {version}"
        raise PydanticCustomError("DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", message, {"version": version})
    return version


class ArtifactRef(Document):
    """One artifact that a release pins by digest. `kind` is in its canonical lower case."""

    artifact_id: Identity
    kind: Annotated[ArtifactKind, BeforeValidator(_supported_kind)]
    uri: RequiredIdentifier
    digest: Identity
    step_ids: Identifiers = ()
    capabilities: Identifiers = ()

    @field_validator("digest")
    @classmethod
    def _digest_rules(cls, digest: str, info: ValidationInfo) -> str:
        if not digest.startswith(_DIGEST_PREFIX):
            raise PydanticCustomError("ARTIFACT_DIGEST_MALFORMED", _MALFORMED_DIGEST)
        kind = info.data.get("kind")
        hexadecimal = digest.removeprefix(_DIGEST_PREFIX)
        if kind is None or not kind.is_stored or _HEX.fullmatch(hexadecimal):
            return digest
        if _ANY_CASE_HEX.fullmatch(hexadecimal):
            message = "Release artifact digest must be in lower case: an upper-case digest matches no file"
            raise PydanticCustomError("ARTIFACT_DIGEST_UPPER_CASE", message)
        raise PydanticCustomError("ARTIFACT_DIGEST_MALFORMED", _MALFORMED_DIGEST)


def _at_least_one(artifacts: tuple[ArtifactRef, ...]) -> tuple[ArtifactRef, ...]:
    if not artifacts:
        message = "Release descriptor must contain at least one artifact"
        raise PydanticCustomError("DESCRIPTOR_NO_ARTIFACTS", message)
    return artifacts


class Descriptor(Document):
    """A descriptor that follows rules 4 to 10 of wire protocol A.3, as far as they concern only the descriptor."""

    schema_version: Annotated[Int32, AfterValidator(_supported_schema)] = 0
    pipeline_id: SegmentIdentity
    contract_version: SegmentIdentity
    release_version: SegmentIdentity
    artifacts: Annotated[tuple[ArtifactRef, ...], AfterValidator(_at_least_one), ArrayOrNull] = ()

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Warnings about digests of remote artifacts that are not SHA-256. They are accepted."""
        return tuple(
            Finding(
                code="ARTIFACT_DIGEST_UNUSUAL",
                field=artifact_field(position, "digest"),
                message="the digest of a remote artifact is not 64 lower-case hex digits",
                severity=Severity.WARNING,
            )
            for position, artifact in enumerate(self.artifacts)
            if not _HEX.fullmatch(artifact.digest.removeprefix(_DIGEST_PREFIX))
        )


def artifact_field(position: int, *members: str) -> str:
    """Return the field of a finding about the artifact at `position`, or a member of it."""
    path: Path = ("artifacts", position, *members)
    return field_of(DESCRIPTOR_NAME, path)


def parse_descriptor(data: bytes) -> Descriptor:
    """Return the descriptor in `data`, at most MAX_DESCRIPTOR_BYTES of strict JSON.

    Raises only DocumentError, with all findings: first those about the shape, in the wording of rule 4 of wire protocol
    A.3, then those of rules 6 to 10.
    """
    document, findings = scan(data, name=DESCRIPTOR_NAME, limit=MAX_DESCRIPTOR_BYTES)
    return _read(document, findings)


def descriptor_from_json(document: Mapping[str, Any]) -> Descriptor:
    """Return the descriptor of an object that is already parsed, such as a stored normalised document.

    The rules are those of `parse_descriptor`. Raises DocumentError with all findings.
    """
    return _read(document, inspect_value(document, DESCRIPTOR_NAME))


def _read(document: Mapping[str, Any] | None, scanned: tuple[Finding, ...]) -> Descriptor:
    findings = [_DIALECT.introduced(finding) for finding in scanned]
    descriptor = None
    if document is not None:
        descriptor, shaped = shape(Descriptor, document, _DIALECT)
        findings += sorted(shaped, key=lambda finding: finding.code in _DIALECT.verbatim)
    if descriptor is None or findings:
        raise DocumentError(bounded(findings, DESCRIPTOR_NAME))
    return descriptor
