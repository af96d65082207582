"""How often a REST worker is asked whether it hosts a release (wire protocol D.8)."""

from datetime import timedelta

import pytest
from django.utils import timezone

from executions import admission
from executions.errors import WorkerUnavailable
from executions.models import Worker
from executions.rest_capabilities import ANSWER_SECONDS
from executions.rest_workers import register
from executions.submission import Order, Submission, submit_many
from tests.interop.conftest import ORDER, PIPELINE, Flow

OTHER = {"releaseVersion": "another"}


def submitted(flow: Flow, count: int, start: int = 0) -> list[object]:
    orders = [Order(PIPELINE, ORDER, f"k{number}") for number in range(start, start + count)]
    return list(submit_many(flow.owner, orders, actor="token:x"))


def questions(flow: Flow) -> int:
    return sum(seen.method == "GET" for seen in flow.double.requests)


def test_a_refused_batch_asks_once(flow: Flow) -> None:
    flow.double.capabilities = OTHER
    assert all(isinstance(each, WorkerUnavailable) for each in submitted(flow, 50))
    assert questions(flow) == 1


def test_an_answer_counts_in_every_process(flow: Flow) -> None:
    assert isinstance(submitted(flow, 1)[0], Submission)
    admission.forget_all()  # as in another process
    assert isinstance(submitted(flow, 1, start=1)[0], Submission)
    assert questions(flow) == 1


@pytest.mark.parametrize("capable", [True, False])
def test_an_answer_counts_for_a_while(flow: Flow, capable: bool) -> None:
    flow.double.capabilities = {} if capable else OTHER
    submitted(flow, 1)
    age = timedelta(seconds=ANSWER_SECONDS + 1)
    Worker.objects.filter(pk=flow.worker.pk).update(capability_checked_at=timezone.now() - age)
    admission.forget_all()
    flow.double.capabilities = OTHER if capable else {}
    [found] = submitted(flow, 1, start=1)
    assert isinstance(found, WorkerUnavailable if capable else Submission)
    assert questions(flow) == 2


def test_a_worker_that_registers_again_is_queried_again(flow: Flow) -> None:
    flow.double.capabilities = OTHER
    submitted(flow, 1)
    flow.double.capabilities = {}
    endpoint = flow.double.endpoint
    register(
        flow.owner, flow.release.identity, worker_id="java-1", protocol="rest", endpoint=endpoint, actor="user:test"
    )
    assert isinstance(submitted(flow, 1)[0], Submission)
    assert questions(flow) == 2


def test_of_many_workers_one_recent_confirmation_is_enough(flow: Flow) -> None:
    submitted(flow, 1)
    for number in range(5):
        name, endpoint = f"a-{number}", flow.double.endpoint
        register(
            flow.owner, flow.release.identity, worker_id=name, protocol="rest", endpoint=endpoint, actor="user:test"
        )
    admission.forget_all()
    submitted(flow, 1, start=1)
    assert questions(flow) == 1
