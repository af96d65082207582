"""A worker that hosts code from a folder runs nothing unless the pipeline's policy allows it."""

from tests.e2e.conftest import PIPELINES
from tests.parts.product.conftest import start_hosting
from tests.running import BuiltRelease, TenantInUse, eventually


def takes_work(tenant: TenantInUse, name: str) -> bool:
    [worker] = [each for each in tenant.get("workers")["items"] if each["workerId"] == name]
    return bool(worker["taking"])


def test_a_worker_with_code_from_a_folder_runs_nothing_until_the_policy_allows_it(
    tenant: TenantInUse, v1: BuiltRelease
) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    start_hosting(tenant, "folder", v1.descriptor, "--from-source=pinned:pipeline", directory=PIPELINES / "v1")
    [worker] = tenant.get("workers")["items"]
    assert (worker["code"], worker["ineligibleReason"]) == ("source", "UNVERIFIED_CODE")
    assert worker["environment"]["fingerprint"].startswith("sha256:")
    refused = tenant.submit("tests.pinned", {"number": 1}, "k")
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_UNAVAILABLE")
    assert "folder=UNVERIFIED_CODE" in refused.json()["detail"]

    verified = tenant.start_worker(v1, "verified")
    accepted = [tenant.accepted("tests.pinned", {"number": number}, f"k{number}") for number in range(20)]
    for each in accepted:
        tenant.wait_for(each["executionId"], "SUCCEEDED")
        assert tenant.events(each["executionId"])[-1]["actor"] == "worker:verified", "both share the queue"
    verified.stop()

    tenant.change_policy("tests.pinned", unverifiedWorkers="allow")
    execution_id = tenant.accepted("tests.pinned", {"number": 1}, "allowed")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED")
    eventually(lambda: takes_work(tenant, "folder"), what="its instruction to accept commands")

    tenant.change_policy("tests.pinned", unverifiedWorkers="refuse")
    eventually(lambda: not takes_work(tenant, "folder"), what="its instruction to drain")
