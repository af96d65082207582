"""Requests with slow bodies free their slots for other requests. Their own number is limited."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from io import BytesIO
from typing import Any

import pytest
from django.db import connections, transaction

from coordinator.request_slots import Application, Slots, in_slots
from foundation.errors import SlowRequestsBusy

pytestmark = pytest.mark.django_db
SECONDS = 5


class SlowStream:
    """A body that does not arrive until `arrives` is set."""

    def __init__(self) -> None:
        self.reading = threading.Event()
        self.arrives = threading.Event()

    def read(self, size: int | None = None) -> bytes:
        self.reading.set()
        assert self.arrives.wait(3 * SECONDS)
        return b"{}"


@pytest.fixture
def slow() -> Iterator[SlowStream]:
    made = SlowStream()
    yield made
    made.arrives.set()


def started(call: Callable[..., Any], *arguments: Any, **options: Any) -> Future[Any]:
    """Call in a daemon thread, so that a request without a slot fails its test and does not block the exit."""
    made: Future[Any] = Future()

    def run() -> None:
        try:
            made.set_result(call(*arguments, **options))
        except BaseException as error:
            made.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return made


def echo(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
    """An application that reads its body."""
    return [environ["wsgi.input"].read(100)]


def served(application: Application, stream: Any, *, client: str = "192.0.2.1", length: str = "100000") -> list[bytes]:
    environ = {"wsgi.input": stream, "CONTENT_LENGTH": length, "REMOTE_ADDR": client}
    return list(application(environ, lambda *_: None))


def test_a_request_that_waits_for_its_body_leaves_its_slot(slow: SlowStream) -> None:
    application = in_slots(echo, slots=1, threads=10)
    waiting = started(served, application, slow)
    assert slow.reading.wait(SECONDS)
    assert started(served, application, BytesIO(b"1")).result(SECONDS) == [b"1"]
    slow.arrives.set()
    assert waiting.result(SECONDS) == [b"{}"]


def test_too_many_slow_requests_of_one_client_are_refused(slow: SlowStream) -> None:
    """A short body that has not arrived is slow, too."""
    length = "2"
    application = in_slots(echo, slots=1, threads=6)  # one waiting place per client
    waiting = started(served, application, slow, length=length)
    assert slow.reading.wait(SECONDS)
    refused: Future[Any] = started(served, application, BytesIO(b"1"), length=length)
    with pytest.raises(SlowRequestsBusy):
        refused.result(SECONDS)
    other = started(served, application, BytesIO(b"1"), client="192.0.2.2", length=length)
    assert other.result(SECONDS) == [b"1"]
    slow.arrives.set()
    assert waiting.result(SECONDS) == [b"{}"]
    assert started(served, application, BytesIO(b"1"), length=length).result(SECONDS) == [b"1"]


def test_a_slot_is_free_again_after_a_failure() -> None:
    def failing(environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        raise LookupError

    application = in_slots(failing, slots=1, threads=10)
    for _ in range(2):
        with pytest.raises(LookupError):
            started(served, application, BytesIO(b""), length="0").result(SECONDS)


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
