"""Divides requests into groups, which take turns (`foundation.fair_slots`).

A group is found before the body of its request is read, and without a query: from what this process knows of earlier
requests. A token or session that it does not know yet shares the group of its client address, so no client gets more
turns by inventing tokens.
"""

import re
from collections.abc import Mapping
from typing import Any

from django.conf import settings

from foundation.fair_slots import Group
from foundation.timed_cache import TimedCache
from tenancy.api.authentication import tenant_of
from tenancy.origin import client_address

_sessions: TimedCache[str, str] = TimedCache(seconds=300, most=10_000)
"""The ids of the users who were logged in at a recent request, by session."""


def remember_session(key: str, user_id: str) -> None:
    """Give the requests of a user's session the group of the user, which may use the reserve."""
    if _sessions.get(key) != user_id:
        _sessions.set(key, user_id)


def group_of(environ: Mapping[str, Any]) -> Group:
    """Return the group of a WSGI request: its tenant, the user of its session, or its client address.

    Users of the admin may use the reserve.
    """
    authorization = environ.get("HTTP_AUTHORIZATION")
    if authorization and (tenant := tenant_of(authorization)):
        return Group(f"tenant {tenant}")
    session = _session_key(environ.get("HTTP_COOKIE", ""))
    if session and (user_id := _sessions.get(session)):
        return Group(f"user {user_id}", reserved=True)
    return Group(f"address {client_address(environ)}")


def _session_key(cookies: str) -> str | None:
    if settings.SESSION_COOKIE_NAME not in cookies:
        return None
    found = re.search(rf"(?:^|;)\s*{re.escape(settings.SESSION_COOKIE_NAME)}=([a-z0-9]{{32}})(?:;|$)", cookies)
    return found and found[1]
