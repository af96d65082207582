"""Selects executions for campaigns, by filters or as a person has chosen, and previews the selection."""

import uuid
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Q, QuerySet

from executions.errors import CampaignTargetInvalid, FilterRequired
from executions.lifecycle import replacements
from executions.lifecycle.interventions import redrivable
from executions.models import PAYLOADS, TERMINAL_VALUES, Campaign, DeadLetter, Execution
from releases.models import Release, Revocation
from releases.states import Status
from tenancy.models import Tenant

Kind = Campaign.Kind
MOST_CHOSEN = 1000
"""The most executions that a person chooses one by one."""
SHOWN = 20
GROUPS_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Conditions on failed executions. An execution matches if it fulfils all that are not None.

    Executions match if they finished at `finished_from` or later, and before `finished_to`. `reason` and
    `failure_group` are those of the execution's latest dead letter.
    """

    pipeline_id: str | None = None
    contract_version: str | None = None
    release_version: str | None = None
    error_code: str | None = None
    reason: DeadLetter.Reason | None = None
    finished_from: datetime | None = None
    finished_to: datetime | None = None
    failure_group: uuid.UUID | None = None

    def to_json(self) -> dict[str, str]:
        """Return the conditions with the member names of the REST API."""
        values = {name: getattr(self, name) for name in WIRE_NAMES}
        return {
            WIRE_NAMES[name]: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in values.items()
            if value is not None
        }


def _wire(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


WIRE_NAMES = {field.name: _wire(field.name) for field in fields(Filters)}
_LOOKUPS = {
    "error_code": "error_code",
    "finished_from": "finished_at__gte",
    "finished_to": "finished_at__lt",
}
_RELEASE_LOOKUPS = {
    "pipeline_id": "pipeline__pipeline_id",
    "contract_version": "contract_version",
    "release_version": "release_version",
}
_PIN = tuple(_RELEASE_LOOKUPS)
_LETTER_LOOKUPS = {"reason": "dead_letters__reason", "failure_group": "dead_letters__group"}


@dataclass(frozen=True, slots=True)
class Preview:
    """The executions that a campaign with these filters would contain if it started now.

    `replaced` counts those whose work another execution carries on, which the campaign leaves out. `executions` has the
    first few; the groups are the largest ones. `revoked` has every revoked release among them: a campaign runs their
    executions only if its operator confirms that.
    """

    count: int
    replaced: int
    executions: list[Execution]
    by_error_code: list[dict[str, Any]]
    by_release: list[dict[str, Any]]
    revoked: list["RevokedRelease"]


@dataclass(frozen=True, slots=True)
class RevokedRelease:
    """A revoked release, why it was revoked, and how many matching executions are pinned to it."""

    release_id: int
    pipeline_id: str
    contract_version: str
    release_version: str
    reason: str
    count: int

    def to_json(self) -> dict[str, Any]:
        """Return the members that the REST API shows."""
        return {
            "pipelineId": self.pipeline_id,
            "contractVersion": self.contract_version,
            "releaseVersion": self.release_version,
            "revocationReason": self.reason,
            "count": self.count,
        }


def matching(tenant: Tenant, filters: Filters, *, allow_failed: bool) -> QuerySet[Execution]:
    """Return the failed executions that match `filters`, except smoke tests and those of retired releases.

    Raises `FilterRequired` if there is no condition.
    """
    if filters == Filters():
        raise FilterRequired("A campaign without a filter would contain every execution that ever failed.")
    releases = _releases(tenant, filters).exclude(status=Status.RETIRED).values_list("pk", flat=True)
    # With the ids, PostgreSQL estimates how many executions match. Without any, 0 matches none.
    executions = Execution.objects.filter(release__in=list(releases) or [0])
    executions = fitting(tenant, Kind.REDRIVE, executions, allow_failed=allow_failed).filter(
        **_conditions(filters, _LOOKUPS)
    )
    if of_letter := _conditions(filters, _LETTER_LOOKUPS):
        executions = executions.filter(**of_letter, dead_letters__execution_version=F("version"))
    return executions


def _releases(tenant: Tenant, filters: Filters) -> QuerySet[Release]:
    return Release.objects.filter(pipeline__tenant=tenant, **_conditions(filters, _RELEASE_LOOKUPS))


def _conditions(filters: Filters, lookups: Mapping[str, str]) -> dict[str, Any]:
    return {lookup: value for name, lookup in lookups.items() if (value := getattr(filters, name)) is not None}


def preview(tenant: Tenant, filters: Filters, *, allow_failed: bool = False) -> Preview:
    """Return what a campaign would contain. Executions that failed first come first."""
    executions = matching(tenant, filters, allow_failed=allow_failed)
    first = executions.select_related("tenant").defer(*PAYLOADS).order_by("finished_at", "id")
    counts = executions.order_by().values_list("release_id", "error_code").annotate(count=Count("*"))
    pins = _pins({release for release, _, _ in counts})
    groups = [
        {"release_id": release, "error_code": error, "count": count, **pins[release]}
        for release, error, count in counts
    ]
    return Preview(
        count=sum(group["count"] for group in groups),
        replaced=replacements.replaced(executions).count(),
        executions=list(first[:SHOWN]),
        by_error_code=_largest(groups, "error_code"),
        by_release=_largest(groups, *_PIN),
        revoked=revoked_among(
            {group["release_id"]: group["count"] for group in _largest(groups, "release_id", most=None)}
        ),
    )


def _pins(releases: Collection[int]) -> dict[int, dict[str, Any]]:
    rows = Release.objects.filter(pk__in=releases).values_list("pk", *_RELEASE_LOOKUPS.values())
    return {pk: dict(zip(_PIN, pin, strict=True)) for pk, *pin in rows}


def revoked(executions: QuerySet[Execution]) -> list[RevokedRelease]:
    """Return the revoked releases to which executions in `found` are pinned, those with the most executions first."""
    of_revoked = executions.filter(release__status=Status.REVOKED).order_by()
    return revoked_among(dict(of_revoked.values_list("release_id").annotate(count=Count("id"))))


def revoked_among(counts: Mapping[int, int]) -> list[RevokedRelease]:
    """Return the revoked ones of the releases, whose executions are counted. Those with the most come first."""
    events = Revocation.objects.filter(release__in=counts, release__status=Status.REVOKED).select_related(
        "release__pipeline"
    )
    releases = [
        RevokedRelease(
            release_id=event.release_id,
            pipeline_id=event.release.pipeline.pipeline_id,
            contract_version=event.release.contract_version,
            release_version=event.release.release_version,
            reason=event.reason,
            count=counts[event.release_id],
        )
        for event in events
    ]
    return sorted(releases, key=lambda release: (-release.count, release.release_id))


def _largest(groups: list[dict[str, Any]], *names: str, most: int | None = GROUPS_SHOWN) -> list[dict[str, Any]]:
    """Return the largest groups with the same values of `names`."""
    counts = Counter[tuple[Any, ...]]()
    for group in groups:
        counts[tuple(group[name] for name in names)] += group["count"]
    ordered = sorted(counts.items(), key=lambda count: (-count[1], count[0]))
    return [{**dict(zip(names, values, strict=True)), "count": count} for values, count in ordered[:most]]


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
    if filters == Filters():
        raise FilterRequired("A campaign without a filter would contain every execution that has not ended.")
    known = {*_RELEASE_LOOKUPS, "error_code"}
    foreign = [wire for name, wire in WIRE_NAMES.items() if name not in known and getattr(filters, name) is not None]
    if foreign:
        raise CampaignTargetInvalid(f"Only failed executions have {', '.join(foreign)}.")
    releases = _releases(tenant, filters)
    executions = Execution.objects.filter(~Q(status__in=TERMINAL_VALUES), release__in=releases.values("pk"))
    return executions if filters.error_code is None else executions.filter(error_code=filters.error_code)
