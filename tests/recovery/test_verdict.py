"""The verdict finds what is false: an honest history without a fault, and each falsehood that can be told of it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.recovery.history import Event, History
from tests.recovery.verdict import Promise, Run, faults
from tests.recovery.workload import Job

JOB = Job(7, seconds=0.0, early=1, late=0, accepted=True)
PIN = ("tests.chaotic", "sha256:one", "v1")
RUNS = "/runs"
NOW = datetime(2026, 11, 24, tzinfo=UTC)
PROMISE = JOB.promise("e", PIN, RUNS)
RAN = [Run("e", step, "v1", attempt) for step, attempt in JOB.steps("v1")]
# Kind, state, and the step of the transition key where the event records an outcome.
TOLD: list[tuple[str, str, str | None]] = [
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


NOTED = 3  # of these move nothing


def events(told: list[tuple[str, str, str | None]]) -> list[Event]:
    return [
        Event(number, kind, status, "somebody", {} if key is None else {"transitionKey": f"e:{key}"})
        for number, (kind, status, key) in enumerate(told, start=1)
    ]


HONEST = History(
    execution_id="e",
    key="job-7",
    pin=PIN,
    status="SUCCEEDED",
    version=len(TOLD) - NOTED - 1,
    event_count=len(TOLD),
    attempt=1,
    leased=False,
    result=[{"number": 7, "trail": "v1.prepare v1.settle v1.file"}],
    created_at=NOW,
    finished_at=NOW,
    events=events(TOLD),
    units=["COMPLETED", "COMPLETED"],
    interactions=["COMPLETED", "COMPLETED"],
    answers=[JOB.answer(JOB.asked(RUNS, "v1")), {}],
)


def judged(found: list[History], runs: list[Run] | None = None, promises: list[Promise] | None = None) -> list[str]:
    needed = {JOB.key: list(JOB.steps("v1"))}
    return faults([PROMISE] if promises is None else promises, found, {"e": RAN if runs is None else runs}, needed)


def test_an_honest_history_has_no_fault() -> None:
    assert judged([HONEST]) == []
    # At least once is what a step is promised: a takeover repeats it.
    assert judged([HONEST], runs=[*RAN, RAN[0]]) == []


def without(place: int) -> History:
    left = [event for event in HONEST.events if event.sequence != place]
    return replace(HONEST, events=left)


def retold(told: list[tuple[str, str, str | None]]) -> History:
    return replace(HONEST, events=events(told), event_count=len(told), version=len(told) - NOTED - 1)


def twice(place: int) -> History:
    return retold([*TOLD[: place + 1], TOLD[place], *TOLD[place + 1 :]])


FALSE: dict[str, tuple[Callable[[], History], str]] = {
    "an event is gone": (lambda: without(9), "its events are numbered"),
    "the count of events is off": (lambda: replace(HONEST, event_count=99), "it counts 99 events"),
    "a move was not counted": (lambda: replace(HONEST, version=3), "it is at version 3"),
    "it ended twice": (lambda: twice(15), "it ended 2 times"),
    "an outcome was recorded twice": (
        lambda: retold([*TOLD[:5], ("CLAIMED", "RUNNING", None), TOLD[4], *TOLD[5:]]),
        "the outcome of e:0:0 was recorded 2 times",
    ),
    "a move is illegal": (lambda: retold([*TOLD[:1], *TOLD[2:]]), "it moved from QUEUED to QUEUED"),
    "it never ended": (lambda: replace(HONEST, status="RUNNING", finished_at=None), "it never ended"),
    "its lease is left": (lambda: replace(HONEST, leased=True), "it ended with a lease"),
    "it has no finish": (lambda: replace(HONEST, finished_at=None), "finished at None"),
    "a unit is open": (lambda: replace(HONEST, units=["WAITING_EXTERNAL"]), "an await unit is still open"),
    "a question is open": (lambda: replace(HONEST, interactions=["DISPATCHED"]), "1 interactions are still open"),
    "it has a dead letter": (lambda: replace(HONEST, dead_letters=1), "with 1 dead letters"),
    "the pin changed": (lambda: replace(HONEST, pin=(*PIN[:2], "v2")), "its pin was"),
    "the state is another": (lambda: replace(HONEST, status="DLQ"), "it should be SUCCEEDED"),
    "it failed too often": (lambda: replace(HONEST, attempt=2), "it should have failed 1 times"),
    "a step was left out": (lambda: retold([*TOLD[:12], *TOLD[14:]]), "its way should be"),
    "the result is other code's": (
        lambda: replace(HONEST, result=[{"number": 7, "trail": "v2.prepare v1.settle v1.file"}]),
        "its result should be",
    ),
    "the answer is another": (lambda: replace(HONEST, answers=[{"accepted": False}]), "it was answered"),
}


@pytest.mark.parametrize(("falsify", "fault"), FALSE.values(), ids=FALSE)
def test_a_falsified_history_is_found_out(falsify: Callable[[], History], fault: str) -> None:
    assert any(fault in told for told in judged([falsify()]))


def test_an_execution_that_is_gone_or_that_nobody_asked_for_is_found_out() -> None:
    assert judged([]) == ["e (job-7): it was accepted and is gone"]
    assert judged([HONEST, replace(HONEST, execution_id="f")]) == ["f (job-7): nobody was told of it"]


def test_a_key_that_made_two_executions_is_found_out() -> None:
    other: Any = replace(HONEST, execution_id="f")
    told = judged([HONEST, other], promises=[PROMISE, replace(PROMISE, execution_id="f")])
    assert "the key job-7 made 2 executions" in told


def test_runs_of_the_wrong_code_and_runs_that_never_were_are_found_out() -> None:
    assert judged([HONEST], runs=[*RAN, replace(RAN[0], version="v2")]) == [
        "e (job-7): it is pinned to v1, and code of v2 ran for it"
    ]
    assert judged([HONEST], runs=RAN[:-1]) == ["e (job-7): attempt 1 of file was recorded and never ran"]
    stray = replace(RAN[0], attempt=2)
    assert judged([HONEST], runs=[*RAN, stray]) == ["e (job-7): attempt 2 of prepare ran and had no business to"]
