"""Decides whether stored bytes are sound, and records that. Nothing else calls bytes damaged or missing (ADR 79).

One wrong read shows that something is wrong, but not what. So a verdict against bytes that were sound needs a second
read, later and over other connections, and the digest of the bytes that are moved to quarantine. If many blobs look
wrong at once, the store is at fault and not the blobs: there is no verdict until an operator demands it. The state of a
blob and the event of its change are written in one transaction.
"""

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from releases import metrics, queries
from releases.artifacts import blob_lock
from releases.artifacts.store import ArtifactStore, BlobStat, artifact_store, configured_store
from releases.errors import ArtifactStoreUnavailable, ArtifactStoreUnreliable
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


PAUSE_SECONDS = 1.0
"""The time between the two reads."""
FEW, FEW_IN_A_HUNDRED, MANY = 3, 1, 50
"""The number of blobs that may become unsound within RECENT: FEW, or FEW_IN_A_HUNDRED of all, but at most MANY."""
RECENT = timedelta(hours=1)


def is_sound(digest: str) -> bool:
    """Hash the bytes at `digest` once. If they are right, record SOUND, and return True.

    False is no verdict: nothing is recorded. SOUND is recorded under a lease that prevents removal of the bytes.
    """
    store = artifact_store()
    verified = store.verified(digest)
    if verified is not None:
        with blob_lock.shared([digest]) as lease:
            if store.stat(digest) == verified:
                _sound(lease, digest, verified)
                return True
    return False


def judge(digest: str, *, suspects: int = 1, accept_damage: bool = False) -> Blob.State | None:
    """Decide about the bytes at `digest`, record the verdict and return it. Damaged bytes are put into quarantine.

    If there are no bytes, right ones are taken back from quarantine. `suspects` is the number of blobs that look wrong
    now. With `accept_damage`, it does not matter how many.

    Every verdict other than SOUND is recorded under a lease that also prevents uploads. Returns None, without a
    verdict, if an upload or a removal holds a lease. Raises `ArtifactStoreUnavailable`, also if the lease is lost, and
    `ArtifactStoreUnreliable`.
    """
    if is_sound(digest):
        return State.SOUND
    if Blob.objects.filter(digest=digest, state=State.SOUND).exists():
        if not accept_damage:
            require_few(suspects)
        time.sleep(PAUSE_SECONDS)
    # A new store has new connections.
    store = configured_store(settings.ARTIFACT_STORE)
    with blob_lock.exclusive(digest) as lease:
        if lease is None:
            return None
        verified = store.verified(digest)
        return _unsound(lease, store, digest) if verified is None else _sound(lease, digest, verified)


def require_few(suspects: int) -> None:
    """Raise `ArtifactStoreUnreliable` if too many blobs look wrong: `suspects`, and those with a recent verdict."""
    recent = BlobEvent.objects.filter(kind__in=(State.DAMAGED, State.MISSING), at__gt=Now() - RECENT)
    count = suspects + recent.values("digest").distinct().count()
    share = Blob.objects.exclude(state=State.REMOVED).count() * FEW_IN_A_HUNDRED // 100
    if count > max(FEW, min(share, MANY)):
        log.error("%s stored blobs look damaged or missing. The artifact store is unreliable: none is judged", count)
        raise ArtifactStoreUnreliable(
            f"{count} stored artifacts look damaged or missing within an hour. The artifact store is probably at fault,"
            " so nothing is judged. If they are really lost, run coordinator scrub_artifacts --all --accept-damage."
        )


def _sound(lease: blob_lock.Lease, digest: str, verified: BlobStat) -> Blob.State:
    with lease.transaction():
        record_sound(digest, size=verified.size, fingerprint=verified.fingerprint)
    return State.SOUND


def _unsound(lease: blob_lock.Lease, store: ArtifactStore, digest: str) -> Blob.State:
    if not lease.renew():
        raise ArtifactStoreUnavailable(f"The check of {digest} took too long.")
    place = store.quarantine(digest)
    restored = store.restore(digest) if place is None else None
    if restored is not None:
        return _sound(lease, digest, restored)
    with lease.transaction():
        if place is None:
            return record_unsound(digest, State.MISSING)
        return record_unsound(digest, State.DAMAGED, quarantined=place)


# --- scrubbing: each stored blob is read again within SCRUB_DAYS ---
#
# Every due blob is read before one that looks wrong gets its verdict. So a store that misreads many blobs changes none.

# A blob is due after this share of SCRUB_DAYS. The rest is the time to read all due blobs.
DUE_AFTER = 0.75
CLAIM_SECONDS = 3600.0
MISSING_DUE_AFTER = timedelta(minutes=1)
"""Missing bytes are checked again after this time, because requests that need them fail until then."""
MOST_UNREADABLE = 3
"""A run ends after this many blobs that cannot be read."""
CLAIM_BLOB = """
UPDATE releases_blob SET checking_until = clock_timestamp() + make_interval(secs => %(claim)s)
WHERE digest = (
    SELECT digest FROM releases_blob
    WHERE state <> 'REMOVED' AND digest <> ALL(%(skip)s::text[])
        AND checked_at < CASE state WHEN 'SOUND' THEN %(sound)s WHEN 'MISSING' THEN %(missing)s ELSE %(damaged)s END
        AND (checking_until IS NULL OR checking_until < clock_timestamp())
    ORDER BY checked_at LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING digest, state
"""
"""Claims for `claim` seconds the blob whose last check is longest ago, and returns its digest and state.

Blobs that were checked after the time for their state are not due, nor those in `skip`. No row: no blob is due, or
other processes have claimed all that are.
"""


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
            try:
                if not accept_damage:
                    require_few(len(suspects))
            except ArtifactStoreUnreliable as error:
                yield from [_no_verdict(suspect, error) for suspect in suspects]
                return
        for done, digest in enumerate(suspects):
            yield check(digest, suspects=len(suspects) - done, accept_damage=accept_damage)


def check(digest: str, *, suspects: int = 1, accept_damage: bool = False) -> Checked:
    """Decide about one blob and record the verdict. Several processes may check the same blob at the same time."""
    try:
        state = judge(digest, suspects=suspects, accept_damage=accept_damage)
    except ArtifactStoreUnavailable as error:
        return _no_verdict(digest, error)
    if state is None:
        return _no_verdict(digest, ArtifactStoreUnavailable("The bytes are being written or removed."))
    return _verdict(digest, state)


def _look(digest: str) -> Checked | None:
    """Read a sound blob once. Return None if it looks wrong."""
    try:
        return _verdict(digest, Blob.State.SOUND) if is_sound(digest) else None
    except ArtifactStoreUnavailable as error:
        return _no_verdict(digest, error)


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
        cursor.execute(CLAIM_BLOB, {"claim": CLAIM_SECONDS, "skip": skip, **due})
        claimed: tuple[str, str] | None = cursor.fetchone()
    return claimed
