import hashlib
import hmac
import json
import socket
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests

from examples.orders.pipeline import pipeline as orders
from pipelines.authoring.compiler import compile_contract
from pipelines.worker import outcomes, rest_host
from pipelines.worker.hosted_release import HostedRelease
from pipelines.worker.printed import printed_lines
from pipelines.worker.rest_host import HEALTH_PATH, Crowded, Nonces, RestHost
from pipelines.worker.rest_worker import IDLE_SECONDS, Server
from pipelines.worker.supervision import Supervisor
from tests.cases import cases
from tests.docs.commands import FENCE, text_of
from tests.http_server import in_a_thread
from tests.interop.stored import VERSIONS, message, names, unread
from tests.running import eventually
from tests.unit.pipelines.conftest import Author
from tests.unit.pipelines.worker.conftest import LIMITED_SOURCE, Hosted, released
from wire.identity import ReleaseIdentity

SECRET = "worker-secret-of-acme"
EXECUTE, CAPABILITIES = "/pipeline/worker/transitions/execute", "/pipeline/worker/capabilities"
ENCODING = "application/tpf-transition+json"
SNAPSHOT = "org.pipelineframework.orchestrator.ExecutionInputSnapshot"
CONTRACT = compile_contract(orders)["contractVersion"]
IDENTITY = ReleaseIdentity("acme", orders.pipeline_id, CONTRACT, "1.0")
TYPES = "examples.orders.pipeline."
EXECUTION = "9c485e0a-c86a-4657-9a8c-01efde1759a5"
ORDER = {"request_id": "r1", "customer": "eva", "lines": [{"dish": "soup", "quantity": 2, "price": "4.50"}]}
LATER = {"redriveIntent": "REPLAY", "redriveStepIndex": -1, "redriveCommandId": None, "redriveReason": None}
PAGE = {"pageIndex": 0, "sourceIdentity": "s", "startCheckpoint": None, "maxRecords": 1, "suspendedCompletion": None}
REISSUE = {**LATER, "redriveIntent": "REISSUE_COMMAND", "redriveCommandId": "c", "redriveReason": "lost"}
DECISION = {"order_id": str(uuid.uuid4()), "accepted": True, "note": ""}


@pytest.fixture
def host() -> RestHost:
    return RestHost(HostedRelease(orders, IDENTITY, "app", "sha256:1"), secret=SECRET)


def signed(method: str, path: str, body: bytes, **changes: str) -> dict[str, str]:
    """Return the headers of a request, computed from the protocol without product code."""
    headers = {
        "X-TPF-Worker-Timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        "X-TPF-Worker-Nonce": str(uuid.uuid4()),
        **changes,
    }
    digest = hashlib.sha256(body).hexdigest()
    canonical = f"{method}\n{path}\n{headers['X-TPF-Worker-Timestamp']}\n{headers['X-TPF-Worker-Nonce']}\n{digest}"
    signature = hmac.new(SECRET.encode(), canonical.encode(), hashlib.sha256).hexdigest()
    return {"X-TPF-Worker-Signature": signature, **headers}


def payload(type_id: str, value: Any) -> dict[str, str]:
    return {"payloadTypeId": type_id, "payloadEncoding": ENCODING, "payload": json.dumps(value)}


def uni(value: Any) -> dict[str, str]:
    return payload(SNAPSHOT, {"shape": "UNI", "payload": payload(TYPES + "OrderRequest", value), "items": []})


def command(envelope: dict[str, str], **members: Any) -> dict[str, Any]:
    return {
        **{"tenantId": "acme", "executionId": EXECUTION, "executionVersion": 1},
        **{"pipelineId": orders.pipeline_id, "contractVersion": CONTRACT, "releaseVersion": "1.0"},
        **{"currentStepIndex": 0, "stopBeforeStepIndex": -1, "attempt": 0, "resultShape": "SINGLE"},
        **dict.fromkeys(["transitionKey", "traceId"], f"{EXECUTION}:0:0"),
        **envelope,
        **members,
    }


def ran(host: RestHost, envelope: dict[str, str], **members: Any) -> Any:
    body = json.dumps(command(envelope, **members)).encode()
    status, text = host.respond("POST", EXECUTE, signed("POST", EXECUTE, body), body)
    assert status == 200
    answer = json.loads(text)
    assert set(answer) == {
        "outcome", "outputPayloads", "awaitSuspension", "failure", "terminalOutputPublished",
        "terminalInputPassthrough",
    }  # fmt: skip
    return answer


def test_a_request_needs_a_signature_of_its_path_and_body_and_a_nonce_that_is_new_on_both_paths(host: RestHost) -> None:
    """`unit/wire/messages/test_rest_messages.py` has every part of a signature."""
    nonce = {"X-TPF-Worker-Nonce": "one"}
    body = json.dumps(command(uni(ORDER))).encode()
    wrong = {**signed("GET", CAPABILITIES, b"", **nonce), "X-TPF-Worker-Signature": "0" * 64}
    yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    old = signed("GET", CAPABILITIES, b"", **nonce, **{"X-TPF-Worker-Timestamp": yesterday})
    headers = signed("POST", EXECUTE, body, **nonce)
    assert [host.respond("GET", CAPABILITIES, each, b"") for each in (wrong, old)] == [(401, b"")] * 2
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
    with listening(host) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}{CAPABILITIES}"
        answers = [requests.get(url, headers=signed("GET", CAPABILITIES, b""), timeout=10) for _ in range(2)]
    assert [(each.status_code, each.headers.get("Retry-After")) for each in answers] == [(200, None), (503, "10")]


def test_a_command_that_differs_in_one_part_of_the_identity_fails_before_its_payload_is_read(host: RestHost) -> None:
    for part in ("pipelineId", "contractVersion", "releaseVersion"):
        answer = ran(host, payload("com.acme.Nothing", 1), **{part: "another"})
        assert answer["failure"]["failureClass"] == "java.lang.IllegalArgumentException"
        assert f"{part}=another" in answer["failure"]["message"]


def test_a_later_coordinator_learns_which_step_failed_and_an_earlier_one_gets_what_it_knows(host: RestHost) -> None:
    wrong = uni({**ORDER, "lines": []})
    for command, failed in (
        ({}, {}),
        (LATER, {"failedStepIndex": 0}),
        ({**LATER, "pageContext": None}, {"failedStepIndex": 0}),
    ):
        failure = ran(host, wrong, **command)["failure"]
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
    body = json.dumps(command(uni(ORDER), **{**REISSUE, "redriveReason": " "})).encode()
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
    decisions = [{"order_id": str(uuid.uuid4()), "accepted": each, "note": ""} for each in (True, False)]
    items = [payload(TYPES + "Decision", each) for each in decisions]
    answer = ran(host, payload("java.util.List", {"items": items}), currentStepIndex=3)
    assert [json.loads(each["payload"])["state"] for each in answer["outputPayloads"]] == ["ACCEPTED", "REJECTED"]


def test_a_request_with_its_answer_is_one_value_and_a_list_of_them_is_a_stream(author: Author) -> None:
    ask = "pipeline.awaits('Ask', request=int, response=bool, timeout=timedelta(hours=1))\n"
    pipeline = author.pipeline(f"{ask}@pipeline.step\ndef tell(n: int, yes: bool) -> str:\n    return f'{{n}} {{yes}}'")
    pin = {"pipelineId": pipeline.pipeline_id, "contractVersion": compile_contract(pipeline)["contractVersion"]}
    identity = ReleaseIdentity("acme", pin["pipelineId"], pin["contractVersion"], "1.0")
    host = RestHost(HostedRelease(pipeline, identity, "app", "sha256:1"), secret=SECRET)
    pairs = [payload("Ask#request-and-answer", {"request": n, "answer": n > 1}) for n in (1, 2)]
    for envelope, expected in (
        (pairs[1], ["2 True"]),
        (payload("java.util.List", {"items": pairs}), ["1 False", "2 True"]),
    ):
        outputs = ran(host, envelope, currentStepIndex=1, **pin)["outputPayloads"]
        assert [json.loads(each["payload"]) for each in outputs] == expected


def test_results_of_branches_are_one_value_and_a_condition_asks_or_not(author: Author) -> None:
    pipeline = author.pipeline(FENCE.findall(text_of("docs/branches.md"))[0][1])
    pin = {"pipelineId": pipeline.pipeline_id, "contractVersion": compile_contract(pipeline)["contractVersion"]}
    identity = ReleaseIdentity("acme", pin["pipelineId"], pin["contractVersion"], "1.0")
    host = RestHost(HostedRelease(pipeline, identity, "app", "sha256:1"), secret=SECRET)
    found = {"price": {"sku": "a", "total": "9.50"}, "delivery": 2}
    pair = {"request": {"sku": "a", "total": "9.50", "days": 2}, "answer": None}
    sold = ["sold a for 9.50, delivered in 2 days"]
    for type_id, value, start, stop, expected in (
        ("authored.Order", {"sku": "a", "quantity": 1}, 0, 1, ("COMPLETED", [found])),
        ("Price and delivery#branches", found, 1, -1, ("COMPLETED", sold)),
        ("authored.Order", {"sku": "a", "quantity": 1_000}, 0, -1, ("WAITING_EXTERNAL", [])),
        ("Approve#request-and-answer", pair, 3, -1, ("COMPLETED", sold)),
    ):
        typed = payload(type_id, value)
        envelope = typed if start else payload(SNAPSHOT, {"shape": "UNI", "payload": typed, "items": []})
        answer = ran(host, envelope, currentStepIndex=start, stopBeforeStepIndex=stop, **pin)
        assert (answer["outcome"], [json.loads(each["payload"]) for each in answer["outputPayloads"]]) == expected


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


@contextmanager
def listening(host: RestHost, capacity: int = 1) -> Iterator[Server]:
    server = Server("127.0.0.1:0", host, capacity=capacity)
    with in_a_thread(server):
        yield server


def test_it_serves_over_http(host: RestHost) -> None:
    with listening(host) as server:
        handler: Any = server.RequestHandlerClass
        assert handler.timeout == IDLE_SECONDS, "a caller that sends nothing is hung up on"
        url = f"http://127.0.0.1:{server.server_address[1]}"
        response = requests.get(url + CAPABILITIES, headers=signed("GET", CAPABILITIES, b""))
        assert response.status_code == 200
        expected = {"contractVersion": CONTRACT, "releaseVersion": "1.0", "artifactDigest": "sha256:1"}
        assert response.json().items() >= expected.items()
        body = json.dumps(command(uni(ORDER))).encode()
        answer = requests.post(url + EXECUTE, data=body, headers=signed("POST", EXECUTE, body))
        assert (answer.status_code, answer.json()["outcome"]) == (200, "WAITING_EXTERNAL")
        assert answer.headers["Content-Type"] == "application/json"
        assert requests.post(url + EXECUTE, data=body).status_code == 401
        assert requests.get(url + "/").status_code == 404
        assert requests.post(url + EXECUTE, data=iter([body])).status_code == 411
        too_long = requests.Request("POST", url + EXECUTE, data=b"x").prepare()
        too_long.headers["Content-Length"] = str(10**12)
        assert requests.Session().send(too_long, timeout=10).status_code == 413
        assert requests.get(url + "/q/health/live", timeout=10).json()["status"] == "UP"
        with server.turns:
            assert requests.get(url + "/q/health/live", timeout=10).json()["status"] == "UP", "every thread is busy"


class Calls:
    def __init__(self, hosted: Hosted, server: Server) -> None:
        self.hosted = hosted
        self.identity = server.host.release.identity
        self.address = ("127.0.0.1", int(server.server_address[1]))
        self.url = f"http://127.0.0.1:{self.address[1]}"

    def body(self, number: int) -> bytes:
        pin = {
            "pipelineId": self.identity.pipeline_id,
            "contractVersion": self.identity.contract_version,
            "releaseVersion": self.identity.release_version,
        }
        return json.dumps(command(payload(f"{self.hosted.module}.Order", {"number": number}), **pin)).encode()

    def call(self, number: int, seconds: float = 10) -> requests.Response:
        body = self.body(number)
        return requests.post(self.url + EXECUTE, data=body, headers=signed("POST", EXECUTE, body), timeout=seconds)

    def connected(self, number: int) -> socket.socket:
        """Return a connection over which the call has been sent."""
        body = self.body(number)
        headers = {**signed("POST", EXECUTE, body), "Content-Length": str(len(body))}
        lines = [f"POST {EXECUTE} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
        made = socket.create_connection(self.address, timeout=10)
        made.sendall("\r\n".join(lines).encode() + body)
        return made

    def get(self, path: str = HEALTH_PATH) -> int:
        return requests.get(self.url + path, headers=signed("GET", path, b""), timeout=10).status_code


@contextmanager
def calling(hosted: Hosted, capacity: int = 1) -> Iterator[tuple[Server, Calls]]:
    with listening(RestHost(hosted.host().release, secret=SECRET, prefixes=("hosted_",)), capacity) as server:
        try:
            yield server, Calls(hosted, server)
        finally:
            hosted.finish()


def handlers() -> int:
    return sum("process_request_thread" in each.name for each in threading.enumerate())


def test_no_more_transitions_run_at_once_than_there_are_turns(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls), calls.connected(99) as first:
        eventually(hosted.marks, what="the first")
        with calls.connected(1) as second:
            threading.Event().wait(0.2)
            assert hosted.marks() == [99]
            hosted.finish()
            assert all(b" 200 " in each.recv(100) for each in (first, second))
    assert hosted.marks() == [99, 1]


def test_a_call_whose_caller_hung_up_never_runs(hosted: Hosted, caplog: pytest.LogCaptureFixture) -> None:
    """It ends while it waits, before its command is read, so it reports no failure. Its turn is free for the next."""
    with calling(hosted) as (server, calls):
        before = handlers()
        with server.turns:
            waiting = calls.connected(1)
            eventually(lambda: handlers() == before + 1, what="the call")
            waiting.close()
            eventually(lambda: handlers() == before, what="the end of the call")
        assert server.turns.acquire(timeout=10), "the turn was not released"
        with pytest.raises(requests.Timeout):
            calls.call(3, 0.2)
        server.turns.release()
        assert calls.call(4).json()["outcome"] == "COMPLETED"
    assert hosted.marks() == [4]
    assert caplog.messages == []


def test_a_step_learns_that_the_caller_has_hung_up(hosted: Hosted) -> None:
    with calling(hosted) as (_, calls):
        with calls.connected(98):
            eventually(hosted.marks, what="the step's start")
        assert calls.call(1).json()["outcome"] == "COMPLETED"


def test_a_worker_is_down_while_each_turn_runs_a_step_whose_caller_has_hung_up(hosted: Hosted) -> None:
    with calling(hosted, 2) as (_, calls):
        first, second = calls.connected(99), calls.connected(99)
        eventually(lambda: len(hosted.marks()) == 2, what="both steps")
        first.close()
        assert [calls.get() for _ in range(3)] == [200] * 3
        second.close()
        eventually(lambda: calls.get() == 503, what="the worker to be down")
        hosted.finish()
        eventually(lambda: calls.get() == 200, what="the worker to be up again")


@cases(("replaceable", "health"), [(0, 503), (1, 200)])
def test_a_step_that_exceeds_its_limit_keeps_its_turn_if_its_thread_is_not_replaced(
    tmp_path: Path, replaceable: int, health: int
) -> None:
    with released(tmp_path, LIMITED_SOURCE) as limited:
        supervisor = Supervisor(replaceable=replaceable)
        host = RestHost(limited.host().release, secret=SECRET, prefixes=("hosted_",), supervisor=supervisor)
        with listening(host) as server:
            calls = Calls(limited, server)
            failure = calls.call(99).json()["failure"]
            assert (failure["failureClass"], supervisor.abandoned) == ("STEP_TIMEOUT", 1)
            eventually(lambda: calls.get() == health, what="its health")
            limited.finish()
            eventually(lambda: calls.get() == 200, what="its health again")
            assert calls.call(1).json()["outcome"] == "COMPLETED"


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
        own = release.identity
        pin = {"pipelineId": own.pipeline_id, "contractVersion": own.contract_version, "releaseVersion": "1.0"}
        sent = command(payload("java.lang.Integer", number), **pin, lastHeartbeat="[0,null,7]")
        body = json.dumps(sent).encode()
        answers = []
        for headers in ({}, {"X-Pipelines-Reads-Reports": "1"}):
            status, text = host.respond("POST", EXECUTE, {**signed("POST", EXECUTE, body), **headers}, body)
            answers.append(json.loads(text))
            assert (status, answers[-1]["outcome"]) == (200, outcome)
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
    pin = {"pipelineId": host.release.identity.pipeline_id, "contractVersion": CONTRACT, "releaseVersion": "1.0"}
    body = json.dumps(message(version, name, tenantId="acme", executionId=EXECUTION, **pin, **envelope)).encode()
    status, text = host.respond("POST", EXECUTE, signed("POST", EXECUTE, body), body)
    assert status == 200, (version, name)
    result = json.loads(text)
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
