from datetime import timedelta
from typing import Any

import pytest

from executions.errors import CampaignEmpty
from executions.lifecycle.interventions import redrive
from governance.activation.activation import activate
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters, preview
from governance.reports.preflight import preflight
from governance.retirement.retirement import Blocker, Kind, blockers, retire, revoke
from releases.artifacts import retention, soundness
from releases.errors import ArtifactNotStored, NoActiveRelease, ReleaseRetired
from releases.models import Release, Retirement, Revocation
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import raised
from tests.releases.refusals import refusal

pytestmark = pytest.mark.django_db
WHY: dict[str, Any] = {"actor": "user:ann", "reason": "replaced"}
FILTERS = Filters(pipeline_id=making.PIPELINE)


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


def old(owner: Tenant) -> Release:
    release = Release.objects.get(release_version="1.0", pipeline__tenant=owner)
    making.worker(making.active(owner, "2.0"), "worker-2")
    return release


def counts(release: Release) -> dict[str, int]:
    return {blocker.kind.value: blocker.count for blocker in blockers(release)}


def test_a_revocation_stops_submissions_and_keeps_what_was_accepted(owner: Tenant) -> None:
    release = Release.objects.select_related("pipeline__tenant").get(pipeline__tenant=owner)
    accepted = making.execution(owner, "first")
    assert refusal(revoke, release, actor="", reason=" ").code == "REASON_REQUIRED"
    event = revoke(release, actor="user:ann", reason=" leaked key ")
    assert (event.release_id, event.actor, event.reason) == (release.pk, "user:ann", "leaked key")
    assert revoke(release, actor="user:bob", reason="other") == event
    assert Revocation.objects.get(release=release).actor == "user:ann"
    assert release.status == "REVOKED"
    error = refusal(activate, release, actor="user:ann")
    assert (error.code, error.data) == ("RELEASE_NOT_REGISTERED", {"releaseStatus": "REVOKED"})
    assert refusal(retire, release, **WHY).data == {"releaseStatus": "REVOKED"}
    assert "REVOKED" in str(raised(NoActiveRelease, making.execution, owner, "second"))
    assert [claim.execution_id for claim in making.claimed(owner)] == [accepted.pk]
    making.worker(making.active(owner, "2.0"), "worker-2")
    assert making.execution(owner, "second").release_version == "2.0"


def test_a_release_that_is_not_registered_is_neither_activated_nor_revoked() -> None:
    release = making.uploaded(making.tenant())
    for status in ("UPLOADED", "VERIFYING", "REJECTED"):
        Release.objects.filter(pk=release.pk).update(status=status)
        release.refresh_from_db(fields=["status"])
        for call in (activate, revoke):
            error = refusal(call, release, actor="", reason="why")
            assert (error.code, error.data) == ("RELEASE_NOT_REGISTERED", {"releaseStatus": status})


def test_a_release_that_nothing_needs_is_retired_for_good(owner: Tenant) -> None:
    release = Release.objects.get()
    assert blockers(release) == [Blocker(Kind.ACTIVE, 1)]
    assert refusal(retire, release, **WHY).data == {"blockers": [{"kind": "ACTIVE", "count": 1}]}
    release = old(owner)
    assert refusal(retire, release, actor="", reason=" ").code == "REASON_REQUIRED"
    event = retire(release, actor="user:ann", reason=" replaced ")
    assert (event.release_id, event.actor, event.reason) == (release.pk, "user:ann", "replaced")
    assert (event.given_up_failures, release.status) == (0, "RETIRED")
    assert retire(release, actor="user:bob", reason="other") == event
    assert Retirement.objects.count() == 1
    for call in (activate, revoke):
        assert refusal(call, release, actor="", reason="why").data == {"releaseStatus": "RETIRED"}


def test_every_open_execution_and_failure_is_a_blocker_of_its_kind(owner: Tenant) -> None:
    making.dead(owner, "dead-1", "dead-2")
    making.dead(owner, "failed", retryable=False)
    release = Release.objects.get()
    release.pipeline.retry_limit = 1
    release.pipeline.save(update_fields=["retry_limit"])
    for key in ("waiting", "cooling off", "retrying", "done"):
        making.execution(owner, key)
    first, second, third, fourth = making.claimed(owner)
    timer = making.suspension(second, transport="timer")
    assert making.record(making.suspension(first), timer, making.failure(third), making.outcome_of(fourth)) == 4
    making.execution(owner, "running")
    making.claimed(owner)
    making.execution(owner, "queued")
    report = preflight(making.registered(owner, "2.0"))
    assert report.questions == 1, "a timer is none"
    release = old(owner)
    assert blockers(release) == report.remaining
    # Executions of other releases and tenants do not count.
    making.execution(owner, "newer")
    making.execution(making.ready()[0], "foreign")
    expected = {"QUEUED": 1, "RUNNING": 1, "RETRYING": 1, "WAITING": 2, "FAILED": 1, "DEAD_LETTERED": 2}
    assert counts(release) == expected
    error = refusal(retire, release, **WHY, give_up_failures=True)
    assert {blocker["kind"] for blocker in error.data["blockers"]} == {*expected} - {"FAILED", "DEAD_LETTERED"}


def test_failures_are_ignored_only_on_request_and_are_never_redriven(owner: Tenant) -> None:
    dead, _other = making.dead(owner, "a", "b")
    release = old(owner)
    assert "DEAD_LETTERED 2" in str(refusal(retire, release, **WHY))
    assert retire(release, **WHY, give_up_failures=True).given_up_failures == 2
    raised(ReleaseRetired, redrive, owner, dead.pk, actor="", reason="", allow_revoked=True)
    assert preview(owner, FILTERS).count == 0
    raised(CampaignEmpty, campaigns.start, owner, FILTERS, reason="x", rate_per_minute=60, actor="")


def test_an_unfinished_campaign_is_a_blocker_until_it_has_no_item_of_the_release(owner: Tenant) -> None:
    making.dead(owner, "a")
    release = old(owner)
    first = campaigns.start(owner, FILTERS, reason="x", rate_per_minute=60, actor="")
    campaigns.start(owner, FILTERS, reason="x", rate_per_minute=60, actor="")
    assert counts(release) == {"DEAD_LETTERED": 1, "CAMPAIGN": 2}
    campaigns.pause(owner, first.pk, actor="")
    assert "CAMPAIGN 2" in str(refusal(retire, release, **WHY, give_up_failures=True))
    campaigns.cancel(owner, first.pk, actor="")
    assert counts(release) == {"DEAD_LETTERED": 1, "CAMPAIGN": 1}


def test_bytes_of_a_retired_release_may_be_removed_unless_another_release_needs_them(owner: Tenant) -> None:
    release = old(owner)
    shared = making.registered(owner, "3.0", body="2.0")
    digest = release.artifacts.get().digest
    retire(release, **WHY)
    retire(shared, **WHY)
    later = timedelta(seconds=-60)
    assert {orphan.name: orphan.why.name for orphan in retention.orphans(later)} == {digest: "RETIRED"}
    removed = list(retention.remove(list(retention.orphans(later)), later))
    assert [orphan.name for orphan in removed] == [digest]
    raised(ArtifactNotStored, soundness.find, owner, digest)
