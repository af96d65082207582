"""Retires a registered release permanently: nothing needs it any more, so its artifacts and its workers may go.

A retirement locks the row of the release exclusively. Each submission and each re-drive holds a share lock on it from
its check of the status to its commit. So it is either counted as a blocker, or finds the release retired.
"""

import logging

from django.db import transaction
from django.utils import timezone

from foundation.database import guarded_update
from releases.activation.blockers import FAILURES, Blocker, blockers
from releases.errors import ReasonRequired, ReleaseNotRegistered, RetirementBlocked
from releases.models import Pipeline, Release, Retirement
from releases.states import MOVES, Status
from tenancy import audit
from tenancy.audit.acts import Act

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
    if locked.status != Status.REGISTERED:
        raise ReleaseNotRegistered(
            f"Release {locked.release_version!r} is {locked.status}.", releaseStatus=locked.status
        )
    found = blockers(locked)
    given_up = [each for each in found if give_up_failures and each.kind in FAILURES]
    if left := [each for each in found if each not in given_up]:
        raise _blocked(locked, left)
    guarded_update.move(
        Release.objects.filter(pk=locked.pk),
        MOVES,
        Status.REGISTERED,
        Status.RETIRED,
        status_changed_at=timezone.now(),
    )
    count = sum(each.count for each in given_up)
    log.info("%s retired %s and gave up %d failures", actor, locked, count)
    event = Retirement.objects.create(release=locked, actor=actor, reason=reason, given_up_failures=count)
    audit.record(
        Act.RELEASE_RETIRE,
        tenant=locked.pipeline.tenant,
        actor=actor,
        object_type="release",
        object=locked.audit_name,
        reason=reason,
        givenUpFailures=count,
    )
    return event


def _blocked(release: Release, left: list[Blocker]) -> RetirementBlocked:
    named = ", ".join(f"{each.kind} {each.count}" for each in left)
    return RetirementBlocked(
        f"Release {release.release_version!r} is still needed: {named}.",
        blockers=[{"kind": each.kind.value, "count": each.count} for each in left],
    )
