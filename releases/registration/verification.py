"""Verifies the artifacts of a release against its descriptor (wire protocol A.3, rules 11 to 17). Pure."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

from releases.registration.required_environment import RequiredEnvironment, required_environment
from wire.archive.reader import read_entry, read_layout
from wire.documents.contract import (
    CONTRACT_ENTRY,
    MAX_CONTRACT_BYTES,
    Contract,
    hash_findings,
    parse_contract,
)
from wire.documents.descriptor import ArtifactKind, ArtifactRef, Descriptor, artifact_field
from wire.documents.json_reader import read_object, shown
from wire.findings import DocumentError, Finding, Severity

_CHUNK = 1024 * 1024

OpenArtifact = Callable[[ArtifactRef], BinaryIO | None]
"""Opens the bytes of a stored artifact as a seekable file. Returns None if there are none."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a verification.

    `contract` is the normalised contract of the primary artifact. It is None if the release has no contract or is not
    accepted, so that the contract of a rejected release cannot be stored. `environments` has the environments that
    stored artifacts require, as JSON by the artifact's digest. It is empty if the release is not accepted.
    """

    findings: tuple[Finding, ...]
    contract: dict[str, Any] | None
    primary_artifact_id: str
    environments: dict[str, Any] = field(default_factory=dict)

    @property
    def accepted(self) -> bool:
        """True if no finding is an error."""
        return not any(finding.severity is Severity.ERROR for finding in self.findings)

    def with_findings(self, more: Iterable[Finding]) -> Verdict:
        """Return the verdict with the findings of other checks."""
        combined = replace(self, findings=(*self.findings, *more))
        return combined if combined.accepted else replace(combined, contract=None, environments={})


def verify(descriptor: Descriptor, open_artifact: OpenArtifact, contract_document: bytes | None = None) -> Verdict:
    """Compare every stored artifact with the descriptor, and return all findings and the warnings of the descriptor.

    Each digest is opened once, hashed in constant memory and searched for a contract. Artifacts that are not stored are
    not opened. The primary artifact is the last one with a contract, or else the first. `contract_document` is the
    contract that was uploaded with the descriptor; a contract in an artifact must be equal to it. Raises what opening
    and reading raise. These errors are no findings, because a retry may succeed.
    """
    findings = list(descriptor.warnings)
    primary: _Inspected | None = None
    contents: dict[str, _Content | None] = {}
    for position, artifact in enumerate(descriptor.artifacts):
        if not artifact.kind.is_stored:
            continue
        if artifact.digest not in contents:
            contents[artifact.digest] = _content(open_artifact(artifact))
        inspected = _Inspection(descriptor, artifact, position).run(contents[artifact.digest])
        findings += inspected.findings
        if inspected.contract is None:
            continue
        if primary is not None and primary.contract != inspected.contract:
            findings.append(_contracts_differ(primary.artifact, position))
        primary = inspected
    uploaded = None
    if contract_document is not None:
        uploaded, document_findings = read_contract_document(descriptor, contract_document)
        findings += document_findings
        if uploaded is not None and primary is not None and primary.contract != uploaded:
            findings.append(_document_differs(primary.artifact))
    accepted = not any(finding.severity is Severity.ERROR for finding in findings)
    contract = primary.contract if primary else uploaded
    return Verdict(
        findings=tuple(findings),
        contract=contract.normalised() if accepted and contract else None,
        environments=_environments(contents.values()) if accepted else {},
        primary_artifact_id=(primary.artifact if primary else descriptor.artifacts[0]).artifact_id,
    )


@dataclass(frozen=True, slots=True)
class _Content:
    """The digest of an artifact's bytes, and the bytes of its contract or the findings about the archive.

    `environment` is the one that the artifact requires; `warnings` are about the entries that describe it.
    """

    digest: str
    contract: bytes | None = None
    findings: tuple[Finding, ...] = ()
    environment: RequiredEnvironment | None = None
    warnings: tuple[Finding, ...] = ()


def _content(file: BinaryIO | None) -> _Content | None:
    if file is None:
        return None
    with file:
        digest = digest_of(file)
        try:
            layout = read_layout(file)
            if layout is None:
                return _Content(digest)
            environment, warnings = required_environment(layout)
            return _Content(digest, read_entry(layout, CONTRACT_ENTRY), (), environment, tuple(warnings))
        except DocumentError as error:
            return _Content(digest, findings=error.findings)


def _environments(contents: Iterable[_Content | None]) -> dict[str, Any]:
    return {each.digest: each.environment.to_json() for each in contents if each is not None and each.environment}


@dataclass(frozen=True, slots=True)
class _Inspected:
    artifact: ArtifactRef
    findings: list[Finding]
    contract: Contract | None


@dataclass(slots=True)
class _Inspection:
    """The verification of one stored artifact."""

    descriptor: Descriptor
    artifact: ArtifactRef
    position: int
    findings: list[Finding] = field(default_factory=list)

    def run(self, content: _Content | None) -> _Inspected:
        contract = None
        if content is None:
            self._missing_file()
        else:
            self._check_digest(content.digest)
            contract = self._read_contract(content)
        return _Inspected(self.artifact, self.findings, contract)

    def _missing_file(self) -> None:
        if self.artifact.kind is ArtifactKind.JAR:
            message = "Release JAR artifact must point to a readable local file"
        else:
            message = "Release local artifact must point to a readable file"
        self._reject("ARTIFACT_FILE_MISSING", message)

    def _check_digest(self, actual: str) -> None:
        if self.artifact.digest != actual:
            message = "Release artifact digest does not match local file checksum"
            self._reject("ARTIFACT_DIGEST_MISMATCH", message, "digest")

    def _read_contract(self, content: _Content) -> Contract | None:
        self.findings += [self._inside(finding) for finding in (*content.findings, *content.warnings)]
        data = content.contract
        if data is None:
            if self.artifact.kind is ArtifactKind.JAR and not content.findings:
                self._reject("ARTIFACT_CONTRACT_MISSING", f"Release JAR artifact is missing {CONTRACT_ENTRY}")
            return None
        try:
            contract = parse_contract(data)
        except DocumentError as error:
            self.findings += [self._inside(finding) for finding in error.findings]
            return None
        raw = read_object(data, name=CONTRACT_ENTRY, limit=MAX_CONTRACT_BYTES)
        self.findings += [self._inside(finding) for finding in hash_findings(raw)]
        self._check_identity(contract)
        return contract

    def _check_identity(self, contract: Contract) -> None:
        if contract.pipeline_id != self.descriptor.pipeline_id:
            message = "Release artifact contract pipelineId does not match release descriptor"
            self._reject("ARTIFACT_PIPELINE_MISMATCH", message)
        if contract.contract_version != self.descriptor.contract_version:
            message = "Release artifact contractVersion does not match release descriptor"
            self._reject("ARTIFACT_CONTRACT_VERSION_MISMATCH", message)

    def _reject(self, code: str, message: str, *members: str) -> None:
        self.findings.append(Finding(code, artifact_field(self.position, *members), message))

    def _inside(self, finding: Finding) -> Finding:
        """Return a finding about the content of the artifact, with the field of the artifact before its own."""
        outer = artifact_field(self.position)
        return replace(finding, field=f"{outer}!{finding.field}" if finding.field else outer)


def read_contract_document(descriptor: Descriptor, data: bytes) -> tuple[Contract | None, list[Finding]]:
    """Parse a contract that was uploaded with the descriptor. The rules are those for a contract in an artifact."""
    try:
        contract = parse_contract(data)
    except DocumentError as error:
        return None, list(error.findings)
    findings = hash_findings(read_object(data, name=CONTRACT_ENTRY, limit=MAX_CONTRACT_BYTES))
    if contract.pipeline_id != descriptor.pipeline_id:
        message = "The contract's pipelineId does not match the release descriptor"
        findings.append(Finding("CONTRACT_PIPELINE_MISMATCH", "pipeline-contract.json#pipelineId", message))
    if contract.contract_version != descriptor.contract_version:
        message = "The contract's contractVersion does not match the release descriptor"
        findings.append(Finding("CONTRACT_VERSION_MISMATCH", "pipeline-contract.json#contractVersion", message))
    return contract, findings


def digest_of(file: BinaryIO) -> str:
    """Return `sha256:` and the lower-case hex SHA-256 of a seekable file, in constant memory."""
    file.seek(0, io.SEEK_SET)
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"


def _document_differs(artifact: ArtifactRef) -> Finding:
    message = f"the uploaded contract differs from the one in {shown(artifact.artifact_id)}"
    return Finding("CONTRACT_DOCUMENT_DIFFERS", "pipeline-contract.json", message)


def _contracts_differ(earlier: ArtifactRef, position: int) -> Finding:
    return Finding(
        code="CONTRACT_DIFFERS_BETWEEN_ARTIFACTS",
        field=artifact_field(position),
        message=f"the contract of this artifact differs from that of {shown(earlier.artifact_id)}. The last is used",
        severity=Severity.WARNING,
    )
