"""REST workers are called only at origins that the settings allow. Work of blocked workers is not lost."""

from typing import Any

import pytest
from django.utils import timezone

from executions.lifecycle import rest_calls, sweep
from executions.models import Execution, Worker, WorkerEligibility
from executions.state_machine import moves
from executions.transports.rest import workers
from executions.transports.rest.workers import register
from executions.workers.registry import take_heartbeat
from executions.workers.stranded import stranded
from tests import making
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.interop.client import ok, switch_on
from wire.messages.celery_messages import Heartbeat

REASON = WorkerEligibility.Reason.ENDPOINT_NOT_ALLOWED


@pytest.fixture
def execution(flow: Flow) -> Execution:
    return making.execution(flow.owner, "k", ORDER, PIPELINE)


def reasons(flow: Flow) -> list[list[str]]:
    return [each.reasons for each in stranded([flow.owner.pk])]


def test_work_stays_due_while_the_origin_is_not_allowed(flow: Flow, execution: Execution, settings: Any) -> None:
    allowed, settings.REST_WORKER_ORIGINS = settings.REST_WORKER_ORIGINS, []
    assert sweep.endpoints() == 1
    assert sweep.endpoints() == 0
    assert making.claimed(flow.owner) == []
    assert reasons(flow) == [[REASON]]
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]
    settings.REST_WORKER_ORIGINS = allowed
    assert sweep.endpoints() == 1
    assert reasons(flow) == []
    assert flow.dispatch() == 1
    assert len(flow.double.commands) == 1
    causes = [event.data["cause"] for event in flow.worker.events.order_by("id")]
    assert causes == ["REGISTERED", "ENDPOINT_BLOCKED", "ENDPOINT_ALLOWED"]


def test_a_worker_that_has_stopped_gets_no_further_event(flow: Flow, settings: Any) -> None:
    Worker.objects.update(stopped_at=timezone.now())
    settings.REST_WORKER_ORIGINS = []
    assert sweep.endpoints() == 0
    assert [event.data["cause"] for event in flow.worker.events.all()] == ["REGISTERED"]


def test_one_of_two_processes_records_a_change(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = []
    copies = [Worker.objects.get(), Worker.objects.get()]
    assert [workers.review_endpoint(worker, actor="sweep") for worker in copies] == [True, False]
    assert flow.worker.events.filter(data__cause="ENDPOINT_BLOCKED").count() == 1


def test_a_worker_is_not_blocked_for_an_earlier_endpoint(flow: Flow, settings: Any) -> None:
    earlier = Worker.objects.get()
    Worker.objects.update(endpoint="https://worker.example")
    settings.REST_WORKER_ORIGINS = ["https://worker.example"]
    assert not workers.review_endpoint(earlier, actor="sweep")
    assert Worker.objects.get().blocked_reason == ""


def test_a_call_that_is_no_longer_allowed_uses_no_attempt(flow: Flow, execution: Execution, settings: Any) -> None:
    """The origin is removed from the settings while the call waits in the queue, before the next sweep."""
    [claim] = making.claimed(flow.owner)
    settings.REST_WORKER_ORIGINS = []
    assert rest_calls.run(claim.execution_id, claim.lease_token) is False
    assert making.history(execution) == [
        ("SUBMITTED", "QUEUED"),
        ("CLAIMED", "RUNNING"),
        ("DISPATCH_FAILED", "QUEUED"),
    ]
    assert execution.events.get(kind="DISPATCH_FAILED").data == {"reason": REASON}
    assert (execution.attempt, execution.takeovers, execution.lease_token) == (0, 0, None)
    assert making.claimed(flow.owner) == []
    assert reasons(flow) == [[REASON]]
    assert flow.double.commands == []


def test_repeated_sweeps_and_claims_leave_the_execution_queued(flow: Flow, execution: Execution, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS, settings.TAKEOVER_LIMIT = [], 2
    for _ in range(5):
        sweep.endpoints()
        making.claimed(flow.owner, lease_seconds=0)
        moves.expire_leases(actor="test", limit=10, most_takeovers=2)
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]


def test_a_worker_registered_at_another_origin_is_blocked(flow: Flow, settings: Any) -> None:
    switch_on(settings)
    body = {
        "workerId": "java-2",
        "contractVersion": flow.release.contract_version,
        "releaseVersion": flow.release.release_version,
        "protocol": "rest",
        "endpoint": "http://elsewhere.example",
    }
    path = f"admin/tenants/{flow.owner.slug}/pipelines/{PIPELINE}/workers/register"
    assert ok("POST", path, body)["state"] == "HEALTHY"
    found = WorkerEligibility.objects.get(worker__worker_id="java-2")
    assert (found.reason, found.admits) == (REASON, False)


def test_a_new_registration_resets_the_worker(flow: Flow) -> None:
    def registered(name: str) -> dict[str, Any]:
        endpoint, identity = flow.double.endpoint, flow.release.identity
        made = register(flow.owner, identity, worker_id=name, protocol="rest", endpoint=endpoint, actor="user:test")
        return dict(Worker.objects.filter(pk=made.pk).values().get())

    before = {"capacity": 7, "taking": False, "holding": 5, "running": 4, "abandoned": 3, "transition_seconds": 0.5}
    since = dict.fromkeys(("draining_since", "drained_by_operator_at", "stopped_at"), timezone.now())
    verdict = {"blocked_reason": REASON, "capability_error": "another release", "unanswered_checks": 2}
    Worker.objects.update(**before, **since, **verdict, artifact_id="a", artifact_digest="d")
    again, new = registered("java-1"), registered("java-2")
    own = {"id", "worker_id", "registered_at", "last_heartbeat_at", "last_sent_at", "alive_until"}
    assert {name for name in again if again[name] != new[name]} <= own
    assert WorkerEligibility.objects.filter(admits=True).count() == 2


def test_a_blocked_worker_that_changes_to_the_broker_gets_work(flow: Flow, execution: Execution, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS = []
    assert sweep.endpoints() == 1
    message = Heartbeat(worker_id="java-1", state="HEALTHY", capacity=1)
    take_heartbeat(flow.owner, flow.release.identity, message, timezone.now())
    assert [claim.protocol for claim in making.claimed(flow.owner)] == ["celery"]
