"""Cancelling an execution in each of its states, with its open interactions."""

import uuid
from typing import Any

import pytest

from executions.errors import CancelRefused, ExecutionUnknown, VersionMismatch
from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.models import AwaitUnit, Execution, ExecutionEvent, Interaction
from executions.state_machine.moves import Claim
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import rows
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def execution(owner: Tenant) -> Execution:
    return making.execution(owner)


def record(claim: Claim, reported: Any) -> int:
    release = Execution.objects.get(pk=claim.execution_id).release
    return outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[reported]))


def bring_to(status: str, owner: Tenant) -> None:
    if status == "QUEUED":
        return
    [claim] = making.claimed(owner)
    outcomes = {
        "WAIT_RETRY": making.failure(claim),
        "WAITING_EXTERNAL": making.suspension(claim),
        "SUCCEEDED": making.outcome_of(claim),
        "FAILED": making.failure(claim, retryable=False),
    }
    if status in outcomes:
        assert record(claim, outcomes[status]) == 1


@cases("status", ["QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL"])
def test_every_live_execution_is_cancelled_with_an_event(owner: Tenant, execution: Execution, status: str) -> None:
    bring_to(status, owner)
    execution.refresh_from_db()
    assert execution.status == status
    step = execution.current_step_index
    done = cancel(owner, execution.pk, actor="user:ann", reason="a mistake", expected_version=execution.version)

    assert (done.status, done.version) == ("CANCELLED", execution.version + 1)
    assert done.finished_at is not None
    assert (done.lease_token, done.await_unit, done.result, done.error_code) == (None, None, None, None)
    assert (done.pin, done.current_step_index) == (execution.pin, step)
    assert making.history(execution)[-1] == ("CANCELLED", "CANCELLED")
    event = execution.events.get(kind="CANCELLED")
    code = "SomeError" if status == "WAIT_RETRY" else None
    assert event.actor == "user:ann"
    assert (event.data["reason"], event.data["previousStatus"]) == ("a mistake", status)
    assert event.data["errorCode"] == code
    assert making.claimed(owner) == []


def test_an_outcome_after_the_cancellation_is_dropped(owner: Tenant, execution: Execution) -> None:
    [claim] = making.claimed(owner)
    cancel(owner, execution.pk, actor="", reason="")
    assert record(claim, making.outcome_of(claim)) == 0
    assert making.history(execution)[-2:] == [("CANCELLED", "CANCELLED"), ("OUTCOME_DROPPED", "CANCELLED")]
    assert (execution.status, execution.result) == ("CANCELLED", None)


def test_open_interactions_are_withdrawn(owner: Tenant, execution: Execution) -> None:
    other = making.execution(owner, "other")
    for claim in making.claimed(owner):
        record(claim, making.suspension(claim, itemized=True, requests=['{"n": 1}', '{"n": 2}']))
    cancel(owner, execution.pk, actor="", reason="")
    assert AwaitUnit.objects.get(execution=execution).status == "CANCELLED"
    statuses = Interaction.objects.filter(execution=execution).values_list("status", flat=True)
    assert list(statuses) == ["CANCELLED", "CANCELLED"]
    assert AwaitUnit.objects.get(execution=other).status == "WAITING_EXTERNAL"


@cases("status", ["SUCCEEDED", "FAILED"])
@cases("expected_version", [None, 99])
def test_a_finished_execution_is_not_cancelled_and_its_status_is_checked_before_its_version(
    owner: Tenant, execution: Execution, status: str, expected_version: int | None
) -> None:
    bring_to(status, owner)
    before = rows(Execution), rows(ExecutionEvent)
    with pytest.raises(CancelRefused) as refused:
        cancel(owner, execution.pk, actor="", reason="", expected_version=expected_version)
    assert refused.value.detail == f"Execution {execution.pk} cannot be cancelled from status {status}"
    assert (rows(Execution), rows(ExecutionEvent)) == before


def test_an_execution_in_dlq_is_finished_too(owner: Tenant) -> None:
    [dead] = making.dead(owner, "key")
    with pytest.raises(CancelRefused):
        cancel(owner, dead.pk, actor="", reason="")


def test_cancelling_again_changes_nothing(owner: Tenant, execution: Execution) -> None:
    first = cancel(owner, execution.pk, actor="user:ann", reason="")
    before = rows(Execution), rows(ExecutionEvent)
    again = cancel(owner, execution.pk, actor="user:bob", reason="", expected_version=0)
    assert (again.pk, again.status, again.version) == (first.pk, "CANCELLED", first.version)
    assert (rows(Execution), rows(ExecutionEvent)) == before


def test_an_unexpected_version_is_rejected(owner: Tenant, execution: Execution) -> None:
    making.claimed(owner)
    before = rows(Execution), rows(ExecutionEvent)
    with pytest.raises(VersionMismatch, match="version mismatch: expected 0 but current version is 1"):
        cancel(owner, execution.pk, actor="", reason="", expected_version=0)
    assert (rows(Execution), rows(ExecutionEvent)) == before


def test_executions_of_other_tenants_are_reported_as_unknown(execution: Execution) -> None:
    before = rows(Execution)
    for execution_id in (execution.pk, uuid.uuid4()):
        with pytest.raises(ExecutionUnknown):
            cancel(making.tenant(), execution_id, actor="", reason="")
    assert rows(Execution) == before
