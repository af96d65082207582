"""The leases that a worker holds: when they begin, how long they last, and which are remembered."""

import json
import threading
import time

import pytest

from pipelines.worker import held_leases
from pipelines.worker.held_leases import HeldLeases
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import command
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Heartbeat
from wire.messages.limits import MOST_LEASES
from wire.messages.sealing import seal
from wire.messages.task_messages import LONGEST_SMALL_MESSAGE, NOTHING_FOLLOWS
from wire.worker_keys import worker_key


def test_a_transition_that_runs_for_longer_than_its_first_lease_keeps_its_lease() -> None:
    held = HeldLeases()
    [running, waiting] = held.take([command(lease_seconds=0.01), command(lease_seconds=0.01)])
    assert held.begin(running.lease_token)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 0.02, what="the end of the leases")
    assert [each.lease_token for each in held.in_use().running] == [running.lease_token]
    assert not held.begin(waiting.lease_token)


def test_a_command_does_not_begin_after_its_lease_although_no_heartbeat_has_dropped_it() -> None:
    held = HeldLeases()
    [late] = held.take([command(lease_seconds=-0.001)])
    assert not held.begin(late.lease_token)


def test_the_newest_leases_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_leases, "REMEMBERED", 10)
    held = HeldLeases()
    first, *others = [command() for _ in range(11)]
    held.take([first])
    held.take(others)
    assert held.take([others[0], others[-1]]) == []
    assert held.take([first]) == [first]


def test_a_heartbeat_names_no_more_leases_than_it_can() -> None:
    held = HeldLeases()
    taken = held.take([command() for _ in range(2 * (MOST_LEASES + 1))])
    for each in taken[: MOST_LEASES + 1]:
        held.begin(each.lease_token)
    in_use = held.in_use()
    sent = Heartbeat(worker_id="w", state="HEALTHY", capacity=1, running=in_use.running, waiting=in_use.waiting)
    assert [each.lease_token for each in sent.running] == [each.lease_token for each in taken[:MOST_LEASES]]
    message = seal(ReleaseIdentity("t", "p", "c", "r"), sent, worker_key("s", "t"))
    assert len(json.dumps([[message], {}, NOTHING_FOLLOWS])) < LONGEST_SMALL_MESSAGE


def test_the_time_of_a_transition_counts_from_when_a_thread_begins_it() -> None:
    held = HeldLeases()
    [waiting] = held.take([command()])
    threading.Event().wait(0.05)
    began = time.monotonic()
    assert held.begin(waiting.lease_token)
    [running] = held.in_use().running
    assert running.seconds <= time.monotonic() - began
