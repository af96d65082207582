"""A Celery worker keeps commands and outcomes while the broker refuses messages and after connections are lost."""

import logging

import pytest

from tests.parts.celery_worker.working import KEY, Working, command
from tests.running import eventually
from wire.broker import client
from wire.messages.celery_messages import CommandGroup
from wire.messages.queues import EXECUTE_TASK, HEARTBEAT_QUEUE, OUTCOME_QUEUE, ticket_of
from wire.messages.sealing import seal

pytestmark = pytest.mark.filterwarnings("ignore")  # Celery warns in the worker's threads


def refuse_outcomes(worker: Working) -> None:
    """Make the broker refuse outcomes only: Redis cannot push to a key that holds a string."""
    worker.owner.set(OUTCOME_QUEUE, "not a list")


def accept_outcomes(worker: Working) -> None:
    worker.owner.delete(OUTCOME_QUEUE)


def test_a_lease_is_held_until_the_broker_accepts_its_outcome(
    worker: Working, caplog: pytest.LogCaptureFixture
) -> None:
    refuse_outcomes(worker)
    sent = command(1, lease_seconds=0.6)
    worker.send(sent)
    eventually(lambda: "did not accept 1 reports: ConnectionError" in caplog.text, what="the refusal")
    worker.heartbeats()
    for _ in range(2):
        heartbeat = worker.heartbeat(lambda _: True, "a heartbeat")
        assert [each.lease_token for each in heartbeat.running] == [sent.lease_token]
    accept_outcomes(worker)
    assert worker.outcome_of(sent).outcome == "COMPLETED"
    worker.heartbeat(lambda beat: not beat.running, "the end of the lease")


def test_heartbeats_continue_after_the_broker_refused_one(worker: Working, caplog: pytest.LogCaptureFixture) -> None:
    worker.owner.delete(HEARTBEAT_QUEUE)
    worker.owner.set(HEARTBEAT_QUEUE, "not a list")
    worker.order()
    eventually(lambda: "did not accept a heartbeat" in caplog.text, what="the refusal")
    worker.owner.delete(HEARTBEAT_QUEUE)
    worker.order()
    worker.heartbeat(lambda beat: beat.taking, "a heartbeat")


def test_a_command_whose_ticket_cannot_be_taken_does_not_run(worker: Working, caplog: pytest.LogCaptureFixture) -> None:
    message = seal(worker.identity, CommandGroup(commands=[command(2)]), KEY)
    worker.owner.lpush(ticket_of(worker.identity, message["nonce"]), "not a ticket")
    client.send(EXECUTE_TASK, message, queue=worker.queue)
    eventually(lambda: "Cannot take the ticket" in caplog.text, what="the refusal")
    after = command(3)
    worker.send(after)
    assert worker.outcome_of(after).outcome == "COMPLETED"
    assert 2 not in worker.pipeline.begun


@pytest.mark.parametrize("drained", [False, True])
def test_after_its_connections_were_lost_it_continues_as_before(
    worker: Working, drained: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    number = 110 + drained
    running, waiting = command(number, lease_seconds=0.6), command(5)
    worker.send(running)
    worker.pipeline.wait_for(number)
    worker.order(drain=drained)
    worker.heartbeat(lambda beat: beat.taking is not drained, "the order")
    worker.owner.client_kill_filter(_type="normal", skipme=True)
    worker.heartbeat(lambda beat: beat.running, "a heartbeat over a new connection")
    worker.pipeline.open(number)
    assert worker.outcome_of(running).outcome == "COMPLETED"
    worker.send(waiting)
    worker.order(drain=drained)
    worker.heartbeat(lambda beat: beat.taking is not drained and not beat.running, "an order over a new connection")
    if drained:
        assert worker.owner.llen(worker.queue) == 1
        worker.order()
    assert worker.outcome_of(waiting).outcome == "COMPLETED"
    worker.listen()
    assert [each.lease_token for each in worker.outcomes].count(running.lease_token) == 1
