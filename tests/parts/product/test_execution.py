"""Executions with real processes: exhausted retries, and a broker that is down."""

import time

import pytest
from django.conf import settings

from embedded.valkey import Valkey
from tests.running import BuiltRelease, RunningProduct, TenantInUse


@pytest.fixture
def hosted(tenant: TenantInUse, v1: BuiltRelease) -> TenantInUse:
    """A tenant whose release 1.0 is active and has a worker."""
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "worker-v1")
    return tenant


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
