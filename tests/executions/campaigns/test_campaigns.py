"""Campaigns: what a filter finds, the rate, an account of each item, and that a campaign is nothing but rows."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db.models import F
from pytest_django import DjangoAssertNumQueries, DjangoCaptureOnCommitCallbacks

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters, preview
from executions.errors import CampaignEmpty, CampaignRefused, CampaignUnknown, FilterRequired
from executions.lifecycle import outcome
from executions.lifecycle.redrive import redrive
from executions.models import Campaign, CampaignEvent, CampaignItem, DeadLetter, Execution, ExecutionEvent
from executions.tasks import sweep
from releases.activation.revocation import revoke
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import refused, rows, unguarded
from wire.messages.celery_messages import Outcome, OutcomeGroup

pytestmark = pytest.mark.django_db
OF_THE_PIPELINE = Filters(pipeline_id=making.PIPELINE)
TABLES = (Execution, ExecutionEvent, Campaign, CampaignItem, CampaignEvent)


@pytest.fixture
def owner() -> Tenant:
    return making.ready()[0]


@pytest.fixture
def dead(owner: Tenant) -> list[Execution]:
    """Ten executions in DLQ, of one moment."""
    return making.dead(owner, *[f"k{number}" for number in range(10)])


def start(owner: Tenant, filters: Filters = OF_THE_PIPELINE, rate: int = 60, **members: Any) -> Campaign:
    members = {"reason": "the bank is back", "actor": "user:ann", **members}
    return campaigns.start(owner, filters, rate_per_minute=rate, **members)


def pass_time(seconds: float) -> None:
    """Let the campaigns' clocks run: to the database all of a test is one moment."""
    unfinished = Campaign.objects.filter(finished_at=None)
    unfinished.update(rate_since=F("rate_since") - timedelta(seconds=seconds))


def progress(campaign: Campaign) -> tuple[int, int, int]:
    found = campaigns.progress([campaign.pk])[campaign.pk]
    return found.pending, found.redriven, found.skipped


def events(campaign: Campaign) -> list[tuple[str, str]]:
    return [(event.kind, event.actor) for event in campaign.events.order_by("id")]


def record(answer: Outcome) -> None:
    release = Execution.objects.get(pk=answer.execution_id).release
    assert outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[answer])) == 1


def everything() -> list[Any]:
    return [rows(table) for table in TABLES]


# --- filters ---


@pytest.fixture
def variety(owner: Tenant) -> dict[str, Execution]:
    """One execution for each thing that can differ, by its key."""
    making.dead(owner, "timeout", code="Timeout")
    making.dead(owner, "refused", code="Refused")
    making.dead(owner, "failed", code="Refused", retryable=False)
    making.worker(making.active(owner, "2.0"), "worker-2")
    making.dead(owner, "on v2", code="Timeout")
    stranger, _ = making.ready()
    making.dead(stranger, "stranger", code="Timeout")
    making.execution(owner, "live")
    for day, key in enumerate(("timeout", "refused", "failed", "on v2"), 1):
        moment = datetime(2026, 1, day, tzinfo=UTC)
        making.finished(moment, Execution.objects.get(execution_key=key))
    return {execution.execution_key: execution for execution in Execution.objects.all()}


@pytest.mark.parametrize(
    ("filters", "allow_failed", "keys"),
    [
        (OF_THE_PIPELINE, False, {"timeout", "refused", "on v2"}),
        (OF_THE_PIPELINE, True, {"timeout", "refused", "on v2", "failed"}),
        (Filters(pipeline_id="another"), True, set()),
        (Filters(error_code="Timeout"), True, {"timeout", "on v2"}),
        (Filters(error_code="Refused"), False, {"refused"}),
        (Filters(release_version="2.0"), True, {"on v2"}),
        (Filters(release_version="1.0", error_code="Timeout"), True, {"timeout"}),
        (Filters(contract_version="no such"), True, set()),
        (Filters(reason=DeadLetter.Reason.NON_RETRYABLE), True, {"failed"}),
        (Filters(reason=DeadLetter.Reason.NON_RETRYABLE), False, set()),
        (Filters(reason=DeadLetter.Reason.RETRY_EXHAUSTED), True, {"timeout", "refused", "on v2"}),
        (Filters(finished_from=datetime(2026, 1, 2, tzinfo=UTC)), True, {"refused", "failed", "on v2"}),
        (Filters(finished_to=datetime(2026, 1, 2, tzinfo=UTC)), True, {"timeout"}),
        (
            Filters(finished_from=datetime(2026, 1, 2, tzinfo=UTC), finished_to=datetime(2026, 1, 4, tzinfo=UTC)),
            True,
            {"refused", "failed"},
        ),
    ],
)
def test_a_preview_shows_what_a_campaign_contains(
    owner: Tenant, variety: dict[str, Execution], filters: Filters, allow_failed: bool, keys: set[str]
) -> None:
    found = preview(owner, filters, allow_failed=allow_failed)
    assert (found.count, {each.execution_key for each in found.executions}) == (len(keys), keys)
    if not keys:
        return
    made = start(owner, filters, allow_failed=allow_failed)
    items = made.items.order_by("id").select_related("execution")
    assert {str(item.execution and item.execution.execution_key) for item in items} == keys
    assert [item.execution_id for item in items] == [each.pk for each in found.executions]
    assert {(item.expected_version, item.outcome) for item in items} == {(2, "PENDING")}


def test_a_preview_counts_groups_and_changes_nothing(owner: Tenant, variety: dict[str, Execution]) -> None:
    before = everything()
    found = preview(owner, OF_THE_PIPELINE, allow_failed=True)
    assert [(group["error_code"], group["count"]) for group in found.by_error_code] == [("Refused", 2), ("Timeout", 2)]
    assert [(group["release_version"], group["count"]) for group in found.by_release] == [("1.0", 3), ("2.0", 1)]
    assert [each.execution_key for each in found.executions] == ["timeout", "refused", "failed", "on v2"]
    assert everything() == before


def test_the_reason_filter_matches_the_latest_failure(owner: Tenant) -> None:
    [execution] = making.dead(owner, "key")
    redrive(owner, execution.pk, actor="", reason="")
    [claim] = making.claimed(owner)
    record(making.failure(claim, retryable=False))
    assert preview(owner, Filters(reason=DeadLetter.Reason.RETRY_EXHAUSTED), allow_failed=True).count == 0
    assert preview(owner, Filters(reason=DeadLetter.Reason.NON_RETRYABLE), allow_failed=True).count == 1


def test_without_a_filter_nothing_is_started(owner: Tenant, dead: list[Execution]) -> None:
    before = everything()
    with pytest.raises(FilterRequired):
        preview(owner, Filters())
    with pytest.raises(FilterRequired):
        start(owner, Filters())
    assert everything() == before


def test_a_campaign_without_matches_is_not_started(owner: Tenant, dead: list[Execution]) -> None:
    before = everything()
    with pytest.raises(CampaignEmpty):
        start(owner, Filters(error_code="no such"))
    assert everything() == before


def test_the_filters_of_a_campaign_are_stored(owner: Tenant, dead: list[Execution]) -> None:
    asked = Filters(
        pipeline_id=making.PIPELINE,
        reason=DeadLetter.Reason.RETRY_EXHAUSTED,
        finished_from=datetime(2026, 1, 1, tzinfo=UTC),
    )
    made = start(owner, asked)
    assert made.filters == {
        "pipelineId": making.PIPELINE,
        "reason": "retry_exhausted",
        "finishedFrom": "2026-01-01T00:00:00+00:00",
    }
    assert (made.reason, made.rate_per_minute, made.created_by, made.allow_failed) == (
        "the bank is back",
        60,
        "user:ann",
        False,
    )


# --- the rate ---


def test_items_are_admitted_at_the_rate_and_the_last_one_completes_the_campaign(
    owner: Tenant, dead: list[Execution]
) -> None:
    made = start(owner, rate=60)
    assert (campaigns.advance(), progress(made)) == (0, (10, 0, 0))
    pass_time(3.9)
    assert (campaigns.advance(), progress(made)) == (3, (7, 3, 0))
    assert (campaigns.advance(), progress(made)) == (0, (7, 3, 0))
    pass_time(0.1)
    assert (campaigns.advance(), progress(made)) == (1, (6, 4, 0))
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (6, (0, 10, 0))
    made.refresh_from_db()
    assert made.status == "COMPLETED"
    assert made.finished_at is not None
    assert events(made) == [("STARTED", "user:ann"), ("COMPLETED", "coordinator")]
    before = everything()
    assert campaigns.advance() == 0
    assert everything() == before


def test_each_execution_is_redriven_and_its_event_names_the_campaign(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    pass_time(60)
    campaigns.advance()
    for execution in dead:
        assert making.history(execution)[-1] == ("REDRIVEN", "QUEUED")
        event = execution.events.get(kind="REDRIVEN")
        assert event.actor == "user:ann"
        assert (event.data["reason"], event.data["campaignId"]) == ("the bank is back", str(made.pk))
        assert (execution.attempt, execution.budget_start, execution.release_version) == (1, 1, "1.0")
        assert execution.last_transition_key == f"redrive:{execution.pk}:2"
    assert {claim.execution_id for claim in making.claimed(owner)} == {execution.pk for execution in dead}


def test_groups_are_bounded_and_cost_no_query_for_each_row(
    owner: Tenant, dead: list[Execution], settings: Any, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    made = start(owner)
    settings.SWEEP_LIMIT = 4
    pass_time(60)
    with django_assert_max_num_queries(40):
        assert campaigns.advance() == 10
    made.refresh_from_db()
    assert made.status == "COMPLETED"


def test_an_outage_accumulates_at_most_one_minute_of_credit(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, rate=3)
    pass_time(20)
    assert campaigns.advance() == 1
    pass_time(24 * 3600)
    assert (campaigns.advance(), progress(made)) == (3, (6, 4, 0))
    assert campaigns.advance() == 0
    pass_time(20)
    assert (campaigns.advance(), progress(made)) == (1, (5, 5, 0))


def test_sweeps_that_are_far_apart_admit_at_the_full_rate(owner: Tenant, dead: list[Execution], settings: Any) -> None:
    settings.SWEEP_SECONDS = 120
    start(owner, rate=3)
    pass_time(120)
    assert campaigns.advance() == 6


def test_a_pause_accumulates_no_credit(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner, rate=60)
    pass_time(2)
    assert campaigns.advance() == 2
    campaigns.pause(owner, made.pk, actor="user:bob", reason="the bank is down again")
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (0, (8, 2, 0))
    campaigns.resume(owner, made.pk, actor="user:bob")
    assert (campaigns.advance(), progress(made)) == (0, (8, 2, 0))
    pass_time(2)
    assert (campaigns.advance(), progress(made)) == (2, (6, 4, 0))
    assert events(made) == [("STARTED", "user:ann"), ("PAUSED", "user:bob"), ("RESUMED", "user:bob")]
    assert made.events.get(kind="PAUSED").data == {"reason": "the bank is down again"}


def test_the_sweep_advances_campaigns_and_sends_one_wakeup(
    owner: Tenant, dead: list[Execution], django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    made = start(owner)
    pass_time(60)
    with django_capture_on_commit_callbacks() as rung:
        sweep()
    assert progress(made) == (0, 10, 0)
    assert len(rung) == 1


def test_concurrent_campaigns_each_have_their_own_rate(owner: Tenant) -> None:
    making.dead(owner, *[f"a{number}" for number in range(5)], code="A")
    making.dead(owner, *[f"b{number}" for number in range(5)], code="B")
    slow, quick = start(owner, Filters(error_code="A"), rate=30), start(owner, Filters(error_code="B"), rate=60)
    pass_time(4)
    assert campaigns.advance() == 6
    assert (progress(slow), progress(quick)) == ((3, 2, 0), (1, 4, 0))
    pass_time(1)
    assert campaigns.advance() == 1
    slow.refresh_from_db()
    quick.refresh_from_db()
    assert (slow.status, quick.status) == ("RUNNING", "COMPLETED")


def test_executions_that_failed_first_are_redriven_first(owner: Tenant) -> None:
    [_, oldest, _] = sorted(making.dead(owner, *"abc"), key=lambda each: each.pk)
    making.finished(datetime(2026, 1, 1, tzinfo=UTC), oldest)
    made = start(owner)
    assert campaigns.items(made)[0].execution == oldest
    pass_time(1)
    assert campaigns.advance() == 1
    assert made.items.get(outcome="REDRIVEN").execution == oldest


# --- what cannot be re-driven any more ---


def test_items_that_have_changed_are_skipped_with_a_reason(owner: Tenant, dead: list[Execution]) -> None:
    by_hand, failed_again, done, *_ = dead
    made = start(owner)
    for execution in (failed_again, done):
        redrive(owner, execution.pk, actor="", reason="")
    for claim in making.claimed(owner):
        again = claim.execution_id == failed_again.pk
        record(making.failure(claim) if again else making.answer(claim))
    redrive(owner, by_hand.pk, actor="", reason="")
    before = list(Execution.objects.filter(pk__in=[by_hand.pk, failed_again.pk, done.pk]).order_by("pk").values())
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (7, (0, 7, 3))
    codes = dict(made.items.exclude(code="").values_list("execution_id", "code"))
    assert codes == {
        by_hand.pk: "REDRIVE_REFUSED",
        failed_again.pk: "VERSION_MISMATCH",
        done.pk: "REDRIVE_REFUSED",
    }
    assert not made.items.filter(at=None).exists()
    after = list(Execution.objects.filter(pk__in=[by_hand.pk, failed_again.pk, done.pk]).order_by("pk").values())
    assert after == before


def test_skipped_items_count_against_the_rate(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    for item in campaigns.items(made)[:2]:
        assert item.execution is not None
        redrive(owner, item.execution.pk, actor="", reason="")
    pass_time(2)
    for _ in range(2):
        assert (campaigns.advance(), progress(made)) == (0, (8, 0, 2))


def test_items_that_have_become_failed_are_skipped_unless_allowed(owner: Tenant) -> None:
    making.dead(owner, "failed", retryable=False)
    made = start(owner, allow_failed=True)
    with unguarded(Campaign):
        Campaign.objects.update(allow_failed=False)
    pass_time(60)
    assert (campaigns.advance(), progress(made)) == (0, (0, 0, 1))
    assert made.items.get().code == "REDRIVE_REFUSED"


def test_items_of_a_revoked_release_are_redriven_on_it(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    revoke(dead[0].release, actor="user:test", reason="leaked")
    pass_time(60)
    campaigns.advance()
    assert progress(made) == (0, 10, 0)
    assert {claim.release_version for claim in making.claimed(owner)} == {"1.0"}


# --- orders ---


def test_a_cancelled_campaign_skips_its_pending_items(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    pass_time(4)
    campaigns.advance()
    done = campaigns.cancel(owner, made.pk, actor="user:bob", reason="enough")
    assert (done.status, progress(made)) == ("CANCELLED", (0, 4, 6))
    assert done.finished_at is not None
    assert set(made.items.filter(outcome="SKIPPED").values_list("code", flat=True)) == {"CAMPAIGN_CANCELLED"}
    pass_time(60)
    before = everything()
    assert campaigns.advance() == 0
    assert everything() == before
    assert events(made)[-1] == ("CANCELLED", "user:bob")


ORDERS = {"pause": campaigns.pause, "resume": campaigns.resume, "cancel": campaigns.cancel}


@pytest.mark.parametrize(
    ("given", "order", "status"),
    [
        ("RUNNING", "pause", "PAUSED"),
        ("PAUSED", "pause", "PAUSED"),
        ("COMPLETED", "pause", None),
        ("CANCELLED", "pause", None),
        ("RUNNING", "resume", "RUNNING"),
        ("PAUSED", "resume", "RUNNING"),
        ("COMPLETED", "resume", None),
        ("CANCELLED", "resume", None),
        ("RUNNING", "cancel", "CANCELLED"),
        ("PAUSED", "cancel", "CANCELLED"),
        ("COMPLETED", "cancel", None),
        ("CANCELLED", "cancel", "CANCELLED"),
    ],
)
def test_each_operation_is_applied_once_or_rejected(
    owner: Tenant, dead: list[Execution], given: str, order: str, status: str | None
) -> None:
    made = start(owner)
    if given == "PAUSED":
        campaigns.pause(owner, made.pk, actor="user:test")
    elif given != "RUNNING":
        with unguarded(Campaign):
            Campaign.objects.update(status=given, finished_at=datetime(2026, 1, 1, tzinfo=UTC))
    before = everything()
    if status is None:
        with pytest.raises(CampaignRefused) as caught:
            ORDERS[order](owner, made.pk, actor="user:ann")
        assert caught.value.data == {"campaignStatus": given}
    else:
        assert ORDERS[order](owner, made.pk, actor="user:ann").status == status
    if status is None or status == given:
        after = everything()
        items = TABLES.index(CampaignItem)
        assert after[:items] + after[items + 1 :] == before[:items] + before[items + 1 :]


def test_a_campaign_of_another_tenant_is_like_an_unknown_one(owner: Tenant, dead: list[Execution]) -> None:
    made = start(owner)
    before = everything()
    for campaign_id in (made.pk, uuid.uuid4()):
        for order in ORDERS.values():
            with pytest.raises(CampaignUnknown):
                order(making.tenant(), campaign_id, actor="")
        with pytest.raises(CampaignUnknown):
            campaigns.campaign(making.tenant(), campaign_id)
    assert everything() == before


def test_campaign_events_cannot_be_changed_or_removed(owner: Tenant, dead: list[Execution]) -> None:
    start(owner)
    assert refused("UPDATE executions_campaignevent SET actor = 'forged'") == "campaignevent_append_only"
    assert refused("DELETE FROM executions_campaignevent") == "campaignevent_append_only"
