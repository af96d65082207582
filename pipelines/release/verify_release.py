"""Reads releases of this machine: to verify one offline, as the coordinator does, and to compare two."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pipelines.errors import DefinitionError
from pipelines.release.descriptor import other_descriptor
from pipelines.release.files import (
    NO_REPOSITORIES,
    LocalFiles,
    Repositories,
    RepositoryError,
    is_file,
    maven_location,
    read_bounded,
    unreadable,
)
from pipelines.release.folders import descriptor_in
from wire.comparison.comparison import artifacts_by_id
from wire.comparison.differences import ReleaseFacts
from wire.documents.contract import CONTRACT_NAME, MAX_CONTRACT_BYTES, Contract, contract_from_json, parse_contract
from wire.documents.descriptor import (
    DESCRIPTOR_NAME,
    ENVELOPE_NAME,
    MAX_DESCRIPTOR_BYTES,
    ArtifactRef,
    CarrierDescriptor,
    Descriptor,
    Profile,
    artifact_field,
    parse_descriptor,
    profile_of,
    unpromotable,
)
from wire.documents.json_reader import read_object, scan
from wire.documents.signing import read_envelope
from wire.findings import DocumentError, Finding, Severity
from wire.release.content import content_of
from wire.release.verification import Verdict
from wire.release.verification import verify as verify_artifacts

MAX_ENVELOPE_BYTES: Final = 4 * MAX_DESCRIPTOR_BYTES

BAD_RELEASE, UNRESOLVED, NO_ACCESS = 3, 4, 5
"""Exit statuses, by the class of the gravest finding."""
_CLASSES: Final = {
    "ARTIFACT_FILE_MISSING": UNRESOLVED,
    "ARTIFACT_DIGEST_MISMATCH": UNRESOLVED,
    "ARTIFACT_NOT_IN_RELEASE": UNRESOLVED,
    "REPOSITORY_UNREACHABLE": UNRESOLVED,
    "REPOSITORY_DENIED": NO_ACCESS,
}


@dataclass(frozen=True, slots=True)
class CheckedArtifact:
    """An artifact, and where its bytes were found. ``found_at`` is a path or a URL, empty if they were not found.

    Images and endpoints are not checked, because they are remote.
    """

    pinned: ArtifactRef
    status: Literal["VERIFIED", "MISMATCH", "MISSING", "NOT_CHECKED"]
    found_at: str = ""
    path: Path | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "artifactId": self.pinned.artifact_id,
            "kind": self.pinned.kind.value,
            "uri": self.pinned.uri,
            "digest": self.pinned.digest,
            "status": self.status,
            "foundAt": self.found_at or None,
        }


@dataclass(frozen=True, slots=True)
class Verification:
    """The result. ``descriptor`` is None if the document breaks a rule of descriptors, so nothing else was checked.

    ``descriptor_digest`` is the SHA-256 of the descriptor's exact bytes.
    """

    profile: Profile
    descriptor_digest: str
    descriptor: Descriptor | None = None
    artifacts: Sequence[CheckedArtifact] = ()
    findings: Sequence[Finding] = ()

    @property
    def exit_status(self) -> int:
        """0 for a verified release, 3 if it breaks a rule, 4 if bytes are missing, 5 if a repository denies them."""
        errors = [finding.code for finding in self.findings if finding.severity is Severity.ERROR]
        return max((_CLASSES.get(code, BAD_RELEASE) for code in errors), default=0)

    @property
    def is_promotable(self) -> bool:
        """True if other machines can always find the same bytes."""
        descriptor = self.descriptor
        return isinstance(descriptor, CarrierDescriptor) and not unpromotable(descriptor, Severity.WARNING)

    def to_json(self) -> dict[str, Any]:
        """Return the result as the JSON object that ``verify-release --json`` prints."""
        descriptor = self.descriptor
        return {
            "operation": "release.verify",
            "status": "REJECTED" if self.exit_status else "VERIFIED",
            "profile": self.profile.value,
            "descriptorDigest": self.descriptor_digest,
            "pipelineId": descriptor and descriptor.pipeline_id,
            "contractVersion": descriptor and descriptor.contract_version,
            "releaseVersion": descriptor and descriptor.release_version,
            "promotable": self.is_promotable,
            "artifacts": [artifact.to_json() for artifact in self.artifacts],
            "findings": [finding.to_json() for finding in self.findings],
        }


def verify(
    path: Path,
    *,
    artifacts: Sequence[Path] = (),
    repositories: Repositories = NO_REPOSITORIES,
    contract: Path | None = None,
    promotable: bool = False,
) -> Verification:
    """Verify the release whose descriptor is ``path``. Only ``repositories`` with a URL use the network.

    The bytes of an artifact are one of ``artifacts`` that has its digest, or else the file that its location names, or
    else a file next to the descriptor. Those of a ``maven:`` URI come from ``repositories``, if there are any.
    ``contract`` is uploaded with the release; by default it is the ``pipeline-contract.json`` next to the descriptor.
    With ``promotable``, a release that other machines cannot resolve is rejected.

    Raises ``DefinitionError``: FILE_UNREADABLE, INVALID_REPOSITORY, INVALID_REPOSITORY_CREDENTIALS.
    """
    repositories.require_usable()
    data = read_bounded(path, MAX_DESCRIPTOR_BYTES)
    document = _contract_document(path, contract)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    try:
        descriptor = parse_descriptor(data)
    except DocumentError as error:
        raw, _ = scan(data, name=DESCRIPTOR_NAME, limit=MAX_DESCRIPTOR_BYTES)
        return Verification(profile_of(raw or {}), digest, findings=error.findings)
    with tempfile.TemporaryDirectory(prefix="verify-release-") as scratch:
        search = _Search(LocalFiles(path.parent), artifacts, repositories, Path(scratch))
        checked = [search.check(position, artifact) for position, artifact in enumerate(descriptor.artifacts)]
        search.reject_others(descriptor)
        paths = {artifact.pinned.digest: artifact.path for artifact in checked if artifact.path is not None}
        verdict = _verdict(descriptor, paths, document)
    findings = [
        *search.findings,
        *(finding for finding in verdict.findings if finding.code != "ARTIFACT_FILE_MISSING"),
        *_envelope_findings(path.with_name(ENVELOPE_NAME), data),
        *_promotion_findings(descriptor, required=promotable),
    ]
    return Verification(descriptor.profile, digest, descriptor, checked, findings)


def _verdict(
    descriptor: Descriptor, paths: Mapping[str, Path], document: bytes | None, *, identity_only: bool = False
) -> Verdict:
    """Apply all rules to the artifacts whose bytes were found. ``paths`` has their files by digest."""

    def opened(artifact: ArtifactRef) -> Any:
        path = paths.get(artifact.digest)
        return None if path is None else path.open("rb")

    try:
        return verify_artifacts(descriptor, opened, document, identity_only=identity_only)
    except OSError as error:
        raise unreadable(Path(str(error.filename)), error) from None


@dataclass(slots=True)
class _Search:
    """Searches for the bytes of artifacts and compares digests. ``findings`` has what is missing or differs."""

    local: LocalFiles
    artifacts: Sequence[Path]
    repositories: Repositories
    scratch: Path
    findings: list[Finding] = field(default_factory=list)

    def check(self, position: int, artifact: ArtifactRef) -> CheckedArtifact:
        if not artifact.kind.is_stored:
            return CheckedArtifact(artifact, "NOT_CHECKED")
        try:
            path, found_at = self._found(position, artifact)
            digest = self.local.digest(path)
        except RepositoryError as error:
            self.findings.append(Finding(error.code, artifact_field(position), str(error)))
            return CheckedArtifact(artifact, "MISSING")
        except OSError as error:
            message = f"the file of this artifact cannot be read: {type(error).__name__}"
            self.findings.append(Finding("ARTIFACT_FILE_MISSING", artifact_field(position), message))
            return CheckedArtifact(artifact, "MISSING")
        if digest != artifact.digest:
            message = f"{found_at} has the digest {digest}"
            self.findings.append(Finding("ARTIFACT_DIGEST_MISMATCH", artifact_field(position, "digest"), message))
            return CheckedArtifact(artifact, "MISMATCH", found_at)
        return CheckedArtifact(artifact, "VERIFIED", found_at, path)

    def reject_others(self, descriptor: Descriptor) -> None:
        """Reject given files that are not artifacts of the release."""
        pinned = {artifact.digest for artifact in descriptor.artifacts}
        for path in self.artifacts:
            digest = self._digest_of(path)
            if digest not in pinned:
                message = f"{path} has the digest {digest}, which no artifact of the release has"
                self.findings.append(Finding("ARTIFACT_NOT_IN_RELEASE", DESCRIPTOR_NAME, message))

    def _found(self, position: int, artifact: ArtifactRef) -> tuple[Path, str]:
        """Return the file of an artifact, and the place where it was found. Raises ``RepositoryError``."""
        for path in self.artifacts:
            if self._digest_of(path) == artifact.digest:
                return path, str(path)
        location = maven_location(artifact)
        if location is not None and self.repositories.places:
            return self.repositories.get(location, self.scratch / str(position))
        local = self.local.find(artifact)
        if local is None:
            message = "the file of this artifact was not found; name it with --artifact"
            if location is not None:
                message += ", or a repository that has it with --maven"
            raise RepositoryError("ARTIFACT_FILE_MISSING", message)
        return local, str(local)

    def _digest_of(self, path: Path) -> str:
        try:
            return self.local.digest(path)
        except OSError as error:
            raise unreadable(path, error) from None


def _contract_document(descriptor: Path, contract: Path | None = None) -> bytes | None:
    beside = descriptor.with_name(CONTRACT_NAME)
    path = contract or (beside if is_file(beside) else None)
    return None if path is None else read_bounded(path, MAX_CONTRACT_BYTES)


def _envelope_findings(envelope: Path, descriptor: bytes) -> list[Finding]:
    if not is_file(envelope):
        return []
    problem = other_descriptor(read_bounded(envelope, MAX_ENVELOPE_BYTES), descriptor)
    return [Finding("SIGNATURE_OTHER_DESCRIPTOR", f"{ENVELOPE_NAME}#payload", f"it {problem}")] if problem else []


def _promotion_findings(descriptor: Descriptor, *, required: bool) -> list[Finding]:
    if required and not isinstance(descriptor, CarrierDescriptor):
        message = f"only a descriptor of the profile {Profile.TPF_2026_10} can be promoted"
        return [Finding("PROFILE_NOT_PROMOTABLE", DESCRIPTOR_NAME, message)]
    return unpromotable(descriptor, Severity.ERROR if required else Severity.WARNING)


def read_release(path: Path) -> tuple[ReleaseFacts, list[str]]:
    """Return the release whose descriptor is ``path``, or is in the folder ``path``, and its missing artifacts.

    Artifacts are found as ``LocalFiles`` finds them. The contract comes from them, or else from the
    ``pipeline-contract.json`` next to the descriptor. Signatures are those next to it, and are not verified. A release
    on this machine has no provenance and no SBOM.

    Raises ``DefinitionError``: NO_RELEASE, FILE_UNREADABLE, INVALID_RELEASE for one that breaks a rule.
    """
    file = descriptor_in(path) if path.is_dir() else path
    data = read_bounded(file, MAX_DESCRIPTOR_BYTES)
    try:
        descriptor = parse_descriptor(data)
    except DocumentError as error:
        raise _invalid(file, error.findings) from None
    local = LocalFiles(file.parent)
    located = [(artifact, local.find(artifact)) for artifact in descriptor.artifacts if artifact.kind.is_stored]
    files = {artifact.digest: path for artifact, path in located if path is not None and local.has(path, artifact)}
    verdict = _verdict(descriptor, files, _contract_document(file), identity_only=True)
    if not verdict.accepted:
        raise _invalid(file, verdict.findings)
    named = artifacts_by_id(descriptor)
    missing = [name for name, artifact in named.items() if artifact.kind.is_stored and artifact.digest not in files]
    facts = ReleaseFacts(
        descriptor=descriptor,
        contract=contract_from_json(verdict.contract) if verdict.contract else None,
        environments={
            name: verdict.environments[artifact.digest]
            for name, artifact in named.items()
            if artifact.digest in verdict.environments
        },
        checkpoints=verdict.checkpoints if files and not missing else None,
        declarations=verdict.declarations if files and not missing else None,
        signers=_signers(file, data),
    )
    return facts, missing


def released_contract(path: Path) -> Contract:
    """Return a contract: that of a release, named as for ``read_release``, of an artifact, or of a contract document.

    Raises ``DefinitionError``: FILE_UNREADABLE, INVALID_RELEASE.
    """
    if path.is_dir() or path.name == DESCRIPTOR_NAME:
        contract = read_release(path)[0].contract
        if contract is None:
            raise DefinitionError("INVALID_RELEASE", f"{path}: its artifact, which has the contract, is not next to it")
        return contract
    try:
        content = content_of(path.open("rb"))
    except OSError as error:
        raise unreadable(path, error) from None
    if content.findings:
        raise _invalid(path, content.findings)
    try:
        return parse_contract(content.contract or read_bounded(path, MAX_CONTRACT_BYTES))
    except DocumentError as error:
        raise _invalid(path, error.findings) from None


def _signers(descriptor: Path, data: bytes) -> list[str]:
    path = descriptor.with_name(ENVELOPE_NAME)
    if not is_file(path):
        return []
    content = read_bounded(path, MAX_ENVELOPE_BYTES)
    if problem := other_descriptor(content, data):
        raise DefinitionError("INVALID_RELEASE", f"{path} {problem}")
    try:
        envelope = read_envelope(read_object(content, name=ENVELOPE_NAME, limit=MAX_ENVELOPE_BYTES))
    except DocumentError as error:
        raise _invalid(path, error.findings) from None
    return sorted({f"key {signature.key_id or 'without an id'}, not verified" for signature in envelope.signatures})


def _invalid(path: Path, findings: tuple[Finding, ...]) -> DefinitionError:
    errors = [
        DefinitionError("INVALID_RELEASE", f"{path}: {finding.code}: {finding.field}: {finding.message}")
        for finding in findings
        if finding.severity is Severity.ERROR
    ]
    return DefinitionError.of_all(errors)
