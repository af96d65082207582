import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from executions.submission.insertion import GroupCommit
from tests.building import eventually
from tests.cases import cases

AWAY, ENDED = -99, -98


class Ledger:
    """Records groups of rows, and blocks as long as a test needs.

    It rejects groups with a negative number. The row AWAY alone meets an outage. The row ENDED ends the writing thread.
    A write of only `held` waits for `let_go`.
    """

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.held: list[int] = []
        self.let_go = threading.Event()

    def write(self, rows: list[int]) -> list[str]:
        self.entered.release()
        assert self.open.wait(10)
        self.groups.append(rows)
        if rows == self.held:
            assert self.let_go.wait(10)
        if rows == [AWAY]:
            raise ConnectionError
        if ENDED in rows:
            raise SystemExit
        if any(row < 0 for row in rows):
            raise ValueError(f"{rows} holds a negative row")
        return [f"wrote {row}" for row in rows]


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def group_commit(ledger: Ledger, most_rows: int = 10, most_bytes: int = 10_000) -> GroupCommit[int, str]:
    """The size of a row in bytes is the absolute value of its number."""
    limits = {"most_rows": most_rows, "most_bytes": most_bytes}
    return GroupCommit(ledger.write, size=abs, is_outage=lambda error: isinstance(error, ConnectionError), **limits)


def finished(ledger: Ledger, commits: GroupCommit[int, str], *others: tuple[int, ...]) -> dict[Any, Future[list[str]]]:
    """Let `others` arrive during the commit of the row 1. Return all calls, once they have ended."""
    with ThreadPoolExecutor(1 + len(others)) as pool:
        ledger.open.clear()
        calls: dict[Any, Future[list[str]]] = {(1,): pool.submit(commits.commit, (1,))}
        assert ledger.entered.acquire(timeout=10)
        for number, rows in enumerate(others, start=1):
            calls[rows] = pool.submit(commits.commit, rows)
            eventually(partial(lambda count: commits.waiting == count, number), what="the caller")
        ledger.open.set()
    return calls


def test_callers_that_arrive_during_a_commit_share_the_next_one(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    calls = finished(ledger, commits, (2,), (3, 4), (5,))
    assert ledger.groups == [[1], [2, 3, 4, 5]]
    expected = {(1,): ["wrote 1"], (2,): ["wrote 2"], (3, 4): ["wrote 3", "wrote 4"], (5,): ["wrote 5"]}
    assert {rows: call.result() for rows, call in calls.items()} == expected
    assert commits.commit([6, 7]) == ["wrote 6", "wrote 7"], "and a single caller commits immediately"


@cases(
    ("most_rows", "most_bytes", "others", "groups"),
    [
        (3, 10_000, [(2, 3), (4, 5), (6, 7, 8, 9, 10), (11,)], [[2, 3], [4, 5], [6, 7, 8, 9, 10], [11]]),
        (10, 100, [(60,), (40,), (2,), (98,), (1, 99)], [[60, 40], [2, 98], [1, 99]]),
    ],
)
def test_a_group_is_bounded_in_rows_and_bytes_and_a_caller_is_never_split(
    most_rows: int, most_bytes: int, others: list[tuple[int, ...]], groups: list[list[int]]
) -> None:
    ledger = Ledger()
    finished(ledger, group_commit(ledger, most_rows, most_bytes), *others)
    assert ledger.groups == [[1], *groups]


@pytest.mark.django_db
def test_a_caller_in_a_transaction_writes_separately_without_waiting(ledger: Ledger) -> None:
    """In another caller's commit, the rows would remain after a rollback of the transaction."""
    commits = group_commit(ledger)
    ledger.held = [1]
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(commits.commit, (1,))
        assert ledger.entered.acquire(timeout=10)
        assert commits.commit([2]) == ["wrote 2"]
        assert not call.done()
        ledger.let_go.set()


def test_rejected_rows_of_one_of_two_callers_do_not_affect_the_other(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    calls = finished(ledger, commits, (2,), (-3,))
    assert calls[2,].result() == ["wrote 2"]
    assert isinstance(calls[-3,].exception(), ValueError)
    assert ledger.groups == [[1], [2, -3], [2], [-3]]
    assert commits.commit([5]) == ["wrote 5"]


def test_no_caller_waits_for_one_whose_thread_has_ended(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    calls = finished(ledger, commits, (2,), (ENDED,), (4,))
    assert [type(calls[row,].exception()) for row in (2, ENDED, 4)] == [SystemExit] * 3
    assert commits.commit([5]) == ["wrote 5"]


def test_an_outage_ends_the_separate_writes(ledger: Ledger) -> None:
    calls = finished(ledger, group_commit(ledger), (2,), (AWAY,), (4,), (5,))
    assert ledger.groups == [[1], [2, AWAY, 4, 5], [2], [AWAY]]
    assert calls[2,].result() == ["wrote 2"]
    assert [type(calls[row,].exception()) for row in (AWAY, 4, 5)] == [ConnectionError] * 3
