"""Cancelling an execution in each of its states, with its open interactions."""

import uuid

import pytest

from executions.errors import CancelRefused, ExecutionUnknown, VersionMismatch
from executions.lifecycle.cancellation import cancel
from executions.models import Execution
from executions.state_machine.moves import Claim
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db


def bring_to(status: str, owner: Tenant) -> None:
    if status == "QUEUED":
        return
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0 if status == "DLQ" else 1)
    [claim] = making.claimed(owner)
    outcomes = {
        "WAIT_RETRY": making.failure(claim),
        "WAITING_EXTERNAL": making.suspension(claim),
        "SUCCEEDED": making.outcome_of(claim),
        "FAILED": making.failure(claim, retryable=False),
        "DLQ": making.failure(claim),
    }
    if status in outcomes:
        assert making.record(outcomes[status]) == 1


@cases("status", ["QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL"])
def test_every_live_execution_is_cancelled_with_an_event(owner: Tenant, execution: Execution, status: str) -> None:
    bring_to(status, owner)
    execution.refresh_from_db()
    assert execution.status == status
    done = cancel(owner, execution.pk, actor="user:ann", reason="a mistake", expected_version=execution.version)

    assert making.history(done)[-1] == ("CANCELLED", "CANCELLED")
    assert (done.version, done.finished_at is None) == (execution.version + 1, False)
    assert (done.lease_token, done.await_unit, done.result, done.error_code) == (None, None, None, None)
    assert (done.pin, done.current_step_index) == (execution.pin, execution.current_step_index)
    event = execution.events.get(kind="CANCELLED")
    code = "SomeError" if status == "WAIT_RETRY" else None
    assert (event.actor, event.data["reason"]) == ("user:ann", "a mistake")
    assert (event.data["previousStatus"], event.data["errorCode"]) == (status, code)
    assert making.claimed(owner) == []
    with unchanged():
        again = cancel(owner, execution.pk, actor="user:bob", reason="", expected_version=0)
    assert (again.pk, again.status) == (done.pk, "CANCELLED")


@cases("status", ["SUCCEEDED", "FAILED", "DLQ"])
def test_a_finished_execution_is_not_cancelled_and_its_status_is_checked_before_its_version(
    owner: Tenant, execution: Execution, status: str
) -> None:
    bring_to(status, owner)
    for version in (None, 99):
        with unchanged(), pytest.raises(CancelRefused, match=f"cannot be cancelled from status {status}$"):
            cancel(owner, execution.pk, actor="", reason="", expected_version=version)


def test_another_version_and_an_unknown_execution_are_rejected(
    owner: Tenant, claim: Claim, execution: Execution
) -> None:
    with unchanged(), pytest.raises(VersionMismatch, match="expected 0 but current version is 1"):
        cancel(owner, execution.pk, actor="", reason="", expected_version=0)
    for tenant, execution_id in ((making.tenant(), execution.pk), (owner, uuid.uuid4())):
        with unchanged(), pytest.raises(ExecutionUnknown):
            cancel(tenant, execution_id, actor="", reason="")
