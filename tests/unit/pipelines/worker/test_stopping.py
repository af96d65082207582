"""The outcome of a command that stops before a step, and the next command after it."""

import json
import secrets
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.release.descriptor import release
from pipelines.release.packaging import build
from pipelines.worker.host import Host
from tests.cases import cases
from tests.unit.pipelines.worker.conftest import Hosted, executed
from tests.unit.pipelines.worker.test_host import command
from wire.messages.celery_messages import Command, CommandGroup, Outcome, OutcomeGroup
from wire.messages.sealing import decode, seal, verify

SOURCE = """
from collections.abc import Iterable, Iterator
from datetime import timedelta

from pipelines import Pipeline

pipeline = Pipeline("tests.stopping", checkpoint=True)


@pipeline.step
def count(number: int) -> Iterator[int]:
    yield from range(number)


@pipeline.step
def double(number: int) -> int:
    return number * 2


@pipeline.step
def add_up(numbers: Iterable[int]) -> int:
    return sum(numbers)


pipeline.awaits("check", request=int, response=str, timeout=timedelta(hours=1))
"""


@pytest.fixture
def stopping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hosted]:
    module = f"stopping_{secrets.token_hex(4)}"
    (tmp_path / f"{module}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    build(f"{module}:pipeline", tmp_path / "dist")
    yield Hosted(tmp_path, module, release(tmp_path / "dist", release_version="1.0").path)
    sys.modules.pop(module, None)


@pytest.fixture
def host(stopping: Hosted) -> Host:
    return stopping.host()


def outcome_of_command(host: Host, start: int, stop: int, payload: Any, shape: str = "UNI") -> Outcome:
    members = {"current_step_index": start, "stop_before_step_index": stop, "shape": shape}
    made: Command = command(payload=json.dumps(payload), **members)
    group = CommandGroup(commands=[made])
    answer = executed(host, seal(host.release.identity, group, Hosted.key))
    [outcome] = decode(verify(answer, lambda _: [Hosted.key]), OutcomeGroup).outcomes
    return outcome


@cases(
    ("start", "stop", "payload", "shape", "outputs"),
    [
        (0, 1, 3, "UNI", ["0", "1", "2"]),
        (0, 1, 0, "UNI", []),
        (0, 2, 3, "UNI", ["0", "2", "4"]),
        (0, 3, 3, "UNI", ["6"]),
        (1, 2, [0, 1, 2], "MULTI", ["0", "2", "4"]),
        (1, 2, [], "MULTI", []),
        (1, 2, 5, "UNI", ["10"]),
        (2, 3, [0, 2, 4], "MULTI", ["6"]),
        (2, 3, [], "MULTI", ["0"]),
        # If no step runs, the input is echoed (wire protocol D.5).
        (1, 1, 5, "UNI", ["5"]),
        (2, 2, [5, 6], "MULTI", ["5", "6"]),
    ],
)
def test_a_stop_returns_the_input_of_the_next_step(
    host: Host, start: int, stop: int, payload: Any, shape: str, outputs: list[str]
) -> None:
    outcome = outcome_of_command(host, start, stop, payload, shape)
    assert (outcome.outcome, outcome.output_payloads) == ("COMPLETED", outputs)
    assert outcome.stopped_before_step_index == stop


def test_an_await_before_the_stop_suspends(host: Host) -> None:
    for stop in (4, -1):
        outcome = outcome_of_command(host, 3, stop, 6)
        assert outcome.suspension is not None
        assert (outcome.outcome, outcome.suspension.step_index, outcome.suspension.requests) == (
            "WAITING_EXTERNAL",
            3,
            ["6"],
        )
        assert outcome.stopped_before_step_index == -1


@cases("stop", [-1, 4])
@cases(
    ("payload", "shape", "outputs"),
    [("yes", "UNI", ['"yes"']), (["a", "b"], "MULTI", ['"a"', '"b"']), ([], "MULTI", [])],
)
def test_after_the_last_step_the_response_is_the_result(
    host: Host, stop: int, payload: Any, shape: str, outputs: list[str]
) -> None:
    """A transition that reaches the end has no stop, even if the command names the end."""
    outcome = outcome_of_command(host, 4, stop, payload, shape)
    assert (outcome.outcome, outcome.output_payloads) == ("COMPLETED", outputs)
    assert outcome.stopped_before_step_index == -1


@cases(("start", "stop"), [(4, 5), (0, 5), (5, -1), (2, 1)])
def test_unknown_steps_are_refused(host: Host, start: int, stop: int) -> None:
    outcome = outcome_of_command(host, start, stop, 1)
    assert outcome.failure is not None
    assert (outcome.failure.failure_class, outcome.failure.retryable) == ("UNDECODABLE_PAYLOAD", False)


def test_a_resumed_step_checks_its_input_against_its_type(host: Host) -> None:
    outcome = outcome_of_command(host, 1, 2, [0, "one"], "MULTI")
    assert outcome.failure is not None
    assert (outcome.failure.failure_class, outcome.failure.step_index) == ("UNDECODABLE_PAYLOAD", 1)
    assert "item 1" in outcome.failure.message
