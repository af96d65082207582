"""Writes the release descriptor of built artifacts (wire protocol A.2)."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.errors import DefinitionError
from pipelines.release.packaging import write_atomically
from wire.documents.contract import CAPABILITIES_ENTRY, CONTRACT_ENTRY, MAX_CONTRACT_BYTES, Contract, parse_contract
from wire.findings import DocumentError

DESCRIPTOR_NAME: Final = "pipeline-release.json"
ENVELOPE_NAME: Final = "pipeline-release.dsse.json"
MAX_CAPABILITIES_BYTES: Final = 64 * 1024
"""The largest list of capabilities that ``build`` may have packed."""


@dataclass(frozen=True, slots=True)
class WrittenRelease:
    """A written descriptor and its document. ``envelope`` is the file with the signatures, None if it is unsigned."""

    path: Path
    document: dict[str, Any]
    envelope: Path | None = None


def release(
    out_dir: Path,
    artifacts: Sequence[Path] = (),
    *,
    release_version: str | None = None,
    sign_with: Sequence[Path] = (),
) -> WrittenRelease:
    """Write ``pipeline-release.json`` into ``out_dir``, for ``artifacts`` or else for all ``*.zip`` files there.

    All artifacts must contain the same contract. ``release_version`` defaults to the artifact's digest, so the same
    source gives the same release. ``sign_with`` names files of private keys. With keys, a DSSE envelope over the
    descriptor's bytes is written next to it. Without keys, an existing envelope is removed, because it signs an earlier
    descriptor.

    Raises ``DefinitionError``: NO_ARTIFACT, NOT_AN_ARTIFACT, MIXED_ARTIFACTS, INVALID_RELEASE_VERSION,
    OUT_DIR_UNWRITABLE, and those of ``signing_key.load``.
    """
    if release_version is not None and not release_version.strip():
        raise DefinitionError(
            "INVALID_RELEASE_VERSION",
            "the release version is blank; leave it out or name one",
        )
    paths = list(artifacts) or sorted(out_dir.glob("*.zip"))
    if not paths:
        raise DefinitionError(
            "NO_ARTIFACT",
            f"there is no artifact in {out_dir}; run pipelines build MODULE:NAME first",
        )
    contracts = {path: _contract(path) for path in paths}
    contract = _only_one(contracts)
    entries = [_artifact(path, contract) for path in paths]
    document = {
        "schemaVersion": 1,
        "pipelineId": contract.pipeline_id,
        "contractVersion": contract.contract_version,
        "releaseVersion": release_version or _release_version([str(entry["digest"]) for entry in entries]),
        "artifacts": entries,
    }
    target = out_dir / DESCRIPTOR_NAME
    data = (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
    envelope = _signed(data, sign_with) if sign_with else None
    write_atomically(target, data)
    if envelope is None:
        (out_dir / ENVELOPE_NAME).unlink(missing_ok=True)
        return WrittenRelease(target, document)
    write_atomically(out_dir / ENVELOPE_NAME, envelope)
    return WrittenRelease(target, document, out_dir / ENVELOPE_NAME)


def _signed(data: bytes, keys: Sequence[Path]) -> bytes:
    """Return the signed envelope. Imports cryptography here only, because most releases are not signed."""
    from pipelines.release import signing_key
    from wire.documents import signing

    return signing.sign(data, signing.RELEASE_TYPE, [signing_key.load(path) for path in keys])


def _contract(path: Path) -> Contract:
    try:
        with zipfile.ZipFile(path) as archive, archive.open(CONTRACT_ENTRY) as entry:
            return parse_contract(entry.read(MAX_CONTRACT_BYTES + 1))
    except FileNotFoundError as error:
        raise DefinitionError("NO_ARTIFACT", f"there is no file {path}") from error
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise DefinitionError(
            "NOT_AN_ARTIFACT",
            f"{path} is not a zip file with the entry {CONTRACT_ENTRY}; build it again",
        ) from error
    except DocumentError as error:
        raise DefinitionError("NOT_AN_ARTIFACT", f"{path} contains a contract that cannot be read: {error}") from error


def _only_one(contracts: dict[Path, Contract]) -> Contract:
    identities = {(contract.pipeline_id, contract.contract_version) for contract in contracts.values()}
    names = [path.name for path in contracts]
    if len(identities) > 1 or len(set(names)) < len(names):
        listed = ", ".join(f"{path} ({contract.pipeline_id})" for path, contract in contracts.items())
        raise DefinitionError(
            "MIXED_ARTIFACTS",
            f"the artifacts have more than one contract, or share a file name: {listed}; name the paths of one release",
        )
    return next(iter(contracts.values()))


def _artifact(path: Path, contract: Contract) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {
        "artifactId": f"{path.stem}-artifact",
        "kind": "local-file",
        "uri": path.name,
        "digest": f"sha256:{digest}",
        "stepIds": [step.authored_name for step in contract.steps],
        "capabilities": _capabilities(path),
    }


def _capabilities(path: Path) -> list[str]:
    """Return the capabilities that the pipeline requires of its workers, as ``build`` packed them."""
    with zipfile.ZipFile(path) as archive:
        if CAPABILITIES_ENTRY not in archive.namelist():
            return []
        with archive.open(CAPABILITIES_ENTRY) as entry:
            data = entry.read(MAX_CAPABILITIES_BYTES + 1)
    try:
        required = json.loads(data) if len(data) <= MAX_CAPABILITIES_BYTES else None
    except (ValueError, RecursionError):
        required = None
    if not isinstance(required, list) or not all(isinstance(each, str) for each in required):
        raise DefinitionError("NOT_AN_ARTIFACT", f"{path} has a {CAPABILITIES_ENTRY} that is not a list of names")
    return required


def _release_version(digests: list[str]) -> str:
    if len(digests) == 1:
        return digests[0]
    return f"sha256:{hashlib.sha256(chr(10).join(sorted(digests)).encode()).hexdigest()}"
