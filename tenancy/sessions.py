"""The sessions of people: who is logged in where, and how a session ends.

Django stores a session as an opaque text. A `UserSession` says whose it is, and where it began. Both rows end together:
the database removes them when the person logs out, is deactivated, gets another password or loses the last role.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.http import HttpRequest
from django.utils import timezone

from foundation.errors import NotFound
from tenancy import audit, members
from tenancy.access import record_of_user
from tenancy.audit.acts import Act
from tenancy.devices import device
from tenancy.models import Membership, Tenant, UserSession
from tenancy.origin import client_address

BEGAN, ACTIVE = "began_at", "active_at"
"""The members of a session with the times of the log-in and of the last activity, in seconds since 1970."""
LISTED: Final = "listed_as"
"""The member of a session with the key under which it is listed. Django sometimes gives a session another key."""
MOST_SHOWN: Final = 100

# Lists a session. No row: it is listed already, or has just ended.
LIST = """
INSERT INTO tenancy_usersession (session_id, user_id, address, user_agent)
SELECT session_key, %(user)s, %(address)s, %(agent)s FROM django_session WHERE session_key = %(key)s FOR KEY SHARE
ON CONFLICT (session_id) DO NOTHING
"""


class SessionUnknown(NotFound, title="There is no such session"):
    """Nothing is left to end."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A session as its owner sees it. `id` is not the session's key, which would be a credential."""

    id: int
    device: str
    address: str
    began_at: datetime
    active_at: datetime
    is_current: bool


def list_session(request: HttpRequest, user: User) -> None:
    """Store that the session of the request is the user's. Does nothing, without a query, if that is stored."""
    session = request.session
    if session.session_key is None:
        session.create()
    if session.get(LISTED) == session.session_key:
        return
    session[LISTED] = session.session_key
    agent = request.META.get("HTTP_USER_AGENT", "").replace("\0", "")[: UserSession.LONGEST_AGENT]
    row = {"key": session.session_key, "user": user.pk, "address": client_address(request.META), "agent": agent}
    with connection.cursor() as cursor:
        cursor.execute(LIST, row)


def is_over(session: Any, now: float) -> bool:
    """True if the session was idle for longer than SESSION_IDLE_SECONDS, or is older than SESSION_MAX_SECONDS."""
    idle, age = now - session.get(ACTIVE, 0.0), now - session.get(BEGAN, 0.0)
    return bool(idle > settings.SESSION_IDLE_SECONDS or age > settings.SESSION_MAX_SECONDS)


def sessions_of(user: User, current: str | None = None) -> list[Shown]:
    """Return the live sessions of a user, at most MOST_SHOWN, the last active first.

    `current` is the key of the session that asks. `active_at` is up to a minute older than the last activity.
    """
    rows = UserSession.objects.filter(user=user, session__expire_date__gt=timezone.now()).select_related("session")
    sessions = []
    for row in rows.order_by("-id")[:MOST_SHOWN]:
        values = row.session.get_decoded()
        if values.get(SESSION_KEY) == str(user.pk) and not is_over(values, time.time()):
            began, active = (datetime.fromtimestamp(values[name], UTC) for name in (BEGAN, ACTIVE))
            is_current = row.session_id == current
            sessions.append(Shown(row.pk, device(row.user_agent), row.address, began, active, is_current))
    return sorted(sessions, key=lambda session: (session.is_current, session.active_at), reverse=True)


def end_session(user: User, session_id: int) -> None:
    """End a session of the user. Raises `SessionUnknown` if it is over, or another person's."""
    with transaction.atomic():
        if not _end(user, usersession=session_id):
            raise SessionUnknown("The session is over already.")
        record_of_user(Act.USER_END_SESSIONS, user, sessions=1)


def end_others(user: User, current: str) -> int:
    """End the sessions of the user except the one with the key `current`. Return their number."""
    with transaction.atomic():
        ended = _end(user, except_key=current)
        if ended:
            record_of_user(Act.USER_END_SESSIONS, user, sessions=ended)
    return ended


def end_all(user: User, *, by: User) -> int:
    """End all sessions of another person. The caller has checked that `by` is a superuser. Return their number."""
    with transaction.atomic():
        ended = _end(user)
        record_of_user(Act.USER_END_SESSIONS, user, by=by, sessions=ended)
    return ended


def end_of_member(tenant: Tenant, username: str, *, actor: str) -> None:
    """End all sessions of a member who has no role in another tenant and is no superuser.

    Nothing tells whether there were any: a tenant must not learn who is a user or who has roles elsewhere. Raises
    `MemberUnknown` if the name has no role in the tenant.
    """
    with transaction.atomic():
        if not members.named(tenant, username).exists():
            raise members.MemberUnknown(f"{username!r} has no role in the tenant.")
        elsewhere = Membership.objects.filter(user__username=username).exclude(tenant=tenant)
        for user in User.objects.filter(username=username, is_superuser=False).exclude(memberships__in=elsewhere):
            _end(user)
        audit.record(Act.USER_END_SESSIONS, tenant=tenant, actor=actor, object=username)


def _end(user: User, *, except_key: str = "", **which: Any) -> int:
    rows = Session.objects.filter(usersession__user=user, **which).exclude(session_key=except_key)
    return rows.delete()[0]
