"""A REST worker is called with the command of its execution, and its outcome is recorded (wire protocol D)."""

import json
import uuid
from typing import Any

import pytest
import requests
from django.utils import timezone

from executions.lifecycle import dispatch, outcome
from executions.lifecycle import rest_calls as rest_dispatch
from executions.lifecycle.redrive import redrive
from executions.models import ExecutionEvent, WireForm, Worker
from executions.transports.rest import transport, wire_forms
from executions.transports.rest.commands import payload_of
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import (
    DECISION,
    FAILED,
    ORDER,
    ORDER_TYPE,
    PIPELINE,
    Flow,
    answered,
    parked,
    run_out,
    submit,
)
from tests.executions.transports.rest.strict_worker import DTO, ENCODING, SNAPSHOT, STEP_ID, completed
from wire.messages.celery_messages import OutcomeGroup
from wire.messages.limits import LONGEST_WORKER_ID
from wire.messages.payload_envelopes import natural


def test_the_command_has_fifteen_members_and_the_pin_of_the_execution(flow: Flow) -> None:
    made = submit(flow)
    making.active(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP])
    assert flow.dispatch() == 1
    [command] = flow.double.commands
    payload = json.loads(command.pop("payload"))
    key = f"{made.pk}:0:0"
    assert command == {
        "tenantId": flow.owner.slug,
        "executionId": str(made.pk),
        "pipelineId": PIPELINE,
        "contractVersion": flow.release.contract_version,
        "releaseVersion": "1.0",
        "currentStepIndex": 0,
        "stopBeforeStepIndex": -1,
        "attempt": 0,
        "resultShape": "SINGLE",
        "executionVersion": 1,
        "transitionKey": key,
        "traceId": key,
        "payloadTypeId": SNAPSHOT,
        "payloadEncoding": ENCODING,
    }
    assert list(payload) == ["shape", "payload", "items"]
    assert (payload["shape"], payload["items"]) == ("UNI", [])
    assert payload["payload"]["payloadTypeId"] == ORDER_TYPE
    assert json.loads(payload["payload"]["payload"]) == ORDER


@cases("name", ["w" * 149 + " " + "x" * 10, "w" * LONGEST_WORKER_ID])
def test_an_outcome_is_recorded_for_any_worker_id(flow: Flow, name: str) -> None:
    Worker.objects.filter(pk=flow.worker.pk).update(worker_id=name)
    made, _ = parked(flow)
    assert ExecutionEvent.objects.filter(execution=made, actor=f"worker:{name}").exists()


def test_the_signed_path_does_not_include_the_path_of_the_base_url(flow: Flow, settings: Any) -> None:
    flow.double.prefix = "/apps/orders"
    settings.REST_WORKER_BASE_URL = flow.double.endpoint
    flow.worker.endpoint = ""
    flow.worker.save()
    flow.check()
    parked(flow)
    assert {request.path for request in flow.double.requests} == {
        "/apps/orders/pipeline/worker/capabilities",
        "/apps/orders/pipeline/worker/transitions/execute",
    }


def test_the_worker_rejects_a_replayed_request(flow: Flow) -> None:
    parked(flow)
    sent = flow.double.requests[-1]
    again = requests.request(sent.method, flow.double.origin + sent.path, data=sent.body, headers=sent.headers)
    assert again.status_code == 401


def test_repeated_and_invented_messages_make_no_call(flow: Flow) -> None:
    made = submit(flow)
    [claim] = making.claimed(flow.owner)
    assert transport.send([claim]) == []
    assert not rest_dispatch.run(made.pk, uuid.uuid4())
    assert rest_dispatch.run(made.pk, claim.lease_token)
    assert not rest_dispatch.run(made.pk, claim.lease_token)
    assert len(flow.double.commands) == 1


def test_the_lease_is_longer_than_the_request(flow: Flow, settings: Any) -> None:
    settings.LEASE_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 1, 30
    made = submit(flow)
    assert dispatch.dispatch() == 1
    made.refresh_from_db()
    assert made.lease_expires_at is not None
    assert (made.lease_expires_at - timezone.now()).total_seconds() > 30
    assert made.lease_owner == f"rest:{flow.worker.pk}:java-1"


def test_the_order_flow_resumes_with_its_decision(flow: Flow) -> None:
    made, question = parked(flow)
    assert (made.current_step_index, made.version) == (2, 2)
    [answer] = [json.loads(json.dumps(each)) for each in flow.double.commands]
    assert answer["executionId"] == str(made.pk)
    assert question.step_id == STEP_ID
    assert question.output_type == DTO + "RestaurantDecisionDto"
    assert (question.status, question.transport, question.group) == ("DISPATCHED", "interaction-api", "restaurant")
    assert question.transport_metadata["adapter"] == "interaction-api"
    assert type(question.transport_metadata["dispatchedAtEpochMs"]) is int
    assert question.request["status"] == "PENDING"
    answered(flow, question)
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert (made.status, made.version, made.attempt) == ("SUCCEEDED", 5, 0)
    assert made.result == [{"state": "ACCEPTED", "orderId": DECISION["accepted"]["orderId"], "total": 27.5}]
    resumed = flow.double.commands[-1]
    assert (resumed["currentStepIndex"], resumed["stopBeforeStepIndex"], resumed["attempt"]) == (3, -1, 0)
    assert resumed["payloadTypeId"] == DTO + "RestaurantDecisionDto"
    assert json.loads(resumed["payload"]) == DECISION
    assert making.history(made)[-2:] == [("CLAIMED", "RUNNING"), ("SUCCEEDED", "SUCCEEDED")]


def test_outputs_are_stored_as_received(flow: Flow) -> None:
    made, question = parked(flow)
    answered(flow, question)
    flow.dispatch()
    kept = WireForm.objects.get(pk=made.pk)
    assert kept.input is None
    [output] = kept.result or []
    assert output["payload"].startswith('{ "state":"ACCEPTED",  "orderId":')
    assert output["payload"].endswith('"total":27.50 }')


def test_the_outputs_of_a_dropped_outcome_are_not_stored(flow: Flow) -> None:
    made = submit(flow)
    [claim] = making.claimed(flow.owner)
    group = OutcomeGroup(worker_id="another", outcomes=[making.outcome_of(claim)])
    assert outcome.record(flow.release.identity, group) == 1
    wire_forms.keep_result(made.pk, [natural("late")], version=claim.version)
    assert not WireForm.objects.filter(pk=made.pk).exists()


def test_a_result_counts_if_its_wire_payloads_cannot_be_stored(flow: Flow, caplog: pytest.LogCaptureFixture) -> None:
    output = {"payloadTypeId": "com.acme.Order\0", "payloadEncoding": ENCODING, "payload": '{"n":1}'}
    flow.double.answers = [completed(output)]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", [{"n": 1}])
    assert "could not be stored" in caplog.text


def test_an_invalid_decision_is_accepted_and_fails_in_the_worker(flow: Flow) -> None:
    made, question = parked(flow)
    answered(flow, question, {"accepted": {"orderId": "not-a-uuid"}})
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("WAIT_RETRY", FAILED)
    message = f"java.lang.IllegalArgumentException: Failed to decode transition payload type {DTO}RestaurantDecisionDto"
    assert made.error_message == message


def test_a_retry_and_a_redrive_after_an_await_send_the_same_decision(flow: Flow) -> None:
    made, question = parked(flow)
    answered(flow, question)
    flow.double.faults = ["500"] * 4
    made = run_out(flow, made)
    assert (made.status, made.attempt) == ("DLQ", 3)
    redrive(flow.owner, made.pk, actor="user:test", reason="again")
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"
    resumes = flow.double.commands[1:]
    assert len({each["payload"] for each in resumes}) == 1
    assert json.loads(resumes[0]["payload"]) == DECISION
    assert [each["attempt"] for each in resumes] == [0, 1, 2, 3, 4]
    assert len({each["transitionKey"] for each in resumes}) == 5


def test_a_checkpoint_after_an_answer_is_sent_as_a_snapshot(flow: Flow) -> None:
    """A release may have workers of both protocols. Celery workers store checkpoints."""
    made, question = parked(flow)
    answered(flow, question)
    made.refresh_from_db()
    assert payload_of(made).payload_type_id == DTO + "RestaurantDecisionDto"
    made.current_step_index += 1
    assert payload_of(made).payload_type_id == SNAPSHOT
