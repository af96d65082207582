"""A worker names the archive of a release whose contract is in another artifact (`tpf-2026-10`)."""

import json
from pathlib import Path
from typing import Any

import pytest

from executions.models import Execution
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import PIPELINE, hosted
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS
from tests.interop.client import NO_WORKER, ok, submit
from tests.releases.registration.located import artifact
from wire.documents.contract import contract_from_json
from wire.release.content import known_capabilities

pytestmark = pytest.mark.django_db
CONTRACT = making.contract(PIPELINE, CONTRACT_STEPS, transport="REST")
PIN = {"contractVersion": CONTRACT["contractVersion"], "releaseVersion": "1.0"}
CAPABILITIES = known_capabilities(contract_from_json(CONTRACT))
STEPS = [str(step["authoredName"]) for step in CONTRACT_STEPS]
BUNDLE, OTHER = making.archive(None, app="all steps"), making.archive(None, app="the other steps")


def release(root: Path, bundled: list[str]) -> Path:
    """Write a release whose bundle has the `bundled` steps, and another archive the rest. Return its descriptor."""
    rest = [name for name in STEPS if name not in bundled]
    archives = {"truth": (making.archive(CONTRACT), []), "bundle": (BUNDLE, bundled), "other": (OTHER, rest)}
    artifacts = []
    for name, (data, steps) in archives.items():
        path = root / f"{name}.zip"
        path.write_bytes(data)
        kind = "application-archive" if steps else "compiled-truth"
        members = {"kind": kind, "uri": path.as_uri(), "stepIds": steps}
        artifacts.append(artifact(data, name, **members, capabilities=CAPABILITIES if steps else []))
    document = {"schemaVersion": 1, "pipelineId": PIPELINE, **PIN, "compiledTruthArtifactId": "truth"}
    (root / "release.json").write_text(json.dumps({**document, "artifacts": artifacts if rest else artifacts[:2]}))
    return root / "release.json"


@cases(
    ("steps", "names", "status"),
    [
        (STEPS, ("bundle", BUNDLE), 200),
        (STEPS[:2], ("bundle", BUNDLE), 200),
        (STEPS, ("bundle", b"no artifact"), 503),
        (STEPS, ("truth", BUNDLE), 503),
    ],
)
def test_a_worker_gets_work_if_it_names_the_bundle_wherever_the_contract_and_other_steps_are(
    root: Path, owner: Tenant, serve: Any, settings: Any, steps: list[str], names: tuple[str, bytes], status: int
) -> None:
    base = f"admin/tenants/{owner.slug}/pipelines/{PIPELINE}"
    record = ok("POST", f"{base}/releases/register", {"releaseDescriptorPath": str(release(root, steps))})
    assert record["primaryArtifactId"] == "truth"
    ok("POST", f"{base}/releases/1.0/activate")
    flow = hosted(making.release_of(owner, "1.0"), serve, settings)
    flow.double.capabilities = {"artifactId": names[0], "artifactDigest": making.digest_of(names[1])}
    worker = {"workerId": "java-1", "protocol": "rest", "endpoint": flow.double.endpoint}
    ok("POST", f"{base}/workers/register", {**worker, **PIN, **flow.double.capabilities})
    flow.check()
    answer = submit(owner)
    assert (answer.status_code, answer.content.decode().startswith(NO_WORKER)) == (status, status == 503)
    if status == 200:
        assert flow.advance(Execution.objects.get(tenant=owner)).status == "WAITING_EXTERNAL"
