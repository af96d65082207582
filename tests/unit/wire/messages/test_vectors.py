"""Test vectors of `/tpf`, but for the contract hash and the resume token.

Plain JSON and typed payloads represent the same values."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import cases
from tests.interop.stored import message, names
from tests.raising import error_of
from wire.messages import payload_envelopes as envelopes
from wire.messages.celery_messages import transition_key
from wire.messages.rest_messages import (
    CAPABILITIES_PATH,
    EXECUTE_PATH,
    TransitionCommand,
    TransitionResult,
    execution_key,
    name_uuid,
    parse,
)
from wire.worker_keys import signature

TIMESTAMP, NONCE = "2026-01-02T03:04:05.678Z", "11111111-2222-3333-4444-555555555555"
COMMAND = (
    '{"tenantId":"tenant-1","executionId":"exec-1","pipelineId":"p","contractVersion":"c","releaseVersion":"r",'
    '"currentStepIndex":0,"stopBeforeStepIndex":-1,"attempt":0,"resultShape":"SINGLE","executionVersion":1,'
    '"transitionKey":"exec-1:0:0","traceId":"exec-1:0:0",'
    '"payloadTypeId":"org.pipelineframework.orchestrator.ExecutionInputSnapshot",'
    '"payloadEncoding":"application/tpf-transition+json","payload":"{\\"shape\\":\\"UNI\\",\\"payload\\":'
    '{\\"payloadTypeId\\":\\"org.x.InDto\\",\\"payloadEncoding\\":\\"application/tpf-transition+json\\",'
    '\\"payload\\":\\"{\\\\\\"requestId\\\\\\":\\\\\\"r1\\\\\\"}\\"},\\"items\\":[]}"}'
)
ALLOWED = envelopes.Allowed(("org.acme.",), frozenset({"Order"}))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
objects = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)
ONE = '{"payloadTypeId":"java.lang.String","payloadEncoding":"application/tpf-transition+json","payload":"\\"v\\""}'
UNSUPPORTED = ["com.acme.X", "org.acmes", "", "java.lang.Object"]


@cases(
    ("method", "path", "body", "expected"),
    [
        ("POST", EXECUTE_PATH, b'{"a":1}', "7a2fad5203b601b7d7ad943ba6fbfe9d9c5521bced85df2e6d6b8d16cc5ca018"),
        ("GET", CAPABILITIES_PATH, b"", "74cadcd663f5d03a538eee6e5d52d24ab55d879a3b343cae6ce204eef0cc5c8e"),
    ],
)
def test_1_signatures(method: str, path: str, body: bytes, expected: str) -> None:
    assert EXECUTE_PATH == "/pipeline/worker/transitions/execute"
    assert CAPABILITIES_PATH == "/pipeline/worker/capabilities"
    assert signature("worker-secret", method, path, TIMESTAMP, NONCE, body) == expected


def test_the_fingerprint_of_an_intent() -> None:
    """It is that of ExecutionAdmissionIntentTest (pipelineframework-contracts@1ba52908)."""
    payload = envelopes.TypedPayload(payload_type_id="type", payload_encoding="json", payload='{"v":7}')
    pin = {name: name.removesuffix("_version") for name in ("contract_version", "release_version")}
    names = {"tenant_id": "tenant", "pipeline_id": "pipeline", "client_key": "key", **pin}
    intent = envelopes.AdmissionIntent(**names, input_shape="UNI", payload=payload, output_streaming=False)
    assert intent.fingerprint() == "f42f1bcfeba4b2213f52ff81aec98edf5cc9cd907c061d0bbb7ce9c3550fdf1f"


def test_2_a_name_uuid_and_4_the_execution_key() -> None:
    assert name_uuid("tenant-1", "exec-1", "AwaitDecision", 2) == "b25503c2-e6bd-333c-8e9d-f7988c67ebcd"
    assert execution_key("org.x", "sha256:abc", "order-1") == "5:org.x:10:sha256:abc:executionKey:order-1"


def test_6_the_command() -> None:
    inside = envelopes.snapshot("UNI", {"requestId": "r1"}, "org.x.InDto").as_payload()
    key = transition_key("exec-1", 0, 0)
    command = TransitionCommand(
        tenant_id="tenant-1", execution_id="exec-1", pipeline_id="p", contract_version="c", release_version="r",
        current_step_index=0, stop_before_step_index=-1, attempt=0, result_shape="SINGLE", execution_version=1,
        transition_key=key, trace_id=key, payload_type_id=inside.payload_type_id,
        payload_encoding=inside.payload_encoding, payload=inside.payload,
    )  # fmt: skip
    assert command.to_json() == COMMAND
    assert parse(TransitionCommand, COMMAND.encode()) == command


@cases("name", names("august", "result"))
def test_7_results_are_read_and_written_exactly(name: str) -> None:
    text = json.dumps(message("august", name), separators=(",", ":"))
    assert parse(TransitionResult, text.encode()).to_json() == text


@cases(
    ("value", "type_id", "text"),
    [
        (
            {"k": "v"},
            "java.util.Map",
            '{"items":{"k":{"payloadTypeId":"java.lang.String","payloadEncoding":"application/tpf-transition+json",'
            '"payload":"\\"v\\""}}}',
        ),
        (None, "null", "null"),
        (Decimal("27.50"), "java.math.BigDecimal", "27.50"),
    ],
)
def test_8_containers_and_scalars(value: Any, type_id: str, text: str) -> None:
    made = envelopes.natural(value)
    encoding = "application/tpf-transition+json"
    assert made.document() == {"payloadTypeId": type_id, "payloadEncoding": encoding, "payload": text}
    assert envelopes.plain(envelopes.read_payload(made.document()), envelopes.Allowed()) == value


def payload(type_id: str, text: str) -> envelopes.TypedPayload:
    return envelopes.TypedPayload(payload_type_id=type_id, payload_encoding=envelopes.ENCODING, payload=text)


@given(objects, st.sampled_from(["Order", "org.acme.Order", "string", None]))
def test_a_value_is_read_back_from_a_typed_payload(value: Any, type_id: str | None) -> None:
    try:
        made = envelopes.typed(value, type_id)
    except envelopes.PayloadRefused:
        assert type_id in {"string", None}
        return
    assert envelopes.plain(envelopes.read_payload(json.loads(json.dumps(made.document()))), ALLOWED) == value


@given(st.lists(objects, max_size=4), st.sampled_from(["Order", "org.acme.Order"]))
def test_items_are_read_back_from_a_snapshot_and_from_a_list(items: list[Any], type_id: str) -> None:
    many = envelopes.snapshot("MULTI", items, type_id).as_payload()
    assert (many.payload_type_id, envelopes.plain(many, ALLOWED)) == (envelopes.SNAPSHOT, items)
    envelope = envelopes.snapshot("UNI", items, type_id).as_payload()
    assert envelopes.plain(envelope, ALLOWED) == items
    bare = envelopes.listed(envelopes.typed(item, type_id) for item in items)
    assert envelopes.plain(bare, ALLOWED) == items
    assert [envelopes.plain(part, ALLOWED) for part in envelopes.parts(bare)] == items


@cases(
    ("type_id", "text", "value"),
    [
        ("java.time.Instant", "-1.5", "1969-12-31T23:59:58.5Z"),
        ("java.time.Instant", "1767323045.123456789", "2026-01-02T03:04:05.123456789Z"),
        ("java.math.BigDecimal", "27.50", 27.5),
        ("java.time.LocalDate", '"2026-01-02"', "2026-01-02"),
        ("null", "whatever", None),
        (envelopes.LIST, '{"items":null}', []),
        (envelopes.SET, "{}", []),
        (envelopes.SNAPSHOT, f'{{"shape":"RAW","payload":{ONE},"items":null,"more":1}}', "v"),
        ("org.acme.Any", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_valid_payloads_are_read(type_id: str, text: str, value: Any) -> None:
    assert envelopes.plain(payload(type_id, text), ALLOWED) == value


UNDECODABLE = [
    *(("org.acme.X", "{"), ("org.acme.X", '"\\u0000"'), (envelopes.SNAPSHOT, '{"shape":"TWO"}')),
    *(("java.lang.Integer", "true"), ("java.lang.Boolean", "1"), ("java.time.Instant", "1e400")),
]
NO_MAPS = [
    "[]",
    f'{{"items":{{" ":{ONE}}}}}',
    f'{{"items":{{"k":{ONE}}},"more":1}}',
    '{"items":{"k":null}}',
    f'{{"items":{{"k":{ONE[:-1]},"more":"1"}}}}}}',
]


@cases(
    ("type_id", "text", "why"),
    [
        *((name, "{}", f"Unsupported transition payload type: {name}") for name in UNSUPPORTED),
        *((name, text, f"Failed to decode transition payload type {name}") for name, text in UNDECODABLE),
        *((envelopes.MAP, text, "Failed to decode transition map payload") for text in NO_MAPS),
        (envelopes.LIST, '{"items":["text"]}', "Failed to decode transition list payload"),
    ],
)
def test_invalid_payloads_are_refused(type_id: str, text: str, why: str) -> None:
    assert str(error_of(envelopes.PayloadRefused, envelopes.plain, payload(type_id, text), ALLOWED)) == why


def test_a_domain_class_is_sent_as_its_transfer_object_only_over_rest() -> None:
    name = "org.x.common.domain.Order"
    assert envelopes.travelling_type(name, "REST") == "org.x.common.dto.OrderDto"
    assert envelopes.travelling_type(name, "LOCAL") == envelopes.travelling_type(name, None) == name
    assert envelopes.travelling_type("Order", "REST") == "Order"
