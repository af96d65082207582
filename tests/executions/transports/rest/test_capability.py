"""Control workers check whether REST workers host their releases; submissions read the verdicts (wire protocol D.8)."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.errors import WorkerNotChecked, WorkerUnavailable
from executions.models import Worker
from executions.submission import admission
from executions.submission.submission import ExecutionRequest, Submission, submit_many
from executions.transports.rest import capabilities
from executions.transports.rest.capabilities import CHECK_SECONDS, LOST_SECONDS
from foundation.scheduling.places import Places
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow

pytestmark = pytest.mark.django_db
OTHER = {"releaseVersion": "another"}
VERDICT_SECONDS = 60


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
