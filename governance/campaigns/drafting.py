"""Freezes the selection of a campaign, and then writes its items in batches.

The request reads the executions once, and stores their ids and versions as batches. The items of a small campaign are
written at once. Those of others are written by a task, batch by batch, each in a separate transaction, and campaigns
take turns. A batch is removed by the statement that writes its items. If a message is lost or a process dies, the sweep
continues with the first batch that is left.
"""

import logging
import uuid
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, transaction
from django.db.models import QuerySet

from executions.models import Campaign, CampaignBatch, Execution
from foundation import wakeup
from foundation.database.postgresql.outage import is_outage
from governance.campaigns import statements
from governance.campaigns.admitting import Status, change
from tenancy.models import Tenant

log = logging.getLogger(__name__)
DRAFT_TASK = "executions.draft_campaigns"
BATCH = 2_000
"""The items that one transaction writes. A campaign with at most as many is drafted in the request."""
UNLIMITED = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Frozen:
    """A campaign that is DRAFTING, with the number of selected executions, in total and of each release."""

    campaign: Campaign
    count: int
    releases: dict[int, int]


def freeze(tenant: Tenant, chosen: QuerySet[Execution], *, most: int = UNLIMITED, **columns: Any) -> Frozen:
    """Add a campaign with `columns` that selects the first `most` executions in `chosen`. None is locked.

    Those that failed first come first. None is removed before the campaign has its items.
    """
    created = Campaign.objects.create(tenant=tenant, status=Status.DRAFTING, **columns)
    rows = chosen if most == UNLIMITED else chosen.order_by("finished_at", "id")[: most + 1]
    sql, parameters = rows.values("id", "version", "release_id", "finished_at").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_REMOVALS, [tenant.pk])
        frozen = (*parameters, created.pk, BATCH, most, most, most, created.pk)
        cursor.execute(statements.FREEZE.format(chosen=sql), frozen)
        [(count, releases)] = cursor.fetchall()
    return Frozen(created, count, {int(release): number for release, number in (releases or {}).items()})


def proceed(frozen: Frozen) -> None:
    """Write the items of a small campaign now, and let a task write those of a large one after the commit."""
    if frozen.count <= BATCH:
        _batch(frozen.campaign.pk)
    else:
        wakeup.send_once(DRAFT_TASK)


def draft() -> int:
    """Write the items of one batch of each campaign that is DRAFTING, and announce the others. Return how many items.

    Any number of processes may call this at once: each skips the campaigns that another one is drafting. If a campaign
    fails, the error is logged, and the items of the others are still written.
    """
    drafting = CampaignBatch.objects.order_by("campaign").values_list("campaign", flat=True).distinct()
    written = 0
    for campaign_id in list(drafting[: settings.SWEEP_LIMIT]):
        try:
            with transaction.atomic():
                written += _batch(campaign_id)
        except DatabaseError as error:
            if is_outage(error):
                raise
            log.exception("Campaign %s could not be drafted", campaign_id)
    return written


def _batch(campaign_id: uuid.UUID) -> int:
    """Write the items of the first batch. After the last one, the campaign is a draft, or is started.

    Returns the number of items: 0 if the campaign is a draft already, or another process is drafting it.
    """
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_DRAFTING, [campaign_id])
        if cursor.fetchone() is None:
            return 0
        cursor.execute(statements.ADD_ITEMS, {"campaign": campaign_id})
        [(count, more)] = cursor.fetchall()
        if more:
            wakeup.send_once(DRAFT_TASK)
            return int(count)
        cursor.execute(statements.COMPLETE_DRAFT, [campaign_id])
    drafted = Campaign.objects.select_related("tenant").get(pk=campaign_id)
    if drafted.starts:
        data = {"reason": drafted.reason, "items": drafted.selected}
        actor, changes = drafted.created_by, statements.START_AS_ORDERED
        change(drafted.tenant, campaign_id, {Status.DRAFT}, Status.RUNNING, "STARTED", actor, data, changes)
    return int(count)
