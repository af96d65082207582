"""What all campaigns share while they run: the credit that the rate gives, and the records of results."""

import uuid
from collections.abc import Collection

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import connection
from django.db.models import F

from executions.campaigns import statements
from executions.campaigns.bounds import admissible
from executions.campaigns.changes import COORDINATOR, change
from executions.models import Campaign, CampaignItem

Status = Campaign.Status
ItemResult = CampaignItem.Result


def credit_of(campaign_id: uuid.UUID) -> tuple[Campaign | None, int]:
    """Return the locked campaign and how many items it may admit.

    Returns None if it is not running or is locked already, and if it has paused itself now.
    """
    window = max(60.0, 2 * settings.SWEEP_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(statements.CREDIT, {"id": campaign_id, "window": window})
        row = cursor.fetchone()
    if row is None:
        return None, 0
    campaign = Campaign.objects.select_related("tenant").get(pk=campaign_id)
    credit = admissible(campaign, row[0])
    return (None, 0) if credit is None else (campaign, credit)


def record_skipped(skipped: dict[str, list[int]]) -> None:
    """Record the keys of skipped items by their code."""
    for code, keys in skipped.items():
        CampaignItem.objects.filter(pk__in=keys).update(outcome=ItemResult.SKIPPED, code=code, at=Now())


def record_done(keys: Collection[int], result: CampaignItem.Result) -> None:
    CampaignItem.objects.filter(pk__in=keys).update(outcome=result, at=Now())


def record_resubmitted(campaign: Campaign, keys: Collection[int]) -> None:
    """Record the new execution of each of these items. The links of the campaign name them."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RECORD_RESUBMITTED, {"campaign": campaign.pk, "items": list(keys)})


def record_admitted(campaign: Campaign, count: int) -> None:
    """Use `count` items of the credit, and complete the campaign if no item is pending."""
    Campaign.objects.filter(pk=campaign.pk).update(admitted=F("admitted") + count)
    if not CampaignItem.objects.filter(campaign=campaign, outcome=ItemResult.PENDING).exists():
        change(
            campaign.tenant,
            campaign.pk,
            {Status.RUNNING},
            Status.COMPLETED,
            "COMPLETED",
            COORDINATOR,
            {},
            statements.FINISH,
        )
