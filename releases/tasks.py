"""The release side's Celery tasks: thin, and safe to run twice."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from celery import shared_task
from django.conf import settings
from django.utils import timezone

from coordinator import bell
from releases import direct_uploads, registrar, retention, scrub, soundness
from releases.models import ArtifactUpload, Release
from releases.states import PENDING, UploadStatus

# A verification that has not moved for this long has lost its message or its worker.
STALLED = timedelta(minutes=2)
SCRUB_BUDGET_SECONDS = 50.0
REMOVE_TASK = "releases.remove_orphans"
# A task that finds no free slot is sent again after this time.
NO_PLACE_DELAY = timedelta(seconds=10)
_places = threading.Semaphore(1000)


def limit_artifact_tasks(most: int) -> None:
    """Allow at most `most` tasks of the queue `artifacts` to run at once in this process."""
    global _places
    _places = threading.Semaphore(most)


@contextmanager
def _place() -> Iterator[bool]:
    """Yield True if a slot was free, and occupy it during the block. Never waits: that would block a thread."""
    places = _places
    free = places.acquire(blocking=False)
    try:
        yield free
    finally:
        if free:
            places.release()


def _in_place(task: str, work: Callable[..., object], *arguments: Any) -> None:
    """Do `work` if a slot is free, else send `task` again."""
    with _place() as free:
        if free:
            work(*arguments)
        else:
            bell.ring(task, *arguments, delay=NO_PLACE_DELAY)


@shared_task(name=registrar.VERIFY_TASK, acks_late=False)
def verify(release_id: int) -> None:
    """May take long, so it is acknowledged at once: the sweep sees to one that was lost."""
    _in_place(registrar.VERIFY_TASK, _verify_all, release_id)


def _verify_all(release_id: int) -> None:
    """Verify a release, and then those whose messages found no free slot."""
    registrar.verify_release(release_id)
    while registrar.verify_next():
        pass


@shared_task(name="releases.sweep")
def sweep() -> None:
    """Send off again, once for each time that it stalls, whatever verification was lost on the way.

    Direct uploads that nobody finishes are closed.
    """
    now = timezone.now()
    stalled = Release.objects.filter(status__in=PENDING, status_changed_at__lt=now - STALLED)
    for release_id in stalled.order_by("status_changed_at").values_list("pk", flat=True)[:100]:
        if stalled.filter(pk=release_id).update(status_changed_at=now):
            bell.ring(registrar.VERIFY_TASK, release_id)
    waiting = ArtifactUpload.objects.filter(status=UploadStatus.VERIFYING, status_changed_at__lt=now - STALLED)
    for upload_id in waiting.order_by("status_changed_at").values_list("pk", flat=True)[:100]:
        if waiting.filter(pk=upload_id).update(status_changed_at=now):
            bell.ring(direct_uploads.FINISH_TASK, str(upload_id))
    direct_uploads.expire()


@shared_task(name=direct_uploads.FINISH_TASK, acks_late=False)
def finish_upload(upload_id: str) -> None:
    """Hash what was sent straight to the store; the sweep sees to one that was lost."""
    _in_place(direct_uploads.FINISH_TASK, direct_uploads.finish, upload_id)


@shared_task(name="releases.scrub", acks_late=False, expires=55)
def scrub_blobs() -> None:
    """Re-read what is due. The clock rings again before the budget is spent, and others find the lock taken."""
    with _place() as free:
        for _ in scrub.scrub(SCRUB_BUDGET_SECONDS) if free else ():
            pass


@shared_task(name=soundness.CHECK_TASK, acks_late=False)
def check_blob(digest: str) -> None:
    """Re-read one blob that looked otherwise than it did when it was hashed."""
    _in_place(soundness.CHECK_TASK, scrub.check, digest)


@shared_task(name=REMOVE_TASK, acks_late=False, expires=3000)
def remove_orphans() -> None:
    """Remove what nothing needs, if the setting ORPHAN_SWEEP allows it. The clock sends this only then."""
    if settings.ORPHAN_SWEEP:
        _in_place(REMOVE_TASK, _remove_orphans)


def _remove_orphans() -> None:
    age = timedelta(hours=settings.ORPHAN_HOURS)
    for _ in retention.remove(retention.orphans(age), age):
        pass
