from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from tests.cases import cases
from tests.parts.recovery.history import Event, History
from tests.parts.recovery.verdict import Pinned, Promise, Run, faults, misplaced
from tests.parts.recovery.workload import Job

JOB = Job(7, seconds=0.0, early=1, late=0, accepted=True)
PIN = ("tests.chaotic", "sha256:one", "v1")
NOW = datetime(2026, 11, 24, tzinfo=UTC)
PROMISE = JOB.promise("e", PIN, "/runs")
RUNS = [Run("e", step, "v1", attempt) for step, attempt in JOB.steps("v1")]
RETRY = Event(5, "RETRY_SCHEDULED", "WAIT_RETRY", "test", {"transitionKey": "e:0:0"})
EVENTS = [
    Event(1, "SUBMITTED", "QUEUED", "test", {}),
    Event(2, "CLAIMED", "RUNNING", "test", {}),
    Event(3, "LEASE_EXPIRED", "QUEUED", "test", {}),
    Event(4, "CLAIMED", "RUNNING", "test", {}),
    RETRY,
    Event(6, "OUTCOME_DROPPED", "WAIT_RETRY", "test", {"transitionKey": "e:0:0"}),
    Event(7, "CLAIMED", "RUNNING", "test", {}),
    Event(8, "AWAITING", "WAITING_EXTERNAL", "test", {"transitionKey": "e:1:1"}),
    Event(9, "AWAIT_COMPLETED", "QUEUED", "test", {}),
    Event(10, "CLAIMED", "RUNNING", "test", {}),
    Event(11, "AWAITING", "WAITING_EXTERNAL", "test", {"transitionKey": "e:3:1"}),
    Event(12, "AWAIT_COMPLETED", "QUEUED", "test", {}),
    Event(13, "CLAIMED", "RUNNING", "test", {}),
    Event(14, "SUCCEEDED", "SUCCEEDED", "test", {"transitionKey": "e:4:1"}),
]
CORRECT = History(
    execution_id="e",
    key="job-7",
    pin=PIN,
    status="SUCCEEDED",
    version=12,
    event_count=14,
    attempt=1,
    leased=False,
    result=[{"number": 7, "trail": "v1.prepare v1.settle v1.file"}],
    created_at=NOW,
    finished_at=NOW,
    events=EVENTS,
    units=["COMPLETED", "COMPLETED"],
    interactions=["COMPLETED", "COMPLETED"],
    answers=[JOB.answer(JOB.interaction_request("/runs", "v1")), {}],
)


def found_faults(*ended: History, runs: list[Run] = RUNS, promises: tuple[Promise, ...] = (PROMISE,)) -> str:
    return "\n".join(faults(promises, ended, {"e": runs}, {JOB.key: list(JOB.steps("v1"))}))


def test_a_correct_history_has_no_fault() -> None:
    assert found_faults(CORRECT) == ""
    restored = Event(5, "LEASE_RESTORED", "RUNNING", "test", {})
    later = [replace(event, sequence=event.sequence + 1) for event in EVENTS[4:]]
    assert found_faults(replace(CORRECT, events=[*EVENTS[:4], restored, *later], event_count=15)) == ""
    assert found_faults(CORRECT, runs=[*RUNS, RUNS[0]]) == "", "a takeover repeats steps"


@cases(
    ("changes", "fault"),
    [
        ({"events": EVENTS[:8] + EVENTS[9:]}, "its events are numbered"),
        ({"event_count": 99}, "its event count is 99"),
        ({"events": [*EVENTS[:5], EVENTS[3], RETRY, *EVENTS[5:]]}, "outcomes were recorded twice: {'e:0:0': 2}"),
        ({"events": [EVENTS[0], *EVENTS[2:]]}, "it moved from ['QUEUED to QUEUED'"),
        ({"status": "RUNNING", "finished_at": None}, "it never ended"),
        ({"leased": True}, "it ended with a lease"),
        ({"interactions": ["DISPATCHED"]}, "it ended while something was"),
        ({"dead_letters": 1}, "with 1 dead letters"),
        ({"pin": (*PIN[:2], "v2")}, "its pin should be"),
        ({"status": "DLQ"}, "its status should be SUCCEEDED"),
        ({"events": EVENTS[:10] + EVENTS[12:]}, "its path should be"),
        ({"result": [{"number": 7, "trail": "v2.prepare v1.settle v1.file"}]}, "its result should be"),
        ({"answers": [{"accepted": False}]}, "its answer should be"),
    ],
)
def test_a_falsified_history_is_detected(changes: dict[str, Any], fault: str) -> None:
    assert fault in found_faults(replace(CORRECT, **changes))


def test_lost_and_repeated_executions_and_wrong_runs_are_detected() -> None:
    other = replace(CORRECT, execution_id="f")
    assert found_faults() == "e (job-7): it was accepted but does not exist"
    assert found_faults(CORRECT, other) == "f (job-7): no client submitted it"
    both = found_faults(CORRECT, other, promises=(PROMISE, replace(PROMISE, execution_id="f")))
    assert "the key job-7 has 2 executions" in both
    assert "but code of v2 ran for it" in found_faults(CORRECT, runs=[*RUNS, replace(RUNS[0], version="v2")])
    assert "of file was recorded but never ran" in found_faults(CORRECT, runs=RUNS[:-1])
    assert "of prepare ran but was not needed" in found_faults(CORRECT, runs=[*RUNS, replace(RUNS[0], attempt=2)])


def test_an_unwanted_execution_may_be_cancelled_wherever_it_is() -> None:
    events = [*EVENTS[:7], Event(8, "CANCELLED", "CANCELLED", "test", {})]
    unasked = replace(CORRECT, result=None, units=[], interactions=[], answers=[])
    cancelled = replace(unasked, status="CANCELLED", version=6, event_count=8, events=events)
    unwanted = (replace(PROMISE, may_be_cancelled=True),)
    assert found_faults(cancelled, runs=RUNS[:1], promises=unwanted) == ""
    assert "its status should be SUCCEEDED" in found_faults(cancelled, runs=RUNS[:1])
    astray = replace(cancelled, events=[*EVENTS[:4], *EVENTS[7:9], cancelled.events[-1]])
    assert "its path should be" in found_faults(astray, runs=RUNS[:1], promises=unwanted)


def test_pins_follow_the_order_of_activations() -> None:
    fits = {"before": Pinned(1, 2, "v1"), "between": Pinned(2, 9, "v2"), "while": Pinned(4, 5, "v1")}
    assert misplaced({**fits, "after": Pinned(7, 8, "v2")}, "v1", "v2", began_at=3, ended_at=6) == []
    [early, late] = misplaced({"early": Pinned(1, 2, "v2"), "late": Pinned(7, 8, "v1")}, "v1", "v2", 3, 6)
    assert (early[:6], late[:5]) == ("early:", "late:")
