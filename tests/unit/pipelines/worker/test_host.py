import json
import threading
import time
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.worker.host import Host
from pipelines.worker.host_state import QUIET_SECONDS, HeldLeases, Pace
from tests.cases import cases
from tests.running import eventually
from tests.sealed import resealed
from tests.unit.pipelines.worker.conftest import (
    Hosted,
    command,
    executed,
    executing,
    heartbeat,
    outcomes,
    outcomes_in,
    sealed,
)
from wire.messages.celery_messages import TOLERANCE, Command, CommandGroup, Heartbeat, Instruction
from wire.messages.queues import ticket_of
from wire.messages.sealing import seal, verify
from wire.worker_keys import worker_key


class Tickets:
    def __init__(self) -> None:
        self.names: list[str] = []

    def take(self, name: str) -> bool:
        self.names.append(name)
        return len(self.names) == 1


def test_a_message_not_signed_as_commands_takes_no_ticket_and_causes_no_report(hosted: Hosted) -> None:
    tickets = Tickets()
    host = hosted.host(take_ticket=tickets.take)
    no_command = Heartbeat(worker_id="w", state="HEALTHY", capacity=1)
    wrong_keys = worker_key("a secret", "other"), worker_key("another", "acme")
    forged = [sealed(host, command(), key=key) for key in wrong_keys]
    for message in (*forged, seal(host.release.identity, no_command, Hosted.key), None, {"kind": "commands"}):
        assert executed(host, message) is None
    assert (tickets.names, hosted.marks()) == ([], [])


@cases("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_a_command_for_another_release_fails_before_it_is_decoded(hosted: Hosted, part: str) -> None:
    """Only the host with the ticket reports, so a copy in a wrong queue fails no execution that is running."""
    tickets = Tickets()
    host = hosted.host(take_ticket=tickets.take)
    meant = replace(host.release.identity, **{part: "elsewhere"})
    group = sealed(host, command(1), command(payload="{no json"), identity=meant)
    message = executed(host, group)
    assert message is not None
    assert verify(message, lambda _: [Hosted.key]).identity == meant
    failures = [outcome.failure for outcome in outcomes_in(message)]
    assert len(failures) == 2
    for failure in failures:
        assert failure is not None
        assert (failure.failure_class, failure.retryable) == ("IDENTITY_MISMATCH", False)
        assert str(meant) in failure.message
        assert str(host.release.identity) in failure.message
    assert (executed(host, group), hosted.marks()) == (None, [])
    assert tickets.names == [ticket_of(meant, group["nonce"])] * 2


def test_a_command_runs_while_its_lease_may_last_and_not_later(hosted: Hosted, host: Host) -> None:
    second = timedelta(seconds=1)
    ages = (TOLERANCE + 20 * second, True), (TOLERANCE + 40 * second, False), (-TOLERANCE - 40 * second, False)
    for number, (age, runs) in enumerate(ages):
        sent = (datetime.now(UTC) - age).isoformat()
        message = resealed(sealed(host, command(number)), Hosted.key, timestamp=sent)
        assert (executed(host, message) is not None) is runs
        assert (number in hosted.marks()) is runs


def test_a_repeated_lease_is_dropped_from_a_new_group_too(hosted: Hosted, host: Host) -> None:
    seen, new = command(1), command(2)
    outcomes(host, seen)
    assert [outcome.execution_id for outcome in outcomes(host, seen, new)] == [new.execution_id]
    assert hosted.marks() == [1, 2]
    takeover = seen.model_copy(update={"lease_token": uuid.uuid4(), "execution_version": 9})
    assert [outcome.execution_version for outcome in outcomes(host, takeover)] == [9]
    assert hosted.marks() == [1, 2, 1]


@cases("encrypts", [True, False])
def test_reports_are_encrypted_if_their_commands_are(host: Host, encrypts: bool) -> None:
    group = CommandGroup(commands=[command(4711), command(13), command(14, checkpoints=True)])
    message = seal(host.release.identity, group, Hosted.key, encrypt=encrypts)
    answered = executed(host, message)
    for text in ("4711", "transitionKey"):
        assert (text in json.dumps(message)) is not encrypts
    for text in ("47110", "thirteen fails", "fourteen always will", "Traceback"):
        assert (text in json.dumps(answered)) is not encrypts
    assert len(outcomes_in(answered)) == 3


def test_a_payload_that_cannot_be_decoded_is_not_retried(hosted: Hosted, host: Host) -> None:
    members: list[dict[str, Any]] = [
        *({"payload": text} for text in ("{no json", '{"number": "one"}')),
        {"payload": "{}", "shape": "MULTI"},
        {"current_step_index": 2},
        {"stop_before_step_index": 5},
    ]
    for member in members:
        [outcome] = outcomes(host, command(**member))
        assert outcome.failure is not None
        assert (outcome.failure.failure_class, outcome.failure.retryable) == ("UNDECODABLE_PAYLOAD", False)
    assert hosted.marks() == []


@pytest.mark.usefixtures("spoiled_log")
def test_in_a_group_each_command_has_a_separate_outcome(hosted: Hosted, host: Host) -> None:
    commands = [command(4, attempt=2), command(13), command(payload="?"), command(14)]
    message = executed(host, sealed(host, *commands))
    assert message is not None
    assert verify(message, lambda _: [Hosted.key]).identity == host.release.identity
    by_id = {outcome.execution_id: outcome for outcome in outcomes_in(message)}
    answered = [by_id.pop(command.execution_id) for command in commands]
    assert by_id == {}
    assert [(o.output_payloads, o.failure and (o.failure.failure_class, o.failure.retryable)) for o in answered] == [
        (['{"number": 42}'], None),
        ([], ("RuntimeError", True)),
        ([], ("UNDECODABLE_PAYLOAD", False)),
        ([], ("pipelines.errors.NonRetryable", False)),
    ]
    for name in ("execution_id", "execution_version", "lease_token", "transition_key"):
        assert [getattr(outcome, name) for outcome in answered] == [getattr(command, name) for command in commands]
    assert sorted(hosted.marks()) == [4, 13, 14]


def test_no_more_transitions_run_at_once_than_there_are_places(hosted: Hosted, host: Host) -> None:
    """The limit applies across messages: here three messages for two places."""
    with (
        executing(hosted, host, command(99)) as first,
        executing(hosted, host, command(99)) as second,
        executing(hosted, host, command(99)) as third,
    ):
        eventually(lambda: len(hosted.marks()) == 2, what="two of them")
        threading.Event().wait(0.1)
        assert len(hosted.marks()) == 2
    assert len(hosted.marks()) == len(first + second + third) == 3


def test_a_shorter_lease_causes_a_heartbeat_before_its_transition_ends(hosted: Hosted, host: Host) -> None:
    """The next heartbeat of the longer lease may come too late."""
    with executing(hosted, host, command(99, lease_seconds=6.0)):
        eventually(hosted.marks, what="the step's start")
        assert host.changed.is_set()
    assert host.shortest_lease == timedelta(seconds=6)
    outcomes(host, command(1), command(2, lease_seconds=5.0))
    assert host.shortest_lease == timedelta(seconds=5)


def tokens(host: Host) -> tuple[set[uuid.UUID], set[uuid.UUID], int]:
    sent = heartbeat(host)
    return {lease.lease_token for lease in sent.running}, {lease.lease_token for lease in sent.waiting}, sent.abandoned


def lose(host: Host, *commands: Command) -> None:
    lost = [command.lease_token for command in commands]
    host.follow(seal(host.release.identity, Instruction(worker_id="w", drain=False, lost_leases=lost), Hosted.key))


def test_running_transitions_and_waiting_commands_are_reported_separately(hosted: Hosted, host: Host) -> None:
    begun, lost, kept = [command(99), command(99)], command(1), command(2)
    running = {report.lease_token for report in begun}
    with executing(hosted, host, *begun, lost, kept) as reports:
        eventually(lambda: len(hosted.marks()) == 2, what="both threads to begin")
        assert tokens(host) == (running, {lost.lease_token, kept.lease_token}, 0)
        first, again = heartbeat(host), heartbeat(host)
        for earlier, later in zip(first.running + first.waiting, again.running + again.waiting, strict=True):
            assert 0 < earlier.seconds < later.seconds < 60
        lose(host, lost)
        assert tokens(host) == (running, {kept.lease_token}, 0)
    assert tokens(host) == (set(), set(), 0)
    assert (first.worker_id, first.capacity, first.state) == ("w", 2, "HEALTHY")
    assert (first.artifact_id, first.artifact_digest) == (host.release.artifact_id, host.release.artifact_digest)
    assert {report.lease_token for report in reports} == running | {kept.lease_token}
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
    lease = held.begin(running.lease_token)
    assert lease is not None
    begun = time.monotonic()
    eventually(lambda: time.monotonic() > begun + 0.02, what="the end of the leases")
    in_use = held.in_use()
    assert ([lease.lease_token for lease in in_use.running], in_use.active) == ([running.lease_token], 1)
    held.end(lease)
    in_use = held.in_use()
    assert (len(in_use.running), in_use.active) == (1, 0), "its outcome waits to be sent"
    assert not held.begin(waiting.lease_token)


def test_a_command_does_not_begin_after_its_lease_and_is_dropped() -> None:
    held = HeldLeases()
    [late, later, early] = held.take([command(lease_seconds=-0.001), command(lease_seconds=-0.001), command()])
    assert not held.begin(late.lease_token)
    assert [lease.lease_token for lease in held.in_use().waiting] == [early.lease_token]
    assert not held.begin(later.lease_token)
    threading.Event().wait(0.05)
    began = time.monotonic()
    assert held.begin(early.lease_token)
    [running] = held.in_use().running
    assert running.seconds <= time.monotonic() - began, "the time counts from when a thread begins it"


def test_a_notable_change_is_reported_early_but_not_often() -> None:
    pace = Pace()
    pace.ended(1.0, 1.001)
    assert pace.report([], 2.0) == pytest.approx(0.001)
    pace.ended(2.0, 2.02)
    assert not pace.is_notable(2.02)
    assert pace.is_notable(2.0 + QUIET_SECONDS)


def test_a_transition_counts_while_it_runs_until_a_later_one_has_ended_or_its_lease_is_lost() -> None:
    pace = Pace()
    assert pace.report([10.0], 10.1) is None
    assert pace.report([10.0], 10.3) == pytest.approx(0.3)
    pace.ended(10.1, 10.4)
    assert pace.report([10.0], 20.0) == pytest.approx(0.3)
    assert pace.report([10.0, 11.0], 20.0) == pytest.approx(9.0)

    held = HeldLeases()
    [known, kept] = held.take([command(), command()])
    lease = held.begin(known.lease_token) and held.begin(kept.lease_token)
    assert lease is not None
    assert held.seconds_per_transition() is None
    held.lose([kept.lease_token])
    assert held.end(lease), "a heartbeat reports the free thread"
    assert held.seconds_per_transition() is None
