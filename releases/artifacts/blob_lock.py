"""Locks on digests: between the look at a blob's bytes and the commit of a row that refers to them.

Who registers shares the lock of each digest; who removes or quarantines bytes holds it alone. The locks belong to the
database session and not to a transaction, since storing bytes is a network call. They end with the session: a
registration whose session was lost cannot commit, so its commit proves that it held the lock all along. A pooler in
front of PostgreSQL must therefore pool sessions, not transactions.
"""

import time
from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager

from django.db import Error, connection

from releases.errors import ArtifactStoreUnavailable

PATIENCE_SECONDS = 60.0
_PAUSE_SECONDS = 0.05
# Any number, as long as no other advisory lock of the product's has it.
_SCRUB = 0x5C12B


@contextmanager
def shared(digests: Collection[str], *, patience: float = PATIENCE_SECONDS) -> Iterator[None]:
    """Keep the bytes at `digests` from being removed meanwhile. Raises `ArtifactStoreUnavailable` after `patience`."""
    deadline = time.monotonic() + patience
    with ExitStack() as held:
        for digest in sorted(digests):
            while not _locked("pg_try_advisory_lock_shared", _key(digest)):
                if time.monotonic() > deadline:
                    raise ArtifactStoreUnavailable("Bytes of this upload are just being removed; try again.")
                time.sleep(_PAUSE_SECONDS)
            held.callback(_unlock, "pg_advisory_unlock_shared", _key(digest))
        yield


@contextmanager
def alone(digest: str) -> Iterator[bool]:
    """Whether nobody is about to refer to `digest`, or to remove it, until the block ends. Never waits."""
    with _try_alone(_key(digest)) as held:
        yield held


@contextmanager
def only_scrubber() -> Iterator[bool]:
    """Whether no other process scrubs at the moment."""
    with _try_alone(_SCRUB) as held:
        yield held


@contextmanager
def _try_alone(key: int) -> Iterator[bool]:
    held = _locked("pg_try_advisory_lock", key)
    try:
        yield held
    finally:
        if held:
            _unlock("pg_advisory_unlock", key)


def _key(digest: str) -> int:
    """The digest's first 64 bits; that two digests might share a lock harms nobody."""
    return int.from_bytes(bytes.fromhex(digest.removeprefix("sha256:"))[:8], signed=True)


def _locked(function: str, key: int) -> bool:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT {function}(%s)", (key,))
        row = cursor.fetchone()
    return bool(row and row[0])


def _unlock(function: str, key: int) -> None:
    try:
        _locked(function, key)
    except Error:  # the session is gone, and every lock of it
        connection.close_if_unusable_or_obsolete()
