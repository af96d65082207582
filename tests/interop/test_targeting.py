"""A worker names the whole-bundle archive of a release, whose contract is in another artifact (`tpf-2026-10`)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from executions.models import Execution, Worker
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import PIPELINE, Flow
from tests.executions.transports.rest.strict_worker import CONTRACT_STEPS, StrictWorker
from tests.interop.client import ok, refused
from tests.interop.submitting import NO_WORKER, accepted, submit
from tests.releases.registration.located import artifact
from wire.documents.contract import contract_from_json
from wire.release.placement import known_capabilities
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db
CONTRACT = making.contract(PIPELINE, CONTRACT_STEPS, transport="REST")
TRUTH = making.archive(CONTRACT)
BUNDLE = making.archive(None, **{"app/quarkus-run.jar": "code", "app/lib/steps.jar": "steps"})
OTHER = making.archive(None, code="other steps")
STEPS = [step["authoredName"] for step in CONTRACT_STEPS]
CAPABILITIES = known_capabilities(contract_from_json(CONTRACT))


@pytest.fixture
def flow(
    root: Path, owner: Tenant, serve: Callable[[StrictWorker], StrictWorker], settings: Any
) -> Callable[[list[str]], Flow]:
    """Register and activate a release over `/tpf`. The bundle hosts the named steps, and another archive the rest."""

    def located(name: str, data: bytes, steps: list[str], kind: str = "application-archive") -> dict[str, Any]:
        path = root / f"{name}.zip"
        path.write_bytes(data)
        capabilities = CAPABILITIES if steps else []
        return artifact(data, name, kind=kind, uri=path.as_uri(), stepIds=steps, capabilities=capabilities)

    def make(steps: list[str]) -> Flow:
        rest = [name for name in STEPS if name not in steps]
        artifacts = [located("truth", TRUTH, [], "compiled-truth"), located("bundle", BUNDLE, steps)]
        document = {
            **{name: CONTRACT[name] for name in ("schemaVersion", "pipelineId", "contractVersion")},
            "releaseVersion": "1.0",
            "compiledTruthArtifactId": "truth",
            "artifacts": artifacts + ([located("other", OTHER, rest)] if rest else []),
        }
        path = root / "pipeline-release.json"
        path.write_text(json.dumps(document))
        base = f"admin/tenants/{owner.slug}/pipelines/{PIPELINE}/releases"
        record = ok("POST", f"{base}/register", {"releaseDescriptorPath": str(path)})
        assert record["primaryArtifactId"] == "truth"
        ok("POST", f"{base}/1.0/activate")
        secret = worker_key(settings.WORKER_SECRET, owner.slug).text
        double = serve(StrictWorker(PIPELINE, CONTRACT["contractVersion"], "1.0", secret))
        settings.REST_WORKER_ORIGINS = [double.origin]
        return Flow(owner, Release.objects.get(pipeline__tenant=owner), double, Worker())

    return make


def host(flow: Flow, artifact_id: str, digest: str) -> None:
    """Register a worker that names the artifact, also in its answer to the capability check."""
    flow.double.capabilities = {"artifactId": artifact_id, "artifactDigest": digest}
    pin = {"contractVersion": CONTRACT["contractVersion"], "releaseVersion": "1.0", "protocol": "rest"}
    body = {**pin, **flow.double.capabilities, "workerId": "java-1", "endpoint": flow.double.endpoint}
    ok("POST", f"admin/tenants/{flow.owner.slug}/pipelines/{PIPELINE}/workers/register", body)
    flow.worker = Worker.objects.get(tenant=flow.owner)
    flow.check()


@cases("steps", [STEPS, STEPS[:2]])
def test_a_worker_of_the_bundle_runs_the_release_wherever_its_contract_and_other_steps_are(
    flow: Callable[[list[str]], Flow], steps: list[str]
) -> None:
    made = flow(steps)
    host(made, "bundle", making.digest_of(BUNDLE))
    execution = made.advance(accepted(made.owner))
    assert execution.status == "WAITING_EXTERNAL", (execution.error_code, execution.error_message)
    assert [command["releaseVersion"] for command in made.double.commands] == ["1.0"]


@cases(
    ("artifact_id", "digest"),
    [
        ("bundle", making.digest_of(b"no artifact")),
        ("app", making.digest_of(BUNDLE)),
        ("truth", making.digest_of(BUNDLE)),
    ],
)
def test_a_worker_that_names_no_artifact_of_the_release_gets_no_work(
    flow: Callable[[list[str]], Flow], artifact_id: str, digest: str
) -> None:
    made = flow(STEPS)
    host(made, artifact_id, digest)
    status, text = refused(submit(made.owner))
    assert (status, text.startswith(NO_WORKER)) == (503, True)
    assert not Execution.objects.filter(tenant=made.owner).exists()
