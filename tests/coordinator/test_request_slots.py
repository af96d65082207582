"""Requests that wait for their client leave their slot and connection to others. Their own number is limited."""

import threading
import time
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import BytesIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.handlers.wsgi import WSGIRequest
from django.db import connection, connections, transaction
from django.http import StreamingHttpResponse
from django.test import RequestFactory

from coordinator import health
from coordinator.health import Check
from coordinator.request_slots import Application, Slots, WaitingPlaces, group_of, in_slots, liveness, remember_session
from foundation.api.streaming import arrived_at, pause, streamed
from foundation.errors import SlowRequestsBusy
from foundation.fair_slots import Group
from tenancy.access import issue_token
from tenancy.api.authentication import TokenAuthentication
from tenancy.roles import Scope
from tests import making
from tests.building import eventually
from tests.raw_sql import as_owner

pytestmark = pytest.mark.django_db
SECONDS = 10
ONE_PLACE = 6
"""The number of threads with which one request of a client may wait."""


def session() -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


def started(call: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Call in a daemon thread, so that a request without a slot fails its test and does not block the exit."""
    made: Future[Any] = Future()

    def run() -> None:
        try:
            made.set_result(call(*arguments, **options))
        except BaseException as error:
            made.set_exception(error)
        finally:
            connections.close_all()

    threading.Thread(target=run, daemon=True).start()
    return made


def served(application: Application, client: str = "192.0.2.1", **environ: Any) -> list[bytes]:
    length = "2" if "wsgi.input" in environ else ""
    return list(application({"REMOTE_ADDR": client, "CONTENT_LENGTH": length, **environ}, lambda *_: None))


@pytest.fixture
def threads() -> Iterator[list[ThreadPoolExecutor]]:
    made = [ThreadPoolExecutor(1) for _ in range(2)]
    yield made
    for thread in made:
        thread.submit(connections.close_all).result(SECONDS)
        thread.shutdown()


@pytest.mark.parametrize("end", ["terminated", "too old"])
def test_each_connection_is_checked_when_it_is_taken(threads: list[ThreadPoolExecutor], end: str) -> None:
    slots = Slots(2)

    def take() -> int:
        slots.take()
        return session()

    def leave() -> None:
        if end == "too old":
            connections["default"].close_at = 0.0
        slots.leave()

    before = [thread.submit(take).result(SECONDS) for thread in threads]
    for thread in threads:
        thread.submit(leave).result(SECONDS)
    if end == "terminated":
        with as_owner(), connection.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid, 5000) FROM unnest(%s::int[]) AS pid", [before])
    after = [thread.submit(take).result(SECONDS) for thread in threads]
    assert len({*before, *after}) == 4


def test_a_transaction_keeps_its_slot_and_its_connection() -> None:
    slots = Slots(1)

    def within() -> bool:
        slots.take()
        try:
            with transaction.atomic():
                before = connections["default"]
                with slots.left():
                    return connections["default"] is before
        finally:
            connections["default"].close()
            slots.leave()

    assert started(within).result(SECONDS)


def test_a_process_whose_slots_are_all_taken_and_never_left_is_not_alive() -> None:
    begun, go_on = threading.Event(), threading.Event()

    def hanging(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        begun.set()
        go_on.wait(SECONDS)
        return []

    application = in_slots(hanging, slots=1, threads=10)
    assert liveness.silent_seconds == 0
    hung = started(served, application)
    assert begun.wait(SECONDS)
    eventually(lambda: liveness.silent_seconds > 0.1, what="silence", seconds=SECONDS)
    go_on.set()
    hung.result(SECONDS)
    assert liveness.silent_seconds == 0
    for silence, status in ((60, 200), (61, 503), (0, 200)):
        liveness.watch(partial(float, silence))
        assert health.live(RequestFactory().get("/health/live")).status_code == status


def test_a_slot_is_free_again_after_a_failure() -> None:
    def failing(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        raise LookupError

    application = in_slots(failing, slots=1, threads=10)
    for _ in range(2):
        with pytest.raises(LookupError):
            started(served, application).result(SECONDS)


class SlowStream:
    """A body that does not arrive until `arrives` is set."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self.arrives = threading.Event()

    def read(self, size: int | None = None) -> bytes:
        self.reading.set()
        assert self.arrives.wait(3 * SECONDS)
        return b"{}"


def echo(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
    return [environ["wsgi.input"].read(100)]


@pytest.fixture
def slow() -> Iterator[SlowStream]:
    made = SlowStream()
    yield made
    made.arrives.set()


def test_a_request_that_waits_for_its_body_leaves_its_slot_and_has_arrived_before_it(slow: SlowStream) -> None:
    arrived = []

    def dated(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        arrived.append(arrived_at(RequestFactory().request(**environ)))
        return echo(environ, start_response)

    application, began = in_slots(dated, slots=1, threads=10), time.monotonic()
    waiting = started(served, application, **{"wsgi.input": slow})
    assert slow.reading.wait(SECONDS)
    assert started(served, application, **{"wsgi.input": BytesIO(b"1")}).result(SECONDS) == [b"1"]
    sent = time.monotonic()
    slow.arrives.set()
    assert waiting.result(SECONDS) == [b"{}"]
    assert began <= arrived[-1] < sent


@pytest.mark.parametrize("length", ["2", "9000000"])
def test_too_many_slow_requests_of_one_client_are_refused(slow: SlowStream, length: str) -> None:
    application = in_slots(echo, slots=1, threads=ONE_PLACE)

    def sent(client: str = "192.0.2.1") -> Any:
        body = {"wsgi.input": BytesIO(b"1"), "CONTENT_LENGTH": length}
        return started(served, application, client, **body).result(SECONDS)

    waiting = started(served, application, **{"wsgi.input": slow, "CONTENT_LENGTH": length})
    assert slow.reading.wait(SECONDS)
    with pytest.raises(SlowRequestsBusy):
        sent()
    assert sent("192.0.2.2") == [b"1"]
    slow.arrives.set()
    assert waiting.result(SECONDS) == [b"{}"]
    assert sent() == [b"1"]


def test_all_slow_requests_together_are_limited() -> None:
    places = WaitingPlaces(4)
    for client in "abcd":
        places.take(client)
    with pytest.raises(SlowRequestsBusy):
        places.take("e")
    places.leave("a")
    places.take("e")


def test_a_paused_request_leaves_its_slot_and_its_connection_to_others_and_counts_as_slow() -> None:
    begun = threading.Event()
    opened: list[Any] = []

    def pausing(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        opened.append(connections["default"])
        sessions = [session()]
        if environ["pauses"]:
            begun.set()
            pause(RequestFactory().request(**environ), 1.0)
            sessions.append(session())
        return [str(number).encode() for number in sessions]

    application = in_slots(pausing, slots=1, threads=ONE_PLACE)
    paused = started(served, application, pauses=True)
    assert begun.wait(SECONDS)
    [other] = started(served, application, pauses=False).result(SECONDS)
    with pytest.raises(SlowRequestsBusy):
        started(served, application, pauses=True).result(SECONDS)
    assert not paused.done()
    assert paused.result(SECONDS) == [other, other]
    for conn in opened:
        conn.close()


def test_a_stream_leaves_its_place_when_it_is_closed() -> None:
    closed: list[bool] = []

    def chunks() -> Generator[bytes]:
        try:
            assert list(connections.all(initialized_only=True)) == []
            yield b"a"
        finally:
            closed.append(True)

    def respond(environ: dict[str, Any], _: Callable[..., Any]) -> StreamingHttpResponse:
        return streamed(WSGIRequest(environ), chunks(), length=1, status=200, headers={"ETag": '"x"'})

    application = in_slots(respond, slots=1, threads=ONE_PLACE)
    with ThreadPoolExecutor(1) as thread:

        def start(client: str = "192.0.2.1") -> Any:
            environ = {**RequestFactory().get("/").META, "REMOTE_ADDR": client, "CONTENT_LENGTH": ""}
            return thread.submit(application, environ, lambda *_: None).result(SECONDS)

        first = start()
        assert (first.status_code, first["Content-Length"], first["ETag"]) == (200, "1", '"x"')
        with pytest.raises(SlowRequestsBusy):
            start()
        other = start("192.0.2.2")
        assert thread.submit(lambda: next(iter(first))).result(SECONDS) == b"a"
        thread.submit(first.close).result(SECONDS)
        assert closed == [True]
        for response in (start(), other):
            thread.submit(response.close).result(SECONDS)


def environ(path: str, client: str = "192.0.2.1", **more: Any) -> dict[str, Any]:
    return {"PATH_INFO": path, "REMOTE_ADDR": client, **more}


def test_a_request_beyond_the_line_is_refused_before_its_body_is_read() -> None:
    begun, over = threading.Event(), threading.Event()

    def blocking(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        if environ["PATH_INFO"] == "/block":
            begun.set()
            assert over.wait(3 * SECONDS)
        start_response("200 OK", [])
        return [b"served"]

    application = in_slots(blocking, slots=1, threads=4)  # one request of a group may wait
    waiting = []
    for _ in range(2):
        waiting.append(started(application, environ("/block"), lambda *_: None))
        assert begun.wait(SECONDS)
        time.sleep(0.05)
    responses: list[tuple[str, dict[str, str]]] = []

    def respond(line: str, headers: list[tuple[str, str]]) -> None:
        responses.append((line, dict(headers)))

    body: dict[str, Any] = {"CONTENT_LENGTH": "10", "wsgi.input": None}  # which cannot be read
    [answer] = started(application, environ("/more", **body), respond).result(SECONDS)
    [(line, headers)] = responses
    assert line == "429 Too Many Requests"
    assert (headers["Retry-After"], headers["Content-Type"]) == ("1", "application/problem+json")
    assert b"TOO_MANY_REQUESTS" in answer
    assert list(started(application, environ("/health/live"), respond).result(SECONDS)) == [b"served"]
    over.set()
    for response in waiting:
        response.result(SECONDS)
    assert list(started(application, environ("/more"), respond).result(SECONDS)) == [b"served"]


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
    for session, user in (("a", "7"), ("b", "7"), ("c", "8")):
        remember_session(session * 32, user)
    groups = [group_of(environ("/admin/", HTTP_COOKIE=f"sessionid={session * 32}")) for session in "abcd"]
    seven, eight = Group("user 7", reserved=True), Group("user 8", reserved=True)
    assert groups == [seven, seven, eight, Group("address 192.0.2.1")]


def test_a_slow_check_counts_as_down_and_is_not_started_twice() -> None:
    go_on, begun = threading.Event(), []

    def wait() -> None:
        begun.append("once")
        go_on.wait(5)

    check = Check(wait)
    try:
        assert [check.status(), check.status()] == ["DOWN", "DOWN"]
    finally:
        go_on.set()
    assert begun == ["once"]
