"""The release side's Celery tasks: thin, and safe to run twice."""

from datetime import timedelta

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


@shared_task(name=registrar.VERIFY_TASK, acks_late=False)
def verify(release_id: int) -> None:
    """May take long, so it is acknowledged at once: the sweep sees to one that was lost."""
    registrar.verify_release(release_id)


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
    direct_uploads.finish(upload_id)


@shared_task(name="releases.scrub", acks_late=False, expires=55)
def scrub_blobs() -> None:
    """Re-read what is due. The clock rings again before the budget is spent, and others find the lock taken."""
    for _ in scrub.scrub(SCRUB_BUDGET_SECONDS):
        pass


@shared_task(name=soundness.CHECK_TASK, acks_late=False)
def check_blob(digest: str) -> None:
    """Re-read one blob that looked otherwise than it did when it was hashed."""
    scrub.check(digest)


@shared_task(name="releases.remove_orphans", acks_late=False, expires=3000)
def remove_orphans() -> None:
    """Remove what nothing needs; scheduled by the setting ORPHAN_SWEEP."""
    age = timedelta(hours=settings.ORPHAN_HOURS)
    for _ in retention.remove(retention.orphans(age), age):
        pass
