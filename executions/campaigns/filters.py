"""What a re-drive campaign is for: which executions a filter finds, and what there is to know of them before."""

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from django.db.models import Count, F, QuerySet

from executions.errors import FilterRequired
from executions.lifecycle.redrive import redrivable
from executions.models import DeadLetter, Execution
from tenancy.models import Tenant

SHOWN = 20
GROUPS_SHOWN = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Filters:
    """Which failed executions are meant: those that fit everything that is given.

    `finished_from` is the earliest finish and `finished_to` the first that is too late. `reason` is that of the dead
    letter which the execution's last failure left.
    """

    pipeline_id: str | None = None
    contract_version: str | None = None
    release_version: str | None = None
    error_code: str | None = None
    reason: DeadLetter.Reason | None = None
    finished_from: datetime | None = None
    finished_to: datetime | None = None

    def to_json(self) -> dict[str, str]:
        """What was given, under the wire's names."""
        given = {name: getattr(self, name) for name in WIRE_NAMES}
        return {
            WIRE_NAMES[name]: value.isoformat() if isinstance(value, datetime) else str(value)
            for name, value in given.items()
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


@dataclass(frozen=True, slots=True)
class Preview:
    """What a campaign with these filters would take up if it was started now."""

    count: int
    executions: list[Execution]
    by_error_code: list[dict[str, Any]]
    by_release: list[dict[str, Any]]


def matching(tenant: Tenant, filters: Filters, *, allow_failed: bool) -> QuerySet[Execution]:
    """The failed executions that `filters` find. Raises `FilterRequired` for filters without any member."""
    if filters == Filters():
        raise FilterRequired("Without a filter a campaign would take up everything that ever failed.")
    given = {lookup: value for name, lookup in _LOOKUPS.items() if (value := getattr(filters, name)) is not None}
    found = Execution.objects.filter(tenant=tenant, status__in=sorted(redrivable(allow_failed)), **given)
    if filters.reason is not None:
        found = found.filter(dead_letters__reason=filters.reason, dead_letters__execution_version=F("version"))
    return found


def preview(tenant: Tenant, filters: Filters, *, allow_failed: bool = False) -> Preview:
    """Count what a campaign would take up, with those that failed first and the largest groups."""
    found = matching(tenant, filters, allow_failed=allow_failed)
    first = found.select_related("tenant").defer("input", "result", "progress").order_by("finished_at", "id")
    return Preview(
        count=found.count(),
        executions=list(first[:SHOWN]),
        by_error_code=_groups(found, "error_code"),
        by_release=_groups(found, "pipeline_id", "contract_version", "release_version"),
    )


def _groups(found: QuerySet[Execution], *names: str) -> list[dict[str, Any]]:
    groups = found.order_by().values(*names).annotate(count=Count("id")).order_by("-count", *names)
    return list(groups[:GROUPS_SHOWN])
