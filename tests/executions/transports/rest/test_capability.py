"""Control workers check whether REST workers host their releases; submissions read the verdicts."""

from datetime import timedelta
from functools import partial
from typing import Any

from django.db import connection
from django.utils import timezone

from executions import tasks
from executions.errors import WorkerNotChecked, WorkerUnavailable
from executions.models import Worker
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.transports import rest
from executions.transports.rest import CHECK_SECONDS, LOST_SECONDS, MOST_COUNTED
from executions.workers.eligibility import CHECK_FAILED, CHECK_TASK
from executions.workers.registry import DISPATCH_TASK
from foundation.places import Places
from tests import making
from tests.cases import cases
from tests.deaths import assert_all_or_nothing
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.receiving import dripping
from tests.wakeups import announced

OTHER = {"releaseVersion": "another"}
VERDICT_SECONDS = 60


def submitted(flow: Flow, count: int = 1, start: int = 0) -> list[Any]:
    admission.cache.clear()  # acts as another process
    orders = [ExecutionRequest(PIPELINE, ORDER, f"k{number}") for number in range(start, start + count)]
    return list(submit_many(flow.owner, orders, actor="token:x"))


def change(worker: Worker, **changes: Any) -> None:
    Worker.objects.filter(pk=worker.pk).update(**changes)


def checked(worker: Worker, age: float) -> None:
    at = timezone.now() - timedelta(seconds=age)
    change(worker, capability_checked_at=at, capability_claimed_at=at)


def turn() -> Any:
    with rest.turns(Places()).take() as due:
        return due


def test_a_submission_reads_a_verdict_that_expires_and_never_calls_a_worker(flow: Flow) -> None:
    assert isinstance(submitted(flow)[0], Submission)
    checked(flow.worker, VERDICT_SECONDS * 10)
    assert {type(refusal) for refusal in submitted(flow, 50, start=1)} == {WorkerNotChecked}
    flow.register()
    assert isinstance(submitted(flow, start=1)[0], WorkerNotChecked)
    assert flow.double.requests == []
    flow.double.capabilities = OTHER
    flow.check()
    checked(flow.worker, VERDICT_SECONDS - 20)
    [refused] = submitted(flow, start=1)
    assert type(refused) is WorkerUnavailable
    assert "Worker hosts" in refused.detail
    flow.double.capabilities = {}
    for number in range(5):
        flow.register(f"a-{number}")
    flow.check()
    assert isinstance(submitted(flow, start=1)[0], Submission), "one capable worker is enough"


def test_each_worker_is_due_after_its_registration_and_then_at_intervals(flow: Flow) -> None:
    assert turn() is None
    checked(flow.worker, CHECK_SECONDS + 1)
    assert turn() == flow.worker.pk
    assert turn() is None, "another process is checking it"
    flow.register()
    assert turn() == flow.worker.pk


def test_a_check_whose_process_was_lost_is_repeated(flow: Flow) -> None:
    long_ago = timezone.now() - timedelta(hours=1)
    for age, due in ((LOST_SECONDS / 2, None), (LOST_SECONDS + 1, flow.worker.pk)):
        claimed_at = timezone.now() - timedelta(seconds=age)
        change(flow.worker, registered_at=long_ago, capability_checked_at=long_ago, capability_claimed_at=claimed_at)
        assert turn() == due


def rival() -> Worker:
    release = making.active(making.tenant())
    return making.worker(release, protocol="rest", registered_at=timezone.now() - timedelta(hours=1))


def test_the_tenant_and_then_the_worker_whose_check_is_oldest_is_next(flow: Flow) -> None:
    other, third = rival(), flow.register("java-2")
    checked(flow.worker, CHECK_SECONDS + 1)
    checked(third, CHECK_SECONDS + 60)
    checked(other, CHECK_SECONDS + 30)
    assert [turn() for _ in range(3)] == [other.pk, third.pk, flow.worker.pk]


def test_the_latest_check_of_a_tenant_counts_for_its_turn(flow: Flow) -> None:
    other = rival()
    checked(flow.register("java-2"), CHECK_SECONDS + 60)
    checked(other, CHECK_SECONDS + 30)
    checked(flow.worker, 1)
    assert turn() == other.pk


def test_one_tenant_never_holds_all_places_for_checks(flow: Flow) -> None:
    for name in ("a", "b"):
        flow.register(name)
    turns = rest.turns(Places(2))
    with turns.take() as first, turns.take() as nothing:
        assert (first is None, nothing) == (False, None)
        other = rival()
        with turns.take() as second:
            assert second == other.pk


def test_a_registration_and_a_check_announce_the_next_check(flow: Flow) -> None:
    """Before the call of a check, so that a worker that hangs delays no other, and after it: its place is free."""
    assert_all_or_nothing(partial(flow.register, "java-1"))
    flow.check()
    with announced() as wakeups:
        flow.register("java-2")
    assert [wakeup[0] for wakeup in wakeups] == [DISPATCH_TASK, CHECK_TASK]
    for count in (2, 0):
        with announced() as wakeups:
            tasks.check_capability()
        assert [wakeup[0] for wakeup in wakeups] == [CHECK_TASK] * count


@cases(("count", "interval"), [(1, 10), (2, 20), (12, 300)])
def test_a_silent_worker_is_checked_at_longer_intervals(flow: Flow, settings: Any, count: int, interval: int) -> None:
    flow.double.faults, settings.REST_WORKER_ORIGINS = [], [*settings.REST_WORKER_ORIGINS, "http://127.0.0.1:1"]
    silent = flow.register("silent", endpoint="http://127.0.0.1:1")
    for _ in range(count):
        rest.check(silent.pk)
    assert Worker.objects.get(pk=silent.pk).unanswered_checks == min(count, MOST_COUNTED)
    for age, due in ((interval - 2, None), (interval + 2, silent.pk)):
        checked(silent, age)
        with rest.turns(Places(), unanswered=True).take() as checked_worker:
            assert (turn(), checked_worker) == (None, due)
    change(flow.worker, unanswered_checks=3)
    flow.check()
    assert Worker.objects.get(pk=flow.worker.pk).unanswered_checks == 0, "it answers again"


def test_a_worker_that_does_not_speak_http_has_a_negative_verdict(flow: Flow, settings: Any) -> None:
    with dripping(b"nonsense\r\n\r\n") as place:
        settings.REST_WORKER_ORIGINS = [f"http://{place}"]
        worker = flow.register("odd", endpoint=f"http://{place}")
        rest.check(worker.pk)
    assert (making.reread(worker).capability_error.startswith(CHECK_FAILED), worker.unanswered_checks) == (True, 0)


def test_at_most_two_registrations_of_a_process_wait_for_a_limited_time(flow: Flow) -> None:
    worker, depths, waiting = flow.register(), set[int](), list[int]()

    def another_waits(execute: Any, *query: Any) -> Any:
        waiting.append(1)
        depths.add(len(waiting))
        if len(waiting) < 5:
            rest.await_verdict(worker, seconds=0.05)
        waiting.pop()
        return execute(*query)

    for _ in range(2):
        depths.clear()
        with connection.execute_wrapper(another_waits):
            rest.await_verdict(worker, seconds=0.05)
        assert max(depths) == 2
