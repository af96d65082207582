"""Instructions: a worker accepts commands when it is instructed to, and follows only the newest valid instruction."""

import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pipelines.worker.host import Host
from tests.making import changed, resealed
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted, executed
from tests.unit.pipelines.worker.test_host import command, sealed
from wire.messages.celery_messages import Heartbeat, Instruction, WorkerState
from wire.messages.limits import TOLERANCE
from wire.messages.sealing import decode, seal, verify
from wire.worker_keys import WorkerKey, worker_key

SECOND = timedelta(seconds=1)


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def host(hosted: Hosted) -> Host:
    return hosted.host()


def instruction(host: Host, *, drain: bool, sent: datetime | None = None, **members: Any) -> dict[str, Any]:
    """Return a signed instruction to the worker w, sent now by default."""
    body = Instruction(**{"worker_id": "w", "drain": drain, **members})
    message = seal(host.release.identity, body, Hosted.key)
    return resealed(message, Hosted.key, timestamp=sent.isoformat()) if sent else message


def reports_accepting(host: Host, state: WorkerState = "HEALTHY") -> bool:
    return decode(verify(host.heartbeat(state), lambda _: [Hosted.key]), Heartbeat).taking


def ignored(host: Host, message: Any, caplog: pytest.LogCaptureFixture) -> str:
    """Return the code with which the host ignores `message`. Nothing else must change."""
    before = host.accepting
    host.changed.clear()
    caplog.clear()
    host.follow(message)
    assert host.accepting is before
    assert not host.changed.is_set()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    return str(record.args[0]) if isinstance(record.args, tuple) else ""


def test_a_worker_accepts_nothing_before_its_first_instruction(host: Host) -> None:
    assert (host.accepting, reports_accepting(host)) == (False, False)
    host.follow(instruction(host, drain=False))
    assert (host.accepting, reports_accepting(host)) == (True, True)


def test_it_drains_and_accepts_again_as_instructed_and_reports_it_at_once(now: datetime, host: Host) -> None:
    for second, drain in enumerate([True, False, True, True, False]):
        host.changed.clear()
        host.follow(instruction(host, drain=drain, sent=now + second * SECOND))
        assert reports_accepting(host) is host.accepting is not drain
        assert host.changed.is_set()


@pytest.mark.parametrize("state", ["DRAINING", "UNAVAILABLE"])
def test_a_stopping_worker_reports_that_it_accepts_nothing(host: Host, state: WorkerState) -> None:
    host.follow(instruction(host, drain=False))
    assert reports_accepting(host, state) is False


@pytest.mark.parametrize("key", [worker_key("a secret", "other"), worker_key("another", "acme")])
def test_an_instruction_that_another_key_signed_is_ignored(
    host: Host, key: WorkerKey, caplog: pytest.LogCaptureFixture
) -> None:
    forged = seal(host.release.identity, Instruction(worker_id="w", drain=False), key)
    assert ignored(host, forged, caplog) == "KEY_NOT_ACTIVE"


def test_an_instruction_that_was_altered_in_transit_is_ignored(
    now: datetime, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.follow(instruction(host, drain=False, sent=now))
    altered = changed(instruction(host, drain=False), {"body": '{"workerId":"w","drain":true}'})
    assert ignored(host, altered, caplog) == "SIGNATURE_INVALID"


@pytest.mark.parametrize("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_an_instruction_about_another_release_is_ignored(
    host: Host, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    meant = replace(host.release.identity, **{part: "elsewhere"})
    message = seal(meant, Instruction(worker_id="w", drain=False), Hosted.key)
    assert ignored(host, message, caplog) == "ORDER_MISDIRECTED"


def test_an_instruction_to_another_worker_is_ignored(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    assert ignored(host, instruction(host, drain=False, worker_id="v"), caplog) == "ORDER_MISDIRECTED"


@pytest.mark.parametrize("age", [TOLERANCE + 10 * SECOND, -TOLERANCE - 10 * SECOND])
def test_an_instruction_of_another_time_is_ignored(
    host: Host, age: timedelta, caplog: pytest.LogCaptureFixture
) -> None:
    message = instruction(host, drain=False, sent=datetime.now(UTC) - age)
    assert ignored(host, message, caplog) == "TIMESTAMP_REFUSED"


def test_an_instruction_is_followed_once_and_no_older_one_after_it(
    now: datetime, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = instruction(host, drain=False, sent=now), instruction(host, drain=True, sent=now + SECOND)
    host.follow(first)
    host.follow(second)
    for message in (
        first,
        second,
        instruction(host, drain=False, sent=now + SECOND),
        instruction(host, drain=False, sent=now),
    ):
        assert ignored(host, message, caplog) == "ORDER_OUTDATED"
    host.follow(instruction(host, drain=False, sent=now + 2 * SECOND))
    assert host.accepting


def test_an_ignored_instruction_does_not_outdate_a_valid_one(
    now: datetime, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    later = (now + 60 * SECOND).isoformat()
    key = worker_key("a secret", "other")
    forged = resealed(instruction(host, drain=True), key, timestamp=later)
    assert ignored(host, forged, caplog) == "KEY_NOT_ACTIVE"
    host.follow(instruction(host, drain=False, sent=now))
    assert host.accepting


@pytest.mark.parametrize("message", [None, "", 1, [], {}, {"kind": "order"}])
def test_a_message_that_is_not_an_envelope_is_ignored(
    host: Host, message: Any, caplog: pytest.LogCaptureFixture
) -> None:
    assert ignored(host, message, caplog) == "ENVELOPE_MALFORMED"


def test_a_message_of_another_kind_is_ignored(hosted: Hosted, host: Host, caplog: pytest.LogCaptureFixture) -> None:
    assert ignored(host, sealed(host, command(), key=hosted.key), caplog) == "ENVELOPE_MALFORMED"
    assert executed(host, instruction(host, drain=False)) is None
    assert hosted.marks() == []


def test_a_drained_worker_finishes_its_commands_and_reports_it_at_once(
    now: datetime, hosted: Hosted, host: Host
) -> None:
    host.follow(instruction(host, drain=False, sent=now))
    running_command = command(99)
    runner = threading.Thread(
        target=executed,
        args=(
            host,
            sealed(host, running_command, key=hosted.key),
        ),
    )
    runner.start()
    try:
        eventually(hosted.marks, what="the run's start")
        host.follow(instruction(host, drain=True, sent=now + SECOND))
        heartbeat_body = decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat)
        assert (heartbeat_body.taking, [lease.lease_token for lease in heartbeat_body.running]) == (
            False,
            [running_command.lease_token],
        )
        host.changed.clear()
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)
    assert host.changed.is_set()
    assert decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat).running == []


@pytest.mark.usefixtures("spoiled_log")
def test_a_log_handler_that_raises_does_not_prevent_following_an_instruction(host: Host, now: datetime) -> None:
    host.follow(instruction(host, drain=False, sent=now - SECOND))
    assert host.accepting
    host.follow("nonsense")
    host.follow(instruction(host, drain=True))
    assert not host.accepting
    host.execute("nonsense", lambda _: None)
