"""If a lease is lost, its step can detect it, and a command that no thread has begun does not run."""

import uuid

from pipelines.worker.host import Host
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted, command, executing, heartbeat
from wire.messages.celery_messages import Command, Instruction
from wire.messages.sealing import seal


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
