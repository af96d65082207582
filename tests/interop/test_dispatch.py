"""A REST worker is called with the one command it is due, and its answer is recorded (wire protocol D, F)."""

import base64
import json
import uuid
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import requests
from django.utils import timezone

from executions.awaits import awaits, interactions, webhooks
from executions.awaits.awaits import expire
from executions.errors import InteractionUnknown
from executions.lifecycle import dispatch, outcome
from executions.lifecycle.redrive import redrive
from executions.lifecycle.sweep import expire_leases
from executions.models import AwaitUnit, DeadLetter, Execution, ExecutionEvent, Interaction, WireForm, Worker
from executions.transports.rest import calls, transport, wire_forms
from executions.transports.rest import dispatch as rest_dispatch
from executions.transports.rest.commands import payload_of
from executions.transports.rest.workers import register
from tests import making
from tests.executions.awaits.parking import make_late
from tests.executions.hosting import LONG_AGO
from tests.interop.client import ok, payload, switch_on
from tests.interop.conftest import ORDER, ORDER_TYPE, PIPELINE, Flow
from tests.interop.strict_worker import DTO, ENCODING, SNAPSHOT, STEP_ID, completed, name_uuid, result
from tests.raw_sql import run
from tests.receiving import receiving
from wire.messages.celery_messages import OutcomeGroup
from wire.messages.limits import LONGEST_WORKER_ID
from wire.messages.payload_envelopes import natural

FAILED = "TransitionWorkerFailureException"
DECISION = {"accepted": {"orderId": str(uuid.uuid4()), "note": "ok"}}


def submit(flow: Flow, key: str = "k", **order: Any) -> Execution:
    return making.execution(flow.owner, key, {**ORDER, **order}, PIPELINE)


def parked(flow: Flow, **order: Any) -> tuple[Execution, Interaction]:
    made = submit(flow, **order)
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL", (made.error_code, made.error_message)
    return made, Interaction.objects.get(execution=made)


def answered(flow: Flow, asked: Interaction, decision: Any = None) -> None:
    interactions.complete(flow.owner, interaction_id=asked.pk, response=decision or DECISION, actor="user:eva")


def run_out(flow: Flow, made: Execution) -> Execution:
    """The execution once it has failed for good."""
    for _ in range(10):
        Execution.objects.filter(pk=made.pk, status="WAIT_RETRY").update(next_due_at=LONG_AGO)
        flow.dispatch()
        made.refresh_from_db()
        if made.status not in {"QUEUED", "WAIT_RETRY"}:
            return made
    raise AssertionError(made.status)


def misbehaved(flow: Flow, fault: str) -> tuple[str | None, str | None]:
    flow.double.faults = [fault]
    made = submit(flow)
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert (made.status, made.attempt) == ("WAIT_RETRY", 1)
    return made.error_code, (made.error_message or "").replace(str(made.pk), "ID")


# --- the command ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize("name", ["w" * 149 + " " + "x" * 10, "w" * LONGEST_WORKER_ID], ids=["blank", "longest"])
def test_an_outcome_is_recorded_whatever_the_id_of_the_worker(flow: Flow, name: str) -> None:
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
    assert {seen.path for seen in flow.double.requests} == {
        "/apps/orders/pipeline/worker/capabilities",
        "/apps/orders/pipeline/worker/transitions/execute",
    }


def test_a_replayed_request_is_refused_by_the_worker(flow: Flow) -> None:
    parked(flow)
    sent = flow.double.requests[-1]
    again = requests.request(sent.method, flow.double.origin + sent.path, data=sent.body, headers=sent.headers)
    assert again.status_code == 401


def test_a_message_that_is_delivered_twice_or_made_up_calls_nobody(flow: Flow) -> None:
    made = submit(flow)
    [claim] = making.claimed(flow.owner)
    assert transport.send([claim]) == []
    assert not rest_dispatch.run(made.pk, uuid.uuid4())
    assert rest_dispatch.run(made.pk, claim.lease_token)
    assert not rest_dispatch.run(made.pk, claim.lease_token)
    assert len(flow.double.commands) == 1


def test_the_lease_outlives_the_request(flow: Flow, settings: Any) -> None:
    settings.LEASE_SECONDS, settings.REST_WORKER_TIMEOUT_SECONDS = 1, 30
    made = submit(flow)
    assert dispatch.dispatch() == 0
    made.refresh_from_db()
    assert made.lease_expires_at is not None
    assert (made.lease_expires_at - timezone.now()).total_seconds() > 30
    assert made.lease_owner == f"rest:{flow.worker.pk}:java-1"


# --- outcomes -------------------------------------------------------------------------------------


def test_the_order_flow_waits_for_its_decision_and_goes_on_with_it(flow: Flow) -> None:
    made, asked = parked(flow)
    assert (made.current_step_index, made.version) == (2, 2)
    [answer] = [json.loads(json.dumps(each)) for each in flow.double.commands]
    assert answer["executionId"] == str(made.pk)
    assert asked.step_id == STEP_ID
    assert asked.output_type == DTO + "RestaurantDecisionDto"
    assert (asked.status, asked.transport, asked.group) == ("DISPATCHED", "interaction-api", "restaurant")
    assert asked.transport_metadata["adapter"] == "interaction-api"
    assert type(asked.transport_metadata["dispatchedAtEpochMs"]) is int
    assert asked.request["status"] == "PENDING"
    answered(flow, asked)
    assert flow.dispatch() == 1
    made.refresh_from_db()
    assert (made.status, made.version, made.attempt) == ("SUCCEEDED", 5, 0)
    assert made.result == [{"state": "ACCEPTED", "orderId": DECISION["accepted"]["orderId"], "total": 27.5}]
    resumed = flow.double.commands[-1]
    assert (resumed["currentStepIndex"], resumed["stopBeforeStepIndex"], resumed["attempt"]) == (3, -1, 0)
    assert resumed["payloadTypeId"] == DTO + "RestaurantDecisionDto"
    assert json.loads(resumed["payload"]) == DECISION
    assert making.history(made)[-2:] == [("CLAIMED", "RUNNING"), ("SUCCEEDED", "SUCCEEDED")]


def test_outputs_are_kept_as_they_came(flow: Flow) -> None:
    made, asked = parked(flow)
    answered(flow, asked)
    flow.dispatch()
    kept = WireForm.objects.get(pk=made.pk)
    assert kept.input is None
    [output] = kept.result or []
    assert output["payload"].startswith('{ "state":"ACCEPTED",  "orderId":')
    assert output["payload"].endswith('"total":27.50 }')


def test_the_outputs_of_an_outcome_that_was_dropped_are_not_kept(flow: Flow) -> None:
    made = submit(flow)
    [claim] = making.claimed(flow.owner)
    group = OutcomeGroup(worker_id="another", outcomes=[making.answer(claim)])
    assert outcome.record(flow.release.identity, group) == 1
    wire_forms.keep_result(made.pk, [natural("late")], version=claim.version)
    assert not WireForm.objects.filter(pk=made.pk).exists()


def test_a_result_counts_though_its_payloads_cannot_be_kept_as_they_came(
    flow: Flow, caplog: pytest.LogCaptureFixture
) -> None:
    output = {"payloadTypeId": "com.acme.Order\0", "payloadEncoding": ENCODING, "payload": '{"n":1}'}
    flow.double.answers = [completed(output)]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", [{"n": 1}])
    assert "could not be stored" in caplog.text


def test_a_nonsense_decision_is_taken_and_fails_when_the_worker_reads_it(flow: Flow) -> None:
    made, asked = parked(flow)
    answered(flow, asked, {"accepted": {"orderId": "not-a-uuid"}})
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("WAIT_RETRY", FAILED)
    told = f"java.lang.IllegalArgumentException: Failed to decode transition payload type {DTO}RestaurantDecisionDto"
    assert made.error_message == told


def test_a_retry_and_a_redrive_after_an_await_send_the_same_decision(flow: Flow) -> None:
    made, asked = parked(flow)
    answered(flow, asked)
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


def test_what_a_checkpoint_left_after_an_answer_travels_as_a_snapshot(flow: Flow) -> None:
    """A release may have workers of both protocols, and those on the broker keep checkpoints."""
    made, asked = parked(flow)
    answered(flow, asked)
    made.refresh_from_db()
    assert payload_of(made).payload_type_id == DTO + "RestaurantDecisionDto"
    made.current_step_index += 1
    assert payload_of(made).payload_type_id == SNAPSHOT


def test_what_no_retry_can_help_fails_at_once(flow: Flow) -> None:
    made = submit(flow, amount=-1)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "NonRetryableException")
    assert made.error_message == "the amount is negative"
    assert DeadLetter.objects.get(execution=made).reason == "non_retryable"


def test_the_installation_names_classes_of_its_own_that_no_retry_can_help(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_NON_RETRYABLE = ["org.acme.Final"]
    flow.double.answers = [result("FAILED", failure={"failureClass": "org.acme.Final", "message": None})]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_message) == ("FAILED", "org.acme.Final")


def test_more_than_one_output_for_a_single_result_is_a_failure_that_is_retried(flow: Flow) -> None:
    one = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"ok"'}
    flow.double.answers = [completed(one, one)]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "WAIT_RETRY"
    told = f"Async queue execution {made.pk} produced 2 terminal items for SINGLE result shape"
    assert made.error_message == told


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        (
            "500 secret text",
            FAILED,
            "REST transition worker returned HTTP 500 for execution ID with response body omitted",
        ),
        ("401", FAILED, "REST transition worker returned HTTP 401 for execution ID with response body omitted"),
        ("redirect", FAILED, "REST transition worker returned HTTP 307 for execution ID with response body omitted"),
        (
            "200 <html>",
            FAILED,
            "REST transition worker returned malformed JSON for execution ID with HTTP 200 and response body omitted",
        ),
        (
            "200 ",
            FAILED,
            "REST transition worker returned malformed JSON for execution ID with HTTP 200 and response body omitted",
        ),
        (
            '200 {"outcome":"COMPLETED","surprise":1}',
            FAILED,
            "REST transition worker returned malformed JSON for execution ID with HTTP 200 and response body omitted",
        ),
        ("200 null", FAILED, "REST transition worker returned an empty result for execution ID"),
        ("drop", "IOException", "REST transition worker: the exchange failed (ConnectionResetError)"),
        ("half", "IOException", "REST transition worker: the exchange failed (IncompleteRead)"),
        ("slow", "HttpTimeoutException", "REST transition worker: no complete response in time"),
        ("drip", "HttpTimeoutException", "REST transition worker: no complete response in time"),
    ],
)
def test_an_answer_that_is_none_is_a_failure_that_is_retried(
    flow: Flow, settings: Any, fault: str, code: str, message: str
) -> None:
    settings.REST_WORKER_TIMEOUT_SECONDS = 0.5
    assert misbehaved(flow, fault) == (code, message)
    assert not any(seen.path.endswith("/elsewhere") for seen in flow.double.requests)


def test_an_answer_without_bounds_is_not_read_to_its_end(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_MAX_ANSWER_BYTES = 100_000
    code, message = misbehaved(flow, "huge")
    assert (code, "malformed JSON" in (message or "")) == (FAILED, True)


def test_a_worker_that_is_gone_is_a_failure_that_is_retried(flow: Flow, settings: Any) -> None:
    made = submit(flow)
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    flow.worker.endpoint = "http://127.0.0.1:1"
    flow.worker.save()
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("WAIT_RETRY", "ConnectException")


def test_a_worker_of_another_release_refuses_and_is_asked_again(flow: Flow) -> None:
    made = submit(flow)
    flow.double.release_version = "9.9"
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("WAIT_RETRY", FAILED)
    assert (made.error_message or "").startswith(
        f"java.lang.IllegalArgumentException: Transition command targets pipelineId={PIPELINE}, "
    )


def test_an_outcome_that_comes_after_the_lease_was_lost_is_dropped(flow: Flow) -> None:
    def late(_: Any) -> Any:
        return completed({"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"late"'})

    made = submit(flow)
    [claim] = making.claimed(flow.owner)
    transport.send([claim])
    taken = Execution.objects.get(pk=made.pk)
    flow.double.answers = [late]

    assert calls.lease_seconds() > 5
    run("UPDATE executions_execution SET lease_expires_at = now() - interval '1 second' WHERE id = %s", made.pk)
    assert expire_leases() == 1
    assert not rest_dispatch.run(made.pk, claim.lease_token)
    assert taken.lease_token == claim.lease_token
    again = flow.dispatch()
    made.refresh_from_db()
    assert (again, made.attempt, made.status) == (1, 0, "SUCCEEDED")
    # Wire protocol E.4: a takeover changes the version, and neither attempt nor key.
    [command] = flow.double.commands
    assert (command["executionVersion"], command["transitionKey"]) == (3, f"{made.pk}:0:0")


# --- the end of the pipeline ----------------------------------------------------------------------


def test_past_the_last_step_the_answer_itself_is_the_result(flow: Flow) -> None:
    """The command's own payload, not the execution's input (wire protocol D.9)."""
    steps = [making.STEP, {**making.STEP, "index": 1, "authoredName": "Await It", "kind": "await"}]
    release = making.active(flow.owner, "3.0", pipeline_id=PIPELINE, steps=steps)
    flow.double.contract_version, flow.double.release_version = release.contract_version, "3.0"
    register(
        flow.owner, release.identity, worker_id="java-1", protocol="rest", endpoint=flow.double.endpoint, actor="t"
    )
    flow.check()

    def suspend(command: Any) -> Any:
        told = flow.double.suspend(command, {"requestId": "r"})
        text = json.dumps(told).replace('"stepIndex": 2', '"stepIndex": 1')
        return json.loads(text)

    flow.double.answers = [suspend, {**completed(), "terminalInputPassthrough": True}]
    made = submit(flow)
    flow.dispatch()
    answered(flow, Interaction.objects.get(execution=made))
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", [DECISION])


def test_passing_on_with_steps_left_to_run_is_malformed(flow: Flow) -> None:
    flow.double.answers = [{**completed(), "terminalInputPassthrough": True}]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, "malformed JSON" in (made.error_message or "")) == ("WAIT_RETRY", True)


# --- suspensions ----------------------------------------------------------------------------------


def altered(flow: Flow, change: Any) -> Execution:
    """The execution after its worker suspended it in a way that `change` made of the right one."""

    def suspend(command: Any) -> Any:
        answer = flow.double.suspend(command, ORDER)
        change(answer["awaitSuspension"])
        return answer

    flow.double.answers = [suspend]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    return made


def both(suspension: dict[str, Any], **members: Any) -> None:
    for part in (suspension, suspension["unit"], *suspension["interactions"]):
        part.update({name: value for name, value in members.items() if name in part})


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(unit=None),
        lambda told: told.update(interactions=[]),
        lambda told: told["unit"].update(primaryInteractionId=str(uuid.uuid4())),
        lambda told: told["unit"].update(status="TIMED_OUT"),
        lambda told: told["interactions"][0].update(status="EXPIRED"),
        lambda told: told["interactions"][0].update(unitId="another"),
        lambda told: both(told, tenantId="another"),
        lambda told: both(told, executionId=str(uuid.uuid4())),
        lambda told: told["unit"].update(executionId=str(uuid.uuid4())),
        lambda told: told["unit"].update(primaryInteractionId=None),
        lambda told: told["interactions"][0].update(deadlineEpochMs=10**17),
    ],
)
def test_a_suspension_that_could_only_hang_fails_the_execution(flow: Flow, change: Any) -> None:
    made = altered(flow, change)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")
    assert not Interaction.objects.filter(execution=made).exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(surprise=1),
        lambda told: told["unit"].update(completedItemCount=-1),
        lambda told: told["unit"].update(expectedItemCount=1, completedItemCount=2),
        lambda told: told["unit"].update(completedItemKeys=["item:0"]),
        lambda told: told["interactions"][0].update(outputType=" "),
        lambda told: told["interactions"][0]["transportMetadata"].update(adapter=None),
        lambda told: told["interactions"][0].update(status="LOST"),
    ],
)
def test_a_suspension_that_breaks_the_protocol_is_malformed(flow: Flow, change: Any) -> None:
    made = altered(flow, change)
    assert (made.status, made.error_code) == ("WAIT_RETRY", FAILED)
    assert "malformed JSON" in (made.error_message or "")


def test_ids_and_deadline_are_those_of_the_worker(flow: Flow) -> None:
    told: dict[str, Any] = {}
    made = altered(flow, lambda suspension: told.update(suspension))
    [theirs] = told["interactions"]
    asked = Interaction.objects.get(execution=made)
    assert str(asked.pk) == theirs["interactionId"]
    assert asked.correlation_id == theirs["correlationId"]
    assert int(asked.deadline.timestamp() * 1000) == theirs["deadlineEpochMs"]
    with pytest.raises(InteractionUnknown):
        interactions.complete(making.tenant(), interaction_id=asked.pk, response={}, actor="x")


def test_an_id_that_is_no_uuid_is_kept_under_one_made_from_it(flow: Flow) -> None:
    def change(told: Any) -> None:
        told["unit"]["primaryInteractionId"] = told["interactions"][0]["interactionId"] = "int-1"

    made = altered(flow, change)
    expected = name_uuid(f"{flow.owner.slug}:interaction:int-1")
    assert str(Interaction.objects.get(execution=made).pk) == expected


def test_the_ids_that_a_worker_chose_are_told_to_the_letter(flow: Flow, settings: Any) -> None:
    """Its own token, which holds them, answers; so does a type that the await alone names (wire protocol F.3, F.4)."""
    switch_on(settings)

    def change(told: Any) -> None:
        told["unitId"] = told["unit"]["unitId"] = told["interactions"][0]["unitId"] = "unit-1"
        told["unit"]["primaryInteractionId"] = told["interactions"][0]["interactionId"] = "int-1"
        told["interactions"][0].update(outputType="com.acme.Decision", transportOutputType="com.acme.Decision")

    made = altered(flow, change)
    base = f"control-plane/tenants/{flow.owner.slug}/interactions"
    assert made.await_units.get().worker_name == "unit-1"
    [item] = ok("GET", f"{base}/pending")
    assert item["interactionId"] == "int-1"
    token = awaits.resume_token_of(made.interactions.get(), issued_at=timezone.now())
    assert token.interaction_id == "int-1"
    answer = {
        "resumeToken": token.sign(awaits.resume_secrets()[0]),
        "responsePayload": payload("com.acme.Decision", DECISION),
    }
    assert ok("POST", f"{base}/complete", answer)["interactionId"] == "int-1"
    repeated = ok("POST", f"{base}/complete", {**answer, "resumeToken": "", "interactionId": "int-1"})
    assert (repeated["interactionId"], repeated["duplicate"]) == ("int-1", True)
    flow.dispatch()
    assert flow.double.commands[-1]["payloadTypeId"] == "com.acme.Decision"


def test_a_durable_payload_is_unwrapped(flow: Flow) -> None:
    wrapped = {
        "canonicalTypeId": "Pending",
        "typeExpressionFingerprint": "f",
        "catalogFingerprint": "c",
        "encoding": "application/tpf-canonical+json",
        "encodingVersion": 1,
        "payload": base64.b64encode(b'{"orderId": "o1"}').decode(),
    }
    made = altered(flow, lambda told: told["interactions"][0].update(requestPayload=wrapped))
    assert Interaction.objects.get(execution=made).request == {"orderId": "o1"}


def test_a_unit_that_is_answered_already_takes_the_execution_on_at_once(flow: Flow) -> None:
    def change(told: Any) -> None:
        told["unit"].update(status="COMPLETED", completedItemCount=0)
        told["interactions"][0].update(status="COMPLETED", responsePayload=DECISION, actor="bridge")

    made = altered(flow, change)
    assert made.status == "SUCCEEDED"
    assert Interaction.objects.get(execution=made).actor == "bridge"
    assert json.loads(flow.double.commands[-1]["payload"]) == DECISION


def test_the_items_of_a_stream_are_answered_each_and_go_on_as_a_stream(flow: Flow) -> None:
    def change(told: Any) -> None:
        [one] = told["interactions"]
        told["unit"].update(primaryInteractionId=None, expectedItemCount=2, dispatchComplete=True)
        told["interactions"] = [
            {**one, "interactionId": str(uuid.uuid4()), "correlationId": f"{one['correlationId']}:{n}", "itemIndex": n}
            for n in (1, 0)
        ]

    made = altered(flow, change)
    assert made.status == "WAITING_EXTERNAL", made.error_message
    asked = Interaction.objects.filter(execution=made).order_by("-item_index")
    flow.double.answers = [completed()]
    for each in asked:
        answered(flow, each, {"accepted": {"place": each.item_index}})
    flow.dispatch()
    command = flow.double.commands[-1]
    assert command["payloadTypeId"] == "java.util.List"
    items = json.loads(command["payload"])["items"]
    assert [item["payloadTypeId"] for item in items] == [DTO + "RestaurantDecisionDto"] * 2
    assert [json.loads(item["payload"]) for item in items] == [{"accepted": {"place": 0}}, {"accepted": {"place": 1}}]


def asked_in_vain(flow: Flow) -> tuple[Interaction, dict[str, Any]]:
    """Return the interaction of an await that timed out, and the suspension that the worker gives again."""
    told: list[dict[str, Any]] = []

    def suspend(command: Any) -> Any:
        told.append(flow.double.suspend(command, ORDER))
        return told[0]

    flow.double.answers = [suspend, suspend]
    made = submit(flow)
    flow.dispatch()
    first = Interaction.objects.select_related("execution").get(execution=made)
    make_late(first)
    expire()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "AWAIT_TIMEOUT")
    return first, told[0]["awaitSuspension"]


def test_a_redriven_await_asks_again_under_fresh_ids_where_the_worker_has_no_new_ones(flow: Flow) -> None:
    """A worker that finds its old interaction in its memory gives it again (wire protocol F.5, appendix 3)."""
    first, suspension = asked_in_vain(flow)
    made = first.execution
    [old] = suspension["interactions"]
    for moment in ("createdAtEpochMs", "deadlineEpochMs"):
        old[moment] -= 7 * 24 * 3600 * 1000
    redrive(flow.owner, made.pk, actor="user:test", reason="ask again", allow_failed=True)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "WAITING_EXTERNAL", made.error_message
    assert AwaitUnit.objects.filter(execution=made).count() == 2
    second = Interaction.objects.get(execution=made, status="DISPATCHED")
    assert second.pk != first.pk
    assert second.deadline > timezone.now()
    answered(flow, second)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"


def test_a_redriven_await_goes_on_with_the_answer_that_its_worker_has_by_now(flow: Flow) -> None:
    first, suspension = asked_in_vain(flow)
    made = first.execution
    suspension["unit"].update(status="COMPLETED")
    suspension["interactions"][0].update(status="COMPLETED", responsePayload=DECISION)
    redrive(flow.owner, made.pk, actor="user:test", reason="ask again", allow_failed=True)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED", made.error_message
    first.refresh_from_db()
    assert (first.status, first.response) == ("TIMED_OUT", None)


# --- what the worker leaves to the coordinator ----------------------------------------------------


def left(flow: Flow, transport: str, **metadata: Any) -> Execution:
    def change(told: Any) -> None:
        told["interactions"][0].update(status="WAITING", transportType=transport, transportMetadata=metadata, version=0)

    return altered(flow, change)


def test_a_webhook_that_the_worker_did_not_send_is_sent(flow: Flow, settings: Any) -> None:
    settings.WEBHOOK_ALLOWED_NETWORKS = [ip_network("127.0.0.0/8")]
    with receiving() as receiver:
        made = left(flow, "webhook", url=receiver.url())
        assert webhooks.send()
        [sent] = receiver.requests
    assert made.status == "WAITING_EXTERNAL"
    assert sent.json["outputType"] == DTO + "RestaurantDecisionDto"
    interactions.resume(sent.json["resumeToken"], response=DECISION, actor="erp")
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"


def test_the_takeover_time_is_what_the_page_states() -> None:
    page = (Path(__file__).parents[2] / "docs" / "interoperation.md").read_text()
    assert f"another one calls again after {calls.lease_seconds():.0f} seconds" in page


def test_a_webhook_that_the_worker_sent_itself_is_not_sent_again(flow: Flow) -> None:
    made = altered(flow, lambda told: told["interactions"][0].update(transportType="webhook"))
    assert made.status == "WAITING_EXTERNAL"
    assert not webhooks.send()


def test_a_timer_runs_out_and_goes_on_with_what_it_was_given(flow: Flow) -> None:
    made = left(flow, "timer")
    asked = Interaction.objects.get(execution=made)
    make_late(asked)
    expire()
    made.refresh_from_db()
    assert (made.status, made.progress) == ("QUEUED", asked.request)


@pytest.mark.parametrize(("transport", "metadata"), [("webhook", {}), ("webhook", {"url": "file:///x"})])
def test_what_nobody_can_send_fails_the_execution(flow: Flow, transport: str, metadata: dict[str, Any]) -> None:
    made = left(flow, transport, **metadata)
    assert (made.status, made.error_code) == ("FAILED", "UNANSWERABLE_SUSPENSION")


def test_another_transport_is_the_workers_own_affair(flow: Flow) -> None:
    made = altered(flow, lambda told: told["interactions"][0].update(transportType="kafka"))
    asked = Interaction.objects.get(execution=made)
    assert (asked.transport, asked.status) == ("kafka", "DISPATCHED")
    interactions.complete(flow.owner, correlation_id=asked.correlation_id, response=DECISION, actor="bridge")
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "SUCCEEDED"
