"""A worker that hosts code from a folder runs nothing unless the pipeline's policy allows it."""

import sys
from pathlib import Path

from embedded.children import Child
from embedded.product import PROJECT
from tests.e2e.conftest import PIPELINES
from tests.running import BuiltRelease, TenantInUse, eventually
from wire.worker_keys import worker_key


def start_from_source(tenant: TenantInUse, release: BuiltRelease, name: str, folder: Path) -> Child:
    """Start a Celery worker that hosts the code in `folder`."""
    product = tenant.product
    command = [sys.executable, "-m", "pipelines", "worker", f"--release={release.descriptor}"]
    child = product.children.start(
        name,
        [*command, "--from-source=pinned:pipeline", f"--worker-id={name}", "--concurrency=2"],
        environment={
            "PYTHONPATH": str(PROJECT),
            "PIPELINES_TENANT": tenant.tenant.slug,
            "PIPELINES_BROKER_URL": product.broker_url(tenant.tenant.slug),
            "PIPELINES_BROKER_CA_FILE": product.settings.get("REDIS_CA_FILE", ""),
            "PIPELINES_WORKER_KEY": worker_key(product.environment["WORKER_SECRET"], tenant.tenant.slug).text,
        },
        directory=folder,
    )
    tenant.workers.append(child)
    tenant.wait_for_worker(name, "HEALTHY")
    return child


def takes_work(tenant: TenantInUse, name: str) -> bool:
    [worker] = [each for each in tenant.get("workers")["items"] if each["workerId"] == name]
    return bool(worker["taking"])


def test_a_worker_with_code_from_a_folder_runs_nothing_until_the_policy_allows_it(
    tenant: TenantInUse, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    start_from_source(tenant, v1, "folder", PIPELINES / "v1")
    [worker] = tenant.get("workers")["items"]
    assert (worker["code"], worker["ineligibleReason"]) == ("source", "UNVERIFIED_CODE")
    assert worker["environment"]["fingerprint"].startswith("sha256:")
    refused = tenant.submit("tests.pinned", {"number": 1}, "k")
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_UNAVAILABLE")
    assert "folder=UNVERIFIED_CODE" in refused.json()["detail"]

    change = {"unverifiedWorkers": "allow"}
    assert tenant.http.patch(tenant.url("pipelines/tests.pinned"), json=change).status_code == 200
    execution_id = tenant.accepted("tests.pinned", {"number": 1}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    eventually(lambda: takes_work(tenant, "folder"), what="its instruction to accept commands")

    change = {"unverifiedWorkers": "refuse"}
    assert tenant.http.patch(tenant.url("pipelines/tests.pinned"), json=change).status_code == 200
    eventually(lambda: not takes_work(tenant, "folder"), what="its instruction to drain")


def test_a_refused_worker_takes_no_commands_of_a_worker_that_shares_its_queue(
    tenant: TenantInUse, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    start_from_source(tenant, v1, "folder", PIPELINES / "v1")
    tenant.start_worker(v1, "verified")
    accepted = [tenant.accepted("tests.pinned", {"number": number}, f"k{number}") for number in range(20)]
    for each in accepted:
        tenant.wait_for(each["executionId"], "SUCCEEDED")
        assert tenant.events(each["executionId"])[-1]["actor"] == "worker:verified"
