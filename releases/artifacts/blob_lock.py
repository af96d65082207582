"""Leases on digests, held from the check of a blob's bytes until the commit of a row that refers to them (ADR 71).

A registration holds a shared lease on each digest. A removal or a quarantine of bytes holds an exclusive lease. A
lease is a row and not a lock, because storing bytes is a network call, and no transaction is open during one. So a
lease needs no session of the database, and a pooler may pool transactions.

A lease is held while its row exists. After LEASE_SECONDS without a renewal, another process may delete the row if it
needs the digest. A transaction of `Lease.transaction` deletes the row itself, and fails if it is gone, so its commit
proves that the lease was held throughout.
"""

import logging
import threading
import time
import uuid
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from django.db import Error, connection, transaction

from releases.errors import ArtifactStoreUnavailable

log = logging.getLogger(__name__)
LEASE_SECONDS = 45.0
"""A killed process holds its leases for at most this long."""
RENEWAL_SECONDS = LEASE_SECONDS / 3
TIMEOUT_SECONDS = 60.0
"""Longer than a lease, so that a registration outlasts the exclusive lease of a killed process."""
_POLL_SECONDS = 0.05
_SCRUB = "scrub"
_REMOVALS = "removals"
LOCK_RESOURCES = "SELECT pg_advisory_xact_lock(key) FROM unnest(%(keys)s::bigint[]) AS key ORDER BY key"
"""Makes other transactions that take leases on the same resources wait until the end of this one."""

REMOVE_EXPIRED_LEASES = """
DELETE FROM releases_bloblease WHERE id IN (
    SELECT id FROM releases_bloblease WHERE resource = ANY(%(resources)s::text[]) AND expires_at < clock_timestamp()
    FOR UPDATE SKIP LOCKED)
"""
"""Removes leases that their holders have not renewed.

A locked row stays, because the transaction of its holder is about to commit. Its lease still counts.
"""

TAKE_LEASE = """
INSERT INTO releases_bloblease (resource, holder, exclusive, expires_at)
SELECT resource, %(holder)s, %(exclusive)s, clock_timestamp() + make_interval(secs => %(seconds)s)
FROM unnest(%(resources)s::text[]) AS resource
WHERE NOT EXISTS (
    SELECT FROM releases_bloblease held
    WHERE held.resource = ANY(%(resources)s::text[]) AND (held.exclusive OR %(exclusive)s))
"""
"""Takes a lease on each resource, or none if another holder's is in the way. Every lease is in the way of an exclusive
one, and only exclusive ones are in the way of a shared one."""

RENEW_LEASE = """
UPDATE releases_bloblease SET expires_at = clock_timestamp() + make_interval(secs => %(seconds)s)
WHERE holder = %(holder)s
"""
"""Begins the time of a holder's leases again. Fewer rows than the holder has resources: the lease is lost."""

END_LEASE = "DELETE FROM releases_bloblease WHERE holder = %(holder)s"
"""Ends the leases of a holder. Fewer rows than the holder has resources: the lease was lost."""


class Lease:
    """The rows of one holder, for each of its resources."""

    def __init__(self, resources: Collection[str]) -> None:
        self._resources = sorted(set(resources))
        self._holder = uuid.uuid4()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Run the block in a transaction that ends the lease. Raises `ArtifactStoreUnavailable` if it is lost.

        If the transaction rolls back, the lease continues.
        """
        with transaction.atomic():
            if self._execute(END_LEASE) != len(self._resources):
                raise ArtifactStoreUnavailable("The bytes of this request were not stored in time. Try again.")
            yield

    def renew(self) -> bool:
        """Begin the time of the lease again. Return False if the lease is lost."""
        return self._execute(RENEW_LEASE, seconds=LEASE_SECONDS) == len(self._resources)

    def take(self, *, exclusive: bool) -> bool:
        """Take the lease. Return False if another holder's lease is in the way."""
        keys = [_key(resource) for resource in self._resources]
        parameters: dict[str, Any] = {"exclusive": exclusive, "seconds": LEASE_SECONDS, "keys": keys}
        with transaction.atomic():
            # Concurrent calls for the same digest take turns, so that each sees the rows of those before it.
            self._execute(LOCK_RESOURCES, **parameters)
            self._execute(REMOVE_EXPIRED_LEASES, **parameters)
            return self._execute(TAKE_LEASE, **parameters) == len(self._resources)

    def end(self) -> None:
        """End the lease if it still exists. Without a database, it ends after its time."""
        try:
            self._execute(END_LEASE)
        except Error:
            connection.close_if_unusable_or_obsolete()

    def _execute(self, statement: str, **parameters: Any) -> int:
        with connection.cursor() as cursor:
            cursor.execute(statement, {"holder": self._holder, "resources": self._resources, **parameters})
            return int(cursor.rowcount)


Holding = AbstractContextManager[Lease | None]
"""A context with the lease, or None if another holder's is in the way."""


@contextmanager
def shared(digests: Collection[str], *, timeout: float = TIMEOUT_SECONDS) -> Iterator[Lease]:
    """Hold a shared lease on each of `digests`, so that their bytes are not removed.

    Waits while others hold exclusive leases. Raises `ArtifactStoreUnavailable` after `timeout` seconds.
    """
    with _held(digests, exclusive=False, timeout=timeout) as lease:
        if lease is None:
            raise ArtifactStoreUnavailable("Some of the bytes of this upload are being removed. Try again.")
        yield lease


def exclusive(digest: str) -> Holding:
    """Try to hold the exclusive lease on `digest`, without waiting."""
    return _held([digest], exclusive=True)


def scrubber() -> Holding:
    """Try to hold the lease of the scrubber, without waiting: one process scrubs at a time."""
    return _held([_SCRUB], exclusive=True)


def no_removals(*, timeout: float = TIMEOUT_SECONDS) -> Holding:
    """Hold off removals of blobs, for a backup that copies them. Removals that have begun end first."""
    return _held([_REMOVALS], exclusive=True, timeout=timeout)


def removal() -> Holding:
    """Hold this while blobs are removed. Does not wait for a backup that holds off removals."""
    return _held([_REMOVALS], exclusive=False)


@contextmanager
def _held(resources: Collection[str], *, exclusive: bool, timeout: float = 0.0) -> Iterator[Lease | None]:
    """Hold a lease during the block, and renew it over a separate connection.

    Yields None if leases of other holders are in the way for `timeout` seconds.
    """
    lease, deadline = Lease(resources), time.monotonic() + timeout
    while not (taken := lease.take(exclusive=exclusive)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    if not taken:
        yield None
        return
    over = threading.Event()
    threading.Thread(name="blob-lease", target=_renew, args=(lease, over), daemon=True).start()
    try:
        yield lease
    finally:
        over.set()
        lease.end()


def _renew(lease: Lease, over: threading.Event) -> None:
    while not over.wait(RENEWAL_SECONDS):
        try:
            lease.renew()
        except Error as error:
            log.warning("A lease on stored bytes was not renewed: %s", type(error).__name__)
        finally:
            connection.close()


def _key(resource: str) -> int:
    """Return the first 64 bits of a digest. Resources may share a key without harm."""
    name = resource.removeprefix("sha256:")
    return int.from_bytes(bytes.fromhex(name)[:8] if name != resource else name.encode(), signed=True)
