from datetime import timedelta
from typing import Any

from django.db.models import F

from executions.models import Campaign
from governance.campaigns import campaigns
from governance.campaigns.selection import Filters
from tenancy.models import Tenant
from tests import making
from wire.messages.celery_messages import Outcome

OF_THE_PIPELINE = Filters(pipeline_id=making.PIPELINE)


def start(owner: Tenant, filters: Filters = OF_THE_PIPELINE, rate: int = 60, **members: Any) -> Campaign:
    members = {"reason": "the bank is back", "actor": "user:ann", **members}
    return campaigns.start(owner, filters, rate_per_minute=rate, **members)


def pass_time(seconds: float) -> None:
    """Move the start of each campaign back. In the test's transaction, the time of the database does not change."""
    unfinished = Campaign.objects.filter(finished_at=None).exclude(status="DRAFT")
    unfinished.update(rate_since=F("rate_since") - timedelta(seconds=seconds))


def advance(seconds: float = 60) -> int:
    pass_time(seconds)
    return campaigns.advance()


def progress(campaign: Campaign) -> tuple[int, int, int]:
    counts = campaigns.progress_of(campaign.pk)
    return counts.pending, counts.redriven + counts.resubmitted, counts.skipped


def codes(campaign: Campaign) -> dict[Any, str]:
    return dict(campaign.items.filter(outcome="SKIPPED").values_list("execution_id", "code"))


def events(campaign: Campaign) -> list[tuple[str, str]]:
    return [(event.kind, event.actor) for event in campaign.events.order_by("id")]


def record(answer: Outcome) -> None:
    assert making.record(answer) == 1
