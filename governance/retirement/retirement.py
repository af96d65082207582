"""Retires a registered release permanently: nothing needs it any more, so its artifacts and its workers may go.

A retirement locks the row of the release exclusively. Each submission and each re-drive holds a share lock on it from
its check of the status to its commit. So it is either counted as a blocker, or finds the release retired.
"""

import logging
from dataclasses import dataclass
from enum import StrEnum

from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, Q
from django.utils import timezone

from executions.lifecycle import statements
from foundation.database import writes
from releases import pointer
from releases.errors import ReasonRequired, RetirementBlocked
from releases.models import ActivationRequest, GradualActivation, Pipeline, Release, Retirement
from releases.pointer import require_registered
from releases.states import MOVES, UNDECIDED, RequestStatus, Status
from tenancy.audit.acts import Act


class Kind(StrEnum):
    """Why a release is needed.

    It is active or open to callers, a request to activate it collects approvals or waits for its time, a gradual
    activation of it is running, its executions have not ended, or they may still be re-driven.
    """

    ACTIVE = "ACTIVE"
    SKEW_GRACE = "SKEW_GRACE"
    APPROVAL = "APPROVAL"
    SCHEDULE = "SCHEDULE"
    GRADUAL = "GRADUAL"
    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    RETRYING = "RETRYING"
    WAITING = "WAITING"
    FAILED = "FAILED"
    DEAD_LETTERED = "DEAD_LETTERED"
    CAMPAIGN = "CAMPAIGN"


FAILURES = frozenset({Kind.FAILED, Kind.DEAD_LETTERED})
"""The kinds that a retirement may give up."""


@dataclass(frozen=True, slots=True)
class Blocker:
    """A kind of rows that need the release, and their number, which is at least 1."""

    kind: Kind
    count: int


def blockers(release: Release) -> list[Blocker]:
    """Return everything that needs the release now."""
    running = GradualActivation.objects.filter(pipeline=OuterRef("pk"), status=GradualActivation.Status.RUNNING)
    takes_part = Exists(running.filter(Q(baseline=release) | Q(candidate=release)))
    pipelines = Pipeline.objects.annotate(is_active=Q(activation__release=release), is_gradual=takes_part)
    is_active, is_gradual = pipelines.values_list("is_active", "is_gradual").get(pk=release.pipeline_id)
    own = [Blocker(Kind.ACTIVE, 1)] if is_active else []
    if is_gradual:
        own.append(Blocker(Kind.GRADUAL, 1))
    if pointer.opening(release).is_in_grace:
        own.append(Blocker(Kind.SKEW_GRACE, 1))
    return [*own, *_requests(release), *_executions(release)]


REQUESTS = {Kind.APPROVAL: RequestStatus.OPEN, Kind.SCHEDULE: RequestStatus.APPROVED}
"""The status of the requests that each kind counts."""
STATUSES = {
    Kind.QUEUED: "QUEUED",
    Kind.RUNNING: "RUNNING",
    Kind.RETRYING: "WAIT_RETRY",
    Kind.WAITING: "WAITING_EXTERNAL",
    Kind.FAILED: "FAILED",
    Kind.DEAD_LETTERED: "DLQ",
}
"""The status of the executions that each kind counts."""


def _requests(release: Release) -> list[Blocker]:
    """Return the undecided requests for a release: those that collect votes, and those that wait for their time."""
    rows = ActivationRequest.objects.filter(release=release, status__in=UNDECIDED).order_by()
    counts = dict(rows.values_list("status").annotate(count=Count("pk")))
    return [Blocker(kind, counts[status]) for kind, status in REQUESTS.items() if status in counts]


def _executions(release: Release) -> list[Blocker]:
    """Return the open executions, the failures and the unfinished campaigns of a release, all from one snapshot.

    A failure counts until retention removes it, because it can be re-driven until then. A failed smoke test does not
    count. A campaign counts while it has an execution of the release that it has yet to re-drive.
    """
    parameters = {"release": release.pk, "tenant": release.pipeline.tenant_id}
    with connection.cursor() as cursor:
        cursor.execute(statements.COUNT_BLOCKERS, parameters)
        counts = dict(cursor.fetchall())
    names = {**STATUSES, Kind.CAMPAIGN: "CAMPAIGN"}
    return [Blocker(kind, counts[name]) for kind, name in names.items() if counts.get(name)]


log = logging.getLogger(__name__)


def retire(release: Release, *, actor: str, reason: str, give_up_failures: bool = False) -> Retirement:
    """Retire `release` and return the retirement. A repeated call returns the first retirement.

    A retired release is never activated again, and its failed executions are never re-driven. With `give_up_failures`,
    failures that could still be re-driven do not block the retirement. Raises `ReasonRequired`, `ReleaseNotRegistered`,
    and `RetirementBlocked` with every blocker; then nothing has changed.
    """
    if not reason.strip():
        raise ReasonRequired("A retirement requires a reason.")
    with transaction.atomic():
        # An activation holds the first lock, a submission or a re-drive the second. Both are taken without a join:
        # after a wait, PostgreSQL re-reads the locked row, but not the joined rows.
        Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        locked = Release.objects.select_for_update().get(pk=release.pk)
        if locked.status == Status.RETIRED:
            event = Retirement.objects.get(release=locked)
        else:
            event = _retire(locked, actor, reason.strip(), give_up_failures)
    release.refresh_from_db(fields=("status", "status_changed_at"))
    return event


def _retire(locked: Release, actor: str, reason: str, give_up_failures: bool) -> Retirement:
    require_registered(locked)
    found = blockers(locked)
    given_up = [each for each in found if give_up_failures and each.kind in FAILURES]
    if left := [each for each in found if each not in given_up]:
        raise _blocked(locked, left)
    writes.move(
        Release.objects.filter(pk=locked.pk), MOVES, Status.REGISTERED, Status.RETIRED, status_changed_at=timezone.now()
    )
    count = sum(each.count for each in given_up)
    log.info("%s retired %s and gave up %d failures", actor, locked, count)
    event = Retirement.objects.create(release=locked, actor=actor, reason=reason, given_up_failures=count)
    locked.record(Act.RELEASE_RETIRE, actor, reason=reason, givenUpFailures=count)
    return event


def _blocked(release: Release, left: list[Blocker]) -> RetirementBlocked:
    named = ", ".join(f"{each.kind} {each.count}" for each in left)
    return RetirementBlocked(
        f"Release {release.release_version!r} is still needed: {named}.",
        blockers=[{"kind": each.kind.value, "count": each.count} for each in left],
    )
