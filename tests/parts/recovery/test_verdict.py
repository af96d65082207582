"""The verdict accepts a correct history and detects each kind of fault."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.parts.recovery.history import Event, History
from tests.parts.recovery.verdict import Promise, Run, faults
from tests.parts.recovery.workload import Job

JOB = Job(7, seconds=0.0, early=1, late=0, accepted=True)
PIN = ("tests.chaotic", "sha256:one", "v1")
RUNS = "/runs"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
PROMISE = JOB.promise("e", PIN, RUNS)
RUNS_OF_JOB = [Run("e", step, "v1", attempt) for step, attempt in JOB.steps("v1")]
# Kind, state, and the step of the transition key where the event records an outcome.
RECORDED: list[tuple[str, str, str | None]] = [
    ("SUBMITTED", "QUEUED", None),
    ("CLAIMED", "RUNNING", None),
    ("LEASE_EXPIRED", "QUEUED", None),
    ("CLAIMED", "RUNNING", None),
    ("RETRY_SCHEDULED", "WAIT_RETRY", "0:0"),
    ("OUTCOME_DROPPED", "WAIT_RETRY", "0:0"),
    ("CLAIMED", "RUNNING", None),
    ("CHECKPOINT", "RUNNING", "0:1"),
    ("AWAITING", "WAITING_EXTERNAL", "1:1"),
    ("AWAIT_COMPLETED", "QUEUED", None),
    ("CLAIMED", "RUNNING", None),
    ("CHECKPOINT", "RUNNING", "2:1"),
    ("AWAITING", "WAITING_EXTERNAL", "3:1"),
    ("AWAIT_COMPLETED", "QUEUED", None),
    ("CLAIMED", "RUNNING", None),
    ("SUCCEEDED", "SUCCEEDED", "4:1"),
]


NOTED = 3  # events that do not change the state


def events(rows: list[tuple[str, str, str | None]]) -> list[Event]:
    return [
        Event(number, kind, status, "test", {} if key is None else {"transitionKey": f"e:{key}"})
        for number, (kind, status, key) in enumerate(rows, start=1)
    ]


CORRECT = History(
    execution_id="e",
    key="job-7",
    pin=PIN,
    status="SUCCEEDED",
    version=len(RECORDED) - NOTED - 1,
    event_count=len(RECORDED),
    attempt=1,
    leased=False,
    result=[{"number": 7, "trail": "v1.prepare v1.settle v1.file"}],
    created_at=NOW,
    finished_at=NOW,
    events=events(RECORDED),
    units=["COMPLETED", "COMPLETED"],
    interactions=["COMPLETED", "COMPLETED"],
    answers=[JOB.answer(JOB.interaction_request(RUNS, "v1")), {}],
)


def found_faults(
    found: list[History], runs: list[Run] | None = None, promises: list[Promise] | None = None
) -> list[str]:
    needed = {JOB.key: list(JOB.steps("v1"))}
    return faults(
        [PROMISE] if promises is None else promises, found, {"e": RUNS_OF_JOB if runs is None else runs}, needed
    )


def test_a_correct_history_has_no_fault() -> None:
    assert found_faults([CORRECT]) == []
    # Steps run at least once. A takeover repeats them.
    assert found_faults([CORRECT], runs=[*RUNS_OF_JOB, RUNS_OF_JOB[0]]) == []


def without(index: int) -> History:
    remaining = [event for event in CORRECT.events if event.sequence != index]
    return replace(CORRECT, events=remaining)


def with_events(rows: list[tuple[str, str, str | None]]) -> History:
    return replace(CORRECT, events=events(rows), event_count=len(rows), version=len(rows) - NOTED - 1)


def twice(index: int) -> History:
    return with_events([*RECORDED[: index + 1], RECORDED[index], *RECORDED[index + 1 :]])


FALSIFICATIONS: dict[str, tuple[Callable[[], History], str]] = {
    "an event is missing": (lambda: without(9), "its events are numbered"),
    "the count of events is wrong": (lambda: replace(CORRECT, event_count=99), "its event count is 99"),
    "a move was not counted": (lambda: replace(CORRECT, version=3), "it is at version 3"),
    "it ended twice": (lambda: twice(15), "it ended 2 times"),
    "an outcome was recorded twice": (
        lambda: with_events([*RECORDED[:5], ("CLAIMED", "RUNNING", None), RECORDED[4], *RECORDED[5:]]),
        "the outcome of e:0:0 was recorded 2 times",
    ),
    "a move is illegal": (lambda: with_events([*RECORDED[:1], *RECORDED[2:]]), "it moved from QUEUED to QUEUED"),
    "it never ended": (lambda: replace(CORRECT, status="RUNNING", finished_at=None), "it never ended"),
    "its lease remains": (lambda: replace(CORRECT, leased=True), "it ended with a lease"),
    "it has no finish time": (lambda: replace(CORRECT, finished_at=None), "finished at None"),
    "a unit is open": (lambda: replace(CORRECT, units=["WAITING_EXTERNAL"]), "an await unit is still open"),
    "an interaction is open": (lambda: replace(CORRECT, interactions=["DISPATCHED"]), "1 interactions are still open"),
    "it has a dead letter": (lambda: replace(CORRECT, dead_letters=1), "with 1 dead letters"),
    "the pin changed": (lambda: replace(CORRECT, pin=(*PIN[:2], "v2")), "its pin was"),
    "the state differs": (lambda: replace(CORRECT, status="DLQ"), "it should be SUCCEEDED"),
    "it failed too often": (lambda: replace(CORRECT, attempt=2), "it should have failed 1 times"),
    "a step is missing": (lambda: with_events([*RECORDED[:12], *RECORDED[14:]]), "its path should be"),
    "the result comes from other code": (
        lambda: replace(CORRECT, result=[{"number": 7, "trail": "v2.prepare v1.settle v1.file"}]),
        "its result should be",
    ),
    "the answer differs": (lambda: replace(CORRECT, answers=[{"accepted": False}]), "the answer was"),
}


@pytest.mark.parametrize(("falsify", "fault"), FALSIFICATIONS.values(), ids=FALSIFICATIONS)
def test_a_falsified_history_is_detected(falsify: Callable[[], History], fault: str) -> None:
    assert any(fault in line for line in found_faults([falsify()]))


def test_a_missing_and_an_unknown_execution_are_detected() -> None:
    assert found_faults([]) == ["e (job-7): it was accepted but does not exist"]
    assert found_faults([CORRECT, replace(CORRECT, execution_id="f")]) == ["f (job-7): no client submitted it"]


def test_a_key_with_two_executions_is_detected() -> None:
    other: Any = replace(CORRECT, execution_id="f")
    lines = found_faults([CORRECT, other], promises=[PROMISE, replace(PROMISE, execution_id="f")])
    assert "the key job-7 has 2 executions" in lines


def test_runs_of_wrong_code_and_missing_and_unneeded_runs_are_detected() -> None:
    assert found_faults([CORRECT], runs=[*RUNS_OF_JOB, replace(RUNS_OF_JOB[0], version="v2")]) == [
        "e (job-7): it is pinned to v1, but code of v2 ran for it"
    ]
    assert found_faults([CORRECT], runs=RUNS_OF_JOB[:-1]) == ["e (job-7): attempt 1 of file was recorded but never ran"]
    stray = replace(RUNS_OF_JOB[0], attempt=2)
    assert found_faults([CORRECT], runs=[*RUNS_OF_JOB, stray]) == [
        "e (job-7): attempt 2 of prepare ran but was not needed"
    ]
