"""Recording outcomes: once, under the current lease, and only for executions of the worker's release."""

import logging
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.lifecycle import queries
from executions.models import Execution
from executions.state_machine.moves import Claim, expire_leases
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.lifecycle.recording import pin, record, state
from wire.messages.celery_messages import Failure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("retries")]


def make_due(execution: Execution) -> None:
    Execution.objects.filter(pk=execution.pk).update(next_due_at=timezone.now() - timedelta(days=1))


def test_a_success_ends_the_execution_with_its_result(claim: Claim, execution: Execution) -> None:
    assert record(claim, making.outcome_of(claim, output_payloads=['{"n": 2}'])) == 1
    execution.refresh_from_db()
    assert (execution.status, execution.version, execution.result) == ("SUCCEEDED", 2, [{"n": 2}])
    assert execution.finished_at is not None
    assert (execution.lease_owner, execution.lease_token, execution.lease_expires_at) == (None, None, None)
    assert execution.last_transition_key == f"{execution.pk}:0:0"
    assert queries.result(execution) == {"n": 2}
    assert making.history(execution)[-1] == ("SUCCEEDED", "SUCCEEDED")
    event = execution.events.get(kind="SUCCEEDED")
    unreported = {"artifactDigest": "", "code": "", "environment": "", "steps": []}
    assert event.data == {
        **{"attempt": 0, "transitionKey": f"{execution.pk}:0:0", "worker": "worker-1"},
        **unreported,
    }
    assert event.actor == "worker:worker-1"


def test_a_failure_waits_longer_each_time_and_ends_in_the_dead_letter_state(
    owner: Tenant, execution: Execution
) -> None:
    delays = []
    for attempt in range(3):
        [claim] = making.claimed(owner)
        assert claim.attempt == attempt
        record(claim, making.failure(claim, f"Error{attempt}"))
        execution.refresh_from_db()
        assert (execution.error_code, execution.error_message) == (f"Error{attempt}", "why")
        if execution.status == "WAIT_RETRY":
            delays.append(execution.next_due_at - execution.updated_at)
            assert making.claimed(owner) == []
            make_due(execution)
    assert delays == [timedelta(seconds=10), timedelta(seconds=20)]
    assert (execution.status, execution.attempt) == ("DLQ", 2)
    assert execution.finished_at is not None
    kinds = [kind for kind, _ in making.history(execution)]
    assert kinds == ["SUBMITTED", *["CLAIMED", "RETRY_SCHEDULED"] * 2, "CLAIMED", "RETRIES_EXHAUSTED"]
    retries = execution.events.filter(kind="RETRY_SCHEDULED").values_list("data", flat=True)
    assert [(data["delaySeconds"], data["errorCode"]) for data in retries] == [(10.0, "Error0"), (20.0, "Error1")]


def test_a_retry_counts_a_new_attempt_and_so_has_a_new_transition_key(owner: Tenant, execution: Execution) -> None:
    [first] = making.claimed(owner)
    record(first, making.failure(first))
    make_due(execution)
    [second] = making.claimed(owner)
    record(second, making.outcome_of(second))
    execution.refresh_from_db()
    assert execution.last_transition_key == f"{execution.pk}:0:1"
    assert (execution.status, execution.error_code) == ("SUCCEEDED", None)


def test_a_non_retryable_failure_fails_at_once(claim: Claim, execution: Execution) -> None:
    record(claim, making.failure(claim, "IDENTITY_MISMATCH", retryable=False, message="m" * 600))
    execution.refresh_from_db()
    assert (execution.status, execution.attempt, execution.error_code) == ("FAILED", 0, "IDENTITY_MISMATCH")
    assert execution.error_message == "m" * 512
    assert making.history(execution)[-1] == ("FAILED", "FAILED")


def test_without_retries_the_first_failure_is_the_last(claim: Claim, execution: Execution, settings: Any) -> None:
    settings.RETRY_LIMIT = 0
    record(claim, making.failure(claim))
    assert making.history(execution)[-1] == ("RETRIES_EXHAUSTED", "DLQ")


@cases(
    ("failure_class", "message", "code", "stored_message"),
    [
        ("E" * 150, "m", "E" * 100, "m"),
        ("a\x00b", "c\x00d", "a�b", "c�d"),
        ("", "", "UNKNOWN", ""),
        ("É", "😀" * 600, "É", "😀" * 512),
    ],
)
def test_an_error_is_stored_truncated_and_cleaned(
    claim: Claim, execution: Execution, failure_class: str, message: str, code: str, stored_message: str
) -> None:
    record(claim, making.failure(claim, failure_class, retryable=False, message=message))
    execution.refresh_from_db()
    assert (execution.error_code, execution.error_message) == (code, stored_message)


def test_a_failure_without_an_error_is_retried(claim: Claim, execution: Execution) -> None:
    record(claim, making.outcome_of(claim, "FAILED"))
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == ("WAIT_RETRY", "MALFORMED_OUTCOME")


def dropped(execution: Execution) -> dict[str, Any]:
    event = execution.events.get(kind="OUTCOME_DROPPED")
    assert event.actor == "worker:worker-1"
    data: dict[str, Any] = event.data
    assert data["reason"] == "lease lost"
    return data


@cases("wrong", ["version", "token"])
@cases("result", ["COMPLETED", "FAILED"])
def test_an_outcome_under_another_lease_is_dropped_and_an_event_says_so(
    claim: Claim, execution: Execution, wrong: str, result: str
) -> None:
    changes: dict[str, Any] = {"execution_version": 0} if wrong == "version" else {"lease_token": uuid.uuid4()}
    before = state(execution)
    late = (
        making.outcome_of(claim, **changes)
        if result == "COMPLETED"
        else making.failure(claim).model_copy(update=changes)
    )
    assert record(claim, late) == 0
    assert state(execution) == {**before, "event_count": before["event_count"] + 1}
    assert making.history(execution)[-1] == ("OUTCOME_DROPPED", "RUNNING")
    assert dropped(execution)["outcome"] == ("SUCCEEDED" if result == "COMPLETED" else "WAIT_RETRY")
    assert record(claim, making.outcome_of(claim)) == 1


def test_dropped_outcomes_of_an_execution_are_recorded_in_order(claim: Claim, execution: Execution) -> None:
    keys = ["a", "b", "c"]
    record(claim, *(making.outcome_of(claim, lease_token=uuid.uuid4(), transition_key=key) for key in keys))
    events = execution.events.filter(kind="OUTCOME_DROPPED").order_by("sequence")
    assert [event.data["transitionKey"] for event in events] == keys


def test_the_late_outcome_of_a_lost_lease_changes_nothing_for_its_successor(
    owner: Tenant, claim: Claim, execution: Execution
) -> None:
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    assert execution.pk in expire_leases(actor="sweep", limit=10, most_takeovers=10)
    [takeover] = making.claimed(owner)
    assert record(claim, making.outcome_of(claim, output_payloads=['"late"'])) == 0
    assert record(takeover, making.outcome_of(takeover, output_payloads=['"right"'])) == 1
    execution.refresh_from_db()
    assert (execution.result, execution.attempt) == (["right"], 0)
    assert [kind for kind, _ in making.history(execution)] == [
        *["SUBMITTED", "CLAIMED", "LEASE_EXPIRED", "CLAIMED", "OUTCOME_DROPPED", "SUCCEEDED"]
    ]


def test_a_message_that_arrives_twice_is_recorded_once(claim: Claim, execution: Execution) -> None:
    assert [record(claim, making.outcome_of(claim)) for _ in range(2)] == [1, 0]
    assert making.history(execution)[-1] == ("OUTCOME_DROPPED", "SUCCEEDED")
    assert state(execution)["version"] == 2


@cases("part", ["pipeline_id", "contract_version", "release_version"])
def test_a_worker_of_another_release_cannot_record_an_outcome(claim: Claim, execution: Execution, part: str) -> None:
    """The version and the token are correct, but only the pinned release may record the outcome."""
    before = state(execution)
    assert record(claim, making.outcome_of(claim), identity=replace(pin(claim), **{part: "other"})) == 0
    assert state(execution) == before


def test_a_worker_of_another_tenant_cannot_record_an_outcome(claim: Claim, execution: Execution) -> None:
    other, _ = making.ready()
    before = state(execution)
    assert record(claim, making.outcome_of(claim), identity=replace(pin(claim), tenant_id=other.slug)) == 0
    assert state(execution) == before


def test_an_outcome_of_an_unknown_execution_is_logged_and_dropped(
    claim: Claim, caplog: pytest.LogCaptureFixture
) -> None:
    unknown = making.outcome_of(claim, execution_id=uuid.UUID(int=7))
    with caplog.at_level(logging.WARNING, "executions.lifecycle.outcome"):
        assert record(claim, unknown) == 0
    assert str(uuid.UUID(int=7)) in caplog.text


def test_a_traceback_is_stored_with_its_failure(claim: Claim, execution: Execution) -> None:
    failure = Failure(failure_class="E", message="m", retryable=True, traceback="Traceback\0\n" + "x" * 5_000)
    record(claim, making.outcome_of(claim, "FAILED", failure=failure))
    event = execution.events.order_by("sequence").last()
    assert event is not None
    assert (event.kind, event.data["traceback"]) == ("RETRY_SCHEDULED", "Traceback\ufffd\n" + "x" * 3_989)


def test_recording_a_failure_schedules_a_wakeup_for_the_retry(
    claim: Claim, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as wakeups:
        record(claim, making.failure(claim))
    delays = [callback.args[1] for callback in wakeups]  # type: ignore[attr-defined]
    assert delays == [timedelta(seconds=10)]


def test_a_retry_after_more_than_a_minute_is_left_to_the_sweep(
    claim: Claim, settings: Any, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    settings.RETRY_DELAY_SECONDS = 61
    with django_capture_on_commit_callbacks() as wakeups:
        record(claim, making.failure(claim))
    assert wakeups == []
