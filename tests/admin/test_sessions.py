"""How long a session lasts, and what ends all of a person's sessions."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from coordinator.tenancy.access import issue_token
from coordinator.tenancy.roles import Scope
from tests.admin.conftest import LogIn, World

PASSWORD = "correct-horse-battery-staple"
EVERYWHERE = "admin:log_out_everywhere"


def earlier(client: Client, seconds: float, *marks: str) -> None:
    """Make the session look as if it had begun, or been used, so many seconds earlier."""
    session = client.session
    for mark in marks:
        session[mark] -= seconds
    session.save()


def inside(client: Client, **headers: str) -> bool:
    return client.get(reverse("admin:index"), headers=headers).status_code == 200


def test_a_session_ends_after_a_time_without_a_request(log_in: LogIn, settings: Any) -> None:
    client = log_in("viewer")
    earlier(client, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    assert inside(client)
    earlier(client, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    assert inside(client)
    earlier(client, settings.SESSION_IDLE_SECONDS + 10, "active_at")
    assert not inside(client)
    assert not Session.objects.exists()
    assert not inside(client)


def test_a_page_that_follows_by_itself_does_not_keep_a_session(log_in: LogIn, settings: Any) -> None:
    client = log_in("viewer")
    earlier(client, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    for _ in range(3):
        assert inside(client, **{"HX-Request": "true"})
    earlier(client, 20, "active_at")
    assert not inside(client, **{"HX-Request": "true"})


def test_a_session_ends_at_last_however_busy_it_is(log_in: LogIn, settings: Any) -> None:
    client = log_in("viewer")
    earlier(client, settings.SESSION_MAX_SECONDS - 10, "began_at")
    assert inside(client)
    earlier(client, 20, "began_at")
    assert not inside(client)


def test_a_session_without_marks_is_none(log_in: LogIn) -> None:
    client = log_in("viewer")
    session = client.session
    del session["began_at"]
    session.save()
    assert not inside(client)


def test_an_active_session_is_written_once_a_minute_at_most(
    log_in: LogIn, django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    client = log_in("viewer")
    before = client.session["active_at"]
    assert inside(client)
    assert client.session["active_at"] == before
    earlier(client, 61, "active_at")
    assert inside(client)
    assert time.time() - client.session["active_at"] < 30


def test_a_new_log_in_of_the_same_person_begins_anew(log_in: LogIn) -> None:
    client = log_in("viewer")
    earlier(client, 1000, "began_at", "active_at")
    client.force_login(User.objects.get(username="viewer"))
    assert time.time() - client.session["began_at"] < 30


@pytest.fixture
def ada(acme: World) -> User:
    user = User.objects.get(username="tenant-admin-of-acme")
    user.set_password(PASSWORD)
    user.save()
    return user


def logged_in(user: User) -> Client:
    client = Client()
    form = {"username": user.username, "password": PASSWORD}
    assert client.post(reverse("admin:login"), form).status_code == 302
    return client


def test_logging_out_everywhere_ends_all_sessions_and_tokens_of_a_person_alone(
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
    assert inside(there)
    assert here.post(reverse(EVERYWHERE), {"password": PASSWORD}).status_code == 302
    assert not inside(here)
    assert not inside(there)
    token.refresh_from_db()
    assert token.expiry <= timezone.now()
    assert inside(other)
    globex.token.refresh_from_db()
    assert globex.token.expiry > timezone.now()
    assert inside(logged_in(ada))


def test_the_password_cannot_be_guessed_on_that_page(ada: User) -> None:
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
    assert inside(here)
    assert not inside(there)


def test_nobody_logs_others_out(log_in: LogIn) -> None:
    assert log_in("anonymous").get(reverse(EVERYWHERE)).status_code == 302
