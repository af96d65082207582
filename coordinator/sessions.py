"""Limits the duration of sessions: a middleware, and the timestamps in the session that it reads."""

import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.signals import user_logged_in
from django.dispatch import receiver
from django.http import HttpRequest
from django.http.response import HttpResponseBase

BEGAN, ACTIVE = "began_at", "active_at"
PRECISION_SECONDS = 60.0


@receiver(user_logged_in)
def begin(request: HttpRequest, **_: Any) -> None:
    request.session[BEGAN] = request.session[ACTIVE] = time.time()


def session_limits(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """End a session after SESSION_IDLE_SECONDS without activity, and after SESSION_MAX_SECONDS in any case.

    Requests of htmx are not activity, because a page sends them without its user to refresh itself.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        # Without the cookie there is no session, so no query is needed.
        if settings.SESSION_COOKIE_NAME in request.COOKIES and SESSION_KEY in request.session:
            _end_or_extend(request)
        return get_response(request)

    return respond


def _end_or_extend(request: HttpRequest) -> None:
    now, session = time.time(), request.session
    idle = now - session.get(ACTIVE, 0.0)
    if idle > settings.SESSION_IDLE_SECONDS or now - session.get(BEGAN, 0.0) > settings.SESSION_MAX_SECONDS:
        logout(request)
    elif "HX-Request" not in request.headers and idle > min(PRECISION_SECONDS, settings.SESSION_IDLE_SECONDS / 10):
        session[ACTIVE] = now
