"""Re-reads stored bytes, each blob within the set time, and holds them against their digest.

Bytes that are wrong are moved out of their place, so that nobody runs them and the right ones can take it. The
releases that need them are refused from the verdict on (`releases.soundness`).
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.conf import settings
from django.db import connection

from releases import blob_lock, blobs
from releases.artifact_store import artifact_store
from releases.errors import ArtifactStoreUnavailable
from releases.models import Blob

log = logging.getLogger(__name__)
# A blob is due after this share of the set time: the rest is for reading what is due.
DUE_AFTER = 0.75
CLAIM_SECONDS = 3600.0
State = Blob.State


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found; `state` is None where the store could not be read, which is no verdict."""

    digest: str
    state: Blob.State | None


def scrub(budget_seconds: float, *, everything: bool = False) -> Iterator[Checked]:
    """Check what is due, the longest unchecked first, until nothing is or the budget is spent.

    With `everything` whatever was not checked since the call began is due. One process scrubs at a time; to any other
    nothing is due. Ends where the store cannot be used.
    """
    age = timedelta() if everything else timedelta(days=settings.SCRUB_DAYS * DUE_AFTER)
    deadline = time.monotonic() + budget_seconds
    with blob_lock.only_scrubber() as alone:
        if not alone:
            return
        before = _clock(age)
        while time.monotonic() < deadline:
            digest = _claim(before)
            if digest is None:
                return
            checked = check(digest)
            yield checked
            if checked.state is None:
                return


def check(digest: str) -> Checked:
    """Read one blob and note the verdict. Safe at any time, and from many places at once."""
    try:
        state = _examine(digest)
    except ArtifactStoreUnavailable as error:
        log.warning("blob %s could not be checked: %s", digest, error.detail)
        state = None
    if state is None:
        Blob.objects.filter(digest=digest).update(checking_until=None)
    elif state != State.SOUND:
        log.error("blob %s is %s", digest, state)
    return Checked(digest, state)


def _examine(digest: str) -> Blob.State | None:
    store = artifact_store()
    seen = store.verified(digest)
    if seen is None:
        with blob_lock.alone(digest) as held:
            if not held:  # an upload is about to bring these very bytes
                return None
            # Once more, now that nobody puts them right meanwhile.
            seen = store.verified(digest)
            if seen is None:
                place = store.quarantine(digest)
                state = State.MISSING if place is None else State.DAMAGED
                return blobs.note_unsound(digest, state, **({"quarantined": place} if place else {}))
    blobs.note_sound(digest, size=seen.size, fingerprint=seen.fingerprint)
    return State.SOUND


def _clock(age: timedelta) -> datetime:
    """`age` before now, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    now: datetime = row[0]
    return now - age


_CLAIM = """
UPDATE releases_blob SET checking_until = clock_timestamp() + make_interval(secs => %s)
WHERE digest = (
    SELECT digest FROM releases_blob
    WHERE state <> 'REMOVED' AND checked_at < %s AND (checking_until IS NULL OR checking_until < clock_timestamp())
    ORDER BY checked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING digest
"""


def _claim(before: datetime) -> str | None:
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, (CLAIM_SECONDS, before))
        row = cursor.fetchone()
    return row[0] if row else None
