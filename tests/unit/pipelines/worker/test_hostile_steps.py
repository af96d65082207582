"""Each command of a hostile step gets exactly one outcome, the rest of its group runs, and no lease stays held."""

import json
import signal
import sys
import threading
from collections.abc import Iterator
from unittest.mock import Mock

import pytest

from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from pipelines.worker.boundary import Boundary
from pipelines.worker.host import Host
from pipelines.worker.outbox import Report
from tests.hostile.expected import FAILURES, PIPELINE
from tests.unit.pipelines.worker.conftest import Hosted, command, heartbeat, sealed
from wire.log_lines import LineFormatter
from wire.messages.celery_messages import HeldLease, Outcome, OutcomeGroup
from wire.messages.limits import LONGEST_TRACEBACK
from wire.messages.sealing import decode, verify


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosted]:
    out = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(PIPELINE))
        patch.setattr(sys, "dont_write_bytecode", True)
        build("hostile:pipeline", out)
        yield Hosted(PIPELINE, "hostile", release(out, release_version="1.0").path)
        sys.modules.pop("hostile", None)


@pytest.fixture
def host(hostile: Hosted) -> Host:
    return hostile.host()


UNDONE = ("signal handlers", "silence in the log")
"""What these change in the process is undone."""


def payload(trick: str) -> str:
    return json.dumps({"number": 7, "trick": trick})


def answers(host: Host, *tricks: str) -> list[Outcome]:
    """Return the outcomes of one group in the order of its commands, exactly one for each."""
    commands = [command(payload=payload(trick), result_shape="MATERIALIZED_MULTI") for trick in tricks]
    reports: list[Report] = []
    runner = threading.Thread(target=host.execute, args=(sealed(host, *commands), reports.append))
    runner.start()
    runner.join(60)
    host.drop_leases(reports)
    outcomes = decode(verify(host.sealed(reports), lambda _: [Hosted.key]), OutcomeGroup).outcomes
    assert sorted(each.lease_token for each in outcomes) == sorted(each.lease_token for each in commands)
    by_lease = {each.lease_token: each for each in outcomes}
    return [by_lease[each.lease_token] for each in commands]


def held(host: Host) -> list[HeldLease]:
    sent = heartbeat(host)
    return sent.running + sent.waiting


def is_clean(text: str, allowed: str = "") -> bool:
    return all(each in allowed or (ord(each) >= 32 and not 0xD800 <= ord(each) < 0xE000) for each in text)


def test_a_celery_host_reports_on_every_command_of_the_group(
    host: Host, caplog: pytest.LogCaptureFixture, subtests: pytest.Subtests
) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    before, *outcomes, _, _, after = answers(host, "well", *FAILURES, *UNDONE, "well")
    assert signal.getsignal(signal.SIGTERM) == handler
    assert [each.output_payloads for each in (before, after)] == [['{"value": 7}']] * 2
    assert held(host) == []
    for trick, outcome in zip(FAILURES, outcomes, strict=True):
        with subtests.test(trick):
            assert outcome.failure is not None
            assert (outcome.failure.failure_class, outcome.failure.retryable) == FAILURES[trick]
            assert 0 < len(outcome.failure.message) <= 512
            assert is_clean(outcome.failure.message)
            assert len(outcome.failure.traceback) <= LONGEST_TRACEBACK
            assert is_clean(outcome.failure.traceback, "\t\n")
            assert str(outcome.execution_id) in caplog.text


def test_no_lease_is_held_for_an_outcome_that_cannot_be_reported(host: Host) -> None:
    """A thread continues with the next command after an internal error."""
    reported: list[Report] = []

    def report(answer: Report) -> None:
        reported.append(answer)
        raise MemoryError

    host.execute(sealed(host, *(command(payload=payload("well")) for _ in range(5))), report)
    assert len(reported) == 5
    assert held(host) == []


def test_a_failure_carries_a_traceback_without_values_or_folders(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    """The log has its frames without the message."""
    [outcome] = answers(host, "an error")
    assert outcome.failure is not None
    lines = outcome.failure.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith('  File "hostile.py", line ')
    assert lines[-1] == "RuntimeError: no luck"
    assert str(PIPELINE) not in outcome.failure.traceback
    assert "pipelines/worker/runner.py" not in outcome.failure.traceback
    [record] = [each for each in caplog.records if str(outcome.execution_id) in each.getMessage()]
    shown = json.loads(LineFormatter("json").format(record))
    assert [frame.split(":")[0] for frame in shown["exception"]["frames"]] == ["hostile.py", "hostile.py"]
    assert "no luck" not in str(shown)


def test_any_exception_in_a_transition_becomes_its_outcome() -> None:
    leaving = Mock(side_effect=SystemExit)
    assert Boundary().run("id", leaving, lambda failed: failed.failure_class) == "SystemExit"
