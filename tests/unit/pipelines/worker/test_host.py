"""A worker checks the signature of a message, then its identity, and only then decodes payloads."""

import json
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.worker.host import Host
from tests.cases import cases
from tests.making import resealed
from tests.running import eventually
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
from wire.messages.celery_messages import CommandGroup, Heartbeat
from wire.messages.limits import TOLERANCE
from wire.messages.queues import ticket_of
from wire.messages.sealing import seal, verify
from wire.worker_keys import worker_key


class Tickets:
    """Grants a number of tickets, and records the names of those that are requested."""

    def __init__(self, granted: int) -> None:
        self.granted = granted
        self.names: list[str] = []

    def take(self, name: str) -> bool:
        self.names.append(name)
        return len(self.names) <= self.granted


def test_a_message_that_nobody_with_the_key_signed_as_commands_takes_no_ticket_and_causes_no_report(
    hosted: Hosted,
) -> None:
    tickets = Tickets(1)
    host = hosted.host(take_ticket=tickets.take)
    no_command = Heartbeat(worker_id="w", state="HEALTHY", capacity=1)
    for message in (
        sealed(host, command(), key=worker_key("a secret", "other")),
        sealed(host, command(), key=worker_key("another", "acme")),
        seal(host.release.identity, no_command, Hosted.key),
        None,
        {"kind": "commands"},
    ):
        assert executed(host, message) is None
    assert (tickets.names, hosted.marks()) == ([], [])


@cases("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_a_command_for_another_release_fails_before_its_payload_is_decoded(
    hosted: Hosted, host: Host, part: str
) -> None:
    """One command has a valid payload, the other one cannot even be parsed. Both have the same outcome."""
    meant = replace(host.release.identity, **{part: "elsewhere"})
    message = executed(host, sealed(host, command(1), command(payload="{no json"), identity=meant))
    assert message is not None
    assert verify(message, lambda _: [Hosted.key]).identity == meant
    failures = [each.failure for each in outcomes_in(message)]
    assert len(failures) == 2
    for failure in failures:
        assert failure is not None
        assert (failure.failure_class, failure.retryable) == ("IDENTITY_MISMATCH", False)
        assert str(meant) in failure.message
        assert str(host.release.identity) in failure.message
    assert hosted.marks() == []


def test_only_the_host_with_the_ticket_reports_on_a_command_for_another_release(hosted: Hosted) -> None:
    """Its copy in a wrong queue must not fail an execution that is running."""
    tickets = Tickets(1)
    host = hosted.host(take_ticket=tickets.take)
    meant = replace(host.release.identity, release_version="elsewhere")
    message = sealed(host, command(), identity=meant)
    assert [outcome.outcome for outcome in outcomes_in(executed(host, message))] == ["FAILED"]
    assert executed(host, message) is None
    assert tickets.names == [ticket_of(meant, message["nonce"])] * 2


def test_a_command_runs_while_its_lease_may_last_and_not_later(hosted: Hosted, host: Host) -> None:
    for number, age, runs in (
        (1, timedelta(seconds=30) + TOLERANCE - timedelta(seconds=10), True),
        (2, timedelta(seconds=30) + TOLERANCE + timedelta(seconds=10), False),
        (3, -TOLERANCE - timedelta(seconds=40), False),
    ):
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
    """This covers inputs, results, error messages with tracebacks, and checkpoints."""
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
        *({"payload": "{}", "shape": "MULTI"}, {"current_step_index": 2}, {"stop_before_step_index": 5}),
    ]
    for each in members:
        [outcome] = outcomes(host, command(**each))
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
    found = [by_id.pop(each.execution_id) for each in commands]
    assert by_id == {}
    assert [(o.output_payloads, o.failure and (o.failure.failure_class, o.failure.retryable)) for o in found] == [
        (['{"number": 42}'], None),
        ([], ("RuntimeError", True)),
        ([], ("UNDECODABLE_PAYLOAD", False)),
        ([], ("pipelines.errors.NonRetryable", False)),
    ]
    for name in ("execution_id", "execution_version", "lease_token", "transition_key"):
        assert [getattr(each, name) for each in found] == [getattr(each, name) for each in commands]
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


def test_a_heartbeat_renews_exactly_the_leases_that_are_held(hosted: Hosted, host: Host) -> None:
    running = command(99)
    with executing(hosted, host, running):
        [lease] = eventually(lambda: heartbeat(host).running, what="the lease")
        assert lease.lease_token == running.lease_token
    sent = heartbeat(host)
    assert (sent.running, sent.worker_id, sent.capacity, sent.state) == ([], "w", 2, "HEALTHY")
    assert (sent.artifact_id, sent.artifact_digest) == (host.release.artifact_id, host.release.artifact_digest)


def test_a_shorter_lease_causes_a_heartbeat_before_its_transition_ends(hosted: Hosted, host: Host) -> None:
    """The next heartbeat of the longer lease may come too late."""
    with executing(hosted, host, command(99, lease_seconds=6.0)):
        eventually(hosted.marks, what="the step's start")
        assert host.changed.is_set()
    assert host.shortest_lease == timedelta(seconds=6)
    outcomes(host, command(1), command(2, lease_seconds=5.0))
    assert host.shortest_lease == timedelta(seconds=5)
