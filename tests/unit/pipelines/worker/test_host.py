"""What a worker does with a message: signature, then identity, and only then payloads."""

import json
import threading
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.worker.answers import checkpoint_of, outcome_of
from pipelines.worker.host import Host
from pipelines.worker.outbox import Answer
from pipelines.worker.runner import Completed
from tests import making
from tests.making import resealed
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted, executed
from wire.identity import ReleaseIdentity
from wire.messages.celery_messages import Checkpoint, Command, CommandGroup, Heartbeat, Outcome, OutcomeGroup
from wire.messages.limits import MOST_PAYLOADS, TOLERANCE
from wire.messages.queues import ticket_of
from wire.messages.sealing import decode, seal, verify
from wire.worker_keys import WorkerKey, worker_key


@pytest.fixture
def host(hosted: Hosted) -> Host:
    return hosted.host()


def command(number: Any = 1, **members: Any) -> Command:
    defaults: dict[str, Any] = {
        "execution_id": uuid.uuid4(),
        "current_step_index": 0,
        "stop_before_step_index": -1,
        "attempt": 0,
        "result_shape": "SINGLE",
        "execution_version": 7,
        "transition_key": "the:key:0",
        "lease_token": uuid.uuid4(),
        "lease_seconds": 30.0,
        "shape": "UNI",
        "payload": json.dumps({"number": number}),
    }
    return Command(**{**defaults, **members})


def sealed(host: Host, *commands: Command, key: WorkerKey, identity: ReleaseIdentity | None = None) -> dict[str, Any]:
    return seal(identity or host.release.identity, CommandGroup(commands=list(commands)), key)


def answer(message: dict[str, Any] | None, key: WorkerKey) -> list[Outcome]:
    assert message is not None
    return decode(verify(message, lambda _: [key]), OutcomeGroup).outcomes


def test_a_command_is_run_and_its_answer_carries_what_the_coordinator_needs(hosted: Hosted, host: Host) -> None:
    asked = command(4, attempt=2)
    message = executed(host, sealed(host, asked, key=hosted.key))
    [outcome] = answer(message, hosted.key)
    assert verify(message, lambda _: [hosted.key]).identity == host.release.identity
    assert (outcome.outcome, outcome.output_payloads) == ("COMPLETED", ['{"number": 42}'])
    assert outcome.execution_id == asked.execution_id
    assert outcome.execution_version == 7
    assert outcome.lease_token == asked.lease_token
    assert outcome.transition_key == "the:key:0"


def test_a_stream_with_more_items_than_a_message_carries_fails_and_is_no_checkpoint() -> None:
    ran = Completed([0] * (MOST_PAYLOADS + 1), many=True)
    outcome = outcome_of(command(), ran, steps=1)
    assert (outcome.outcome, outcome.failure and outcome.failure.failure_class) == ("FAILED", "OUTPUT_TOO_LARGE")
    assert checkpoint_of(command(), 1, ran.outputs, many=True) is None
    whole = outcome_of(command(), replace(ran, outputs=ran.outputs[1:]), steps=1)
    group = OutcomeGroup(worker_id="w", outcomes=[whole])
    key, identity = worker_key("s", "t"), ReleaseIdentity("t", "p", "c", "r")
    assert decode(verify(seal(identity, group, key), lambda _: [key]), OutcomeGroup) == group


@pytest.mark.parametrize("key", [worker_key("a secret", "other"), worker_key("another", "acme")])
def test_a_message_of_another_key_gets_no_answer(hosted: Hosted, host: Host, key: WorkerKey) -> None:
    assert executed(host, sealed(host, command(), key=key)) is None
    assert hosted.marks() == []


@pytest.mark.parametrize("message", [None, "text", [], {}, {"kind": "commands"}])
def test_what_is_no_envelope_gets_no_answer(host: Host, message: Any) -> None:
    assert executed(host, message) is None


def test_another_kind_of_message_gets_no_answer(hosted: Hosted, host: Host) -> None:
    beat = Heartbeat(worker_id="w", state="HEALTHY", capacity=1)
    assert executed(host, seal(host.release.identity, beat, hosted.key)) is None


@pytest.mark.parametrize("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_a_command_for_another_release_fails_before_its_payload_is_decoded(
    hosted: Hosted, host: Host, part: str
) -> None:
    """Of the two commands one has a payload that would run and one that cannot even be parsed: the same answer."""
    meant = replace(host.release.identity, **{part: "elsewhere"})
    message = executed(host, sealed(host, command(1), command(payload="{no json"), key=hosted.key, identity=meant))
    outcomes = answer(message, hosted.key)
    assert verify(message, lambda _: [hosted.key]).identity == meant
    for outcome in outcomes:
        assert outcome.outcome == "FAILED"
        assert outcome.failure is not None
        assert (outcome.failure.failure_class, outcome.failure.retryable) == ("IDENTITY_MISMATCH", False)
        assert str(meant) in outcome.failure.message
        assert str(host.release.identity) in outcome.failure.message
    assert len(outcomes) == 2
    assert hosted.marks() == []


def test_a_command_for_another_release_gets_an_answer_only_from_the_host_with_its_ticket(hosted: Hosted) -> None:
    """Its copy in a wrong queue must not fail an execution that is running."""
    tickets: list[str] = []

    def take_once(name: str) -> bool:
        tickets.append(name)
        return len(tickets) == 1

    host = hosted.host(take_ticket=take_once)
    meant = replace(host.release.identity, release_version="elsewhere")
    message = sealed(host, command(), key=hosted.key, identity=meant)
    assert [outcome.outcome for outcome in answer(executed(host, message), hosted.key)] == ["FAILED"]
    assert executed(host, message) is None
    assert tickets == [ticket_of(meant, message["nonce"])] * 2


@pytest.mark.parametrize(
    ("age", "runs"),
    [
        (timedelta(seconds=29), True),
        (timedelta(seconds=30) + TOLERANCE - timedelta(seconds=10), True),
        (timedelta(seconds=30) + TOLERANCE + timedelta(seconds=10), False),
        (-TOLERANCE - timedelta(seconds=40), False),
    ],
)
def test_a_command_is_run_while_its_lease_may_last_and_not_later(
    hosted: Hosted, host: Host, age: timedelta, runs: bool
) -> None:
    sent = (datetime.now(UTC) - age).isoformat()
    message = resealed(sealed(host, command(), key=hosted.key), hosted.key, timestamp=sent)
    assert (executed(host, message) is not None) is runs
    assert (hosted.marks() == [1]) is runs


def test_a_message_that_comes_twice_is_run_once(hosted: Hosted, host: Host) -> None:
    message = sealed(host, command(), key=hosted.key)
    assert executed(host, message) is not None
    assert executed(host, message) is None
    assert hosted.marks() == [1]


def test_a_message_runs_only_if_the_host_gets_its_ticket(hosted: Hosted) -> None:
    tickets: list[str] = []

    def refuse(name: str) -> bool:
        tickets.append(name)
        return False

    host = hosted.host(take_ticket=refuse)
    message = sealed(host, command(), key=hosted.key)
    assert executed(host, message) is None
    assert hosted.marks() == []
    assert tickets == [ticket_of(host.release.identity, message["nonce"])]
    assert decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat).waiting == []


def test_no_ticket_is_taken_for_an_unsigned_message(hosted: Hosted) -> None:
    host = hosted.host(take_ticket=lambda _: pytest.fail("a ticket was taken"))
    message = sealed(host, command(), key=hosted.key)
    assert executed(host, making.changed(message, {"signature": "0" * 64})) is None
    assert executed(host, sealed(host, command(), key=worker_key("another", "acme"))) is None


@pytest.mark.parametrize("encrypts", [True, False])
def test_answers_are_encrypted_if_their_commands_are(hosted: Hosted, host: Host, encrypts: bool) -> None:
    """This covers inputs, results, error messages with tracebacks, and checkpoints."""
    group = CommandGroup(commands=[command(4711), command(13), command(14, checkpoints=True)])
    sealed_group = seal(host.release.identity, group, hosted.key, encrypt=encrypts)
    answered = executed(host, sealed_group)
    for text in ("4711", "transitionKey", str(group.commands[0].execution_id)):
        assert (text in json.dumps(sealed_group)) is not encrypts
    for text in ("47110", "thirteen fails", "fourteen always will", "Traceback", "RuntimeError"):
        assert (text in json.dumps(answered)) is not encrypts
    assert len(answer(answered, hosted.key)) == 3


def test_a_checkpoint_is_not_readable(host: Host) -> None:
    done = Checkpoint(
        execution_id=uuid.uuid4(), execution_version=1, lease_token=uuid.uuid4(), transition_key="k",
        next_step_index=1, output_payloads=['"MARKER"'],
    )  # fmt: skip
    assert "MARKER" not in json.dumps(host.sealed([Answer(host.release.identity, checkpoint=done)]))


def test_a_lease_that_was_seen_is_dropped_from_a_new_group_too(hosted: Hosted, host: Host) -> None:
    seen, new = command(1), command(2)
    executed(host, sealed(host, seen, key=hosted.key))
    outcomes = answer(executed(host, sealed(host, seen, new, key=hosted.key)), hosted.key)
    assert [outcome.execution_id for outcome in outcomes] == [new.execution_id]
    assert hosted.marks() == [1, 2]


def test_a_new_lease_of_the_same_execution_is_run(hosted: Hosted, host: Host) -> None:
    first = command(1)
    executed(host, sealed(host, first, key=hosted.key))
    takeover = first.model_copy(update={"lease_token": uuid.uuid4(), "execution_version": 9})
    [outcome] = answer(executed(host, sealed(host, takeover, key=hosted.key)), hosted.key)
    assert outcome.execution_version == 9
    assert hosted.marks() == [1, 1]


@pytest.mark.parametrize(
    "members",
    [
        {"payload": "{no json"},
        {"payload": ""},
        {"payload": '{"number": "one"}'},
        {"payload": '{"other": 1}'},
        {"payload": "[]", "shape": "UNI"},
        {"payload": "{}", "shape": "MULTI"},
        {"current_step_index": 2},
        {"stop_before_step_index": 5},
    ],
)
def test_a_payload_that_cannot_be_decoded_is_no_use_trying_again(
    hosted: Hosted, host: Host, members: dict[str, Any]
) -> None:
    [outcome] = answer(executed(host, sealed(host, command(**members), key=hosted.key)), hosted.key)
    assert outcome.failure is not None
    assert (outcome.failure.failure_class, outcome.failure.retryable) == ("UNDECODABLE_PAYLOAD", False)
    assert hosted.marks() == []


def test_in_a_group_each_command_has_an_outcome_of_its_own(hosted: Hosted, host: Host) -> None:
    asked = [command(1), command(13), command(payload="?"), command(14), command(2)]
    given = answer(executed(host, sealed(host, *asked, key=hosted.key)), hosted.key)
    places = [each.execution_id for each in asked]
    outcomes = sorted(given, key=lambda outcome: places.index(outcome.execution_id))
    assert [outcome.execution_id for outcome in outcomes] == places
    told = [(o.output_payloads, o.failure and (o.failure.failure_class, o.failure.retryable)) for o in outcomes]
    assert told == [
        (['{"number": 10}'], None),
        ([], ("RuntimeError", True)),
        ([], ("UNDECODABLE_PAYLOAD", False)),
        ([], ("pipelines.errors.NonRetryable", False)),
        (['{"number": 20}'], None),
    ]
    assert sorted(hosted.marks()) == [1, 2, 13, 14]


def test_a_heartbeat_renews_exactly_the_leases_that_are_held(hosted: Hosted, host: Host) -> None:
    def held() -> list[uuid.UUID]:
        beat = decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat)
        assert (beat.worker_id, beat.capacity, beat.state) == ("w", 2, "HEALTHY")
        assert (beat.artifact_id, beat.artifact_digest) == (host.release.artifact_id, host.release.artifact_digest)
        return [lease.lease_token for lease in beat.running]

    assert held() == []
    asked = command(99)
    runner = threading.Thread(
        target=executed,
        args=(
            host,
            sealed(host, asked, key=hosted.key),
        ),
    )
    runner.start()
    try:
        assert eventually(held, what="the lease") == [asked.lease_token]
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)
    assert held() == []


def test_a_lease_that_was_taken_over_by_the_same_worker_stays_renewed(hosted: Hosted, host: Host) -> None:
    """The first run ends while the second, under a new lease of the same execution, still goes on."""
    first, second = command(1), command(99)
    again = second.model_copy(update={"execution_id": first.execution_id})
    runner = threading.Thread(
        target=executed,
        args=(
            host,
            sealed(host, again, key=hosted.key),
        ),
    )
    runner.start()
    try:
        eventually(hosted.marks, what="the second run's start")
        executed(host, sealed(host, first, key=hosted.key))
        beat = decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat)
        assert [lease.lease_token for lease in beat.running] == [again.lease_token]
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)


def test_shorter_leases_make_heartbeats_come_sooner(hosted: Hosted, host: Host) -> None:
    assert not host.changed.is_set()
    executed(host, sealed(host, command(1), command(2, lease_seconds=6.0), key=hosted.key))
    assert host.shortest_lease == timedelta(seconds=6)
    assert host.changed.is_set()


def test_a_shorter_lease_is_news_before_its_transition_ends(hosted: Hosted, host: Host) -> None:
    """The next heartbeat of the longer lease may come too late."""
    message = sealed(host, command(99, lease_seconds=6.0), key=hosted.key)
    runner = threading.Thread(target=executed, args=(host, message))
    runner.start()
    try:
        eventually(hosted.marks, what="the step's start")
        assert host.changed.is_set()
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)
