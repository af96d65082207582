import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from embedded.valkey import Valkey
from pipelines.worker.options import THREADS_ABANDONED
from tests.broker import using_broker
from tests.celery_worker.working import KEY, SOURCE, Working, command, working
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted, released
from wire.broker import sending
from wire.messages.celery_messages import CommandGroup, Heartbeat
from wire.messages.queues import EXECUTE_TASK, HEARTBEAT_QUEUE, OUTCOME_QUEUE, ticket_of
from wire.messages.sealing import seal

pytestmark = pytest.mark.filterwarnings("ignore")  # Celery warns in the worker's threads


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    """A dedicated broker. On the shared one, the running product of other tests would consume the messages."""
    with Valkey(tmp_path_factory.mktemp("valkey"), durable=False) as server, using_broker(server.url):
        yield server


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    with released(tmp_path_factory.mktemp("hosted"), SOURCE) as made:
        yield made


@pytest.fixture
def starting(valkey: Valkey, pipeline: Hosted) -> Iterator[Working]:
    with working(pipeline, valkey) as made:
        yield made


@pytest.fixture
def worker(starting: Working) -> Working:
    starting.accepts()
    return starting


def tokens(beat: Heartbeat) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    return {each.lease_token for each in beat.running}, {each.lease_token for each in beat.waiting}


def test_a_command_runs_and_its_lease_is_held_until_its_outcome_is_sent(worker: Working) -> None:
    """Also after its checkpoint was sent. Heartbeats come often enough for its short lease."""
    sent = command(99, lease_seconds=0.6)
    worker.send(sent)
    worker.begins()

    def checkpoint() -> bool:
        worker.listen()
        return any(each.lease_token == sent.lease_token for each in worker.checkpoints)

    eventually(checkpoint, what="the checkpoint")
    worker.heartbeats()
    for _ in range(5):
        worker.heartbeat(lambda beat: tokens(beat) == ({sent.lease_token}, set()), "the lease", seconds=5)
    worker.pipeline.finish()
    outcome = worker.outcome_of(sent)
    assert (outcome.outcome, outcome.output_payloads) == ("COMPLETED", ['{"number": 990}'])
    worker.heartbeat(lambda beat: tokens(beat) == (set(), set()), "the end of the lease")


def test_a_message_without_its_ticket_does_not_run(worker: Working, caplog: pytest.LogCaptureFixture) -> None:
    worker.send(command(2), ticket=False)
    message = seal(worker.identity, CommandGroup(commands=[command(2)]), KEY)
    name = ticket_of(worker.identity, message["nonce"])
    sending.send(EXECUTE_TASK, message, queue=worker.queue, ticket=sending.Ticket(name, 30))
    sending.send(EXECUTE_TASK, message, queue=worker.queue)

    unreadable = seal(worker.identity, CommandGroup(commands=[command(3)]), KEY)
    worker.owner.lpush(ticket_of(worker.identity, unreadable["nonce"]), "not a ticket")
    sending.send(EXECUTE_TASK, unreadable, queue=worker.queue)
    eventually(lambda: "Cannot take the ticket" in caplog.text, what="the refusal")
    after = command(4)
    worker.send(after)
    assert worker.outcome_of(after).outcome == "COMPLETED"
    assert (worker.pipeline.marks().count(2), worker.pipeline.marks().count(3)) == (1, 0)


def test_while_its_threads_are_busy_a_command_waits_in_the_broker(worker: Working) -> None:
    running, waiting = command(99), command(5)
    worker.send(running)
    worker.begins()
    worker.send(waiting)
    for _ in range(2):
        worker.heartbeats()
        worker.order()
        beat = worker.heartbeat(lambda _: True, "a heartbeat")
        assert tokens(beat) == ({running.lease_token}, set())
    assert worker.owner.llen(worker.queue) == 1
    worker.pipeline.finish()
    assert worker.outcome_of(waiting).outcome == "COMPLETED"


def test_heartbeats_continue_after_the_broker_refused_one(worker: Working, caplog: pytest.LogCaptureFixture) -> None:
    worker.owner.delete(HEARTBEAT_QUEUE)
    worker.owner.set(HEARTBEAT_QUEUE, "not a list")
    worker.order()
    eventually(lambda: "did not accept a heartbeat" in caplog.text, what="the refusal")
    worker.owner.delete(HEARTBEAT_QUEUE)
    worker.order()
    worker.heartbeat(lambda beat: beat.taking, "a heartbeat")


def test_it_accepts_nothing_before_its_first_instruction(starting: Working) -> None:
    first = starting.heartbeat(lambda _: True, "the first heartbeat")
    assert (first.state, first.taking, first.answered, first.capacity) == ("HEALTHY", False, False, 1)
    sent = command(1)
    starting.send(sent)
    starting.heartbeat(lambda beat: not beat.answered, "another heartbeat")
    assert starting.owner.llen(starting.queue) == 1
    starting.order()
    assert starting.outcome_of(sent).outcome == "COMPLETED"
    url = f"http://127.0.0.1:{starting.metrics_port}"
    assert requests.get(f"{url}/live", timeout=10).text == "UP\n"
    assert 'pipelines_transitions_total{outcome="COMPLETED"} 1.0' in requests.get(f"{url}/metrics", timeout=10).text


def test_before_it_exits_it_finishes_its_transitions_and_waits_until_the_broker_accepts_the_outcome(
    worker: Working, caplog: pytest.LogCaptureFixture
) -> None:
    running, left = command(99, lease_seconds=0.6), command(2)
    worker.send(running)
    worker.begins()
    worker.owner.set(OUTCOME_QUEUE, "not a list, so it cannot grow")
    worker.shut_down()
    worker.send(left)
    heartbeat = worker.heartbeat(lambda beat: beat.state == "DRAINING", "the drain")
    assert (heartbeat.taking, [each.lease_token for each in heartbeat.running]) == (False, [running.lease_token])
    worker.pipeline.finish()
    eventually(lambda: "did not accept 1 reports" in caplog.text, what="the refusal")
    assert not worker.ends(0.5)
    worker.owner.delete(OUTCOME_QUEUE)
    assert worker.ends()
    assert worker.outcome_of(running).outcome == "COMPLETED"
    last = worker.heartbeat(lambda beat: beat.state == "UNAVAILABLE", "the last heartbeat")
    assert (last.taking, last.running) == (False, [])
    assert (worker.owner.llen(worker.queue), worker.pipeline.marks().count(2)) == (1, 0)


@pytest.mark.parametrize(("option", "status"), [("--exit-when-abandoned 1", THREADS_ABANDONED), ("", 0)])
def test_a_step_that_exceeds_its_limit_is_left_behind(valkey: Valkey, tmp_path: Path, option: str, status: int) -> None:
    """The worker continues in another thread, or drains and ends. The stuck thread does not keep the process."""
    source = SOURCE.replace("@pipeline.step\ndef settle", "@pipeline.step(timeout=0.3)\ndef settle")
    with released(tmp_path, source) as limited, working(limited, valkey, option) as worker:
        worker.accepts()
        stuck, following = command(99), command(2)
        worker.send(stuck)
        failure = worker.outcome_of(stuck).failure
        assert failure is not None
        assert failure.failure_class == "STEP_TIMEOUT"
        beat = worker.heartbeat(lambda beat: beat.abandoned, "the abandoned thread")
        assert (beat.state, beat.capacity, beat.abandoned) == ("DRAINING" if option else "HEALTHY", 2, 1)
        if not option:
            metrics = requests.get(f"http://127.0.0.1:{worker.metrics_port}/metrics", timeout=10).text
            assert "pipelines_threads 2.0\n" in metrics
            assert "pipelines_transitions_abandoned 1.0\n" in metrics
            worker.send(following)
            assert worker.outcome_of(following).outcome == "COMPLETED"
            worker.shut_down()
        assert worker.ends()
        assert worker.status == status
