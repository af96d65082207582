from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone

from executions.lifecycle import dispatch, sweep
from executions.models import Execution, Worker, WorkerEligibility
from executions.transports import rest_workers
from executions.workers.eligibility import stranded
from executions.workers.registry import CELERY, DISPATCH_TASK, REST, drain, undrain
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import PIPELINE, Flow, submit
from tests.wakeups import announced

pytestmark = pytest.mark.django_db
REASON = WorkerEligibility.Reason.ENDPOINT_NOT_ALLOWED


def protocols(flow: Flow) -> list[str]:
    return sorted(claim.protocol for claim in making.claimed(flow.owner))


@cases(("celery", "expected"), [(0, [REST] * 8), (8, [CELERY] * 8 + [REST] * 8)])
def test_claims_are_shared_by_free_capacity(flow: Flow, celery: int, expected: list[str]) -> None:
    if celery:
        making.worker(flow.release, "celery-1", capacity=celery)
    for number in range(20):
        submit(flow, f"k{number}")
    assert protocols(flow) == expected
    assert protocols(flow) == []
    owners = Execution.objects.filter(lease_protocol=REST).values_list("lease_owner", flat=True)
    assert set(owners) == {f"rest:{flow.worker.pk}:java-1"}


def test_the_lease_of_a_call_is_longer_than_the_call(flow: Flow, settings: Any) -> None:
    settings.LEASE_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 1, 30
    made = submit(flow)
    assert dispatch.dispatch() == 1
    made.refresh_from_db()
    assert made.lease_expires_at is not None
    assert (made.lease_expires_at - timezone.now()).total_seconds() > 30


def test_an_input_that_cannot_be_sent_fails_the_execution(flow: Flow) -> None:
    step = {**making.STEP, "inputTypeId": "json"}
    flow.host(making.active(flow.owner, "5.0", pipeline_id=PIPELINE, steps=[step]))
    flow.check()
    made = flow.advance(making.execution(flow.owner, "blank", {" ": 1}, PIPELINE))
    assert (made.status, made.error_code) == ("FAILED", "UNDECODABLE_PAYLOAD")
    assert flow.double.commands == []


def is_drained(flow: Flow, settings: Any) -> None:
    drain(flow.owner, PIPELINE, "java-1", actor="user:eva")


def is_of_another_release(flow: Flow, settings: Any) -> None:
    flow.host(making.active(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP]))


def is_no_longer_allowed(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = []


@cases(
    ("change", "reason"),
    [
        (is_drained, "DRAINED_BY_OPERATOR"),
        (is_no_longer_allowed, REASON),
        (is_of_another_release, "the worker was registered again"),
    ],
)
def test_a_worker_that_became_ineligible_is_not_called(
    flow: Flow, settings: Any, change: Callable[[Flow, Any], None], reason: str
) -> None:
    flow.double.requests.clear()
    execution = submit(flow)
    Execution.objects.filter(pk=execution.pk).update(takeovers=1)
    claim = flow.claim()
    change(flow, settings)
    with announced() as wakeups:
        assert flow.call(claim) is False
    assert DISPATCH_TASK in [each[0] for each in wakeups]
    assert making.claimed(flow.owner) == []
    assert flow.double.commands == []
    execution.refresh_from_db()
    assert (execution.status, execution.attempt, execution.takeovers) == ("QUEUED", 0, 1)
    assert making.history(execution)[1:] == [("CLAIMED", "RUNNING"), ("DISPATCH_FAILED", "QUEUED")]
    assert execution.events.get(kind="DISPATCH_FAILED").data == {"reason": reason}
    blocked = Worker.objects.get(pk=flow.worker.pk).blocked_reason
    assert blocked == (REASON if reason == REASON else "")
    settings.REST_WORKER_ORIGINS = [flow.double.origin]
    undrain(flow.owner, PIPELINE, "java-1", actor="user:eva")
    flow.host(flow.release)
    assert flow.dispatch() == 1


def test_work_stays_due_while_the_origin_is_not_allowed(flow: Flow, settings: Any) -> None:
    execution = submit(flow)
    settings.REST_WORKER_ORIGINS, settings.TAKEOVER_LIMIT = [], 2
    assert [sweep.endpoints() for _ in range(5)] == [1, 0, 0, 0, 0]
    assert making.claimed(flow.owner) == []
    assert [each.reasons for each in stranded([flow.owner.pk])] == [[REASON]]
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]
    settings.REST_WORKER_ORIGINS = [flow.double.origin]
    with announced() as wakeups:
        assert sweep.endpoints() == 1
    assert [each[0] for each in wakeups] == [DISPATCH_TASK]
    assert flow.dispatch() == 1
    causes = [event.data["cause"] for event in flow.worker.events.order_by("id")]
    assert causes == ["REGISTERED", "ENDPOINT_BLOCKED", "ENDPOINT_ALLOWED"]


def test_a_review_blocks_only_a_worker_that_runs_and_has_not_changed_meanwhile(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = []
    rows = Worker.objects.filter(pk=flow.worker.pk)
    rows.update(stopped_at=timezone.now())
    assert sweep.endpoints() == 0
    rows.update(stopped_at=None)
    earlier, later = rows.get(), rows.get()
    rows.update(endpoint="https://worker.example")
    assert not rest_workers.review_endpoint(earlier, actor="sweep"), "it has another endpoint now"
    rows.update(endpoint=earlier.endpoint)
    assert [rest_workers.review_endpoint(each, actor="sweep") for each in (earlier, later)] == [True, False]
    assert flow.worker.events.filter(data__cause="ENDPOINT_BLOCKED").count() == 1


def test_a_new_registration_resets_the_worker(flow: Flow) -> None:
    before = {"capacity": 7, "taking": False, "holding": 5, "running": 4, "abandoned": 3, "transition_seconds": 0.5}
    since = dict.fromkeys(("draining_since", "drained_by_operator_at", "stopped_at"), timezone.now())
    verdict = {"blocked_reason": REASON, "capability_error": "another release", "unanswered_checks": 2}
    Worker.objects.filter(pk=flow.worker.pk).update(**before, **since, **verdict, artifact_id="a", artifact_digest="d")
    rows = [Worker.objects.filter(pk=flow.register(name).pk).values() for name in ("java-1", "java-2")]
    again, new = (dict(each.get()) for each in rows)
    own = {"id", "worker_id", "registered_at", "last_heartbeat_at", "last_sent_at", "alive_until"}
    assert {name for name in again if again[name] != new[name]} <= own
