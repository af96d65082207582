"""What all campaigns share while they run: the credit that the rate gives, and the records of results."""

import uuid
from collections.abc import Collection
from typing import Any

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import connection
from django.db.models import F

from executions.campaigns import statements
from executions.models import Campaign, CampaignEvent, CampaignItem

Status = Campaign.Status
ItemResult = CampaignItem.Result


def credit_of(campaign_id: uuid.UUID) -> tuple[Campaign | None, int]:
    """Return the locked campaign and how many items it may admit; None if it is not running or is locked already."""
    window = max(60.0, 2 * settings.SWEEP_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(statements.CREDIT, {"id": campaign_id, "window": window})
        row = cursor.fetchone()
    return (Campaign.objects.select_related("tenant").get(pk=campaign_id), row[0]) if row else (None, 0)


def record_skipped(skipped: dict[str, list[int]]) -> None:
    """Record the keys of skipped items by their code."""
    for code, keys in skipped.items():
        CampaignItem.objects.filter(pk__in=keys).update(outcome=ItemResult.SKIPPED, code=code, at=Now())


def record_redriven(keys: Collection[int]) -> None:
    CampaignItem.objects.filter(pk__in=keys).update(outcome=ItemResult.REDRIVEN, at=Now())


def record_resubmitted(campaign: Campaign, keys: Collection[int]) -> None:
    """Record the new execution of each of these items. The links of the campaign name them."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RECORD_RESUBMITTED, {"campaign": campaign.pk, "items": list(keys)})


def record_admitted(campaign: Campaign, count: int) -> None:
    """Use `count` items of the credit, and complete the campaign if no item is pending."""
    rows = Campaign.objects.filter(pk=campaign.pk)
    rows.update(admitted=F("admitted") + count)
    if not CampaignItem.objects.filter(campaign=campaign, outcome=ItemResult.PENDING).exists():
        rows.update(status=Status.COMPLETED, finished_at=Now())
        record_event(campaign.pk, "COMPLETED", "coordinator", {})


def record_event(campaign_id: uuid.UUID, kind: str, actor: str, data: dict[str, Any]) -> None:
    CampaignEvent.objects.create(campaign_id=campaign_id, kind=kind, actor=actor, data=data)
