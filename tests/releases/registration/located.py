from typing import Any

from releases.models import Release
from releases.registration.verification import verify_release
from tests import making
from wire.documents.contract import contract_from_json
from wire.release.content import known_capabilities

CONTRACT = making.contract()
CAPABILITIES = known_capabilities(contract_from_json(CONTRACT))
JAR = making.archive(CONTRACT, code="jar")


def artifact(data: bytes, artifact_id: str = "app", **members: Any) -> dict[str, Any]:
    """Return an artifact: by default a JAR in a Maven repository. It has the step and capabilities of the contract."""
    return {
        "artifactId": artifact_id,
        "kind": "jar",
        "uri": f"maven:com.acme:{artifact_id}:1.2.3",
        "digest": making.digest_of(data),
        "stepIds": ["Validate"],
        "capabilities": CAPABILITIES,
        **members,
    }


def image(**members: Any) -> dict[str, Any]:
    """Return an image that has the step of the contract."""
    digest = making.digest_of(b"image")
    uri = f"oci://registry.example/acme/app@{digest}"
    return artifact(b"image", "image", **{"kind": "container-image", "uri": uri, **members})


def descriptor(*artifacts: dict[str, Any], version: str = "1.0", **members: Any) -> dict[str, Any]:
    """Return a descriptor. Its first artifact carries the contract; without artifacts it has one JAR."""
    listed = artifacts or (artifact(JAR),)
    return {
        "schemaVersion": 1,
        "pipelineId": CONTRACT["pipelineId"],
        "contractVersion": CONTRACT["contractVersion"],
        "releaseVersion": version,
        "compiledTruthArtifactId": listed[0]["artifactId"],
        "artifacts": list(listed),
        **members,
    }


def carrier(contract: dict[str, Any], data: bytes, version: str = "1.0", **members: Any) -> dict[str, Any]:
    """Return a descriptor. Its only artifact is the archive `data` with the contract and all of its steps."""
    read = contract_from_json(contract)
    steps = [step.authored_name for step in read.steps]
    content: dict[str, Any] = {"stepIds": steps, "capabilities": known_capabilities(read)}
    named = {name: contract[name] for name in ("pipelineId", "contractVersion")}
    return descriptor(artifact(data, **content | members), version=version, **named)


def verdict(release: Release) -> tuple[str, list[tuple[str, str, str]]]:
    verify_release(release.pk)
    release.refresh_from_db()
    findings = release.findings
    return release.status, [(row["code"], row["severity"], row["field"].partition("#")[2]) for row in findings]
