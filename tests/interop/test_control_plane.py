"""`/tpf/control-plane`: submit, poll, results, what waits for people (wire protocol C)."""

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from django.test import Client

from executions.lifecycle import outcome
from executions.lifecycle.cancellation import cancel
from executions.models import Execution, Interaction, WireForm
from executions.transports.rest.workers import register
from interop import control_plane
from releases.activation.activation import activate
from releases.artifacts.store.local import LocalArtifactStore
from releases.models import Release
from tenancy.models import Tenant
from tests import making
from tests.executions.awaits.parking import make_late, suspended
from tests.interop.client import call, ok, payload, refused, switch_on
from tests.interop.conftest import ORDER, ORDER_TYPE, PIPELINE, Flow
from tests.interop.strict_worker import DTO, ENCODING, SNAPSHOT
from wire.messages.celery_messages import OutcomeGroup

pytestmark = pytest.mark.django_db
DECISION = {"accepted": {"orderId": str(uuid.uuid4()), "note": "ok"}}
DECISION_TYPE = DTO + "RestaurantDecisionDto"
NO_WORKER = "No worker available for active release: "


@pytest.fixture(autouse=True)
def on(settings: Any) -> None:
    switch_on(settings)


def place(owner: Tenant, path: str = "executions") -> str:
    return f"control-plane/tenants/{owner.slug}/{path}"


def order(key: str | None = "k", **changes: Any) -> dict[str, Any]:
    body = {"pipelineId": PIPELINE, "inputShape": "UNI", "inputPayload": payload(ORDER_TYPE, ORDER)}
    return {**body, "idempotencyKey": key, "outputStreaming": False, **changes}


def submit(owner: Tenant, body: Any = None) -> Any:
    return call("POST", place(owner), order() if body is None else body)


def accepted(owner: Tenant, body: Any = None) -> Execution:
    answer = submit(owner, body)
    assert answer.status_code == 200, answer.content
    return Execution.objects.get(pk=answer.json()["executionId"])


# --- submission -----------------------------------------------------------------------------------


def test_a_tenant_that_is_not_allowed_gets_403(flow: Flow, settings: Any) -> None:
    settings.ALLOWED_TENANTS = ["another"]
    assert refused(submit(flow.owner)) == (403, f"ALLOWED_TENANTS does not name the tenant {flow.owner.slug!r}.")
    assert not Execution.objects.exists()


def test_a_submission_is_accepted_with_200_and_pinned(flow: Flow) -> None:
    answer = ok("POST", place(flow.owner), order(unknown="ignored"))
    assert answer.pop("submittedAtEpochMs") > 0
    made = Execution.objects.get(pk=answer["executionId"])
    assert answer == {
        "executionId": str(made.pk),
        "duplicate": False,
        "statusUrl": f"/pipeline/executions/{made.pk}",
    }
    assert made.release == flow.release
    assert (made.input, made.input_shape, made.submitted_by) == (ORDER, "UNI", "tpf-control-plane")
    assert made.execution_key == f"{len(PIPELINE)}:{PIPELINE}:3:1.0:executionKey:k"


def test_the_payload_reaches_the_worker_to_the_letter(flow: Flow) -> None:
    text = '{ "requestId":"r1",  "amount":27.50, "customerId":"c\\u00e9" }'
    accepted(flow.owner, order(inputPayload={**payload(ORDER_TYPE, 0), "payload": text}))
    flow.dispatch()
    [command] = flow.double.commands
    assert command["payloadTypeId"] == SNAPSHOT
    inside = {"payloadTypeId": ORDER_TYPE, "payloadEncoding": ENCODING, "payload": text}
    assert json.loads(command["payload"]) == {"shape": "UNI", "payload": inside, "items": []}


def test_a_key_names_one_execution_of_one_release_whatever_its_payload(flow: Flow) -> None:
    first = ok("POST", place(flow.owner), order())
    other = order(inputPayload=payload(ORDER_TYPE, {"requestId": "another"}))
    again = ok("POST", place(flow.owner), other)
    assert (again["executionId"], again["duplicate"]) == (first["executionId"], True)
    assert WireForm.objects.filter(execution__tenant=flow.owner).count() == 1
    flow.dispatch()
    assert ok("POST", place(flow.owner), order())["executionId"] == first["executionId"]
    assert len(flow.double.commands) == 1


def test_the_same_key_under_a_newly_activated_release_is_another_execution(flow: Flow) -> None:
    first = accepted(flow.owner)
    second = making.registered(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP])
    activate(second, actor="user:test")
    making.worker(second, "celery-1")
    made = accepted(flow.owner)
    assert (made.release_id, made.pk != first.pk) == (second.pk, True)


@pytest.mark.parametrize(
    ("policy", "key", "expected"),
    [
        ("OPTIONAL_CLIENT_KEY", " k ", "k"),
        ("OPTIONAL_CLIENT_KEY", "  ", None),
        ("OPTIONAL_CLIENT_KEY", None, None),
        ("CLIENT_KEY_REQUIRED", "k", "k"),
        ("SERVER_KEY_ONLY", "k", None),
    ],
)
def test_which_key_counts(flow: Flow, settings: Any, policy: str, key: str | None, expected: str | None) -> None:
    settings.TPF_IDEMPOTENCY = policy
    made = accepted(flow.owner, order(key))
    own = made.execution_key.partition("executionKey:")[2]
    if expected is None:
        assert len(own) == 43
        reordered = dict(reversed(ORDER.items()))
        assert accepted(flow.owner, order(key, inputPayload=payload(ORDER_TYPE, reordered))).pk == made.pk
        changed = {**ORDER, "customerId": "c2"}
        assert accepted(flow.owner, order(key, inputPayload=payload(ORDER_TYPE, changed))).pk != made.pk
    else:
        assert own == expected


def test_a_key_may_be_required(flow: Flow, settings: Any) -> None:
    settings.TPF_IDEMPOTENCY = "CLIENT_KEY_REQUIRED"
    assert refused(submit(flow.owner, order(" "))) == (400, "Idempotency-Key header is required.")


LIST = "java.util.List"


def items(*payloads: dict[str, str]) -> dict[str, str]:
    return payload(LIST, {"items": list(payloads)})


def mapping(**members: dict[str, str]) -> dict[str, str]:
    return payload("java.util.Map", {"items": members})


STRING = payload("java.lang.String", "v")
DOMAIN_TYPE = DTO.replace(".dto.", ".domain.") + "PlaceRestaurantOrderRequest"


def kept_input(of: Execution) -> dict[str, Any]:
    kept = WireForm.objects.get(pk=of.pk).input
    assert isinstance(kept, dict)
    return kept


def test_a_map_gets_the_type_that_the_contract_names(flow: Flow) -> None:
    made = accepted(flow.owner, order(inputPayload=mapping(requestId=STRING)))
    assert made.input == {"requestId": "v"}
    kept = kept_input(made)
    assert (kept["shape"], kept["payload"]["payloadTypeId"]) == ("UNI", DOMAIN_TYPE)
    assert json.loads(kept["payload"]["payload"]) == {"requestId": "v"}


def test_many_items_are_a_list_and_keep_the_types_that_they_have(flow: Flow) -> None:
    body = order(inputShape="MULTI", inputPayload=items(payload(ORDER_TYPE, ORDER), mapping(requestId=STRING)))
    made = accepted(flow.owner, body)
    assert (made.input, made.input_shape) == ([ORDER, {"requestId": "v"}], "MULTI")
    kept = kept_input(made)
    assert (kept["shape"], kept["payload"]) == ("MULTI", None)
    assert [item["payloadTypeId"] for item in kept["items"]] == [ORDER_TYPE, DOMAIN_TYPE]
    nothing = accepted(flow.owner, order("none", inputShape="MULTI", inputPayload=payload("null", None)))
    assert (nothing.input, nothing.input_shape) == ([], "MULTI")


def test_what_is_raw_stays_one_value_as_it_is(flow: Flow) -> None:
    made = accepted(flow.owner, order(inputShape="RAW", inputPayload=items(STRING, STRING)))
    assert (made.input, made.input_shape) == (["v", "v"], "UNI")
    kept = kept_input(made)
    assert (kept["shape"], kept["payload"]["payloadTypeId"]) == ("UNI", LIST)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"pipelineId": None}, "pipelineId is required"),
        ({"pipelineId": " "}, "pipelineId is required"),
        ({"inputShape": None}, "inputShape is required"),
        ({"inputShape": "uni"}, ""),
        ({"inputShape": 1}, ""),
        ({"inputPayload": None}, "inputPayload is required"),
        ({"outputStreaming": "yes"}, ""),
        ({"outputStreaming": True}, "Async queue mode does not support streaming pipeline outputs yet."),
        ({"idempotencyKey": 5}, ""),
        ({"inputPayload": "text"}, "Invalid request payload"),
        ({"inputPayload": {"payloadTypeId": "null", "payloadEncoding": ENCODING}}, "Invalid request payload"),
        ({"inputPayload": {**STRING, "payload": {"not": "text"}}}, "Invalid request payload"),
        (
            {"inputPayload": {**STRING, "payloadEncoding": "application/tpf-transition-envelope+json"}},
            "Invalid request payload",
        ),
        ({"inputPayload": payload("com.acme.Order", {})}, "Invalid request payload"),
        ({"inputPayload": {**payload(ORDER_TYPE, {}), "payload": "{"}}, "Invalid request payload"),
        ({"inputPayload": payload("java.util.Map", {"items": {" ": STRING}})}, "Invalid request payload"),
        ({"inputPayload": payload("java.util.Map", {"items": {}, "more": 1})}, "Invalid request payload"),
        ({"inputPayload": mapping(a={**STRING, "more": "1"})}, "Invalid request payload"),
        ({"inputShape": "MULTI"}, "Invalid request payload"),
        ({"inputShape": "MULTI", "inputPayload": mapping(a=STRING)}, "Invalid request payload"),
    ],
)
def test_what_is_no_submission_is_refused(flow: Flow, changes: dict[str, Any], text: str) -> None:
    assert refused(submit(flow.owner, order(**changes))) == (400, text)
    assert not Execution.objects.filter(tenant=flow.owner).exists()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", (400, "pipelineId is required")),
        (b"null", (400, "pipelineId is required")),
        (b"{", (400, "Invalid request")),
    ],
)
def test_what_is_no_json_object_is_refused(flow: Flow, body: bytes, expected: tuple[int, str]) -> None:
    assert refused(submit(flow.owner, body)) == expected


def test_a_body_beyond_the_bound_is_refused(flow: Flow, settings: Any) -> None:
    body = json.dumps(order()).encode()
    settings.MAX_REQUEST_BYTES = len(body)
    assert submit(flow.owner, body).status_code == 200
    assert submit(flow.owner, body + b" ").status_code == 413


def test_prefixes_of_ones_own_replace_the_default(flow: Flow, settings: Any) -> None:
    settings.PAYLOAD_TYPE_PREFIXES = ["com.acme."]
    assert accepted(flow.owner, order(inputPayload=payload("com.acme.Order", ORDER))).input == ORDER
    assert submit(flow.owner, order("k2")).status_code == 400


def test_types_that_the_contract_defines_are_accepted_beside_those_with_the_prefixes() -> None:
    owner = making.tenant()
    types = {"com.acme.Order": {"definition": {}, "definitionFingerprint": "", "runtimeClass": "com.acme.Order"}}
    making.worker(making.active(owner, canonicalTypes=types))
    sent = {name: payload(name, ORDER) for name in ("com.acme.Order", "com.acme.Other")}
    statuses = {
        name: submit(owner, order(name, pipelineId=making.PIPELINE, inputShape="RAW", inputPayload=each)).status_code
        for name, each in sent.items()
    }
    assert statuses == {"com.acme.Order": 200, "com.acme.Other": 400}


def test_without_an_active_release_nothing_is_accepted(flow: Flow) -> None:
    none = (409, "No active release is registered for the requested pipeline")
    assert refused(submit(flow.owner, order(pipelineId="org.other"))) == none
    assert refused(call("POST", "control-plane/tenants/nobody-here/executions", order())) == none


def test_a_release_whose_bytes_were_altered_is_refused(flow: Flow) -> None:
    [artifact] = flow.release.artifacts.all()
    stored = LocalArtifactStore(settings.ARTIFACT_ROOT).file(artifact.digest)
    stored.chmod(0o644)
    stored.write_bytes(b"other")
    status, text = refused(submit(flow.owner))
    assert (status, "another digest" in text) == (409, True)


# --- availability (D.8) ---------------------------------------------------------------------------


def unavailable(flow: Flow) -> str:
    flow.check()
    status, text = refused(submit(flow.owner))
    assert status == 503
    assert text.startswith(NO_WORKER)
    assert not Execution.objects.filter(tenant=flow.owner).exists()
    return text.removeprefix(NO_WORKER)


def test_a_worker_that_is_silent_drained_or_unknown_lets_nothing_in(flow: Flow) -> None:
    making.silence(flow.worker)
    told = "No healthy rest worker lifecycle record for active release; current states: java-1="
    assert unavailable(flow) == told + "STALE"
    ok("POST", f"admin/tenants/{flow.owner.slug}/pipelines/{PIPELINE}/workers/java-1/drain")
    assert unavailable(flow) == told + "DRAINING"
    from executions.models import Worker

    Worker.objects.filter(pk=flow.worker.pk).update(release_version="another")
    assert unavailable(flow) == "No worker lifecycle record for active release"
    Worker.objects.filter(pk=flow.worker.pk).update(release_version="1.0", protocol="grpc")
    assert unavailable(flow) == "No worker lifecycle record for active release"


@pytest.mark.parametrize(
    ("says", "told"),
    [
        ({"protocolVersion": "2"}, "Worker capability protocol version is unsupported"),
        ({"pipelineId": "org.other"}, "Worker hosts pipelineId=org.other, contractVersion="),
        ({"releaseVersion": "9"}, "but active release is pipelineId="),
        ({"contractVersion": "c"}, "Worker hosts pipelineId="),
        (
            {"artifactDigest": "sha256:other"},
            "Worker artifact digest sha256:other does not match active release artifact digest sha256:",
        ),
        ({"artifactId": "other"}, "Worker artifact id other does not match active release artifact id app"),
    ],
)
def test_a_worker_that_says_it_hosts_something_else_lets_nothing_in(
    flow: Flow, says: dict[str, str], told: str
) -> None:
    flow.double.capabilities = says
    assert told in unavailable(flow)


def test_what_the_worker_says_of_encodings_and_protocols_does_not_count(flow: Flow) -> None:
    flow.double.capabilities = {"payloadEncodings": ["x"], "workerProtocols": [], "artifactId": "app", "more": 1}
    accepted(flow.owner)


def test_a_worker_with_another_artifact_lets_nothing_in(flow: Flow) -> None:
    register(
        flow.owner, flow.release.identity, worker_id="java-1", protocol="rest", endpoint=flow.double.endpoint,
        artifact_digest="sha256:other", actor="t",
    )  # fmt: skip
    assert unavailable(flow) == "Registered worker artifact identity does not match active release"


def test_a_worker_that_cannot_be_asked_lets_nothing_in(flow: Flow, settings: Any) -> None:
    failed = "REST transition worker capability check failed: "
    flow.double.secret = "another"
    assert unavailable(flow) == failed + "HTTP 401"
    flow.worker = register(
        flow.owner, flow.release.identity, worker_id="java-1", protocol="rest", endpoint=flow.double.endpoint, actor="t"
    )
    settings.REST_WORKER_ORIGINS = []
    assert unavailable(flow) == failed + "the worker's endpoint is not at an origin that REST_WORKER_ORIGINS allows"
    assert all(seen.method == "GET" for seen in flow.double.requests)


def test_a_healthy_worker_of_another_kind_is_enough(flow: Flow) -> None:
    making.worker(flow.release, "celery-1")
    flow.double.capabilities = {"protocolVersion": "2"}
    accepted(flow.owner)
    assert flow.double.requests == []


def test_a_worker_without_an_endpoint_is_called_at_the_installations_base(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_ORIGINS, settings.REST_WORKER_BASE_URL = [], flow.double.endpoint
    register(flow.owner, flow.release.identity, worker_id="java-1", protocol="rest", actor="t")
    flow.check()
    accepted(flow.owner)
    assert flow.dispatch() == 1
    assert len(flow.double.commands) == 1


def test_one_secret_may_be_shared_by_all(flow: Flow, settings: Any) -> None:
    settings.REST_WORKER_SECRET = flow.double.secret = "worker-secret"
    accepted(flow.owner)
    assert flow.dispatch() == 1


# --- reading --------------------------------------------------------------------------------------


def decided(flow: Flow) -> Execution:
    made = accepted(flow.owner)
    flow.dispatch()
    [asked] = ok("GET", place(flow.owner, "interactions/pending"))
    answer = {"interactionId": asked["interactionId"], "responsePayload": payload(DECISION_TYPE, DECISION)}
    ok("POST", place(flow.owner, "interactions/complete"), answer)
    flow.dispatch()
    made.refresh_from_db()
    return made


def test_a_status_has_its_nine_members(flow: Flow) -> None:
    made = accepted(flow.owner)
    path = place(flow.owner, f"executions/{made.pk}")
    first = ok("GET", path)
    assert list(first) == [
        "executionId", "status", "stepIndex", "attempt", "version", "nextDueAtEpochMs", "updatedAtEpochMs", "errorCode",
        "errorMessage",
    ]  # fmt: skip
    assert (first["status"], first["version"], first["errorCode"]) == ("QUEUED", 0, None)
    flow.dispatch()
    waiting = ok("GET", path)
    assert (waiting["status"], waiting["stepIndex"], waiting["version"]) == ("WAITING_EXTERNAL", 2, 2)
    assert waiting["nextDueAtEpochMs"] == 2**63 - 1
    assert ok("GET", f"{path}/result") == {"status": waiting, "resultPayload": None}


def test_a_result_is_the_workers_own_to_the_letter(flow: Flow) -> None:
    made = decided(flow)
    told = ok("GET", place(flow.owner, f"executions/{made.pk}/result"))
    assert (told["status"]["status"], told["status"]["stepIndex"], told["status"]["version"]) == ("SUCCEEDED", 3, 5)
    order_id = DECISION["accepted"]["orderId"]
    assert told["resultPayload"] == {
        "payloadTypeId": DTO + "TerminalOrderStateDto",
        "payloadEncoding": ENCODING,
        "payload": f'{{ "state":"ACCEPTED",  "orderId":"{order_id}", "total":27.50 }}',
    }


def celery(owner: Tenant, release: Release, body: dict[str, Any], *outputs: str) -> Any:
    """The result of an execution that a Celery worker ran to its end."""
    made = accepted(owner, body)
    [claim] = making.claimed(owner)
    done = making.answer(claim, output_payloads=list(outputs))
    assert outcome.record(release.identity, OutcomeGroup(worker_id="w", outcomes=[done])) == 1
    return ok("GET", place(owner, f"executions/{made.pk}/result"))["resultPayload"]


def native(**members: Any) -> tuple[Tenant, Release, dict[str, Any]]:
    owner, release = making.ready(**members)
    body = order(pipelineId=making.PIPELINE, inputPayload=mapping(n=payload("java.lang.Integer", 1)))
    return owner, release, body


def test_what_a_celery_worker_gave_gets_the_contracts_type(flow: Flow) -> None:
    owner, release, body = native()
    assert celery(owner, release, body, '{"n": 1}') == {**payload("Order", 0), "payload": '{"n":1}'}
    made = Execution.objects.get(tenant=owner)
    assert made.input == {"n": 1}


def test_many_results_are_a_list_of_them(flow: Flow) -> None:
    step = {**making.STEP, "cardinality": "ONE_TO_MANY", "outputTypeId": "integer"}
    owner, release, body = native(steps=[step])
    told = celery(owner, release, body, "1", "2")
    assert told["payloadTypeId"] == LIST
    assert json.loads(told["payload"]) == {"items": [payload("java.lang.Integer", n) for n in (1, 2)]}


def test_an_execution_that_has_not_succeeded_has_no_list_of_results_either(flow: Flow) -> None:
    owner, _, body = native(steps=[{**making.STEP, "cardinality": "ONE_TO_MANY"}])
    made = accepted(owner, body)
    assert made.result_shape == "MATERIALIZED_MULTI"
    assert ok("GET", place(owner, f"executions/{made.pk}/result"))["resultPayload"] is None


def test_a_single_result_without_an_output_is_none(flow: Flow) -> None:
    owner, release, body = native()
    assert celery(owner, release, body) is None


def test_a_cancelled_execution_is_a_failed_one(flow: Flow) -> None:
    made = accepted(flow.owner)
    cancel(flow.owner, made.pk, actor="user:test", reason="no")
    told = ok("GET", place(flow.owner, f"executions/{made.pk}"))
    assert (told["status"], told["errorCode"]) == ("FAILED", "CANCELLED")


@pytest.mark.parametrize("unknown", ["nonsense", "00000000-0000-0000-0000-000000000000"])
def test_an_unknown_execution_is_not_found(flow: Flow, unknown: str) -> None:
    assert refused(call("GET", place(flow.owner, f"executions/{unknown}"))) == (404, "Not Found")
    assert refused(call("GET", place(flow.owner, f"executions/{unknown}/result"))) == (404, "Not Found")


# --- interactions ---------------------------------------------------------------------------------


@pytest.fixture
def asked(flow: Flow) -> Interaction:
    accepted(flow.owner)
    flow.dispatch()
    return Interaction.objects.get(tenant=flow.owner)


def pending(flow: Flow, query: str = "") -> Any:
    return ok("GET", place(flow.owner, f"interactions/pending{query}"))


def test_what_is_pending_has_its_members_and_plain_json(flow: Flow, asked: Interaction) -> None:
    [item] = pending(flow)
    assert list(item) == [
        "interactionId", "correlationId", "executionId", "stepId", "stepIndex", "outputType", "status",
        "requestPayload", "assignee", "group", "transportType", "transportMetadata", "deadlineEpochMs",
        "createdAtEpochMs", "updatedAtEpochMs",
    ]  # fmt: skip
    assert item["requestPayload"]["requestId"] == "r1"
    assert (item["outputType"], item["stepIndex"], item["status"]) == (DECISION_TYPE, 2, "DISPATCHED")
    assert type(item["transportMetadata"]["dispatchedAtEpochMs"]) is int
    make_late(asked)
    assert [each["interactionId"] for each in pending(flow)] == [str(asked.pk)]


def test_what_is_pending_is_filtered_and_bounded(flow: Flow, asked: Interaction) -> None:
    accepted(flow.owner, order("k2"))
    flow.dispatch()
    first, second = (each["interactionId"] for each in pending(flow))
    assert first == str(asked.pk)
    for limit, count in (("", 2), ("?limit=1", 1), ("?limit=0", 1), ("?limit=-5", 1), ("?limit=99999", 2)):
        assert len(pending(flow, limit)) == count, limit
    assert len(pending(flow, "?group=%20restaurant%20&assignee=")) == 2
    assert pending(flow, "?group=other") == pending(flow, "?assignee=eva") == pending(flow, "?stepId=x") == []
    assert len(pending(flow, "?stepId=ProcessAwaitRestaurantDecisionService")) == 2
    assert second != first
    assert call("GET", place(flow.owner, "interactions/pending?limit=ten")).status_code == 404


def test_no_more_is_listed_than_the_bound(flow: Flow, asked: Interaction, monkeypatch: pytest.MonkeyPatch) -> None:
    accepted(flow.owner, order("k2"))
    flow.dispatch()
    monkeypatch.setattr(control_plane, "MAX_PENDING", 1)
    assert len(pending(flow, "?limit=2")) == 1


def complete(flow: Flow, body: Any) -> Any:
    return call("POST", place(flow.owner, "interactions/complete"), body)


def test_a_timer_is_pending_for_nobody(flow: Flow) -> None:
    owner, release = making.ready()
    made = suspended((owner, release), transport="timer")
    assert made.status == "WAITING_EXTERNAL"
    assert ok("GET", place(owner, "interactions/pending")) == []


def test_what_is_answered_is_pending_no_more(flow: Flow, asked: Interaction) -> None:
    body = {"interactionId": str(asked.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert complete(flow, body).status_code == 200
    assert pending(flow) == []


def test_an_answer_counts_once_and_a_repeat_wakes_the_execution(flow: Flow, asked: Interaction) -> None:
    body = {"interactionId": f" {asked.pk} ", "responsePayload": payload(DECISION_TYPE, DECISION), "actor": "eva"}
    first = complete(flow, {**body, "idempotencyKey": "ignored", "unknown": 1})
    assert first.json() == {
        "interactionId": str(asked.pk),
        "executionId": str(asked.execution_id),
        "stepId": "ProcessAwaitRestaurantDecisionService",
        "status": "COMPLETED",
        "duplicate": False,
    }
    again = complete(flow, {**body, "responsePayload": payload(DECISION_TYPE, {"rejected": {}})})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    asked.refresh_from_db()
    assert (asked.response, asked.actor) == (DECISION, "tpf-control-plane:eva")


def names_by_correlation(asked: Interaction) -> dict[str, Any]:
    return {"correlationId": asked.correlation_id}


def names_by_token(asked: Interaction) -> dict[str, Any]:
    from django.utils import timezone

    from executions.awaits import awaits

    return {"resumeToken": awaits.resume_token_of(asked, issued_at=timezone.now()).sign(awaits.resume_secrets()[0])}


@pytest.mark.parametrize("named", [names_by_correlation, names_by_token])
def test_an_answer_names_its_question_in_other_ways(
    flow: Flow, asked: Interaction, named: Callable[[Interaction], dict[str, Any]]
) -> None:
    plain_map = mapping(accepted=mapping(orderId=payload("java.lang.String", DECISION["accepted"]["orderId"])))
    answer = complete(flow, {**named(asked), "responsePayload": plain_map})
    assert answer.status_code == 200, answer.content
    flow.dispatch()
    command = flow.double.commands[-1]
    # Wire protocol F.6: whatever the answer came as, it goes on under the type that was asked for, and bare.
    assert command["payloadTypeId"] == DECISION_TYPE
    assert json.loads(command["payload"]) == {"accepted": {"orderId": DECISION["accepted"]["orderId"]}}
    assert Execution.objects.get(pk=asked.execution_id).status == "SUCCEEDED"


def test_an_answer_of_null_goes_on_without_a_type(flow: Flow, asked: Interaction) -> None:
    assert complete(flow, {"interactionId": str(asked.pk), "responsePayload": payload("null", None)}).status_code == 200
    flow.dispatch()
    command = flow.double.commands[-1]
    assert (command["payloadTypeId"], command["payload"]) == ("null", "null")


def test_what_is_no_answer_is_refused(flow: Flow, asked: Interaction) -> None:
    good = {"interactionId": str(asked.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    unnamed = "interactionId, correlationId, or resumeToken is required"
    assert refused(complete(flow, None)) == (400, "Await completion request is required")
    assert refused(complete(flow, {**good, "interactionId": " "})) == (400, unnamed)
    assert refused(complete(flow, {**good, "responsePayload": None})) == (400, "responsePayload is required")
    for bad in ({}, payload("com.acme.X", 1), {**payload(DECISION_TYPE, 1), "payloadEncoding": "x"}):
        assert refused(complete(flow, {**good, "responsePayload": bad})) == (400, "Invalid request payload")
    for unknown in ({"interactionId": str(uuid.uuid4())}, {"interactionId": "int-9"}, {"correlationId": "none"}):
        body = {"responsePayload": good["responsePayload"], **unknown}
        assert refused(complete(flow, body)) == (404, "Not Found")
    token = names_by_token(asked)["resumeToken"]
    for bad_token in ("nonsense", token[:-2] + "xx"):
        assert refused(complete(flow, {**good, "resumeToken": bad_token})) == (400, "Invalid request")
    asked.refresh_from_db()
    assert asked.status == "DISPATCHED"
    other = making.tenant()
    path = f"control-plane/tenants/{other.slug}/interactions/complete"
    assert refused(call("POST", path, good)) == (404, "Not Found")


def test_a_late_answer_fails_the_execution_as_the_sweep_would(flow: Flow, asked: Interaction) -> None:
    make_late(asked)
    good = {"interactionId": str(asked.pk), "responsePayload": payload(DECISION_TYPE, DECISION)}
    assert refused(complete(flow, good)) == (400, "Invalid request")
    told = ok("GET", place(flow.owner, f"executions/{asked.execution_id}"))
    assert (told["status"], told["errorCode"]) == ("FAILED", "AWAIT_TIMEOUT")
    assert refused(complete(flow, good)) == (400, "Invalid request")


def test_a_token_that_the_worker_signed_answers(flow: Flow, asked: Interaction, settings: Any) -> None:
    """Worker and coordinator share the secret; the token is written from the protocol alone (F.8)."""
    import base64
    import hashlib
    import hmac

    settings.RESUME_TOKEN_SECRET = "a-resume-token-secret-of-both-sides"
    [item] = pending(flow)
    members = {
        "tenantId": flow.owner.slug,
        "interactionId": item["interactionId"],
        "correlationId": item["correlationId"],
        "executionId": item["executionId"],
        "stepId": item["stepId"],
        "deadlineEpochMs": item["deadlineEpochMs"],
        "issuedAtEpochMs": item["createdAtEpochMs"],
    }

    def encoded(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).decode().rstrip("=")

    body = encoded(json.dumps(members, separators=(",", ":")).encode())
    signed = hmac.new(settings.RESUME_TOKEN_SECRET.encode(), body.encode(), hashlib.sha256).digest()
    answer = complete(
        flow, {"resumeToken": f"{body}.{encoded(signed)}", "responsePayload": payload(DECISION_TYPE, DECISION)}
    )
    assert answer.status_code == 200, answer.content


def called_back(body: Any, **headers: str) -> Any:
    data = body if isinstance(body, bytes) else json.dumps(body)
    url = "/pipeline/interactions/complete"
    return Client().post(url, data, content_type="application/json", headers=headers)


def test_a_webhook_is_answered_where_its_worker_says_by_default(flow: Flow, asked: Interaction) -> None:
    """Plain JSON, no bearer: the resume token lets in (wire protocol C.6, F.8)."""
    body = {"correlationId": asked.correlation_id, "responsePayload": DECISION, **names_by_token(asked)}
    answer = called_back(body, **{"x-tenant-id": flow.owner.slug})
    assert (answer.status_code, answer.json()["status"], answer.json()["duplicate"]) == (200, "COMPLETED", False)
    again = called_back({**body, "interactionId": str(asked.pk)})
    assert (again.status_code, again.json()["duplicate"]) == (200, True)
    flow.dispatch()
    assert json.loads(flow.double.commands[-1]["payload"]) == DECISION


def test_without_its_token_nothing_is_answered_there(flow: Flow, asked: Interaction, settings: Any) -> None:
    good = {"interactionId": str(asked.pk), "responsePayload": DECISION}
    token = names_by_token(asked)
    forged = {"resumeToken": token["resumeToken"][:-4] + "AAAA"}
    here = {"x-tenant-id": flow.owner.slug}
    assert refused(called_back(good, **here)) == (401, "")
    assert refused(called_back({**good, **forged}, **here)) == (400, "Invalid request")
    assert refused(called_back({**good, **token}, **{"x-tenant-id": "nobody"})) == (404, "Not Found")
    assert refused(called_back({"responsePayload": 1, **token})) == (400, "interactionId or correlationId is required")
    assert refused(called_back({**good, **token, "responsePayload": None})) == (400, "responsePayload is required")
    assert refused(called_back(b"{")) == (400, "Invalid request")
    settings.TPF_CONTROL_PLANE_ENABLED = False
    assert refused(called_back({**good, **token}, **here)) == (404, "")
    asked.refresh_from_db()
    assert asked.status == "DISPATCHED"
