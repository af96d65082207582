"""Campaigns resubmit failed executions on the active or a named release, each failure at most once."""

from collections import Counter

import pytest

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.campaigns.resubmitting import waiting
from executions.errors import CampaignTargetInvalid
from executions.holds import holds
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, Execution, Resubmission, Worker
from executions.submission.resubmission import resubmit
from releases.activation.activation import activate
from releases.activation.revocation import revoke
from tenancy.models import Tenant
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing
from tests.executions.campaigns.campaigning import advance, codes, events, pass_time, progress, start
from tests.gradual import candidate
from tests.raw_sql import unchanged

pytestmark = pytest.mark.django_db
RESUBMIT = Campaign.Kind.RESUBMIT
OTHER = "org.example.returns"


def test_items_are_resubmitted_at_the_rate_on_the_active_release(owner: Tenant, dead: list[Execution]) -> None:
    activate(candidate(owner, "1.1"), actor="user:ann")
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
    following = making.replaced(candidate(owner, "1.1"))
    made = start(owner, kind=RESUBMIT, target_release_version=target)
    assert advance(4) == 4
    activate(following, actor="user:ann", reason="fixed")
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
    again = start(owner, kind=RESUBMIT)
    advance()
    assert (progress(again), {*codes(again).values()}) == ((0, 0, 9), {"ALREADY_RESUBMITTED"})
    assert Resubmission.objects.count() == 9


@cases(
    ("version", "code"),
    [
        ("2.0", "RELEASE_UNKNOWN"),
        ("1.1", "RELEASE_NOT_ADMITTED"),
        ("1.2", "INPUT_INVALID"),
    ],
)
def test_a_target_that_accepts_no_such_executions_skips_the_items(
    owner: Tenant, dead: list[Execution], version: str, code: str
) -> None:
    revoke(candidate(owner, "1.1"), actor="user:ann", reason="leaked")
    making.replaced(candidate(owner, "1.2", steps=[{**making.STEP, "cardinality": "MANY_TO_MANY"}]))
    made = start(owner, kind=RESUBMIT, target_release_version=version)
    assert (advance(), progress(made), {*codes(made).values()}) == (0, (0, 0, 10), {code})


@cases(
    ("obstacle", "code"),
    [
        ("pause", "PIPELINE_PAUSED"),
        ("revocation", "ACTIVE_RELEASE_REVOKED"),
        ("silence", "WORKER_UNAVAILABLE"),
        ("no activation", "RELEASE_NOT_OPEN"),
    ],
)
def test_items_wait_while_their_target_accepts_nothing_and_let_others_pass(
    owner: Tenant, dead: list[Execution], obstacle: str, code: str
) -> None:
    other = making.active(owner, "1.1", pipeline_id=OTHER)
    making.worker(other, "other")
    making.dead(owner, *"xyz", pipeline_id=OTHER)
    following, release = candidate(owner, "1.1"), dead[0].release
    target = "1.1" if obstacle == "no activation" else None
    made = start(owner, Filters(error_code="SomeError"), rate=2, kind=RESUBMIT, target_release_version=target)
    if obstacle == "pause":
        holds.pause(release.pipeline, actor="user:eva", reason="broken", refuses_submissions=True)
    elif obstacle == "revocation":
        revoke(release, actor="user:ann", reason="leaked")
    elif obstacle == "silence":
        making.silence(*Worker.objects.filter(worker_id="worker-1"))
    assert [(advance(), progress(made)) for _ in range(3)] == [(2, (11, 2, 0)), (1, (10, 3, 0)), (0, (10, 3, 0))]
    assert [(pipeline_id, why.code) for pipeline_id, why in waiting(made).items()] == [(making.PIPELINE, code)]
    if obstacle == "pause":
        holds.resume(release.pipeline, actor="user:eva")
    else:
        activate(following, actor="user:ann")
    assert (advance(), progress(made), waiting(made)) == (2, (8, 5, 0), {})
