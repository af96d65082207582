"""What running campaigns share: changes of their status, results, bounds, and the credit that the rate gives."""

import json
import uuid
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import connection
from django.db.models import F

from executions.models import Campaign, CampaignItem
from governance.campaigns import statements
from tenancy import audit
from tenancy.audit.acts import Act
from tenancy.models import Tenant

Cause = Campaign.Cause
Status = Campaign.Status
ItemResult = CampaignItem.Result
COORDINATOR = "coordinator"
"""The actor of what no person did."""


def change(
    tenant: Tenant,
    campaign_id: uuid.UUID,
    sources: Collection[str],
    status: str,
    event: str,
    actor: str,
    data: dict[str, Any],
    changes: str = "",
    **values: Any,
) -> bool:
    """Set the status of a campaign that has one of the statuses `sources`, and record the event.

    `changes` is a constant of `statements` that sets more columns to `values`. Returns False if nothing changed:
    another process or person was first.
    """
    parameters = {
        "campaign": campaign_id,
        "tenant": tenant.pk,
        "sources": list(sources),
        "status": status,
        "event": event,
        "actor": actor,
        "data": json.dumps(data),
        **values,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.CHANGE.format(changes=changes), parameters)
        return bool(cursor.rowcount)


def record(act: Act, tenant: Tenant, campaign_id: uuid.UUID, actor: str, reason: str, **details: Any) -> None:
    """Record an act on a campaign in the audit log. Call this last in the transaction."""
    audit.record(act, tenant=tenant, actor=actor, object_type="campaign", object=campaign_id, reason=reason, **details)


@dataclass(frozen=True, slots=True)
class Results:
    """How many executions that a campaign re-drove or resubmitted have each status now.

    `running` counts those that are due or running, `waiting` those that wait for an answer. `removed` counts those that
    retention has removed since. `unaccepted` counts those that failed again and that no resume has accepted.
    """

    running: int = 0
    waiting: int = 0
    succeeded: int = 0
    failed_again: int = 0
    cancelled: int = 0
    removed: int = 0
    unaccepted: int = 0

    @property
    def total(self) -> int:
        return self.running + self.waiting + self.succeeded + self.failed_again + self.cancelled + self.removed


def results(campaign_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Results]:
    """Return the results of each campaign."""
    with connection.cursor() as cursor:
        cursor.execute(statements.RESULTS, [list(campaign_ids)])
        found = {campaign_id: Results(*counts) for campaign_id, *counts in cursor.fetchall()}
    return {campaign_id: found.get(campaign_id, Results()) for campaign_id in campaign_ids}


def results_of(campaign_id: uuid.UUID) -> Results:
    return results([campaign_id])[campaign_id]


def _admissible(campaign: Campaign, credit: int) -> int | None:
    """Return how many items may be admitted now, at most `credit`. The caller has locked the running campaign.

    While the canary runs, that is what is left of it. Returns None if the campaign has paused itself, because an
    execution of its canary failed again, or as many executions as it stops after.
    """
    waits = campaign.canary is not None and not campaign.canary_over
    if not waits and campaign.stop_after_failures is None:
        return credit
    found = results_of(campaign.pk)
    if waits and found.unaccepted:
        _pause(campaign, Cause.CANARY, found)
        return None
    if campaign.stop_after_failures is not None and found.unaccepted >= campaign.stop_after_failures:
        _pause(campaign, Cause.FAILURES, found)
        return None
    return _of_canary(campaign, credit, found) if waits else credit


def _of_canary(campaign: Campaign, credit: int, found: Results) -> int:
    """Return the room that is left in the canary. End the canary if all of it have ended or wait for an answer."""
    left = (campaign.canary or 0) - found.total
    if left > 0:
        return min(credit, left)
    if not found.running:
        _change(campaign, Status.RUNNING, "CANARY_PASSED", {"executions": found.total}, statements.END_CANARY)
    return 0


def _pause(campaign: Campaign, cause: Cause, found: Results) -> None:
    details = {"cause": cause.value, "failedAgain": found.failed_again}
    if _change(campaign, Status.PAUSED, "PAUSED", details, statements.PAUSE, cause=cause.value):
        record(Act.CAMPAIGN_PAUSE, campaign.tenant, campaign.pk, COORDINATOR, "", **details)


def _change(
    running: Campaign, status: Campaign.Status, event: str, data: dict[str, Any], changes: str, **values: Any
) -> bool:
    return change(running.tenant, running.pk, {Status.RUNNING}, status, event, COORDINATOR, data, changes, **values)


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
    credit = _admissible(campaign, row[0])
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
        _change(campaign, Status.COMPLETED, "COMPLETED", {}, statements.FINISH)
