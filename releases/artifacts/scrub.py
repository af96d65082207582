"""Re-reads stored bytes, each blob within the set time, and holds them against their digest.

Bytes that are wrong are moved out of their place, so that nobody runs them and the right ones can take it. The
releases that need them are refused from the verdict on (`releases.artifacts.soundness`).
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from releases.artifacts import blob_lock, verdicts
from releases.errors import ArtifactStoreUnavailable
from releases.models import Blob

log = logging.getLogger(__name__)
# A blob is due after this share of the set time: the rest is for reading what is due.
DUE_AFTER = 0.75
CLAIM_SECONDS = 3600.0
MISSING_DUE_AFTER = timedelta(minutes=1)
"""Missing bytes are checked again this soon, because requests that need them are refused until then."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found. `state` is None if there is no verdict: the store cannot be read, or the bytes are in use."""

    digest: str
    state: Blob.State | None


def scrub(budget_seconds: float, *, everything: bool = False) -> Iterator[Checked]:
    """Check the due blobs, the longest unchecked first, until none is due or the budget is spent.

    A MISSING blob is due every minute. With `everything`, each blob that was not checked since the call began is due.
    One process scrubs at a time; for any other process no blob is due. Ends if the store cannot be used.
    """
    age = timedelta() if everything else timedelta(days=settings.SCRUB_DAYS * DUE_AFTER)
    deadline = time.monotonic() + budget_seconds
    with blob_lock.only_scrubber() as alone:
        if not alone:
            return
        before, missing_before = _clock(age), _clock(min(age, MISSING_DUE_AFTER))
        while time.monotonic() < deadline:
            digest = _claim(before, missing_before)
            if digest is None:
                return
            checked = check(digest)
            yield checked
            if checked.state is None:
                return


def check(digest: str) -> Checked:
    """Read one blob and note the verdict. Safe at any time, and from many places at once."""
    try:
        state = verdicts.judge(digest)
    except ArtifactStoreUnavailable as error:
        log.warning("blob %s could not be checked: %s", digest, error.detail)
        state = None
    if state is None:
        Blob.objects.filter(digest=digest).update(checking_until=None)
    return Checked(digest, state)


def _clock(age: timedelta) -> datetime:
    """`age` before now, by the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        row = cursor.fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    now: datetime = row[0]
    return now - age


_CLAIM = """
UPDATE releases_blob SET checking_until = clock_timestamp() + make_interval(secs => %(claim)s)
WHERE digest = (
    SELECT digest FROM releases_blob
    WHERE state <> 'REMOVED' AND checked_at < CASE state WHEN 'MISSING' THEN %(missing)s ELSE %(before)s END
        AND (checking_until IS NULL OR checking_until < clock_timestamp())
    ORDER BY checked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING digest
"""


def _claim(before: datetime, missing_before: datetime) -> str | None:
    parameters: dict[str, Any] = {"claim": CLAIM_SECONDS, "before": before, "missing": missing_before}
    with connection.cursor() as cursor:
        cursor.execute(_CLAIM, parameters)
        row = cursor.fetchone()
    return row[0] if row else None
