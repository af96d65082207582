import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.documents.examples import findings_of, refused
from wire.documents import json_reader, json_writer
from wire.documents.contract import MAX_CONTRACT_BYTES, parse_contract
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES, parse_descriptor

MB = 1024 * 1024
EMPTY_OBJECTS = b'{"a": [' + b"{}," * (8 * MB // 3) + b"{}]}"
TWICE, RANGE = "DOCUMENT_DUPLICATE_KEY", "DOCUMENT_NUMBER_OUT_OF_RANGE"
Parse = Callable[[bytes], object]
PARSERS: list[tuple[Parse, int]] = [(parse_contract, MAX_CONTRACT_BYTES), (parse_descriptor, MAX_DESCRIPTOR_BYTES)]


def nested(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {}
    for _ in range(levels - 1):
        inner = {"a": inner}
    return inner


def counted(value: Any) -> tuple[int, int]:
    inner = [*(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())]
    numbers = [counted(member) for member in inner]
    named = len(inner) if isinstance(value, dict) else 0
    return 1 + sum(values for values, _ in numbers), named + sum(names for _, names in numbers)


@cases("shift", range(17))
def test_values_are_counted_wherever_the_text_is_cut(shift: int) -> None:
    part = '["\\\\","\\"[,",{"b:":{}}]'
    text = f"[{' ' * (64 * 1024 - shift)}{part},{'[],' * 500}{part}]".encode()
    number, named = counted(json.loads(text))
    assert json_reader.count_values(text) == number
    assert [json_reader.holds_more_values(text, limit) for limit in (number - 1, number)] == [True, False]
    assert [json_reader.holds_more_members(text, limit) for limit in (named - 1, named)] == [True, False]


@cases("text", [EMPTY_OBJECTS, b"[" * 8 * MB])
def test_a_document_with_too_many_values_is_refused_before_it_is_parsed(text: bytes) -> None:
    tracemalloc.start()
    try:
        findings = findings_of(lambda data: json_reader.read_object(data, name="it", limit=len(text)), text)
        assert tracemalloc.get_traced_memory()[1] < 5 * len(text)
    finally:
        tracemalloc.stop()
    assert findings == [("DOCUMENT_TOO_MANY_VALUES", "")]


@cases(
    ("document", "code"),
    [
        ({"a": [0] * (json_reader.MAX_VALUES - 1)}, "DOCUMENT_TOO_MANY_VALUES"),
        (nested(json_reader.MAX_DEPTH + 1), "DOCUMENT_TOO_DEEP"),
        ({"a": ["\0"]}, "DOCUMENT_BAD_CHARACTER"),
        ({"a": {"\ud800": 1}}, "DOCUMENT_BAD_CHARACTER"),
    ],
)
def test_a_stored_document_has_the_same_limits_as_a_new_one(document: dict[str, Any], code: str) -> None:
    assert [finding.code for finding in json_reader.inspect_value(document, "it")] == [code]
    findings = refused(lambda data: json_reader.read_object(data, name="it", limit=MB), document)
    assert [finding.code for finding in findings] == [code]


@cases("document", [{"a": [0] * (json_reader.MAX_VALUES - 2)}, nested(json_reader.MAX_DEPTH)])
def test_a_document_is_read_up_to_its_bounds(document: dict[str, Any]) -> None:
    assert json_reader.inspect_value(document, "it") == ()
    assert json_reader.read_object(json.dumps(document).encode(), name="it", limit=MB) == document


BYTES: dict[str, list[bytes]] = {
    "DOCUMENT_NOT_JSON": [b"", b'{"schemaVersion":1,}', b"{}{}", b'{"module":"\x01"}'],
    "DOCUMENT_NOT_OBJECT": [b"null", b"[{}]"],
    "DOCUMENT_HAS_BOM": [b"\xef\xbb\xbf{}"],
    "DOCUMENT_NOT_UTF8": ['{"module":"café"}'.encode("latin-1"), b'{"module":"\xed\xa0\x80"}'],
    "DOCUMENT_TOO_DEEP": [json.dumps(nested(70)).encode(), b'{"a":' + b"[" * 50_000],
    "DOCUMENT_NUMBER_OUT_OF_RANGE": [b'{"schemaVersion":' + b"1" * 5000 + b"}"],
    "DOCUMENT_TOO_MANY_VALUES": [b'{"steps":[' + b"0," * 100_000 + b"0]}"],
}


@cases(("data", "code"), [(data, code) for code, rows in BYTES.items() for data in rows])
@cases("parse", [parse_contract, parse_descriptor])
def test_bytes_that_are_not_a_document_are_refused(parse: Parse, data: bytes, code: str) -> None:
    assert findings_of(parse, data) == [(code, "")]


@cases(("parse", "limit"), PARSERS)
def test_a_document_one_byte_too_large_is_refused(parse: Parse, limit: int) -> None:
    assert findings_of(parse, b"{}" + b" " * (limit - 1)) == [("DOCUMENT_TOO_LARGE", "")]
    assert ("DOCUMENT_TOO_LARGE", "") not in findings_of(parse, b"{}" + b" " * (limit - 2))


@cases(
    ("text", "expected"),
    [
        ('"module":"a","module":"b"', [(TWICE, "module")]),
        (r'"module":"a","\u006dodule":"b"', [(TWICE, "module")]),
        ('"steps":[{},{"kind":"a","kind":"b"}]', [(TWICE, "steps[1].kind")]),
        (
            '"canonicalTypes":{"T":{"a":NaN,"b":1,"b":2}},"module":"a","module":7',
            [(RANGE, ""), (TWICE, "module"), (TWICE, "canonicalTypes.T.b"), ("CONTRACT_WRONG_TYPE", "module")],
        ),
    ],
)
def test_json_that_parsers_read_differently_is_refused(text: str, expected: list[tuple[str, str]]) -> None:
    data = '{"schemaVersion":1,"pipelineId":"p","contractVersion":"c","contractHash":"h",' + text + "}"
    findings = refused(parse_contract, data.encode())
    assert [(finding.code, finding.field.partition("#")[2]) for finding in findings] == expected


def test_findings_are_bounded_and_quote_hostile_names_short_and_storable() -> None:
    assert len(refused(parse_contract, {f"m{number}": 0 for number in range(2000)})) == 501
    for finding in refused(parse_contract, {"\0\ud800" + "x" * 10_000: 1}):
        assert max(len(finding.field), len(finding.message)) < 500
        assert "\0" not in finding.field + finding.message
        (finding.field + finding.message).encode()


def test_values_that_look_alike_differ() -> None:
    values = [1, "1", True, [1], {"1": 1}, None, [], {}, "", "1.0", "null", "é", "e\u0301", "\ud800", 2**53 + 1]
    assert len({json_writer.digest(value) for value in values}) == len(values)


@cases("value", [float("inf"), float("nan")])
def test_a_number_that_is_not_finite_has_no_digest(value: float) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        json_writer.digest([1.0, value])
