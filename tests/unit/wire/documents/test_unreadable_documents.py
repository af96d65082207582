"""Bytes that are not a document, or that two parsers would read differently."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.cases import cases
from wire.documents.contract import MAX_CONTRACT_BYTES, parse_contract
from wire.documents.descriptor import MAX_DESCRIPTOR_BYTES, parse_descriptor
from wire.findings import DocumentError

Findings = Callable[[Callable[[bytes], object], bytes], list[tuple[str, str]]]

CONTRACT_PREAMBLE = "Invalid META-INF/pipeline/pipeline-contract.json JSON: "
DESCRIPTOR_PREAMBLE = "Invalid pipeline release descriptor JSON: "
NESTED: Any = {}
for _ in range(70):
    NESTED = {"a": NESTED}


BYTES = [
    ("nothing", b"", "DOCUMENT_NOT_JSON"),
    ("white space", b" \n", "DOCUMENT_NOT_JSON"),
    ("text", b"hello", "DOCUMENT_NOT_JSON"),
    ("an open object", b'{"schemaVersion":1', "DOCUMENT_NOT_JSON"),
    ("a trailing comma", b'{"schemaVersion":1,}', "DOCUMENT_NOT_JSON"),
    ("a comment", b"{} // done", "DOCUMENT_NOT_JSON"),
    ("two documents", b"{}{}", "DOCUMENT_NOT_JSON"),
    ("single quotes", b"{'schemaVersion':1}", "DOCUMENT_NOT_JSON"),
    ("a control character in a string", b'{"module":"\x01"}', "DOCUMENT_NOT_JSON"),
    ("null", b"null", "DOCUMENT_NOT_OBJECT"),
    ("an array", b"[{}]", "DOCUMENT_NOT_OBJECT"),
    ("a string", b'"{}"', "DOCUMENT_NOT_OBJECT"),
    ("a byte order mark", b"\xef\xbb\xbf{}", "DOCUMENT_HAS_BOM"),
    ("Latin-1", '{"module":"café"}'.encode("latin-1"), "DOCUMENT_NOT_UTF8"),
    ("UTF-16", '{"module":"café"}'.encode("utf-16"), "DOCUMENT_NOT_UTF8"),
    ("an encoded surrogate", b'{"module":"\xed\xa0\x80"}', "DOCUMENT_NOT_UTF8"),
    ("an overlong encoding", b'{"module":"\xc0\x80"}', "DOCUMENT_NOT_UTF8"),
    ("65 levels", json.dumps(NESTED).encode(), "DOCUMENT_TOO_DEEP"),
    ("endless levels", b'{"a":' + b"[" * 50_000, "DOCUMENT_TOO_DEEP"),
    ("an endless number", b'{"schemaVersion":' + b"1" * 5000 + b"}", "DOCUMENT_NUMBER_OUT_OF_RANGE"),
    ("too many values", b'{"steps":[' + b"0," * 100_000 + b"0]}", "DOCUMENT_TOO_MANY_VALUES"),
]


@cases(("data", "code"), [row[1:] for row in BYTES])
@cases(
    ("parse", "name", "preamble"),
    [
        (parse_contract, "pipeline-contract.json", CONTRACT_PREAMBLE),
        (parse_descriptor, "pipeline-release.json", DESCRIPTOR_PREAMBLE),
    ],
)
def test_bytes_that_are_not_a_document_are_refused(
    findings_of: Findings, parse: Callable[[bytes], object], name: str, preamble: str, data: bytes, code: str
) -> None:
    assert findings_of(parse, data) == [(code, name)]
    with pytest.raises(DocumentError, match=f"^{preamble}"):
        parse(data)


@cases(
    ("parse", "limit", "name"),
    [
        (parse_contract, MAX_CONTRACT_BYTES, "pipeline-contract.json"),
        (parse_descriptor, MAX_DESCRIPTOR_BYTES, "pipeline-release.json"),
    ],
)
def test_a_document_one_byte_too_large_is_refused(
    findings_of: Findings, parse: Callable[[bytes], object], limit: int, name: str
) -> None:
    assert findings_of(parse, b"{}" + b" " * (limit - 1)) == [("DOCUMENT_TOO_LARGE", name)]
    assert ("DOCUMENT_TOO_LARGE", name) not in findings_of(parse, b"{}" + b" " * (limit - 2))


@cases(
    ("text", "expected"),
    [
        ('"module":"a","module":"b"', [("DOCUMENT_DUPLICATE_KEY", "#module")]),
        ('"module":"a","module":"a","module":"a"', [("DOCUMENT_DUPLICATE_KEY", "#module")]),
        (r'"module":"a","\u006dodule":"b"', [("DOCUMENT_DUPLICATE_KEY", "#module")]),
        ('"steps":[{},{"kind":"a","kind":"b"}]', [("DOCUMENT_DUPLICATE_KEY", "#steps[1].kind")]),
        ('"canonicalTypes":{"T":{"a":1e999}}', [("DOCUMENT_NUMBER_OUT_OF_RANGE", "")]),
        ('"canonicalTypes":{"T":{"a":-Infinity}}', [("DOCUMENT_NUMBER_OUT_OF_RANGE", "")]),
        ('"canonicalTypes":{"T":{"a":NaN}}', [("DOCUMENT_NUMBER_OUT_OF_RANGE", "")]),
        (
            '"canonicalTypes":{"T":{"a":NaN,"b":1,"b":2}},"module":"a","module":7',
            [
                ("DOCUMENT_NUMBER_OUT_OF_RANGE", ""),
                ("DOCUMENT_DUPLICATE_KEY", "#module"),
                ("DOCUMENT_DUPLICATE_KEY", "#canonicalTypes.T.b"),
                ("CONTRACT_WRONG_TYPE", "#module"),
            ],
        ),
    ],
)
def test_json_that_parsers_read_differently_is_refused(
    findings_of: Findings, text: str, expected: list[tuple[str, str]]
) -> None:
    data = '{"schemaVersion":1,"pipelineId":"p","contractVersion":"c","contractHash":"h",' + text + "}"
    found = findings_of(parse_contract, data.encode())
    assert found == [(code, f"pipeline-contract.json{field}") for code, field in expected]


def test_findings_are_bounded(findings_of: Findings) -> None:
    data = json.dumps({f"m{number}": 0 for number in range(2000)}).encode()
    found = findings_of(parse_contract, data)
    assert len(found) == 501
    assert found[-1] == ("DOCUMENT_TOO_MANY_FINDINGS", "pipeline-contract.json")


def test_findings_quote_hostile_names_short_and_storable() -> None:
    document = {"\0\ud800" + "x" * 10_000: 1}
    with pytest.raises(DocumentError) as caught:
        parse_contract(json.dumps(document).encode())
    for finding in caught.value.findings:
        assert len(finding.field) < 500
        assert len(finding.message) < 500
        assert "\0" not in finding.field + finding.message
        (finding.field + finding.message).encode()
