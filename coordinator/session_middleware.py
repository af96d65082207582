"""Middleware for the admin: sessions and their limits, addresses without U+0000, and times in the user's zone."""

import re
import time
from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.models import Session
from django.db import transaction
from django.dispatch import receiver
from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils import timezone

from tenancy.preferences import zone_of
from tenancy.sessions import ACTIVE, BEGAN, is_over, list_session

Handler = Callable[[HttpRequest], HttpResponseBase]
PRECISION_SECONDS = 60.0
PRUNE_LIMIT = 100
SESSION_KEY_FORM = re.compile(r"[a-z0-9]{32}")


@receiver(user_logged_in)
def begin(request: HttpRequest, user: User, **_: Any) -> None:
    """Begin the limits of the session, and remove some that are over: nothing else removes those that no one ends."""
    request.session[BEGAN] = request.session[ACTIVE] = time.time()
    list_session(request, user)
    with transaction.atomic():
        over = Session.objects.select_for_update(skip_locked=True).filter(expire_date__lt=timezone.now())
        Session.objects.filter(pk__in=list(over.values_list("pk", flat=True)[:PRUNE_LIMIT])).delete()


def well_formed_keys(get_response: Handler) -> Handler:
    """Drop a session cookie that does not have the form of a session key.

    Django looks up any value in the database. A quoted cookie can contain U+0000, which PostgreSQL rejects.
    """

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not SESSION_KEY_FORM.fullmatch(request.COOKIES.get(settings.SESSION_COOKIE_NAME, "")):
            request.COOKIES.pop(settings.SESSION_COOKIE_NAME, None)
        return get_response(request)

    return respond


def session_limits(get_response: Handler) -> Handler:
    """End a session after SESSION_IDLE_SECONDS without activity, and after SESSION_MAX_SECONDS in any case.

    A GET of htmx is not activity, because a page sends it without its user to refresh itself. Only the admin
    uses sessions, so other addresses do not load them.
    """
    from coordinator.request_slots import remember_session  # only web processes have slots

    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        has_cookie = settings.SESSION_COOKIE_NAME in request.COOKIES
        if has_cookie and request.path_info.startswith(admin) and SESSION_KEY in request.session:
            _end_or_extend(request)
            if SESSION_KEY in request.session:
                remember_session(request.session.session_key or "", request.session[SESSION_KEY])
        return get_response(request)

    return respond


def _end_or_extend(request: HttpRequest) -> None:
    now, session = time.time(), request.session
    if is_over(session, now) or not isinstance(request.user, User):
        logout(request)
        return
    list_session(request, request.user)
    is_act = request.method == "POST" or "HX-Request" not in request.headers
    precision = min(PRECISION_SECONDS, settings.SESSION_IDLE_SECONDS / 10)
    if is_act and now - session[ACTIVE] > precision:
        session[ACTIVE] = now


NUL = "\0"


def without_nul(get_response: Handler) -> Handler:
    """Keep U+0000 out of the admin's queries, because PostgreSQL rejects it.

    The response to a path that contains it is 404. It is removed from the values of the query string.
    """
    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        if request.path_info.startswith(admin):
            if NUL in request.path_info:
                raise Http404
            if any(NUL in value for _, values in request.GET.lists() for value in values):
                query: Any = request.GET.copy()
                for name, values in request.GET.lists():
                    query.setlist(name, [value.replace(NUL, "") for value in values])
                request.GET = query
        return get_response(request)

    return respond


def time_zones(get_response: Handler) -> Handler:
    """Activate the zone that the user has chosen, until the response is rendered."""
    admin = reverse("admin:index")

    def respond(request: HttpRequest) -> HttpResponseBase:
        if not request.path_info.startswith(admin) or not request.user.is_authenticated:
            return get_response(request)
        with timezone.override(zone_of(request.user)):
            return get_response(request)

    return respond
