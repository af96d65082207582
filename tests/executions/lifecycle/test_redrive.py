"""Re-driving one execution: from which step, with which retry budget, and always on the same release."""

import uuid
from collections.abc import Callable

import pytest

from executions.errors import ExecutionUnknown, RedriveRefused, ReleaseRevokedConfirmation, VersionMismatch
from executions.lifecycle.cancellation import cancel
from executions.lifecycle.redrive import redrive
from executions.models import Execution
from executions.state_machine.moves import Claim
from executions.workers.registry import DISPATCH_TASK
from releases.activation.revocation import revoke
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.raw_sql import unchanged
from tests.wakeups import announced
from wire.messages.celery_messages import Outcome

pytestmark = pytest.mark.django_db


@pytest.fixture
def dead(owner: Tenant) -> Execution:
    """An execution in DLQ after one attempt, at version 2."""
    return making.dead(owner, "key")[0]


def test_an_execution_in_dlq_is_queued_again_with_its_pin_and_an_event(owner: Tenant, dead: Execution) -> None:
    """It runs on its pinned release, even if another one is active."""
    making.worker(making.active(owner, "2.0"), "worker-2")
    with announced() as wakeups:
        done = redrive(owner, dead.pk, actor="user:ann", reason="the bank is back", expected_version=2)
    assert [each[0] for each in wakeups] == [DISPATCH_TASK]
    again = done.execution
    assert (done.previous_status, again.status, again.version, again.attempt) == ("DLQ", "QUEUED", 3, 1)
    assert (again.error_code, again.error_message, again.result, again.finished_at) == (None, None, None, None)
    assert (again.pin, again.release_id) == (dead.pin, dead.release_id)
    assert again.last_transition_key == f"redrive:{dead.pk}:2"
    assert making.history(dead)[-1] == ("REDRIVEN", "QUEUED")
    event = dead.events.get(kind="REDRIVEN")
    error = {"errorCode": "SomeError", "errorMessage": "why"}
    assert event.data == {"reason": "the bank is back", "previousStatus": "DLQ", "attempt": 1, **error}
    assert event.actor == "user:ann"
    [claim] = making.claimed(owner)
    assert (claim.execution_id, claim.release_version, claim.step_index, claim.attempt) == (dead.pk, "1.0", 0, 1)


def test_a_revoked_release_runs_again_only_if_that_is_confirmed(owner: Tenant, dead: Execution) -> None:
    revoke(dead.release, actor="user:test", reason="leaked")
    with unchanged(), pytest.raises(ReleaseRevokedConfirmation, match="leaked") as caught:
        redrive(owner, dead.pk, actor="", reason="")
    versions = {"releaseVersion": "1.0", "activeReleaseVersion": "1.0"}
    assert caught.value.data == {"revocationReason": "leaked", **versions}
    redrive(owner, dead.pk, actor="", reason="", allow_revoked=True)
    assert [claim.execution_id for claim in making.claimed(owner)] == [dead.pk]


def test_a_failed_execution_is_redriven_only_on_request(owner: Tenant) -> None:
    [failed] = making.dead(owner, "key", retryable=False)
    with unchanged(), pytest.raises(RedriveRefused, match=r"cannot be re-driven from status FAILED$"):
        redrive(owner, failed.pk, actor="", reason="")
    done = redrive(owner, failed.pk, actor="", reason="", allow_failed=True)
    assert (done.previous_status, done.execution.status) == ("FAILED", "QUEUED")


@cases("status", ["QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL", "SUCCEEDED", "CANCELLED"])
def test_no_other_status_is_redriven_and_the_status_is_checked_before_the_version(owner: Tenant, status: str) -> None:
    execution = making.execution(owner)
    if status == "CANCELLED":
        cancel(owner, execution.pk, actor="", reason="")
    elif status != "QUEUED":
        [claim] = making.claimed(owner)
        report: dict[str, Callable[[Claim], Outcome]] = {
            "SUCCEEDED": making.outcome_of,
            "WAIT_RETRY": making.failure,
            "WAITING_EXTERNAL": making.suspension,
        }
        if status in report:
            making.record(report[status](claim))
    for version in (None, 99):
        with unchanged(), pytest.raises(RedriveRefused, match=f"cannot be re-driven from status {status}$"):
            redrive(owner, execution.pk, actor="", reason="", expected_version=version, allow_failed=True)


def test_another_version_and_an_unknown_execution_are_rejected(owner: Tenant, dead: Execution) -> None:
    for expected in (0, 1, 3):
        with unchanged(), pytest.raises(VersionMismatch) as refused:
            redrive(owner, dead.pk, actor="", reason="", expected_version=expected)
        assert f"version mismatch: expected {expected} but current version is 2" in refused.value.detail
        assert refused.value.data == {"currentVersion": 2}
    for tenant, execution_id in ((making.tenant(), dead.pk), (owner, uuid.uuid4())):
        with unchanged(), pytest.raises(ExecutionUnknown):
            redrive(tenant, execution_id, actor="", reason="")


def test_a_failure_after_a_checkpoint_resumes_at_the_failed_step() -> None:
    owner, _ = making.checkpointing()
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    making.record(making.failure(claim), checkpoints=[making.reached(claim, 1, '{"n": 5}')])
    redrive(owner, execution.pk, actor="", reason="")
    [claim] = making.claimed(owner)
    assert (claim.step_index, claim.input, claim.input_shape, claim.attempt) == (1, '{"n": 5}', "UNI", 1)
