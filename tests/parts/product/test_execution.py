"""Executions with real processes: rejections, retries, killed workers, and a broker that is down."""

import time
from pathlib import Path

import pytest
from django.conf import settings

from embedded.valkey import Valkey
from tests.e2e.conftest import PIPELINES
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build, eventually


@pytest.fixture
def hosted(tenant: TenantInUse, v1: BuiltRelease) -> TenantInUse:
    """A tenant whose release 1.0 is active and has a worker."""
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "worker-v1")
    return tenant


def test_a_repeated_key_returns_the_first_execution_or_a_conflict(hosted: TenantInUse) -> None:
    first = hosted.accepted("tests.pinned", {"number": 1}, "the-key")
    repeated = hosted.submit("tests.pinned", {"number": 1}, "the-key")
    other = hosted.submit("tests.pinned", {"number": 2}, "the-key")

    assert (first["duplicate"], repeated.status_code, repeated.json()["duplicate"]) == (False, 200, True)
    assert repeated.json()["executionId"] == first["executionId"]
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert other.json()["executionId"] == first["executionId"]


def test_exhausted_retries_end_in_the_dead_letter_state_with_the_error(hosted: TenantInUse) -> None:
    accepted = hosted.accepted("tests.pinned", {"number": 1, "fail_times": 99}, "always-fails")
    ended = hosted.wait_for(accepted["executionId"], "DLQ", "FAILED", "SUCCEEDED")

    assert (ended["status"], ended["attempt"]) == ("DLQ", 2)
    error = ended["error"]
    assert (error["code"], error["message"]) == ("RuntimeError", 'step "Settle": attempt 2 of v1 fails')
    assert error["traceback"].splitlines()[1].startswith('  File "pinned.py", line ')
    events = hosted.events(accepted["executionId"])
    kinds = [event["kind"] for event in events]
    assert kinds == ["SUBMITTED", *["CLAIMED", "RETRY_SCHEDULED"] * 2, "CLAIMED", "RETRIES_EXHAUSTED"]
    assert [event["sequence"] for event in events] == list(range(1, 8))
    assert [event["data"].get("delaySeconds") for event in events if event["kind"] == "RETRY_SCHEDULED"] == [0.5, 1.0]


def test_a_transition_of_a_killed_worker_runs_again_on_another(tenant: TenantInUse, tmp_path: Path) -> None:
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    victim = tenant.start_worker(slow, "victim")
    marks = tmp_path / "marks"
    execution_id = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 5.0}, "k")["executionId"]
    eventually(marks.exists, what="the step's start")
    victim.kill()
    tenant.start_worker(slow, "successor")
    ended = tenant.wait_for(execution_id, "SUCCEEDED", seconds=40)

    # A takeover does not count as an attempt (wire protocol E.4).
    assert ended["attempt"] == 0
    assert len(marks.read_text().splitlines()) == 2
    assert "LEASE_EXPIRED" in [event["kind"] for event in tenant.events(execution_id)]
    assert [event["actor"] for event in tenant.events(execution_id)][-1] == "worker:successor"


def test_a_transition_that_is_longer_than_its_lease_keeps_the_lease(tenant: TenantInUse, tmp_path: Path) -> None:
    """The lease lasts three seconds, the step seven."""
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    tenant.start_worker(slow, "steady")
    marks = tmp_path / "marks"
    execution_id = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 7.0}, "k")["executionId"]
    tenant.wait_for(execution_id, "SUCCEEDED", seconds=40)

    assert len(marks.read_text().splitlines()) == 1
    assert [event["kind"] for event in tenant.events(execution_id)] == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


def test_a_worker_that_shuts_down_finishes_its_transitions(tenant: TenantInUse, tmp_path: Path) -> None:
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    worker = tenant.start_worker(slow, "leaving")
    marks = tmp_path / "marks"
    execution_id = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 2.0}, "k")["executionId"]
    eventually(marks.exists, what="the step's start")
    assert worker.stop(grace=20) == 0
    tenant.wait_for(execution_id, "SUCCEEDED")
    assert len(marks.read_text().splitlines()) == 1
    tenant.wait_for_worker("leaving", "UNAVAILABLE")
    refused = tenant.submit("tests.slow", {"marks": str(marks), "seconds": 0.0}, "k2")
    assert (refused.status_code, refused.json()["code"]) == (503, "WORKER_UNAVAILABLE")


def test_with_the_broker_down_a_submission_is_accepted_and_runs_when_it_returns(
    own_broker: tuple[RunningProduct, Valkey], v1: BuiltRelease, name: str
) -> None:
    running, valkey = own_broker
    tenant = running.tenant(name)
    try:
        tenant.register(v1)
        tenant.activate(v1)
        tenant.start_worker(v1, "worker-v1")
        valkey.stop()
        began = time.monotonic()
        execution_id = tenant.accepted("tests.pinned", {"number": 1}, "k")["executionId"]
        assert time.monotonic() - began < settings.WORKER_STALE_SECONDS
        # The control worker may have claimed it, but requeues it if the broker is unavailable.
        tenant.wait_for(execution_id, "QUEUED")
        valkey.start()
        tenant.wait_for(execution_id, "SUCCEEDED", seconds=60)
        assert tenant.result(execution_id)["made_by"] == "code v1, attempt 0"
        running.product.children.require_running()
    finally:
        tenant.stop_workers()


def test_no_process_ends_when_the_broker_is_killed(
    own_broker: tuple[RunningProduct, Valkey], v1: BuiltRelease, name: str
) -> None:
    """The broker is killed while messages are in transit and restarts empty. Work is delayed, but not lost."""
    running, valkey = own_broker
    tenant = running.tenant(name)
    try:
        tenant.register(v1)
        tenant.activate(v1)
        tenant.start_worker(v1, "worker-v1")
        execution_ids = []
        for round_number in range(2):
            execution_ids += [
                tenant.accepted("tests.pinned", {"number": number}, f"{round_number}:{number}")["executionId"]
                for number in range(8)
            ]
            valkey.kill()
            execution_ids.append(tenant.accepted("tests.pinned", {"number": 0}, f"{round_number}:down")["executionId"])
            valkey.remove_data()
            valkey.start()
        for execution_id in execution_ids:
            tenant.wait_for(execution_id, "SUCCEEDED", seconds=90)
        running.product.children.require_running()
    finally:
        tenant.stop_workers()
