"""A REST worker is called with the command of its execution, and its outcome is recorded (wire protocol D)."""

import json
import uuid
from dataclasses import replace
from typing import Any

import pytest
import requests

from executions.lifecycle import outcome
from executions.lifecycle.redrive import redrive
from executions.lifecycle.sweep import expire_leases
from executions.models import Execution, WireForm, Worker
from executions.transports.rest import calls, transport, wire_forms
from executions.transports.rest.commands import payload_of
from tests import making
from tests.deaths import each_death
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
from wire.messages.celery_messages import OutcomeGroup
from wire.messages.payload_envelopes import natural

pytestmark = pytest.mark.django_db


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


def test_a_lost_lease_changes_the_version_but_not_the_key_of_the_command(flow: Flow) -> None:
    """Wire protocol E.4."""
    made = submit(flow)
    lost = flow.claim()
    making.lose_lease(lost)
    assert not flow.call(lost)
    flow.dispatch()
    [command] = flow.double.commands
    assert (command["executionVersion"], command["transitionKey"], command["attempt"]) == (3, f"{made.pk}:0:0", 0)


def test_the_signed_path_is_that_after_the_base_url_and_a_replay_is_rejected(flow: Flow, settings: Any) -> None:
    flow.double.prefix = "/apps/orders"
    settings.REST_WORKER_BASE_URL = flow.double.endpoint
    Worker.objects.filter(pk=flow.worker.pk).update(endpoint="")
    flow.check()
    parked(flow)
    check, call = flow.double.requests
    assert check.path == "/apps/orders/pipeline/worker/capabilities"
    assert call.path == "/apps/orders/pipeline/worker/transitions/execute"
    again = requests.request(call.method, flow.double.origin + call.path, data=call.body, headers=call.headers)
    assert again.status_code == 401


def test_a_redelivered_or_invented_message_makes_no_call(flow: Flow) -> None:
    """The first receiver dies when it has the worker's response. The lease lasts for an entire call."""
    made = submit(flow)
    claim = flow.claim(lease_seconds=1)
    assert transport.send([claim]) == []
    assert not flow.call(replace(claim, lease_token=uuid.uuid4()))
    next(each_death(lambda: flow.call(claim), text="json_to_recordset"))
    made.refresh_from_db()
    assert (made.status, made.lease_token == claim.lease_token) == ("RUNNING", False)
    assert made.running_since is not None
    assert made.lease_expires_at is not None
    left = (made.lease_expires_at - made.running_since).total_seconds()
    assert left == pytest.approx(calls.lease_seconds())
    assert not flow.call(claim)
    assert len(flow.double.commands) == 1


def test_the_order_flow_resumes_with_its_decision_and_its_output_is_stored_as_received(flow: Flow) -> None:
    made, question = parked(flow)
    assert (made.current_step_index, made.version) == (2, 2)
    assert (question.step_id, question.output_type) == (STEP_ID, DTO + "RestaurantDecisionDto")
    assert (question.status, question.transport, question.group) == ("DISPATCHED", "interaction-api", "restaurant")
    assert question.transport_metadata["adapter"] == "interaction-api"
    assert type(question.transport_metadata["dispatchedAtEpochMs"]) is int
    assert question.request["status"] == "PENDING"
    answered(flow, question)
    flow.advance(made)
    assert (made.status, made.version, made.attempt) == ("SUCCEEDED", 5, 0)
    assert made.result == [{"state": "ACCEPTED", "orderId": DECISION["accepted"]["orderId"], "total": 27.5}]
    _, resumed = flow.double.commands
    assert (resumed["currentStepIndex"], resumed["stopBeforeStepIndex"], resumed["attempt"]) == (3, -1, 0)
    assert resumed["payloadTypeId"] == DTO + "RestaurantDecisionDto"
    assert json.loads(resumed["payload"]) == DECISION
    assert making.history(made)[-2:] == [("CLAIMED", "RUNNING"), ("SUCCEEDED", "SUCCEEDED")]
    kept = WireForm.objects.get(pk=made.pk)
    assert kept.input is None
    [output] = kept.result or []
    assert output["payload"].startswith('{ "state":"ACCEPTED",  "orderId":')
    assert output["payload"].endswith('"total":27.50 }')


def test_the_outputs_of_a_dropped_outcome_are_not_stored(flow: Flow) -> None:
    made = submit(flow)
    claim = flow.claim()
    group = OutcomeGroup(worker_id="another", outcomes=[making.outcome_of(claim)])
    assert outcome.record(flow.release.identity, group) == 1
    wire_forms.keep_result(made.pk, [natural("late")], version=claim.version)
    assert not WireForm.objects.filter(pk=made.pk).exists()


def test_a_death_during_a_call_records_all_of_its_outcome_or_repeats_the_call(flow: Flow) -> None:
    output = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"done"'}
    flow.double.answers = [completed(output) for _ in range(50)]
    made = submit(flow)

    def act() -> None:
        Execution.objects.filter(pk=made.pk, status="RUNNING").update(lease_expires_at=making.LONG_AGO)
        expire_leases()
        flow.dispatch()

    for statement in each_death(act):
        made.refresh_from_db()
        assert WireForm.objects.filter(pk=made.pk).exists() is (made.status == "SUCCEEDED"), statement
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", ["done"])
    assert WireForm.objects.get(pk=made.pk).result == [output]
    assert making.kinds(made).count("SUCCEEDED") == 1


def test_a_retry_and_a_redrive_after_an_await_send_the_same_decision(flow: Flow) -> None:
    made, question = parked(flow)
    answered(flow, question)
    flow.double.faults = ["500"] * 4
    while flow.advance(made).status == "WAIT_RETRY":
        Execution.objects.filter(pk=made.pk).update(next_due_at=making.LONG_AGO)
    assert (made.status, made.attempt) == ("DLQ", 3)
    redrive(flow.owner, made.pk, actor="user:test", reason="again")
    assert flow.advance(made).status == "SUCCEEDED"
    resumes = flow.double.commands[1:]
    assert {each["payload"] for each in resumes} == {resumes[0]["payload"]}
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
