"""A lease that is lost: its step learns of it, and what no thread has begun is not begun."""

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.worker.held_leases import HeldLeases
from pipelines.worker.host import Host
from pipelines.worker.outbox import Answer
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted, executed
from tests.unit.pipelines.worker.test_host import answer, command, sealed
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Command, Heartbeat, Instruction, OutcomeGroup
from wire.messages.limits import MOST_LEASES
from wire.messages.sealing import decode, seal, verify
from wire.messages.task_messages import LONGEST_SMALL_MESSAGE, NOTHING_FOLLOWS
from wire.worker_keys import worker_key

Running = Callable[..., list[dict[str, Any] | None]]


@pytest.fixture
def host(hosted: Hosted) -> Host:
    """Two transitions at a time."""
    return hosted.host()


@pytest.fixture
def executing(hosted: Hosted, host: Host) -> Iterator[Running]:
    """Executes commands in a thread; returns a list that gets the answer."""
    threads = []

    def start(*commands: Command) -> list[dict[str, Any] | None]:
        answers: list[dict[str, Any] | None] = []
        message = sealed(host, *commands, key=hosted.key)
        threads.append(threading.Thread(target=lambda: answers.append(executed(host, message))))
        threads[-1].start()
        return answers

    yield start
    (hosted.folder / "go").touch()
    for each in threads:
        each.join(10)
        assert not each.is_alive()


def heartbeat(host: Host) -> Heartbeat:
    return decode(verify(host.heartbeat("HEALTHY"), lambda _: [Hosted.key]), Heartbeat)


def tokens(host: Host) -> tuple[set[uuid.UUID], set[uuid.UUID], int]:
    sent = heartbeat(host)
    return {each.lease_token for each in sent.running}, {each.lease_token for each in sent.waiting}, sent.abandoned


def lose(host: Host, *commands: Command) -> None:
    lost = [each.lease_token for each in commands]
    host.obey(seal(host.release.identity, Instruction(worker_id="w", drain=False, lost_leases=lost), Hosted.key))


def answered(answers: list[dict[str, Any] | None]) -> dict[str, Any] | None:
    eventually(lambda: len(answers) == 1, seconds=10, what="the answer")
    return answers[0]


def test_what_runs_is_reported_apart_from_what_waits_for_a_thread(
    hosted: Hosted, host: Host, executing: Running
) -> None:
    commands = [command(99), command(99), command(1), command(2)]
    executing(*commands)
    eventually(lambda: len(hosted.marks()) == 2, what="both threads to begin")
    begun = {each.lease_token for each in commands[:2]}
    assert tokens(host) == (begun, {each.lease_token for each in commands[2:]}, 0)
    first, again = heartbeat(host), heartbeat(host)
    for earlier, later in zip(first.running + first.waiting, again.running + again.waiting, strict=True):
        assert 0 < earlier.seconds < later.seconds < 60
    (hosted.folder / "go").touch()
    eventually(lambda: tokens(host) == (set(), set(), 0), what="the end of all")


def test_a_step_learns_that_its_outcome_no_longer_counts(hosted: Hosted, host: Host, executing: Running) -> None:
    cancelled = command(98)
    answers = executing(cancelled)
    eventually(hosted.marks, what="the step's start")
    lose(host, cancelled)
    [outcome] = answer(answered(answers), hosted.key)
    assert outcome.failure is not None
    assert (outcome.outcome, outcome.failure.failure_class) == ("FAILED", "pipelines.errors.Cancelled")


def test_a_thread_that_continues_is_reported_until_it_is_free(hosted: Hosted, host: Host, executing: Running) -> None:
    stubborn, other = command(99), command(99)
    answers = executing(stubborn)
    executing(other)
    eventually(lambda: len(hosted.marks()) == 2, what="both to begin")
    host.changed.clear()
    lose(host, stubborn)
    assert host.changed.is_set()
    assert tokens(host) == ({other.lease_token}, set(), 1)
    host.changed.clear()
    (hosted.folder / "go").touch()
    [outcome] = answer(answered(answers), hosted.key)
    # The outcome is reported like any other. The coordinator drops it and records that in the history.
    assert outcome.outcome == "COMPLETED"
    eventually(host.changed.is_set, what="the news of a free thread")
    assert heartbeat(host).abandoned == 0


def test_an_outcome_that_waits_to_be_sent_occupies_no_thread(hosted: Hosted, host: Host) -> None:
    """The broker may be unreachable for long, while executions are cancelled one after the other."""
    reported: list[Answer] = []
    cancelled = command(98)
    runner = threading.Thread(target=host.execute, args=(sealed(host, cancelled, key=hosted.key), reported.append))
    runner.start()
    eventually(hosted.marks, what="the step's start")
    lose(host, cancelled)
    runner.join(10)
    assert [each.lease_token for each in reported] == [cancelled.lease_token]
    assert tokens(host) == (set(), set(), 0)


def test_what_waited_and_lost_its_lease_is_never_begun(hosted: Hosted, host: Host, executing: Running) -> None:
    held, lost, kept = command(99), command(1), command(2)
    answers = executing(held, command(99), lost, kept)
    eventually(lambda: len(hosted.marks()) == 2, what="both threads to begin")
    lose(host, lost)
    assert tokens(host)[1:] == ({kept.lease_token}, 0)
    (hosted.folder / "go").touch()
    outcomes = answer(answered(answers), hosted.key)
    assert len(outcomes) == 3
    assert lost.execution_id not in {each.execution_id for each in outcomes}
    assert 1 not in hosted.marks()


def test_a_heartbeat_names_no_more_leases_than_it_can() -> None:
    held = HeldLeases()
    taken = held.take([command() for _ in range(2 * (MOST_LEASES + 1))])
    for each in taken[: MOST_LEASES + 1]:
        held.begin(each.lease_token)
    in_hand = held.in_hand()
    beat = Heartbeat(worker_id="w", state="HEALTHY", capacity=1, running=in_hand.running, waiting=in_hand.waiting)
    assert [each.lease_token for each in beat.running] == [each.lease_token for each in taken[:MOST_LEASES]]
    body = json.dumps([[seal(ReleaseIdentity("t", "p", "c", "r"), beat, worker_key("s", "t"))], {}, NOTHING_FOLLOWS])
    assert len(body) < LONGEST_SMALL_MESSAGE


def test_the_time_of_a_transition_counts_from_when_a_thread_begins_it() -> None:
    held = HeldLeases()
    [waiting] = held.take([command()])
    threading.Event().wait(0.05)
    began = time.monotonic()
    assert held.begin(waiting.lease_token)
    [running] = held.in_hand().running
    assert running.seconds <= time.monotonic() - began


def test_an_order_about_a_foreign_or_finished_lease_changes_nothing(hosted: Hosted, host: Host) -> None:
    over = command(1)
    executed(host, sealed(host, over, key=hosted.key))
    lose(host, over, command(2))
    assert tokens(host) == (set(), set(), 0)
    later = command(3)
    assert decode(verify(executed(host, sealed(host, later, key=hosted.key)), lambda _: [hosted.key]), OutcomeGroup)
