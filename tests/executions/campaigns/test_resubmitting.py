"""Campaigns resubmit failed executions on the active or a named release, each failure at most once."""

from collections import Counter
from typing import Any

import pytest

from executions.campaigns import campaigns
from executions.errors import CampaignTargetInvalid
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution, Resubmission
from executions.submission.resubmission import resubmit
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing
from tests.executions.campaigns.campaigning import (
    advance,
    codes,
    events,
    pass_time,
    progress,
    start,
)
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db
RESUBMIT = Campaign.Kind.RESUBMIT


def next_release(owner: Tenant, version: str = "1.1", **members: Any) -> Release:
    made = making.registered(owner, version, **members)
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=made.pk), f"worker-{version}")
    return made


def resubmitted(owner: Tenant, **members: Any) -> Campaign:
    """Start a campaign that resubmits, and let it advance for a minute."""
    made = start(owner, kind=RESUBMIT, **members)
    advance()
    return made


def test_items_are_resubmitted_at_the_rate_on_the_active_release(owner: Tenant, dead: list[Execution]) -> None:
    activate(next_release(owner), actor="user:ann")
    made = start(owner, kind=RESUBMIT)
    assert (advance(3.9), progress(made)) == (3, (7, 3, 0))
    pass_time(30)
    assert_all_or_nothing(campaigns.advance)
    assert progress(made) == (0, 10, 0)
    assert Resubmission.objects.count() == Execution.objects.filter(origin__isnull=False).count() == 10
    made.refresh_from_db()
    assert made.status == "COMPLETED"
    assert events(made) == [("STARTED", "user:ann"), ("COMPLETED", "coordinator")]
    for item in made.items.select_related("execution", "new_execution"):
        old, new = item.execution, item.new_execution
        assert old
        assert new
        assert (old.status, old.release_version, old.version) == ("DLQ", "1.0", item.expected_version)
        assert (new.status, new.release_version, new.input) == ("QUEUED", "1.1", {"n": 1})
        assert new.execution_key == f"resubmit:{old.pk}:campaign:{made.pk}"
        assert new.events.get().data["campaignId"] == str(made.pk)
        event = old.events.get(kind="RESUBMITTED")
        assert (event.actor, event.data["executionId"]) == ("user:ann", str(new.pk))
    assert len(making.claimed(owner)) == 10


def test_a_redrive_has_no_target(owner: Tenant) -> None:
    with unchanged(), pytest.raises(CampaignTargetInvalid):
        start(owner, target_release_version="1.1")


@cases(("target", "versions"), [("1.1", {"1.1": 10}), (None, {"1.0": 4, "1.1": 6})])
def test_the_target_is_a_named_release_or_the_active_one_at_the_time_of_each_item(
    owner: Tenant, target: str | None, versions: dict[str, int]
) -> None:
    following = next_release(owner)
    made = start(owner, kind=RESUBMIT, target_release_version=target)
    assert advance(4) == 4
    activate(following, actor="user:ann")
    assert advance() == 6
    new = Execution.objects.filter(origin__campaign=made)
    assert Counter(new.values_list("release_version", flat=True)) == versions


def test_an_item_is_skipped_with_the_reason(owner: Tenant, dead: list[Execution]) -> None:
    by_hand, redriven, *_ = dead
    first = start(owner, kind=RESUBMIT)
    resubmit(owner, by_hand.pk, actor="user:ann", reason="")
    redrive(owner, redriven.pk, actor="user:ann", reason="")
    assert (advance(), progress(first)) == (8, (0, 8, 2))
    assert codes(first) == {by_hand.pk: "ALREADY_RESUBMITTED", redriven.pk: "RESUBMIT_REFUSED"}
    again = resubmitted(owner)
    assert (progress(again), {*codes(again).values()}) == ((0, 0, 9), {"ALREADY_RESUBMITTED"})
    assert Resubmission.objects.count() == 9


@cases(
    ("version", "code"),
    [
        ("2.0", "RELEASE_UNKNOWN"),
        ("1.1", "RELEASE_NOT_ADMITTED"),
        ("1.2", "INPUT_INVALID"),
        (None, "ACTIVE_RELEASE_REVOKED"),
    ],
)
def test_a_target_that_accepts_no_such_executions_skips_the_items(
    owner: Tenant, dead: list[Execution], version: str | None, code: str
) -> None:
    revoke(next_release(owner), actor="user:ann", reason="leaked")
    next_release(owner, "1.2", steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}])
    made = start(owner, kind=RESUBMIT, target_release_version=version)
    if version is None:
        revoke(dead[0].release, actor="user:ann", reason="leaked")
    assert (advance(), progress(made), {*codes(made).values()}) == (0, (0, 0, 10), {code})


def test_items_wait_while_no_worker_hosts_the_target(owner: Tenant, dead: list[Execution]) -> None:
    target = making.registered(owner, "1.1")
    made = start(owner, kind=RESUBMIT, target_release_version="1.1")
    pass_time(60)
    with unchanged():
        assert campaigns.advance() == 0
    making.worker(Release.objects.select_related("pipeline__tenant").get(pk=target.pk), "late")
    assert (campaigns.advance(), progress(made)) == (10, (0, 10, 0))
