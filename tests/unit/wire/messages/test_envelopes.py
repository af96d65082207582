"""Plain JSON and typed payloads represent the same values (wire protocol C.3)."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import cases
from wire.messages.payload_envelopes import (
    ENCODING,
    LIST,
    MAP,
    SET,
    SNAPSHOT,
    Allowed,
    PayloadRefused,
    TypedPayload,
    listed,
    parts,
    plain,
    read_payload,
    snapshot,
    travelling_type,
    typed,
)

ALLOWED = Allowed(("org.acme.",), frozenset({"Order"}))
texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=10)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
objects = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4), max_leaves=12
)


def payload(type_id: str, text: str) -> TypedPayload:
    return TypedPayload(payload_type_id=type_id, payload_encoding=ENCODING, payload=text)


@given(objects, st.sampled_from(["Order", "org.acme.Order", "string", None]))
def test_a_value_is_read_back_from_a_typed_payload(value: Any, type_id: str | None) -> None:
    try:
        made = typed(value, type_id)
    except PayloadRefused:
        assert type_id in {"string", None}
        return
    assert plain(read_payload(json.loads(json.dumps(made.document()))), ALLOWED) == value


@given(st.lists(objects, max_size=4), st.sampled_from(["Order", "org.acme.Order"]))
def test_items_are_read_back_from_a_snapshot_and_from_a_list(items: list[Any], type_id: str) -> None:
    many = snapshot("MULTI", items, type_id).as_payload()
    assert (many.payload_type_id, plain(many, ALLOWED)) == (SNAPSHOT, items)
    one = snapshot("UNI", items, type_id).as_payload()
    assert plain(one, ALLOWED) == items
    bare = listed(typed(item, type_id) for item in items)
    assert plain(bare, ALLOWED) == items
    assert [plain(part, ALLOWED) for part in parts(bare)] == items


ONE = '{"payloadTypeId":"java.lang.String","payloadEncoding":"application/tpf-transition+json","payload":"\\"v\\""}'


@cases(
    ("type_id", "text", "value"),
    [
        ("java.time.Instant", "-1.5", "1969-12-31T23:59:58.5Z"),
        ("java.time.Instant", "1767323045.123456789", "2026-01-02T03:04:05.123456789Z"),
        ("java.math.BigDecimal", "27.50", 27.5),
        ("java.time.LocalDate", '"2026-01-02"', "2026-01-02"),
        ("null", "whatever", None),
        (LIST, '{"items":null}', []),
        (SET, "{}", []),
        (SNAPSHOT, f'{{"shape":"RAW","payload":{ONE},"items":null,"more":1}}', "v"),
        ("org.acme.Any", '{"a": [1]}', {"a": [1]}),
    ],
)
def test_valid_payloads_are_read(type_id: str, text: str, value: Any) -> None:
    assert plain(payload(type_id, text), ALLOWED) == value


UNSUPPORTED = ["com.acme.X", "org.acmes", "", "java.lang.Object"]
UNDECODABLE = [
    *(("org.acme.X", "{"), ("org.acme.X", '"\\u0000"'), ("java.lang.Integer", "true"), ("java.lang.Boolean", "1")),
    *(("java.time.Instant", "1e400"), (SNAPSHOT, '{"shape":"TWO"}')),
]
NO_MAPS = [
    *("[]", f'{{"items":{{" ":{ONE}}}}}', f'{{"items":{{"k":{ONE}}},"more":1}}', '{"items":{"k":null}}'),
    f'{{"items":{{"k":{ONE[:-1]},"more":"1"}}}}}}',
]


@cases(
    ("type_id", "text", "why"),
    [
        *((name, "{}", f"Unsupported transition payload type: {name}") for name in UNSUPPORTED),
        *((name, text, f"Failed to decode transition payload type {name}") for name, text in UNDECODABLE),
        *((MAP, text, "Failed to decode transition map payload") for text in NO_MAPS),
        (LIST, '{"items":["text"]}', "Failed to decode transition list payload"),
    ],
)
def test_invalid_payloads_are_refused(type_id: str, text: str, why: str) -> None:
    with pytest.raises(PayloadRefused) as caught:
        plain(payload(type_id, text), ALLOWED)
    assert str(caught.value) == why


def test_a_domain_class_is_sent_as_its_transfer_object_only_over_rest() -> None:
    name = "org.x.common.domain.Order"
    assert travelling_type(name, "REST") == "org.x.common.dto.OrderDto"
    assert travelling_type(name, "LOCAL") == travelling_type(name, None) == name
    assert travelling_type("Order", "REST") == "Order"
