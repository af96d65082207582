"""Callers that come while a commit is under way share the next one, and none suffers for another's rows."""

import threading
from collections.abc import Callable

import pytest

from executions.submission.group_commit import GroupCommit

AWAY, ENDED = -99, -98


class Ledger:
    """Writes rows one group at a time, and can be made to take as long as a test needs.

    Groups with a negative number are refused. The row AWAY alone, and everything while `away`, meets an outage. The row
    ENDED ends the thread that writes. A write of `held` alone waits for `let_go`.
    """

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Semaphore(0)
        self.away = False
        self.held: list[int] = []
        self.let_go = threading.Event()

    def write(self, rows: list[int]) -> list[str]:
        self.entered.release()
        assert self.open.wait(10)
        self.groups.append(rows)
        if rows == self.held:
            assert self.let_go.wait(10)
        if self.away or rows == [AWAY]:
            raise ConnectionError
        if ENDED in rows:
            raise SystemExit
        if any(row < 0 for row in rows):
            raise ValueError(f"{rows} holds a negative row")
        return [f"wrote {row}" for row in rows]


class Callers:
    def __init__(self, commits: GroupCommit[int, str]) -> None:
        self._commits = commits
        self._threads: list[threading.Thread] = []
        self.results: dict[tuple[int, ...], list[str] | BaseException] = {}

    def call(self, *rows: int) -> None:
        def run() -> None:
            try:
                self.results[rows] = self._commits.commit(rows)
            except BaseException as error:
                self.results[rows] = error

        thread = threading.Thread(target=run, daemon=True)
        self._threads.append(thread)
        thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(10)
            assert not thread.is_alive()


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def waiting(commits: GroupCommit[int, str], count: int) -> Callable[[], bool]:
    return lambda: commits.waiting == count


def group_commit(ledger: Ledger, most_rows: int = 10, most_bytes: int = 10_000) -> GroupCommit[int, str]:
    """A row has as many bytes as its number says."""
    return GroupCommit(
        ledger.write, most_rows=most_rows, size=abs, most_bytes=most_bytes, is_outage=is_connection_error
    )


def is_connection_error(error: BaseException) -> bool:
    return isinstance(error, ConnectionError)


def until(probe: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(1000):
        if probe():
            return
        pause.wait(0.01)
    raise AssertionError("it did not come to that")


def crowd(ledger: Ledger, commits: GroupCommit[int, str], *others: tuple[int, ...]) -> Callers:
    """One caller whose commit was under way, and `others` who came meanwhile, after all have their results."""
    callers = begun(ledger, commits, *others)
    callers.join()
    return callers


def begun(ledger: Ledger, commits: GroupCommit[int, str], *others: tuple[int, ...]) -> Callers:
    callers = Callers(commits)
    ledger.open.clear()
    callers.call(1)
    assert ledger.entered.acquire(timeout=10)
    for number, rows in enumerate(others, start=1):
        callers.call(*rows)
        until(waiting(commits, number))
    ledger.open.set()
    return callers


def test_a_single_caller_commits_immediately(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    assert commits.commit([1, 2]) == ["wrote 1", "wrote 2"]
    assert commits.commit([3]) == ["wrote 3"]
    assert ledger.groups == [[1, 2], [3]]


def test_callers_that_arrive_during_a_commit_share_the_next_one(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    callers = crowd(ledger, commits, (2,), (3, 4), (5,))
    assert ledger.groups == [[1], [2, 3, 4, 5]]
    assert callers.results == {
        (1,): ["wrote 1"],
        (2,): ["wrote 2"],
        (3, 4): ["wrote 3", "wrote 4"],
        (5,): ["wrote 5"],
    }
    assert commits.commit([6]) == ["wrote 6"]


def test_a_group_is_bounded_and_a_caller_is_never_split(ledger: Ledger) -> None:
    commits = group_commit(ledger, most_rows=3)
    crowd(ledger, commits, (2, 3), (4, 5), (6, 7, 8, 9, 10), (11,))
    assert ledger.groups == [[1], [2, 3], [4, 5], [6, 7, 8, 9, 10], [11]]


def test_a_group_is_bounded_by_bytes_too(ledger: Ledger) -> None:
    commits = group_commit(ledger, most_bytes=100)
    crowd(ledger, commits, (60,), (40,), (2,), (98,), (1, 99))
    assert ledger.groups == [[1], [60, 40], [2, 98], [1, 99]]


def test_a_caller_with_too_many_bytes_commits_separately_without_waiting(ledger: Ledger) -> None:
    commits = group_commit(ledger, most_bytes=100)
    callers = Callers(commits)
    ledger.open.clear()
    callers.call(1)
    assert ledger.entered.acquire(timeout=10)
    callers.call(60, 41)
    assert ledger.entered.acquire(timeout=10)
    assert commits.waiting == 0
    ledger.open.set()
    callers.join()
    assert sorted(ledger.groups) == [[1], [60, 41]]
    assert callers.results[60, 41] == ["wrote 60", "wrote 41"]


@pytest.mark.django_db
def test_a_caller_in_a_transaction_writes_separately_without_waiting(ledger: Ledger) -> None:
    """Rows in another caller's commit would stay although the transaction is rolled back."""
    commits = group_commit(ledger)
    ledger.held = [1]
    callers = Callers(commits)
    callers.call(1)
    assert ledger.entered.acquire(timeout=10)
    assert commits.commit([2]) == ["wrote 2"]
    assert callers.results == {}
    ledger.let_go.set()
    callers.join()


def test_rejected_rows_of_one_caller_do_not_affect_the_others(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    callers = crowd(ledger, commits, (2,), (-3,), (4,))
    assert callers.results[2,] == ["wrote 2"]
    assert callers.results[4,] == ["wrote 4"]
    assert isinstance(callers.results[-3,], ValueError)
    assert ledger.groups == [[1], [2, -3, 4], [2], [-3], [4]]
    assert commits.commit([5]) == ["wrote 5"]


def test_rejected_rows_of_one_of_two_callers_do_not_affect_the_other(ledger: Ledger) -> None:
    callers = crowd(ledger, group_commit(ledger), (2,), (-3,))
    assert callers.results[2,] == ["wrote 2"]
    assert isinstance(callers.results[-3,], ValueError)


def test_no_caller_waits_for_one_whose_thread_has_ended(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    callers = crowd(ledger, commits, (2,), (ENDED,), (4,))
    assert [type(callers.results[row,]) for row in (2, ENDED, 4)] == [SystemExit] * 3
    assert commits.commit([5]) == ["wrote 5"]


def test_an_outage_fails_all_callers_of_a_group_at_once(ledger: Ledger) -> None:
    commits = group_commit(ledger)
    ledger.away = True
    callers = crowd(ledger, commits, (2,), (3,), (4,))
    assert ledger.groups == [[1], [2, 3, 4]]
    assert [type(result) for result in callers.results.values()] == [ConnectionError] * 4
    ledger.away = False
    assert commits.commit([5]) == ["wrote 5"]


def test_an_outage_ends_the_separate_writes(ledger: Ledger) -> None:
    callers = crowd(ledger, group_commit(ledger), (2,), (AWAY,), (4,), (5,))
    assert ledger.groups == [[1], [2, AWAY, 4, 5], [2], [AWAY]]
    assert callers.results[2,] == ["wrote 2"]
    assert [type(callers.results[row,]) for row in (AWAY, 4, 5)] == [ConnectionError] * 3


def test_each_caller_has_its_result_as_soon_as_it_is_known(ledger: Ledger) -> None:
    ledger.held = [4]
    callers = begun(ledger, group_commit(ledger), (2,), (-3,), (4,))
    until(lambda: callers.results.keys() >= {(-3,)})
    assert (4,) not in callers.results
    ledger.let_go.set()
    callers.join()
    assert callers.results[4,] == ["wrote 4"]
