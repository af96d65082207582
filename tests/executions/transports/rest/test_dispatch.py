"""A REST worker is called with the command of its execution, and its outcome is recorded."""

import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from executions.lifecycle import dispatch, outcome, queries, rest_calls, sweep
from executions.models import Execution, WireForm, Worker, WorkerEligibility
from executions.transports import rest, rest_messages, rest_workers
from executions.transports.rest import CALL_TASK
from executions.transports.rest_messages import payload_of
from executions.workers.eligibility import stranded
from executions.workers.registry import CELERY, DISPATCH_TASK, REST, drain, undrain
from foundation import places
from tests import making
from tests.cases import cases
from tests.deaths import each_death
from tests.executions import moments
from tests.executions.moments import seconds_left
from tests.executions.transports.rest.order_flow import (
    DECISION,
    ORDER,
    ORDER_TYPE,
    PIPELINE,
    Flow,
    answered,
    parked,
    submit,
)
from tests.executions.transports.rest.strict_worker import DTO, ENCODING, SNAPSHOT, STEP_ID, completed
from tests.few_places import limited
from tests.raw_sql import unchanged
from tests.wakeups import announced
from wire.messages.celery_messages import OutcomeGroup
from wire.messages.payload_envelopes import natural


def test_the_command_has_fifteen_members_and_the_pin_of_the_execution(flow: Flow) -> None:
    made = submit(flow)
    making.active(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP])
    assert flow.dispatch() == 1
    [command] = flow.double.commands
    payload = json.loads(command.pop("payload"))
    pin = {"pipelineId": PIPELINE, "contractVersion": flow.release.contract_version, "releaseVersion": "1.0"}
    assert command == {
        **{"tenantId": flow.owner.slug, "executionId": str(made.pk), "executionVersion": 1, **pin},
        **{"currentStepIndex": 0, "stopBeforeStepIndex": -1, "attempt": 0, "resultShape": "SINGLE"},
        **dict.fromkeys(["transitionKey", "traceId"], f"{made.pk}:0:0"),
        **{"payloadTypeId": SNAPSHOT, "payloadEncoding": ENCODING},
    }
    assert (list(payload), payload["shape"], payload["items"]) == (["shape", "payload", "items"], "UNI", [])
    assert payload["payload"]["payloadTypeId"] == ORDER_TYPE
    assert json.loads(payload["payload"]["payload"]) == ORDER


def test_the_signed_path_is_that_after_the_base_url(flow: Flow, settings: Any) -> None:
    flow.double.prefix = "/apps/orders"
    settings.REST_WORKER_BASE_URL = flow.double.endpoint
    Worker.objects.filter(pk=flow.worker.pk).update(endpoint="")
    flow.check()
    parked(flow)
    assert [request.path for request in flow.double.requests] == [
        "/apps/orders/pipeline/worker/capabilities",
        "/apps/orders/pipeline/worker/transitions/execute",
    ]


def test_a_redelivered_or_invented_message_makes_no_call(flow: Flow) -> None:
    made = submit(flow)
    claim = flow.claim(lease_seconds=1)
    assert rest.send_claims([claim]) == []
    assert not flow.call(claim._replace(lease_token=uuid.uuid4()))
    next(each_death(lambda: flow.call(claim), text="json_to_recordset"))
    assert (making.reread(made).status, made.lease_token == claim.lease_token) == ("RUNNING", False)
    assert made.running_since == moments.now()
    assert seconds_left(made) == pytest.approx(rest.lease_seconds())
    assert not flow.call(claim)
    assert len(flow.double.commands) == 1


def test_a_message_for_an_execution_of_a_celery_worker_is_ignored(flow: Flow) -> None:
    owner, _ = making.ready()
    making.execution(owner)
    [claim] = making.claimed(owner)
    for free in (0, 1):
        with limited(places.CALLS, free), unchanged():
            assert not flow.call(claim)


def test_the_order_flow_resumes_with_its_decision_and_its_output_is_stored_as_received(flow: Flow) -> None:
    made, question = parked(flow)
    assert (made.current_step_index, made.version) == (2, 2)
    assert (question.step_id, question.output_type) == (STEP_ID, DTO + "RestaurantDecisionDto")
    assert (question.status, question.transport, question.group) == ("DISPATCHED", "interaction-api", "restaurant")
    assert (question.transport_metadata["adapter"], question.request["status"]) == ("interaction-api", "PENDING")
    answered(flow, question)
    flow.advance(made)
    assert (made.status, made.version, made.attempt) == ("SUCCEEDED", 5, 0)
    assert made.result == [{"state": "ACCEPTED", "orderId": DECISION["accepted"]["orderId"], "total": 27.5}]
    _, resumed = flow.double.commands
    assert (resumed["currentStepIndex"], resumed["stopBeforeStepIndex"], resumed["attempt"]) == (3, -1, 0)
    assert resumed["payloadTypeId"] == DTO + "RestaurantDecisionDto"
    assert json.loads(resumed["payload"]) == DECISION
    kept = WireForm.objects.get(pk=made.pk)
    assert kept.input is None
    [output] = kept.result or []
    assert output["payload"].startswith('{ "state":"ACCEPTED",  "orderId":')
    assert output["payload"].endswith('"total":27.50 }')


@cases(("waits", "seconds"), [(0, 0.25), (2, 1), (10_000, 4)])
def test_a_call_without_a_place_keeps_its_lease_and_waits_ever_longer(flow: Flow, waits: int, seconds: float) -> None:
    made = submit(flow)
    claim = flow.claim(lease_seconds=1)
    with announced() as wakeups, limited(places.CALLS, 1), places.CALLS.hold():
        assert not rest_calls.run(claim.execution_id, claim.lease_token, waits)
    message = (str(claim.execution_id), str(claim.lease_token), waits + 1)
    assert wakeups == [(CALL_TASK, message, timedelta(seconds=seconds))]
    assert seconds_left(made) > rest.lease_seconds() / 2


def test_a_call_without_an_outcome_names_no_code(flow: Flow) -> None:
    Worker.objects.filter(pk=flow.worker.pk).update(artifact_digest=flow.release.artifacts.get().digest)
    [part] = queries.runs_of_execution(flow.run([])).entries
    assert (part["worker"], part["artifactDigest"]) == ("java-1", None)


def test_a_result_is_recorded_even_if_its_original_payloads_cannot_be_stored(flow: Flow) -> None:
    output = {"payloadTypeId": "com.acme.Order\0", "payloadEncoding": ENCODING, "payload": '{"n":1}'}
    made = flow.run(completed(output))
    assert (made.status, made.result) == ("SUCCEEDED", [{"n": 1}])


def test_the_outputs_of_a_dropped_outcome_are_not_stored(flow: Flow) -> None:
    made = submit(flow)
    claim = flow.claim()
    group = OutcomeGroup(worker_id="another", outcomes=[making.outcome_of(claim)])
    assert outcome.record(flow.release.identity, group) == 1
    rest_messages.keep_result(made.pk, [natural("late")], version=claim.version)
    assert not WireForm.objects.filter(pk=made.pk).exists()


def test_a_checkpoint_after_an_answer_is_sent_as_a_snapshot(flow: Flow) -> None:
    """A release may have workers of both protocols. Celery workers store checkpoints."""
    made, question = parked(flow)
    answered(flow, question)
    assert payload_of(making.reread(made)).payload_type_id == DTO + "RestaurantDecisionDto"
    made.current_step_index += 1
    assert payload_of(made).payload_type_id == SNAPSHOT


# --- which worker is called ---

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


def test_the_lease_of_a_call_outlasts_the_call(flow: Flow, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "CONNECT_SECONDS", 20)
    settings.LEASE_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 1, 30
    made = submit(flow)
    assert dispatch.dispatch() == 1
    assert seconds_left(made) > 3 * 20 + 30


def test_an_input_that_cannot_be_sent_fails_the_execution(flow: Flow) -> None:
    step = {**making.STEP, "inputTypeId": "json"}
    flow.host(making.active(flow.owner, "5.0", pipeline_id=PIPELINE, steps=[step]))
    flow.check()
    made = flow.advance(making.execution(flow.owner, "blank", {" ": 1}, PIPELINE))
    assert (made.status, made.error_code) == ("FAILED", "UNDECODABLE_PAYLOAD")
    assert flow.double.commands == []


@cases(
    ("change", "reason"),
    (lambda flow, _: drain(flow.owner, PIPELINE, "java-1", actor="user:eva"), "DRAINED_BY_OPERATOR"),
    (lambda _, settings: setattr(settings, "REST_WORKER_ORIGINS", []), REASON),
    (
        lambda flow, _: flow.host(making.active(flow.owner, "2.0", pipeline_id=PIPELINE)),
        "the worker was registered again",
    ),
)
def test_a_worker_that_became_ineligible_is_not_called(flow: Flow, settings: Any, change: Any, reason: str) -> None:
    flow.double.requests.clear()
    execution = submit(flow)
    Execution.objects.filter(pk=execution.pk).update(takeovers=1)
    claim = flow.claim()
    change(flow, settings)
    with announced() as wakeups:
        assert flow.call(claim) is False
    assert DISPATCH_TASK in [wakeup[0] for wakeup in wakeups]
    assert making.claimed(flow.owner) == []
    assert flow.double.commands == []
    assert (making.reread(execution).status, execution.attempt, execution.takeovers) == ("QUEUED", 0, 1)
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
    assert [group.reasons for group in stranded([flow.owner.pk])] == [[REASON]]
    assert making.history(execution) == [("SUBMITTED", "QUEUED")]
    settings.REST_WORKER_ORIGINS = [flow.double.origin]
    with announced() as wakeups:
        assert sweep.endpoints() == 1
    assert [wakeup[0] for wakeup in wakeups] == [DISPATCH_TASK]
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
    assert [rest_workers.review_endpoint(worker, actor="sweep") for worker in (earlier, later)] == [True, False]
    assert flow.worker.events.filter(data__cause="ENDPOINT_BLOCKED").count() == 1


def test_a_new_registration_resets_the_worker(flow: Flow) -> None:
    before = {"capacity": 7, "taking": False, "holding": 5, "running": 4, "abandoned": 3, "transition_seconds": 0.5}
    since = dict.fromkeys(("draining_since", "drained_by_operator_at", "stopped_at"), timezone.now())
    verdict = {"blocked_reason": REASON, "capability_error": "another release", "unanswered_checks": 2}
    Worker.objects.filter(pk=flow.worker.pk).update(**before, **since, **verdict, artifact_id="a", artifact_digest="d")
    rows = [Worker.objects.filter(pk=flow.register(name).pk).values() for name in ("java-1", "java-2")]
    again, new = (dict(row.get()) for row in rows)
    volatile = {"id", "worker_id", "registered_at", "last_heartbeat_at", "last_sent_at", "alive_until"}
    assert {name for name in again if again[name] != new[name]} <= volatile
