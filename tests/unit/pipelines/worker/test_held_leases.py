"""The leases that a worker holds: when they begin, how long they last, and which are remembered."""

import threading
import time

from pipelines.worker.held_leases import HeldLeases
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import command


def test_a_transition_that_runs_for_longer_than_its_first_lease_keeps_its_lease() -> None:
    held = HeldLeases()
    [running, waiting] = held.take([command(lease_seconds=0.01), command(lease_seconds=0.01)])
    assert held.begin(running.lease_token)
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 0.02, what="the end of the leases")
    in_use = held.in_use()
    assert ([each.lease_token for each in in_use.running], in_use.active) == ([running.lease_token], 1)
    held.end(running.lease_token)
    in_use = held.in_use()
    assert (len(in_use.running), in_use.active) == (1, 0), "its outcome waits to be sent"
    assert not held.begin(waiting.lease_token)


def test_a_command_does_not_begin_after_its_lease_and_is_dropped() -> None:
    held = HeldLeases()
    [late, later, early] = held.take([command(lease_seconds=-0.001), command(lease_seconds=-0.001), command()])
    assert not held.begin(late.lease_token)
    assert [each.lease_token for each in held.in_use().waiting] == [early.lease_token]
    assert not held.begin(later.lease_token)


def test_the_time_of_a_transition_counts_from_when_a_thread_begins_it() -> None:
    held = HeldLeases()
    [waiting] = held.take([command()])
    threading.Event().wait(0.05)
    began = time.monotonic()
    assert held.begin(waiting.lease_token)
    [running] = held.in_use().running
    assert running.seconds <= time.monotonic() - began
