"""The orders of a revocation about the open executions of its release: to pause or to fail them."""

from collections.abc import Mapping
from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import preview
from executions.errors import ReleaseRevokedConfirmation
from executions.holds import holds
from executions.lifecycle import outcome
from executions.lifecycle.redrive import redrive
from executions.lifecycle.revoked import fail_batch, fail_open
from executions.models import AwaitUnit, CampaignItem, DeadLetter, Execution, Hold, Interaction
from executions.state_machine.moves import Claim
from releases.activation.revocation import Order, revoke
from releases.models import Release, Revocation
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.executions.campaigns.campaigning import OF_THE_PIPELINE, pass_time, start
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


def release() -> Release:
    return Release.objects.get(release_version="1.0")


def record(reported: Any) -> int:
    return outcome.record(release().identity, OutcomeGroup(worker_id="w", outcomes=[reported]))


def states() -> Mapping[str, str]:
    return dict(Execution.objects.values_list("execution_key", "status"))


def one_of_each(owner: Tenant) -> dict[str, Claim]:
    """Create an execution in each state, and return the claims of those that were claimed, by their keys."""
    making.dead(owner, "dead")
    making.execution(owner, "done")
    [done] = making.claimed(owner)
    record(making.outcome_of(done))
    making.execution(owner, "waiting")
    [waiting] = making.claimed(owner)
    record(making.suspension(waiting))
    pipeline = release().pipeline
    pipeline.retry_limit = 1
    pipeline.save(update_fields=["retry_limit"])
    making.execution(owner, "retrying")
    [retrying] = making.claimed(owner)
    record(making.failure(retrying))
    making.execution(owner, "running")
    [running] = making.claimed(owner)
    making.execution(owner, "queued")
    return {"running": running, "waiting": waiting}


def test_without_an_order_open_executions_stay(owner: Tenant) -> None:
    one_of_each(owner)
    before = states()
    event = revoke(release(), actor="user:ann", reason="leaked")
    assert fail_open() == 0
    assert states() == before
    assert (event.open_executions, event.failed_executions, event.completed_at) == ("leave", 0, None)


def pause_of_revocation() -> Revocation:
    return revoke(release(), actor="user:ann", reason="leaked", open_executions=Order.PAUSE)


def test_a_pause_stops_the_open_executions_until_the_release_is_resumed(owner: Tenant) -> None:
    claims = one_of_each(owner)
    before = states()
    event = pause_of_revocation()
    hold = Hold.objects.get()
    assert (hold.release, hold.reason, hold.started_by) == (release(), "leaked", "user:ann")
    assert not hold.refuses_submissions
    assert (event.open_executions, event.failed_executions, event.completed_at) == ("pause", 0, None)
    assert fail_open() == 0
    assert states() == before
    assert making.claimed(owner) == []
    assert record(making.outcome_of(claims["running"])) == 1
    holds.resume(release(), actor="user:ida")
    assert {claim.execution_id for claim in making.claimed(owner)} == {Execution.objects.get(execution_key="queued").pk}


def test_a_release_that_is_paused_keeps_its_pause(owner: Tenant) -> None:
    first = holds.pause(release(), actor="user:eva", reason="slow").hold
    holds.pause(release().pipeline, actor="user:eva", reason="moved")
    pause_of_revocation()
    assert holds.open_hold(release()) == first
    assert Hold.objects.count() == 2


def test_a_revocation_that_pauses_has_one_entry_in_the_audit_log(owner: Tenant) -> None:
    before = set(AuditEntry.objects.values_list("pk", flat=True))
    pause_of_revocation()
    [entry] = AuditEntry.objects.exclude(pk__in=before)
    assert (entry.act, entry.actor, entry.reason) == ("release.revoke", "user:ann", "leaked")
    assert '"openExecutions":"pause"' in entry.details


def test_a_repeated_revocation_pauses_nothing(owner: Tenant) -> None:
    revoke(release(), actor="user:ann", reason="leaked")
    assert pause_of_revocation().open_executions == "leave"
    assert not Hold.objects.exists()


def test_all_open_executions_fail_and_the_others_stay(owner: Tenant) -> None:
    one_of_each(owner)
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.execution(owner, "newer")
    revoke(release(), actor="user:ann", reason="leaked", open_executions=Order.FAIL)
    assert fail_open() == 4
    assert states() == {
        "dead": "DLQ",
        "done": "SUCCEEDED",
        "newer": "QUEUED",
        **dict.fromkeys(("waiting", "retrying", "running", "queued"), "FAILED"),
    }
    event = Revocation.objects.get()
    assert (event.failed_executions, event.completed_at is not None) == (4, True)
    failed = Execution.objects.get(execution_key="queued")
    assert (failed.error_code, failed.error_message) == ("RELEASE_REVOKED", "Release 1.0 was revoked: leaked")
    assert making.history(failed)[-1] == ("RELEASE_REVOKED", "FAILED")
    letters = DeadLetter.objects.filter(reason="release_revoked")
    assert {(each.error_code, each.retryable) for each in letters} == {("RELEASE_REVOKED", False)}
    assert letters.count() == 4
    assert fail_open() == 0
    assert Revocation.objects.get().failed_executions == 4


def test_the_later_outcome_of_a_running_execution_is_dropped(owner: Tenant) -> None:
    claims = one_of_each(owner)
    revoke(release(), actor="user:ann", reason="leaked", open_executions=Order.FAIL)
    fail_open()
    assert record(making.outcome_of(claims["running"])) == 0
    running = Execution.objects.get(execution_key="running")
    assert (running.status, running.result, running.lease_token) == ("FAILED", None, None)


def test_the_questions_of_a_waiting_execution_are_withdrawn(owner: Tenant) -> None:
    one_of_each(owner)
    revoke(release(), actor="user:ann", reason="leaked", open_executions=Order.FAIL)
    fail_open()
    assert AwaitUnit.objects.get().status == Interaction.objects.get().status == "CANCELLED"


def test_an_order_continues_where_a_killed_process_left_it(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    for number in range(5):
        making.execution(owner, f"k{number}")
    event = revoke(release(), actor="user:ann", reason="leaked", open_executions=Order.FAIL)
    assert fail_batch(event.pk) == 2
    event.refresh_from_db()
    assert (event.failed_executions, event.completed_at) == (2, None)
    assert fail_open() == 3
    event.refresh_from_db()
    assert (event.failed_executions, event.completed_at is None) == (5, False)
    assert fail_batch(event.pk) is None


def test_a_repeated_revocation_keeps_the_first_order(owner: Tenant) -> None:
    making.execution(owner, "a")
    revoke(release(), actor="user:ann", reason="leaked")
    assert revoke(release(), actor="", reason="x", open_executions=Order.FAIL).open_executions == "leave"
    assert fail_open() == 0
    assert states() == {"a": "QUEUED"}


def test_an_execution_that_the_order_failed_runs_again_if_that_is_confirmed(owner: Tenant) -> None:
    one_of_each(owner)
    revoke(release(), actor="user:ann", reason="leaked", open_executions=Order.FAIL)
    fail_open()
    for key in ("waiting", "queued", "retrying", "running"):
        failed = Execution.objects.get(execution_key=key)
        with pytest.raises(ReleaseRevokedConfirmation):
            redrive(owner, failed.pk, actor="", reason="", allow_failed=True)
        redrive(owner, failed.pk, actor="", reason="", allow_failed=True, allow_revoked=True)
    assert fail_open() == 0
    assert {claim.step_index for claim in making.claimed(owner)} == {0}


def test_a_campaign_over_a_revoked_release_needs_a_confirmation(owner: Tenant) -> None:
    making.dead(owner, "a", "b")
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "c")
    revoke(release(), actor="user:ann", reason="leaked")
    [found] = preview(owner, OF_THE_PIPELINE).revoked
    assert (found.release_version, found.reason, found.count) == ("1.0", "leaked", 2)
    with pytest.raises(ReleaseRevokedConfirmation) as caught:
        start(owner)
    [named] = caught.value.data["revokedReleases"]
    assert (named["releaseVersion"], named["revocationReason"], named["count"]) == ("1.0", "leaked", 2)
    assert not CampaignItem.objects.exists()
    campaign = start(owner, rate=6000, allow_revoked=True)
    assert campaign.allow_revoked
    pass_time(1)
    assert campaigns.advance() == 3


def test_items_of_a_release_that_is_revoked_later_are_skipped(owner: Tenant) -> None:
    """Even if the campaign's operator has confirmed another revoked release."""
    making.dead(owner, "a")
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "b")
    revoke(release(), actor="user:ann", reason="leaked")
    start(owner, rate=6000, allow_revoked=True)
    revoke(Release.objects.get(release_version="2.0"), actor="user:ann", reason="leaked too")
    pass_time(1)
    assert campaigns.advance() == 1
    items = CampaignItem.objects.order_by("execution__execution_key").values_list("outcome", "code")
    assert list(items) == [("REDRIVEN", ""), ("SKIPPED", "RELEASE_REVOKED")]
