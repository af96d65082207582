"""Orders: a worker takes commands when it is told to, and heeds nobody but the coordinator's newest word to it."""

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


def order(host: Host, *, drain: bool, sent: datetime | None = None, **members: Any) -> dict[str, Any]:
    """A well signed order to the worker w, sent now unless told otherwise."""
    body = Instruction(**{"worker_id": "w", "drain": drain, **members})
    message = seal(host.release.identity, body, Hosted.key)
    return resealed(message, Hosted.key, timestamp=sent.isoformat()) if sent else message


def told(host: Host, state: WorkerState = "HEALTHY") -> bool:
    return decode(verify(host.heartbeat(state), lambda _: [Hosted.key]), Heartbeat).taking


def ignored(host: Host, message: Any, caplog: pytest.LogCaptureFixture) -> str:
    """The code with which the host ignores `message`, which must change nothing."""
    before = host.taking
    host.changed.clear()
    caplog.clear()
    host.obey(message)
    assert host.taking is before
    assert not host.changed.is_set()
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    return str(record.args[0]) if isinstance(record.args, tuple) else ""


def test_a_worker_takes_nothing_until_it_is_told_to(host: Host) -> None:
    assert (host.taking, told(host)) == (False, False)
    host.obey(order(host, drain=False))
    assert (host.taking, told(host)) == (True, True)


def test_it_drains_and_takes_again_as_it_is_told_and_says_so_at_once(now: datetime, host: Host) -> None:
    for second, drain in enumerate([True, False, True, True, False]):
        host.changed.clear()
        host.obey(order(host, drain=drain, sent=now + second * SECOND))
        assert told(host) is host.taking is not drain
        assert host.changed.is_set()


@pytest.mark.parametrize("state", ["DRAINING", "UNAVAILABLE"])
def test_a_worker_that_is_leaving_takes_nothing_whatever_it_was_told(host: Host, state: WorkerState) -> None:
    host.obey(order(host, drain=False))
    assert told(host, state) is False


@pytest.mark.parametrize("key", [worker_key("a secret", "other"), worker_key("another", "acme")])
def test_an_order_that_another_key_signed_is_ignored(
    host: Host, key: WorkerKey, caplog: pytest.LogCaptureFixture
) -> None:
    forged = seal(host.release.identity, Instruction(worker_id="w", drain=False), key)
    assert ignored(host, forged, caplog) == "KEY_NOT_ACTIVE"


def test_an_order_that_was_altered_on_its_way_is_ignored(
    now: datetime, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    host.obey(order(host, drain=False, sent=now))
    altered = changed(order(host, drain=False), {"body": '{"workerId":"w","drain":true}'})
    assert ignored(host, altered, caplog) == "SIGNATURE_INVALID"


@pytest.mark.parametrize("part", ["tenant_id", "pipeline_id", "contract_version", "release_version"])
def test_an_order_about_another_release_is_ignored(host: Host, part: str, caplog: pytest.LogCaptureFixture) -> None:
    meant = replace(host.release.identity, **{part: "elsewhere"})
    message = seal(meant, Instruction(worker_id="w", drain=False), Hosted.key)
    assert ignored(host, message, caplog) == "ORDER_MISDIRECTED"


def test_an_order_to_another_worker_is_ignored(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    assert ignored(host, order(host, drain=False, worker_id="v"), caplog) == "ORDER_MISDIRECTED"


@pytest.mark.parametrize("age", [TOLERANCE + 10 * SECOND, -TOLERANCE - 10 * SECOND])
def test_an_order_of_another_time_is_ignored(host: Host, age: timedelta, caplog: pytest.LogCaptureFixture) -> None:
    message = order(host, drain=False, sent=datetime.now(UTC) - age)
    assert ignored(host, message, caplog) == "TIMESTAMP_REFUSED"


def test_an_order_is_obeyed_once_and_no_older_one_after_it(
    now: datetime, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = order(host, drain=False, sent=now), order(host, drain=True, sent=now + SECOND)
    host.obey(first)
    host.obey(second)
    for message in (first, second, order(host, drain=False, sent=now + SECOND), order(host, drain=False, sent=now)):
        assert ignored(host, message, caplog) == "ORDER_OUTDATED"
    host.obey(order(host, drain=False, sent=now + 2 * SECOND))
    assert host.taking


def test_an_order_that_was_ignored_does_not_outdate_a_true_one(
    now: datetime, host: Host, caplog: pytest.LogCaptureFixture
) -> None:
    later = (now + 60 * SECOND).isoformat()
    key = worker_key("a secret", "other")
    forged = resealed(order(host, drain=True), key, timestamp=later)
    assert ignored(host, forged, caplog) == "KEY_NOT_ACTIVE"
    host.obey(order(host, drain=False, sent=now))
    assert host.taking


@pytest.mark.parametrize("message", [None, "", 1, [], {}, {"kind": "order"}])
def test_what_is_no_envelope_is_ignored(host: Host, message: Any, caplog: pytest.LogCaptureFixture) -> None:
    assert ignored(host, message, caplog) == "ENVELOPE_MALFORMED"


def test_one_kind_is_not_taken_for_the_other(hosted: Hosted, host: Host, caplog: pytest.LogCaptureFixture) -> None:
    assert ignored(host, sealed(host, command(), key=hosted.key), caplog) == "ENVELOPE_MALFORMED"
    assert executed(host, order(host, drain=False)) is None
    assert hosted.marks() == []


def test_a_drained_worker_finishes_what_it_has_and_says_so_at_once(now: datetime, hosted: Hosted, host: Host) -> None:
    host.obey(order(host, drain=False, sent=now))
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
        eventually(hosted.marks, what="the run's start")
        host.obey(order(host, drain=True, sent=now + SECOND))
        beat = decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat)
        assert (beat.taking, [lease.lease_token for lease in beat.running]) == (False, [asked.lease_token])
        host.changed.clear()
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)
    assert host.changed.is_set()
    assert decode(verify(host.heartbeat("HEALTHY"), lambda _: [hosted.key]), Heartbeat).running == []


@pytest.mark.usefixtures("spoiled_log")
def test_a_log_that_raises_does_not_keep_a_worker_from_obeying(host: Host, now: datetime) -> None:
    host.obey(order(host, drain=False, sent=now - SECOND))
    assert host.taking
    host.obey("nonsense")
    host.obey(order(host, drain=True))
    assert not host.taking
    host.execute("nonsense", lambda _: None)
