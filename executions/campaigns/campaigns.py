"""Re-drives many executions by one order, at a rate. A campaign is nothing but rows, so any clock can go on with it.

A campaign is RUNNING, PAUSED, COMPLETED once every item has an outcome, or CANCELLED; the last two are for good.
"""

import logging
import uuid
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, F, Q, QuerySet

from executions.campaigns.filters import Filters, matching
from executions.errors import CampaignEmpty, CampaignRefused, CampaignUnknown, ExecutionChanged, ExecutionUnknown
from executions.lifecycle.redrive import check, move_of
from executions.models import Campaign, CampaignEvent, CampaignItem
from executions.state_machine import moves
from executions.submission.admission import require_allowed
from executions.workers.registry import DISPATCH_TASK
from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError
from foundation.wakeups import wakeup
from tenancy.models import Tenant

log = logging.getLogger(__name__)
Status = Campaign.Status
Outcome = CampaignItem.Outcome
CANCELLED = "CAMPAIGN_CANCELLED"
HIGHEST_RATE = 100_000
"""So many items a minute and no more, a campaign's rate may be."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How many of a campaign's items have come to what."""

    pending: int = 0
    redriven: int = 0
    skipped: int = 0

    @property
    def total(self) -> int:
        return self.pending + self.redriven + self.skipped


def campaigns(tenant: Tenant) -> QuerySet[Campaign]:
    """The tenant's campaigns, newest first."""
    return Campaign.objects.filter(tenant=tenant)


def campaign(tenant: Tenant, campaign_id: uuid.UUID) -> Campaign:
    """Raises `CampaignUnknown`."""
    found = campaigns(tenant).filter(pk=campaign_id).first()
    if found is None:
        raise CampaignUnknown(f"There is no campaign {campaign_id}.")
    return found


def items(of: Campaign) -> QuerySet[CampaignItem]:
    """Its items in their order, each with its execution as that is by now, or None where it was removed."""
    rows = of.items.select_related("execution").order_by("id")
    return rows.only("campaign_id", "expected_version", "outcome", "code", "at", "execution__status")


def progress(campaign_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Progress]:
    """How far each of these is."""
    counts = {outcome.lower(): Count("id", filter=Q(outcome=outcome)) for outcome in Outcome.values}
    rows = CampaignItem.objects.filter(campaign__in=campaign_ids).order_by().values_list("campaign_id")
    found = {
        campaign_id: Progress(**dict(zip(counts, counted, strict=True)))
        for campaign_id, *counted in rows.annotate(**counts)
    }
    return {campaign_id: found.get(campaign_id, Progress()) for campaign_id in campaign_ids}


# --- orders ---


def start(
    tenant: Tenant, filters: Filters, *, reason: str, rate_per_minute: int, actor: str, allow_failed: bool = False
) -> Campaign:
    """Take up everything that `filters` find now, with the version that each has; what fails later is not part of it.

    The longest failed come first. Raises `TenantNotAllowed`, `FilterRequired`, and `CampaignEmpty` where nothing is
    found.
    """
    require_allowed(tenant)
    with transaction.atomic():
        found = matching(tenant, filters, allow_failed=allow_failed)
        made = Campaign.objects.create(
            tenant=tenant,
            filters=filters.to_json(),
            allow_failed=allow_failed,
            reason=reason,
            rate_per_minute=rate_per_minute,
            created_by=actor,
        )
        count = _take_up(made, found)
        if not count:
            raise CampaignEmpty("No failed execution matches the filters.")
        _tell(made.pk, "STARTED", actor, {"reason": reason, "items": count})
        return campaign(tenant, made.pk)


def _take_up(made: Campaign, found: QuerySet[Any]) -> int:
    """Rows are locked in the order of their ids, as moves do it, so that no two wait for each other in a circle."""
    chosen = found.order_by("id").select_for_update(no_key=True, of=("self",)).values("id", "version", "finished_at")
    sql, parameters = chosen.query.sql_with_params()
    take_up = f"""
        WITH chosen AS MATERIALIZED ({sql})
        INSERT INTO executions_campaignitem (campaign_id, execution_id, expected_version)
        SELECT %s, id, version FROM chosen ORDER BY finished_at, id
    """  # noqa: S608 - the ORM's own SQL, with its parameters apart  # nosec B608
    with connection.cursor() as cursor:
        cursor.execute(take_up, (*parameters, made.pk))
        return int(cursor.rowcount)


def pause(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Admit no more. Raises `CampaignUnknown` and `CampaignRefused`; a paused campaign stays as it is."""
    return _order(tenant, campaign_id, {Status.RUNNING}, "PAUSED", actor, reason, status=Status.PAUSED)


def resume(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Go on at the campaign's rate; the pause has saved up nothing. Raises as `pause` does."""
    changes = {"rate_since": Now(), "admitted": 0}
    return _order(tenant, campaign_id, {Status.PAUSED}, "RESUMED", actor, reason, status=Status.RUNNING, **changes)


def cancel(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Give up what is pending; what was re-driven runs on. Raises as `pause` does."""
    live, over = {Status.RUNNING, Status.PAUSED}, Status.CANCELLED
    with transaction.atomic():
        made = _order(tenant, campaign_id, live, "CANCELLED", actor, reason, status=over, finished_at=Now())
        pending = CampaignItem.objects.filter(campaign=made, outcome=Outcome.PENDING)
        pending.update(outcome=Outcome.SKIPPED, code=CANCELLED, at=Now())
        return made


def _order(
    tenant: Tenant,
    campaign_id: uuid.UUID,
    sources: Collection[str],
    kind: str,
    actor: str,
    reason: str,
    *,
    status: str,
    **changes: Any,
) -> Campaign:
    """One guarded UPDATE with its event. Zero rows: it is there already, or this cannot be ordered any more."""
    with transaction.atomic():
        rows = campaigns(tenant).filter(pk=campaign_id, status__in=sources)
        if rows.update(status=status, **changes):
            _tell(campaign_id, kind, actor, {"reason": reason} if reason else {})
        found = campaign(tenant, campaign_id)
    if found.status != status:
        raise CampaignRefused(f"Campaign {campaign_id} is {found.status}.", campaignStatus=found.status)
    return found


def _tell(campaign_id: uuid.UUID, kind: str, actor: str, data: dict[str, Any]) -> None:
    CampaignEvent.objects.create(campaign_id=campaign_id, kind=kind, actor=actor, data=data)


# --- the clock's part ---


def advance() -> int:
    """Admit what the running campaigns' rates allow by now. Returns how many executions were re-driven.

    Any number of clocks may call this at once: a campaign that one of them has in hand is passed over by the others.
    If a campaign fails, the error is logged, and the other campaigns are still advanced.
    """
    running = Campaign.objects.filter(status=Status.RUNNING).order_by("created_at").values_list("pk", flat=True)
    redriven = 0
    for campaign_id in list(running[: settings.SWEEP_LIMIT]):
        try:
            redriven += _advance(campaign_id)
        except DatabaseError as error:
            if is_outage(error):
                raise
            log.exception("Campaign %s could not be advanced", campaign_id)
    return redriven


def _advance(campaign_id: uuid.UUID) -> int:
    """Group by group, each in a transaction of its own, until the credit is used up."""
    redriven = 0
    while True:
        with transaction.atomic():
            found, credit = _credit(campaign_id)
            if found is None or credit < 1:
                return redriven
            redriven += _admit(found, min(credit, settings.SWEEP_LIMIT))
            if credit <= settings.SWEEP_LIMIT:
                return redriven


# Credit is what the rate gives since `rate_since`, less what was admitted. At most a window's worth is kept: after an
# outage of the clock a campaign goes on at its rate, and does not make up for the time in one burst.
_CREDIT = """
WITH locked AS (
    SELECT id, rate_per_minute, rate_since, admitted FROM executions_campaign
    WHERE id = %(id)s AND status = 'RUNNING' FOR UPDATE SKIP LOCKED
), counted AS (
    SELECT id, floor(rate_per_minute * extract(epoch FROM now() - rate_since) / 60)::bigint - admitted AS credit,
        ceil(rate_per_minute * %(window)s / 60.0)::bigint AS most
    FROM locked
), capped AS (
    UPDATE executions_campaign c SET rate_since = now() - make_interval(secs => %(window)s), admitted = 0
    FROM counted WHERE c.id = counted.id AND counted.credit > counted.most
)
SELECT least(credit, most) FROM counted
"""


def _credit(campaign_id: uuid.UUID) -> tuple[Campaign | None, int]:
    """The campaign, locked, and how many items it may admit. None: it is not running, or another clock has it."""
    window = max(60.0, 2 * settings.SWEEP_SECONDS)
    with connection.cursor() as cursor:
        cursor.execute(_CREDIT, {"id": campaign_id, "window": window})
        row = cursor.fetchone()
    return (Campaign.objects.get(pk=campaign_id), row[0]) if row else (None, 0)


def _admit(of: Campaign, most: int) -> int:
    """Re-drive the next items, or skip those that cannot be, and say so of each."""
    chosen = list(
        CampaignItem.objects.filter(campaign=of, outcome=Outcome.PENDING)
        .select_related("execution")
        .defer("execution__input", "execution__result", "execution__progress")
        .order_by("id")[:most]
    )
    skipped: dict[str, list[int]] = defaultdict(list)
    asked = {}
    for item in chosen:
        if item.execution is None:  # removed meanwhile: it was over for longer than its tenant keeps such
            skipped[ExecutionUnknown.code].append(item.pk)
            continue
        try:
            check(item.execution, item.expected_version, of.allow_failed)
        except CoordinatorError as refusal:
            skipped[refusal.code].append(item.pk)
        else:
            told = {"campaignId": str(of.pk)}
            asked[item.pk] = move_of(item.execution, actor=of.created_by, reason=of.reason, **told)
    moved = {move.execution_id for move in moves.apply(list(asked.values()))}
    redriven = [pk for pk, move in asked.items() if move.execution_id in moved]
    skipped[ExecutionChanged.code] += asked.keys() - set(redriven)
    _settle(of, redriven, skipped, admitted=len(chosen))
    if redriven:
        wakeup.ring_once(DISPATCH_TASK)
    return len(redriven)


def _settle(of: Campaign, redriven: Collection[int], skipped: dict[str, list[int]], *, admitted: int) -> None:
    """Keep what came of each item; the last one completes the campaign."""
    CampaignItem.objects.filter(pk__in=redriven).update(outcome=Outcome.REDRIVEN, at=Now())
    for code, keys in skipped.items():
        CampaignItem.objects.filter(pk__in=keys).update(outcome=Outcome.SKIPPED, code=code, at=Now())
    rows = Campaign.objects.filter(pk=of.pk)
    rows.update(admitted=F("admitted") + admitted)
    if not CampaignItem.objects.filter(campaign=of, outcome=Outcome.PENDING).exists():
        rows.update(status=Status.COMPLETED, finished_at=Now())
        _tell(of.pk, "COMPLETED", "coordinator", {})
