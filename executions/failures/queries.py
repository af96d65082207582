"""Reads groups of failures, and records what people decide about them. The caller has checked access to the tenant.

A group is found by an index, and the failures of a group are counted up to a limit, so that every query is fast for any
number of failures.
"""

import uuid
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from django.contrib.postgres.functions import TransactionNow as Now
from django.db import connection, transaction
from django.db.models import Q, QuerySet

from executions.errors import AssigneeInvalid, FailureGroupUnknown
from executions.models import PAYLOADS_OF_EXECUTION, DeadLetter, Execution, FailureGroup, SmokeTest
from releases.models import Release
from releases.step_names import Step, step_at
from tenancy import audit, members
from tenancy.access import actor_named
from tenancy.audit.acts import Act
from tenancy.models import Tenant
from tenancy.roles import Scope

HOURS = 24
MOST_IN_LIST, MOST_IN_HOUR_OF_LIST = 500, 100
"""How many failures of each group a list counts, and how many in each hour."""
MOST_OF_ONE = 10_000
"""How many failures the page of one group counts, and how many in each hour."""
_RELEASES = ("release", "release__pipeline__activation__release")
_BULKY = ("descriptor", "descriptor_document", "contract_document", "findings", "environments", "declarations")

# Counts the newest failures of each group: at most `most` + 1 of them, those of the newest `most` whose execution is
# still failed, and the time of the newest. Always one row for each id.
_COUNTS = """
SELECT g.id, f.total, f.still_open, f.newest_at FROM unnest(%(ids)s::uuid[]) AS g(id)
CROSS JOIN LATERAL (
    SELECT count(*) AS total, max(l.created_at) AS newest_at,
        count(*) FILTER (WHERE e.status IN ('FAILED', 'DLQ') AND e.version = l.execution_version
            AND l.number <= %(most)s) AS still_open
    FROM (SELECT d.execution_id, d.execution_version, d.created_at,
            row_number() OVER (ORDER BY d.created_at DESC, d.id DESC) AS number FROM executions_deadletter d
        WHERE d.group_id = g.id ORDER BY d.created_at DESC, d.id DESC LIMIT %(most)s + 1) l
    JOIN executions_execution e ON e.id = l.execution_id
) f
"""

# Counts the failures of each group in each of the last 24 hours, at most `most` in an hour. Hour 0 ends now. No row for
# an hour without failures.
_TREND = """
SELECT g.id, h.hour, f.count FROM unnest(%(ids)s::uuid[]) AS g(id)
CROSS JOIN generate_series(0, 23) AS h(hour)
CROSS JOIN LATERAL (
    SELECT count(*) AS count FROM (SELECT FROM executions_deadletter d
        WHERE d.group_id = g.id AND d.created_at > now() - make_interval(hours => h.hour + 1)
            AND d.created_at <= now() - make_interval(hours => h.hour) LIMIT %(most)s) l
) f
WHERE f.count > 0
"""


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
    """Return `rows` with their release, its pipeline and its status."""
    related = rows.select_related("tenant", "release__pipeline__tenant", "release__pipeline__activation__release")
    bulky = [f"{release}__{column}" for release in _RELEASES for column in _BULKY]
    return related.defer(*bulky)


def groups_of(tenant: Tenant) -> QuerySet[FailureGroup]:
    """Return the groups of a tenant, the one that failed last first."""
    return groups(FailureGroup.objects.filter(tenant=tenant))


def group(tenant: Tenant, group_id: uuid.UUID) -> FailureGroup:
    """Return one group of the tenant. Raises `FailureGroupUnknown`."""
    known = groups_of(tenant).filter(pk=group_id).first()
    if known is None:
        raise FailureGroupUnknown(f"There is no failure group {group_id}.")
    return known


def figures_of(group: FailureGroup) -> Figures:
    """Return the numbers of one group, which count up to MOST_OF_ONE failures."""
    return figures([group.pk], most=MOST_OF_ONE, most_in_hour=MOST_OF_ONE)[group.pk]


def letters(group: FailureGroup) -> QuerySet[DeadLetter]:
    """Return the failures of a group, newest first, each with the current state of its execution."""
    rows = DeadLetter.objects.filter(group=group).select_related("execution__tenant").order_by("-created_at", "-id")
    return rows.defer(*PAYLOADS_OF_EXECUTION)


def letters_on(rows: QuerySet[DeadLetter], **releases: str) -> QuerySet[DeadLetter]:
    """Return those of `rows` whose execution is on one of the releases, for which `releases` has lookups.

    The group names the release, so that the executions are not read. Failures of smoke tests have no group.
    """
    affected = Release.objects.filter(**releases)
    groups = FailureGroup.objects.filter(release__in=affected).order_by()
    smoke_tests = SmokeTest.objects.filter(release__in=affected)
    return rows.filter(Q(group__in=groups.values("pk")) | Q(group=None, execution__in=smoke_tests.values("pk")))


def figures(
    group_ids: Collection[uuid.UUID], *, most: int = MOST_IN_LIST, most_in_hour: int = MOST_IN_HOUR_OF_LIST
) -> dict[uuid.UUID, Figures]:
    """Return the numbers of each group. At most `most` failures of a group count, and `most_in_hour` in an hour."""
    ids: list[Any] = list(group_ids)
    trends: defaultdict[uuid.UUID, list[int]] = defaultdict(lambda: [0] * HOURS)
    with connection.cursor() as cursor:
        cursor.execute(_TREND, {"ids": ids, "most": most_in_hour})
        for group_id, hour, count in cursor.fetchall():
            trends[group_id][HOURS - 1 - hour] = count
        cursor.execute(_COUNTS, {"ids": ids, "most": most})
        return {
            group_id: Figures(total, still_open, newest_at, tuple(trends[group_id]), most, most_in_hour)
            for group_id, total, still_open, newest_at in cursor.fetchall()
        }


# --- what people decide: they acknowledge a group, assign it, and write a note ---


def change(
    tenant: Tenant,
    group_id: uuid.UUID,
    *,
    actor: str,
    acknowledged: bool | None = None,
    assignee: str | None = None,
    note: str | None = None,
) -> FailureGroup:
    """Acknowledge, assign or annotate a group, and return it. What is None stays. If nothing changes, no entry is made.

    `acknowledged` False withdraws the acknowledgement. `assignee` is the user name of a person who may operate in the
    tenant, or "". The lock does not delay failures of the group.

    Raises `FailureGroupUnknown` and `AssigneeInvalid`.
    """
    with transaction.atomic():
        locked = FailureGroup.objects.filter(tenant=tenant, pk=group_id).select_for_update(no_key=True).first()
        changed = locked or group(tenant, group_id)
        changes: dict[str, Any] = {}
        if acknowledged is not None and acknowledged is changed.is_new:
            changes["acknowledged"] = acknowledged
        if assignee is not None and assignee != changed.assignee:
            _require_operator(tenant, assignee, actor)
            changes["assignee"] = assignee
        if note is not None and note != changed.note:
            changes["note"] = note
        if changes:
            _write(changed, actor, changes)
            audit.record(
                Act.FAILURE_GROUP_CHANGE,
                tenant=tenant,
                actor=actor,
                object=group_id,
                errorCode=changed.error_code,
                **changes,
            )
        return group(tenant, group_id)


def _write(group: FailureGroup, actor: str, changes: dict[str, Any]) -> None:
    columns = {name: value for name, value in changes.items() if name != "acknowledged"}
    if "acknowledged" in changes:
        columns |= (
            {"acknowledged_by": actor, "acknowledged_at": Now()}
            if changes["acknowledged"]
            else {"acknowledged_by": "", "acknowledged_at": None}
        )
    FailureGroup.objects.filter(pk=group.pk).update(**columns)


def _require_operator(tenant: Tenant, username: str, actor: str) -> None:
    """Refuse superusers who are not members, except the actor: others must not learn their names."""
    if not username or actor == actor_named(username):
        return
    if not members.holds(tenant, username, Scope.OPERATE):
        raise AssigneeInvalid(f"{username!r} may not operate in tenant {tenant.slug!r}.", assignee=username)


REASONS: Final = {
    DeadLetter.Reason.RETRY_EXHAUSTED.value: "no retries left",
    DeadLetter.Reason.NON_RETRYABLE.value: "not retryable",
    DeadLetter.Reason.AWAIT_TIMEOUT.value: "not answered in time",
    DeadLetter.Reason.AWAIT_FAILED.value: "question not delivered or child failed",
    DeadLetter.Reason.LEASES_LOST.value: "workers lost",
    DeadLetter.Reason.RELEASE_REVOKED.value: "release revoked",
    DeadLetter.Reason.OUTCOME_UNKNOWN.value: "outcome unknown",
}
"""Why an execution failed."""
_FAILED_ATTEMPT = ("RETRY_SCHEDULED", "RETRIES_EXHAUSTED", "FAILED", "LEASES_LOST")
"""The kinds of events that end an attempt with a failure."""
_AWAIT_REASONS = (DeadLetter.Reason.AWAIT_TIMEOUT, DeadLetter.Reason.AWAIT_FAILED)


def step_of(release: Release, index: int) -> Step:
    """Return the step of `release` with this index."""
    return step_at(release.pk, release.contract_version, index)


def latest_failure(execution: Execution) -> DeadLetter | None:
    """Return the dead letter of the failure that ended the execution; None if it has not failed."""
    return DeadLetter.objects.filter(execution=execution, execution_version=execution.version).first()


def step_now(execution: Execution) -> Step:
    """Return the step that failed if the execution has failed. Otherwise return the step at which it is."""
    return step_with(execution, latest_failure(execution))


def step_with(execution: Execution, failure: DeadLetter | None) -> Step:
    """Return `step_now` of an execution with this `latest_failure`."""
    return step_of(execution.release, failure.failed_step_index if failure else execution.current_step_index)


def failed_step(execution: Execution) -> Step:
    """Return the step at which the newest attempt failed, or that with which it began if no step is known."""
    failed = execution.events.filter(kind__in=_FAILED_ATTEMPT).order_by("-sequence").values_list("data", flat=True)
    index = (failed.first() or {}).get("failedStepIndex")
    return step_of(execution.release, execution.current_step_index if index is None else index)


def failed_attempts(execution: Execution) -> int:
    """Return how many attempts have failed. An await that was not answered in time is no attempt."""
    return execution.events.filter(kind__in=_FAILED_ATTEMPT).count()


def failed_attempts_until(letter: DeadLetter) -> int:
    """Return how many attempts of the execution had failed when this failure was recorded, including it."""
    return letter.execution.events.filter(kind__in=_FAILED_ATTEMPT, at__lte=letter.created_at).count()


def restart_of(execution: Execution) -> str:
    """Say in one sentence where a re-drive of a failed execution starts, and what it repeats."""
    step = step_of(execution.release, execution.current_step_index)
    failure = latest_failure(execution)
    if failure is not None and failure.reason in _AWAIT_REASONS:
        return f"It asks the questions of {step} again."
    stored = execution.events.filter(kind="CHECKPOINT", data__nextStepIndex=execution.current_step_index)
    if execution.checkpoints and stored.exists():
        return f"It starts from its last checkpoint, at {step}. The steps before it do not run again."
    repeated = ""
    if failure is not None and failure.failed_step_index > execution.current_step_index:
        failed = step_of(execution.release, failure.failed_step_index)
        repeated = f" The steps before {failed}, which failed, run again too, because there is no checkpoint of them."
    start = "at the first step" if execution.current_step_index == 0 else "where the failed attempt started"
    return f"It starts {start}: {step}.{repeated}"
