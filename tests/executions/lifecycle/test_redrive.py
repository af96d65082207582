"""Re-driving one execution: from which step, with which retry budget, and always on the same release."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.awaits import awaits
from executions.errors import ExecutionUnknown, RedriveRefused, ReleaseRevokedConfirmation, VersionMismatch
from executions.lifecycle import outcome
from executions.lifecycle.redrive import redrive
from executions.models import AwaitUnit, Execution, ExecutionEvent, Interaction
from executions.models.states import State
from executions.state_machine.moves import Claim
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Pipeline
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.test_invariants import set_state
from tests.raw_sql import check_foreign_keys_now, rows, run
from wire.documents.descriptor import CHECKPOINTS
from wire.messages.celery_messages import Checkpoint, OutcomeGroup, transition_key

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def dead(owner: Tenant) -> Execution:
    """An execution in DLQ after one attempt, at version 2."""
    return making.dead(owner, "key")[0]


def record(claim: Claim, reported: Any) -> int:
    release = Execution.objects.get(pk=claim.execution_id).release
    return outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[reported]))


def test_an_execution_in_dlq_is_queued_again_with_its_pin_and_an_event(owner: Tenant, dead: Execution) -> None:
    done = redrive(owner, dead.pk, actor="user:ann", reason="the bank is back")

    again = done.execution
    assert (done.previous_status, again.status, again.version, again.attempt) == ("DLQ", "QUEUED", 3, 1)
    assert (again.error_code, again.error_message, again.result, again.finished_at) == (None, None, None, None)
    assert (again.pin, again.release_id) == (dead.pin, dead.release_id)
    assert again.current_step_index == dead.current_step_index
    assert again.last_transition_key == f"redrive:{dead.pk}:2"
    assert making.history(dead)[-1] == ("REDRIVEN", "QUEUED")
    event = dead.events.get(kind="REDRIVEN")
    assert event.actor == "user:ann"
    assert event.data == {
        "reason": "the bank is back",
        "previousStatus": "DLQ",
        "attempt": 1,
        "errorCode": "SomeError",
        "errorMessage": "why",
    }


def test_a_redriven_execution_runs_on_its_pinned_release_even_if_another_is_active(
    owner: Tenant, dead: Execution
) -> None:
    making.worker(making.active(owner, "2.0"), "worker-2")
    redrive(owner, dead.pk, actor="", reason="")
    [claim] = making.claimed(owner)
    assert (claim.execution_id, claim.release_version, claim.attempt) == (dead.pk, "1.0", 1)


def test_a_revoked_release_runs_again_only_if_that_is_confirmed(owner: Tenant, dead: Execution) -> None:
    revoke(dead.release, actor="user:test", reason="leaked")
    before = rows(Execution)
    with pytest.raises(ReleaseRevokedConfirmation, match="leaked") as caught:
        redrive(owner, dead.pk, actor="", reason="")
    assert caught.value.data == {
        "releaseVersion": "1.0",
        "revocationReason": "leaked",
        "activeReleaseVersion": "1.0",
    }
    assert rows(Execution) == before
    redrive(owner, dead.pk, actor="", reason="", allow_revoked=True)
    assert [claim.execution_id for claim in making.claimed(owner)] == [dead.pk]


def test_it_has_a_new_retry_budget_and_its_attempts_continue(owner: Tenant, dead: Execution) -> None:
    Pipeline.objects.filter(tenant=owner).update(retry_limit=2)
    redrive(owner, dead.pk, actor="", reason="")
    keys = []
    for attempt in (1, 2, 3):
        [claim] = making.claimed(owner)
        assert claim.attempt == attempt
        record(claim, making.failure(claim))
        dead.refresh_from_db()
        keys.append(dead.last_transition_key)
        Execution.objects.filter(pk=dead.pk, status="WAIT_RETRY").update(
            next_due_at=timezone.now() - timedelta(hours=1)
        )
    assert (dead.status, dead.attempt) == ("DLQ", 3)
    assert keys == [f"{dead.pk}:0:{attempt}" for attempt in (1, 2, 3)]
    assert dead.dead_letters.count() == 2


def test_a_failed_execution_is_redriven_only_on_request(owner: Tenant) -> None:
    [failed] = making.dead(owner, "key", retryable=False)
    with pytest.raises(RedriveRefused) as refused:
        redrive(owner, failed.pk, actor="", reason="")
    assert refused.value.detail == f"Execution {failed.pk} cannot be re-driven from status FAILED"
    done = redrive(owner, failed.pk, actor="", reason="", allow_failed=True)
    assert (done.previous_status, done.execution.status) == ("FAILED", "QUEUED")


@cases("state", sorted(set(State) - {State.DLQ, State.FAILED}))
@cases("expected_version", [None, 99])
def test_no_other_status_is_redriven_and_the_status_is_checked_before_the_version(
    owner: Tenant, dead: Execution, state: State, expected_version: int | None
) -> None:
    check_foreign_keys_now()
    run("ALTER TABLE executions_execution DISABLE TRIGGER execution_guard")
    if state is State.WAITING_EXTERNAL:
        waiting(dead)
    else:
        run(set_state(state), dead.pk)
    before = rows(Execution), rows(ExecutionEvent)
    with pytest.raises(RedriveRefused, match=f"cannot be re-driven from status {state}$"):
        redrive(owner, dead.pk, actor="", reason="", expected_version=expected_version, allow_failed=True)
    assert (rows(Execution), rows(ExecutionEvent)) == before


def waiting(execution: Execution) -> None:
    """Write the rows of an execution that is parked at an await."""
    run(
        """WITH waiting AS (
            UPDATE executions_execution SET status = 'WAITING_EXTERNAL', finished_at = NULL,
                await_unit_id = gen_random_uuid() WHERE id = %s RETURNING id, tenant_id, await_unit_id)
        INSERT INTO executions_awaitunit (id, tenant_id, execution_id, step_id, step_index, itemized, gives_many,
            expected_items)
        SELECT await_unit_id, tenant_id, id, 'Approve', 0, false, false, 1 FROM waiting""",
        execution.pk,
    )


@cases("expected", [0, 1, 3])
def test_an_unexpected_version_is_rejected(owner: Tenant, dead: Execution, expected: int) -> None:
    before = rows(Execution), rows(ExecutionEvent)
    with pytest.raises(VersionMismatch) as refused:
        redrive(owner, dead.pk, actor="", reason="", expected_version=expected)
    detail = f"Execution {dead.pk} version mismatch: expected {expected} but current version is 2"
    assert (refused.value.detail, refused.value.data) == (detail, {"currentVersion": 2})
    assert (rows(Execution), rows(ExecutionEvent)) == before


def test_the_expected_version_is_accepted(owner: Tenant, dead: Execution) -> None:
    assert redrive(owner, dead.pk, actor="", reason="", expected_version=2).execution.version == 3


def test_executions_of_other_tenants_are_reported_as_unknown(dead: Execution) -> None:
    before = rows(Execution)
    for execution_id in (dead.pk, uuid.uuid4()):
        with pytest.raises(ExecutionUnknown):
            redrive(making.tenant(), execution_id, actor="", reason="")
    assert rows(Execution) == before


def test_it_sends_a_wakeup_after_its_commit(
    owner: Tenant, dead: Execution, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    with django_capture_on_commit_callbacks() as wakeups:
        redrive(owner, dead.pk, actor="", reason="")
    assert len(wakeups) == 1


def test_a_failure_after_a_checkpoint_resumes_at_the_failed_step() -> None:
    owner = making.tenant()
    contract = making.contract()
    data = making.archive(contract)
    document = making.descriptor(contract, data)
    document["artifacts"][0]["capabilities"] = [CHECKPOINTS]
    release = making.verified(making.upload(owner, document, data).release)
    activate(release, actor="user:test")
    making.worker(release)
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    reached = Checkpoint(
        execution_id=claim.execution_id,
        execution_version=claim.version,
        lease_token=claim.lease_token,
        transition_key=transition_key(claim.execution_id, 0, 0),
        next_step_index=1,
        output_payloads=['{"n": 5}'],
    )
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    group = OutcomeGroup(worker_id="w", checkpoints=[reached], outcomes=[making.failure(claim)])
    outcome.record(release.identity, group)
    redrive(owner, execution.pk, actor="", reason="")
    [claim] = making.claimed(owner)
    assert (claim.step_index, claim.input, claim.input_shape, claim.attempt) == (1, '{"n": 5}', "UNI", 1)


@cases(("lost", "reason"), [(awaits.TIMED_OUT, "await_timeout"), (awaits.UNDELIVERABLE, "await_failed")])
def test_a_failure_at_an_await_opens_a_new_unit(owner: Tenant, lost: awaits.Lost, reason: str) -> None:
    """It is queued at the await with its request, so the worker reaches the await at once with the same request."""
    execution = making.execution(owner)
    [claim] = making.claimed(owner)
    record(claim, making.suspension(claim, '{"n": 7}', step_index=0))
    first = AwaitUnit.objects.get()
    awaits.fail(lost, {first.pk: "no answer"}, actor="clock")
    execution.refresh_from_db()
    assert (execution.status, execution.error_code, execution.await_unit) == ("FAILED", lost.code, None)
    assert execution.dead_letters.get().reason == reason

    done = redrive(owner, execution.pk, actor="", reason="", allow_failed=True)
    assert done.execution.await_unit is None
    [again] = making.claimed(owner)
    assert (again.step_index, again.input, again.input_shape) == (0, '{"n": 7}', "UNI")
    record(again, making.suspension(again, again.input))
    execution.refresh_from_db()
    second = AwaitUnit.objects.get(status="WAITING_EXTERNAL")
    assert (execution.status, execution.await_unit_id) == ("WAITING_EXTERNAL", second.pk)
    assert second.pk != first.pk
    old, new = Interaction.objects.get(unit=first), Interaction.objects.get(unit=second)
    assert (old.request, old.status) == (new.request, "CANCELLED")
    assert new.status == "DISPATCHED"
    assert new.correlation_id != old.correlation_id
