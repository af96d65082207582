"""Paused requests free their slots for other requests. Their number is limited together with that of slow clients."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection, connections
from django.test import RequestFactory

from coordinator.request_slots import Application, in_slots
from foundation.api.pausing import pause
from foundation.errors import SlowRequestsBusy

pytestmark = pytest.mark.django_db
SECONDS = 1.0


def session() -> int:
    """Return the server's process for the current connection."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return int(cursor.fetchone()[0])


class Pausing:
    """An application whose requests pause if their environment says so. Its responses name their sessions."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.connections: list[Any] = []

    def __call__(self, environ: dict[str, Any], _: Callable[..., Any]) -> list[bytes]:
        self.connections.append(connections["default"])
        sessions = [session()]
        if environ["pauses"]:
            self.begun.set()
            pause(RequestFactory().request(**environ), SECONDS)
            sessions.append(session())
        return [str(each).encode() for each in sessions]


@pytest.fixture
def pausing() -> Iterator[Pausing]:
    made = Pausing()
    yield made
    for each in made.connections:
        each.close()


def served(application: Application, *, pauses: bool, client: str = "192.0.2.1") -> list[bytes]:
    return list(application({"pauses": pauses, "REMOTE_ADDR": client}, lambda *_: None))


def test_a_paused_request_leaves_its_slot_and_its_connection_to_others(pausing: Pausing) -> None:
    application = in_slots(pausing, slots=1, threads=10)
    with ThreadPoolExecutor(2) as pool:
        paused = pool.submit(served, application, pauses=True)
        assert pausing.begun.wait(10)
        [other] = pool.submit(served, application, pauses=False).result(10)
        assert not paused.done()
        assert paused.result(10) == [other, other]


def test_too_many_paused_requests_of_one_client_are_refused(pausing: Pausing) -> None:
    application = in_slots(pausing, slots=1, threads=6)  # one waiting place per client
    with ThreadPoolExecutor(2) as pool:
        paused = pool.submit(served, application, pauses=True)
        assert pausing.begun.wait(10)
        with pytest.raises(SlowRequestsBusy):
            pool.submit(served, application, pauses=True).result(10)
        assert pool.submit(served, application, pauses=False).result(10)
        assert pool.submit(served, application, pauses=True, client="192.0.2.2").result(10)
        assert paused.result(10)
        assert pool.submit(served, application, pauses=True).result(10)
