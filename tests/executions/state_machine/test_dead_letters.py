import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.postgres.functions import TransactionNow
from django.db.models import F

from executions.lifecycle import queries, sweep
from executions.lifecycle.interventions import redrive
from executions.models import DeadLetter, Execution, ExecutionEvent, Worker
from executions.state_machine import dead_letters
from releases import policy
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unchanged, unguarded
from wire.log_lines import MOST, LogLimit

HOUR = timedelta(hours=1)
pytestmark = pytest.mark.usefixtures("retries")


@pytest.fixture(scope="module")
def world(module_world: None) -> tuple[Tenant, Release]:
    return making.ready(transport="LOCAL", platform="COMPUTE")


def fail(execution: Execution, times: int = 1, **failure: Any) -> None:
    """Claim and fail the execution `times` times, without the delays between retries."""
    for _ in range(times):
        Execution.objects.filter(pk=execution.pk).update(next_due_at=making.LONG_AGO)
        [claim] = making.claimed(execution.tenant)
        making.record(making.failure(claim, **failure))
    execution.refresh_from_db()


def lose_lease(execution: Execution) -> None:
    [claim] = making.claimed(execution.tenant)
    making.lose_lease(claim)
    execution.refresh_from_db()


def again(execution: Execution) -> None:
    redrive(execution.tenant, execution.pk, actor="user:test", reason="fixed", allow_failed=True)


def letter(execution: Execution, attempt: int) -> tuple[Any, ...]:
    """Return status, reason, code, message and `retryable` of the execution's only letter, after checking the rest."""
    [letter] = DeadLetter.objects.filter(execution=execution)
    assert (letter.tenant_id, letter.execution_version) == (execution.tenant_id, execution.version)
    assert (letter.transition_key, letter.retries_observed) == (f"{execution.pk}:0:{attempt}", attempt)
    assert (letter.step_index, letter.failed_step_index) == (0, 0)
    assert execution.finished_at is not None
    assert timedelta() < letter.created_at - execution.finished_at < timedelta(minutes=1)
    return letter.terminal_status, letter.reason, letter.error_code, letter.error_message, letter.retryable


def test_exhausted_retries_leave_a_letter_with_all_that_triage_needs(execution: Execution) -> None:
    fail(execution, 2)
    dead_letters.write({execution.pk: DeadLetter.Reason.NON_RETRYABLE})
    dead_letters.write({})
    assert (execution.status, DeadLetter.objects.exists()) == ("WAIT_RETRY", False)
    fail(execution, code="OSError", message="the disk is full")
    assert (execution.status, execution.attempt) == ("DLQ", 2)
    assert letter(execution, 2) == ("DLQ", "retry_exhausted", "OSError", "the disk is full", True)
    with unchanged():  # a failure is recorded once
        dead_letters.write({execution.pk: DeadLetter.Reason.NON_RETRYABLE})


@cases("retries", [0, 1])
def test_a_non_retryable_failure_fails_at_once_and_leaves_a_letter(execution: Execution, retries: int) -> None:
    fail(execution, retries)
    fail(execution, code="NonRetryable", message="never", retryable=False)
    assert execution.status == "FAILED"
    assert letter(execution, retries) == ("FAILED", "non_retryable", "NonRetryable", "never", False)


@cases(
    ("changes", "delays"),
    ({"retryLimit": 0}, []),
    ({"retryLimit": 3, "retryDelaySeconds": 600, "retryMultiplier": 3}, [600, 1800, 1800]),
)
def test_a_pipelines_retry_policy_counts(execution: Execution, changes: dict[str, Any], delays: list[float]) -> None:
    policy.change(execution.release.pipeline, changes, actor="user:test")
    policy.change(making.ready()[1].pipeline, {"retryLimit": 9}, actor="user:test")  # of another tenant
    fail(execution, len(delays) + 1)
    assert (execution.status, execution.attempt) == ("DLQ", len(delays))
    events = execution.events.filter(kind="RETRY_SCHEDULED").order_by("sequence")
    assert [event.data["delaySeconds"] for event in events] == delays


def test_a_redrive_resets_the_count_of_retries(execution: Execution) -> None:
    fail(execution, 3)
    again(execution)
    fail(execution, 2, code="Again")
    assert (execution.status, execution.attempt) == ("WAIT_RETRY", 5)
    fail(execution, code="Again")
    assert (execution.status, execution.attempt) == ("DLQ", 5)
    letters = DeadLetter.objects.filter(execution=execution).order_by("id")
    failures = [(letter.transition_key, letter.error_code, letter.retries_observed) for letter in letters]
    assert failures == [(f"{execution.pk}:0:2", "SomeError", 2), (f"{execution.pk}:0:5", "Again", 5)]


def test_an_execution_that_loses_too_many_leases_fails(owner: Tenant, execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 2
    for takeovers in (1, 2):
        lose_lease(execution)
        assert (execution.status, execution.takeovers, execution.attempt) == ("QUEUED", takeovers, 0)
    assert not DeadLetter.objects.exists()
    lose_lease(execution)
    assert (execution.status, execution.attempt, execution.finished_at is None) == ("DLQ", 0, False)
    message = "The lease was lost 3 times in a row; the transition may be killing its workers"
    assert letter(execution, 0) == ("DLQ", "leases_lost", "LEASES_LOST", message, True)
    assert making.kinds(execution) == ["SUBMITTED", *["CLAIMED", "LEASE_EXPIRED"] * 2, "CLAIMED", "LEASES_LOST"]


EARLIER, LATER = timedelta(minutes=-5), timedelta(seconds=1)
LIVES = {"registered_at": EARLIER, "last_heartbeat_at": LATER, "alive_until": HOUR}


def set_worker(**times: timedelta) -> None:
    """Set the worker of the module. Times are relative to the database's."""
    changed = {name: TransactionNow() + at for name, at in {**LIVES, **times}.items()}
    Worker.objects.update(**{"stopped_at": None, **changed})


@cases(
    ("worker", "named", "counted"),
    ({}, True, False),
    ({}, False, False),
    ({"registered_at": LATER}, True, True),
    ({"registered_at": LATER}, False, True),
    ({"stopped_at": LATER}, True, True),
    ({"last_heartbeat_at": timedelta(seconds=-16)}, True, True),
    ({"last_heartbeat_at": timedelta(seconds=-16)}, False, True),
    ({"stopped_at": EARLIER}, False, True),
)
def test_only_a_lease_whose_worker_may_have_died_counts_as_taken_over(
    owner: Tenant, execution: Execution, settings: Any, worker: dict[str, timedelta], named: bool, counted: bool
) -> None:
    """No worker is left in the last case: the only one stopped before the claim."""
    settings.TAKEOVER_LIMIT, settings.LEASE_SECONDS = 2, 30
    for _ in range(3):
        set_worker()
        making.claimed(owner)
        set_worker(**worker)
        Execution.objects.update(lease_worker="worker-1" if named else None, lease_expires_at=TransactionNow())
        assert sweep.expire_leases() == 1
    execution.refresh_from_db()
    reason = "may be killing its workers" if counted else "no outcome arrived although workers lived"
    assert (execution.status, execution.takeovers) == ("DLQ", 3 if counted else 0)
    assert reason in str(execution.error_message)
    assert execution.events.filter(data__workerLived=True).exists() is not counted


def test_a_late_outcome_shows_that_outcomes_arrive(owner: Tenant, execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 1
    Worker.objects.update(registered_at=making.LONG_AGO)
    for _ in range(4):
        [claim] = making.claimed(owner)
        making.lose_lease(claim)
        making.record(making.outcome_of(claim, lease_token=uuid.uuid4()))
    assert (making.reread(execution).status, execution.takeovers) == ("QUEUED", 0)


def test_any_outcome_resets_the_count_of_lost_leases(execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 1
    lose_lease(execution)
    fail(execution)
    assert (execution.status, execution.takeovers) == ("WAIT_RETRY", 0)
    Execution.objects.update(next_due_at=making.LONG_AGO)
    lose_lease(execution)
    assert (execution.status, execution.takeovers) == ("QUEUED", 1)


def test_the_traceback_of_a_letter_is_that_of_its_own_failure(execution: Execution) -> None:
    for shown in ("first", "second"):
        fail(execution, traceback=shown, retryable=False)
        with unguarded(ExecutionEvent), unguarded(DeadLetter):  # earlier than the next failure
            execution.events.update(at=F("at") - HOUR)
            execution.dead_letters.update(created_at=F("created_at") - HOUR)
        again(execution)
    letters = execution.dead_letters.order_by("pk")
    assert [queries.traceback_of(letter) for letter in letters] == ["first", "second"]


def test_a_terminal_failure_is_logged_after_its_commit_and_its_code_forges_no_line(
    execution: Execution, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        fail(execution, code="Oops tenant=other\nExecution moved to DLQ: tenant=other", retryable=False)
        assert "moved to DLQ" not in caplog.text
    [record] = [record for record in caplog.records if "moved to DLQ" in record.getMessage()]
    limit, line = LogLimit(), record.getMessage()
    assert all(limit.filter(record) for _ in range(MOST + 1)), "each is logged, even if many fail at once"
    assert line.isprintable()
    assert [word for word in line.split(" ") if word.startswith("tenant=")] == [f"tenant={execution.tenant.slug}"]
    assert " status=FAILED reason=non_retryable " in line


@cases(("named", "shown"), [(" compute ", "COMPUTE"), (None, "UNKNOWN"), (" ", "UNKNOWN")])
def test_the_line_names_transport_and_platform_in_upper_case_or_unknown(
    named: str | None, shown: str, caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: Any
) -> None:
    caplog.clear()
    owner, _ = making.ready(transport=named, platform=named)
    with django_capture_on_commit_callbacks(execute=True):
        fail(making.execution(owner), retryable=False)
    assert f" transport={shown} platform={shown}\n" in caplog.text
