"""Starts and inspects campaigns."""

from datetime import timedelta
from typing import Any

from django.db.models import F

from executions.campaigns import campaigns
from executions.campaigns.filters import Filters
from executions.lifecycle import outcome
from executions.models import Campaign, CampaignEvent, CampaignItem, Execution, ExecutionEvent
from tenancy.models import Tenant
from tests import making
from tests.raw_sql import rows
from wire.messages.celery_messages import Outcome, OutcomeGroup

OF_THE_PIPELINE = Filters(pipeline_id=making.PIPELINE)
TABLES = (Execution, ExecutionEvent, Campaign, CampaignItem, CampaignEvent)


def start(owner: Tenant, filters: Filters = OF_THE_PIPELINE, rate: int = 60, **members: Any) -> Campaign:
    members = {"reason": "the bank is back", "actor": "user:ann", **members}
    return campaigns.start(owner, filters, rate_per_minute=rate, **members)


def pass_time(seconds: float) -> None:
    """Move the start of each campaign back. In the test's transaction, the time of the database does not change."""
    unfinished = Campaign.objects.filter(finished_at=None).exclude(status="DRAFT")
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
