"""A dedicated broker, and a worker that accepts commands."""

from collections.abc import Iterator

import pytest

from embedded.valkey import Valkey
from tests.broker import using_broker
from tests.parts.celery_worker.gated import Gated, gated
from tests.parts.celery_worker.working import Working, working


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A dedicated broker. On the shared one, the running product of other tests would consume the messages."""
    with Valkey(tmp_path_factory.mktemp("valkey"), durable=False) as server, using_broker(server.url):
        yield server


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gated]:
    with gated(tmp_path_factory.mktemp("gated")) as made:
        yield made


@pytest.fixture(scope="module")
def shared(valkey: Valkey, pipeline: Gated) -> Iterator[Working]:
    with working(pipeline, valkey) as made:
        made.accepts()
        yield made


@pytest.fixture
def worker(shared: Working) -> Working:
    """An idle worker with one thread that accepts commands. All tests of a module share it."""
    shared.heartbeat(
        lambda beat: beat.taking and not (beat.running or beat.waiting or beat.abandoned), "an idle worker"
    )
    return shared
