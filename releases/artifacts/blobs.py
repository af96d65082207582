"""Records verdicts on blobs. The state of a blob and the event of its change are written in one transaction."""

import logging
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from releases.models import Blob, BlobEvent

log = logging.getLogger(__name__)
State, Kind = Blob.State, BlobEvent.Kind


def none_recorded() -> bool:
    """Return True while the database records no stored bytes: a new, empty store cannot have lost any."""
    return not Blob.objects.exclude(state=State.REMOVED).exists()


def record_sound(digest: str, *, size: int, fingerprint: str) -> None:
    """Record that the stored bytes match the digest. Creates the row of a new blob."""
    with transaction.atomic():
        blob, created = Blob.objects.select_for_update().get_or_create(
            digest=digest, defaults={"size": size, "fingerprint": fingerprint}
        )
        if created:
            return
        if blob.state != State.SOUND:
            BlobEvent.objects.create(digest=digest, kind=Kind.HEALED, data={"was": blob.state})
        _write(digest, state=State.SOUND, fingerprint=fingerprint)


def record_unsound(digest: str, state: Blob.State, **data: Any) -> Blob.State:
    """Record that the bytes are DAMAGED or MISSING. Return the resulting state.

    If the bytes are MISSING, a blob stays DAMAGED if they are in quarantine, and REMOVED if they were removed.
    """
    with transaction.atomic():
        blob = Blob.objects.select_for_update().get(digest=digest)
        if state == State.MISSING and blob.state in (State.DAMAGED, State.REMOVED):
            state = State(blob.state)
        if blob.state != state:
            BlobEvent.objects.create(digest=digest, kind=Kind(state.value), data=data)
            log.error("blob %s is %s", digest, state)
        _write(digest, state=state)
    return state


def record_removed(digest: str, *, size: int, **data: Any) -> None:
    """Record that the bytes were removed because nothing needs them."""
    with transaction.atomic():
        if not Blob.objects.filter(digest=digest).update(state=State.REMOVED, checking_until=None):
            Blob.objects.create(digest=digest, state=State.REMOVED, size=size, fingerprint="")
        BlobEvent.objects.create(digest=digest, kind=Kind.REMOVED, data={"size": size, **data})


def _write(digest: str, **changes: Any) -> None:
    Blob.objects.filter(digest=digest).update(checked_at=Now(), checking_until=None, **changes)
