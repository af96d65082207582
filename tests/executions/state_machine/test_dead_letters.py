"""Terminal failures: which fail at once, which after retries, and the dead letter of each."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as configured
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions import tasks
from executions.lifecycle import outcome, sweep
from executions.lifecycle.redrive import redrive
from executions.models import DeadLetter, Execution
from executions.state_machine import dead_letters
from executions.transports.celery import command_of
from pipelines.worker.host import Host
from pipelines.worker.outbox import Report
from releases.activation import policy
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.hosting import LONG_AGO, Hosted, Hosting
from tests.raw_sql import refused, rows
from wire.messages.celery_messages import CommandGroup, Outcome, OutcomeGroup
from wire.messages.sealing import seal
from wire.worker_keys import worker_key

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def retries(settings: Any) -> None:
    settings.RETRY_LIMIT, settings.RETRY_DELAY_SECONDS = 2, 10
    settings.RETRY_MULTIPLIER, settings.RETRY_JITTER = 2, 0


@pytest.fixture
def ready() -> tuple[Tenant, Release]:
    return making.ready(transport="LOCAL", platform="COMPUTE")


@pytest.fixture
def owner(ready: tuple[Tenant, Release]) -> Tenant:
    return ready[0]


@pytest.fixture
def execution(owner: Tenant) -> Execution:
    return making.execution(owner)


def record(execution: Execution, *outcomes: Outcome) -> None:
    outcome.record(execution.pin, OutcomeGroup(worker_id="worker-1", outcomes=list(outcomes)))
    execution.refresh_from_db()


def fail(execution: Execution, times: int, **failure: Any) -> Execution:
    """Claim and fail the execution `times` times, without the delays between retries."""
    for _ in range(times):
        Execution.objects.filter(pk=execution.pk).update(next_due_at=LONG_AGO)
        [claim] = making.claimed(execution.tenant)
        record(execution, making.failure(claim, **failure))
    return execution


def lose_lease(execution: Execution) -> None:
    making.claimed(execution.tenant)
    Execution.objects.filter(pk=execution.pk).update(lease_expires_at=LONG_AGO)
    sweep.expire_leases()
    execution.refresh_from_db()


def letter(execution: Execution) -> dict[str, Any]:
    """Return the only dead letter of the execution, without its id, its time and its group."""
    [values] = DeadLetter.objects.filter(execution=execution).values()
    found: dict[str, Any] = {**values}
    assert found.pop("created_at") == execution.finished_at
    assert found.pop("group_id")
    assert found.pop("fingerprint")
    found.pop("id")
    return found


def test_exhausted_retries_leave_a_letter_with_all_that_triage_needs(execution: Execution) -> None:
    fail(execution, 3, code="OSError", message="the disk is full")
    assert (execution.status, execution.attempt) == ("DLQ", 2)
    assert letter(execution) == {
        "tenant_id": execution.tenant_id,
        "execution_id": execution.pk,
        "execution_version": execution.version,
        "transition_key": f"{execution.pk}:0:2",
        "terminal_status": "DLQ",
        "reason": "retry_exhausted",
        "error_code": "OSError",
        "error_message": "the disk is full",
        "retryable": True,
        "retries_observed": 2,
        "step_index": 0,
        "failed_step_index": 0,
    }


def test_a_non_retryable_failure_fails_at_once_and_leaves_a_letter(execution: Execution) -> None:
    fail(execution, 1, code="NonRetryable", message="never", retryable=False)
    assert execution.status == "FAILED"
    assert letter(execution) == {
        "tenant_id": execution.tenant_id,
        "execution_id": execution.pk,
        "execution_version": 2,
        "transition_key": f"{execution.pk}:0:0",
        "terminal_status": "FAILED",
        "reason": "non_retryable",
        "error_code": "NonRetryable",
        "error_message": "never",
        "retryable": False,
        "retries_observed": 0,
        "step_index": 0,
        "failed_step_index": 0,
    }


def test_a_failure_that_is_retried_leaves_no_letter(execution: Execution) -> None:
    fail(execution, 2)
    assert execution.status == "WAIT_RETRY"
    assert not DeadLetter.objects.exists()


def test_a_later_retry_may_fail_with_a_non_retryable_failure(execution: Execution) -> None:
    fail(execution, 1)
    fail(execution, 1, code="NonRetryable", retryable=False)
    values = letter(execution)
    assert (values["terminal_status"], values["retries_observed"]) == ("FAILED", 1)


# --- retryable and non-retryable failures ---

STEP = """
@pipeline.step
def step_{{n}}(number: int) -> int:
    {body}
"""


@pytest.fixture
def hosting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hosting:
    return Hosting(tmp_path, monkeypatch)


@cases(
    ("body", "status", "code"),
    [
        ("raise RuntimeError('why')", "WAIT_RETRY", "RuntimeError"),
        ("raise KeyboardInterruptish(number)", "WAIT_RETRY", "NameError"),
        ("raise SystemExit(1)", "WAIT_RETRY", "SystemExit"),
        ("raise NonRetryable('why')", "FAILED", "pipelines.errors.NonRetryable"),
        ("raise RuntimeError('why') from NonRetryable('because')", "FAILED", "pipelines.errors.NonRetryable"),
        ("return 'text'", "FAILED", "INVALID_STEP_OUTPUT"),
        ("return None", "FAILED", "INVALID_STEP_OUTPUT"),
    ],
)
def test_the_error_of_a_step_decides_whether_it_is_retried(hosting: Hosting, body: str, status: str, code: str) -> None:
    hosted = hosting(STEP.format(body=body))
    execution = hosted.submit(1)
    hosted.answer(hosted.claim())
    execution.refresh_from_db()
    assert (execution.status, execution.error_code) == (status, code)
    assert (execution.error_message or "").startswith('step "Step 0": ')
    assert DeadLetter.objects.exists() is (status == "FAILED")


def run_on_host(hosted: Hosted, host: Host, **changes: Any) -> Execution:
    """Return the execution after `host` ran its command with `changes`."""
    execution = hosted.submit(1)
    command = command_of(hosted.claim()).model_copy(update=changes)
    key = worker_key(configured.WORKER_SECRET, hosted.owner.slug)
    reports: list[Report] = []
    host.execute(seal(hosted.release.identity, CommandGroup(commands=[command]), key), reports.append)
    tasks.record(host.sealed(reports))
    execution.refresh_from_db()
    return execution


@cases("part", ["contract_version", "release_version"])
def test_a_command_that_reached_another_release_fails_at_once(hosting: Hosting, part: str) -> None:
    hosted = hosting(STEP.format(body="return number"))
    other = replace(hosted.host.release, identity=replace(hosted.release.identity, **{part: "another"}))
    key = worker_key(configured.WORKER_SECRET, hosted.owner.slug)
    execution = run_on_host(hosted, Host(other, key=key, worker_id="worker-1", capacity=1, take_ticket=making.granted))
    assert (execution.status, execution.error_code) == ("FAILED", "IDENTITY_MISMATCH")
    assert str(hosted.release.identity) in (execution.error_message or "")
    assert letter(execution)["reason"] == "non_retryable"


@cases("payload", ["{", '"text"', "[1]", "null"])
def test_a_payload_that_the_worker_cannot_decode_fails_at_once(hosting: Hosting, payload: str) -> None:
    hosted = hosting(STEP.format(body="return number"))
    execution = run_on_host(hosted, hosted.host, payload=payload)
    assert (execution.status, execution.error_code) == ("FAILED", "UNDECODABLE_PAYLOAD")
    assert letter(execution)["retryable"] is False


# --- the number of retries, and their delays ---


@cases(
    ("own", "delays"),
    [
        ({}, [10, 20]),
        ({"retryLimit": 0}, []),
        ({"retryLimit": 4}, [10, 20, 40, 80]),
        ({"retryDelaySeconds": 0.5}, [0.5, 1]),
        ({"retryMultiplier": 1}, [10, 10]),
        ({"retryLimit": 3, "retryDelaySeconds": 600, "retryMultiplier": 3}, [600, 1800, 1800]),
    ],
)
def test_a_pipelines_retry_policy_overrides_the_coordinators(
    owner: Tenant, execution: Execution, own: dict[str, Any], delays: list[float]
) -> None:
    pipeline = Pipeline.objects.select_related("tenant").get(tenant=owner)
    policy.change(pipeline, own, actor="user:test")
    for _ in range(len(delays) + 1):
        fail(execution, 1)
    assert (execution.status, execution.attempt) == ("DLQ", len(delays))
    events = execution.events.filter(kind="RETRY_SCHEDULED").order_by("sequence")
    assert [event.data["delaySeconds"] for event in events] == delays


def test_a_retry_policy_is_read_at_the_failure(owner: Tenant, execution: Execution) -> None:
    fail(execution, 1)
    pipeline = Pipeline.objects.select_related("tenant").get(tenant=owner)
    policy.change(pipeline, {"retryLimit": 1}, actor="user:test")
    fail(execution, 1)
    assert execution.status == "DLQ"


def test_a_redrive_resets_the_count_of_retries(execution: Execution) -> None:
    fail(execution, 3)
    redrive(execution.tenant, execution.pk, actor="user:test", reason="fixed")
    fail(execution, 2, code="Again")
    assert (execution.status, execution.attempt) == ("WAIT_RETRY", 5)
    fail(execution, 1, code="Again")
    assert (execution.status, execution.attempt) == ("DLQ", 5)
    letters = DeadLetter.objects.filter(execution=execution).order_by("id")
    failures = [(each.transition_key, each.error_code, each.retries_observed) for each in letters]
    assert failures == [(f"{execution.pk}:0:2", "SomeError", 2), (f"{execution.pk}:0:5", "Again", 5)]
    assert len({each.execution_version for each in letters}) == 2


# --- consecutive lost leases ---


def test_an_execution_that_loses_too_many_leases_in_a_row_fails(execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 2
    for takeovers in (1, 2):
        lose_lease(execution)
        assert (execution.status, execution.takeovers, execution.attempt) == ("QUEUED", takeovers, 0)
    assert not DeadLetter.objects.exists()
    lose_lease(execution)
    assert (execution.status, execution.error_code, execution.attempt) == ("DLQ", "LEASES_LOST", 0)
    assert execution.finished_at is not None
    assert letter(execution) == {
        "tenant_id": execution.tenant_id,
        "execution_id": execution.pk,
        "execution_version": execution.version,
        "transition_key": f"{execution.pk}:0:0",
        "terminal_status": "DLQ",
        "reason": "leases_lost",
        "error_code": "LEASES_LOST",
        "error_message": "The lease was lost 3 times in a row; the transition may be killing its workers",
        "retryable": True,
        "retries_observed": 0,
        "step_index": 0,
        "failed_step_index": 0,
    }
    assert [kind for kind, _ in making.history(execution)] == [
        "SUBMITTED",
        *["CLAIMED", "LEASE_EXPIRED"] * 2,
        "CLAIMED",
        "LEASES_LOST",
    ]


def test_any_outcome_resets_the_count_of_lost_leases(execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 1
    lose_lease(execution)
    fail(execution, 1)
    assert (execution.status, execution.takeovers) == ("WAIT_RETRY", 0)
    Execution.objects.filter(pk=execution.pk).update(next_due_at=LONG_AGO)
    lose_lease(execution)
    assert (execution.status, execution.takeovers) == ("QUEUED", 1)


def test_an_execution_that_lost_too_many_leases_can_be_redriven(execution: Execution, settings: Any) -> None:
    settings.TAKEOVER_LIMIT = 0
    lose_lease(execution)
    assert execution.status == "DLQ"
    redrive(execution.tenant, execution.pk, actor="user:test", reason="more memory")
    [claim] = making.claimed(execution.tenant)
    record(execution, making.outcome_of(claim))
    assert (execution.status, execution.error_code) == ("SUCCEEDED", None)


# --- the log line that operators' scripts search for ---


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [entry for entry in caplog.records if entry.name == "executions.state_machine.dead_letters"]
    assert {entry.levelno for entry in found} <= {logging.ERROR}
    return [entry.getMessage() for entry in found]


def test_a_failure_is_logged_after_its_commit(
    execution: Execution,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        fail(execution, 3, code="OSError")
        assert lines(caplog) == []
    assert lines(caplog) == [
        f"Execution moved to DLQ: tenant={execution.tenant.slug} execution={execution.pk} "
        f"transition={execution.pk}:0:2 status=DLQ reason=retry_exhausted error=OSError retryable=true "
        "retriesObserved=2 transport=LOCAL platform=COMPUTE"
    ]


def test_every_terminal_failure_is_logged(
    execution: Execution,
    settings: Any,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.TAKEOVER_LIMIT = 0
    with django_capture_on_commit_callbacks(execute=True):
        fail(execution, 1, code="NonRetryable", retryable=False)
        redrive(execution.tenant, execution.pk, actor="user:test", reason="x", allow_failed=True)
        lose_lease(execution)
    first, second = lines(caplog)
    start = f"Execution moved to DLQ: tenant={execution.tenant.slug} execution={execution.pk} transition={execution.pk}"
    assert first.startswith(f"{start}:0:0 status=FAILED reason=non_retryable error=NonRetryable retryable=false ")
    assert second.startswith(f"{start}:0:1 status=DLQ reason=leases_lost error=LEASES_LOST retryable=true ")


def test_the_transport_of_a_release_that_names_none_is_logged_as_unknown(
    caplog: pytest.LogCaptureFixture, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    owner, _ = making.ready()
    execution = making.execution(owner)
    with django_capture_on_commit_callbacks(execute=True):
        fail(execution, 1, retryable=False)
    [line] = lines(caplog)
    assert line.endswith(" transport=UNKNOWN platform=UNKNOWN")


def test_an_error_code_cannot_forge_a_line_of_the_log(
    execution: Execution,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        fail(execution, 1, code="Oops tenant=other\nExecution moved to DLQ: tenant=other\r\x1b[2J", retryable=False)
    [line] = lines(caplog)
    assert line.isprintable()
    assert [word for word in line.split(" ") if word.startswith("tenant=")] == [f"tenant={execution.tenant.slug}"]


# --- one immutable letter for each failure ---


def test_a_failure_is_recorded_once(execution: Execution) -> None:
    fail(execution, 3)
    before = rows(DeadLetter)
    dead_letters.write([execution.pk], DeadLetter.Reason.NON_RETRYABLE, retryable=False)
    assert rows(DeadLetter) == before


def test_an_execution_that_has_not_failed_has_no_letter(execution: Execution) -> None:
    dead_letters.write([execution.pk], DeadLetter.Reason.NON_RETRYABLE, retryable=False)
    dead_letters.write([], DeadLetter.Reason.NON_RETRYABLE, retryable=False)
    assert not DeadLetter.objects.exists()


@cases("sql", ["UPDATE executions_deadletter SET reason = 'x'", "DELETE FROM executions_deadletter"])
def test_the_database_rejects_changes_and_removals_of_letters(execution: Execution, sql: str) -> None:
    fail(execution, 3)
    before = rows(DeadLetter)
    assert refused(sql) == "deadletter_append_only"
    assert rows(DeadLetter) == before
