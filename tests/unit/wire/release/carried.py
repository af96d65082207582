"""Releases of the profile `tpf-2026-10` for tests, built from the bytes of their artifacts."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

from tests.unit.wire.release.test_release_verification import sha
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


def archive(contract: bytes | None = DATA, entries: Mapping[str, bytes | str] | None = None) -> bytes:
    """Return a zip archive with the contract and `entries`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        if contract is not None:
            file.writestr(CONTRACT_ENTRY, contract)
        for name, body in (entries or {}).items():
            file.writestr(name, body)
    return buffer.getvalue()


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


def descriptor(*artifacts: dict[str, Any], carrier: str = "app", **members: Any) -> CarrierDescriptor:
    found = descriptor_from_json(
        {
            "schemaVersion": 1,
            "pipelineId": "org.x",
            "contractVersion": CONTRACT["contractVersion"],
            "releaseVersion": "1",
            "artifacts": list(artifacts),
            "compiledTruthArtifactId": carrier,
            **members,
        }
    )
    assert isinstance(found, CarrierDescriptor)
    return found


def contract_of(*, steps: list[dict[str, Any]] | None = None, **members: Any) -> Contract:
    """Return CONTRACT with other members, under the same version."""
    return parse_contract(json.dumps({**CONTRACT, "steps": STEPS if steps is None else steps, **members}).encode())


class Store:
    """Artifacts by their digest."""

    def __init__(self, *bodies: bytes) -> None:
        self.bodies = {sha(body): body for body in bodies}

    def __call__(self, artifact: ArtifactRef) -> BinaryIO | None:
        body = self.bodies.get(artifact.digest)
        return None if body is None else io.BytesIO(body)


def released(*artifacts: tuple[dict[str, Any], bytes], carrier: str = "app", **options: Any) -> Verdict:
    """Verify a release of these artifacts and their bytes."""
    wanted = descriptor(*(each for each, _ in artifacts), carrier=carrier)
    return verify(wanted, Store(*(body for _, body in artifacts)), **options)


def errors(verdict: Verdict) -> list[tuple[str, str, str]]:
    """Return code, field and message of each error, with the name of the descriptor left out of the field."""
    return [
        (finding.code, finding.field.removeprefix(f"{NAME}#"), finding.message)
        for finding in verdict.findings
        if finding.severity is Severity.ERROR
    ]


def codes(verdict: Verdict) -> list[tuple[str, str]]:
    return [(code, field) for code, field, _ in errors(verdict)]


def of_older_profile(*artifacts: dict[str, Any]) -> Descriptor:
    return descriptor_from_json(
        {
            "schemaVersion": 1,
            "pipelineId": "org.x",
            "contractVersion": CONTRACT["contractVersion"],
            "releaseVersion": "1",
            "artifacts": list(artifacts),
        }
    )
