"""Reads each stored blob again within SCRUB_DAYS and compares its bytes with its digest.

Damaged bytes are put into quarantine, so that no worker runs them and the correct bytes can be uploaded again. After
that verdict, releases that need them are not activated or submitted to (`releases.artifacts.soundness`).

Every due blob is read before one that looks wrong gets its verdict. So a store that misreads many blobs changes none.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from django.conf import settings
from django.db import connection

from releases import metrics, queries, statements
from releases.artifacts import blob_lock, blobs
from releases.errors import ArtifactStoreUnavailable, ArtifactStoreUnreliable
from releases.models import Blob

log = logging.getLogger(__name__)
# A blob is due after this share of SCRUB_DAYS. The rest is the time to read all due blobs.
DUE_AFTER = 0.75
CLAIM_SECONDS = 3600.0
MISSING_DUE_AFTER = timedelta(minutes=1)
"""Missing bytes are checked again after this time, because requests that need them fail until then."""
MOST_UNREADABLE = 3
"""A run ends after this many blobs that cannot be read."""


class Scope(StrEnum):
    """Which blobs are due, of those that were not checked since the run began."""

    DUE = "due"
    """Those whose check is old enough."""
    ALL = "all"
    UNSOUND = "unsound"
    """Those that are DAMAGED or MISSING."""


@dataclass(frozen=True, slots=True)
class Checked:
    """The result for one blob. `state` is None if there is no verdict: `reason` says why."""

    digest: str
    state: Blob.State | None
    reason: str = ""


def scrub(budget_seconds: float, scope: Scope = Scope.DUE, *, accept_damage: bool = False) -> Iterator[Checked]:
    """Check the blobs of `scope` and yield the results, starting with the blob whose last check is longest ago.

    Ends when no blob is due, when `budget_seconds` have passed, or if the store cannot be used. A MISSING blob is due
    every minute. If too many blobs look wrong, none of these is judged, unless `accept_damage` is true. Only one
    process scrubs at a time. In other processes no blob is due.
    """
    deadline = time.monotonic() + budget_seconds
    with blob_lock.scrubber() as held:
        if not held:
            return
        due, unreadable, suspects = _due(scope), list[str](), list[str]()
        while time.monotonic() < deadline and len(unreadable) < MOST_UNREADABLE:
            claimed = _claim(due, unreadable)
            if claimed is None:
                break
            digest, state = claimed
            checked = _look(digest) if state == Blob.State.SOUND else check(digest)
            if checked is not None:
                yield checked
                unreadable += [digest] if checked.state is None else []
                continue
            suspects.append(digest)
            if not accept_damage and (refusal := _too_many(suspects)):
                yield from refusal
                return
        for done, digest in enumerate(suspects):
            yield check(digest, suspects=len(suspects) - done, accept_damage=accept_damage)


def check(digest: str, *, suspects: int = 1, accept_damage: bool = False) -> Checked:
    """Decide about one blob and record the verdict. Several processes may check the same blob at the same time."""
    try:
        state = blobs.judge(digest, suspects=suspects, accept_damage=accept_damage)
    except ArtifactStoreUnavailable as error:
        return _no_verdict(digest, error)
    if state is None:
        return _no_verdict(digest, ArtifactStoreUnavailable("The bytes are being written or removed."))
    return _verdict(digest, state)


def _look(digest: str) -> Checked | None:
    """Read a sound blob once. Return None if it looks wrong."""
    try:
        return _verdict(digest, Blob.State.SOUND) if blobs.is_sound(digest) else None
    except ArtifactStoreUnavailable as error:
        return _no_verdict(digest, error)


def _too_many(suspects: list[str]) -> list[Checked]:
    """Return the results of the suspects if there are too many of them to judge any."""
    try:
        blobs.require_few(len(suspects))
    except ArtifactStoreUnreliable as error:
        return [_no_verdict(digest, error) for digest in suspects]
    return []


def _verdict(digest: str, state: Blob.State) -> Checked:
    metrics.blob_checks.add(state.value)
    return Checked(digest, state)


def _no_verdict(digest: str, error: ArtifactStoreUnavailable) -> Checked:
    log.warning("blob %s cannot be checked: %s", digest, error.detail)
    metrics.blob_checks.add("SUSPECT" if isinstance(error, ArtifactStoreUnreliable) else "NONE")
    Blob.objects.filter(digest=digest).update(checking_until=None)
    return Checked(digest, None, error.detail)


def _due(scope: Scope) -> dict[str, datetime]:
    """Return, for each state, the time before which a blob must have been checked to be due."""
    now, never = queries.clock(), datetime.min.replace(tzinfo=UTC)
    if scope is not Scope.DUE:
        return {"sound": now if scope is Scope.ALL else never, "damaged": now, "missing": now}
    age = timedelta(days=settings.SCRUB_DAYS * DUE_AFTER)
    return {"sound": now - age, "damaged": now - age, "missing": now - min(age, MISSING_DUE_AFTER)}


def _claim(due: dict[str, datetime], skip: list[str]) -> tuple[str, str] | None:
    with connection.cursor() as cursor:
        cursor.execute(statements.CLAIM_BLOB, {"claim": CLAIM_SECONDS, "skip": skip, **due})
        found: tuple[str, str] | None = cursor.fetchone()
    return found
