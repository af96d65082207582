"""An execution runs on the release that was active at its submission, even if another is activated later."""

import time
from pathlib import Path
from signal import SIGTERM

from tests.running import BuiltRelease, TenantInUse


def test_without_a_worker_of_its_release_an_execution_waits_and_keeps_its_pin(
    tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    tenant.register(v1)
    tenant.activate(v1)
    worker = tenant.start_worker(v1, "worker-v1")
    work = {"number": 1, "fail_times": 1, "gate": str(gate)}
    first = tenant.accepted("tests.pinned", work, "first")["executionId"]
    tenant.wait_until_begun(first)
    worker.send(SIGTERM)
    gate.touch()
    assert worker.wait(20) == 0
    tenant.wait_for_worker("worker-v1", "UNAVAILABLE")
    tenant.wait_for(first, "WAIT_RETRY")
    tenant.register(v2)
    tenant.activate(v2)
    tenant.start_worker(v2, "worker-v2")
    # v2's worker is idle and has run an execution, so it could have run v1's execution by mistake.
    second = tenant.accepted("tests.pinned", {"number": 2}, "second")["executionId"]
    tenant.wait_for(second, "SUCCEEDED")
    time.sleep(2)
    stranded = tenant.execution(first)
    assert (stranded["status"], stranded["attempt"], stranded["pin"]["releaseVersion"]) == ("WAIT_RETRY", 1, "1.0")

    tenant.start_worker(v1, "worker-v1-again")
    tenant.wait_for(first, "SUCCEEDED")
    assert tenant.result(first) == {"number": 1, "made_by": "code v1, attempt 1"}


def test_a_rollback_affects_only_new_executions(tenant: TenantInUse, v1: BuiltRelease, v2: BuiltRelease) -> None:
    for release, worker in ((v1, "worker-v1"), (v2, "worker-v2")):
        tenant.register(release)
        tenant.start_worker(release, worker)
    assert tenant.activate(v1)["rollback"] is False
    assert tenant.activate(v2)["rollback"] is False
    on_v2 = tenant.accepted("tests.pinned", {"number": 2, "fail_times": 1}, "second")
    rollback = tenant.activate(v1, "v2 is wrong")
    on_v1 = tenant.accepted("tests.pinned", {"number": 3}, "third")

    assert (rollback["rollback"], rollback["previousReleaseVersion"], rollback["sequence"]) == (True, "2.0", 3)
    assert tenant.wait_for(on_v1["executionId"], "SUCCEEDED")["pin"]["releaseVersion"] == "1.0"
    tenant.wait_for(on_v2["executionId"], "SUCCEEDED")
    assert tenant.result(on_v2["executionId"])["made_by"] == "code v2, attempt 1"
    history = tenant.get("pipelines/tests.pinned/activations")["items"]
    assert [(event["sequence"], event["releaseVersion"]) for event in history] == [(3, "1.0"), (2, "2.0"), (1, "1.0")]
