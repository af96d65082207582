"""The release side's Celery tasks: thin, and safe to run twice."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from coordinator import bell
from releases import registrar
from releases.models import Release
from releases.states import PENDING

# A verification that has not moved for this long has lost its message or its worker.
STALLED = timedelta(minutes=2)


@shared_task(name=registrar.VERIFY_TASK, acks_late=False)
def verify(release_id: int) -> None:
    """May take long, so it is acknowledged at once: the sweep sees to one that was lost."""
    registrar.verify_release(release_id)


@shared_task(name="releases.sweep")
def sweep() -> None:
    """Send off again, once for each time that it stalls, whatever verification was lost on the way."""
    now = timezone.now()
    stalled = Release.objects.filter(status__in=PENDING, status_changed_at__lt=now - STALLED)
    for release_id in stalled.order_by("status_changed_at").values_list("pk", flat=True)[:100]:
        if stalled.filter(pk=release_id).update(status_changed_at=now):
            bell.ring(registrar.VERIFY_TASK, release_id)
