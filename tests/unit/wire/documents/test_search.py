from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import catalogue, field, named, record, wrapper
from wire.documents.search import values_of
from wire.documents.search_types import fields_of

TYPES = catalogue(
    Order=record(
        field("text"),
        field("flag", "boolean"),
        field("number", "number"),
        field("decimal", "decimal"),
        field("colour", named("Colour")),
        field("on", "date"),
        field("at", "datetime"),
        field("any", "json"),
        field("lines", named("Line"), repeated=True),
        field("line", named("Line"), nullable=True),
    ),
    Line=record(field("sku", "uuid")),
    Colour=wrapper(pattern="^(?:red|blue)$"),
)
NAMES = ("text", "flag", "number", "decimal", "colour", "on", "at", "any", "lines", "line.sku", "line", "none")
FIELDS = fields_of({name.replace(".", "-"): name for name in NAMES}, TYPES, "Order")


def test_only_single_texts_numbers_and_times_are_searched() -> None:
    assert {field.name: field.kind.value for field in FIELDS} == {
        **dict.fromkeys(("text", "flag", "colour", "line-sku"), "text"),
        **dict.fromkeys(("number", "decimal"), "number"),
        **dict.fromkeys(("on", "at"), "time"),
    }


@cases(
    ("value", "indexed"),
    [
        ({"text": "é" * 300, "flag": False}, {"text": "é" * 200, "flag": "false"}),
        ({"text": "", "colour": "red", "line": None}, {"colour": "red"}),
        ({"number": 10**15, "decimal": "1E+3"}, {"number": 10**15, "decimal": 1000}),
        ({"number": 0.1, "decimal": "-.50"}, {"number": 0.1, "decimal": -0.5}),
        ({"number": 10**40, "decimal": "1e6144"}, {}),
        ({"number": True, "decimal": "NaN", "line": {"sku": 1}}, {}),
        ({"on": "2026-02-01", "at": "2026-02-01T01:30:00+02:00"}, {"on": "2026-02-01T00", "at": "2026-01-31T23:30"}),
        ({"on": "9999-99-99", "at": "0001-01-01T00:00:00+14:00"}, {}),
        ({"at": "2026-02-01t01:30:00,5z"}, {"at": "2026-02-01T01:30:00.5"}),
        ({"line": {"sku": "u-1"}, "more": 1}, {"line-sku": "u-1"}),
        (["text"], {}),
        (None, {}),
    ],
)
def test_values_are_read_by_their_kind_and_what_cannot_be_indexed_is_left_out(
    value: Any, indexed: dict[str, Any]
) -> None:
    texts = {row["name"]: text for row in values_of(FIELDS, value) for kind, text in row.items() if kind != "name"}
    assert texts.keys() == indexed.keys()
    for name, expected in indexed.items():
        read = texts[name]
        assert read.startswith(expected) if isinstance(expected, str) else float(read) == expected
