"""Selects executions for campaigns: those that match filters, or those that a person has chosen."""

import uuid
from collections.abc import Collection

from django.db.models import Q, QuerySet

from executions.campaigns.filters import WIRE_NAMES, Filters, matching
from executions.errors import CampaignTargetInvalid, FilterRequired
from executions.lifecycle.redrive import redrivable
from executions.models import TERMINAL_VALUES, Campaign, Execution
from releases.models import Release
from tenancy.models import Tenant

Kind = Campaign.Kind
MOST_CHOSEN = 1000
"""The most executions that a person chooses one by one."""
_OF_UNFINISHED = ("pipeline_id", "contract_version", "release_version", "error_code")


def fitting(tenant: Tenant, kind: Kind, rows: QuerySet[Execution], *, allow_failed: bool = True) -> QuerySet[Execution]:
    """Return the executions among `rows` that a campaign of this kind may contain.

    Campaigns that re-drive or resubmit contain failed executions, and FAILED ones only with `allow_failed`. Campaigns
    that cancel or pause contain executions that have not ended. No campaign contains smoke tests.
    """
    rows = rows.filter(tenant=tenant, smoke=False)
    if kind in (Kind.CANCEL, Kind.PAUSE):
        rows = rows.filter(~Q(status__in=TERMINAL_VALUES))
        return rows.filter(held=False) if kind == Kind.PAUSE else rows
    return rows.filter(status__in=sorted(redrivable(allow_failed)))


def chosen(tenant: Tenant, ids: Collection[uuid.UUID]) -> QuerySet[Execution]:
    """Return the executions with these ids."""
    return Execution.objects.filter(tenant=tenant, pk__in=list(ids))


def selected(tenant: Tenant, kind: Kind, filters: Filters, *, allow_failed: bool) -> QuerySet[Execution]:
    """Return the executions that match `filters` and that a campaign of this kind may contain.

    Raises `FilterRequired` if there is no condition, and `CampaignTargetInvalid` if a campaign that cancels or pauses
    has a condition that only failed executions can fulfil.
    """
    if kind not in (Kind.CANCEL, Kind.PAUSE):
        return matching(tenant, filters, allow_failed=allow_failed)
    return fitting(tenant, kind, _unfinished(tenant, filters))


def _unfinished(tenant: Tenant, filters: Filters) -> QuerySet[Execution]:
    """Return the executions of the tenant that match and have not ended. An index on the releases finds them."""
    conditions = {name: value for name in WIRE_NAMES if (value := getattr(filters, name)) is not None}
    if not conditions:
        raise FilterRequired("A campaign without a filter would contain every execution that has not ended.")
    foreign = [WIRE_NAMES[name] for name in conditions if name not in _OF_UNFINISHED]
    if foreign:
        raise CampaignTargetInvalid(f"Only failed executions have {', '.join(foreign)}.")
    releases = Release.objects.filter(pipeline__tenant=tenant)
    for name, lookup in (
        ("pipeline_id", "pipeline__pipeline_id"),
        ("contract_version", "contract_version"),
        ("release_version", "release_version"),
    ):
        if name in conditions:
            releases = releases.filter(**{lookup: conditions[name]})
    found = Execution.objects.filter(~Q(status__in=TERMINAL_VALUES), release__in=releases.values("pk"))
    return found.filter(error_code=conditions["error_code"]) if "error_code" in conditions else found


def first(rows: QuerySet[Execution], most: int) -> tuple[QuerySet[Execution], bool]:
    """Return the first `most` of `rows`, those that failed first, and whether there are more."""
    ids = rows.order_by("finished_at", "created_at", "id").values("pk")[:most]
    return Execution.objects.filter(pk__in=ids), rows.order_by()[most : most + 1].exists()
