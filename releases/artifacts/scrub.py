"""Reads each stored blob again within SCRUB_DAYS and compares its bytes with its digest.

Damaged bytes are put into quarantine, so that no worker runs them and the correct bytes can be uploaded again. After
that verdict, releases that need them are not activated or submitted to (`releases.artifacts.soundness`).
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from releases import metrics, queries, statements
from releases.artifacts import blob_lock, verdicts
from releases.errors import ArtifactStoreUnavailable
from releases.models import Blob

log = logging.getLogger(__name__)
# A blob is due after this share of SCRUB_DAYS. The rest is the time to read all due blobs.
DUE_AFTER = 0.75
CLAIM_SECONDS = 3600.0
MISSING_DUE_AFTER = timedelta(minutes=1)
"""Missing bytes are checked again after this time, because requests that need them fail until then."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result for one blob. `state` is None if the store cannot be read or the bytes are in use."""

    digest: str
    state: Blob.State | None


def scrub(budget_seconds: float, *, everything: bool = False) -> Iterator[Checked]:
    """Check the due blobs and yield the results, starting with the blob whose last check is longest ago.

    Ends when no blob is due, when `budget_seconds` have passed, or if the store cannot be used. A MISSING blob is due
    every minute. With `everything`, each blob is due that was not checked since the call began. Only one process scrubs
    at a time. In other processes no blob is due.
    """
    age = timedelta() if everything else timedelta(days=settings.SCRUB_DAYS * DUE_AFTER)
    deadline = time.monotonic() + budget_seconds
    with blob_lock.scrubber() as held:
        if not held:
            return
        now = queries.clock()
        before, missing_before = now - age, now - min(age, MISSING_DUE_AFTER)
        while time.monotonic() < deadline:
            digest = _claim(before, missing_before)
            if digest is None:
                return
            checked = check(digest)
            yield checked
            if checked.state is None:
                return


def check(digest: str) -> Checked:
    """Read one blob and record the verdict. Several processes may check the same blob at the same time."""
    try:
        state = verdicts.judge(digest)
    except ArtifactStoreUnavailable as error:
        log.warning("blob %s cannot be checked: %s", digest, error.detail)
        state = None
    metrics.blob_checks.add("NONE" if state is None else state.value)
    if state is None:
        Blob.objects.filter(digest=digest).update(checking_until=None)
    return Checked(digest, state)


def _claim(before: datetime, missing_before: datetime) -> str | None:
    parameters: dict[str, Any] = {"claim": CLAIM_SECONDS, "before": before, "missing": missing_before}
    with connection.cursor() as cursor:
        cursor.execute(statements.CLAIM_BLOB, parameters)
        row = cursor.fetchone()
    return row[0] if row else None
