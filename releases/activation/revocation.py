"""Revocation: a registered release is taken out of use for good. What runs already is never touched."""

from django.db import transaction
from django.utils import timezone

from foundation.database import guarded_update
from releases.errors import ReasonRequired, ReleaseNotRegistered
from releases.models import Pipeline, Release, Revocation
from releases.states import MOVES, Status


def revoke(release: Release, *, actor: str, reason: str) -> Revocation:
    """Revoke `release` and return the event. Repeating it returns the first one.

    It can never be activated again; where it is active, submissions are refused until another release is.
    Raises `ReasonRequired`, and `ReleaseNotRegistered` for one that is not, or not yet, registered.
    """
    if not reason.strip():
        raise ReasonRequired("A revocation must say why.")
    with transaction.atomic():
        # An activation holds this lock too: it comes before, or finds the release revoked.
        Pipeline.objects.select_for_update().get(pk=release.pipeline_id)
        moved = guarded_update.move(
            Release.objects.filter(pk=release.pk),
            MOVES,
            Status.REGISTERED,
            Status.REVOKED,
            status_changed_at=timezone.now(),
        )
        if moved:
            made = Revocation.objects.create(release=release, actor=actor, reason=reason.strip())
        else:
            made = _first(release)
    release.refresh_from_db(fields=("status", "status_changed_at"))
    return made


def _first(release: Release) -> Revocation:
    found = Revocation.objects.filter(release=release).first()
    if found is None:
        release.refresh_from_db(fields=("status",))
        raise ReleaseNotRegistered(
            f"Release {release.release_version!r} is {release.status}.", releaseStatus=release.status
        )
    return found
