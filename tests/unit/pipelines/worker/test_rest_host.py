import hashlib
import json
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from examples.orders.pipeline import pipeline as orders
from pipelines.authoring.compiler import compile_contract
from pipelines.authoring.definition import Pipeline
from pipelines.worker import outcomes, rest_host
from pipelines.worker.hosted_release import HostedRelease
from pipelines.worker.printed import printed_lines
from pipelines.worker.rest_host import Crowded, Nonces, RestHost
from tests.cases import cases
from tests.docs import examples
from tests.interop.stored import VERSIONS, message, names, unread
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.worker.conftest import released
from tests.unit.pipelines.worker.rest_calls import (
    CAPABILITIES,
    EXECUTE,
    EXECUTION,
    SECRET,
    command,
    executed,
    listening,
    payload,
    pin,
    signed,
)
from wire.identity import ReleaseIdentity

SNAPSHOT = "org.pipelineframework.orchestrator.ExecutionInputSnapshot"
TYPES = "examples.orders.pipeline."
ORDER = {"request_id": "r1", "customer": "eva", "lines": [{"dish": "soup", "quantity": 2, "price": "4.50"}]}
LATER = {"redriveIntent": "REPLAY", "redriveStepIndex": -1, "redriveCommandId": None, "redriveReason": None}
PAGE = {"pageIndex": 0, "sourceIdentity": "s", "startCheckpoint": None, "maxRecords": 1, "suspendedCompletion": None}
REISSUE = {**LATER, "redriveIntent": "REISSUE_COMMAND", "redriveCommandId": "c", "redriveReason": "lost"}
DECISION = {"order_id": str(uuid.uuid4()), "accepted": True, "note": ""}


def hosted(pipeline: Pipeline) -> RestHost:
    contract = compile_contract(pipeline)["contractVersion"]
    identity = ReleaseIdentity("acme", pipeline.pipeline_id, contract, "1.0")
    return RestHost(HostedRelease(pipeline, identity, "app", "sha256:1"), secret=SECRET)


@pytest.fixture
def host() -> RestHost:
    return hosted(orders)


def uni(value: Any, type_id: str = TYPES + "OrderRequest") -> dict[str, str]:
    return payload(SNAPSHOT, {"shape": "UNI", "payload": payload(type_id, value), "items": []})


def ran(host: RestHost, envelope: dict[str, str], **members: Any) -> Any:
    answer = executed(host, command(host.release.identity, envelope, **members))
    assert set(answer) == {
        "outcome", "outputPayloads", "awaitSuspension", "failure", "terminalOutputPublished",
        "terminalInputPassthrough",
    }  # fmt: skip
    return answer


def test_a_request_needs_a_signature_of_its_path_and_body_and_a_nonce_that_is_new_on_both_paths(host: RestHost) -> None:
    """`unit/wire/messages/test_rest_messages.py` has every part of a signature."""
    nonce = {"X-TPF-Worker-Nonce": "one"}
    body = command(host.release.identity, uni(ORDER))
    wrong = {**signed("GET", CAPABILITIES, b"", **nonce), "X-TPF-Worker-Signature": "0" * 64}
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    old = signed("GET", CAPABILITIES, b"", **nonce, **{"X-TPF-Worker-Timestamp": yesterday})
    headers = signed("POST", EXECUTE, body, **nonce)
    assert [host.respond("GET", CAPABILITIES, invalid, b"") for invalid in (wrong, old)] == [(401, b"")] * 2
    assert host.respond("POST", EXECUTE, headers, body + b" ") == (401, b"")
    assert host.respond("GET", CAPABILITIES, headers, body) == (401, b"")
    lower = {name.lower(): value for name, value in signed("GET", CAPABILITIES, b"", **nonce).items()}
    assert host.respond("GET", CAPABILITIES, lower, b"")[0] == 200
    assert host.respond("POST", EXECUTE, headers, body)[0] == 401


def test_no_nonce_is_forgotten_while_its_request_is_fresh(host: RestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest_host, "MOST_NONCES", 10)
    nonces, now = Nonces(timedelta(minutes=2)), datetime.now(UTC)
    assert all(nonces.is_new(str(number), now + timedelta(seconds=number), now) for number in range(10))
    for seconds in (0, 61, 120):
        assert not nonces.is_new("0", now, now + timedelta(seconds=seconds)), seconds
        with pytest.raises(Crowded):
            nonces.is_new("more", now, now + timedelta(seconds=seconds))
    later = now + timedelta(seconds=121)
    assert nonces.is_new("more", later, later), "the request of the oldest nonce is no longer accepted"
    assert not nonces.is_new("1", later, later)
    monkeypatch.setattr(rest_host, "MOST_NONCES", 1)
    with listening(host) as (_, url):
        answers = [
            requests.get(url + CAPABILITIES, headers=signed("GET", CAPABILITIES, b""), timeout=10) for _ in range(2)
        ]
    assert [(answer.status_code, answer.headers.get("Retry-After")) for answer in answers] == [(200, None), (503, "10")]


def test_a_command_that_differs_in_one_part_of_the_identity_fails_before_its_payload_is_read(host: RestHost) -> None:
    for part in ("pipelineId", "contractVersion", "releaseVersion"):
        answer = ran(host, payload("com.acme.Nothing", 1), **{part: "another"})
        assert answer["failure"]["failureClass"] == "java.lang.IllegalArgumentException"
        assert f"{part}=another" in answer["failure"]["message"]


def test_a_later_coordinator_learns_which_step_failed_and_an_earlier_one_gets_what_it_knows(host: RestHost) -> None:
    wrong = uni({**ORDER, "lines": []})
    for members, failed in (
        ({}, {}),
        (LATER, {"failedStepIndex": 0}),
        ({**LATER, "pageContext": None}, {"failedStepIndex": 0}),
    ):
        failure = ran(host, wrong, **members)["failure"]
        assert failure.pop("message").endswith('step "Validate order": order r1 names no dish')
        assert failure == {"failureClass": "org.pipelineframework.step.NonRetryableException", **failed}
    assert ran(host, wrong, **LATER, releaseVersion="2.0")["failure"]["failedStepIndex"] == -1, "no step ran"


def test_a_command_for_effects_or_pages_runs_no_step(host: RestHost) -> None:
    retry = {**LATER, "redriveIntent": "RETRY_FAILED_COMMAND", "redriveCommandId": "c", "redriveStepIndex": 0}
    for members, code in (
        (REISSUE, "COMMAND_REDRIVE_UNSUPPORTED"),
        (retry, "COMMAND_REDRIVE_UNSUPPORTED"),
        ({**LATER, "pageContext": PAGE}, "PAGED_SOURCE_UNSUPPORTED"),
    ):
        failure = ran(host, uni(ORDER), **members)["failure"]
        assert failure["failureClass"] == "org.pipelineframework.step.NonRetryableException"
        assert failure["message"].startswith(f"{code}: a pipeline in Python has no")
        assert failure["failedStepIndex"] == -1
    assert ran(host, uni(ORDER), **LATER)["outcome"] == "WAITING_EXTERNAL"


def test_contradictions_are_refused_but_unknown_members_read(host: RestHost, caplog: pytest.LogCaptureFixture) -> None:
    body = command(host.release.identity, uni(ORDER), **{**REISSUE, "redriveReason": " "})
    assert host.respond("POST", EXECUTE, signed("POST", EXECUTE, body), body) == (400, b"")
    with caplog.at_level("INFO", "pipelines.failures"):
        for _ in range(2):
            envelope = payload(SNAPSHOT, {"shape": "UNI", "payload": payload(TYPES + "OrderRequest", ORDER), "more": 1})
            assert ran(host, envelope, surprise={"a": 1}, stopBeforeStepIndex=-2)["outcome"] == "WAITING_EXTERNAL"
    assert caplog.messages[1:] == [f"Ignored the unknown member '{name}' of a command" for name in ("surprise", "more")]


def test_a_result_that_no_coordinator_would_read_is_a_failure(host: RestHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "LONGEST_OUTCOME", 1000)
    answer = ran(host, uni({**ORDER, "customer": "x" * 1000}), stopBeforeStepIndex=0)
    assert "OUTPUT_TOO_LARGE: the outcome has" in answer["failure"]["message"]


def test_a_bare_list_is_a_stream_of_its_items(host: RestHost) -> None:
    decisions = [{"order_id": str(uuid.uuid4()), "accepted": accepted, "note": ""} for accepted in (True, False)]
    items = [payload(TYPES + "Decision", decision) for decision in decisions]
    answer = ran(host, payload("java.util.List", {"items": items}), currentStepIndex=3)
    assert [json.loads(output["payload"])["state"] for output in answer["outputPayloads"]] == ["ACCEPTED", "REJECTED"]


def test_a_request_with_its_answer_is_one_value_and_a_list_of_them_is_a_stream(author: Author) -> None:
    ask = "pipeline.awaits('Ask', request=int, response=bool, timeout=timedelta(hours=1))\n"
    pipeline = author.pipeline(f"{ask}@pipeline.step\ndef tell(n: int, yes: bool) -> str:\n    return f'{{n}} {{yes}}'")
    host = hosted(pipeline)
    pairs = [payload("Ask#request-and-answer", {"request": n, "answer": n > 1}) for n in (1, 2)]
    for envelope, expected in (
        (pairs[1], ["2 True"]),
        (payload("java.util.List", {"items": pairs}), ["1 False", "2 True"]),
    ):
        outputs = ran(host, envelope, currentStepIndex=1)["outputPayloads"]
        assert [json.loads(output["payload"]) for output in outputs] == expected


def test_results_of_branches_are_one_value_and_a_condition_asks_or_not(author: Author) -> None:
    host = hosted(author.pipeline(examples.of("docs/how-to/run-branches.md")[0]))
    results_of_branches = {"price": {"sku": "a", "total": "9.50", "days": 0}, "delivery": 2}
    pair = {"request": {"sku": "a", "total": "9.50", "days": 2}, "answer": None}
    sold = ["sold a for 9.50, delivered in 2 days"]
    for type_id, value, start, stop, expected in (
        ("authored.Order", {"sku": "a", "quantity": 1}, 0, 1, ("COMPLETED", [results_of_branches])),
        ("Price and delivery#branches", results_of_branches, 1, -1, ("COMPLETED", sold)),
        ("authored.Order", {"sku": "a", "quantity": 1_000}, 0, -1, ("WAITING_EXTERNAL", [])),
        ("Approve#request-and-answer", pair, 3, -1, ("COMPLETED", sold)),
    ):
        envelope = payload(type_id, value) if start else uni(value, type_id)
        answer = ran(host, envelope, currentStepIndex=start, stopBeforeStepIndex=stop)
        assert (answer["outcome"], [json.loads(output["payload"]) for output in answer["outputPayloads"]]) == expected


def test_it_suspends_at_an_await(host: RestHost) -> None:
    answer = ran(host, uni(ORDER))
    assert (answer["outcome"], answer["outputPayloads"], answer["failure"]) == ("WAITING_EXTERNAL", [], None)
    suspension = answer["awaitSuspension"]
    unit, [interaction] = suspension["unit"], suspension["interactions"]
    step_id = "ProcessAwaitRestaurantDecisionService"
    name = hashlib.md5(f"acme:{EXECUTION}:{step_id}:2".encode()).digest()
    assert unit["unitId"] == suspension["unitId"] == interaction["unitId"] == str(uuid.UUID(bytes=name, version=3))
    assert unit["primaryInteractionId"] == interaction["interactionId"]
    assert (suspension["stepIndex"], unit["stepId"], interaction["outputType"]) == (2, step_id, TYPES + "Decision")
    assert interaction["requestPayload"]["dishes"] == ["soup"]
    assert interaction["requestPayload"]["total"] == "9.00"
    assert interaction["deadlineEpochMs"] - interaction["createdAtEpochMs"] == 30 * 60 * 1000
    again = ran(host, uni(ORDER))["awaitSuspension"]
    assert again["interactions"][0]["correlationId"] == interaction["correlationId"]


SAYING = """
from pipelines import Pipeline, StepContext

pipeline = Pipeline("tests.saying.rest")


@pipeline.step
def say(number: int, context: StepContext) -> int:
    if number:
        print("after", context.last_heartbeat, end="")
        context.heartbeat(number)
        context.progress(number, 9)
    return 1 // (number - 2)
"""


@pytest.mark.parametrize(("number", "outcome"), [(0, "COMPLETED"), (1, "COMPLETED"), (2, "FAILED")])
def test_what_a_step_reports_comes_with_the_result_if_the_coordinator_reads_it(
    tmp_path: Path, number: int, outcome: str
) -> None:
    with released(tmp_path, SAYING) as saying, printed_lines(copies=True):
        release = saying.host().release
        host = RestHost(release, secret=SECRET)
        body = command(release.identity, payload("java.lang.Integer", number), lastHeartbeat="[0,null,7]")
        answers = [executed(host, body, **headers) for headers in ({}, {"X-Pipelines-Reads-Reports": "1"})]
    assert [answer["outcome"] for answer in answers] == [outcome] * 2
    report = answers[1].pop("stepReport", None)
    assert answers[0] == answers[1]
    if report is not None:
        report["lines"] = [line[1:] for line in report["lines"]]
    said = {"done": number, "total": 9, "message": "", "details": f"[0,null,{number}]"}
    assert report == ({**said, "lines": [["INFO", 0, None, "after 7"]]} if number else None)


def inputs(version: str, value: Any, type_id: str = TYPES + "OrderRequest") -> list[dict[str, str]]:
    """Return `value` as each input that a coordinator of the version sends."""
    envelope = payload(type_id, value)
    return [payload(SNAPSHOT, message(version, name, payload=envelope)) for name in names(version, "snapshot")]


def ran_version(host: RestHost, version: str, name: str, envelope: dict[str, str]) -> Any:
    release = pin(host.release.identity)
    sent = message(version, name, tenantId="acme", executionId=EXECUTION, **release, **envelope)
    result = executed(host, json.dumps(sent).encode())
    assert unread(version, "result", result) == [], (version, name)
    return result


@cases("version", VERSIONS)
def test_each_version_reads_the_results_of_its_commands(host: RestHost, version: str) -> None:
    _, hosted = host.respond("GET", CAPABILITIES, signed("GET", CAPABILITIES, b""), b"")
    assert unread(version, "capabilities", json.loads(hosted)) == []
    for envelope in inputs(version, ORDER):
        assert ran_version(host, version, "command", envelope)["outcome"] == "WAITING_EXTERNAL"
    decision = payload(TYPES + "Decision", DECISION)
    assert ran_version(host, version, "command-resumed", decision)["outcome"] == "COMPLETED"
    failures = {"command": "names no dish", "command-page": "PAGED_SOURCE_UNSUPPORTED"}
    failures |= dict.fromkeys(("command-retry", "command-reissue"), "COMMAND_REDRIVE_UNSUPPORTED")
    for name in set(names(version, "command")) - {"command-resumed"}:
        failure = ran_version(host, version, name, inputs(version, {**ORDER, "lines": []})[0])["failure"]
        assert failures[name] in failure["message"]
        assert failure.get("failedStepIndex") == (None if version == "august" else 0 if name == "command" else -1)
