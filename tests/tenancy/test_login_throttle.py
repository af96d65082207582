"""Failed log-ins are counted by account, by address and by both. No lock lasts longer than its window."""

import re
from collections.abc import Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import F
from django.test import Client, RequestFactory, override_settings
from django.urls import reverse
from django.utils import timezone

from tenancy.login import KNOWN_DAYS
from tenancy.models import LoginCounter
from tenancy.origin import client_address
from tests.admin.conftest import static_files
from tests.cases import cases

__all__ = ["static_files"]
pytestmark = pytest.mark.django_db
PASSWORD = "correct-horse-battery-staple"
HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture(scope="module", autouse=True)
def people(module_world: None) -> Iterator[None]:
    """Two users, whose passwords are hashed with a fast algorithm."""
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        for name in ("ada", "eva"):
            User.objects.create_user(name, password=PASSWORD, is_staff=True)
        yield


def log_in(name: str = "ada", password: str = PASSWORD, address: str = HERE, **more: Any) -> Any:
    form = {"username": name, "password": password}
    return Client(REMOTE_ADDR=address).post(reverse("admin:login"), form, **more)


def fail(count: int, name: str = "ada", address: str = HERE) -> None:
    for _ in range(count):
        assert log_in(name, "wrong", address).status_code == 200


def end_windows_earlier(seconds: float) -> None:
    LoginCounter.objects.update(ends_at=F("ends_at") - timedelta(seconds=seconds))


def test_after_five_failures_the_page_says_when_the_lock_ends() -> None:
    fail(5)
    answer = log_in()
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 900
    assert re.search(r"until <strong>\d\d:\d\d:\d\d UTC", answer.text)
    assert "sessionid" not in answer.cookies
    assert log_in(address=ELSEWHERE).status_code == 302
    assert log_in("eva").status_code == 302


def test_a_lock_ends_with_its_window_which_attempts_do_not_prolong() -> None:
    for _ in range(3):
        fail(4)
        assert log_in().status_code == 302, "a success resets the earlier failures"
    for name in ("ada", "nobody"):
        fail(3, name)
        end_windows_earlier(600)
        fail(2, name)
        for _ in range(3):
            assert log_in(name).status_code == 429
        end_windows_earlier(300)
        fail(4, name)
    assert log_in().status_code == 302


def test_an_address_cannot_try_all_accounts(settings: Any) -> None:
    """A successful log-in does not reset the failures of its address."""
    settings.LOGIN_ATTEMPTS_PER_ADDRESS = 8
    for number in range(8):
        fail(1, f"person-{number}")
        if number < 7:
            assert log_in("eva").status_code == 302
    assert log_in("eva").status_code == log_in().status_code == 429
    assert log_in(address=ELSEWHERE).status_code == 302


def test_a_flood_does_not_lock_an_account_at_an_address_where_it_recently_logged_in(settings: Any) -> None:
    settings.LOGIN_ATTEMPTS_PER_ACCOUNT = 3
    assert log_in().status_code == 302
    end_windows_earlier(1000)
    fail(1, "eva", ELSEWHERE)  # this removes counters
    for number in range(3):
        fail(1, address=f"198.51.100.{number}")
    assert log_in(address="198.51.100.200").status_code == 429
    fail(1)
    for _ in range(2):
        fail(1, "eva", ELSEWHERE)
    assert log_in("eva").status_code == 429, "the address is known to one account"
    known = LoginCounter.objects.exclude(known_until=None)
    assert timedelta() < known.get().known_until - timezone.now() <= timedelta(days=KNOWN_DAYS)  # type: ignore[operator]
    known.update(known_until=timezone.now() - timedelta(days=1))
    assert log_in().status_code == 429


def test_expired_rows_are_deleted_and_rows_contain_no_names() -> None:
    fail(1, "a-password-in-the-wrong-field")
    assert LoginCounter.objects.count() == 3
    assert "a-password" not in str(list(LoginCounter.objects.values()))
    end_windows_earlier(900)
    assert log_in().status_code == 302
    assert LoginCounter.objects.count() == 3


@cases(
    ("behind", "trusted", "peer", "forwarded", "expected"),
    [
        (False, "", "192.0.2.1", "198.51.100.7", "192.0.2.1"),
        (True, "", "192.0.2.1", "203.0.113.9, 198.51.100.7", "198.51.100.7"),
        (True, "", "192.0.2.1", None, ""),
        (True, "10.0.0.0/8", "192.0.2.1", "203.0.113.9, 198.51.100.7, 10.1.2.3", "198.51.100.7"),
        (True, "10.0.0.0/8", "192.0.2.1", "198.51.100.7, nonsense, 10.1.2.3", ""),
        (False, "", "2001:db8:1:2:3:4:5:6", None, "2001:db8:1:2::/64"),
    ],
)
def test_the_address_of_a_client(
    settings: Any, behind: bool, trusted: str, peer: str, forwarded: str | None, expected: str
) -> None:
    settings.BEHIND_PROXY, settings.TRUSTED_PROXIES = behind, [ip_network(trusted)] if trusted else []
    headers = {} if forwarded is None else {"X-Forwarded-For": forwarded}
    assert client_address(RequestFactory(REMOTE_ADDR=peer).get("/", headers=headers).META) == expected
