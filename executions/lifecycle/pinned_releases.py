"""Whether the releases to which failed executions are pinned may run them again."""

from collections.abc import Collection

from django.db import connection

from executions.errors import ReleaseRevokedConfirmation
from executions.lifecycle import statements
from executions.models import Execution
from releases.errors import ReleaseRetired
from releases.models import Pipeline, Revocation
from releases.states import Status


def lock_statuses(release_ids: Collection[int]) -> dict[int, Status]:
    """Return the statuses of the releases. None of them is retired before the transaction ends."""
    with connection.cursor() as cursor:
        cursor.execute(statements.LOCK_RELEASES, {"ids": list(release_ids)})
        return {release_id: Status(status) for release_id, status in cursor.fetchall()}


def require_runnable(execution: Execution, allow_revoked: bool) -> None:
    """Raise `ReleaseRetired` or, without `allow_revoked`, `ReleaseRevokedConfirmation`.

    The release is not retired before the transaction ends.
    """
    status = lock_statuses([execution.release_id])[execution.release_id]
    if status is Status.RETIRED:
        raise ReleaseRetired(
            f"Release {execution.release_version!r} is retired, so execution {execution.pk} cannot run again.",
            releaseVersion=execution.release_version,
        )
    if status is Status.REVOKED and not allow_revoked:
        raise _unconfirmed(execution)


def _unconfirmed(execution: Execution) -> ReleaseRevokedConfirmation:
    reason = Revocation.objects.values_list("reason", flat=True).get(release=execution.release_id)
    pipelines = Pipeline.objects.filter(releases=execution.release_id)
    active = pipelines.values_list("activation__release__release_version", flat=True).get()
    return ReleaseRevokedConfirmation(
        f"Execution {execution.pk} is pinned to release {execution.release_version!r}, which is revoked: {reason}",
        releaseVersion=execution.release_version,
        revocationReason=reason,
        activeReleaseVersion=active,
    )
