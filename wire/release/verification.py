"""Verifies the artifacts of a release against its descriptor, by the rules of its profile. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, BinaryIO

from wire.documents.contract import (
    CONTRACT_ENTRY,
    CONTRACT_NAME,
    MAX_CONTRACT_BYTES,
    Contract,
    hash_findings,
    parse_contract,
)
from wire.documents.descriptor import (
    CHECKPOINTS,
    DESCRIPTOR_NAME,
    NAMES_PROFILE,
    ArtifactKind,
    ArtifactRef,
    CarrierDescriptor,
    Descriptor,
    artifact_field,
)
from wire.documents.json_reader import bounded, read_object, shown
from wire.findings import DocumentError, Finding, Severity
from wire.release.content import Content, carrier_findings, content_of, placement_findings

OpenArtifact = Callable[[ArtifactRef], BinaryIO | None]
"""Opens the bytes of a stored artifact as a seekable file. Returns None if there are none."""
Checked = Callable[[int, Sequence[Finding]], object]
"""Is called after each stored artifact with its position and its findings."""
FILE_MISSING = "ARTIFACT_FILE_MISSING"
OTHER_DIGEST = "Release artifact digest does not match local file checksum"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification.

    `contract` is the normalised contract of the primary artifact. It is None if the release has no contract or is not
    accepted, so that the contract of a rejected release cannot be stored. `environments` has the environments that
    stored artifacts require, as JSON by the artifact's digest. `checkpoints` is True if an artifact requests a
    checkpoint after each step. `declarations` are those of all stored artifacts. All three are empty if the release is
    not accepted.
    """

    findings: tuple[Finding, ...]
    contract: dict[str, Any] | None
    primary_artifact_id: str
    environments: dict[str, Any] = field(default_factory=dict)
    checkpoints: bool = False
    declarations: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """True if no finding is an error."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)

    def with_findings(self, more: Iterable[Finding]) -> Verdict:
        """Return the verdict with the findings of other checks."""
        combined = replace(self, findings=(*self.findings, *more))
        if combined.accepted:
            return combined
        return replace(combined, contract=None, environments={}, checkpoints=False, declarations={})


def verify(
    descriptor: Descriptor,
    open_artifact: OpenArtifact,
    contract_document: bytes | None = None,
    *,
    identity_only: bool = False,
    checked: Checked = lambda _position, _findings: None,
) -> Verdict:
    """Compare every stored artifact with the descriptor, and return all findings and the warnings of the descriptor.

    Each digest is opened once, hashed in constant memory and searched for a contract. Artifacts that are not stored are
    not opened. The primary artifact is the carrier. A descriptor of the profile `tpf-2026-08` has no carrier: there it
    is the last artifact with a contract, or else the first. `contract_document` is the contract that was uploaded with
    the descriptor; the contracts in artifacts must be equal to it. With `identity_only`, missing bytes are a warning.
    `checked` is called for each stored artifact while the next ones are not opened yet.
    Raises what opening and reading raise. These errors are no findings, because a retry may succeed.
    """
    inspected = _inspected(descriptor, open_artifact, identity_only, checked)
    findings = [*descriptor.warnings, *(finding for artifact in inspected for finding in artifact.findings)]
    if isinstance(descriptor, CarrierDescriptor):
        primary = inspected[descriptor.artifacts.index(descriptor.carrier)]
        findings += carrier_findings(descriptor, [artifact.content for artifact in inspected])
    else:
        primary, differing = _last_with_contract(inspected)
        findings += differing
    contract = primary.contract
    if contract_document is not None:
        uploaded, document_findings = read_contract_document(descriptor, contract_document)
        findings += document_findings
        if uploaded is not None:
            others = _with_other_contract(descriptor, inspected, primary, uploaded, contract_document)
            for artifact in others:
                message = f"the uploaded contract differs from the one in {shown(artifact.artifact_id)}"
                findings.append(Finding("CONTRACT_DOCUMENT_DIFFERS", CONTRACT_NAME, message))
        contract = contract or uploaded
    if isinstance(descriptor, CarrierDescriptor) and contract is not None:
        placed = placement_findings(descriptor, contract, uploaded=primary.contract is None)
        findings += bounded(placed, DESCRIPTOR_NAME)
    verdict = Verdict(
        findings=_naming_profile(descriptor, findings),
        contract=contract.normalised() if contract else None,
        primary_artifact_id=primary.artifact.artifact_id,
        environments={
            artifact.content.digest: artifact.content.environment.to_json()
            for artifact in inspected
            if artifact.content is not None and artifact.content.environment is not None
        },
        checkpoints=_checkpoints(descriptor, inspected),
        declarations=_declarations(inspected),
    )
    return verdict.with_findings(())


def _naming_profile(descriptor: Descriptor, findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Begin each message with the profile. The wording of the older profile is what clients of `/tpf` know."""
    preamble = NAMES_PROFILE if isinstance(descriptor, CarrierDescriptor) else ""
    return tuple(replace(finding, message=preamble + finding.message) for finding in findings)


@dataclass(slots=True)
class _Inspected:
    """An artifact with its findings and its contract. `content` is None if its bytes are not available."""

    artifact: ArtifactRef
    position: int
    content: Content | None = None
    findings: list[Finding] = field(default_factory=list)
    contract: Contract | None = None

    def reject(self, code: str, message: str, *members: str) -> None:
        self.findings.append(Finding(code, artifact_field(self.position, *members), message))

    def add_inside(self, findings: Iterable[Finding]) -> None:
        """Add findings about the content of the artifact, with the field of the artifact before their own."""
        outer = artifact_field(self.position)
        self.findings += [
            replace(finding, field=f"{outer}!{finding.field}" if finding.field else outer) for finding in findings
        ]


def _inspected(
    descriptor: Descriptor, open_artifact: OpenArtifact, identity_only: bool, checked: Checked
) -> list[_Inspected]:
    contents: dict[str, Content | None] = {}
    inspected = []
    for position, artifact in enumerate(descriptor.artifacts):
        inspection = _Inspected(artifact, position)
        inspected.append(inspection)
        if not artifact.kind.is_stored:
            continue
        if artifact.digest not in contents:
            file = open_artifact(artifact)
            contents[artifact.digest] = None if file is None else content_of(file)
        inspection.content = contents[artifact.digest]
        if inspection.content is None:
            _report_missing_file(inspection, descriptor, identity_only)
        else:
            if artifact.digest != inspection.content.digest:
                inspection.reject("ARTIFACT_DIGEST_MISMATCH", OTHER_DIGEST, "digest")
            _read_contract(inspection, inspection.content, descriptor)
        checked(position, _naming_profile(descriptor, inspection.findings))
    return inspected


def _report_missing_file(inspected: _Inspected, descriptor: Descriptor, identity_only: bool) -> None:
    if identity_only:
        message = "The bytes of this artifact are not stored: the release only identifies them"
        place = artifact_field(inspected.position)
        inspected.findings.append(Finding("ARTIFACT_IDENTITY_ONLY", place, message, Severity.WARNING))
    elif isinstance(descriptor, CarrierDescriptor):
        inspected.reject(FILE_MISSING, "the bytes of this artifact were not uploaded, and no repository has them")
    else:
        inspected.reject(FILE_MISSING, unreadable(inspected.artifact.kind))


def _read_contract(inspected: _Inspected, content: Content, descriptor: Descriptor) -> None:
    inspected.add_inside((*content.findings, *content.warnings))
    if content.contract is None:
        # A release with a carrier needs only the contract of the carrier.
        is_needed = inspected.artifact.kind is ArtifactKind.JAR and not isinstance(descriptor, CarrierDescriptor)
        if is_needed and not content.findings:
            inspected.reject("ARTIFACT_CONTRACT_MISSING", f"Release JAR artifact is missing {CONTRACT_ENTRY}")
        return
    inspected.contract, findings = _parsed(content.contract)
    inspected.add_inside(findings)
    if inspected.contract is None:
        return
    if inspected.contract.pipeline_id != descriptor.pipeline_id:
        message = "Release artifact contract pipelineId does not match release descriptor"
        inspected.reject("ARTIFACT_PIPELINE_MISMATCH", message)
    if inspected.contract.contract_version != descriptor.contract_version:
        message = "Release artifact contractVersion does not match release descriptor"
        inspected.reject("ARTIFACT_CONTRACT_VERSION_MISMATCH", message)


def _parsed(data: bytes) -> tuple[Contract | None, list[Finding]]:
    """Return a contract with a warning if its hash is wrong, or None and all findings."""
    try:
        contract = parse_contract(data)
    except DocumentError as error:
        return None, list(error.findings)
    return contract, hash_findings(read_object(data, name=CONTRACT_ENTRY, limit=MAX_CONTRACT_BYTES))


def _last_with_contract(inspected: Sequence[_Inspected]) -> tuple[_Inspected, list[Finding]]:
    """Return the primary artifact, and a warning for each contract that differs from an earlier one."""
    with_contract = [artifact for artifact in inspected if artifact.contract is not None]
    differing = []
    for before, after in pairwise(with_contract):
        if before.contract != after.contract:
            earlier = shown(before.artifact.artifact_id)
            message = f"the contract of this artifact differs from that of {earlier}. The last is used"
            place = artifact_field(after.position)
            differing.append(Finding("CONTRACT_DIFFERS_BETWEEN_ARTIFACTS", place, message, Severity.WARNING))
    return (with_contract or inspected[:1])[-1], differing


def _with_other_contract(
    descriptor: Descriptor, inspected: Sequence[_Inspected], primary: _Inspected, uploaded: Contract, document: bytes
) -> Iterator[ArtifactRef]:
    """Yield the artifacts whose contract is not the uploaded one.

    The contract of the profile `tpf-2026-10` is compared byte for byte: with that of the carrier, or of every archive
    if the carrier has none.
    """
    if not isinstance(descriptor, CarrierDescriptor):
        if primary.contract is not None and primary.contract != uploaded:
            yield primary.artifact
        return
    for artifact in [primary] if primary.contract is not None else inspected:
        if artifact.content is not None and artifact.content.contract not in (None, document):
            yield artifact.artifact


def _declarations(inspected: Iterable[_Inspected]) -> dict[str, dict[str, Any]]:
    declared = [
        artifact.content.declarations for artifact in inspected if artifact.content and artifact.content.declarations
    ]
    if not declared:
        return {}
    from wire.documents.declarations import merged  # most releases declare nothing

    return merged(declared)


def _checkpoints(descriptor: Descriptor, inspected: Iterable[_Inspected]) -> bool:
    """True if a checkpoint after each step is requested: by the descriptor, or by an artifact of the newer profile.

    Descriptors of the profile `tpf-2026-10` have no capabilities other than those of their contract.
    """
    if isinstance(descriptor, CarrierDescriptor):
        return any(
            CHECKPOINTS in artifact.content.capabilities for artifact in inspected if artifact.content is not None
        )
    return any(CHECKPOINTS in artifact.capabilities for artifact in descriptor.artifacts)


def unreadable(kind: ArtifactKind) -> str:
    """Return the protocol's text for an artifact of this kind whose file cannot be read."""
    if kind is ArtifactKind.JAR:
        return "Release JAR artifact must point to a readable local file"
    return "Release local artifact must point to a readable file"


def read_contract_document(descriptor: Descriptor, data: bytes) -> tuple[Contract | None, list[Finding]]:
    """Parse a contract that was uploaded with the descriptor. The rules are those for a contract in an artifact."""
    contract, findings = _parsed(data)
    if contract is None:
        return None, findings
    if contract.pipeline_id != descriptor.pipeline_id:
        message = "The contract's pipelineId does not match the release descriptor"
        findings.append(Finding("CONTRACT_PIPELINE_MISMATCH", f"{CONTRACT_NAME}#pipelineId", message))
    if contract.contract_version != descriptor.contract_version:
        message = "The contract's contractVersion does not match the release descriptor"
        findings.append(Finding("CONTRACT_VERSION_MISMATCH", f"{CONTRACT_NAME}#contractVersion", message))
    return contract, findings
