import json
import uuid
from typing import Any

import pytest
from django.utils import timezone
from prometheus_client import REGISTRY

from executions.lifecycle import sweep
from executions.models import DeadLetter, Execution, Interaction, Worker
from executions.transports import rest, rest_messages
from executions.workers.tenant_keys import current_key, start_key
from foundation.exchange import TargetRefused
from governance.campaigns.selection import Filters, matching
from releases import policy
from tests import making
from tests.cases import cases
from tests.deaths import each_death
from tests.executions.transports.rest.order_flow import (
    DECISION,
    FAILED,
    PIPELINE,
    Flow,
    altered,
    answered,
    parked,
    submit,
)
from tests.executions.transports.rest.strict_worker import ENCODING, completed, result
from tests.raw_sql import raised
from tests.receiving import receiving
from wire.messages.celery_messages import TOLERANCE
from wire.messages.payload_envelopes import TypedPayload
from wire.messages.rest_messages import CAPABILITIES_PATH
from wire.worker_keys import check_signature


@cases(
    ("endpoint", "allowed"),
    ("https://worker.example:8443", True),
    ("https://worker.example:8443/base/", False),
    ("HTTPS://Worker.Example:8443", True),
    ("http://10.0.0.1", True),
    ("http://worker.example:8443", False),
    ("https://worker.example:8443@evil.example", False),
    ("https://sub.worker.example:8443", False),
    ("http://10.0.0.1:port", False),
    ("file:///etc/passwd", False),
    ("", False),
)
def test_only_allowed_origins_may_be_called(settings: Any, endpoint: str, allowed: bool) -> None:
    settings.REST_WORKER_ORIGINS = ["https://worker.example:8443", "http://10.0.0.1"]
    assert rest.may_call(endpoint) is allowed


def test_the_secrets_of_a_tenant_are_its_keys_or_the_shared_ones(settings: Any) -> None:
    owner = making.tenant()
    old = current_key(owner.slug)
    new = start_key(owner, actor="user:test")
    assert rest.secrets_of(owner.slug) == [new.text, old.text]
    assert not {*rest.secrets_of("b")} & {new.text, old.text}
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "shared", ["before"]
    assert rest.secrets_of(owner.slug) == ["shared", "before"]


def call(endpoint: str) -> int:
    return rest.call(endpoint, "acme", "POST", CAPABILITIES_PATH).status


@cases(
    ("responses", "status", "secrets"),
    *(([status], status, ["new"]) for status in (200, 403, 500)),
    ([401, 200], 200, ["new", "old"]),
    ([401], 401, ["new", "old"]),
)
def test_only_unauthorized_calls_are_repeated(settings: Any, responses: Any, status: int, secrets: Any) -> None:
    settings.REST_WORKER_SECRET, settings.REST_WORKER_SECRET_FALLBACKS = "new", ["old"]
    with receiving() as worker:
        settings.REST_WORKER_ORIGINS = ["http://worker.example"]
        raised(TargetRefused, call, worker.url(path=""))
        assert worker.requests == [], "its origin is not allowed"
        settings.REST_WORKER_ORIGINS = [worker.url(path="")]
        worker.statuses = [*responses]
        assert call(worker.url(path="")) == status
        for key, request in zip(secrets, worker.requests, strict=True):
            sent = (request.method, request.path, request.headers, b"")
            check_signature(key, *sent, now=timezone.now(), tolerance=TOLERANCE)


OUTPUT = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"ok"'}
FINAL, UNKNOWN = "NonRetryableException", "OUTCOME_UNKNOWN"
HTTP = "REST worker returned HTTP %d for execution ID with response body omitted"
MALFORMED = "REST worker returned malformed JSON for execution ID with HTTP 200 and response body omitted"


def failed(failure_class: str, message: str | None) -> dict[str, Any]:
    return result("FAILED", failure={"failureClass": failure_class, "message": message})


@cases(
    ("answer", "status", "code", "message"),
    (failed("org.pipelineframework.step." + FINAL, "too low"), "FAILED", FINAL, "too low"),
    (failed("org.acme.Final", None), "FAILED", FINAL, "org.acme.Final"),
    (failed("org.acme.Odd", "wrong"), "WAIT_RETRY", FAILED, "org.acme.Odd: wrong"),
    (
        completed(OUTPUT, OUTPUT),
        "WAIT_RETRY",
        "IllegalStateException",
        "Async queue execution ID produced 2 terminal items for SINGLE result shape",
    ),
)
def test_how_an_attempt_fails(flow: Flow, settings: Any, answer: Any, status: str, code: str, message: str) -> None:
    settings.REST_WORKER_NON_RETRYABLE = ["org.acme.Final"]
    made = flow.run(answer)
    assert (made.status, made.error_code) == (status, code)
    assert (made.error_message or "").replace(str(made.pk), "ID") == message
    reasons = [letter.reason for letter in DeadLetter.objects.filter(execution=made)]
    assert reasons == (["non_retryable"] if status == "FAILED" else [])


@cases(
    ("report", "stored"),
    (
        {"done": 2, "details": "[0,null,2]", "lines": [[1_800_000_000_000, "INFO", 0, None, "x"]]},
        (2, "[0, null, 2]"),
    ),
    ({"done": -1}, None),
    ("later", None),
)
def test_the_next_attempt_reads_what_steps_reported(flow: Flow, report: Any, stored: tuple[int, str] | None) -> None:
    """A report that cannot be read changes nothing about its outcome."""
    answer = result("FAILED", failure={"failureClass": "org.acme.Passing", "message": "m"}, stepReport=report)
    made = flow.run(answer)
    assert (made.status, made.attempt) == ("WAIT_RETRY", 1)
    assert flow.double.requests[0].headers["X-Pipelines-Reads-Reports"] == "1"
    done, heartbeat = stored or (0, "")
    assert [(report.done, len(report.lines)) for report in made.step_reports.all()] == [(done, 1)] * bool(stored)
    sent = rest_messages.command_of(made, rest_messages.payload_of(made))
    assert (sent.last_heartbeat, "lastHeartbeat" in sent.to_json()) == (heartbeat, bool(stored))


@cases(
    ("place", "members", "step", "text"),
    ("step", {}, 0, "wrong"),
    *(("step", {"failedStepIndex": unknown}, 0, "wrong") for unknown in (None, -1, 4)),
    ("step", {"failedStepIndex": 1, "failedCommandId": None}, 1, "wrong"),
    ("await", {"failedStepIndex": 2}, 3, "wrong"),
    ("step", {"failedStepIndex": 1, "failedCommandId": 'charge-"1"'}, 1, 'command "charge-\\"1\\"": wrong'),
)
def test_what_failed_is_named(flow: Flow, settings: Any, place: str, members: Any, step: int, text: str) -> None:
    """An earlier worker names none, and -1 means unknown. A step that the command does not run is unknown too."""
    settings.REST_WORKER_NON_RETRYABLE = ["org.acme.Final"]
    answer = result("FAILED", failure={"failureClass": "org.acme.Final", "message": "wrong", **members})
    if place == "await":
        made, question = parked(flow)
        answered(flow, question)
        flow.double.answers = [answer]
        flow.advance(made)
    else:
        made = flow.run(answer)
    assert (made.status, made.error_message) == ("FAILED", text)
    assert DeadLetter.objects.get(execution=made).failed_step_index == step


PAGE = {"consumedRecords": 2, "nextCheckpoint": "c-2", "exhausted": False}


@cases("page", [PAGE, {**PAGE, "nextCheckpoint": None, "exhausted": True}])
@cases("outcome", ["COMPLETED", "WAITING_EXTERNAL"])
def test_a_page_is_never_recorded_as_the_full_result(flow: Flow, page: dict[str, Any], outcome: str) -> None:
    if outcome == "COMPLETED":
        made = flow.run({**completed(OUTPUT), "pageCompletion": page})
    else:
        made = altered(flow, lambda suspension: suspension.update(pageCompletion=page))
    assert (made.status, made.error_code, made.result) == ("FAILED", "PAGED_SOURCE_UNSUPPORTED", None)


def test_unknown_members_are_accepted_and_counted(flow: Flow, caplog: pytest.LogCaptureFixture) -> None:
    def count(message: str) -> float:
        return REGISTRY.get_sample_value("coordinator_unknown_members_total", {"message": message}) or 0.0

    name, before = uuid.uuid4().hex, (count("result"), count("capabilities"))
    with caplog.at_level("INFO", "executions.transports.rest"):
        flow.double.capabilities = {"surprise": 1}
        flow.check()
        made = flow.run({**completed({**OUTPUT, name: "1"}), "pageCompletion": None, name: {"a": 1}})
    assert made.status == "SUCCEEDED"
    assert (count("result"), count("capabilities")) == (before[0] + 2, before[1] + 1)
    assert caplog.messages[-1:] == [f"Ignored the unknown member '{name}' of a REST worker's result"]
    assert rest_messages.outputs(made.pk) == [TypedPayload.model_validate(OUTPUT)]


@cases(
    ("fault", "code", "message"),
    ("500 secret text", FAILED, HTTP % 500),
    ("503 not now", FAILED, HTTP % 503),
    ("redirect", FAILED, HTTP % 307),
    *((f"{status} from a gateway", UNKNOWN, HTTP % status) for status in (502, 504, 520, 522, 524, 598, 599)),
    ("200 <html>", FAILED, MALFORMED),
    ('200 {"outcome":"COMPLETED","surprise":1,"failure":{}}', FAILED, MALFORMED),
    (f"200 {json.dumps({**completed(), 'terminalInputPassthrough': True})}", FAILED, MALFORMED),
    ("huge", FAILED, MALFORMED),
    ("200 null", FAILED, "REST worker returned an empty result for execution ID"),
    ("drop", UNKNOWN, "REST worker: the exchange failed (ConnectionResetError)"),
    ("slow", UNKNOWN, "REST worker: no complete response in time"),
)
@cases("repeats", [False, True])
def test_only_a_refused_call_is_retried_unless_the_policy_repeats_unknown_outcomes(
    flow: Flow, settings: Any, monkeypatch: pytest.MonkeyPatch, fault: str, code: str, message: str, repeats: bool
) -> None:
    settings.REST_WORKER_TIMEOUT_SECONDS = 0.5
    monkeypatch.setattr(rest, "MAX_ANSWER_BYTES", 100_000)
    policy.change(flow.release.pipeline, {"repeatUnknownOutcomes": repeats}, actor="user:eva")
    made = flow.run(fault=fault)
    is_final = code == UNKNOWN and not repeats
    assert (made.status, made.attempt) == (("FAILED", 0) if is_final else ("WAIT_RETRY", 1))
    assert made.error_code == code
    assert (made.error_message or "").replace(str(made.pk), "ID") == message
    assert not any(request.path.endswith("/elsewhere") for request in flow.double.requests)
    letters = DeadLetter.objects.filter(execution=made).values_list("reason", "retryable")
    assert list(letters) == ([("outcome_unknown", False)] if is_final else [])
    selected = matching(flow.owner, Filters(reason=DeadLetter.Reason.OUTCOME_UNKNOWN), allow_failed=True)
    assert selected.contains(made) is is_final


@cases("repeats", [False, True])
def test_a_call_whose_process_died_has_an_unknown_outcome(flow: Flow, repeats: bool) -> None:
    policy.change(flow.release.pipeline, {"repeatUnknownOutcomes": repeats}, actor="user:eva")
    made = submit(flow, f"k-{repeats}")
    claim = flow.claim()
    next(each_death(lambda: flow.call(claim), text="json_to_recordset"))
    assert sweep.expire_leases() == 0
    Execution.objects.update(lease_expires_at=making.LONG_AGO)
    assert (sweep.expire_leases(), sweep.expire_leases()) == (1, 0)
    assert (making.reread(made).status, made.error_code) == ("WAIT_RETRY" if repeats else "FAILED", UNKNOWN)
    assert len(flow.double.commands) == 1 + repeats, "each subtest makes one call"


def test_an_unreachable_worker_is_retried(flow: Flow, settings: Any) -> None:
    made = submit(flow)
    settings.REST_WORKER_ORIGINS = ["http://127.0.0.1:1"]
    Worker.objects.filter(pk=flow.worker.pk).update(endpoint="http://127.0.0.1:1")
    flow.advance(made)
    assert (made.status, made.error_code) == ("WAIT_RETRY", "ConnectException")


def test_an_answer_to_a_final_await_is_the_result(flow: Flow) -> None:
    """The result is the command's payload, not the execution's input."""
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
