"""The life of an execution over real processes: refusals, retries, a killed worker, a broker that is down."""

import time
from pathlib import Path

import pytest
from django.conf import settings

from embedded.valkey import Valkey
from tests.running import BuiltRelease, RunningProduct, TenantInUse, build, eventually

PIPELINES = Path(__file__).parent / "pipelines"


@pytest.fixture
def hosted(tenant: TenantInUse, v1: BuiltRelease) -> TenantInUse:
    """A tenant whose release 1.0 is active and has a worker."""
    tenant.register(v1)
    tenant.activate(v1)
    tenant.start_worker(v1, "worker-v1")
    return tenant


def test_a_key_that_is_used_again_gives_the_first_execution_or_a_conflict(hosted: TenantInUse) -> None:
    first = hosted.accepted("tests.pinned", {"number": 1}, "the-key")
    again = hosted.submit("tests.pinned", {"number": 1}, "the-key")
    other = hosted.submit("tests.pinned", {"number": 2}, "the-key")

    assert (first["duplicate"], again.status_code, again.json()["duplicate"]) == (False, 200, True)
    assert again.json()["executionId"] == first["executionId"]
    assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert other.json()["executionId"] == first["executionId"]


def test_spent_retries_end_in_the_dead_letter_state_with_the_error(hosted: TenantInUse) -> None:
    made = hosted.accepted("tests.pinned", {"number": 1, "fail_times": 99}, "hopeless")
    ended = hosted.wait_for(made["executionId"], "DLQ", "FAILED", "SUCCEEDED")

    assert (ended["status"], ended["attempt"]) == ("DLQ", 2)
    error = ended["error"]
    assert (error["code"], error["message"]) == ("RuntimeError", 'step "Settle": attempt 2 of v1 fails')
    assert error["traceback"].splitlines()[1].startswith('  File "pinned.py", line ')
    events = hosted.events(made["executionId"])
    kinds = [event["kind"] for event in events]
    assert kinds == ["SUBMITTED", *["CLAIMED", "RETRY_SCHEDULED"] * 2, "CLAIMED", "RETRIES_EXHAUSTED"]
    assert [event["sequence"] for event in events] == list(range(1, 8))
    assert [event["data"].get("delaySeconds") for event in events if event["kind"] == "RETRY_SCHEDULED"] == [0.5, 1.0]


def test_what_a_killed_worker_was_running_runs_again_elsewhere(tenant: TenantInUse, tmp_path: Path) -> None:
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    victim = tenant.start_worker(slow, "victim")
    marks = tmp_path / "marks"
    made = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 5.0}, "k")["executionId"]
    eventually(marks.exists, what="the step's start")
    victim.kill()
    tenant.start_worker(slow, "successor")
    ended = tenant.wait_for(made, "SUCCEEDED", seconds=40)

    # A takeover is no attempt of its own (wire protocol E.4).
    assert ended["attempt"] == 0
    assert len(marks.read_text().splitlines()) == 2
    assert "LEASE_EXPIRED" in [event["kind"] for event in tenant.events(made)]
    assert [event["actor"] for event in tenant.events(made)][-1] == "worker:successor"


def test_a_transition_longer_than_its_lease_keeps_it(tenant: TenantInUse, tmp_path: Path) -> None:
    """The lease lasts three seconds here, the step seven."""
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    tenant.start_worker(slow, "steady")
    marks = tmp_path / "marks"
    made = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 7.0}, "k")["executionId"]
    tenant.wait_for(made, "SUCCEEDED", seconds=40)

    assert len(marks.read_text().splitlines()) == 1
    assert [event["kind"] for event in tenant.events(made)] == ["SUBMITTED", "CLAIMED", "SUCCEEDED"]


def test_a_worker_that_is_told_to_stop_finishes_what_it_runs(tenant: TenantInUse, tmp_path: Path) -> None:
    slow = build("slow:pipeline", PIPELINES / "slow", tmp_path / "slow", "1.0")
    tenant.register(slow)
    tenant.activate(slow)
    worker = tenant.start_worker(slow, "leaving")
    marks = tmp_path / "marks"
    made = tenant.accepted("tests.slow", {"marks": str(marks), "seconds": 2.0}, "k")["executionId"]
    eventually(marks.exists, what="the step's start")
    assert worker.stop(grace=20) == 0
    tenant.wait_for(made, "SUCCEEDED")
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
        made = tenant.accepted("tests.pinned", {"number": 1}, "k")["executionId"]
        assert time.monotonic() - began < settings.WORKER_STALE_SECONDS
        # The control worker may have claimed it, but requeues it if the broker is unavailable.
        tenant.wait_for(made, "QUEUED")
        valkey.start()
        tenant.wait_for(made, "SUCCEEDED", seconds=60)
        assert tenant.result(made)["made_by"] == "code v1, attempt 0"
        running.product.children.require_running()
    finally:
        tenant.stop_workers()


def test_no_process_falls_with_the_broker_whatever_it_has_in_hand(
    own_broker: tuple[RunningProduct, Valkey], v1: BuiltRelease, name: str
) -> None:
    """Killed while messages are on their way, and empty when it is back: work is late, and none is lost."""
    running, valkey = own_broker
    tenant = running.tenant(name)
    try:
        tenant.register(v1)
        tenant.activate(v1)
        tenant.start_worker(v1, "worker-v1")
        made = []
        for round_number in range(2):
            made += [
                tenant.accepted("tests.pinned", {"number": number}, f"{round_number}:{number}")["executionId"]
                for number in range(8)
            ]
            valkey.kill()
            made.append(tenant.accepted("tests.pinned", {"number": 0}, f"{round_number}:down")["executionId"])
            valkey.remove_data()
            valkey.start()
        for execution_id in made:
            tenant.wait_for(execution_id, "SUCCEEDED", seconds=90)
        running.product.children.require_running()
    finally:
        tenant.stop_workers()
