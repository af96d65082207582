"""`coordinator probe`: what it asks, and when it fails."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from embedded.children import free_port
from foundation.telemetry.endpoint import Endpoint, Monitored
from foundation.telemetry.exposition import Exposition
from foundation.telemetry.liveness import LONGEST_SILENCE, Liveness


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def served(settings: Any, now: list[float]) -> Iterator[str]:
    settings.METRICS_PORT = free_port()
    server = Endpoint("127.0.0.1", settings.METRICS_PORT, Monitored(Exposition(dict), Liveness(lambda: now[0])))
    server.start()
    yield f"http://127.0.0.1:{settings.METRICS_PORT}"
    server.shutdown()
    server.server_close()


def test_a_hanging_loop_is_reported(served: str, now: list[float]) -> None:
    now[0] = LONGEST_SILENCE + 1
    with pytest.raises(CommandError, match=f"{served}/live responded with 503: The main loop has hung for 61 s."):
        call_command("probe", "control")


def test_a_process_that_does_not_respond_is_reported(settings: Any) -> None:
    settings.METRICS_PORT = free_port()
    with pytest.raises(CommandError, match=r"does not respond: .*refused"):
        call_command("probe", "clock")
