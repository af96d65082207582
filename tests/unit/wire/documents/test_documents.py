"""JSON values are counted before they are parsed."""

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cases import cases
from wire.documents.json_reader import (
    MAX_DEPTH,
    MAX_VALUES,
    count_values,
    holds_more_members,
    holds_more_values,
    inspect_value,
    read_object,
)
from wire.documents.json_text import MOST_VALUES, storable
from wire.findings import DocumentError
from wire.messages.rest_messages import Malformed, TransitionResult, parse

MB = 1024 * 1024
EMPTY_OBJECTS = b'{"a": [' + b"{}," * (8 * MB // 3) + b"{}]}"
NESTED = b'{"a": [' + b'{"":[]},' * MB + b"0]}"
texts = st.text(st.sampled_from('"\\,[]{}: x\n\xe9')) | st.text(max_size=5)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
)


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


def counted(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(map(counted, inner))


def members(value: Any) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return (len(value) if isinstance(value, dict) else 0) + sum(map(members, inner))


@given(values, st.sampled_from([None, 1]), st.booleans())
def test_values_are_counted_without_parsing(value: Any, indent: int | None, ascii_only: bool) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    number = counted(value)
    assert count_values(text) == number
    assert holds_more_values(text, number - 1)
    assert not holds_more_values(text, number)
    assert holds_more_members(text, members(value) - 1)
    assert not holds_more_members(text, members(value))


@cases("part", ['[[],{"a:":[]},{}]', '["\\\\","\\"[,",{"b":{}}]'])
@cases("shift", range(17))
def test_values_are_counted_wherever_the_text_is_cut(part: str, shift: int) -> None:
    text = "[" + " " * (64 * 1024 - shift) + part + "," + "[]," * 500 + part + "]"
    assert count_values(text.encode()) == counted(json.loads(text))
    assert holds_more_members(text.encode(), members(json.loads(text)) - 1)
    assert not holds_more_members(text.encode(), members(json.loads(text)))


@cases("long", [b"a," * 100_000, b"a" * 65_533 + b'\\"[', b"\\\\" * 40_000])
def test_a_string_of_any_length_is_one_value(long: bytes) -> None:
    text = b'{"a":["' + long + b'",[],[1]]}'
    assert count_values(text) == counted(json.loads(text))


@cases("text", [EMPTY_OBJECTS, NESTED, EMPTY_OBJECTS[:-2], b"[" * 8 * MB])
def test_a_document_with_too_many_values_is_refused_before_it_is_parsed(text: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(DocumentError) as caught:
            read_object(text, name="it", limit=len(text))
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()
    assert [finding.code for finding in caught.value.findings] == ["DOCUMENT_TOO_MANY_VALUES"]


@cases(
    ("document", "code"),
    [
        ({"a": [0] * MAX_VALUES}, "DOCUMENT_TOO_MANY_VALUES"),
        (nested(MAX_DEPTH + 1), "DOCUMENT_TOO_DEEP"),
        ({"a": ["\0"]}, "DOCUMENT_BAD_CHARACTER"),
        ({"a": {"\ud800": 1}}, "DOCUMENT_BAD_CHARACTER"),
    ],
)
def test_a_stored_document_has_the_same_limits_as_a_new_one(document: dict[str, Any], code: str) -> None:
    assert [finding.code for finding in inspect_value(document, "it")] == [code]


def test_a_document_is_read_up_to_its_bounds() -> None:
    for document in ({"a": [0] * (MAX_VALUES - 2)}, nested(MAX_DEPTH)):
        assert inspect_value(document, "it") == ()
        assert read_object(json.dumps(document).encode(), name="it", limit=MB) == document
    with pytest.raises(DocumentError):
        read_object(json.dumps(nested(MAX_DEPTH + 1)).encode(), name="it", limit=MB)


@cases("text", ['{"a":1,"a":1}', '{"b":[{"a":1,"a":2}]}', '{"a":NaN}', '{"a":1e999}', '{"a":"\\u0000"}'])
def test_an_object_with_findings_is_never_returned(text: str) -> None:
    with pytest.raises(DocumentError):
        read_object(text.encode(), name="it", limit=MB)


def test_payloads_of_workers_are_limited_too() -> None:
    with pytest.raises(ValueError, match=f"more than {MOST_VALUES} values"):
        storable(EMPTY_OBJECTS.decode())
    with pytest.raises(Malformed, match=f"more than {MOST_VALUES} values"):
        parse(TransitionResult, EMPTY_OBJECTS)
