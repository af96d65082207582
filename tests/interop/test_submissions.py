import secrets
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.db import connection

from executions.models import Execution, WireForm
from executions.transports.rest import MOST_BYTES
from executions.transports.rest_workers import register
from governance.activation.activation import activate
from tests import making
from tests.cases import cases
from tests.executions.transports.rest.order_flow import ORDER, ORDER_TYPE, PIPELINE, Flow
from tests.executions.transports.rest.strict_worker import DTO
from tests.interop.client import LIST, NO_WORKER, accepted, call, mapping, ok, order, payload, place, refused, submit
from wire.messages.rest_messages import execution_key

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("tpf")]
STRING = payload("java.lang.String", "v")
DOMAIN_TYPE = DTO.replace(".dto.", ".domain.") + "PlaceRestaurantOrderRequest"


def test_a_submission_is_accepted_with_200_and_pinned(flow: Flow) -> None:
    answer = ok("POST", place(flow.owner), order(unknown="ignored"))
    assert answer.pop("submittedAtEpochMs") > 0
    made = Execution.objects.get(pk=answer["executionId"])
    assert answer == {"executionId": str(made.pk), "duplicate": False, "statusUrl": f"/pipeline/executions/{made.pk}"}
    assert made.release == flow.release
    assert (made.input, made.input_shape, made.submitted_by) == (ORDER, "UNI", "tpf-control-plane")
    assert made.execution_key == f"{len(PIPELINE)}:{PIPELINE}:3:1.0:executionKey:k"


def test_a_key_identifies_one_execution_of_a_release(flow: Flow) -> None:
    first = ok("POST", place(flow.owner), order())
    other = order(inputPayload=payload(ORDER_TYPE, {"requestId": "another"}))
    again = ok("POST", place(flow.owner), other)
    assert (again["executionId"], again["duplicate"]) == (first["executionId"], True)
    assert WireForm.objects.filter(execution__tenant=flow.owner).count() == 1
    flow.dispatch()
    assert ok("POST", place(flow.owner), order())["executionId"] == first["executionId"]
    assert len(flow.double.commands) == 1


@cases(
    ("policy", "key", "expected"),
    [
        ("OPTIONAL_CLIENT_KEY", " k ", "k"),
        ("OPTIONAL_CLIENT_KEY", None, None),
        ("CLIENT_KEY_REQUIRED", "k", "k"),
        ("SERVER_KEY_ONLY", "k", None),
    ],
)
def test_policies_choose_the_key(flow: Flow, settings: Any, policy: str, key: str | None, expected: str | None) -> None:
    settings.TPF_IDEMPOTENCY = policy
    if policy == "CLIENT_KEY_REQUIRED":
        assert refused(submit(flow.owner, order(" "))) == (400, "Idempotency-Key header is required.")
    made = accepted(flow.owner, order(key))
    chosen = made.execution_key.partition("executionKey:")[2]
    if expected is None:
        assert len(chosen) == 43
        reordered = dict(reversed(ORDER.items()))
        assert accepted(flow.owner, order(key, inputPayload=payload(ORDER_TYPE, reordered))).pk == made.pk
        changed = {**ORDER, "customerId": "c2"}
        assert accepted(flow.owner, order(key, inputPayload=payload(ORDER_TYPE, changed))).pk != made.pk
    else:
        assert chosen == expected


def kept_input(execution: Execution) -> dict[str, Any]:
    kept = WireForm.objects.get(pk=execution.pk).input
    assert isinstance(kept, dict)
    return kept


def test_a_map_gets_the_contracts_type_and_items_keep_theirs(flow: Flow) -> None:
    made = accepted(flow.owner, order(inputPayload=mapping(requestId=STRING)))
    assert (made.input, made.input_shape) == ({"requestId": "v"}, "UNI")
    assert kept_input(made)["payload"]["payloadTypeId"] == DOMAIN_TYPE

    both = payload(LIST, {"items": [payload(ORDER_TYPE, ORDER), mapping(requestId=STRING)]})
    made = accepted(flow.owner, order("items", inputShape="MULTI", inputPayload=both))
    kept = kept_input(made)
    assert (made.input, made.input_shape, kept["shape"]) == ([ORDER, {"requestId": "v"}], "MULTI", "MULTI")
    assert [item["payloadTypeId"] for item in kept["items"]] == [ORDER_TYPE, DOMAIN_TYPE]


NOT_PLAIN = "application/tpf-transition-envelope+json"
BAD_PAYLOADS: list[Any] = [
    "text",
    {**STRING, "payload": {"not": "text"}},
    {**STRING, "payloadEncoding": NOT_PLAIN},
    payload("com.acme.Order", {}),
    mapping(a={**STRING, "more": "1"}),
]


@cases(
    ("body", "text"),
    [
        (order(pipelineId=" "), "pipelineId is required"),
        (order(inputShape=None), "inputShape is required"),
        (order(inputPayload=None), "inputPayload is required"),
        (order(inputShape="uni"), ""),
        (order(idempotencyKey=5), ""),
        (order(outputStreaming=True), "Async queue mode does not support streaming pipeline outputs yet."),
        *((order(inputPayload=bad), "Invalid request payload") for bad in BAD_PAYLOADS),
        (order(inputShape="MULTI"), "Invalid request payload"),
        (b"null", "pipelineId is required"),
        (b"{", "Invalid request"),
    ],
)
def test_invalid_submissions_are_rejected(flow: Flow, body: Any, text: str) -> None:
    assert refused(submit(flow.owner, body)) == (400, text)
    assert not Execution.objects.filter(tenant=flow.owner).exists()


def test_types_of_the_contract_are_accepted_in_addition_to_the_prefixes() -> None:
    owner, name = making.tenant(), "com.acme.Order"
    types = {name: {"definition": {}, "definitionFingerprint": "", "runtimeClass": name}}
    making.worker(making.active(owner, canonicalTypes=types))
    body = order(pipelineId=making.PIPELINE, inputShape="RAW", inputPayload=payload(name, ORDER))
    assert submit(owner, body).status_code == 200


def test_without_an_active_release_nothing_is_accepted(flow: Flow) -> None:
    none = (409, "No active release is registered for the requested pipeline")
    assert refused(submit(flow.owner, order(pipelineId="org.other"))) == none
    assert refused(call("POST", "control-plane/tenants/nobody-here/executions", order())) == none


def test_a_submission_that_races_with_an_activation_is_accepted_for_the_new_release_with_its_key(flow: Flow) -> None:
    second = making.registered(flow.owner, "2.0", pipeline_id=PIPELINE, steps=[making.STEP])
    making.worker(second, "celery-1")
    raced: list[str] = []

    def activate_meanwhile(execute: Any, sql: str, *arguments: Any) -> Any:
        """Activate the second release after the submission has read the first one as active."""
        rows = execute(sql, *arguments)
        if not raced and 'FROM "releases_pipeline"' in sql:
            raced.append(sql)
            activate(second, actor="user:test")
        return rows

    with connection.execute_wrapper(activate_meanwhile):
        made = accepted(flow.owner)
    assert raced
    assert (made.release_id, made.execution_key) == (second.pk, execution_key(PIPELINE, "2.0", "k"))


MISSING = "Stored release artifact is missing or unreadable"
ALTERED = "Stored release artifact checksum does not match registry metadata"


def write(path: Path, data: bytes) -> None:
    """Write to a file of the store, which its processes may only read."""
    path.chmod(0o644)
    path.write_bytes(data)


@cases(
    ("damage", "refusal"),
    [
        (lambda path: Path(shutil.copy(path, path.with_suffix(".copy"))).rename(path), None),
        (Path.unlink, MISSING),
        (lambda path: write(path, path.read_bytes()[::-1]), ALTERED),
        (lambda path: write(path, b"shorter"), ALTERED),
    ],
)
def test_an_artifact_is_judged_before_the_response(damage: Callable[[Path], object], refusal: str | None) -> None:
    owner, release = making.ready(body=secrets.token_hex(8))
    body = order(pipelineId=making.PIPELINE, inputPayload=payload("java.lang.String", "v"))
    damage(making.stored_file(release.artifacts.get().digest))
    answer = submit(owner, body)
    if refusal is None:
        assert answer.status_code == 200, answer.content
        return
    activation = call("POST", f"admin/tenants/{owner.slug}/pipelines/{making.PIPELINE}/releases/1.0/activate")
    assert [refused(response) for response in (answer, activation, submit(owner, body))] == 3 * [(409, refusal)]
    assert not Execution.objects.filter(tenant=owner).exists()


def unavailable(flow: Flow) -> str:
    flow.check()
    status, text = refused(submit(flow.owner))
    assert status == 503
    assert text.startswith(NO_WORKER)
    assert not Execution.objects.filter(tenant=flow.owner).exists()
    return text.removeprefix(NO_WORKER)


@cases(
    ("reported", "message"),
    [
        ({"protocolVersion": "2"}, "Worker capability protocol version is unsupported"),
        ({"releaseVersion": "9"}, "but active release is pipelineId="),
        ({"unknown": "x" * MOST_BYTES}, "capability check failed: the response has more than 262144 bytes"),
        ({"contractVersion": "c"}, "Worker hosts pipelineId="),
        (
            {"artifactDigest": "sha256:other"},
            "Worker artifact digest sha256:other does not match active release artifact digest sha256:",
        ),
    ],
)
def test_a_worker_of_another_release_is_not_eligible(flow: Flow, reported: dict[str, str], message: str) -> None:
    flow.double.capabilities = reported
    assert message in unavailable(flow)


def test_a_worker_that_cannot_be_checked_is_not_eligible(flow: Flow, settings: Any) -> None:
    failed = "REST worker capability check failed: "
    flow.double.secret = "another"
    assert unavailable(flow) == failed + "HTTP 401"
    members = {"worker_id": "java-1", "protocol": "rest", "actor": "t", "endpoint": flow.double.endpoint}
    flow.worker = register(flow.owner, flow.release.identity, **members)
    settings.REST_WORKER_ORIGINS = []
    assert unavailable(flow) == failed + "the worker's endpoint is not at an origin that REST_WORKER_ORIGINS allows"
    assert all(request.method == "GET" for request in flow.double.requests)
