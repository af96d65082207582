import json
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from typing import Any

import pytest
from django.db.models import F

from executions.errors import CampaignRefused, ExecutionUnknown
from executions.lifecycle.interventions import cancel
from executions.models import Campaign, CampaignItem, Execution
from governance.campaigns import campaigns, drafting, drafts
from governance.campaigns.campaigns import Options, Progress
from governance.campaigns.drafting import BATCH
from governance.campaigns.selection import Filters
from tenancy.models import AuditEntry, Tenant
from tests import making
from tests.concurrency.sessions import another_session, race, results_of, thread, until_blocked
from tests.raw_sql import raised, run, unguarded

COUNT = 2 * BATCH + 500
OPTIONS = Options(reason="because", rate_per_minute=600)


@pytest.fixture
def owner() -> Tenant:
    owner, _ = making.ready()
    making.copies(making.execution(owner, "first"), COUNT - 1)
    return owner


def frozen(owner: Tenant) -> Campaign:
    return drafts.freeze(owner, Campaign.Kind.CANCEL, Execution.objects.all(), actor="user:x")


def started(owner: Tenant) -> Campaign:
    members: dict[str, Any] = {"reason": "because", "rate_per_minute": 6000, "actor": "user:ann"}
    return campaigns.start(owner, Filters(pipeline_id=making.PIPELINE), kind=Campaign.Kind.CANCEL, **members)


def batches(campaign: Campaign) -> list[int]:
    return [len(batch.executions) for batch in campaign.batches.order_by("position")]


def drafted(campaign: Campaign) -> Iterator[int]:
    while drafting.draft():
        yield campaign.items.count()


def assert_complete(campaign: Campaign) -> None:
    """Assert that the items are the selection in its order, each once and in its version, and no batch is left."""
    assert (making.reread(campaign).selected, batches(campaign)) == (COUNT, [])
    items = list(campaign.items.order_by("id").values_list("execution", "expected_version"))
    assert items == list(Execution.objects.order_by("pk").values_list("pk", "version"))


def test_a_large_draft_is_written_in_batches_and_then_started(owner: Tenant) -> None:
    made = frozen(owner)
    assert (made.status, made.cut, batches(made)) == ("DRAFTING", False, [BATCH, BATCH, 500])
    assert campaigns.progress_of(made.pk) == Progress(pending=COUNT)
    controls = (campaigns.pause, campaigns.cancel, partial(drafts.start, options=OPTIONS))
    for control in controls:
        assert "DRAFTING" in str(raised(CampaignRefused, control, owner, made.pk, actor="user:x"))
    assert (campaigns.advance(), drafts.remove_old()) == (0, 0)
    assert next(drafted(made)) == BATCH
    assert campaigns.progress_of(made.pk) == Progress(pending=COUNT, drafted=BATCH)
    assert list(drafted(made)) == [2 * BATCH, COUNT]
    assert_complete(made)
    assert made.status == "DRAFT"
    assert drafts.contents(made).count == COUNT
    assert drafts.start(owner, made.pk, OPTIONS, actor="user:x").status == "RUNNING"


def test_a_large_campaign_starts_when_it_has_its_items(owner: Tenant) -> None:
    made = started(owner)
    assert (made.status, list(made.events.all())) == ("DRAFTING", [])
    assert list(drafted(made)) == [BATCH, 2 * BATCH, COUNT]
    assert_complete(made)
    assert made.status == "RUNNING"
    event = made.events.get()
    assert (event.kind, event.actor, event.data) == ("STARTED", "user:ann", {"reason": "because", "items": COUNT})
    [entry] = AuditEntry.objects.filter(act="campaign.start")
    assert (entry.actor, json.loads(entry.details)) == ("user:ann", {"items": COUNT, "ratePerMinute": 6000})


def test_executions_that_change_or_disappear_meanwhile_are_skipped_with_a_reason(owner: Tenant) -> None:
    made = started(owner)
    changed, removed = Execution.objects.order_by("pk")[:2]
    cancel(owner, changed.pk, actor="user:bob", reason="by hand")
    with unguarded(Execution):
        run("DELETE FROM executions_execution WHERE id = %s", removed.pk)
    assert list(drafted(made))[-1] == COUNT
    Campaign.objects.update(rate_since=F("rate_since") - timedelta(seconds=60))
    campaigns.advance()
    skipped = dict(made.items.filter(outcome="SKIPPED").values_list("execution", "code"))
    assert skipped == {changed.pk: "CANCEL_REFUSED", removed.pk: ExecutionUnknown.code}


def test_batches_that_race_write_each_item_once_and_in_order(owner: Tenant) -> None:
    made = frozen(owner)
    written = 0
    while made.status == "DRAFTING":
        written += sum(results_of(race(*[drafting.draft] * 4)))
        made.refresh_from_db()
    assert written == COUNT
    assert_complete(made)


def test_a_batch_whose_process_is_killed_is_written_by_the_next_one(owner: Tenant) -> None:
    made = frozen(owner)
    assert next(drafted(made)) == BATCH
    with another_session() as session, thread() as other:
        session.execute("LOCK TABLE executions_campaignitem IN SHARE MODE")
        killed = other.submit(race, drafting.draft)
        until_blocked(session, ended=killed.done)
        session.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
            "AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO executions_campaignitem%'"
        )
        killed.result(30)
    assert (CampaignItem.objects.count(), batches(made)) == (BATCH, [BATCH, 500])
    assert list(drafted(made)) == [2 * BATCH, COUNT]
    assert_complete(made)


def test_a_discarded_campaign_leaves_nothing_to_draft(owner: Tenant) -> None:
    made = frozen(owner)
    assert drafting.draft() == BATCH
    drafts.discard(owner, made.pk, actor="user:x")
    assert (drafting.draft(), Campaign.objects.count(), CampaignItem.objects.count()) == (0, 0, 0)
