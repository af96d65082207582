"""The acts of the year. Each notes the times and the executions about which the history is asked at the end."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.parts.product.year.story import PATH, PIPELINE, Year
from tests.running import eventually

STATISTICS = 20
LARGE = 100


def the_first_release_needs_a_worker(year: Year) -> None:
    year.note("beginning")
    year.publish("1.0")
    year.host("1.0")
    year.maria.post("activations", releaseVersion="1.0", reason="the first release")
    year.note("first")
    year.settled(1, "1.0")


def an_order_stays_open_all_year(year: Year) -> None:
    """Its gate opens at the end of the year. The operator notes the head of the audit log."""
    year.long_order = year.order(2, "1.0", gate=year.folder / "gate-1.0")
    year.tenant.wait_until_begun(year.long_order)
    year.audit_head = year.tenant.product.manage("verify_audit", year.tenant.tenant.slug).rpartition(" ")[2]


def the_second_release_passes_every_gate(year: Year) -> None:
    year.publish("2.0")
    switch: dict[str, Any] = {"releaseVersion": "2.0", "reason": "faster"}
    refused = year.maria.refused("activations", 409, "WORKER_REQUIRED", **switch)
    assert refused["command"] == "pipelines worker --release pipeline-release.json"
    year.host("2.0")
    year.ada.change_policy(PIPELINE, smokeTestHours=24)
    year.maria.refused("activations", 409, "SMOKE_TEST_REQUIRED", **switch)
    smoke_test(year, "2.0")
    year.ada.change_policy(PIPELINE, approvals=2)
    assert year.maria.refused("activations", 409, "APPROVAL_REQUIRED", **switch)["approvals"] == 2

    first = year.maria.post("activation-requests", **switch)
    year.maria.refused(votes(first), 403, "OWN_REQUEST", decision="approve", round=1)
    refusal = vote(year, "raj", first, decision="refuse", comment="not on a Friday")
    assert refusal["status"] == "REFUSED"
    year.lena.refused(votes(first), 409, "REQUEST_NOT_OPEN", decision="approve", round=1)
    year.note("refused")
    year.settled(3, "1.0")

    second = year.maria.post("activation-requests", releaseVersion="2.0", reason="faster, on a Monday")
    assert vote(year, "raj", second, decision="approve", comment="go")["status"] == "OPEN"
    assert vote(year, "lena", second, decision="approve")["status"] == "ACTIVATED"
    year.requests["2.0"] = second["requestId"]
    year.note("second")
    year.settled(4, "2.0")


def the_third_release_waits_for_its_time(year: Year) -> None:
    year.publish("3.0")
    year.host("3.0")
    smoke_test(year, "3.0")
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    first = year.maria.post("activation-requests", releaseVersion="3.0", reason="at night", activateAt=tomorrow)
    approve(year, first, "APPROVED")
    withdrawn = year.lena.post(f"activation-requests/{first['requestId']}/withdrawal", 200, reason="a holiday")
    assert (withdrawn["status"], withdrawn["endedBy"]) == ("WITHDRAWN", "token:lena")
    year.note("withdrawn request")
    year.settled(5, "2.0")

    soon = (datetime.now(UTC) + timedelta(seconds=10)).isoformat()
    second = year.maria.post("activation-requests", releaseVersion="3.0", reason="at noon", activateAt=soon)
    approve(year, second, "APPROVED")
    year.requests["3.0"] = second["requestId"]
    address = f"{PATH}/activation-requests/{second['requestId']}"
    eventually(lambda: year.tenant.get(address)["status"] == "ACTIVATED", seconds=60, what="the scheduled activation")
    assert year.tenant.get(address)["statusChangedAt"] >= second["activateAt"]
    year.note("third")
    year.settled(6, "3.0")


def the_fourth_release_withdraws_itself(year: Year) -> None:
    """A request cannot ask for a gradual activation, so the tenant admin first drops the approvals."""
    year.publish("4.0")
    year.host("4.0")
    smoke_test(year, "4.0")
    plan: dict[str, Any] = {
        "steps": [{"share": 50, "minimumSample": STATISTICS, "minimumMinutes": 0}, {"share": 100, **LAST}],
        "bounds": {"failurePercentagePoints": 5, "significance": 0.01},
    }
    start = {"releaseVersion": "4.0", "reason": "new prices", **plan}
    year.maria.refused("gradual-activations", 409, "APPROVAL_REQUIRED", **start)
    year.ada.change_policy(PIPELINE, approvals=0)
    started = year.maria.post("gradual-activations", **start)
    year.note("gradual")
    gradual = f"{PATH}/gradual-activations/{started['gradualActivationId']}"
    orders = [year.order(LARGE + n, None) for n in range(4 * STATISTICS)]
    year.failures = [each for each in orders if year.pins[each] == "4.0"]
    for each in orders:
        year.tenant.wait_for(each, "FAILED" if each in year.failures else "SUCCEEDED", seconds=60)

    eventually(lambda: year.tenant.get(gradual)["status"] == "WITHDRAWN", seconds=60, what="the withdrawal")
    year.note("withdrawn candidate")
    ended = year.tenant.get(gradual)
    assert (ended["cause"], ended["endedBy"], ended["step"]) == ("failures", "coordinator", 0), ended
    # An order that was submitted during the withdrawal may be in no sample.
    candidate, baseline = ended["evidence"]["candidate"], ended["evidence"]["baseline"]
    assert STATISTICS <= candidate["ended"] == candidate["failed"] <= len(year.failures), ended
    assert baseline["ended"] > baseline["failed"] == 0
    for number in range(5):
        year.settled(LARGE + number, "3.0")


LAST = {"minimumSample": 1000, "minimumMinutes": 10000}


def the_fifth_release_is_rolled_back(year: Year) -> None:
    """On-call people may not activate releases, but return to one that was active lately."""
    year.ada.change_policy(PIPELINE, approvals=2, emergencyOverride=True, retryDelaySeconds=600)
    year.publish("5.0")
    year.host("5.0")
    smoke_test(year, "5.0", gate=True)
    emergency: dict[str, Any] = {"releaseVersion": "5.0", "reason": "large orders are lost", "override": True}
    year.maria.refused("activations", 403, "SCOPE_MISSING", **emergency)
    year.ada.post("activations", **emergency)
    year.note("fifth")
    year.stuck = [year.order(number, "5.0") for number in (7, 8, 9)]
    for each in year.stuck:
        year.tenant.wait_for(each, "WAIT_RETRY")
    year.running_order = year.order(10, "5.0", gate=year.folder / "gate-5.0")
    year.tenant.wait_until_begun(year.running_order)

    year.otto.refused("activations", 403, "SCOPE_MISSING", releaseVersion="3.0", reason="5.0 is stuck")
    year.otto.post("rollback", reason="5.0 is stuck")
    year.note("rollback")
    year.settled(11, "3.0")


def the_fifth_release_is_revoked(year: Year) -> None:
    """Its open executions pause: what runs finishes, and nothing else is claimed."""
    revoked = year.ada.post("revocations", releaseVersion="5.0", reason="it locks the prices", openExecutions="pause")
    assert revoked["openExecutions"] == "pause"
    year.note("revocation")
    year.maria.refused("rollback", 409, "RELEASE_NOT_REGISTERED", releaseVersion="5.0", reason="try again")
    (year.folder / "gate-5.0").touch()
    year.tenant.wait_for(year.running_order, "SUCCEEDED")
    paused = year.tenant.get(f"{PATH}/releases/5.0")["paused"]
    assert (paused["by"], paused["reason"]) == ("token:ada", "it locks the prices")
    assert [year.tenant.execution(each)["status"] for each in year.stuck] == ["WAIT_RETRY"] * 3
    cancelled = year.stuck[0]
    year.otto.send(f"executions/{cancelled}/cancel", 200, reason="the order is repeated on 3.0")


def the_failures_run_again_on_the_good_release(year: Year) -> None:
    request = {"filters": {"pipelineId": PIPELINE, "releaseVersion": "4.0"}, "allowFailed": True, "ratePerMinute": 6000}
    started = year.otto.send("campaigns", 201, **request, kind="resubmit", reason="3.0 settles them")
    campaign = f"campaigns/{started['campaignId']}"
    eventually(lambda: year.tenant.get(campaign)["status"] == "COMPLETED", seconds=60, what="the end of the campaign")
    items = year.tenant.get(f"{campaign}/items?pageSize=500")["items"]
    again = {item["executionId"]: item["newExecutionId"] for item in items}
    assert set(again) == set(year.failures)
    [cancelled, *_] = year.stuck
    repeated = year.otto.send(f"executions/{cancelled}/resubmit", 202, reason="5.0 is revoked")
    again[cancelled] = repeated["executionId"]
    for old, new in again.items():
        year.tenant.wait_for(new, "SUCCEEDED", seconds=60)
        assert year.tenant.execution(new)["resubmittedFrom"] == old
        year.pins[new] = "3.0"
    year.note("resubmission")


def old_releases_retire(year: Year) -> None:
    """A release retires once nothing needs it, or once its failures are given up."""
    old: dict[str, Any] = {"releaseVersion": "1.0", "reason": "a year old"}
    refused = year.maria.refused("retirements", 409, "RETIREMENT_BLOCKED", **old)
    assert refused["blockers"] == [{"kind": "RUNNING", "count": 1}]
    (year.folder / "gate-1.0").touch()
    year.tenant.wait_for(year.long_order, "SUCCEEDED")
    assert year.maria.post("retirements", **old)["givenUpFailures"] == 0

    failed: dict[str, Any] = {"releaseVersion": "4.0", "reason": "it never worked"}
    refused = year.maria.refused("retirements", 409, "RETIREMENT_BLOCKED", **failed)
    count = len(year.failures)
    assert refused["blockers"] == [{"kind": "FAILED", "count": count}]
    assert year.maria.post("retirements", **failed, ignoreFailures=True)["givenUpFailures"] == count
    year.maria.refused("retirements", 409, "RETIREMENT_BLOCKED", releaseVersion="3.0", reason="by mistake")
    year.note("end")


# --- parts of acts ---


def smoke_test(year: Year, version: str, *, gate: bool = False) -> None:
    """Run a smoke test of a release, which must pass. With `gate`, its order has a gate, which is open."""
    value = {"number": 0, "gate": str(year.folder) if gate else ""}
    expected = {"number": 0, "made_by": version}
    address = f"{PATH}/releases/{version}/smoke"
    body = {"input": value, "idempotencyKey": "smoke", "expectedResult": expected}
    started = year.maria.send(address, 202, **body)["executionId"]
    eventually(lambda: year.tenant.get(f"{address}/{started}")["verdict"] == "PASSED", what=f"the test of {version}")
    year.pins[started] = version


def votes(request: dict[str, Any]) -> str:
    return f"activation-requests/{request['requestId']}/votes"


def vote(year: Year, name: str, request: dict[str, Any], **body: Any) -> Any:
    person = {"raj": year.raj, "lena": year.lena}[name]
    return person.post(votes(request), 200, round=1, **body)


def approve(year: Year, request: dict[str, Any], status: str) -> None:
    """Two people approve a request, which then has this status."""
    vote(year, "raj", request, decision="approve")
    assert vote(year, "lena", request, decision="approve")["status"] == status


ACTS = (
    the_first_release_needs_a_worker,
    an_order_stays_open_all_year,
    the_second_release_passes_every_gate,
    the_third_release_waits_for_its_time,
    the_fourth_release_withdraws_itself,
    the_fifth_release_is_rolled_back,
    the_fifth_release_is_revoked,
    the_failures_run_again_on_the_good_release,
    old_releases_retire,
)
