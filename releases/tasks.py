"""The Celery tasks of the release side. Each calls one use case and may run more than once."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any

from celery import shared_task
from django.conf import settings

from foundation import places, wakeup
from foundation.places import Turns
from releases.artifacts import blobs, retention, soundness
from releases.registration import direct_uploads, registrar, verification
from releases.registration.progress import RELEASES, UPLOADS

SCRUB_BUDGET_SECONDS = 50.0
REMOVE_TASK = "releases.remove_orphans"
# A task for which no place is free is sent again after this time.
NO_PLACE_DELAY = timedelta(seconds=10)
# The largest number of messages that the sweep sends per task. Each verification that ends sends the next message.
MAX_WAKEUPS = 16
_releases = RELEASES.turns(places.RELEASES)
_uploads = UPLOADS.turns(places.UPLOADS)


def _in_place(task: str, work: Callable[..., object], *arguments: Any) -> None:
    """Call `work` with `arguments` if a place is free. Otherwise send `task` again with a delay."""
    with places.ARTIFACTS.hold(crowded=partial(wakeup.send, task, *arguments, delay=NO_PLACE_DELAY)) as free:
        if free:
            work(*arguments)


def _take_turn(task: str, of: Turns, work: Callable[[Any], object]) -> None:
    """Call `work` for the row whose turn it is, and send `task` again for the next row.

    The row may be a different one from the row for which the message was sent.
    """
    due = None
    try:
        with of.take(crowded=partial(wakeup.send_once, task, delay=NO_PLACE_DELAY)) as due:
            if due is not None:
                work(due)
    finally:
        if due is not None:
            wakeup.send(task)


@shared_task(name=registrar.VERIFY_TASK, acks_late=False)
def verify() -> None:
    """Verify the release whose turn it is. This may take long, so the message is acknowledged first."""
    _take_turn(registrar.VERIFY_TASK, _releases, verification.verify_release)


@shared_task(name=direct_uploads.FINISH_TASK, acks_late=False)
def finish_upload() -> None:
    """Verify the direct upload whose turn it is."""
    _take_turn(direct_uploads.FINISH_TASK, _uploads, direct_uploads.finish)


@shared_task(name="releases.sweep")
def sweep() -> None:
    """Send messages again for stalled verifications, and expire overdue direct uploads."""
    for task, queue in ((registrar.VERIFY_TASK, RELEASES), (direct_uploads.FINISH_TASK, UPLOADS)):
        for _ in range(min(queue.stalled().count(), MAX_WAKEUPS)):
            wakeup.send(task)
    direct_uploads.expire()


@shared_task(name="releases.scrub", acks_late=False)
def scrub_blobs() -> None:
    """Scrub the due blobs.

    The clock sends the next message before the budget is spent. Its task ends at once if this one still scrubs.
    """
    with places.ARTIFACTS.hold() as free:
        for _ in blobs.scrub(SCRUB_BUDGET_SECONDS) if free else ():
            pass


@shared_task(name=soundness.CHECK_TASK, acks_late=False)
def check_blob(digest: str) -> None:
    """Check one blob whose fingerprint has changed since it was hashed, or which is missing."""
    _in_place(soundness.CHECK_TASK, blobs.check, digest)


@shared_task(name=REMOVE_TASK, acks_late=False)
def remove_orphans() -> None:
    """Remove orphaned bytes if ORPHAN_SWEEP is set. The clock sends this task only in that case."""
    if settings.ORPHAN_SWEEP:
        _in_place(REMOVE_TASK, _remove_orphans)


def _remove_orphans() -> None:
    age = timedelta(hours=settings.ORPHAN_HOURS)
    for _ in retention.remove(retention.orphans(age), age):
        pass
