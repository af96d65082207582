"""When a Celery worker takes messages from the broker, and what it reports."""

import time
import uuid

import pytest

from tests.parts.celery_worker.working import KEY, NAME, Working, command
from tests.running import eventually
from wire.broker import client
from wire.broker.client import Ticket, dead_messages_of
from wire.messages.celery_messages import CommandGroup, Heartbeat, Instruction
from wire.messages.queues import EXECUTE_TASK, INSTRUCTION_TASK, ticket_of
from wire.messages.sealing import seal

pytestmark = pytest.mark.filterwarnings("ignore")  # Celery warns in the worker's threads


def tokens(beat: Heartbeat) -> tuple[set[uuid.UUID], set[uuid.UUID]]:
    return {each.lease_token for each in beat.running}, {each.lease_token for each in beat.waiting}


def ask(worker: Working) -> Heartbeat:
    """Send an instruction to the worker and return a heartbeat that follows it."""
    worker.heartbeats()
    worker.order()
    return worker.heartbeat(lambda _: True, "a heartbeat")


def test_a_command_runs_and_its_lease_is_held_until_its_outcome_is_sent(worker: Working) -> None:
    sent = command(100, lease_seconds=0.9)
    worker.send(sent)
    worker.pipeline.wait_for(100)
    worker.heartbeat(lambda beat: tokens(beat) == ({sent.lease_token}, set()), "the lease")
    worker.pipeline.open(100)
    outcome = worker.outcome_of(sent)
    assert (outcome.outcome, outcome.output_payloads) == ("COMPLETED", ['{"number": 1000}'])
    worker.heartbeat(lambda beat: tokens(beat) == (set(), set()), "the end of the lease")


def test_a_lease_is_held_after_its_checkpoint_was_sent(worker: Working) -> None:
    sent = command(110, lease_seconds=0.9)
    worker.send(sent)

    def checkpoint() -> bool:
        worker.listen()
        return any(each.lease_token == sent.lease_token for each in worker.checkpoints)

    eventually(checkpoint, what="the checkpoint")
    for _ in range(2):
        assert tokens(ask(worker)) == ({sent.lease_token}, set())
    worker.pipeline.open(110)
    assert worker.outcome_of(sent).outcome == "COMPLETED"


def test_a_group_of_commands_runs_one_after_the_other_and_each_has_its_own_outcome(worker: Working) -> None:
    first, failing, last = command(120, lease_seconds=0.9), command(13), command(1)
    worker.send(first, failing, last)
    worker.pipeline.wait_for(120)
    waiting = {failing.lease_token, last.lease_token}
    worker.heartbeat(lambda beat: tokens(beat) == ({first.lease_token}, waiting), "what runs and what waits")
    worker.pipeline.open(120)
    found = [worker.outcome_of(each) for each in (first, failing, last)]
    assert [each.outcome for each in found] == ["COMPLETED", "FAILED", "COMPLETED"]
    # A failure repeats the last checkpoint, which may also have been sent before it.
    reached = [each for each in worker.checkpoints if each.lease_token == failing.lease_token]
    assert reached
    assert all((each.next_step_index, each.output_payloads) == (1, ['{"number": 13}']) for each in reached)


def test_a_message_without_its_ticket_does_not_run(worker: Working) -> None:
    worker.send(command(2), ticket=False)
    group = CommandGroup(commands=[command(2)])
    message = seal(worker.identity, group, KEY)
    name = ticket_of(worker.identity, message["nonce"])
    client.send(EXECUTE_TASK, message, queue=worker.queue, ticket=Ticket(name, 30))
    client.send(EXECUTE_TASK, message, queue=worker.queue)
    after = command(3)
    worker.send(after)
    worker.outcome_of(after)
    assert worker.pipeline.begun.count(2) == 1


def test_while_its_threads_are_busy_a_command_waits_in_the_broker(worker: Working) -> None:
    running, waiting = command(130), command(4)
    worker.send(running)
    worker.pipeline.wait_for(130)
    worker.send(waiting)
    for _ in range(2):
        assert tokens(ask(worker)) == ({running.lease_token}, set())
    assert worker.owner.llen(worker.queue) == 1
    worker.pipeline.open(130)
    assert worker.outcome_of(waiting).outcome == "COMPLETED"


def test_a_free_thread_takes_the_next_command_at_once(worker: Working) -> None:
    """Celery's event loop would notice a free thread only once a second."""
    sent = [command(number) for number in range(20, 26)]
    began = time.monotonic()
    for each in sent:
        worker.send(each)
    for each in sent:
        worker.outcome_of(each)
    assert time.monotonic() - began < len(sent) / 2


@pytest.mark.parametrize("wrong", ["order", "commands", "nothing"])
def test_a_message_in_the_wrong_queue_is_moved_aside_and_occupies_no_thread(worker: Working, wrong: str) -> None:
    order = seal(worker.identity, Instruction(worker_id=NAME, drain=True), KEY)
    lost = command(5)
    commands = seal(worker.identity, CommandGroup(commands=[lost]), KEY)
    dead = dead_messages_of(worker.orders if wrong == "commands" else worker.queue)
    before = worker.owner.llen(dead)
    if wrong == "commands":
        client.send(EXECUTE_TASK, commands, queue=worker.orders, ticket=Ticket("t", 30))
    elif wrong == "order":
        client.send(INSTRUCTION_TASK, order, queue=worker.queue)
    else:
        worker.owner.lpush(worker.queue, "nothing")
    eventually(lambda: worker.owner.llen(dead) == before + 1, what="the dead message")
    after = command(6)
    worker.send(after)
    assert worker.outcome_of(after).outcome == "COMPLETED"
    assert 5 not in worker.pipeline.begun


def test_heartbeats_come_often_enough_for_the_shortest_lease(worker: Working) -> None:
    sent = command(140, lease_seconds=0.6)
    worker.send(sent)
    worker.pipeline.wait_for(140)
    for _ in range(5):
        worker.heartbeat(lambda beat: tokens(beat)[0] == {sent.lease_token}, "the next heartbeat", seconds=5)
    worker.pipeline.open(140)
    worker.outcome_of(sent)


def test_an_instruction_about_a_lost_lease_reaches_a_worker_whose_threads_are_busy(worker: Working) -> None:
    running, waiting = command(150), command(7)
    worker.send(running, waiting)
    worker.pipeline.wait_for(150)
    worker.order(lost=[running, waiting])
    failure = worker.outcome_of(running).failure
    assert failure is not None
    assert failure.failure_class.endswith("Cancelled")
    worker.heartbeat(lambda beat: not (beat.running or beat.waiting or beat.abandoned), "an idle worker")
    assert 7 not in worker.pipeline.begun


def test_a_drained_worker_finishes_its_commands_and_accepts_no_more_until_it_is_undrained(worker: Working) -> None:
    running, waiting = command(160), command(8)
    worker.send(running)
    worker.pipeline.wait_for(160)
    worker.order(drain=True)
    heartbeat = worker.heartbeat(lambda beat: not beat.taking, "the drain")
    assert tokens(heartbeat) == ({running.lease_token}, set())
    worker.send(waiting)
    worker.pipeline.open(160)
    assert worker.outcome_of(running).outcome == "COMPLETED"
    worker.order(drain=True)
    worker.heartbeat(lambda beat: not (beat.taking or beat.running), "the end of the drain")
    assert worker.owner.llen(worker.queue) == 1
    worker.order()
    assert worker.outcome_of(waiting).outcome == "COMPLETED"
