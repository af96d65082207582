"""Each command of a hostile step gets exactly one outcome, the rest of its group runs, and no lease stays held."""

import contextlib
import json
import logging
import signal
import sys
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import requests

from pipelines.failures import Failed
from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from pipelines.worker.boundary import Boundary
from pipelines.worker.host import Host
from pipelines.worker.hosted_release import host_source
from pipelines.worker.outbox import Report
from pipelines.worker.rest_host import RestHost
from pipelines.worker.rest_worker import Server
from tests.cases import cases
from tests.hostile.expected import FAILURES, PIPELINE
from tests.running import eventually
from tests.unit.pipelines.worker.conftest import Hosted
from tests.unit.pipelines.worker.test_host import command
from wire.log_lines import LineFormatter
from wire.messages.celery_messages import Command, CommandGroup, Heartbeat, HeldLease, Outcome, OutcomeGroup
from wire.messages.limits import LONGEST_TRACEBACK
from wire.messages.rest_messages import (
    EXECUTE_PATH,
    NON_RETRYABLE,
    TransitionCommand,
    TransitionResult,
    parse,
    signed_headers,
)
from wire.messages.sealing import decode, seal, verify

SECRET = "worker-secret"
tricks = pytest.mark.parametrize("trick", FAILURES)


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


def payload(trick: str, number: int = 7) -> str:
    return json.dumps({"number": number, "trick": trick})


def answers(host: Host, *tricks: str) -> list[Outcome]:
    """Return the outcomes of one group in the order of its commands, exactly one for each."""
    commands = [command(payload=payload(trick), result_shape="MATERIALIZED_MULTI") for trick in tricks]
    reported: list[Report] = []
    started(host, commands, reported).join(60)
    host.drop_leases(reported)
    outcomes = decode(verify(host.sealed(reported), lambda _: [Hosted.key]), OutcomeGroup).outcomes
    assert sorted(each.lease_token for each in outcomes) == sorted(each.lease_token for each in commands)
    by_lease = {each.lease_token: each for each in outcomes}
    return [by_lease[each.lease_token] for each in commands]


def held(host: Host) -> list[HeldLease]:
    body = decode(verify(host.heartbeat("HEALTHY"), lambda _: [Hosted.key]), Heartbeat)
    return body.running + body.waiting


@tricks
def test_a_celery_host_reports_on_every_command_of_the_group(
    host: Host, trick: str, caplog: pytest.LogCaptureFixture
) -> None:
    before, outcome, after = answers(host, "well", trick, "well")
    assert [each.output_payloads for each in (before, after)] == [['{"value": 7}']] * 2
    assert outcome.failure is not None
    assert (outcome.failure.failure_class, outcome.failure.retryable) == FAILURES[trick]
    assert 0 < len(outcome.failure.message) <= 512
    assert not any(ord(character) < 32 or 0xD800 <= ord(character) < 0xE000 for character in outcome.failure.message)
    assert held(host) == []
    assert str(outcome.execution_id) in caplog.text


def rest_host(hosted: Hosted) -> RestHost:
    return RestHost(host_source(hosted.reference, hosted.descriptor, ""), secret=SECRET)


def rest_command(host: RestHost, type_id: str, given: str) -> bytes:
    identity = host.release.identity
    made = TransitionCommand(
        tenant_id="acme",
        execution_id=str(uuid.uuid4()),
        pipeline_id=identity.pipeline_id,
        contract_version=identity.contract_version,
        release_version=identity.release_version,
        stop_before_step_index=-1,
        result_shape="MATERIALIZED_MULTI",
        transition_key="the:key:0",
        trace_id="trace",
        payload_type_id=type_id,
        payload_encoding="application/tpf-transition+json",
        payload=given,
    )
    return made.to_json().encode()


def rest_answer(host: RestHost, trick: str) -> TransitionResult:
    body = rest_command(host, "hostile.Order", payload(trick))
    headers = signed_headers(SECRET, "POST", EXECUTE_PATH, body, now=datetime.now(UTC))
    status, answer = host.respond("POST", EXECUTE_PATH, headers, body)
    assert status == 200
    return parse(TransitionResult, answer)


@tricks
def test_a_rest_host_answers_every_command(hostile: Hosted, trick: str) -> None:
    host = rest_host(hostile)
    failure = rest_answer(host, trick).failure
    assert failure is not None
    failure_class, retryable = FAILURES[trick]
    message = failure.message or ""
    if retryable:
        assert failure.failure_class == failure_class
    else:
        assert (failure.failure_class, message.partition(":")[0]) == (NON_RETRYABLE, failure_class)
    assert rest_answer(host, "well").outcome == "COMPLETED"


# --- effects on the process ------------------------------------------------------------------


@cases("trick", ["silence in the log", "signal handlers"])
def test_what_a_step_changes_in_the_process_is_undone(host: Host, trick: str, caplog: pytest.LogCaptureFixture) -> None:
    handler = signal.getsignal(signal.SIGTERM)
    assert {each.outcome for each in answers(host, "well", trick, "well")} == {"COMPLETED"}
    assert signal.getsignal(signal.SIGTERM) == handler
    caplog.clear()
    answers(host, "an error")
    assert "RuntimeError" in caplog.text


def test_a_recursion_limit_that_a_step_lowered_is_restored() -> None:
    """Only in this thread: while the limit is low, every thread with more frames fails."""

    def lower() -> Failed | None:
        for limit in range(1, 1_000):
            with contextlib.suppress(RecursionError):
                sys.setrecursionlimit(limit)
                raise ValueError("too little room for the rest of the transition")
        return None

    limit = sys.getrecursionlimit()
    failed = Boundary().run("an execution", lower, lambda failed: failed)
    assert sys.getrecursionlimit() == limit
    assert failed is not None
    assert failed.failure_class == "ValueError"


def test_a_recursion_limit_that_a_step_raised_stays(host: Host) -> None:
    limit = sys.getrecursionlimit()
    try:
        answers(host, "a high recursion limit", "well")
        assert sys.getrecursionlimit() == 1_500 > limit
    finally:
        sys.setrecursionlimit(limit)


def test_a_log_handler_that_raises_loses_no_outcome(host: Host) -> None:
    class Spoiler(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            raise KeyboardInterrupt

    spoiler = Spoiler()
    logging.getLogger().addHandler(spoiler)
    try:
        assert [each.outcome for each in answers(host, "an error", "KeyboardInterrupt", "well")] == [
            "FAILED",
            "FAILED",
            "COMPLETED",
        ]
    finally:
        logging.getLogger().removeHandler(spoiler)


# --- leases ---------------------------------------------------------------------------------------


def test_no_lease_is_held_for_an_outcome_that_cannot_be_reported(host: Host) -> None:
    """A thread continues with the next command after an internal error."""
    reported: list[Report] = []

    def report(answer: Report) -> None:
        reported.append(answer)
        raise MemoryError

    commands = [command(payload=payload("well")) for _ in range(5)]
    host.execute(seal(host.release.identity, CommandGroup(commands=commands), Hosted.key), report)
    assert len(reported) == 5
    assert held(host) == []


def test_a_group_runs_in_one_thread_if_no_other_can_be_started(hosted: Hosted) -> None:
    host = hosted.host()
    commands = [command(number) for number in (1, 2, 3)]
    reported: list[Report] = []
    size = threading.stack_size(2**47)  # more than a process can address
    try:
        with pytest.raises(RuntimeError, match="new thread"):
            threading.Thread(target=print).start()
        host.execute(seal(host.release.identity, CommandGroup(commands=commands), Hosted.key), reported.append)
    finally:
        threading.stack_size(size)
    assert hosted.marks() == [1, 2, 3]
    host.drop_leases(reported)
    assert held(host) == []


def test_a_step_that_never_returns_holds_only_its_own_lease(hosted: Hosted) -> None:
    """A second thread runs the rest of the group. The lease of the step is renewed: the step may only be slow."""
    host = hosted.host()
    endless, *others = [command(number) for number in (99, 1, 2, 3)]
    reported: list[Report] = []
    runner = started(host, [endless, *others], reported)
    try:
        eventually(lambda: len(reported) == 3, what="the others")
        host.drop_leases(reported)
        assert [lease.lease_token for lease in held(host)] == [endless.lease_token]
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)


def test_a_command_that_waits_for_a_step_that_never_returns_is_dropped(
    hosted: Hosted, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker holds the command until its lease ends. It does not renew the lease or run the command."""
    host = hosted.host(capacity=1)
    endless, waiting = [command(number, lease_seconds=1.0) for number in (99, 1)]
    reported: list[Report] = []
    runner = started(host, [endless, waiting], reported)
    try:
        eventually(hosted.marks, what="the endless step")
        assert {lease.lease_token for lease in held(host)} == {endless.lease_token, waiting.lease_token}
        eventually(lambda: len(held(host)) == 1, what="the end of the second lease")
        assert [lease.lease_token for lease in held(host)] == [endless.lease_token]
        assert f"Dropped the command for execution {waiting.execution_id}" in caplog.text
    finally:
        (hosted.folder / "go").touch()
        runner.join(10)
    assert [each.lease_token for each in reported] == [endless.lease_token]
    assert hosted.marks() == [99]


def test_a_call_that_timed_out_is_not_run_when_its_turn_comes(hosted: Hosted) -> None:
    """A step that never returns occupies the only thread. The coordinator's next call waits behind it and times out."""
    server = Server("127.0.0.1:0", rest_host(hosted), capacity=1)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    serving.start()
    url = f"http://127.0.0.1:{server.server_address[1]}{EXECUTE_PATH}"

    def call(number: int, seconds: float) -> int:
        body = rest_command(server.host, f"{hosted.module}.Order", json.dumps({"number": number}))
        headers = signed_headers(SECRET, "POST", EXECUTE_PATH, body, now=datetime.now(UTC))
        return requests.post(url, data=body, headers=headers, timeout=seconds).status_code

    endless = threading.Thread(target=call, args=(99, 30))
    endless.start()
    try:
        eventually(hosted.marks, what="the endless step")
        with pytest.raises(requests.Timeout):
            call(1, 0.2)
    finally:
        (hosted.folder / "go").touch()
        endless.join(10)
    assert call(2, 10) == 200
    server.shutdown()
    server.server_close()
    serving.join(10)
    assert hosted.marks() == [99, 2]


def started(host: Host, commands: list[Command], reported: list[Report]) -> threading.Thread:
    """Run a group as a worker does, outside of the main thread."""
    message = seal(host.release.identity, CommandGroup(commands=commands), Hosted.key)
    runner = threading.Thread(target=host.execute, args=(message, reported.append))
    runner.start()
    return runner


# --- tracebacks -----------------------------------------------------------------------------------


def test_a_failure_carries_a_traceback_without_values_or_folders(host: Host) -> None:
    [outcome] = answers(host, "an error")
    assert outcome.failure is not None
    lines = outcome.failure.traceback.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines[1].startswith('  File "hostile.py", line ')
    assert lines[-1] == "RuntimeError: no luck"
    assert str(PIPELINE) not in outcome.failure.traceback
    assert "pipelines/worker/runner.py" not in outcome.failure.traceback


def test_the_log_has_the_frames_of_a_failure_without_its_message(host: Host, caplog: pytest.LogCaptureFixture) -> None:
    [outcome] = answers(host, "an error")
    [record] = [each for each in caplog.records if str(outcome.execution_id) in each.getMessage()]
    shown = json.loads(LineFormatter("json").format(record))
    assert shown["event"] == f"Execution {outcome.execution_id} failed with RuntimeError"
    assert [frame.split(":")[0] for frame in shown["exception"]["frames"]] == ["hostile.py", "hostile.py"]
    assert "no luck" not in str(shown)


@tricks
def test_a_traceback_is_bounded_and_clean(host: Host, trick: str) -> None:
    [outcome] = answers(host, trick)
    assert outcome.failure is not None
    text = outcome.failure.traceback
    assert len(text) <= LONGEST_TRACEBACK
    assert all(character in "\t\n" or ord(character) >= 32 for character in text)
    text.encode()
