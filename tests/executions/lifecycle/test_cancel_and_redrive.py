import uuid
from collections.abc import Mapping
from functools import partial
from typing import Any

import pytest

from executions import errors
from executions.holds import holds
from executions.lifecycle.interventions import cancel, redrive
from executions.models import AwaitUnit, CampaignItem, DeadLetter, Execution, Hold, Interaction
from executions.state_machine.moves import Claim
from executions.workers.registry import DISPATCH_TASK
from governance.campaigns import campaigns
from governance.retirement.retirement import Order, fail_batch, fail_open, revoke
from releases.models import Pipeline, Release, Revocation
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.cases import cases
from tests.executions.moments import now
from tests.governance.campaigns.campaigning import pass_time, start
from tests.raw_sql import raised, unchanged
from tests.wakeups import announced

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
    assert making.reread(execution).status == status


LIVE = ("QUEUED", "RUNNING", "WAIT_RETRY", "WAITING_EXTERNAL")


@cases("status", LIVE)
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


@cases(
    ("call", "status"),
    [(cancel, status) for status in ("SUCCEEDED", "FAILED", "DLQ")]
    + [(partial(redrive, allow_failed=True), status) for status in (*LIVE, "SUCCEEDED", "CANCELLED")],
)
def test_what_the_status_does_not_allow_is_refused(owner: Tenant, execution: Execution, call: Any, status: str) -> None:
    bring_to(status, execution)
    kind, act = (errors.CancelRefused, "cancelled") if call is cancel else (errors.RedriveRefused, "re-driven")
    for version in (None, 99):  # the status is checked before the version
        refused = raised(kind, call, owner, execution.pk, **BY, expected_version=version)
        assert str(refused).endswith(f"cannot be {act} from status {status}")


@cases(("call", "status"), [(cancel, "RUNNING"), (redrive, "DLQ")])
def test_another_version_or_execution_is_rejected(owner: Tenant, execution: Execution, call: Any, status: str) -> None:
    bring_to(status, execution)
    with unchanged(), pytest.raises(errors.VersionMismatch, match="expected 0 but current version is") as refused:
        call(owner, execution.pk, **BY, expected_version=0)
    assert refused.value.data == {"currentVersion": execution.version}
    for tenant, execution_id in ((making.tenant(), execution.pk), (owner, uuid.uuid4())):
        raised(errors.ExecutionUnknown, call, tenant, execution_id, **BY)


def test_an_execution_in_dlq_is_queued_again_with_its_pin_and_an_event(owner: Tenant) -> None:
    [dead] = making.dead(owner, "key")
    making.worker(making.active(owner, "2.0"), "worker-2")
    with announced() as wakeups:
        done = redrive(owner, dead.pk, **BY, expected_version=2)
    assert [wakeup[0] for wakeup in wakeups] == [DISPATCH_TASK]
    again = done.execution
    assert (done.previous_status, again.status, again.version, again.attempt) == ("DLQ", "QUEUED", 3, 1)
    assert (again.error_code, again.error_message, again.result, again.finished_at) == (None, None, None, None)
    assert again.next_due_at == now()
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
    with unchanged(), pytest.raises(errors.RedriveRefused, match=r"cannot be re-driven from status FAILED$"):
        redrive(owner, failed.pk, **BY)
    revoke(failed.release, actor="user:test", reason="leaked")
    with unchanged(), pytest.raises(errors.ReleaseRevokedConfirmation, match="leaked") as caught:
        redrive(owner, failed.pk, **BY, allow_failed=True)
    versions = {"releaseVersion": "1.0", "activeReleaseVersion": "1.0"}
    assert caught.value.data == {"revocationReason": "leaked", **versions}
    redrive(owner, failed.pk, **BY, allow_failed=True, allow_revoked=True)
    assert [claim.execution_id for claim in making.claimed(owner)] == [failed.pk]


def revoked(owner: Tenant, order: Order = Order.LEAVE) -> Revocation:
    return revoke(making.release_of(owner, "1.0"), actor="user:ann", reason="leaked", open_executions=order)


def statuses() -> Mapping[str, str]:
    return dict(Execution.objects.values_list("execution_key", "status"))


def one_of_each(owner: Tenant) -> Claim:
    """Create an execution in each state, and return the claim of the running one."""
    making.dead(owner, "dead")
    Pipeline.objects.update(retry_limit=1)
    for key, report in (("done", making.outcome_of), ("waiting", making.suspension), ("retrying", making.failure)):
        making.execution(owner, key)
        [claim] = making.claimed(owner)
        making.record(report(claim))
    making.execution(owner, "running")
    [running] = making.claimed(owner)
    making.execution(owner, "queued")
    return running


OPEN = ("waiting", "retrying", "running", "queued")


def test_a_pause_stops_the_open_executions_until_the_release_is_resumed(owner: Tenant) -> None:
    running = one_of_each(owner)
    before, audited = statuses(), set(AuditEntry.objects.values_list("pk", flat=True))
    revoked(owner, Order.PAUSE)
    hold = Hold.objects.get()
    assert (hold.release, hold.reason, hold.started_by) == (making.release_of(owner, "1.0"), "leaked", "user:ann")
    assert not hold.refuses_submissions
    [entry] = AuditEntry.objects.exclude(pk__in=audited)
    assert (entry.act, entry.actor, entry.reason) == ("release.revoke", "user:ann", "leaked")
    assert '"openExecutions":"pause"' in entry.details
    assert fail_open() == 0
    assert statuses() == before
    assert making.claimed(owner) == []
    assert making.record(making.outcome_of(running)) == 1
    holds.resume(making.release_of(owner, "1.0"), actor="user:ida")
    assert [claim.execution_id for claim in making.claimed(owner)] == [Execution.objects.get(execution_key="queued").pk]


def test_a_release_that_is_paused_keeps_its_pause(owner: Tenant, release: Release) -> None:
    first = holds.pause(release, actor="user:eva", reason="slow").hold
    revoked(owner, Order.PAUSE)
    assert (holds.open_hold(release), Hold.objects.count()) == (first, 1)


def test_all_open_executions_fail_and_the_others_stay(owner: Tenant) -> None:
    running = one_of_each(owner)
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.execution(owner, "newer")
    revoked(owner, Order.FAIL)
    assert [fail_open(), fail_open()] == [4, 0]
    others = {"dead": "DLQ", "done": "SUCCEEDED", "newer": "QUEUED"}
    assert statuses() == {**others, **dict.fromkeys(OPEN, "FAILED")}
    event = Revocation.objects.get()
    assert (event.failed_executions, event.completed_at is not None) == (4, True)
    failed = Execution.objects.get(execution_key="queued")
    assert (failed.error_code, failed.error_message) == ("RELEASE_REVOKED", "Release 1.0 was revoked: leaked")
    assert making.history(failed)[-1] == ("RELEASE_REVOKED", "FAILED")
    letters = DeadLetter.objects.filter(reason="release_revoked").values_list("error_code", "retryable")
    assert list(letters) == [("RELEASE_REVOKED", False)] * 4
    assert AwaitUnit.objects.get().status == Interaction.objects.get().status == "CANCELLED"

    assert making.record(making.outcome_of(running)) == 0
    late = Execution.objects.get(pk=running.execution_id)
    assert (late.status, late.result, late.lease_token) == ("FAILED", None, None)
    for execution in Execution.objects.filter(execution_key__in=OPEN):
        raised(errors.ReleaseRevokedConfirmation, redrive, owner, execution.pk, actor="", reason="", allow_failed=True)
        redrive(owner, execution.pk, actor="", reason="", allow_failed=True, allow_revoked=True)
    assert fail_open() == 0
    assert {claim.step_index for claim in making.claimed(owner)} == {0}


def test_an_order_continues_where_a_killed_process_left_it(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    for number in range(5):
        making.execution(owner, f"k{number}")
    event = revoked(owner, Order.FAIL)
    assert fail_batch(event.pk) == 2
    assert (making.reread(event).failed_executions, event.completed_at) == (2, None)
    assert fail_open() == 3
    assert (making.reread(event).failed_executions, event.completed_at is None) == (5, False)
    assert fail_batch(event.pk) is None


def test_a_campaign_over_a_revoked_release_needs_a_confirmation(owner: Tenant) -> None:
    making.dead(owner, "a", "b")
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "c")
    revoked(owner)
    [named] = raised(errors.ReleaseRevokedConfirmation, start, owner).data["revokedReleases"]
    assert (named["releaseVersion"], named["revocationReason"], named["count"]) == ("1.0", "leaked", 2)
    assert not CampaignItem.objects.exists()
    # A release that is revoked later is skipped, although the operator has confirmed another one.
    assert start(owner, rate=6000, allow_revoked=True).allow_revoked
    revoke(making.release_of(owner, "2.0"), actor="user:ann", reason="leaked too")
    pass_time(1)
    assert campaigns.advance() == 2
    items = CampaignItem.objects.order_by("execution__execution_key").values_list("outcome", "code")
    assert list(items) == [("REDRIVEN", "")] * 2 + [("SKIPPED", "RELEASE_REVOKED")]
