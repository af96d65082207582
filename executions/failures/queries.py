"""Reads groups of failures. The caller has checked access to the tenant.

A group is found by an index, and the failures of a group are counted up to a limit, so that every query is fast for any
number of failures.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import connection
from django.db.models import F, Func, QuerySet, TextField, Value
from django.db.models.functions import Cast

from executions.errors import FailureGroupUnknown
from executions.failures import statements
from executions.models import DeadLetter, FailureGroup
from tenancy.models import Tenant

HOURS = 24
MOST_IN_LIST, MOST_IN_HOUR_OF_LIST = 500, 100
"""How many failures of each group a list counts, and how many in each hour."""
MOST_OF_ONE = 10_000
"""How many failures the page of one group counts, and how many in each hour."""
_RELEASES = ("release", "release__pipeline__activation__release")
_BULKY = ("descriptor", "descriptor_document", "contract_document", "findings", "environments")


@dataclass(frozen=True, slots=True)
class Figures:
    """The numbers of a group. `total` and `still_open` count the newest failures, at most `most` of them.

    A failure is still open if its execution has not been run again since. `trend` has the number of failures in each of
    the last 24 hours, the last hour at the end, at most `most_in_hour` in an hour.
    """

    total: int
    still_open: int
    newest_at: datetime | None
    trend: tuple[int, ...]
    most: int
    most_in_hour: int

    @property
    def more(self) -> bool:
        """True if there are more failures than are counted."""
        return self.total > self.most

    @property
    def counted(self) -> int:
        return min(self.total, self.most)

    @property
    def last_hour(self) -> int:
        return self.trend[-1]

    @property
    def last_day(self) -> int:
        return sum(self.trend)


def groups(rows: QuerySet[FailureGroup]) -> QuerySet[FailureGroup]:
    """Return `rows` with their release, its pipeline and its status, and the name of the step as `step_name`."""
    related = rows.select_related("tenant", "release__pipeline__tenant", "release__pipeline__activation__release")
    bulky = [f"{release}__{column}" for release in _RELEASES for column in _BULKY]
    return related.defer(*bulky).annotate(step_name=step_name("release", "step_index"))


def step_name(release: str, step_index: str) -> Func:
    """Return the expression for the name of a step. `release` and `step_index` are lookups of both."""
    path = (Value("steps"), Cast(step_index, TextField()), Value("authoredName"))
    document = F(f"{release}__contract__document")
    return Func(document, *path, function="jsonb_extract_path_text", output_field=TextField(null=True))


def groups_of(tenant: Tenant) -> QuerySet[FailureGroup]:
    """Return the groups of a tenant, the one that failed last first."""
    return groups(FailureGroup.objects.filter(tenant=tenant))


def group(tenant: Tenant, group_id: uuid.UUID) -> FailureGroup:
    """Return one group of the tenant. Raises `FailureGroupUnknown`."""
    found = groups_of(tenant).filter(pk=group_id).first()
    if found is None:
        raise FailureGroupUnknown(f"There is no failure group {group_id}.")
    return found


def figures_of(group: FailureGroup) -> Figures:
    """Return the numbers of one group, which count up to MOST_OF_ONE failures."""
    return figures([group.pk], most=MOST_OF_ONE, most_in_hour=MOST_OF_ONE)[group.pk]


def letters(of: FailureGroup) -> QuerySet[DeadLetter]:
    """Return the failures of a group, newest first, each with the current state of its execution."""
    rows = DeadLetter.objects.filter(group=of).select_related("execution__tenant").order_by("-created_at", "-id")
    return rows.defer("execution__input", "execution__result", "execution__progress")


def figures(
    group_ids: Collection[uuid.UUID], *, most: int = MOST_IN_LIST, most_in_hour: int = MOST_IN_HOUR_OF_LIST
) -> dict[uuid.UUID, Figures]:
    """Return the numbers of each group. At most `most` failures of a group count, and `most_in_hour` in an hour."""
    ids: list[Any] = list(group_ids)
    trends: defaultdict[uuid.UUID, list[int]] = defaultdict(lambda: [0] * HOURS)
    with connection.cursor() as cursor:
        cursor.execute(statements.TREND, {"ids": ids, "most": most_in_hour})
        for group_id, hour, count in cursor.fetchall():
            trends[group_id][HOURS - 1 - hour] = count
        cursor.execute(statements.COUNTS, {"ids": ids, "most": most})
        return {
            group_id: Figures(total, still_open, newest_at, tuple(trends[group_id]), most, most_in_hour)
            for group_id, total, still_open, newest_at in cursor.fetchall()
        }
