import json
from typing import Any

from tests.cases import cases
from tests.raising import error_of
from wire.documents.declarations import flat, merged, read, written
from wire.findings import DocumentError

DESCRIPTIONS: list[dict[str, Any]] = [
    *({"sort": []}, {"order": "a"}, {"fields": []}),
    *({"fields": {"a": value}} for value in ({"titel": "T"}, {"unit": "x" * 21}, {"examples": ["x"] * 6})),
]


@cases(
    ("document", "field", "problem"),
    [
        ("", "", "JSON"),
        ("[]", "", "object"),
        ("[" * 10**5, "", ""),
        ({"retries": {}}, "retries", "no declaration retries"),
        ({"search": []}, "search", "no object"),
        ({"search": {"a": 1}}, "search", "the path 1"),
        ({"search": {"a b": "c"}}, "search", "the name 'a b'"),
        ({"search": {"a": "b..c"}}, "search", "the path 'b..c'"),
        ({"search": {"a": ""}}, "search", "the path ''"),
        ({"search": {f"n{number}": "path" for number in range(9)}}, "search", "names 9 fields"),
        *(({"types": {"T": wrong}}, "types", "T") for wrong in DESCRIPTIONS),
    ],
)
def test_wrong_declarations_are_refused_with_their_member(document: Any, field: str, problem: str) -> None:
    data = (document if isinstance(document, str) else json.dumps(document)).encode()
    [finding] = error_of(DocumentError, read, data).findings
    assert (finding.code, finding.field.partition("#")[2]) == ("ARTIFACT_DECLARATIONS_INVALID", field)
    assert problem in finding.message


def test_what_is_written_is_read_and_joined_by_name() -> None:
    first, second = {"search": {"customer": "customer.id", "sum": "total"}}, {"search": {"sum": "sum"}}
    assert read(written(first).encode()) == first
    joined = merged([first, second])
    assert joined == {"search": {"customer": "customer.id", "sum": "sum"}}
    assert flat(joined) == {'search["customer"]': "customer.id", 'search["sum"]': "sum"}
