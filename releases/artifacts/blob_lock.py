"""Locks on digests, held from the check of a blob's bytes until the commit of a row that refers to them (ADR 8).

A registration holds a shared lock on each digest. A removal or a quarantine of bytes holds an exclusive lock. The locks
belong to the database session and not to a transaction, because storing bytes is a network call. PostgreSQL releases
them when the session ends. A registration whose session was lost cannot commit, so its commit proves that it held the
locks throughout. A connection pooler must therefore pool sessions, not transactions.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from django.db import Error, connection

from releases import statements
from releases.errors import ArtifactStoreUnavailable

TIMEOUT_SECONDS = 60.0
_POLL_SECONDS = 0.05
# The keys of the scrubber's lock and of the lock on removals. No other advisory lock of the product may use them.
_SCRUB = 0x5C12B
_REMOVALS = 0xBAC09


@contextmanager
def shared(digests: Collection[str], *, timeout: float = TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold a shared lock on each of `digests`, so that their bytes are not removed.

    Waits while other sessions hold exclusive locks. Raises `ArtifactStoreUnavailable` after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    with ExitStack() as held:
        for digest in sorted(digests):
            while not _query(statements.TRY_LOCK_SHARED, _key(digest)):
                if time.monotonic() > deadline:
                    raise ArtifactStoreUnavailable("Some of the bytes of this upload are being removed. Try again.")
                time.sleep(_POLL_SECONDS)
            held.callback(_unlock, statements.UNLOCK_SHARED, _key(digest))
        yield


@contextmanager
def exclusive(digest: str) -> Iterator[bool]:
    """Try to hold the exclusive lock on `digest`, without waiting. Yield whether it is held."""
    with _try_exclusive(_key(digest)) as held:
        yield held


@contextmanager
def scrubber() -> Iterator[bool]:
    """Try to hold the lock of the scrubber, without waiting. Yield False if another process scrubs."""
    with _try_exclusive(_SCRUB) as held:
        yield held


@contextmanager
def no_removals(*, timeout: float = TIMEOUT_SECONDS) -> Iterator[bool]:
    """Hold off removals of blobs, for a backup that copies them. Removals that have begun end first.

    Yields False if that takes more than `timeout` seconds: another process holds them off.
    """
    deadline = time.monotonic() + timeout
    while not (held := _query(statements.TRY_LOCK, _REMOVALS)) and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
    try:
        yield held
    finally:
        if held:
            _unlock(statements.UNLOCK, _REMOVALS)


@contextmanager
def removal() -> Iterator[bool]:
    """Hold this while blobs are removed. Does not wait. Yields False while a backup holds off removals."""
    held = _query(statements.TRY_LOCK_SHARED, _REMOVALS)
    try:
        yield held
    finally:
        if held:
            _unlock(statements.UNLOCK_SHARED, _REMOVALS)


@contextmanager
def _try_exclusive(key: int) -> Iterator[bool]:
    held = _query(statements.TRY_LOCK, key)
    try:
        yield held
    finally:
        if held:
            _unlock(statements.UNLOCK, key)


def _key(digest: str) -> int:
    """Return the first 64 bits of the digest. Two digests may share a lock without harm."""
    return int.from_bytes(bytes.fromhex(digest.removeprefix("sha256:"))[:8], signed=True)


def _query(statement: str, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(statement, (key,))
        row = cursor.fetchone()
    return bool(row and row[0])


def _unlock(statement: str, key: int) -> None:
    try:
        _query(statement, key)
    except Error:  # the session has ended, and its locks with it
        connection.close_if_unusable_or_obsolete()
