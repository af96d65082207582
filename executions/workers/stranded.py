"""Finds due work that no worker may run, because none is eligible for the release that it is pinned to."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection

from executions.models import DUE_VALUES, WorkerEligibility
from executions.workers import statements


@dataclass(frozen=True, slots=True)
class Stranded:
    """The due executions of one release. `since` is when its last worker took work, or when the oldest became due.

    `reasons` are why the release's workers get no work, each once; empty if no worker names the release.
    """

    release_id: int
    tenant: str
    pipeline_id: str
    contract_version: str
    release_version: str
    count: int
    since: datetime
    reasons: list[str]

    @property
    def explanation(self) -> str:
        """The reasons in words."""
        return explained(self.reasons)


def explained(reasons: Collection[str]) -> str:
    return "; ".join(WorkerEligibility.Reason(each).label for each in reasons) or "no worker names the release"


def why_stranded(release_id: int) -> str | None:
    """Return why no worker may run the release, in words; None if one may."""
    rows = WorkerEligibility.objects.filter(release=release_id).order_by()
    found = set(rows.filter(worker__stopped_at=None).values_list("reason", flat=True))
    if None in found:
        return None
    reasons = found or set(rows.values_list("reason", flat=True)[:1])
    return explained(sorted(reason for reason in reasons if reason is not None))


def stranded(tenant_ids: Collection[int]) -> list[Stranded]:
    """Return what is stranded in these tenants now: one entry for each release, those with most executions first."""
    parameters: dict[str, Any] = {
        "tenants": list(tenant_ids),
        "due": DUE_VALUES,
    }
    with connection.cursor() as cursor:
        cursor.execute(statements.STRANDED, parameters)
        return [Stranded(*row) for row in cursor.fetchall()]
