"""Creates a campaign over a frozen selection of executions as a draft, and starts it."""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from django.db import connection
from django.db.models import QuerySet

from executions.errors import CampaignTargetInvalid, ReleaseRevokedConfirmation
from executions.models import Campaign, Execution, StartFrom
from governance.campaigns import statements
from governance.campaigns.admitting import change
from governance.campaigns.selection import RevokedRelease, revoked
from releases.errors import ReasonRequired
from tenancy.models import Tenant

Kind = Campaign.Kind
Status = Campaign.Status


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


def create(
    tenant: Tenant,
    kind: Kind,
    chosen: QuerySet[Execution],
    options: Options,
    *,
    actor: str,
    filters: dict[str, str],
    allow_failed: bool,
    cut: bool = False,
) -> tuple[Campaign, int]:
    """Create a draft with an item for each execution in `chosen`. Return it with the number of items."""
    created = Campaign.objects.create(
        tenant=tenant,
        kind=kind,
        filters=filters,
        allow_failed=allow_failed,
        cut=cut,
        status=Status.DRAFT,
        created_by=actor,
        **options.columns,
    )
    return created, _add_items(created, chosen)


def _add_items(campaign: Campaign, chosen: QuerySet[Any]) -> int:
    """Add an item for each execution in `chosen`. Return their number.

    Executions are locked in the order of their ids, as moves lock them, so that concurrent transactions never deadlock.
    """
    locked = chosen.order_by("id").select_for_update(no_key=True, of=("self",)).values("id", "version", "finished_at")
    sql, parameters = locked.query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statements.ADD_ITEMS.format(chosen=sql), (*parameters, campaign.pk))
        return int(cursor.rowcount)


def begin(draft: Campaign, options: Options, *, actor: str, count: int) -> bool:
    """Start a draft. Return False if another request started or discarded it first.

    Raises `ReasonRequired`, `CampaignTargetInvalid`, and `ReleaseRevokedConfirmation` if it re-drives executions of
    revoked releases and `allow_revoked` is not set.
    """
    if not options.reason.strip():
        raise ReasonRequired("A campaign requires a reason.")
    require_fitting(Kind(draft.kind), options)
    confirmed = revoked(executions_of(draft)) if draft.kind == Kind.REDRIVE else []
    if confirmed and not options.allow_revoked:
        raise _unconfirmed(confirmed)
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
        revoked=[each.release_id for each in confirmed],
    )


def executions_of(campaign: Campaign) -> QuerySet[Execution]:
    """Return the executions that the campaign contains."""
    return Execution.objects.filter(campaign_items__campaign=campaign)


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
