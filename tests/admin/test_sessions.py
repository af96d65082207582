"""The duration of sessions, and what ends all sessions of a user."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from tenancy.access import issue_token
from tenancy.roles import Scope
from tests.admin.conftest import LogIn, World
from tests.cases import cases

PASSWORD = "correct-horse-battery-staple"
EVERYWHERE = "admin:log_out_everywhere"


def move_back(client: Client, seconds: float, *timestamps: str) -> None:
    """Move these timestamps of the session back by `seconds`."""
    session = client.session
    for timestamp in timestamps:
        session[timestamp] -= seconds
    session.save()


def is_logged_in(client: Client, **headers: str) -> bool:
    return client.get(reverse("admin:index"), headers=headers).status_code == 200


def test_an_idle_session_ends(log_in: LogIn, settings: Any) -> None:
    client = log_in("viewer")
    move_back(client, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    assert is_logged_in(client)
    move_back(client, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    assert is_logged_in(client)
    move_back(client, settings.SESSION_IDLE_SECONDS + 10, "active_at")
    assert not is_logged_in(client)
    assert not Session.objects.exists()
    assert not is_logged_in(client)


@cases("url", ["/", "/health/live", "/api/v1/tenants/acme/executions", "/tpf/admin/tenants"])
def test_only_pages_of_the_admin_load_the_session(log_in: LogIn, url: str) -> None:
    client = log_in("viewer")
    with CaptureQueriesContext(connection) as queries:
        assert client.get(url).status_code < 500
    assert "django_session" not in str(queries.captured_queries)
    with CaptureQueriesContext(connection) as queries:
        assert is_logged_in(client)
    assert "django_session" in str(queries.captured_queries)


def test_automatic_page_updates_do_not_prolong_a_session(log_in: LogIn, settings: Any) -> None:
    client = log_in("viewer")
    move_back(client, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    for _ in range(3):
        assert is_logged_in(client, **{"HX-Request": "true"})
    move_back(client, 20, "active_at")
    assert not is_logged_in(client, **{"HX-Request": "true"})


def test_a_busy_session_ends_after_the_maximum_duration(log_in: LogIn, settings: Any) -> None:
    client = log_in("viewer")
    move_back(client, settings.SESSION_MAX_SECONDS - 10, "began_at")
    assert is_logged_in(client)
    move_back(client, 20, "began_at")
    assert not is_logged_in(client)


def test_a_session_without_a_start_time_is_not_accepted(log_in: LogIn) -> None:
    client = log_in("viewer")
    session = client.session
    del session["began_at"]
    session.save()
    assert not is_logged_in(client)


def test_an_active_session_is_written_once_a_minute_at_most(
    log_in: LogIn, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    client = log_in("viewer")
    before = client.session["active_at"]
    assert is_logged_in(client)
    assert client.session["active_at"] == before
    move_back(client, 61, "active_at")
    assert is_logged_in(client)
    assert time.time() - client.session["active_at"] < 30


def test_a_new_log_in_of_the_same_user_starts_a_new_session(log_in: LogIn) -> None:
    client = log_in("viewer")
    move_back(client, 1000, "began_at", "active_at")
    client.force_login(User.objects.get(username="viewer"))
    assert time.time() - client.session["began_at"] < 30


@pytest.fixture
def ada(acme: World, fast_hashing: None) -> User:
    user = User.objects.get(username="tenant-admin-of-acme")
    user.set_password(PASSWORD)
    user.save()
    return user


def logged_in(user: User) -> Client:
    client = Client()
    form = {"username": user.username, "password": PASSWORD}
    assert client.post(reverse("admin:login"), form).status_code == 302
    return client


def test_logging_out_everywhere_ends_only_the_users_own_sessions_and_tokens(
    ada: User, acme: World, globex: World
) -> None:
    token, _ = issue_token(acme.tenant, ada, "robot", [Scope.READ], lifetime=None)
    here, there = logged_in(ada), logged_in(ada)
    other = Client()
    other.force_login(globex.token.user)
    page = here.get(reverse(EVERYWHERE))
    assert "API tokens" in page.text
    assert reverse(EVERYWHERE) in here.get(reverse("admin:index")).text
    assert here.post(reverse(EVERYWHERE), {"password": "wrong"}).status_code == 400
    assert is_logged_in(there)
    assert here.post(reverse(EVERYWHERE), {"password": PASSWORD}).status_code == 302
    assert not is_logged_in(here)
    assert not is_logged_in(there)
    token.refresh_from_db()
    assert token.expiry <= timezone.now()
    assert is_logged_in(other)
    globex.token.refresh_from_db()
    assert globex.token.expiry > timezone.now()
    assert is_logged_in(logged_in(ada))


def test_password_attempts_are_limited_on_the_log_out_everywhere_page(ada: User) -> None:
    client = logged_in(ada)
    answers = [client.post(reverse(EVERYWHERE), {"password": "wrong"}).status_code for _ in range(7)]
    assert answers == [400] * 5 + [429] * 2
    assert client.post(reverse(EVERYWHERE), {"password": PASSWORD}).status_code == 429


def test_a_changed_password_ends_the_other_sessions(ada: User) -> None:
    here, there = logged_in(ada), logged_in(ada)
    new = "another-horse-battery-staple"
    form = {"old_password": PASSWORD, "new_password1": new, "new_password2": new}
    assert "API tokens" in here.get(reverse("admin:password_change")).text
    assert here.post(reverse("admin:password_change"), form).status_code == 302
    assert is_logged_in(here)
    assert not is_logged_in(there)


def test_logging_out_everywhere_requires_a_log_in(log_in: LogIn) -> None:
    assert log_in("anonymous").get(reverse(EVERYWHERE)).status_code == 302
