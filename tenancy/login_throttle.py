"""Limits on failed log-ins. All processes share the counters, which are database rows.

An attempt is counted before its password is checked, and uncounted if the password is right. So concurrent requests
cannot try more passwords than sequential ones. A window has a fixed length, and rejected attempts are not counted, so
further attempts cannot prolong a lock. The limit per account does not apply to an address from which the account has
logged in recently, so attackers elsewhere cannot lock its owner out.

See ADR 34.
"""

import math
from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.conf import settings
from django.db import connection
from django.utils import timezone
from django.utils.crypto import salted_hmac

from foundation.errors import CoordinatorError

KNOWN_DAYS = 30
WINDOW_SECONDS = 900.0
PRUNE_LIMIT = 100

_LOOK_UP = """
SELECT key, CASE WHEN ends_at > now() THEN attempts ELSE 0 END, ends_at, coalesce(known_until > now(), false)
FROM tenancy_logincounter WHERE key = ANY (%(keys)s)
"""
# The rows are locked in the order of their keys, so that two attempts never deadlock.
_COUNT = """
INSERT INTO tenancy_logincounter AS c (key, attempts, ends_at)
SELECT key, 1, now() + make_interval(secs => %(window)s) FROM unnest(%(keys)s::text[]) AS key ORDER BY key
ON CONFLICT (key) DO UPDATE SET
    attempts = CASE WHEN c.ends_at > now() THEN c.attempts + 1 ELSE 1 END,
    ends_at = CASE WHEN c.ends_at > now() THEN c.ends_at ELSE excluded.ends_at END
RETURNING key, attempts, ends_at, coalesce(known_until > now(), false)
"""
_UNCOUNT = """
WITH locked AS (SELECT key FROM tenancy_logincounter WHERE key = ANY (%(keys)s) ORDER BY key FOR UPDATE)
UPDATE tenancy_logincounter c SET
    attempts = CASE WHEN c.key = %(pair)s THEN 0 ELSE greatest(c.attempts - 1, 0) END,
    known_until = CASE WHEN c.key = %(pair)s THEN now() + make_interval(days => %(days)s) END
FROM locked WHERE locked.key = c.key
"""
_PRUNE = """
DELETE FROM tenancy_logincounter WHERE key IN (
    SELECT key FROM tenancy_logincounter WHERE ends_at <= now() AND (known_until IS NULL OR known_until <= now())
    LIMIT %s FOR UPDATE SKIP LOCKED)
"""


class LoginThrottled(CoordinatorError, status=429, title="Too many failed log-ins"):
    """Too many log-ins have failed. The next attempt is accepted after `until`."""

    def __init__(self, until: datetime) -> None:
        super().__init__(f"Too many log-ins have failed. Try again after {timezone.localtime(until):%H:%M:%S %Z}.")
        self.until = until

    @property
    def seconds(self) -> int:
        """The time to wait in whole seconds, at least 1."""
        return max(1, math.ceil((self.until - timezone.now()).total_seconds()))


class _Counter(NamedTuple):
    key: str
    attempts: int
    ends_at: datetime
    known: bool


class Attempt:
    """One log-in of `account` from `address`."""

    def __init__(self, account: str, address: str) -> None:
        self._pair = _key("pair", account, address)
        self._limits = {
            self._pair: settings.LOGIN_ATTEMPTS,
            _key("address", address): settings.LOGIN_ATTEMPTS_PER_ADDRESS,
            _key("account", account): settings.LOGIN_ATTEMPTS_PER_ACCOUNT,
        }
        self._account = _key("account", account)

    def count(self) -> None:
        """Count the attempt. Raises `LoginThrottled`; the caller must then not check the password."""
        keys = list(self._limits)
        with connection.cursor() as cursor:
            cursor.execute(_LOOK_UP, {"keys": keys})
            self._require_room([_Counter(*row) for row in cursor.fetchall()], taken=1)
            cursor.execute(_COUNT, {"keys": keys, "window": WINDOW_SECONDS})
            counted = [_Counter(*row) for row in cursor.fetchall()]
            cursor.execute(_PRUNE, [PRUNE_LIMIT])
        # Other processes may have counted attempts between the two statements.
        self._require_room(counted, taken=0)

    def uncount(self) -> None:
        """Uncount the attempt because its password was right, and store the address as known for KNOWN_DAYS."""
        with connection.cursor() as cursor:
            cursor.execute(_UNCOUNT, {"keys": list(self._limits), "pair": self._pair, "days": KNOWN_DAYS})

    def _require_room(self, counters: Sequence[_Counter], *, taken: int) -> None:
        known = any(counter.known for counter in counters)
        ends = [
            counter.ends_at
            for counter in counters
            if counter.attempts + taken > self._limits[counter.key] and not (known and counter.key == self._account)
        ]
        if ends:
            raise LoginThrottled(max(ends))


def _key(*parts: str) -> str:
    # Each part is encoded with its length, so that different lists of parts have different keys.
    text = "".join(f"{len(part)}:{part}" for part in parts)
    return salted_hmac("tenancy.login_throttle", text, algorithm="sha256").hexdigest()
