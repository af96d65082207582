"""Control workers check whether REST workers host their releases; submissions read the verdicts (wire protocol D.8)."""

import time
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.errors import WorkerNotChecked, WorkerUnavailable
from executions.models import Worker
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.transports.rest import capabilities
from executions.transports.rest.capabilities import CHECK_SECONDS, LOST_SECONDS, MOST_COUNTED, await_verdict
from foundation.scheduling.places import Places
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow

pytestmark = pytest.mark.django_db
OTHER = {"releaseVersion": "another"}
VERDICT_SECONDS = 60
UNREACHABLE = "http://127.0.0.1:1"


@pytest.fixture
def silent(flow: Flow, settings: Any) -> Worker:
    """A worker that does not answer."""
    settings.REST_WORKER_ORIGINS = [*settings.REST_WORKER_ORIGINS, UNREACHABLE]
    return flow.register("silent", endpoint=UNREACHABLE)


def submitted(flow: Flow, count: int = 1, start: int = 0) -> list[Any]:
    admission.cache.clear()  # acts as another process
    orders = [ExecutionRequest(PIPELINE, ORDER, f"k{number}") for number in range(start, start + count)]
    return list(submit_many(flow.owner, orders, actor="token:x"))


def change(worker: Worker, **changes: Any) -> None:
    Worker.objects.filter(pk=worker.pk).update(**changes)


def checked(worker: Worker, age: float) -> None:
    """Set the time of the last check to `age` seconds ago."""
    at = timezone.now() - timedelta(seconds=age)
    change(worker, capability_checked_at=at, capability_claimed_at=at)


def rival() -> Worker:
    """A worker of another tenant that is due for its first check."""
    return making.worker(
        making.active(making.tenant()), protocol="rest", registered_at=timezone.now() - timedelta(hours=1)
    )


def turn() -> Any:
    with capabilities.turns(Places()).take() as due:
        return due


def test_a_submission_reads_a_verdict_that_expires_and_never_calls_a_worker(flow: Flow) -> None:
    assert isinstance(submitted(flow)[0], Submission)
    checked(flow.worker, VERDICT_SECONDS * 10)
    assert {type(each) for each in submitted(flow, 50, start=1)} == {WorkerNotChecked}
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


@cases(("count", "interval"), [(1, 10), (3, 40), (12, 300)])
def test_a_worker_that_does_not_answer_is_checked_at_longer_intervals(
    flow: Flow, silent: Worker, count: int, interval: int
) -> None:
    change(flow.worker, stopped_at=timezone.now())
    for _ in range(count):
        capabilities.check(silent.pk)
    assert Worker.objects.get(pk=silent.pk).unanswered_checks == min(count, MOST_COUNTED)
    repeated = capabilities.turns(Places(), unanswered=True)
    for age, due in ((interval - 2, None), (interval + 2, silent.pk)):
        checked(silent, age)
        assert turn() is None
        with repeated.take() as found:
            assert found == due
    [refused] = submitted(flow)
    assert type(refused) is WorkerUnavailable, "the verdict is valid until the next check"
    flow.register("silent", endpoint=UNREACHABLE)
    assert turn() == silent.pk, "a registration resets the interval"


def test_one_tenant_never_holds_all_places_for_checks(flow: Flow) -> None:
    for name in ("a", "b"):
        flow.register(name)
    turns = capabilities.turns(Places(2))
    with turns.take() as first:
        assert first is not None
        with turns.take() as nothing:
            assert nothing is None
        other = rival()
        with turns.take() as second:
            assert second == other.pk


def seconds_of_waiting(worker: Worker, most: float) -> float:
    began = time.monotonic()
    await_verdict(worker, seconds=most)
    return time.monotonic() - began


def test_a_registration_waits_a_limited_time_for_its_verdict_and_leaves_its_place_to_others(flow: Flow) -> None:
    worker = flow.register()
    assert [0.1 <= seconds_of_waiting(worker, 0.1) < 5 for _ in range(3)] == [True] * 3
    flow.check()
    assert seconds_of_waiting(worker, 30) < 5
    change(worker, release_version="unknown", capability_checked_at=None)
    assert seconds_of_waiting(worker, 30) < 5
