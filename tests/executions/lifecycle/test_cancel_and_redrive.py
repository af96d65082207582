"""Operators cancel executions, and re-drive those that failed, on the release to which they are pinned."""

import uuid
from typing import Any

import pytest

from executions.errors import (
    CancelRefused,
    ExecutionUnknown,
    RedriveRefused,
    ReleaseRevokedConfirmation,
    VersionMismatch,
)
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import Execution
from executions.workers.registry import DISPATCH_TASK
from releases.activation.revocation import revoke
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unchanged
from tests.wakeups import announced

pytestmark = pytest.mark.django_db
BY: dict[str, Any] = {"actor": "user:ann", "reason": "a mistake"}


def bring_to(status: str, execution: Execution) -> None:
    owner = execution.tenant
    if status == "CANCELLED":
        cancel(owner, execution.pk, **BY)
    elif status != "QUEUED":
        Pipeline.objects.filter(tenant=owner).update(retry_limit=0 if status == "DLQ" else 1)
        [claim] = making.claimed(owner)
        outcomes = {
            "WAIT_RETRY": making.failure(claim),
            "WAITING_EXTERNAL": making.suspension(claim),
            "SUCCEEDED": making.outcome_of(claim),
            "FAILED": making.failure(claim, retryable=False),
            "DLQ": making.failure(claim),
        }
        if status != "RUNNING":
            assert making.record(outcomes[status]) == 1
    execution.refresh_from_db()
    assert execution.status == status


@cases("status", ["QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL"])
def test_every_live_execution_is_cancelled_with_an_event(owner: Tenant, execution: Execution, status: str) -> None:
    bring_to(status, execution)
    done = cancel(owner, execution.pk, **BY, expected_version=execution.version)
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
def test_a_finished_execution_is_not_cancelled(owner: Tenant, execution: Execution, status: str) -> None:
    bring_to(status, execution)
    for version in (None, 99):  # the status is checked before the version
        with unchanged(), pytest.raises(CancelRefused, match=f"cannot be cancelled from status {status}$"):
            cancel(owner, execution.pk, **BY, expected_version=version)


@cases("status", ["QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL", "SUCCEEDED", "CANCELLED"])
def test_only_a_failed_execution_is_redriven(owner: Tenant, execution: Execution, status: str) -> None:
    bring_to(status, execution)
    for version in (None, 99):
        with unchanged(), pytest.raises(RedriveRefused, match=f"cannot be re-driven from status {status}$"):
            redrive(owner, execution.pk, **BY, expected_version=version, allow_failed=True)


@cases(("call", "status"), [(cancel, "RUNNING"), (redrive, "DLQ")])
def test_another_version_and_an_unknown_execution_are_rejected(
    owner: Tenant, execution: Execution, call: Any, status: str
) -> None:
    bring_to(status, execution)
    with unchanged(), pytest.raises(VersionMismatch, match="expected 0 but current version is") as refused:
        call(owner, execution.pk, **BY, expected_version=0)
    assert refused.value.data == {"currentVersion": execution.version}
    for tenant, execution_id in ((making.tenant(), execution.pk), (owner, uuid.uuid4())):
        with unchanged(), pytest.raises(ExecutionUnknown):
            call(tenant, execution_id, **BY)


def test_an_execution_in_dlq_is_queued_again_with_its_pin_and_an_event(owner: Tenant) -> None:
    [dead] = making.dead(owner, "key")
    making.worker(making.active(owner, "2.0"), "worker-2")
    with announced() as wakeups:
        done = redrive(owner, dead.pk, **BY, expected_version=2)
    assert [each[0] for each in wakeups] == [DISPATCH_TASK]
    again = done.execution
    assert (done.previous_status, again.status, again.version, again.attempt) == ("DLQ", "QUEUED", 3, 1)
    assert (again.error_code, again.error_message, again.result, again.finished_at) == (None, None, None, None)
    assert (again.pin, again.release_id) == (dead.pin, dead.release_id)
    assert again.last_transition_key == f"redrive:{dead.pk}:2"
    event = dead.events.get(kind="REDRIVEN")
    error = {"errorCode": "SomeError", "errorMessage": "why"}
    assert event.data == {"reason": "a mistake", "previousStatus": "DLQ", "attempt": 1, **error}
    assert (event.actor, event.status) == ("user:ann", "QUEUED")
    [claim] = making.claimed(owner)
    assert (claim.execution_id, claim.release_version, claim.step_index, claim.attempt) == (dead.pk, "1.0", 0, 1)


def test_a_failed_execution_or_a_revoked_release_is_redriven_only_on_request(owner: Tenant) -> None:
    [failed] = making.dead(owner, "key", retryable=False)
    with unchanged(), pytest.raises(RedriveRefused, match=r"cannot be re-driven from status FAILED$"):
        redrive(owner, failed.pk, **BY)
    revoke(failed.release, actor="user:test", reason="leaked")
    with unchanged(), pytest.raises(ReleaseRevokedConfirmation, match="leaked") as caught:
        redrive(owner, failed.pk, **BY, allow_failed=True)
    versions = {"releaseVersion": "1.0", "activeReleaseVersion": "1.0"}
    assert caught.value.data == {"revocationReason": "leaked", **versions}
    redrive(owner, failed.pk, **BY, allow_failed=True, allow_revoked=True)
    assert [claim.execution_id for claim in making.claimed(owner)] == [failed.pk]


def test_a_failure_after_a_checkpoint_resumes_at_the_failed_step() -> None:
    owner, _ = making.checkpointing()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    making.record(making.failure(claim), checkpoints=[making.reached(claim, 1, '{"n": 5}')])
    redrive(owner, execution.pk, **BY)
    [claim] = making.claimed(owner)
    assert (claim.step_index, claim.input, claim.input_shape, claim.attempt) == (1, '{"n": 5}', "UNI", 1)
