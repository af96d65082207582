"""Re-drives, resubmits, cancels or pauses many executions at a fixed rate.

The whole state of a campaign is in the database, so any control worker can continue it. A campaign is DRAFTING until
all of its items are written, then a DRAFT until it starts, and may be removed until then. It is RUNNING or PAUSED until
each item has a result: then it is COMPLETED. It can be CANCELLED before that. COMPLETED and CANCELLED are final.
"""

import logging
import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from django.conf import settings
from django.contrib.postgres.functions import TransactionNow as Now
from django.db import DatabaseError, connection, transaction
from django.db.models import Count, Q, QuerySet

from executions.errors import (
    CampaignEmpty,
    CampaignRefused,
    CampaignTargetInvalid,
    CampaignUnknown,
    ReleaseRevokedConfirmation,
)
from executions.lifecycle.interventions import redrivable
from executions.models import PAYLOADS_OF_EXECUTION, Campaign, CampaignItem, Execution, StartFrom
from executions.submission.admission import require_allowed
from foundation.database.postgresql.outage import is_outage
from foundation.errors import CoordinatorError
from governance.campaigns import admitting, drafting, resubmitting, statements
from governance.campaigns.admitting import ItemResult, Status, change, credit_of, record, record_admitted
from governance.campaigns.selection import Filters, RevokedRelease, fitting, revoked, revoked_among, selected
from releases.errors import ReasonRequired
from tenancy.audit.acts import Act
from tenancy.models import Tenant

log = logging.getLogger(__name__)
Kind = Campaign.Kind
CANCELLED = "CAMPAIGN_CANCELLED"
HIGHEST_RATE = 100_000
"""The highest rate of a campaign, in items per minute."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The number of a campaign's items with each result.

    `drafted` counts the items that are written. Those that are not, while the campaign is DRAFTING, are pending.
    """

    pending: int = 0
    redriven: int = 0
    resubmitted: int = 0
    cancelled: int = 0
    paused: int = 0
    skipped: int = 0
    drafted: int = 0

    @property
    def done(self) -> int:
        return self.redriven + self.resubmitted + self.cancelled + self.paused

    @property
    def total(self) -> int:
        return self.pending + self.done + self.skipped


def campaigns(tenant: Tenant) -> QuerySet[Campaign]:
    """Return the tenant's campaigns, newest first."""
    return Campaign.objects.filter(tenant=tenant)


def campaign(tenant: Tenant, campaign_id: uuid.UUID) -> Campaign:
    """Return one campaign of the tenant. Raises `CampaignUnknown`."""
    campaign = campaigns(tenant).filter(pk=campaign_id).first()
    if campaign is None:
        raise CampaignUnknown(f"There is no campaign {campaign_id}.")
    return campaign


def waiting_for(rows: QuerySet[Campaign], pipeline_id: str, release_version: str) -> QuerySet[Campaign]:
    """Return the campaigns among `rows` that have yet to re-drive an execution of this release."""
    pending = CampaignItem.objects.filter(
        outcome=ItemResult.PENDING, execution__pipeline_id=pipeline_id, execution__release_version=release_version
    )
    return rows.exclude(status__in=[Status.DRAFTING, Status.DRAFT]).filter(pk__in=pending.order_by().values("campaign"))


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
        "execution__execution_key",
        "execution__status",
        "new_execution__status",
        "new_execution__running_since",
    )


def failed_again(rows: QuerySet[CampaignItem]) -> QuerySet[CampaignItem]:
    """Return the items among `rows` whose executions ran again and have failed again."""
    failed = sorted(redrivable(allow_failed=True))
    return rows.filter(
        Q(outcome=ItemResult.REDRIVEN, execution__status__in=failed)
        | Q(outcome=ItemResult.RESUBMITTED, new_execution__status__in=failed)
    )


def progress(campaign_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, Progress]:
    """Return the progress of each campaign."""
    counts = {result.lower(): Count("items", filter=Q(items__outcome=result)) for result in ItemResult.values}
    rows = Campaign.objects.filter(pk__in=campaign_ids).order_by().values_list("pk", "selected")
    matching = {
        campaign_id: _progress(selected, dict(zip(counts, counted, strict=True)))
        for campaign_id, selected, *counted in rows.annotate(**counts)
    }
    return {campaign_id: matching.get(campaign_id, Progress()) for campaign_id in campaign_ids}


def _progress(selected: int, counted: dict[str, int]) -> Progress:
    drafted = sum(counted.values())
    counted["pending"] += max(selected - drafted, 0)  # campaigns of the previous version count no selection
    return Progress(**counted, drafted=drafted)


def progress_of(campaign_id: uuid.UUID) -> Progress:
    return progress([campaign_id])[campaign_id]


# --- drafts and starts ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a campaign does what it does.

    A campaign that resubmits creates new executions on `target_release_version`, or on the release that is active when
    an item is admitted. They start as `start_from` says. For one that re-drives, `allow_revoked` confirms the
    executions of releases that are revoked as it starts. The first `canary` executions must not fail again before the
    others are admitted. The campaign pauses itself when `stop_after_failures` of its executions have failed again.
    """

    reason: str
    rate_per_minute: int
    canary: int | None = None
    stop_after_failures: int | None = None
    target_release_version: str | None = None
    start_from: StartFrom = StartFrom.INPUT
    allow_revoked: bool = False

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a campaign with these options."""
        columns = {**asdict(self), "target_release_version": self.target_release_version or ""}
        del columns["allow_revoked"]
        return columns


def require_fitting(kind: Kind, options: Options) -> None:
    """Raise `CampaignTargetInvalid` if a campaign of this kind does not take one of the options."""
    if options.target_release_version and kind != Kind.RESUBMIT:
        raise CampaignTargetInvalid("Only a campaign that resubmits has a target release.")
    if options.start_from != StartFrom.INPUT and kind != Kind.RESUBMIT:
        raise CampaignTargetInvalid("Only a campaign that resubmits can start from the checkpoint.")
    bounds = (options.canary, options.stop_after_failures)
    if kind in (Kind.CANCEL, Kind.PAUSE) and bounds != (None, None):
        raise CampaignTargetInvalid("Only a campaign that runs executions again has a canary or a bound of failures.")


def begin(draft: Campaign, options: Options, *, actor: str, count: int) -> bool:
    """Start a draft. Return False if another request started or discarded it first.

    Raises `ReasonRequired`, `CampaignTargetInvalid`, and `ReleaseRevokedConfirmation` if it re-drives executions of
    revoked releases and `allow_revoked` is not set.
    """
    require_fitting(Kind(draft.kind), options)
    confirmed = _confirmed(options, revoked(executions_of(draft)) if draft.kind == Kind.REDRIVE else [])
    return change(
        draft.tenant,
        draft.pk,
        {Status.DRAFT},
        Status.RUNNING,
        "STARTED",
        actor,
        {"reason": options.reason, "items": count},
        statements.START,
        **options.columns,
        revoked=confirmed,
    )


def _confirmed(options: Options, revoked: Sequence[RevokedRelease]) -> list[int]:
    """Return the revoked releases that a start confirms. Raises as `begin` does."""
    if not options.reason.strip():
        raise ReasonRequired("A campaign requires a reason.")
    if revoked and not options.allow_revoked:
        named = ", ".join(f"{release.pipeline_id} {release.release_version} ({release.count})" for release in revoked)
        detail = f"The campaign would run revoked releases: {named}."
        raise ReleaseRevokedConfirmation(detail, revokedReleases=[release.to_json() for release in revoked])
    return [release.release_id for release in revoked]


def executions_of(campaign: Campaign) -> QuerySet[Execution]:
    """Return the executions that the campaign contains."""
    return Execution.objects.filter(campaign_items__campaign=campaign)


def start(
    tenant: Tenant,
    filters: Filters,
    *,
    actor: str,
    kind: Kind = Kind.REDRIVE,
    allow_failed: bool = False,
    chosen: QuerySet[Execution] | None = None,
    **members: Any,
) -> Campaign:
    """Start a campaign over all executions that match `filters` now, or that are `chosen`, each with its version.

    Executions that fail later are not part of it. Those that failed first come first. FAILED executions are part of it
    only with `allow_failed`. `members` are those of `Options`. If the campaign re-drives, executions of releases that
    are revoked later are skipped. A large campaign is DRAFTING at first.

    Raises `TenantNotAllowed`, `CampaignTargetInvalid` if its kind does not take an option, `FilterRequired`,
    `ReleaseRevokedConfirmation`, and `CampaignEmpty` if no execution matches.
    """
    require_allowed(tenant)
    options = Options(**members)
    require_fitting(kind, options)
    if chosen is None:
        matches = selected(tenant, kind, filters, allow_failed=allow_failed)
    else:
        matches = fitting(tenant, kind, chosen, allow_failed=allow_failed)
    with transaction.atomic():
        frozen = drafting.freeze(
            tenant,
            matches,
            kind=kind,
            filters=filters.to_json(),
            allow_failed=allow_failed,
            created_by=actor,
            starts=True,
            **options.columns,
        )
        if not frozen.count:
            raise CampaignEmpty("No execution matches that a campaign of this kind may contain.")
        if confirmed := _confirmed(options, revoked_among(frozen.releases) if kind == Kind.REDRIVE else []):
            Campaign.objects.filter(pk=frozen.campaign.pk).update(revoked_releases=confirmed)
        drafting.proceed(frozen)
        details = {"items": frozen.count, "ratePerMinute": options.rate_per_minute}
        record(Act.CAMPAIGN_START, tenant, frozen.campaign.pk, actor, options.reason, **details)
        return campaign(tenant, frozen.campaign.pk)


# --- requests of operators ---

_CONTROLS: dict[str, tuple[Act, str, set[str], str]] = {
    Status.PAUSED: (Act.CAMPAIGN_PAUSE, "PAUSED", {Status.RUNNING}, ""),
    Status.RUNNING: (Act.CAMPAIGN_RESUME, "RESUMED", {Status.PAUSED}, statements.RESUME),
    Status.CANCELLED: (Act.CAMPAIGN_CANCEL, "CANCELLED", {Status.RUNNING, Status.PAUSED}, statements.FINISH),
}
"""The act and the event of a change to each status, the statuses from which it is possible, and what else changes."""


def pause(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Stop admitting items until the campaign is resumed. A paused campaign does not change.

    Raises `CampaignUnknown` and `CampaignRefused`.
    """
    with transaction.atomic():
        return _control(tenant, campaign_id, Status.PAUSED, actor, reason)


def resume(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Continue at the campaign's rate. No credit accumulates during a pause. Raises as `pause` does.

    If the campaign has paused itself because executions failed again, these failures no longer count.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(statements.ACCEPT_FAILURES, {"campaign": campaign_id, "tenant": tenant.pk})
            accepted = cursor.rowcount
        return _control(tenant, campaign_id, Status.RUNNING, actor, reason, accepted=accepted)


def cancel(tenant: Tenant, campaign_id: uuid.UUID, *, actor: str, reason: str = "") -> Campaign:
    """Skip all pending items. What was done to executions stays. Raises as `pause` does."""
    with transaction.atomic():
        return _control(tenant, campaign_id, Status.CANCELLED, actor, reason)


def _control(
    tenant: Tenant, campaign_id: uuid.UUID, status: Campaign.Status, actor: str, reason: str, **values: Any
) -> Campaign:
    """Set the status, with its event and the entry in the audit log, and return the campaign.

    Nothing changes if it already has the status. Raises `CampaignRefused` if its status is none of the sources.
    """
    act, event, sources, changes = _CONTROLS[status]
    data = {"reason": reason} if reason else {}
    changed = change(tenant, campaign_id, sources, status, event, actor, data, changes, **values)
    found = campaign(tenant, campaign_id)
    if found.status != status:
        raise CampaignRefused(f"Campaign {campaign_id} is {found.status}.", campaignStatus=found.status)
    if status == Status.CANCELLED:
        pending = CampaignItem.objects.filter(campaign=found, outcome=ItemResult.PENDING)
        pending.update(outcome=ItemResult.SKIPPED, code=CANCELLED, at=Now())
    if changed:
        record(act, tenant, campaign_id, actor, reason)
    return found


# --- the part of the sweep ---


def advance() -> int:
    """Admit the items that the rates of the running campaigns allow now.

    Return how many executions the campaigns acted on.

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


_ACTS: dict[str, Callable[[Campaign, Sequence[CampaignItem]], int]] = {
    Kind.REDRIVE: admitting.redrive,
    Kind.CANCEL: admitting.cancel,
    Kind.PAUSE: admitting.pause,
}


def _advance(campaign_id: uuid.UUID) -> int:
    """Admit items in groups, each in a separate transaction, until the credit is used up."""
    done = 0
    while True:
        with transaction.atomic():
            locked, credit = credit_of(campaign_id)
            if locked is None or credit < 1:
                return done
            done += _admit(locked, min(credit, settings.SWEEP_LIMIT))
            if credit <= settings.SWEEP_LIMIT:
                return done


def _admit(campaign: Campaign, most: int) -> int:
    """Act on up to `most` items or skip them, and record their results. Return how many were not skipped."""
    chosen = list(
        CampaignItem.objects.filter(campaign=campaign, outcome=ItemResult.PENDING)
        .select_related("execution")
        .defer(*PAYLOADS_OF_EXECUTION)
        .order_by("id")[:most]
    )
    done = _ACTS[campaign.kind](campaign, chosen)
    record_admitted(campaign, len(chosen))
    return done
