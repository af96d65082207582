"""`pipeline-release.json`: one deployable version of one contract.

There are two profiles. `tpf-2026-08` is the default. `tpf-2026-10` has stricter rules: locations are
canonical, and one artifact, the carrier, has the contract. A descriptor with the member `compiledTruthArtifactId` has
the newer profile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Final, TypeVar

from pydantic import AfterValidator, BeforeValidator, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from wire.documents.artifact_uri import ArtifactUri, ArtifactUriError, ImageUri, parse_artifact_uri
from wire.documents.json_reader import Dialect, Path, bounded, field_of, inspect_value, scan, shown
from wire.documents.shape import (
    ArrayOrNull,
    Document,
    Identifiers,
    Identity,
    Int32,
    RequiredIdentifier,
    SegmentIdentity,
    required_text,
    shape,
)
from wire.findings import DocumentError, Finding, Severity

CHECKPOINTS = "checkpoint-each-step"
"""An artifact with this capability requests a checkpoint after each step."""
MAX_DESCRIPTOR_BYTES = 1024 * 1024
DESCRIPTOR_NAME = "pipeline-release.json"
ENVELOPE_NAME = "pipeline-release.dsse.json"
"""The file with the signatures of a descriptor."""

_DIGEST_PREFIX = "sha256:"
_HEX = re.compile(r"[0-9a-f]{64}")
_ANY_CASE_HEX = re.compile(r"[0-9A-Fa-f]{64}")
_MALFORMED_DIGEST = "Release artifact digest must use sha256:<hex>"
_UPPER_CASE_DIGEST = "Release artifact digest must be in lower case: an upper-case digest matches no file"
_NOT_HEX_DIGEST = "Release artifact digest must have 64 hex digits after sha256: another one matches no file"
MATCHES_NO_FILE: Final = frozenset({_UPPER_CASE_DIGEST, _NOT_HEX_DIGEST})
"""Messages about digests that no file can have. The framework compares them with the file like any other digest."""

RefT = TypeVar("RefT", bound="ArtifactRef")
_CARRIER = "compiledTruthArtifactId"
_ARTIFACT_ID = re.compile(r"[A-Za-z0-9_.-]+")


class Profile(StrEnum):
    """The rules that a descriptor follows."""

    TPF_2026_08 = "tpf-2026-08"
    TPF_2026_10 = "tpf-2026-10"


NAMES_PROFILE: Final = f"profile {Profile.TPF_2026_10}: "
"""Begins the message of each finding about a rule of that profile."""
_DIALECTS: Final = {
    Profile.TPF_2026_08: Dialect(
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
    ),
    Profile.TPF_2026_10: Dialect(name=DESCRIPTOR_NAME, code="DESCRIPTOR", preamble=NAMES_PROFILE),
}


class ArtifactKind(StrEnum):
    """The kinds of artifacts of both profiles."""

    JAR = "jar"
    LOCAL_FILE = "local-file"
    NATIVE_BINARY = "native-binary"
    LAMBDA_ZIP = "lambda-zip"
    CONTAINER_IMAGE = "container-image"
    LAMBDA_IMAGE = "lambda-image"
    EXTERNAL_ENDPOINT = "external-endpoint"
    APPLICATION_ARCHIVE = "application-archive"
    COMPILED_TRUTH = "compiled-truth"

    @property
    def is_image(self) -> bool:
        return self in (ArtifactKind.CONTAINER_IMAGE, ArtifactKind.LAMBDA_IMAGE)

    @property
    def is_stored(self) -> bool:
        """True for the kinds whose bytes are stored. The others only identify something elsewhere."""
        return not self.is_image and self is not ArtifactKind.EXTERNAL_ENDPOINT

    @property
    def is_deployable(self) -> bool:
        """True unless the artifact only carries the contract and hosts no step."""
        return self is not ArtifactKind.COMPILED_TRUTH

    @property
    def may_carry_contract(self) -> bool:
        """True if an artifact of this kind can be the carrier of a descriptor of the profile `tpf-2026-10`."""
        return self in _CARRIERS


_CARRIERS: Final = frozenset(
    {ArtifactKind.JAR, ArtifactKind.APPLICATION_ARCHIVE, ArtifactKind.LAMBDA_ZIP, ArtifactKind.COMPILED_TRUTH}
)
KINDS: Final = {
    Profile.TPF_2026_08: tuple(ArtifactKind)[:7],
    Profile.TPF_2026_10: tuple(
        kind for kind in ArtifactKind if kind not in (ArtifactKind.LOCAL_FILE, ArtifactKind.EXTERNAL_ENDPOINT)
    ),
}
"""The kinds of each profile."""


def _kind_of(profile: Profile) -> BeforeValidator:
    """Return the reader of an artifact's kind. The older profile accepts any case."""

    def read(value: Any) -> ArtifactKind:
        text = required_text(value)
        kind = text if profile is Profile.TPF_2026_10 else text.lower()
        if kind in KINDS[profile]:
            return ArtifactKind(kind)
        message = "Unsupported release artifact kind {kind}"
        raise PydanticCustomError("ARTIFACT_KIND_UNSUPPORTED", message, {"kind": shown(text)})

    return BeforeValidator(read)


def _supported_schema(version: int) -> int:
    if version != 1:
        message = "Unsupported pipeline release schemaVersion {version}"
        raise PydanticCustomError("DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", message, {"version": version})
    return version


class ArtifactRef(Document):
    """One artifact that a release pins by digest. `kind` is in its canonical lower case."""

    artifact_id: Identity
    kind: Annotated[ArtifactKind, _kind_of(Profile.TPF_2026_08)]
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
            raise PydanticCustomError("ARTIFACT_DIGEST_UPPER_CASE", _UPPER_CASE_DIGEST)
        raise PydanticCustomError("ARTIFACT_DIGEST_MALFORMED", _NOT_HEX_DIGEST)


def _unambiguous_id(text: str) -> str:
    if not _ARTIFACT_ID.fullmatch(text):
        message = "artifactId may only have letters, digits, . _ and -"
        raise PydanticCustomError("ARTIFACT_ID_MALFORMED", message)
    return text


class LocatedArtifactRef(ArtifactRef):
    """One artifact of a descriptor of the profile `tpf-2026-10`. Its `uri` is canonical."""

    artifact_id: Annotated[Identity, AfterValidator(_unambiguous_id)]
    kind: Annotated[ArtifactKind, _kind_of(Profile.TPF_2026_10)]

    @property
    def location(self) -> ArtifactUri:
        return parse_artifact_uri(self.uri)

    @field_validator("uri")
    @classmethod
    def _uri_rules(cls, uri: str, info: ValidationInfo) -> str:
        try:
            location = parse_artifact_uri(uri)
        except ArtifactUriError as error:
            raise PydanticCustomError(error.code, "{rule}", {"rule": str(error)}) from None
        kind = info.data.get("kind")
        if kind is not None and kind.is_image is not isinstance(location, ImageUri):
            message = "the uri of an image is an oci: URI, and that of any other artifact a file: or maven: URI"
            raise PydanticCustomError("ARTIFACT_URI_WRONG_SCHEME", message)
        return uri

    @field_validator("digest")
    @classmethod
    def _digest_rules(cls, digest: str, info: ValidationInfo) -> str:
        if not _HEX.fullmatch(digest.removeprefix(_DIGEST_PREFIX)) or not digest.startswith(_DIGEST_PREFIX):
            message = "Release artifact digest must use sha256:<64 lowercase hex>"
            raise PydanticCustomError("ARTIFACT_DIGEST_MALFORMED", message)
        uri = info.data.get("uri")
        location = parse_artifact_uri(uri) if uri is not None else None
        if isinstance(location, ImageUri) and location.digest != digest:
            raise PydanticCustomError("ARTIFACT_URI_OTHER_DIGEST", "digest differs from the digest in the uri")
        return digest

    @field_validator("step_ids", "capabilities")
    @classmethod
    def _association_rules(cls, names: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        member = {"step_ids": "stepIds", "capabilities": "capabilities"}[info.field_name or ""]
        if not all(name.strip() for name in names):
            raise PydanticCustomError("ARTIFACT_ASSOCIATION_BLANK", "{member} has a blank entry", {"member": member})
        if len(set(names)) < len(names):
            message = "{member} has an entry twice"
            raise PydanticCustomError("ARTIFACT_ASSOCIATION_REPEATED", message, {"member": member})
        if names and info.data.get("kind") is ArtifactKind.COMPILED_TRUTH:
            message = "an artifact of kind compiled-truth has no {member}"
            raise PydanticCustomError("COMPILED_TRUTH_ASSOCIATED", message, {"member": member})
        return names


def _at_least_one(artifacts: tuple[RefT, ...]) -> tuple[RefT, ...]:
    if not artifacts:
        message = "Release descriptor must contain at least one artifact"
        raise PydanticCustomError("DESCRIPTOR_NO_ARTIFACTS", message)
    return artifacts


class Descriptor(Document):
    """A descriptor that follows all rules that need neither its contract nor the bytes of its artifacts."""

    profile: ClassVar[Profile] = Profile.TPF_2026_08

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


class CarrierDescriptor(Descriptor):
    """A descriptor that follows the rules of the profile `tpf-2026-10`, as far as they concern only the descriptor."""

    profile: ClassVar[Profile] = Profile.TPF_2026_10
    artifacts: Annotated[tuple[LocatedArtifactRef, ...], AfterValidator(_at_least_one), ArrayOrNull] = ()
    compiled_truth_artifact_id: RequiredIdentifier

    @property
    def carrier(self) -> LocatedArtifactRef:
        """The artifact that has the release's contract."""
        return next(artifact for artifact in self.artifacts if artifact.artifact_id == self.compiled_truth_artifact_id)


def unpromotable(descriptor: Descriptor, severity: Severity) -> list[Finding]:
    """Return a finding for each location at which other machines cannot always find the same bytes.

    These are files and Maven snapshots. A descriptor of the profile `tpf-2026-08` has no such findings, because its
    locations have no meaning elsewhere.
    """
    message = NAMES_PROFILE + "the uri is a file of one machine or a snapshot, so the release cannot be promoted"
    return [
        Finding("ARTIFACT_NOT_PROMOTABLE", artifact_field(position, "uri"), message, severity)
        for position, artifact in enumerate(descriptor.artifacts)
        if isinstance(artifact, LocatedArtifactRef) and not artifact.location.is_promotable
    ]


def artifact_field(position: int, *members: str) -> str:
    """Return the field of a finding about the artifact at `position`, or a member of it."""
    path: Path = ("artifacts", position, *members)
    return field_of(DESCRIPTOR_NAME, path)


def parse_descriptor(data: bytes) -> Descriptor:
    """Return the descriptor in `data`, at most MAX_DESCRIPTOR_BYTES of strict JSON.

    Raises only DocumentError, with all findings. For the profile `tpf-2026-08` they are first those about the shape, in
    the wording of `/tpf`, then those about artifacts. For `tpf-2026-10` every message names the profile.
    """
    document, findings = scan(data, name=DESCRIPTOR_NAME, limit=MAX_DESCRIPTOR_BYTES)
    return _read(document, findings)


def descriptor_from_json(document: Mapping[str, Any]) -> Descriptor:
    """Return the descriptor of an object that is already parsed, such as a stored normalised document.

    The rules are those of `parse_descriptor`. Raises DocumentError with all findings.
    """
    return _read(document, inspect_value(document, DESCRIPTOR_NAME))


def profile_of(document: Mapping[str, Any]) -> Profile:
    """Return the profile of a descriptor, which may be invalid."""
    return Profile.TPF_2026_10 if _CARRIER in document else Profile.TPF_2026_08


def _read(document: Mapping[str, Any] | None, scanned: tuple[Finding, ...]) -> Descriptor:
    profile = profile_of(document or {})
    dialect = _DIALECTS[profile]
    findings = [dialect.introduced(finding) for finding in scanned]
    descriptor: Descriptor | None = None
    if document is not None:
        model = CarrierDescriptor if profile is Profile.TPF_2026_10 else Descriptor
        descriptor, shaped = shape(model, document, dialect)
        findings += sorted(shaped, key=lambda finding: finding.code in dialect.verbatim)
    if isinstance(descriptor, CarrierDescriptor):
        findings += _carrier_findings(descriptor, dialect)
    if descriptor is None or findings:
        raise DocumentError(bounded(findings, DESCRIPTOR_NAME))
    return descriptor


def _carrier_findings(descriptor: CarrierDescriptor, dialect: Dialect) -> Iterator[Finding]:
    """Yield findings about several members together."""
    counts = Counter(artifact.artifact_id for artifact in descriptor.artifacts)
    for position, artifact in enumerate(descriptor.artifacts):
        if counts[artifact.artifact_id] > 1:
            path: Path = ("artifacts", position, "artifactId")
            yield dialect.finding("ARTIFACT_ID_REPEATED", path, "another artifact has the same artifactId")
    kinds = {artifact.artifact_id: artifact.kind for artifact in descriptor.artifacts}
    kind = kinds.get(descriptor.compiled_truth_artifact_id)
    if kind is None:
        message = f"{_CARRIER} names none of the artifacts"
        yield dialect.finding("COMPILED_TRUTH_UNKNOWN", (_CARRIER,), message)
    elif not kind.may_carry_contract:
        message = f"an artifact of kind {kind} cannot carry the contract"
        yield dialect.finding("COMPILED_TRUTH_WRONG_KIND", (_CARRIER,), message)
