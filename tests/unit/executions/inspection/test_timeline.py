from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from executions.console.execution_comparison import MISSING, differences
from executions.inspection.timeline import Await, Kind, Progress, Row, timeline
from tests.cases import cases
from wire.documents import json_writer
from wire.documents.execution_runs import Event

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
STEPS = ("Validate", "Approve", "Ship")


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def ms(seconds: float) -> int:
    return int(at(seconds).timestamp() * 1000)


def span(index: int, start: float, end: float) -> list[int]:
    return [index, ms(start), ms(end)]


class History:
    """Builds events with ascending sequences. Times are seconds after the submission."""

    def __init__(self, **submitted: Any) -> None:
        self.events: list[Event] = []
        self.add(0, "SUBMITTED", "QUEUED", **submitted)

    def add(self, seconds: float, kind: str, status: str, **data: Any) -> "History":
        self.events.append(Event(len(self.events) + 1, kind, status, at(seconds), data))
        return self

    def claimed(self, seconds: float, attempt: int = 0, step: int = 0) -> "History":
        return self.add(seconds, "CLAIMED", "RUNNING", attempt=attempt, stepIndex=step)

    def rows(self, *, awaits: tuple[Await, ...] = ()) -> list[Row]:
        return timeline(STEPS, self.events, awaits, (), now=at(1000), running_since=None)


def shown(row: Row) -> list[tuple[str, float, float]]:
    return [
        (bar.kind.value, (bar.start - BEGIN).total_seconds(), (bar.end - BEGIN).total_seconds()) for bar in row.bars
    ]


def test_attempts_show_their_failures_and_the_waits_between_them_until_a_redrive_succeeds() -> None:
    history = History().claimed(1)
    for number, (start, end) in enumerate(((1, 3), (10, 12), (20, 23))):
        last = number == 2
        kind, status = ("RETRIES_EXHAUSTED", "DLQ") if last else ("RETRY_SCHEDULED", "WAIT_RETRY")
        steps = [span(0, start, start + 1), span(1, start + 1, end)]
        history.add(end, kind, status, worker=f"w{number}", errorCode="E", failedStepIndex=1, steps=steps)
        if not last:
            history.claimed(10 if number == 0 else 20, attempt=number + 1)
    rows = history.rows()
    first_try, second_try = [("queued", 0, 1), ("work", 1, 2)], [("retry", 3, 10), ("work", 10, 11)]
    assert shown(rows[0]) == [*first_try, *second_try, ("retry", 12, 20), ("work", 20, 21)]
    assert shown(rows[1]) == [("failed", 2, 3), ("failed", 11, 12), ("failed", 21, 23)]
    assert [(bar.attempt, bar.worker) for bar in rows[1].bars] == [(1, "w0"), (2, "w1"), (3, "w2")]
    assert [row.progress for row in rows] == [Progress.OPEN, Progress.FAILED, Progress.OPEN]
    assert rows[2].bars == []
    history.add(100, "REDRIVEN", "QUEUED", attempt=1, errorCode="E").claimed(101, attempt=3)
    history.add(103, "SUCCEEDED", "SUCCEEDED", worker="w", steps=[span(n, 101, 102) for n in range(3)])
    rows = history.rows()
    assert shown(rows[0])[-2:] == [("queued", 100, 101), ("work", 101, 102)]
    assert {row.progress for row in rows} == {Progress.DONE}


TIME, KEY = {"notBefore": at(5).isoformat()}, {"concurrencyKey": "*"}


@cases(
    ("submitted", "bars"),
    [
        (TIME, [("start", 0, 5), ("queued", 5, 8)]),
        (KEY, [("start", 0, 8)]),
        (TIME | KEY, [("start", 0, 5), ("start", 5, 8)]),
        ({"notBefore": at(-5).isoformat()}, [("queued", 0, 8)]),
        ({"notBefore": at(9).isoformat()}, [("start", 0, 8)]),
    ],
)
def test_a_wait_for_a_time_or_a_place_is_no_wait_for_a_worker(submitted: dict[str, str], bars: list[Any]) -> None:
    [row, *_] = History(**submitted).claimed(8).add(9, "EXPIRED", "CANCELLED").rows()
    assert shown(row)[: len(bars)] == bars


def test_a_late_outcome_is_drawn_where_it_ran_and_does_not_count() -> None:
    history = History().claimed(1).add(31, "LEASE_EXPIRED", "QUEUED", worker="w1").claimed(32)
    history.add(35, "OUTCOME_DROPPED", "RUNNING", worker="w1", steps=[span(0, 1, 34)])
    history.add(36, "SUCCEEDED", "SUCCEEDED", worker="w2", steps=[span(0, 32, 36)])
    rows = history.rows()
    late = [bar for bar in rows[0].bars if "does not count" in bar.note]
    assert [(bar.kind, bar.start, bar.end, bar.worker) for bar in late] == [(Kind.LOST, at(1), at(34), "w1")]
    assert ("work", 32, 36) in shown(rows[0])


@cases("again", [False, True])
def test_an_outcome_that_gets_its_lost_lease_back_is_drawn_where_it_ran(again: bool) -> None:
    history = History().claimed(1).add(31, "LEASE_EXPIRED", "QUEUED", worker="w1")
    history = history.claimed(32) if again else history
    history.add(35, "LEASE_RESTORED", "RUNNING", worker="w2")
    rows = history.add(35, "SUCCEEDED", "SUCCEEDED", worker="w1", steps=[span(0, 2, 34)]).rows()
    assert [(bar.start, bar.end, bar.worker) for bar in rows[0].bars if bar.kind is Kind.WORK] == [
        (at(2), at(34), "w1")
    ]
    assert sum(bar.kind is Kind.LOST for bar in rows[0].bars) == 1 + again


def test_an_await_shows_who_answered_and_the_execution_continues_after_it() -> None:
    history = History().claimed(1).add(2, "AWAITING", "WAITING_EXTERNAL", worker="w", steps=[span(0, 1, 2)])
    history = history.add(3602, "AWAIT_COMPLETED", "QUEUED", stepIndex=1, answers=1).claimed(3603, step=2)
    history.add(3605, "SUCCEEDED", "SUCCEEDED", worker="w", steps=[span(2, 3603, 3605)])
    rows = history.rows(awaits=(Await(1, at(2), at(3602), 1, 1, ("user:eva",)),))
    assert shown(rows[1]) == [("await", 2, 3602)]
    assert rows[1].bars[0].note == "1 of 1 answered by user:eva."
    assert shown(rows[2]) == [("queued", 3602, 3603), ("work", 3603, 3605)]


@cases("reported", [span(0, 9000, 9001), span(0, 3, 2), span(0, -200, 500), [0, 0, 2**62]])
def test_times_that_cannot_be_true_are_not_drawn(reported: list[int]) -> None:
    history = History().claimed(1).add(5, "SUCCEEDED", "SUCCEEDED", worker="w", steps=[reported])
    [bar] = [bar for row in history.rows() for bar in row.bars if bar.kind is Kind.WORK]
    assert (bar.start, bar.end, bar.last) == (at(1), at(5), 2)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab.", max_size=2), inner, max_size=3),
    max_leaves=12,
)


@cases(
    ("earlier", "other", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("input.a", 1, True)]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3, 4]}}, [("input.a.b[1]", 2, 3), ("input.a.b[2]", MISSING, 4)]),
        ({"a.b": 1}, {}, [('input["a.b"]', 1, MISSING)]),
        ([], {}, [("input", [], {})]),
        (None, {"x": 1}, [("input", None, {"x": 1})]),
        ({"a": None}, {}, [("input.a", None, MISSING)]),
    ],
)
def test_each_place_is_named(earlier: Any, other: Any, expected: list[tuple[str, Any, Any]]) -> None:
    assert list(differences("input", earlier, other)) == expected


@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_if_the_values_differ(earlier: Any, other: Any) -> None:
    assert (next(differences("x", earlier, other), None) is None) == json_writer.equal(earlier, other)
