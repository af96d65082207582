"""Which worker gets claimed executions, and which executions are not sent."""

import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone
from pytest_django import DjangoCaptureOnCommitCallbacks

from executions.awaits import awaits
from executions.lifecycle import dispatch, outcome, sweep
from executions.lifecycle import rest_calls as rest_dispatch
from executions.models import Execution, Interaction, WireForm, Worker
from executions.transports.rest import calls
from executions.transports.rest.workers import heartbeat, register
from executions.workers.registry import CELERY, REST, drain, note_silent, take_heartbeat, undrain
from executions.workers.stranded import stranded
from foundation.scheduling import places
from releases.models import Release
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import ORDER, PIPELINE, Flow
from tests.few_places import limited
from tests.raw_sql import run
from wire.messages.celery_messages import Heartbeat, HeldLease, OutcomeGroup


def submitted(flow: Flow, count: int) -> list[Execution]:
    return [making.execution(flow.owner, f"k{number}", ORDER, PIPELINE) for number in range(count)]


def shared(flow: Flow) -> tuple[list[str], list[Any]]:
    """Return the owners of the leases, and the claims that Celery workers get."""
    claims = making.claimed(flow.owner)
    left = [claim for claim in claims if claim.protocol == CELERY]
    owners = Execution.objects.filter(tenant=flow.owner, status="RUNNING").values_list("lease_owner", flat=True)
    return [owner or "" for owner in owners], left


def test_claims_are_shared_by_free_capacity(flow: Flow) -> None:
    making.worker(flow.release, "celery-1", capacity=8)
    submitted(flow, 16)
    owners, left = shared(flow)
    assert sorted(owners) == ["dispatcher"] * 8 + [f"rest:{flow.worker.pk}:java-1"] * 8
    assert len(left) == 8


def test_claims_are_limited_by_the_capacity_of_the_workers(flow: Flow) -> None:
    submitted(flow, 12)
    owners, left = shared(flow)
    assert owners == [f"rest:{flow.worker.pk}:java-1"] * 8
    assert left == []
    assert making.claimed(flow.owner) == []


@cases("without", ["origin", "protocol", "release"])
def test_workers_that_may_not_be_called_get_no_work(flow: Flow, settings: Any, without: str) -> None:
    submitted(flow, 2)
    making.worker(flow.release, "celery-1", capacity=2)
    if without == "origin":
        settings.REST_WORKER_ORIGINS = ["https://another.example"]
        assert sweep.endpoints() == 1
    elif without == "protocol":
        Worker.objects.filter(pk=flow.worker.pk).update(protocol="grpc")
    else:
        Worker.objects.filter(pk=flow.worker.pk).update(contract_version="another")
    owners, left = shared(flow)
    assert owners == ["dispatcher"] * 2
    assert len(left) == 2


def test_a_worker_of_another_protocol_gets_no_work(flow: Flow) -> None:
    submitted(flow, 1)
    Worker.objects.filter(pk=flow.worker.pk).update(protocol="sqs")
    assert making.claimed(flow.owner) == []
    assert [each.count for each in stranded([flow.owner.pk])] == [1]


def test_a_silent_worker_still_gets_accepted_executions(flow: Flow) -> None:
    """The state of a worker matters at submission, not at dispatch (wire protocol D.8)."""
    [made] = submitted(flow, 1)
    making.silence(flow.worker)
    assert note_silent(actor="test", limit=10) == 1
    assert stranded([flow.owner.pk]) == []
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL"


def test_a_worker_that_never_becomes_silent_gets_no_event(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_STALE_SECONDS = 0
    assert heartbeat(flow.owner, PIPELINE, "java-1", actor="user:test").alive_until is None
    assert note_silent(actor="test", limit=10) == 0


def test_a_drained_worker_gets_no_further_work(flow: Flow) -> None:
    submitted(flow, 1)
    drain(flow.owner, PIPELINE, "java-1", actor="user:test")
    assert making.claimed(flow.owner) == []
    assert [each.count for each in stranded([flow.owner.pk])] == [1]


def test_executions_of_rest_workers_are_not_sent_to_the_release_queue(flow: Flow) -> None:
    [made] = submitted(flow, 1)
    assert dispatch.dispatch() == 1
    made.refresh_from_db()
    assert made.lease_owner == f"rest:{flow.worker.pk}:java-1"
    assert made.lease_token is not None
    assert rest_dispatch.run(made.pk, made.lease_token)


@pytest.mark.usefixtures("broken_broker")
def test_executions_that_the_broker_rejects_are_queued_again(flow: Flow) -> None:
    made = submitted(flow, 3)
    dispatch.dispatch()
    for each in made:
        each.refresh_from_db()
        assert (each.status, each.attempt, each.lease_owner) == ("QUEUED", 0, None)
        assert making.history(each)[-1] == ("DISPATCH_FAILED", "QUEUED")


def test_an_input_that_cannot_be_sent_fails_the_execution(flow: Flow) -> None:
    owner = flow.owner
    step = {**making.STEP, "inputTypeId": "json"}
    release = making.active(owner, "5.0", pipeline_id=PIPELINE, steps=[step])
    Worker.objects.filter(pk=flow.worker.pk).update(
        contract_version=release.contract_version, release_version="5.0", capacity=1
    )
    flow.double.contract_version, flow.double.release_version = release.contract_version, "5.0"
    made = making.execution(owner, "blank", {" ": 1}, PIPELINE)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "UNDECODABLE_PAYLOAD")
    assert flow.double.commands == []


# --- the database ---------------------------------------------------------------------------------


def test_parking_and_importing_are_atomic(flow: Flow) -> None:
    """If the interactions cannot be stored, the execution is not parked but fails (wire protocol E.10)."""
    [made] = submitted(flow, 1)
    run(
        "CREATE FUNCTION pg_temp.refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "'BEGIN RAISE EXCEPTION ''no interaction''; END'"
    )
    run("CREATE TRIGGER refuse BEFORE INSERT ON executions_interaction EXECUTE FUNCTION pg_temp.refuse()")
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "UNRECORDABLE_OUTCOME")
    assert not Interaction.objects.filter(execution=made).exists()
    assert made.await_units.count() == 0
    assert awaits.expire() == 0


def test_a_wire_form_is_written_once(flow: Flow) -> None:
    [made] = submitted(flow, 1)
    form = WireForm.objects.create(execution=made, input={"shape": "UNI"})
    [claim] = making.claimed(flow.owner)
    with transaction.atomic():
        outcome.record(made.pin, OutcomeGroup(worker_id="w", outcomes=[making.outcome_of(claim)]))
        form.result = [1]
        form.save()
    for change in ("input = '1'", "result = '[2]'", "result = NULL"):
        with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
            run(f"UPDATE executions_wireform SET {change} WHERE execution_id = %s", made.pk)
    with pytest.raises(IntegrityError, match="never changes"), transaction.atomic():
        run("DELETE FROM executions_wireform WHERE execution_id = %s", made.pk)


def registered(flow: Flow, **members: str) -> Worker:
    """Register the flow's worker again."""
    arguments = {"worker_id": "java-1", "protocol": "rest", "endpoint": flow.double.endpoint, "actor": "user:test"}
    return register(flow.owner, flow.release.identity, **{**arguments, **members})


def test_a_celery_worker_registered_as_rest_loses_its_thread_counts(flow: Flow) -> None:
    lease = HeldLease(execution_id=uuid.uuid4(), lease_token=uuid.uuid4(), seconds=1)
    for state in ("HEALTHY", "UNAVAILABLE"):
        message = Heartbeat(
            worker_id="java-1",
            state=state,
            capacity=8,
            taking=False,
            running=[lease],
            abandoned=7,
            transition_seconds=0.5,
        )
        take_heartbeat(flow.owner, flow.release.identity, message, timezone.now())
    worker = registered(flow)
    assert (worker.taking, worker.holding, worker.running, worker.abandoned) == (True, 0, 0, 0)
    assert worker.transition_seconds is None
    flow.check()
    submitted(flow, 9)
    assert len(making.claimed(flow.owner)) == 8


def drained(flow: Flow) -> None:
    drain(flow.owner, PIPELINE, "java-1", actor="user:eva")


def has_another_digest(flow: Flow) -> None:
    registered(flow, artifact_digest="sha256:" + "0" * 64)


def is_of_an_unknown_release(flow: Flow) -> None:
    identity = replace(flow.release.identity, release_version="9")
    register(
        flow.owner, identity, worker_id="java-1", protocol="rest", endpoint=flow.double.endpoint, actor="user:test"
    )


def is_of_another_release(flow: Flow) -> None:
    release = making.active(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP])
    flow.double.contract_version, flow.double.release_version = release.contract_version, "2.0"
    endpoint = flow.double.endpoint
    register(flow.owner, release.identity, worker_id="java-1", protocol="rest", endpoint=endpoint, actor="user:test")


def is_on_the_broker(flow: Flow) -> None:
    message = Heartbeat(worker_id="java-1", state="DRAINING", capacity=1)
    take_heartbeat(flow.owner, flow.release.identity, message, timezone.now())


CHANGES: dict[Callable[[Flow], None], str] = {
    drained: "DRAINED_BY_OPERATOR",
    has_another_digest: "OTHER_ARTIFACT",
    is_of_an_unknown_release: "the worker was registered again",
    is_of_another_release: "the worker was registered again",
    is_on_the_broker: "the worker was registered again",
}


@cases("change", CHANGES)
def test_a_worker_that_became_ineligible_is_not_called(flow: Flow, change: Callable[[Flow], None]) -> None:
    """The worker changes while the call waits in the queue. The next claim goes to another worker, or waits."""
    [execution] = submitted(flow, 1)
    Execution.objects.filter(pk=execution.pk).update(takeovers=1)
    [claim] = making.claimed(flow.owner)
    change(flow)
    assert rest_dispatch.run(claim.execution_id, claim.lease_token) is False
    assert making.claimed(flow.owner) == []
    assert flow.double.commands == []
    execution.refresh_from_db()
    assert (execution.status, execution.attempt, execution.takeovers) == ("QUEUED", 0, 1)
    assert making.history(execution)[1:] == [("CLAIMED", "RUNNING"), ("DISPATCH_FAILED", "QUEUED")]
    assert execution.events.get(kind="DISPATCH_FAILED").data == {"reason": CHANGES[change]}
    assert Worker.objects.get(pk=flow.worker.pk).blocked_reason == ""
    undrain(flow.owner, PIPELINE, "java-1", actor="user:eva")
    flow.double.contract_version, flow.double.release_version = flow.release.contract_version, "1.0"
    registered(flow)
    assert flow.dispatch() == 1


def test_a_call_occupies_one_place_of_its_worker(flow: Flow) -> None:
    submitted(flow, 9)
    assert len(making.claimed(flow.owner, limit=4)) == 4
    assert len(making.claimed(flow.owner)) == 4


def test_a_worker_that_is_registered_for_another_release_gets_no_further_capacity(flow: Flow) -> None:
    """Calls of the earlier release occupy its places until they end, and free no other places."""
    submitted(flow, 9)
    earlier = making.claimed(flow.owner)
    assert len(earlier) == 8
    is_of_another_release(flow)
    making.worker(Release.objects.get(release_version="2.0", pipeline__tenant=flow.owner), "celery-1", capacity=2)
    for number in range(8):
        making.execution(flow.owner, f"later-{number}", ORDER, PIPELINE)
    assert [claim.protocol for claim in making.claimed(flow.owner)] == [CELERY, CELERY]
    for claim in earlier[:3]:
        rest_dispatch.run(claim.execution_id, claim.lease_token)
    claims = making.claimed(flow.owner)
    assert [(claim.protocol, claim.release_version) for claim in claims] == [(REST, "2.0")] * 3
    workers = Execution.objects.filter(pk__in=[claim.execution_id for claim in claims]).values_list("lease_worker")
    assert list(workers) == [("java-1",)] * 3


def test_a_call_without_a_free_place_keeps_its_lease_and_is_sent_again(
    flow: Flow, django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks
) -> None:
    [execution] = submitted(flow, 1)
    [claim] = making.claimed(flow.owner)
    run("UPDATE executions_execution SET lease_expires_at = now() + interval '1 second' WHERE id = %s", execution.pk)
    capture = django_capture_on_commit_callbacks
    with limited(places.CALLS, 2), places.CALLS.hold(flow.owner.pk), capture() as sent:
        assert rest_dispatch.run(claim.execution_id, claim.lease_token) is False
        assert rest_dispatch.run(claim.execution_id, uuid.uuid4()) is False
    assert len(sent) == 1, "only the message with the current lease"
    execution.refresh_from_db()
    assert execution.lease_expires_at is not None
    assert execution.lease_expires_at > timezone.now() + timedelta(seconds=calls.lease_seconds() - 5)
    assert (execution.status, execution.lease_token, execution.takeovers) == ("RUNNING", claim.lease_token, 0)
    assert making.history(execution)[1:] == [("CLAIMED", "RUNNING")]
    assert flow.double.commands == []
    assert rest_dispatch.run(claim.execution_id, claim.lease_token)
