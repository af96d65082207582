"""Selects the failed executions of a re-drive campaign, and previews the selection."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Count, F, QuerySet

from executions.errors import FilterRequired
from executions.lifecycle.redrive import redrivable
from executions.models import DeadLetter, Execution
from releases.models import Revocation
from releases.states import Status
from tenancy.models import Tenant

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
    "pipeline_id": "pipeline_id",
    "contract_version": "contract_version",
    "release_version": "release_version",
    "error_code": "error_code",
    "finished_from": "finished_at__gte",
    "finished_to": "finished_at__lt",
}
_LETTER_LOOKUPS = {"reason": "dead_letters__reason", "failure_group": "dead_letters__group"}


@dataclass(frozen=True, slots=True)
class Preview:
    """The executions that a campaign with these filters would contain if it started now.

    `executions` has the first few; the groups are the largest ones. `revoked` has every revoked release among them: a
    campaign runs their executions only if its operator confirms that.
    """

    count: int
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


def matching(tenant: Tenant, filters: Filters, *, allow_failed: bool) -> QuerySet[Execution]:
    """Return the failed executions that match `filters`, except smoke tests and those of retired releases.

    Raises `FilterRequired` if there is no condition.
    """
    if filters == Filters():
        raise FilterRequired("A campaign without a filter would contain every execution that ever failed.")
    conditions = _conditions(filters, _LOOKUPS)
    failed = Execution.objects.filter(tenant=tenant, status__in=sorted(redrivable(allow_failed)), smoke=False)
    found = failed.filter(**conditions)
    found = found.exclude(release__status=Status.RETIRED)
    if of_letter := _conditions(filters, _LETTER_LOOKUPS):
        found = found.filter(**of_letter, dead_letters__execution_version=F("version"))
    return found


def _conditions(filters: Filters, lookups: Mapping[str, str]) -> dict[str, Any]:
    return {lookup: value for name, lookup in lookups.items() if (value := getattr(filters, name)) is not None}


def preview(tenant: Tenant, filters: Filters, *, allow_failed: bool = False) -> Preview:
    """Return what a campaign would contain. Executions that failed first come first."""
    found = matching(tenant, filters, allow_failed=allow_failed)
    first = found.select_related("tenant").defer("input", "result", "progress").order_by("finished_at", "id")
    return Preview(
        count=found.count(),
        executions=list(first[:SHOWN]),
        by_error_code=_groups(found, "error_code"),
        by_release=_groups(found, "pipeline_id", "contract_version", "release_version"),
        revoked=revoked(found),
    )


def revoked(found: QuerySet[Execution]) -> list[RevokedRelease]:
    """Return the revoked releases to which executions in `found` are pinned, those with the most executions first."""
    of_revoked = found.filter(release__status=Status.REVOKED).order_by()
    counts = dict(of_revoked.values_list("release_id").annotate(count=Count("id")))
    events = Revocation.objects.filter(release__in=counts).select_related("release__pipeline")
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
    return sorted(releases, key=lambda each: (-each.count, each.release_id))


def _groups(found: QuerySet[Execution], *names: str) -> list[dict[str, Any]]:
    groups = found.order_by().values(*names).annotate(count=Count("id")).order_by("-count", *names)
    return list(groups[:GROUPS_SHOWN])
