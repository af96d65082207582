"""Requests are refused before their bodies are read, in the groups that their tokens, sessions and addresses choose."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import User

from coordinator.request_groups import group_of, remember_session
from coordinator.request_slots import Application, in_slots
from foundation.scheduling.fair_slots import Group
from tenancy.access import issue_token
from tenancy.api.authentication import TokenAuthentication
from tenancy.roles import Scope
from tests import making

pytestmark = pytest.mark.django_db
SECONDS = 5


class Blocking:
    """An application whose requests to `/block` wait until `over` is set."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.begun = threading.Event()

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/block":
            self.begun.set()
            assert self.over.wait(3 * SECONDS)
        start_response("200 OK", [])
        return [b"served"]


class Unread(BytesIO):
    """A body that must not be read."""

    def read(self, size: int | None = None) -> bytes:
        raise AssertionError


def environ(path: str, client: str = "192.0.2.1", **more: Any) -> dict[str, Any]:
    return {"PATH_INFO": path, "REMOTE_ADDR": client, **more}


def within_thread(served: Application, *arguments: Any) -> list[bytes]:
    """Call in another thread, because a slot replaces the connection of its thread."""
    with ThreadPoolExecutor(1) as pool:
        return list(pool.submit(served, *arguments).result(SECONDS))


class Status:
    """Records what an application passes to `start_response`."""

    def __init__(self) -> None:
        self.line, self.headers = "", dict[str, str]()

    def __call__(self, line: str, headers: list[tuple[str, str]]) -> None:
        self.line, self.headers = line, dict(headers)


def test_a_request_beyond_the_line_is_refused_before_its_body_is_read() -> None:
    application = Blocking()
    served = in_slots(application, slots=1, threads=4)  # one request of a group may wait
    threads = []
    for _ in range(2):
        thread = threading.Thread(target=served, args=[environ("/block"), lambda *_: None], daemon=True)
        threads.append(thread)
        thread.start()
        assert application.begun.wait(SECONDS)
        time.sleep(0.05)
    status = Status()
    body: dict[str, Any] = {"CONTENT_LENGTH": "10", "wsgi.input": Unread()}
    [answer] = within_thread(served, environ("/more", **body), status)
    assert status.line == "429 Too Many Requests"
    assert status.headers["Retry-After"] == "1"
    assert status.headers["Content-Type"] == "application/problem+json"
    assert b"TOO_MANY_REQUESTS" in answer
    health = Status()
    assert within_thread(served, environ("/health/live"), health) == [b"served"]
    application.over.set()
    for thread in threads:
        thread.join(SECONDS)
    assert within_thread(served, environ("/more"), status) == [b"served"]


def test_a_request_belongs_to_the_tenant_of_a_known_token() -> None:
    tenant = making.tenant()
    _, plain = issue_token(tenant, User.objects.create_superuser("eva"), "t", [Scope.READ], lifetime=None)
    authorization = f"Bearer {plain}"
    request = environ("/api", HTTP_AUTHORIZATION=authorization)
    assert group_of(request) == Group("address 192.0.2.1")
    TokenAuthentication().authenticate_credentials(plain.encode())
    assert group_of(request) == Group(f"tenant {tenant.slug}")
    assert group_of({**request, "HTTP_AUTHORIZATION": authorization + "x"}) == Group("address 192.0.2.1")


def test_all_sessions_of_a_user_are_one_group() -> None:
    def of(session: str) -> Group:
        return group_of(environ("/admin/", HTTP_COOKIE=f"sessionid={session * 32}"))

    for session, user in (("a", "7"), ("b", "7"), ("c", "8")):
        remember_session(session * 32, user)
    assert of("a") == of("b") == Group("user 7", reserved=True)
    assert of("c") == Group("user 8", reserved=True)
    assert of("d") == Group("address 192.0.2.1")
