"""The issuer's public keys, fetched from OAUTH_JWKS_URL and cached in the process.

The keys are fetched again when they are REFRESH_SECONDS old, and when a token names an unknown key, because the issuer
may have added it. Two attempts are at least PAUSE_SECONDS apart, so invalid tokens cannot make the coordinator flood
the issuer. While the issuer is down, its keys stay usable for LONGEST_SECONDS.
"""

import logging
import math
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from coordinator_client.errors import Broken, NotConnected, TimedOut
from foundation.errors import Unavailable
from foundation.http import address_guard
from foundation.http.address_guard import TargetRefused, Unreachable
from foundation.http.exchange import exchange
from tenancy.oauth import key_set
from tenancy.oauth.key_set import KeySetMalformed, VerificationKey

log = logging.getLogger(__name__)
REFRESH_SECONDS = 600.0
LONGEST_SECONDS = 86_400.0
PAUSE_SECONDS = 10.0
CONNECT_SECONDS = 2.0
RESPONSE_SECONDS = 3.0
MAX_BYTES = 256 * 1024


class IssuerUnavailable(Unavailable, title="The keys of the OAuth issuer are unavailable"): ...


@dataclass(frozen=True, slots=True)
class _Fetched:
    """The issuer's keys by their ids. `at` is a time of the monotonic clock."""

    keys: Mapping[str, VerificationKey]
    at: float

    @property
    def age(self) -> float:
        return time.monotonic() - self.at


class KeyCache:
    """The keys of the configured issuer. Safe to use from many threads."""

    def __init__(self) -> None:
        self._fetching = threading.Lock()
        self._fetched: _Fetched | None = None
        self._attempted_at = -math.inf

    def find(self, key_id: str) -> VerificationKey | None:
        """Return the key with this id; None if the issuer has no such key. Raises `IssuerUnavailable`.

        May call the issuer, so do not call this inside a transaction. One thread fetches. The others wait only if they
        need a key that is not cached.
        """
        fetched = self._usable()
        if fetched is None or key_id not in fetched.keys:
            fetched = self._refreshed(wait=True)
        elif fetched.age >= REFRESH_SECONDS:
            fetched = self._refreshed(wait=False)
        if fetched is None:
            raise IssuerUnavailable("The keys of the OAuth issuer cannot be fetched. Try again.")
        return fetched.keys.get(key_id)

    def clear(self) -> None:
        """Forget the keys and the last attempt."""
        self._fetched = None
        self._attempted_at = -math.inf

    def _usable(self) -> _Fetched | None:
        fetched = self._fetched
        return fetched if fetched is not None and fetched.age < LONGEST_SECONDS else None

    def _refreshed(self, *, wait: bool) -> _Fetched | None:
        """Return the usable keys, after an attempt to fetch them unless the last attempt was too recent."""
        if self._fetching.acquire(blocking=wait):
            try:
                if time.monotonic() - self._attempted_at >= PAUSE_SECONDS:
                    self._fetch()
            finally:
                self._fetching.release()
        return self._usable()

    def _fetch(self) -> None:
        began = time.monotonic()
        try:
            self._fetched = _Fetched(key_set.read(_document()), began)
        except (TargetRefused, Unreachable, NotConnected, TimedOut, Broken, _NoKeySet, KeySetMalformed) as error:
            log.warning("the keys of the OAuth issuer cannot be fetched: %s", error)
        finally:
            self._attempted_at = time.monotonic()


cache = KeyCache()
"""The keys that this process uses."""


class _NoKeySet(Exception):
    """The issuer sent a response that is no key set."""


def _document() -> bytes:
    target = address_guard.vet(settings.OAUTH_JWKS_URL, allowed=settings.OAUTH_ALLOWED_NETWORKS)
    response = exchange(
        target,
        "GET",
        b"",
        headers={"Accept": "application/jwk-set+json, application/json", "User-Agent": "durable-coordinator"},
        connect_seconds=CONNECT_SECONDS,
        seconds=RESPONSE_SECONDS,
        limit=MAX_BYTES,
        ca_file=settings.OAUTH_CA_FILE,
    )
    if response.status != 200:
        raise _NoKeySet(f"the issuer responded with status {response.status}")
    if not response.complete:
        raise _NoKeySet(f"the response has more than {MAX_BYTES} bytes")
    return response.body
