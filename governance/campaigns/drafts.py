"""Drafts of campaigns: a selection is frozen as it is previewed, and starting the draft does exactly what it shows.

A draft stores its executions with their versions. Starting it selects nothing again: executions that match later are
not part of it, and those that have changed meanwhile are skipped.
"""

import uuid
from collections import Counter
from dataclasses import dataclass
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from executions.errors import CampaignEmpty, CampaignRefused
from executions.models import PAYLOADS, Campaign, Execution
from executions.models.states import State
from executions.submission.admission import require_allowed
from governance.campaigns import drafting, statements
from governance.campaigns.admitting import Status, record
from governance.campaigns.campaigns import (
    Kind,
    Options,
    begin,
    campaign,
    executions_of,
    progress_of,
    require_fitting,
)
from governance.campaigns.selection import SHOWN, RevokedRelease, fitting, revoked_among
from releases.models import Pipeline
from tenancy.audit.acts import Act
from tenancy.models import Tenant

MOST_ITEMS = 100_000
"""The most executions that a draft contains."""
HOURS_KEPT = 24
"""After this time the clock removes a draft that was not started."""
REMOVED_AT_ONCE = 10
USUAL_RATE = 60
QUICK_RATE = 3000
"""The rates of a draft, per minute, until it starts: those of executions that run again, and of others."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a draft contains. `groups` have the counts by status, release and error, the largest first.

    `changed` counts the executions that have changed since they were selected, and `replaced` those whose work another
    execution carries on. Both will be skipped. `failed` counts those with an error that no retry helps. `active` has
    the active release of each pipeline.
    """

    count: int
    changed: int
    replaced: int
    failed: int
    groups: list[dict[str, Any]]
    executions: list[Execution]
    revoked: list[RevokedRelease]
    active: dict[str, str]

    @property
    def left(self) -> int:
        """How many executions are not replaced."""
        return self.count - self.replaced


def freeze(
    tenant: Tenant,
    kind: Campaign.Kind,
    rows: QuerySet[Execution],
    *,
    actor: str,
    reason: str = "",
    filters: dict[str, str] | None = None,
    allow_failed: bool = True,
    options: Options | None = None,
) -> Campaign:
    """Store the executions of `rows` that a campaign of this kind may contain as a draft, at most MOST_ITEMS.

    Those that failed first are kept if there are more, and `cut` of the draft says so. It is DRAFTING until it has all
    of its items. `filters` describes the selection. `options` and the `reason` are only suggestions: the start of the
    draft decides.

    Raises `TenantNotAllowed`, `CampaignTargetInvalid`, and `CampaignEmpty` if no execution fits.
    """
    kind = Kind(kind)
    runs_again = kind in (Kind.REDRIVE, Kind.RESUBMIT)
    if runs_again:
        require_allowed(tenant)
    options = options or Options(reason=reason, rate_per_minute=USUAL_RATE if runs_again else QUICK_RATE)
    require_fitting(kind, options)
    with transaction.atomic():
        frozen = drafting.freeze(
            tenant,
            fitting(tenant, kind, rows, allow_failed=allow_failed),
            most=MOST_ITEMS,
            kind=kind,
            filters=filters or {},
            allow_failed=allow_failed,
            created_by=actor,
            **options.columns,
        )
        if not frozen.count:
            raise CampaignEmpty(f"None of the selected executions {'has failed' if runs_again else 'is unfinished'}.")
        drafting.proceed(frozen)
        draft = frozen.campaign
        details = {"items": frozen.count, "kind": kind.value, "filters": filters or {}}
        record(Act.CAMPAIGN_DRAFT, tenant, draft.pk, actor, options.reason, **details)
        return campaign(tenant, draft.pk)


def start(tenant: Tenant, campaign_id: uuid.UUID, options: Options, *, actor: str) -> Campaign:
    """Start a draft with these options. A draft that was started before is not started again.

    Raises `TenantNotAllowed`, `CampaignUnknown`, `CampaignRefused`, and as `begin` does.
    """
    with transaction.atomic():
        draft = campaign(tenant, campaign_id)
        if draft.runs_again:
            require_allowed(tenant)
        count = progress_of(draft.pk).total
        if not (draft.status == Status.DRAFT and begin(draft, options, actor=actor, count=count)):
            raise _refused(tenant, campaign_id)
        details = {"kind": draft.kind, "items": count, "ratePerMinute": options.rate_per_minute}
        record(Act.CAMPAIGN_START, tenant, campaign_id, actor, options.reason, **details)
        return campaign(tenant, campaign_id)


def discard(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> None:
    """Remove a draft. Raises `CampaignUnknown`, and `CampaignRefused` if it was started."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statements.LOCK_DRAFT, {"campaign": campaign_id, "tenant": tenant.pk})
        if cursor.fetchone() is None:
            raise _refused(tenant, campaign_id)
        _remove(campaign_id)
        record(Act.CAMPAIGN_DISCARD, tenant, campaign_id, actor, reason)


def remove_old() -> int:
    """Remove drafts that are older than HOURS_KEPT hours, at most REMOVED_AT_ONCE. Return how many."""
    for removed in range(REMOVED_AT_ONCE):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statements.LOCK_OLD_DRAFT, [HOURS_KEPT])
            row = cursor.fetchone()
            if row is None:
                return removed
            _remove(row[0])
    return REMOVED_AT_ONCE


def contents(draft: Campaign) -> Contents:
    """Return what a draft contains, with the present state of its executions."""
    with connection.cursor() as cursor:
        cursor.execute(statements.CONTENTS, [draft.pk])
        names = ("status", "release_id", "pipeline_id", "release_version", "error_code", "count", "changed", "replaced")
        groups = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    executions = executions_of(draft)
    sample = executions.select_related("tenant").defer(*PAYLOADS).order_by("campaign_items__id")
    pipelines, releases = {group["pipeline_id"] for group in groups}, Counter[int]()
    for group in groups:
        if group["release_id"] is not None:  # that of removed executions is unknown
            releases[group["release_id"]] += group["count"]
    active = Pipeline.objects.filter(tenant=draft.tenant, pipeline_id__in=pipelines, activation__isnull=False)
    return Contents(
        count=sum(group["count"] for group in groups),
        changed=sum(group["changed"] for group in groups),
        replaced=sum(group["replaced"] for group in groups),
        failed=sum(group["count"] for group in groups if group["status"] == State.FAILED),
        groups=groups,
        executions=list(sample[:SHOWN]),
        revoked=revoked_among(releases),
        active=dict(active.values_list("pipeline_id", "activation__release__release_version")),
    )


def _remove(campaign_id: uuid.UUID) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statements.REMOVE_BATCHES, [campaign_id])
        cursor.execute(statements.REMOVE_ITEMS, [campaign_id])
        cursor.execute(statements.REMOVE_DRAFT, [campaign_id])


def _refused(tenant: Tenant, campaign_id: uuid.UUID) -> CampaignRefused:
    """Return why the campaign is no draft. Raises `CampaignUnknown` if it does not exist."""
    status = campaign(tenant, campaign_id).status
    return CampaignRefused(f"Campaign {campaign_id} is {status}, not a draft.", campaignStatus=status)
