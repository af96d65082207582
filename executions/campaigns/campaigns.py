"""Re-drives or resubmits many executions at a fixed rate.

The whole state of a campaign is in the database, so any control worker can continue it. A campaign is RUNNING or
PAUSED until each item has a result: then it is COMPLETED. It can be CANCELLED before that. COMPLETED and CANCELLED
are final.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Q, QuerySet

from executions.campaigns import resubmitting, statements
from executions.campaigns.admitting import (
    ItemResult,
    Status,
    credit_of,
    record_admitted,
    record_event,
    record_redriven,
    record_skipped,
)
from executions.campaigns.filters import Filters, RevokedRelease, matching, revoked
from executions.errors import (
    CampaignEmpty,
    CampaignRefused,
    CampaignTargetInvalid,
    CampaignUnknown,
    ExecutionChanged,
    ExecutionUnknown,
    ReleaseRevokedConfirmation,
)
from executions.lifecycle.pinned_releases import lock_statuses
from executions.lifecycle.redrive import check, move_of
from executions.models import Campaign, CampaignItem, Execution, StartFrom
from executions.state_machine import moves
from executions.submission.admission import require_allowed
from executions.workers.registry import DISPATCH_TASK
from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError
from foundation.wakeups import wakeup
from releases.errors import ReleaseRetired, ReleaseRevoked
from releases.states import Status as ReleaseStatus
from tenancy import audit
from tenancy.models import Tenant

log = logging.getLogger(__name__)
Kind = Campaign.Kind
CANCELLED = "CAMPAIGN_CANCELLED"
HIGHEST_RATE = 100_000
"""The highest rate of a campaign, in items per minute."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The number of a campaign's items with each result."""

    pending: int = 0
    redriven: int = 0
    resubmitted: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        return self.pending + self.redriven + self.resubmitted + self.skipped


def campaigns(tenant: Tenant) -> QuerySet[Campaign]:
    """Return the tenant's campaigns, newest first."""
    return Campaign.objects.filter(tenant=tenant)


def campaign(tenant: Tenant, campaign_id: uuid.UUID) -> Campaign:
    """Return one campaign of the tenant. Raises `CampaignUnknown`."""
    found = campaigns(tenant).filter(pk=campaign_id).first()
    if found is None:
        raise CampaignUnknown(f"There is no campaign {campaign_id}.")
    return found


def waiting_for(rows: QuerySet[Campaign], pipeline_id: str, release_version: str) -> QuerySet[Campaign]:
    """Return the campaigns among `rows` that have yet to re-drive an execution of this release."""
    pending = CampaignItem.objects.filter(
        outcome=ItemResult.PENDING,
        execution__pipeline_id=pipeline_id,
        execution__release_version=release_version,
    )
    return rows.filter(pk__in=pending.order_by().values("campaign"))


def items(campaign: Campaign) -> QuerySet[CampaignItem]:
    """Return the items in order, each with the current state of its execution; None if that was removed."""
    rows = campaign.items.select_related("execution", "new_execution").order_by("id")
    return rows.only(
        "campaign_id",
        "expected_version",
        "new_execution_id",
        "outcome",
        "code",
        "at",
        "execution__status",
        "new_execution__status",
        "new_execution__running_since",
    )


def progress(campaign_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Progress]:
    """Return the progress of each campaign."""
    counts = {result.lower(): Count("id", filter=Q(outcome=result)) for result in ItemResult.values}
    rows = CampaignItem.objects.filter(campaign__in=campaign_ids).order_by().values_list("campaign_id")
    found = {
        campaign_id: Progress(**dict(zip(counts, counted, strict=True)))
        for campaign_id, *counted in rows.annotate(**counts)
    }
    return {campaign_id: found.get(campaign_id, Progress()) for campaign_id in campaign_ids}


# --- requests of operators ---


def start(
    tenant: Tenant,
    filters: Filters,
    *,
    reason: str,
    rate_per_minute: int,
    actor: str,
    allow_failed: bool = False,
    allow_revoked: bool = False,
    kind: Kind = Kind.REDRIVE,
    target_release_version: str | None = None,
    start_from: StartFrom = StartFrom.INPUT,
) -> Campaign:
    """Start a campaign over all executions that match `filters` now, each with its current version.

    Executions that fail later are not part of it. Those that failed first come first. A campaign that resubmits creates
    new executions on `target_release_version`, or on the release that is active when an item is admitted. They start as
    `start_from` says. For one that re-drives, `allow_revoked` confirms the executions of releases that are revoked now;
    those of releases that are revoked later are skipped.

    Raises `TenantNotAllowed`, `CampaignTargetInvalid` if a re-drive has a target or a start, `FilterRequired`,
    `ReleaseRevokedConfirmation`, and `CampaignEmpty` if no execution matches.
    """
    require_allowed(tenant)
    if target_release_version and kind != Kind.RESUBMIT:
        raise CampaignTargetInvalid("A re-drive stays on the release that each execution is pinned to.")
    if start_from != StartFrom.INPUT and kind != Kind.RESUBMIT:
        raise CampaignTargetInvalid("A re-drive continues at the step where each execution failed.")
    with transaction.atomic():
        matches = matching(tenant, filters, allow_failed=allow_failed)
        confirmed = revoked(matches) if kind == Kind.REDRIVE else []
        if confirmed and not allow_revoked:
            raise _unconfirmed(confirmed)
        created = Campaign.objects.create(
            tenant=tenant,
            kind=kind,
            target_release_version=target_release_version or "",
            start_from=start_from,
            filters=filters.to_json(),
            allow_failed=allow_failed,
            revoked_releases=[each.release_id for each in confirmed],
            reason=reason,
            rate_per_minute=rate_per_minute,
            created_by=actor,
        )
        count = _add_items(created, matches)
        if not count:
            raise CampaignEmpty("No failed execution matches the filters.")
        record_event(created.pk, "STARTED", actor, {"reason": reason, "items": count})
        _audit("campaign.start", tenant, created.pk, actor, reason, items=count, ratePerMinute=rate_per_minute)
        return campaign(tenant, created.pk)


def _unconfirmed(revoked: Collection[RevokedRelease]) -> ReleaseRevokedConfirmation:
    named = ", ".join(f"{each.pipeline_id} {each.release_version} ({each.count})" for each in revoked)
    return ReleaseRevokedConfirmation(
        f"The campaign would run revoked releases: {named}.",
        revokedReleases=[
            {
                "pipelineId": each.pipeline_id,
                "contractVersion": each.contract_version,
                "releaseVersion": each.release_version,
                "revocationReason": each.reason,
                "count": each.count,
            }
            for each in revoked
        ],
    )


def _add_items(campaign: Campaign, matches: QuerySet[Any]) -> int:
    """Add an item for each execution in `matches`. Return their number.

    Executions are locked in the order of their ids, as moves lock them, so that concurrent transactions never deadlock.
    """
    chosen = matches.order_by("id").select_for_update(no_key=True, of=("self",)).values("id", "version", "finished_at")
    sql, parameters = chosen.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statements.ADD_ITEMS.format(chosen=sql), (*parameters, campaign.pk))
        return int(cursor.rowcount)


def pause(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Stop admitting items until the campaign is resumed. A paused campaign does not change.

    Raises `CampaignUnknown` and `CampaignRefused`.
    """
    with transaction.atomic():
        found, changed = _change_status(
            tenant, campaign_id, {Status.RUNNING}, "PAUSED", actor, reason, status=Status.PAUSED
        )
        if changed:
            _audit("campaign.pause", tenant, campaign_id, actor, reason)
    return found


def resume(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Continue at the campaign's rate. No credit accumulates during a pause. Raises as `pause` does."""
    changes = {"rate_since": Now(), "admitted": 0}
    with transaction.atomic():
        found, changed = _change_status(
            tenant, campaign_id, {Status.PAUSED}, "RESUMED", actor, reason, status=Status.RUNNING, **changes
        )
        if changed:
            _audit("campaign.resume", tenant, campaign_id, actor, reason)
    return found


def cancel(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Skip all pending items. Executions that were re-driven or resubmitted continue. Raises as `pause` does."""
    live = {Status.RUNNING, Status.PAUSED}
    with transaction.atomic():
        cancelled, changed = _change_status(
            tenant, campaign_id, live, "CANCELLED", actor, reason, status=Status.CANCELLED, finished_at=Now()
        )
        pending = CampaignItem.objects.filter(campaign=cancelled, outcome=ItemResult.PENDING)
        pending.update(outcome=ItemResult.SKIPPED, code=CANCELLED, at=Now())
        if changed:
            _audit("campaign.cancel", tenant, campaign_id, actor, reason)
        return cancelled


def _change_status(
    tenant: Tenant,
    campaign_id: uuid.UUID,
    sources: Collection[str],
    kind: str,
    actor: str,
    reason: str,
    *,
    status: str,
    **changes: Any,
) -> tuple[Campaign, bool]:
    """Set the status by one guarded UPDATE and record an event. Return the campaign, and False if it did not change.

    Zero rows mean that the campaign already has the status, or that it is in none of the `sources`. The latter raises
    `CampaignRefused`.
    """
    with transaction.atomic():
        rows = campaigns(tenant).filter(pk=campaign_id, status__in=sources)
        changed = bool(rows.update(status=status, **changes))
        if changed:
            record_event(campaign_id, kind, actor, {"reason": reason} if reason else {})
        found = campaign(tenant, campaign_id)
    if found.status != status:
        raise CampaignRefused(f"Campaign {campaign_id} is {found.status}.", campaignStatus=found.status)
    return found, changed


def _audit(act: str, tenant: Tenant, campaign_id: uuid.UUID, actor: str, reason: str, **details: Any) -> None:
    audit.record(act, tenant=tenant, actor=actor, object_type="campaign", object=campaign_id, reason=reason, **details)


# --- the part of the sweep ---


def advance() -> int:
    """Admit the items that the rates of the running campaigns allow now.

    Return how many executions were re-driven or resubmitted.

    Any number of processes may call this at once: each skips the campaigns that another one is advancing. If a campaign
    fails, the error is logged, and the other campaigns are still advanced.
    """
    running = Campaign.objects.filter(status=Status.RUNNING).order_by("created_at").values_list("pk", "kind")
    count = 0
    for campaign_id, kind in list(running[: settings.SWEEP_LIMIT]):
        try:
            count += resubmitting.advance(campaign_id) if kind == Kind.RESUBMIT else _advance(campaign_id)
        except DatabaseError as error:
            if is_outage(error):
                raise
            log.exception("Campaign %s could not be advanced", campaign_id)
        except CoordinatorError as error:  # the next sweep tries again
            log.warning("Campaign %s could not be advanced: %s", campaign_id, error.code)
    return count


def _advance(campaign_id: uuid.UUID) -> int:
    """Re-drive items in groups, each in a separate transaction, until the credit is used up."""
    redriven = 0
    while True:
        with transaction.atomic():
            locked, credit = credit_of(campaign_id)
            if locked is None or credit < 1:
                return redriven
            redriven += _admit(locked, min(credit, settings.SWEEP_LIMIT))
            if credit <= settings.SWEEP_LIMIT:
                return redriven


def _admit(campaign: Campaign, most: int) -> int:
    """Admit up to `most` items: re-drive or skip each, and record its result. Return how many were re-driven."""
    chosen = list(
        CampaignItem.objects.filter(campaign=campaign, outcome=ItemResult.PENDING)
        .select_related("execution")
        .defer("execution__input", "execution__result", "execution__progress")
        .order_by("id")[:most]
    )
    statuses = lock_statuses({item.execution.release_id for item in chosen if item.execution})
    skipped: dict[str, list[int]] = defaultdict(list)
    requested = {}
    for item in chosen:
        if item.execution is None:  # it was removed, because its retention period has ended
            skipped[ExecutionUnknown.code].append(item.pk)
            continue
        try:
            check(item.execution, item.expected_version, campaign.allow_failed)
            _require_runnable(campaign, item.execution, statuses)
        except CoordinatorError as refusal:
            skipped[refusal.code].append(item.pk)
        else:
            requested[item.pk] = move_of(
                item.execution, actor=campaign.created_by, reason=campaign.reason, campaignId=str(campaign.pk)
            )
    moved = {move.execution_id for move in moves.apply(list(requested.values()))}
    redriven = [pk for pk, move in requested.items() if move.execution_id in moved]
    skipped[ExecutionChanged.code] += requested.keys() - set(redriven)
    record_redriven(redriven)
    record_skipped(skipped)
    record_admitted(campaign, len(chosen))
    if redriven:
        wakeup.send_once(DISPATCH_TASK)
    return len(redriven)


def _require_runnable(campaign: Campaign, execution: Execution, statuses: Mapping[int, ReleaseStatus]) -> None:
    """Raise `ReleaseRetired`, and `ReleaseRevoked` if the release was revoked after the campaign started."""
    status = statuses[execution.release_id]
    if status is ReleaseStatus.RETIRED:
        raise ReleaseRetired(f"Release {execution.release_version!r} is retired.")
    if status is ReleaseStatus.REVOKED and execution.release_id not in campaign.revoked_releases:
        raise ReleaseRevoked(f"Release {execution.release_version!r} was revoked after the campaign started.")
