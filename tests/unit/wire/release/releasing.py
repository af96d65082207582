"""Releases of both profiles for tests, built from the bytes of their artifacts."""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from wire.documents.contract import CONTRACT_ENTRY, Contract, parse_contract, publish
from wire.documents.descriptor import ArtifactRef, CarrierDescriptor, Descriptor, descriptor_from_json
from wire.findings import Severity
from wire.release.verification import Verdict, verify

NAME = "pipeline-release.json"
LOCAL_ONLY = {"localTransitionExecution": True, "transitionWorkerProtocols": []}
STEPS = [{"index": 0, "authoredName": "Validate"}, {"index": 1, "authoredName": "Ship"}]
CONTRACT: dict[str, Any] = publish(
    {"schemaVersion": 1, "pipelineId": "org.x", "steps": STEPS, "capabilities": LOCAL_ONLY}
)
DATA = json.dumps(CONTRACT).encode()
NORMALISED = parse_contract(DATA).normalised()
Bodies = tuple[dict[str, Any], bytes]
"""An artifact and its bytes."""


def altered(**members: Any) -> bytes:
    """Return the contract as a document with other members, under the same version."""
    return json.dumps({**CONTRACT, **members}).encode()


def contract_of(**members: Any) -> Contract:
    return parse_contract(altered(**members))


def archive(contract: bytes | None = DATA, entries: Mapping[str, bytes | str] | None = None) -> bytes:
    """Return a zip archive with the contract and `entries`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        if contract is not None:
            file.writestr(CONTRACT_ENTRY, contract)
        for name, body in (entries or {}).items():
            file.writestr(name, body)
    return buffer.getvalue()


def sha(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def artifact(name: str, kind: str, body: bytes, *, hosts: bool = False, **members: Any) -> dict[str, Any]:
    """Return an artifact. With `hosts` it has both steps and the capability `local`."""
    return {
        "artifactId": name,
        "kind": kind,
        "uri": f"oci://r/{name}@{sha(body)}" if kind.endswith("-image") else f"maven:org.x:{name}:1",
        "digest": sha(body),
        "stepIds": ["Validate", "Ship"] if hosts else [],
        "capabilities": ["local"] if hosts else [],
        **members,
    }


def older(*artifacts: dict[str, Any], **members: Any) -> Descriptor:
    """Return a descriptor of the profile `tpf-2026-08`."""
    release = {"schemaVersion": 1, "pipelineId": "org.x", "releaseVersion": "1"}
    version = {"contractVersion": CONTRACT["contractVersion"]}
    return descriptor_from_json({**release, **version, "artifacts": list(artifacts), **members})


def newer(*artifacts: dict[str, Any], carrier: str = "app") -> CarrierDescriptor:
    """Return a descriptor of the profile `tpf-2026-10`."""
    found = older(*artifacts, compiledTruthArtifactId=carrier)
    assert isinstance(found, CarrierDescriptor)
    return found


class Store:
    """Stored artifacts by their digest. Records which artifacts were opened."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = {sha(body): body for body in bodies}
        self.opened: list[str] = []
        self.files: list[BinaryIO] = []

    def __call__(self, artifact: ArtifactRef) -> BinaryIO | None:
        body = self.bodies.get(artifact.digest)
        if body is None:
            return None
        self.opened.append(artifact.artifact_id)
        self.files.append(io.BytesIO(body))
        return self.files[-1]


def verified(*artifacts: Bodies, **options: Any) -> Verdict:
    """Verify a release of the profile `tpf-2026-08` of these artifacts and their bytes."""
    return verify(older(*(each for each, _ in artifacts)), Store(*(body for _, body in artifacts)), **options)


def carried(*artifacts: Bodies, **options: Any) -> Verdict:
    """Verify a release of the profile `tpf-2026-10` of these artifacts and their bytes."""
    return verify(newer(*(each for each, _ in artifacts)), Store(*(body for _, body in artifacts)), **options)


def codes(verdict: Verdict, severity: Severity = Severity.ERROR) -> list[tuple[str, str]]:
    found = [each for each in verdict.findings if each.severity is severity]
    return [(each.code, each.field.removeprefix(f"{NAME}#")) for each in found]
