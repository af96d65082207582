"""The orders of a revocation about the open executions of its release: to pause or to fail them."""

from collections.abc import Mapping
from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.errors import ReleaseRevokedConfirmation
from executions.holds import holds
from executions.lifecycle.redrive import redrive
from executions.lifecycle.revoked import fail_batch, fail_open
from executions.models import AwaitUnit, CampaignItem, DeadLetter, Execution, Hold, Interaction
from executions.state_machine.moves import Claim
from releases.activation.revocation import Order, revoke
from releases.models import Pipeline, Release, Revocation
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.executions.campaigns.campaigning import pass_time, start

pytestmark = pytest.mark.django_db


def release_of(version: str) -> Release:
    return Release.objects.get(release_version=version)


def revoked(order: Order = Order.LEAVE) -> Revocation:
    return revoke(release_of("1.0"), actor="user:ann", reason="leaked", open_executions=order)


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
    revoked(Order.PAUSE)
    hold = Hold.objects.get()
    assert (hold.release, hold.reason, hold.started_by) == (release_of("1.0"), "leaked", "user:ann")
    assert not hold.refuses_submissions
    [entry] = AuditEntry.objects.exclude(pk__in=audited)
    assert (entry.act, entry.actor, entry.reason) == ("release.revoke", "user:ann", "leaked")
    assert '"openExecutions":"pause"' in entry.details
    assert fail_open() == 0
    assert statuses() == before
    assert making.claimed(owner) == []
    assert making.record(making.outcome_of(running)) == 1
    holds.resume(release_of("1.0"), actor="user:ida")
    assert [claim.execution_id for claim in making.claimed(owner)] == [Execution.objects.get(execution_key="queued").pk]


def test_a_release_that_is_paused_keeps_its_pause(release: Release) -> None:
    first = holds.pause(release, actor="user:eva", reason="slow").hold
    revoked(Order.PAUSE)
    assert (holds.open_hold(release), Hold.objects.count()) == (first, 1)


def test_all_open_executions_fail_and_the_others_stay(owner: Tenant) -> None:
    running = one_of_each(owner)
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.execution(owner, "newer")
    revoked(Order.FAIL)
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
    for each in Execution.objects.filter(execution_key__in=OPEN):
        with pytest.raises(ReleaseRevokedConfirmation):
            redrive(owner, each.pk, actor="", reason="", allow_failed=True)
        redrive(owner, each.pk, actor="", reason="", allow_failed=True, allow_revoked=True)
    assert fail_open() == 0
    assert {claim.step_index for claim in making.claimed(owner)} == {0}


def test_an_order_continues_where_a_killed_process_left_it(owner: Tenant, settings: Any) -> None:
    settings.SWEEP_LIMIT = 2
    for number in range(5):
        making.execution(owner, f"k{number}")
    event = revoked(Order.FAIL)
    assert fail_batch(event.pk) == 2
    event.refresh_from_db()
    assert (event.failed_executions, event.completed_at) == (2, None)
    assert fail_open() == 3
    event.refresh_from_db()
    assert (event.failed_executions, event.completed_at is None) == (5, False)
    assert fail_batch(event.pk) is None


def test_a_campaign_over_a_revoked_release_needs_a_confirmation(owner: Tenant) -> None:
    making.dead(owner, "a", "b")
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "c")
    revoked()
    with pytest.raises(ReleaseRevokedConfirmation) as caught:
        start(owner)
    [named] = caught.value.data["revokedReleases"]
    assert (named["releaseVersion"], named["revocationReason"], named["count"]) == ("1.0", "leaked", 2)
    assert not CampaignItem.objects.exists()
    # A release that is revoked later is skipped, although the operator has confirmed another one.
    campaign = start(owner, rate=6000, allow_revoked=True)
    assert campaign.allow_revoked
    revoke(release_of("2.0"), actor="user:ann", reason="leaked too")
    pass_time(1)
    assert campaigns.advance() == 2
    items = CampaignItem.objects.order_by("execution__execution_key").values_list("outcome", "code")
    assert list(items) == [("REDRIVEN", "")] * 2 + [("SKIPPED", "RELEASE_REVOKED")]
