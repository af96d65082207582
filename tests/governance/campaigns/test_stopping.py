import pytest

from executions.errors import CampaignTargetInvalid, FilterRequired
from executions.holds import holds
from executions.lifecycle.interventions import cancel
from executions.models import Campaign, Execution, Hold, Interaction
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.executions.awaits.parking import suspended
from tests.governance.campaigns.campaigning import OF_THE_PIPELINE, advance, start
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db
CANCEL, PAUSE = Campaign.Kind.CANCEL, Campaign.Kind.PAUSE


@pytest.fixture
def owner(quiet: Tenant) -> Tenant:
    return quiet


@pytest.fixture
def queued(owner: Tenant) -> list[Execution]:
    return [making.execution(owner, f"q{number}") for number in range(4)]


def outcomes(campaign: Campaign) -> list[tuple[str, str]]:
    return sorted(campaign.items.values_list("outcome", "code"))


def test_executions_are_cancelled_with_their_questions(owner: Tenant) -> None:
    waiting = suspended((owner, Release.objects.get()), "asks")
    making.copies(making.execution(owner, "first"), 3)
    made = start(owner, kind=CANCEL)
    assert advance() == 5
    made.refresh_from_db()
    assert made.status == "COMPLETED"
    assert outcomes(made) == [("CANCELLED", "")] * 5
    assert set(Execution.objects.values_list("status", flat=True)) == {"CANCELLED"}
    assert set(Interaction.objects.values_list("status", flat=True)) == {"CANCELLED"}
    event = waiting.events.get(kind="CANCELLED")
    assert (event.actor, event.data["campaignId"]) == ("user:ann", str(made.pk))
    assert campaigns.progress_of(made.pk).cancelled == 5


def test_executions_are_paused_each_with_a_hold(owner: Tenant, queued: list[Execution]) -> None:
    made = start(owner, kind=PAUSE)
    assert advance() == 4
    assert outcomes(made) == [("PAUSED", "")] * 4
    assert making.claimed(owner) == []
    assert set(Hold.objects.values_list("execution", "reason", "started_by", "ended_at")) == {
        (each.pk, "the bank is back", "user:ann", None) for each in queued
    }
    assert making.history(queued[0])[-1] == ("PAUSED", "QUEUED")
    holds.resume(queued[0], actor="user:bob")
    assert len(making.claimed(owner)) == 1
    holds.resume(queued[1], actor="user:bob")
    again = start(owner, kind=PAUSE)
    assert again.items.count() == 2, "those that are paused already are left out"
    holds.pause(queued[1], actor="user:bob", reason="by hand")
    assert advance() == 1
    assert outcomes(again) == [("PAUSED", ""), ("SKIPPED", "ALREADY_PAUSED")]


@cases(("kind", "refused"), [(CANCEL, "CANCEL_REFUSED"), (PAUSE, "PAUSE_REFUSED")])
def test_executions_that_changed_since_are_skipped(
    kind: Campaign.Kind, refused: str, owner: Tenant, queued: list[Execution]
) -> None:
    made = start(owner, kind=kind)
    cancel(owner, queued[0].pk, actor="user:bob", reason="by hand")
    [claim] = making.claimed(owner, limit=1)
    assert advance() == 2
    done = "CANCELLED" if kind == CANCEL else "PAUSED"
    assert outcomes(made) == sorted([(done, ""), (done, ""), ("SKIPPED", refused), ("SKIPPED", "VERSION_MISMATCH")])
    assert Execution.objects.get(pk=claim.execution_id).status == "RUNNING"


def test_each_kind_selects_by_the_filters_that_fit_it(owner: Tenant, queued: list[Execution]) -> None:
    making.worker(making.active(owner, pipeline_id="org.example.other"), "worker-other")
    making.execution(owner, "elsewhere", pipeline_id="org.example.other")
    filters = (OF_THE_PIPELINE, Filters(pipeline_id="org.example.other"), Filters(release_version="1.0"))
    assert [start(owner, each, kind=CANCEL).items.count() for each in filters] == [4, 1, 5]
    with unchanged():
        with pytest.raises(FilterRequired):
            start(owner, Filters(), kind=CANCEL)
        with pytest.raises(CampaignTargetInvalid, match="reason"):
            start(owner, Filters(pipeline_id=making.PIPELINE, reason="retry_exhausted"), kind=PAUSE)  # type: ignore[arg-type]
