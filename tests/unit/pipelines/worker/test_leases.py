"""The leases that a worker holds: when they begin, how long they last, what follows if one is lost, and its pace."""

import threading
import time
import uuid

from pipelines.worker.held_leases import HeldLeases
from pipelines.worker.host import Host
from pipelines.worker.pace import QUIET_SECONDS, Pace
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted, command, executing, heartbeat
from wire.messages.celery_messages import Command, Instruction
from wire.messages.sealing import seal

PAUSE = threading.Event()


def tokens(host: Host) -> tuple[set[uuid.UUID], set[uuid.UUID], int]:
    sent = heartbeat(host)
    return {each.lease_token for each in sent.running}, {each.lease_token for each in sent.waiting}, sent.abandoned


def lose(host: Host, *commands: Command) -> None:
    lost = [each.lease_token for each in commands]
    host.follow(seal(host.release.identity, Instruction(worker_id="w", drain=False, lost_leases=lost), Hosted.key))


def test_running_transitions_and_waiting_commands_are_reported_separately(hosted: Hosted, host: Host) -> None:
    """A waiting command that loses its lease never begins."""
    begun, lost, kept = [command(99), command(99)], command(1), command(2)
    running = {each.lease_token for each in begun}
    with executing(hosted, host, *begun, lost, kept) as reports:
        eventually(lambda: len(hosted.marks()) == 2, what="both threads to begin")
        assert tokens(host) == (running, {lost.lease_token, kept.lease_token}, 0)
        first, again = heartbeat(host), heartbeat(host)
        for earlier, later in zip(first.running + first.waiting, again.running + again.waiting, strict=True):
            assert 0 < earlier.seconds < later.seconds < 60
        lose(host, lost)
        assert tokens(host) == (running, {kept.lease_token}, 0)
    assert tokens(host) == (set(), set(), 0)
    assert {each.lease_token for each in reports} == running | {kept.lease_token}
    assert 1 not in hosted.marks()


def test_a_step_learns_that_its_outcome_no_longer_counts(hosted: Hosted, host: Host) -> None:
    """Its outcome occupies no thread while it waits to be sent: the broker may be unreachable for long."""
    cancelled = command(98)
    with executing(hosted, host, cancelled) as reports:
        eventually(hosted.marks, what="the step's start")
        lose(host, cancelled)
        [report] = eventually(lambda: list(reports), what="the report")
        eventually(lambda: tokens(host) == (set(), set(), 0), what="a free thread")
    assert report.outcome is not None
    assert report.outcome.failure is not None
    assert report.outcome.failure.failure_class == "pipelines.errors.Cancelled"


def test_a_thread_that_continues_is_reported_until_it_is_free(hosted: Hosted, host: Host) -> None:
    stubborn, other = command(99), command(99)
    with executing(hosted, host, other), executing(hosted, host, stubborn) as reports:
        eventually(lambda: len(hosted.marks()) == 2, what="both to begin")
        host.changed.clear()
        lose(host, stubborn)
        assert host.changed.is_set()
        assert tokens(host) == ({other.lease_token}, set(), 1)
        host.changed.clear()
        hosted.finish()
        [report] = eventually(lambda: list(reports), what="the report")
        # The outcome is reported like any other. The coordinator drops it and records that in the history.
        assert report.outcome is not None
        assert report.outcome.outcome == "COMPLETED"
        eventually(host.changed.is_set, what="the news of a free thread")
        assert heartbeat(host).abandoned == 0


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


def test_a_notable_change_is_reported_early_but_not_often() -> None:
    pace = Pace()
    with pace.measured(lambda: True) as is_news:
        pass
    assert not is_news(), "its lease was lost"
    with pace.measured():
        pass
    pace.report()
    with pace.measured() as is_news:
        PAUSE.wait(0.02)
    assert not is_news()
    PAUSE.wait(QUIET_SECONDS)
    assert is_news()


def test_a_transition_that_lost_its_lease_does_not_count() -> None:
    pace, lost = Pace(), threading.Event()
    with pace.measured():
        pass
    with pace.measured(lost.is_set):
        PAUSE.wait(0.2)
        assert (pace.report() or 0) >= 0.2
        lost.set()
        assert (pace.report() or 1) < 0.02
    assert (pace.report() or 1) < 0.02
