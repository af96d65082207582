"""Campaigns resubmit failed executions on the active or a named release, each failure at most once."""

from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.errors import CampaignTargetInvalid
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, CampaignItem, Execution, Resubmission, StartFrom
from executions.submission.resubmission import resubmit
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Pipeline, Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing
from tests.executions.campaigns.campaigning import events, everything, pass_time, record, start
from tests.executions.submission import continuing

pytestmark = pytest.mark.django_db
RESUBMIT = Campaign.Kind.RESUBMIT


def next_release(owner: Tenant, version: str = "1.1", **members: Any) -> Release:
    made = making.registered(owner, version, **members)
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=made.pk), f"worker-{version}")
    return made


def progress(campaign: Campaign) -> tuple[int, int, int]:
    found = campaigns.progress([campaign.pk])[campaign.pk]
    assert found.redriven == 0
    return found.pending, found.resubmitted, found.skipped


def codes(campaign: Campaign) -> set[str]:
    return set(campaign.items.filter(outcome="SKIPPED").values_list("code", flat=True))


def test_items_are_resubmitted_at_the_rate_on_the_active_release(owner: Tenant, dead: list[Execution]) -> None:
    activate(next_release(owner), actor="user:ann")
    made = start(owner, kind=RESUBMIT)
    assert (campaigns.advance(), progress(made)) == (0, (10, 0, 0))
    pass_time(3.9)
    assert (campaigns.advance(), progress(made)) == (3, (7, 3, 0))
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (7, (0, 10, 0))
    made.refresh_from_db()
    assert made.status == "COMPLETED"
    assert events(made) == [("STARTED", "user:ann"), ("COMPLETED", "coordinator")]
    for item in made.items.select_related("execution", "new_execution"):
        old, new = item.execution, item.new_execution
        assert old is not None
        assert new is not None
        assert (old.status, old.release_version, old.version) == ("DLQ", "1.0", item.expected_version)
        assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", {"n": 1})
        assert new.execution_key == f"resubmit:{old.pk}:campaign:{made.pk}"
        assert new.events.get().data["campaignId"] == str(made.pk)
        event = old.events.get(kind="RESUBMITTED")
        assert (event.actor, event.data["campaignId"]) == ("user:ann", str(made.pk))
        assert (event.data["executionId"], event.data["reason"]) == (str(new.pk), "the bank is back")
    assert len(making.claimed(owner)) == 10


def test_a_named_release_need_not_be_active(owner: Tenant, dead: list[Execution]) -> None:
    next_release(owner)
    made = start(owner, kind=RESUBMIT, target_release_version="1.1")
    pass_time(60)
    assert campaigns.advance() == 10
    assert progress(made) == (0, 10, 0)
    new = Execution.objects.filter(origin__campaign=made)
    assert set(new.values_list("release_version", flat=True)) == {"1.1"}


def test_the_active_release_is_that_of_the_time_of_each_item(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, kind=RESUBMIT)
    pass_time(4)
    assert campaigns.advance() == 4
    activate(next_release(owner), actor="user:ann")
    pass_time(60)
    assert campaigns.advance() == 6
    new = Execution.objects.filter(origin__campaign=made)
    assert sorted(new.values_list("release_version", flat=True)) == ["1.0"] * 4 + ["1.1"] * 6


def test_a_redrive_has_no_target(owner: Tenant, dead: list[Execution]) -> None:
    before = everything()
    with pytest.raises(CampaignTargetInvalid):
        start(owner, target_release_version="1.1")
    assert everything() == before


def test_items_continue_from_their_checkpoints_if_that_is_proven() -> None:
    owner = continuing.ready()
    proven, wrong = continuing.failed(owner, "proven"), continuing.failed(owner, "wrong", '{"n": "two"}')
    [without] = making.dead(owner, "without")
    activate(continuing.release(owner, "1.1", types=continuing.order("n", optional=["m"])), actor="user:ann")
    made = start(owner, kind=RESUBMIT, start_from=StartFrom.CHECKPOINT)
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (1, (0, 1, 2))
    new = Execution.objects.get(origin__execution=proven)
    assert (new.current_step_index, new.progress, new.release_version) == (1, {"n": 2}, "1.1")
    assert dict(made.items.exclude(code="").values_list("execution_id", "code")) == {
        wrong.pk: "CHECKPOINT_INCOMPATIBLE",
        without.pk: "CHECKPOINT_MISSING",
    }


def test_a_redrive_has_no_start(owner: Tenant, dead: list[Execution]) -> None:
    before = everything()
    with pytest.raises(CampaignTargetInvalid):
        start(owner, start_from=StartFrom.CHECKPOINT)
    assert everything() == before


def test_pause_resume_and_cancel(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, kind=RESUBMIT)
    pass_time(2)
    assert campaigns.advance() == 2
    campaigns.pause(owner, made.pk, actor="user:bob")
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (0, (8, 2, 0))
    campaigns.resume(owner, made.pk, actor="user:bob")
    pass_time(1)
    assert (campaigns.advance(), progress(made)) == (1, (7, 3, 0))
    campaigns.cancel(owner, made.pk, actor="user:bob")
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (0, (0, 3, 7))
    assert codes(made) == {"CAMPAIGN_CANCELLED"}


# --- skipped items ---


def test_an_item_is_skipped_with_the_reason(owner: Tenant, dead: list[Execution]) -> None:
    by_hand, redriven, *_ = dead
    made = start(owner, kind=RESUBMIT)
    resubmit(owner, by_hand.pk, actor="user:ann", reason="")
    redrive(owner, redriven.pk, actor="user:ann", reason="")
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (8, (0, 8, 2))
    assert dict(made.items.exclude(code="").values_list("execution_id", "code")) == {
        by_hand.pk: "ALREADY_RESUBMITTED",
        redriven.pk: "RESUBMIT_REFUSED",
    }


def test_a_later_campaign_does_not_resubmit_the_same_failures(owner: Tenant, dead: list[Execution]) -> None:
    first, second = start(owner, kind=RESUBMIT), start(owner, kind=RESUBMIT)
    pass_time(60)
    assert campaigns.advance() == 10
    assert {progress(first), progress(second)} == {(0, 10, 0), (0, 0, 10)}
    assert codes(first) | codes(second) == {"ALREADY_RESUBMITTED"}
    assert Resubmission.objects.count() == 10


def test_inputs_that_the_target_rejects_are_skipped(owner: Tenant, dead: list[Execution]) -> None:
    next_release(owner, steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}])
    made = start(owner, kind=RESUBMIT, target_release_version="1.1")
    pass_time(60)
    assert (campaigns.advance(), progress(made), codes(made)) == (0, (0, 0, 10), {"INPUT_INVALID"})


@cases(
    ("version", "code"), [("2.0", "RELEASE_UNKNOWN"), ("1.1", "RELEASE_NOT_ADMITTED"), (None, "ACTIVE_RELEASE_REVOKED")]
)
def test_a_target_that_accepts_no_executions_skips_the_items(
    owner: Tenant, dead: list[Execution], version: str | None, code: str
) -> None:
    revoke(next_release(owner), actor="user:ann", reason="leaked")
    made = start(owner, kind=RESUBMIT, target_release_version=version)
    if version is None:
        revoke(dead[0].release, actor="user:ann", reason="leaked")
    pass_time(60)
    assert (campaigns.advance(), progress(made), codes(made)) == (0, (0, 0, 10), {code})


def test_items_wait_while_no_worker_hosts_the_target(owner: Tenant, dead: list[Execution]) -> None:
    target = making.registered(owner, "1.1")
    made = start(owner, kind=RESUBMIT, target_release_version="1.1")
    pass_time(60)
    before = everything()
    assert campaigns.advance() == 0
    assert everything() == before
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=target.pk), "late")
    assert (campaigns.advance(), progress(made)) == (10, (0, 10, 0))


def test_each_pipeline_has_its_own_target(owner: Tenant, dead: list[Execution]) -> None:
    other = "org.example.other"
    making.worker(making.active(owner, pipeline_id=other), "other-1")
    Pipeline.objects.filter(tenant=owner).update(retry_limit=0)
    execution = making.execution(owner, "other", pipeline_id=other)
    [claim] = making.claimed(owner)
    record(making.failure(claim))
    next_release(owner)
    made = start(owner, Filters(error_code="SomeError"), kind=RESUBMIT, target_release_version="1.1")
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (10, (0, 10, 1))
    item = made.items.get(execution=execution)
    assert item.code == "RELEASE_UNKNOWN"


def test_a_process_that_dies_leaves_no_item_without_its_execution(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, kind=RESUBMIT)
    pass_time(30)
    assert_all_or_nothing(campaigns.advance)
    assert progress(made) == (0, 10, 0)
    assert CampaignItem.objects.filter(new_execution=None).count() == 0
    assert Resubmission.objects.count() == Execution.objects.filter(origin__isnull=False).count() == 10
