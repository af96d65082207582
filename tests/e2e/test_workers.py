"""Operators and workers over real processes: a drain holds, its work is shown as stranded, and goes on afterwards."""

from tests.running import BuiltRelease, TenantInUse, eventually


def test_work_of_a_drained_worker_is_stranded_until_it_is_undrained(tenant: TenantInUse, v1: BuiltRelease) -> None:
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "only")
    made = tenant.accepted("tests.pinned", {"number": 1, "fail_times": 1}, "k")["executionId"]
    tenant.wait_for(made, "WAIT_RETRY")
    assert tenant.http.post(tenant.url("workers/tests.pinned/only/drain")).status_code == 200

    [stranded] = eventually(lambda: tenant.get("stranded")["items"], what="the stranded work")
    assert (stranded["pin"]["releaseVersion"], stranded["executions"]) == ("1.0", 1)
    refused = tenant.submit("tests.pinned", {"number": 2}, "k2")
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_UNAVAILABLE")
    # The worker beats on, and that undoes nothing.
    seen = tenant.get("workers")["items"][0]["lastHeartbeatAt"]
    eventually(lambda: tenant.get("workers")["items"][0]["lastHeartbeatAt"] > seen, what="a heartbeat")
    tenant.wait_for_worker("only", "DRAINING")
    assert tenant.execution(made)["status"] == "WAIT_RETRY"

    assert tenant.http.post(tenant.url("workers/tests.pinned/only/undrain")).status_code == 200
    tenant.wait_for(made, "SUCCEEDED")
    assert tenant.get("stranded")["items"] == []


def test_a_workers_life_is_in_its_history(tenant: TenantInUse, v1: BuiltRelease) -> None:
    worker = tenant.start_worker(v1, "mortal")
    worker.kill()
    tenant.wait_for_worker("mortal", "STALE")

    def causes() -> list[str]:
        return [event["data"]["cause"] for event in tenant.get("workers/tests.pinned/mortal/events")["items"]]

    eventually(lambda: causes() == ["SILENT", "REGISTERED"], what="the clock's note")
    again = tenant.start_worker(v1, "mortal")
    again.stop(grace=20)
    tenant.wait_for_worker("mortal", "UNAVAILABLE")
    assert causes()[:1] == ["STOPPED"]
    assert causes()[-3:] == ["HEARD_AGAIN", "SILENT", "REGISTERED"]
