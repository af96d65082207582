"""Calls of REST workers that fail, and results that are malformed (wire protocol D)."""

import json
from typing import Any

from executions.lifecycle import provenance
from executions.lifecycle import rest_calls as rest_dispatch
from executions.lifecycle.sweep import expire_leases
from executions.models import DeadLetter, Execution, Interaction, Worker
from executions.transports.rest import calls, transport
from executions.transports.rest.workers import register
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import DECISION, FAILED, PIPELINE, Flow, answered, misbehaved, submit
from tests.executions.transports.rest.strict_worker import ENCODING, completed, result
from tests.raw_sql import run


def test_a_non_retryable_failure_is_not_retried(flow: Flow) -> None:
    made = submit(flow, amount=-1)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("FAILED", "NonRetryableException")
    assert made.error_message == "the amount is negative"
    assert DeadLetter.objects.get(execution=made).reason == "non_retryable"


def test_settings_add_non_retryable_classes(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_NON_RETRYABLE = ["org.acme.Final"]
    flow.double.answers = [result("FAILED", failure={"failureClass": "org.acme.Final", "message": None})]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_message) == ("FAILED", "org.acme.Final")


def test_several_outputs_for_a_single_result_are_retried(flow: Flow) -> None:
    one = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"ok"'}
    flow.double.answers = [completed(one, one)]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert made.status == "WAIT_RETRY"
    message = f"Async queue execution {made.pk} produced 2 terminal items for SINGLE result shape"
    assert made.error_message == message


@cases(
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
def test_an_invalid_response_is_retried(flow: Flow, settings: Any, fault: str, code: str, message: str) -> None:
    settings.REST_WORKER_TIMEOUT_SECONDS = 0.5
    assert misbehaved(flow, fault) == (code, message)
    assert not any(request.path.endswith("/elsewhere") for request in flow.double.requests)


def test_a_response_that_is_too_large_is_not_read_completely(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_MAX_ANSWER_BYTES = 100_000
    code, message = misbehaved(flow, "huge")
    assert (code, "malformed JSON" in (message or "")) == (FAILED, True)


def test_an_unreachable_worker_is_retried(flow: Flow, settings: Any) -> None:
    made = submit(flow)
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    flow.worker.endpoint = "http://127.0.0.1:1"
    flow.worker.save()
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("WAIT_RETRY", "ConnectException")


def test_a_call_to_a_worker_of_another_release_is_retried(flow: Flow) -> None:
    made = submit(flow)
    flow.double.release_version = "9.9"
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.error_code) == ("WAIT_RETRY", FAILED)
    assert (made.error_message or "").startswith(
        f"java.lang.IllegalArgumentException: Transition command targets pipelineId={PIPELINE}, "
    )


def test_a_call_without_an_outcome_names_no_code(flow: Flow, settings: Any) -> None:
    [artifact] = flow.release.artifacts.all()
    Worker.objects.filter(pk=flow.worker.pk).update(artifact_digest=artifact.digest)
    settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 0, 0
    flow.double.answers = [result("FAILED", failure={"failureClass": "org.acme.Busy", "message": None}), []]
    made = submit(flow)
    for _ in range(3):
        flow.dispatch()
    made.refresh_from_db()
    parts = provenance.runs(made).entries
    reported = [(part["worker"], part["artifactDigest"], part["findings"], part["steps"]) for part in parts]
    named: tuple[Any, ...] = ("java-1", artifact.digest, ["ARTIFACT_AS_REGISTERED", "ENVIRONMENT_NOT_REPORTED"], [])
    unnamed: tuple[Any, ...] = ("java-1", None, ["ARTIFACT_NOT_REPORTED", "ENVIRONMENT_NOT_REPORTED"], [])
    assert reported == [named, unnamed, named]
    assert all(part["startedAt"] <= part["endedAt"] for part in parts)


def test_an_outcome_after_the_lease_was_lost_is_dropped(flow: Flow) -> None:
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
    # A takeover changes the version, but not the attempt or the key (wire protocol E.4).
    [command] = flow.double.commands
    assert (command["executionVersion"], command["transitionKey"]) == (3, f"{made.pk}:0:0")


def test_an_answer_to_a_final_await_is_the_result(flow: Flow) -> None:
    """The result is the command's payload, not the execution's input (wire protocol D.9)."""
    steps = [making.STEP, {**making.STEP, "index": 1, "authoredName": "Await It", "kind": "await"}]
    release = making.active(flow.owner, "3.0", pipeline_id=PIPELINE, steps=steps)
    flow.double.contract_version, flow.double.release_version = release.contract_version, "3.0"
    register(
        flow.owner, release.identity, worker_id="java-1", protocol="rest", endpoint=flow.double.endpoint, actor="t"
    )
    flow.check()

    def suspend(command: Any) -> Any:
        response = flow.double.suspend(command, {"requestId": "r"})
        text = json.dumps(response).replace('"stepIndex": 2', '"stepIndex": 1')
        return json.loads(text)

    flow.double.answers = [suspend, {**completed(), "terminalInputPassthrough": True}]
    made = submit(flow)
    flow.dispatch()
    answered(flow, Interaction.objects.get(execution=made))
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, made.result) == ("SUCCEEDED", [DECISION])


def test_a_passthrough_before_the_last_step_is_malformed(flow: Flow) -> None:
    flow.double.answers = [{**completed(), "terminalInputPassthrough": True}]
    made = submit(flow)
    flow.dispatch()
    made.refresh_from_db()
    assert (made.status, "malformed JSON" in (made.error_message or "")) == ("WAIT_RETRY", True)
