"""Accounts: the duration of sessions, and what ends all sessions of a user."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone

from tenancy.access import issue_token
from tenancy.models import AuditEntry
from tenancy.roles import Scope
from tests.admin.browsing import to
from tests.admin.conftest import World
from tests.cases import cases

PASSWORD = "correct-horse-battery-staple"
NEW = "another-horse-battery-staple"
CHANGE = "/admin/password_change/"
EVERYWHERE = "/admin/auth/user/log-out-everywhere/"
HTMX = {"HX-Request": "true"}


def move_back(client: Client, seconds: float, *timestamps: str) -> None:
    """Move these timestamps of the session back by `seconds`."""
    session = client.session
    for timestamp in timestamps:
        session[timestamp] -= seconds
    session.save()


def is_logged_in(client: Client, **headers: str) -> bool:
    return client.get(to("index"), headers=headers).status_code == 200


def test_an_idle_session_ends(viewer: Client, settings: Any) -> None:
    for _ in range(2):
        move_back(viewer, settings.SESSION_IDLE_SECONDS - 10, "active_at")
        assert is_logged_in(viewer)
    move_back(viewer, settings.SESSION_IDLE_SECONDS + 10, "active_at")
    assert not is_logged_in(viewer)
    assert not Session.objects.exists()


def test_sessions_that_are_over_are_removed_when_someone_signs_in(viewer: Client) -> None:
    Session.objects.update(expire_date=timezone.now())
    Client().force_login(User.objects.get(username="viewer"))
    assert Session.objects.filter(expire_date__gt=timezone.now()).count() == Session.objects.count() == 1


def test_automatic_page_updates_do_not_prolong_a_session(viewer: Client, settings: Any) -> None:
    move_back(viewer, settings.SESSION_IDLE_SECONDS - 10, "active_at")
    for _ in range(3):
        assert is_logged_in(viewer, **HTMX)
    move_back(viewer, 20, "active_at")
    assert not is_logged_in(viewer, **HTMX)


def test_a_busy_session_ends_after_the_maximum_duration(viewer: Client, settings: Any) -> None:
    move_back(viewer, settings.SESSION_MAX_SECONDS - 10, "began_at")
    assert is_logged_in(viewer)
    move_back(viewer, 20, "began_at")
    assert not is_logged_in(viewer)


def test_a_session_has_a_start_time_which_a_new_log_in_renews(viewer: Client) -> None:
    move_back(viewer, 1000, "began_at", "active_at")
    viewer.force_login(User.objects.get(username="viewer"))
    assert time.time() - viewer.session["began_at"] < 30
    session = viewer.session
    del session["began_at"]
    session.save()
    assert not is_logged_in(viewer)


# --- what ends all sessions ---


@pytest.fixture
def ada(acme: World, fast_hashing: None) -> User:
    user = User.objects.get(username="tenant-admin-of-acme")
    user.set_password(PASSWORD)
    user.save()
    return user


def logged_in(user: User) -> Client:
    client = Client()
    form = {"username": user.username, "password": PASSWORD}
    assert client.post(to("login"), form).status_code == 302
    return client


def test_logging_out_everywhere_ends_only_the_users_own_sessions_and_tokens(
    ada: User, acme: World, globex: World
) -> None:
    token, _ = issue_token(acme.tenant, ada, "robot", [Scope.READ], lifetime=None)
    here, there, other = logged_in(ada), logged_in(ada), Client()
    other.force_login(globex.token.user)
    assert Client().get(EVERYWHERE).status_code == 302
    assert here.post(EVERYWHERE, {"password": "wrong"}).status_code == 400
    assert is_logged_in(there)
    assert here.post(EVERYWHERE, {"password": PASSWORD}).status_code == 302
    assert [is_logged_in(each) for each in (here, there, other)] == [False, False, True]
    for each, is_over in ((token, True), (globex.token, False)):
        each.refresh_from_db()
        assert (each.expiry <= timezone.now()) == is_over
    assert is_logged_in(logged_in(ada))


@cases(("page", "field", "refused"), [(EVERYWHERE, "password", 400), (CHANGE, "old_password", 200)])
def test_guesses_of_ones_own_password_are_limited_and_leave_entries(
    ada: User, page: str, field: str, refused: int
) -> None:
    client, before = logged_in(ada), AuditEntry.objects.count()
    new = {"new_password1": NEW, "new_password2": NEW}
    answers = [client.post(page, {**new, field: "wrong"}).status_code for _ in range(7)]
    assert answers == [refused] * 5 + [429] * 2
    assert client.post(page, {**new, field: PASSWORD}).status_code == 429
    entries = AuditEntry.objects.order_by("id")[before:]
    assert {(each.act, each.object, each.outcome) for each in entries} == {
        ("user.log_in", ada.username, "failed"),
        ("user.log_in", ada.username, "denied"),
    }


def test_a_changed_password_ends_the_other_sessions(ada: User) -> None:
    here, there = logged_in(ada), logged_in(ada)
    assert here.get(CHANGE).status_code == 200
    form = {"old_password": PASSWORD, "new_password1": NEW, "new_password2": NEW}
    assert here.post(CHANGE, form).status_code == 302
    entry = AuditEntry.objects.latest("id")
    assert (entry.act, entry.actor, entry.object) == ("user.password", f"user:{ada.username}", ada.username)
    assert [is_logged_in(each) for each in (here, there)] == [True, False]
