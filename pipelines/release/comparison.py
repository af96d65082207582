"""Reads releases from this machine, to compare them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import DefinitionError
from pipelines.release.descriptor import CONTRACT_NAME, ENVELOPE_NAME, other_descriptor
from pipelines.release.local_files import LocalFiles, is_file, read_bounded, unreadable
from wire.comparison.comparison import artifacts_by_id
from wire.comparison.differences import ReleaseFacts
from wire.documents.contract import MAX_CONTRACT_BYTES, contract_from_json
from wire.documents.descriptor import (
    DESCRIPTOR_NAME,
    MAX_DESCRIPTOR_BYTES,
    ArtifactRef,
    Descriptor,
    parse_descriptor,
)
from wire.documents.json_reader import read_object
from wire.documents.signing import read_envelope
from wire.findings import DocumentError, Finding, Severity
from wire.release.verification import verify

_MAX_ENVELOPE_BYTES = 4 * MAX_DESCRIPTOR_BYTES


@dataclass(frozen=True, slots=True)
class LocalRelease:
    """A release. ``missing`` names the artifacts whose bytes were not found."""

    facts: ReleaseFacts
    missing: tuple[str, ...]


def read_release(path: Path) -> LocalRelease:
    """Return the release whose descriptor is ``path``, or is in the folder ``path``.

    Artifacts are found as ``LocalFiles`` finds them. The contract comes from them, or else from the
    ``pipeline-contract.json`` next to the descriptor. Signatures are those next to it, and are not verified. A release
    on this machine has no provenance and no SBOM.

    Raises ``DefinitionError``: FILE_UNREADABLE, INVALID_RELEASE for one that breaks a rule.
    """
    file = path / DESCRIPTOR_NAME if path.is_dir() else path
    data = read_bounded(file, MAX_DESCRIPTOR_BYTES)
    try:
        descriptor = parse_descriptor(data)
    except DocumentError as error:
        raise _invalid(file, error.findings) from None
    files = _files(descriptor, file.parent)
    beside = file.with_name(CONTRACT_NAME)
    document = read_bounded(beside, MAX_CONTRACT_BYTES) if is_file(beside) else None
    try:
        verdict = verify(descriptor, lambda each: _opened(files.get(each.digest)), document, identity_only=True)
    except OSError as error:
        raise unreadable(Path(str(error.filename)), error) from None
    if not verdict.accepted:
        raise _invalid(file, verdict.findings)
    named = artifacts_by_id(descriptor)
    facts = ReleaseFacts(
        descriptor=descriptor,
        contract=contract_from_json(verdict.contract) if verdict.contract else None,
        environments={
            name: verdict.environments[each.digest]
            for name, each in named.items()
            if each.digest in verdict.environments
        },
        checkpoints=verdict.checkpoints if files else None,
        signers=_signers(file, data),
    )
    missing = (name for name, each in named.items() if each.kind.is_stored and each.digest not in files)
    return LocalRelease(facts, tuple(missing))


def _files(descriptor: Descriptor, folder: Path) -> dict[str, Path]:
    """Return the files of the artifacts by digest. A file with other bytes is none."""
    local = LocalFiles(folder)
    found = {each.digest: _sound(local, each) for each in descriptor.artifacts if each.kind.is_stored}
    return {digest: path for digest, path in found.items() if path is not None}


def _sound(local: LocalFiles, artifact: ArtifactRef) -> Path | None:
    path = local.find(artifact)
    try:
        return path if path is not None and local.digest(path) == artifact.digest else None
    except OSError:
        return None


def _signers(descriptor: Path, data: bytes) -> list[str]:
    path = descriptor.with_name(ENVELOPE_NAME)
    if not is_file(path):
        return []
    content = read_bounded(path, _MAX_ENVELOPE_BYTES)
    if problem := other_descriptor(content, data):
        raise DefinitionError("INVALID_RELEASE", f"{path} {problem}")
    try:
        envelope = read_envelope(read_object(content, name=ENVELOPE_NAME, limit=_MAX_ENVELOPE_BYTES))
    except DocumentError as error:
        raise _invalid(path, error.findings) from None
    return sorted({f"key {each.key_id or 'without an id'}, not verified" for each in envelope.signatures})


def _invalid(path: Path, findings: tuple[Finding, ...]) -> DefinitionError:
    errors = [
        DefinitionError("INVALID_RELEASE", f"{path}: {each.code}: {each.field}: {each.message}")
        for each in findings
        if each.severity is Severity.ERROR
    ]
    return DefinitionError.of_all(errors)


def _opened(path: Path | None) -> Any:
    return None if path is None else path.open("rb")
