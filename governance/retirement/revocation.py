"""Revokes a registered release permanently. An order decides about its open executions.

The order is part of the revocation. `revoked` carries it out. A pause is made in the same transaction.
The progress of failures is recorded, so that the order survives the process that revoked the release.
"""

from django.db import transaction
from django.utils import timezone

from foundation.database import guarded_update
from governance.gradual import ending
from governance.requests import states
from governance.retirement import revoked
from releases import pointer
from releases.errors import ReasonRequired, ReleaseNotRegistered
from releases.models import Release, Revocation
from releases.states import MOVES, Status
from tenancy.audit.acts import Act

Order = Revocation.OpenExecutions


def revoke(release: Release, *, actor: str, reason: str, open_executions: Order = Order.LEAVE) -> Revocation:
    """Revoke `release` and return the revocation. A repeated call returns the first revocation, with its order.

    The release can never be activated again. If it is active, submissions fail until another release is active. The
    order `fail` ends all open executions of the release with the code RELEASE_REVOKED soon after the commit. The order
    `pause` pauses the release: nothing of it is claimed any more until it is resumed. `leave` lets them run. A gradual
    activation in which the release is the candidate or the baseline ends as WITHDRAWN.

    Raises `ReasonRequired`, and `ReleaseNotRegistered` if the release is not registered.
    """
    if not reason.strip():
        raise ReasonRequired("A revocation requires a reason.")
    with transaction.atomic():
        # An activation holds this lock too. It is either committed before the revocation, or finds the release revoked.
        pipeline = pointer.locked(release.pipeline_id)
        withdrawn = ending.withdraw_revoked(pipeline, release, actor=actor, reason=reason.strip())
        moved = guarded_update.move(
            Release.objects.filter(pk=release.pk),
            MOVES,
            Status.REGISTERED,
            Status.REVOKED,
            status_changed_at=timezone.now(),
        )
        if moved:
            event = Revocation.objects.create(
                release=release, actor=actor, reason=reason.strip(), open_executions=open_executions
            )
            states.fail_revoked(event)
            revoked.follow(event)
            release.record(
                Act.RELEASE_REVOKE,
                actor,
                reason=event.reason,
                openExecutions=open_executions.value,
                **({"withdrawnCandidate": withdrawn.candidate.release_version} if withdrawn else {}),
            )
        else:
            event = _first(release)
    release.refresh_from_db(fields=("status", "status_changed_at"))
    return event


def _first(release: Release) -> Revocation:
    """Return the revocation of a release that is already revoked. Raises `ReleaseNotRegistered` if it has none."""
    found = Revocation.objects.filter(release=release).first()
    if found is None:
        release.refresh_from_db(fields=("status",))
        raise ReleaseNotRegistered(release.release_version, release.status)
    return found
