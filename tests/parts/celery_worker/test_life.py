"""A Celery worker waits for its first instruction when it starts, and completes its work before it exits."""

from collections.abc import Iterator

import pytest
import requests

from embedded.valkey import Valkey
from pipelines.errors import DefinitionError
from tests.parts.celery_worker.gated import Gated
from tests.parts.celery_worker.working import NAME, Working, command, working
from tests.running import eventually
from wire.messages.queues import OUTCOME_QUEUE

pytestmark = pytest.mark.filterwarnings("ignore")  # Celery warns in the worker's threads


@pytest.fixture
def worker(valkey: Valkey, pipeline: Gated) -> Iterator[Working]:
    """A worker that has just started."""
    with working(pipeline, valkey) as made:
        yield made


def test_it_accepts_nothing_before_its_first_instruction(worker: Working) -> None:
    first = worker.heartbeat(lambda _: True, "the first heartbeat")
    assert (first.state, first.taking, first.answered, first.capacity) == ("HEALTHY", False, False, 1)
    sent = command(1)
    worker.send(sent)
    worker.heartbeat(lambda beat: not beat.answered, "another heartbeat")
    assert worker.owner.llen(worker.queue) == 1
    worker.order()
    assert worker.outcome_of(sent).outcome == "COMPLETED"


def test_before_it_exits_it_finishes_its_transitions_and_waits_until_the_broker_accepts_the_outcome(
    worker: Working, caplog: pytest.LogCaptureFixture
) -> None:
    worker.accepts()
    running, left = command(100, lease_seconds=0.6), command(2)
    worker.send(running)
    worker.pipeline.wait_for(100)
    worker.owner.set(OUTCOME_QUEUE, "not a list, so it cannot grow")
    worker.shut_down()
    worker.send(left)
    heartbeat = worker.heartbeat(lambda beat: beat.state == "DRAINING", "the drain")
    assert (heartbeat.taking, [each.lease_token for each in heartbeat.running]) == (False, [running.lease_token])
    worker.pipeline.open(100)
    eventually(lambda: "did not accept 1 reports" in caplog.text, what="the refusal")
    assert not worker.ends(0.5)
    worker.owner.delete(OUTCOME_QUEUE)
    assert worker.ends()
    assert worker.outcome_of(running).outcome == "COMPLETED"
    last = worker.heartbeat(lambda beat: beat.state == "UNAVAILABLE", "the last heartbeat")
    assert (last.taking, last.running) == (False, [])
    assert (worker.owner.llen(worker.queue), worker.pipeline.begun.count(2)) == (1, 0)


def test_its_port_serves_metrics_and_says_that_it_lives(worker: Working) -> None:
    worker.accepts()
    sent = command(1)
    worker.send(sent)
    worker.outcome_of(sent)
    url = f"http://127.0.0.1:{worker.metrics_port}"
    assert requests.get(f"{url}/live", timeout=10).text == "UP\n"
    text = requests.get(f"{url}/metrics", timeout=10).text
    assert 'pipelines_transitions_total{outcome="COMPLETED"} 1.0' in text
    assert "pipelines_transition_seconds_count 1.0" in text
    assert "pipelines_accepting 1.0" in text
    assert f'release="{worker.identity.release_version}",tenant="acme",worker="{NAME}"' in text
    assert requests.get(url, timeout=10).status_code == 404


def test_a_worker_that_every_coordinator_refuses_exits(worker: Working) -> None:
    def refused() -> bool:
        for _ in worker.heartbeats():
            worker.refuse(worker.nonces[-1], "TENANT_UNKNOWN")
        return worker.ends(0.01)

    eventually(refused, what="the end")
    assert isinstance(worker.error, DefinitionError)
    assert worker.error.code == "WORKER_REFUSED"


def test_an_accepted_worker_whose_key_is_refused_accepts_nothing_until_it_is_accepted_again(worker: Working) -> None:
    worker.accepts()
    frequent = command(3, lease_seconds=0.3)  # shortens the heartbeat interval
    worker.send(frequent)
    worker.outcome_of(frequent)

    def locked_out() -> bool:
        beats = worker.heartbeats()
        for nonce in worker.nonces:
            worker.refuse(nonce, "KEY_NOT_ACTIVE")
        return any(not beat.taking for beat in beats)

    eventually(locked_out, what="a worker that takes nothing")
    sent = command(4)
    worker.send(sent)
    worker.heartbeat(lambda beat: not beat.taking, "another heartbeat")
    assert worker.owner.llen(worker.queue) == 1
    worker.order()
    assert worker.outcome_of(sent).outcome == "COMPLETED"
