"""The release side's Celery tasks: thin, and safe to run twice."""

from datetime import timedelta

from celery import shared_task
from django.utils import timezone

from releases import registrar
from releases.models import Release
from releases.states import PENDING

# A verification that has not moved for this long has lost its message or its worker.
STALLED = timedelta(seconds=30)


@shared_task(name=registrar.VERIFY_TASK)
def verify(release_id: int) -> None:
    registrar.verify_release(release_id)


@shared_task(name="releases.sweep")
def sweep() -> None:
    """Send off again whatever verification a lost message or a killed worker left behind."""
    stalled = Release.objects.filter(status__in=PENDING, status_changed_at__lt=timezone.now() - STALLED)
    for release_id in stalled.order_by("status_changed_at").values_list("pk", flat=True)[:100]:
        verify.delay(release_id)
