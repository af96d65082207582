"""Calls of REST workers that fail, and results that are malformed (wire protocol D)."""

import json
from typing import Any

import pytest

from executions.lifecycle import provenance
from executions.models import DeadLetter, Interaction, Worker
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import DECISION, FAILED, PIPELINE, Flow, answered, submit
from tests.executions.transports.rest.strict_worker import ENCODING, completed, result

pytestmark = pytest.mark.django_db
OUTPUT = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"ok"'}
FINAL = "NonRetryableException"
HTTP = "REST transition worker returned HTTP %d for execution ID with response body omitted"
MALFORMED = "REST transition worker returned malformed JSON for execution ID with HTTP 200 and response body omitted"


def failed(failure_class: str, message: str | None) -> dict[str, Any]:
    return result("FAILED", failure={"failureClass": failure_class, "message": message})


@cases(
    ("answer", "status", "code", "message"),
    [
        (failed("org.pipelineframework.step." + FINAL, "too low"), "FAILED", FINAL, "too low"),
        (failed("org.acme.Final", None), "FAILED", FINAL, "org.acme.Final"),
        (failed("org.acme.Odd", "wrong"), "WAIT_RETRY", FAILED, "org.acme.Odd: wrong"),
        (
            completed(OUTPUT, OUTPUT),
            "WAIT_RETRY",
            "IllegalStateException",
            "Async queue execution ID produced 2 terminal items for SINGLE result shape",
        ),
        ({**completed(), "terminalInputPassthrough": True}, "WAIT_RETRY", FAILED, MALFORMED),
    ],
)
def test_a_reported_failure_or_impossible_result_fails_the_attempt(
    flow: Flow, settings: Any, answer: dict[str, Any], status: str, code: str, message: str
) -> None:
    settings.REST_WORKER_NON_RETRYABLE = ["org.acme.Final"]
    made = flow.run(answer)
    assert (made.status, made.error_code) == (status, code)
    assert (made.error_message or "").replace(str(made.pk), "ID") == message
    reasons = [letter.reason for letter in DeadLetter.objects.filter(execution=made)]
    assert reasons == (["non_retryable"] if status == "FAILED" else [])


@cases(
    ("fault", "code", "message"),
    [
        ("500 secret text", FAILED, HTTP % 500),
        ("redirect", FAILED, HTTP % 307),
        ("200 <html>", FAILED, MALFORMED),
        ('200 {"outcome":"COMPLETED","surprise":1}', FAILED, MALFORMED),
        ("huge", FAILED, MALFORMED),
        ("200 null", FAILED, "REST transition worker returned an empty result for execution ID"),
        ("drop", "IOException", "REST transition worker: the exchange failed (ConnectionResetError)"),
        ("slow", "HttpTimeoutException", "REST transition worker: no complete response in time"),
    ],
)
def test_an_invalid_response_is_retried(flow: Flow, settings: Any, fault: str, code: str, message: str) -> None:
    settings.REST_WORKER_TIMEOUT_SECONDS, settings.REST_WORKER_MAX_ANSWER_BYTES = 0.5, 100_000
    made = flow.run(fault=fault)
    assert (made.status, made.attempt, made.error_code) == ("WAIT_RETRY", 1, code)
    assert (made.error_message or "").replace(str(made.pk), "ID") == message
    assert not any(request.path.endswith("/elsewhere") for request in flow.double.requests)


def test_an_unreachable_worker_is_retried(flow: Flow, settings: Any) -> None:
    made = submit(flow)
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    Worker.objects.filter(pk=flow.worker.pk).update(endpoint="http://127.0.0.1:1")
    flow.advance(made)
    assert (made.status, made.error_code) == ("WAIT_RETRY", "ConnectException")


def test_a_call_without_an_outcome_names_no_code(flow: Flow, settings: Any) -> None:
    [artifact] = flow.release.artifacts.all()
    Worker.objects.filter(pk=flow.worker.pk).update(artifact_digest=artifact.digest)
    settings.RETRY_DELAY_SECONDS, settings.RETRY_JITTER = 0, 0
    made = flow.run(failed("org.acme.Busy", None), [])
    parts = provenance.runs(made).entries
    reported = [(part["worker"], part["artifactDigest"], part["findings"], part["steps"]) for part in parts]
    named: tuple[Any, ...] = ("java-1", artifact.digest, ["ARTIFACT_AS_REGISTERED", "ENVIRONMENT_NOT_REPORTED"], [])
    unnamed: tuple[Any, ...] = ("java-1", None, ["ARTIFACT_NOT_REPORTED", "ENVIRONMENT_NOT_REPORTED"], [])
    assert reported == [named, unnamed, named]
    assert all(part["startedAt"] <= part["endedAt"] for part in parts)


def test_an_answer_to_a_final_await_is_the_result(flow: Flow) -> None:
    """The result is the command's payload, not the execution's input (wire protocol D.9)."""
    steps = [making.STEP, {**making.STEP, "index": 1, "authoredName": "Await It", "kind": "await"}]
    flow.host(making.active(flow.owner, "3.0", pipeline_id=PIPELINE, steps=steps))
    flow.check()

    def suspend(command: Any) -> Any:
        response = json.dumps(flow.double.suspend(command, {"requestId": "r"}))
        return json.loads(response.replace('"stepIndex": 2', '"stepIndex": 1'))

    made = flow.run(suspend, {**completed(), "terminalInputPassthrough": True})
    answered(flow, Interaction.objects.get(execution=made))
    flow.advance(made)
    assert (made.status, made.result) == ("SUCCEEDED", [DECISION])
