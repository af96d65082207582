from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import field, named, record, scalar, wrapper
from wire.documents.canonical_types import MAX_MISMATCHES, mismatches

SCALARS = ("string", "integer", "number", "boolean", "decimal", "date", "datetime", "uuid", "json", "riddle")


def variants(**payloads: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"discriminator": name, "payload": payload} for name, payload in payloads.items()]


DEFINITIONS: dict[str, dict[str, Any]] = {
    "Order": record(
        field("amount", "decimal"),
        field("id", "uuid"),
        field("labels", {"key": scalar("string"), "kind": "map", "value": scalar("integer")}, optional=True),
        field("lines", named("Line"), repeated=True, optional=True),
        field("note", optional=True),
        field("parent", named("Order"), optional=True),
    ),
    "Line": record(field("count", named("Count"))),
    "Count": wrapper("integer", minimum=1, maximumExclusive=100),
    "Price": wrapper("decimal", minimum="0", minimumExclusive=True, maximum=10),
    "Code": wrapper(minLength=2, maxLength=3, pattern="(a+)+$"),
    "Colour": wrapper(pattern=r"^(?:light\ blue|red\|green)$"),
    "Alias": {"kind": "alias", "target": named("Code")},
    "Loop": {"kind": "alias", "target": named("Loop")},
    "Reply": {"kind": "union", "variants": variants(accepted=named("Line"), refused=scalar("string"))},
    "Paid": {
        **{"kind": "choice", "tag": "by"},
        "variants": [{"discriminator": "(null)"}, *variants(**{"(number)": scalar("integer"), "card": named("Card")})],
    },
    "Card": record(field("by"), field("number", named("Digit"))),
    "Digit": wrapper("integer", allowedValues=[1, 3]),
    "ByDay": {"kind": "alias", "target": {"key": scalar("date"), "kind": "map", "value": scalar("json")}},
    **{f"of-{name}": {"kind": "alias", "target": scalar(name)} for name in SCALARS},
}
TYPES = {
    name: {"definition": {"id": f"id.{name}", **definition}, "runtimeClass": f"org.x.{name}"}
    for name, definition in DEFINITIONS.items()
}
UUID = "6f0a3f0e-6d5f-4a65-9f0b-1e2d3c4b5a69"
ORDER = {"amount": "1.50", "id": UUID}

ACCEPTED: dict[str, list[Any]] = {
    "Order": [ORDER, {**ORDER, "note": None, "lines": [], "labels": {"a": 1}, "parent": {**ORDER, "note": "x"}}],
    **{"id.Order": [ORDER], "org.x.Order": [ORDER], "Unknown": [{"any": "thing"}]},
    **{"Count": [1, 99], "Price": ["0.01", "10"], "Code": ["zz"], "Colour": ["light blue", "red|green"]},
    **{"Alias": ["abc"], "Loop": ["anything"], "Reply": [{"refused": "no"}, {"accepted": {"count": 3}}]},
    **{"Paid": [None, 7, {"by": "card", "number": 3}]},
    **{"ByDay": [{"2026-01-02": None}], "of-riddle": [1], "of-json": [[{"a": None}]], "of-number": [1, 1.5]},
    **{"of-date": ["2026-01-02"], "of-datetime": ["2026-01-02T03:04:05.678Z"], "of-decimal": ["-1E+3"]},
}
OBJECT, ARRAY, REQUIRED = "must be an object", "must be an array", "is required"
INTEGER, DECIMAL = "must be an integer", "must be a decimal number in a string"
VARIANT = "must be an object of one member, which is one of: accepted, refused"
REFUSED: dict[str, list[tuple[str, Any, str]]] = {
    REQUIRED: [
        *(("Order", value, ".amount") for value in ({"id": UUID}, {"id": UUID, "amount": None})),
        ("Order", {**ORDER, "parent": {"amount": "1"}}, ".parent.id"),
    ],
    "must be one of: card": [("Paid", {"by": "cash"}, ".by"), ("Paid", {"number": 3}, ".by")],
    "must be one of: an object, a number, null": [("Paid", "7", ""), ("Paid", [], "")],
    "must be one of: 1, 3": [("Paid", {"by": "card", "number": 2}, ".number")],
    "is not a member of the type": [("Order", {**ORDER, "extra": 1}, ".extra")],
    OBJECT: [("Order", None, ""), ("Order", {**ORDER, "lines": [None]}, ".lines[0]")],
    ARRAY: [("Order", {**ORDER, "lines": {}}, ".lines")],
    DECIMAL: [
        ("Order", {**ORDER, "amount": 1.5}, ".amount"),
        *(("of-decimal", value, "") for value in ("NaN", "1e9999999", "-1e-9999999")),
    ],
    INTEGER: [
        ("Order", {**ORDER, "lines": [{"count": 1}, {"count": "1"}]}, ".lines[1].count"),
        ("Order", {**ORDER, "labels": {"a": "1"}}, ".labels.a"),
        ("Count", True, ""),
        ("of-integer", 1.0, ""),
    ],
    VARIANT: [("Reply", value, "") for value in ({}, {"maybe": 1}, {"refused": "no", "accepted": {"count": 3}})],
    "must be a string": [("Reply", {"refused": 1}, ".refused"), ("of-string", 1, "")],
    "must be a UUID in a string": [("Order", {**ORDER, "id": "x"}, ".id")],
    "must be at least 1": [("Count", 0, "")],
    "must be less than 100": [("Count", 100, "")],
    "must be greater than 0": [("Price", "0", "")],
    "must be at most 10": [("Price", "10.01", "")],
    "must have at least 2 characters": [("Code", "a", "")],
    "must have at most 3 characters": [("Alias", "abcd", "")],
    "must be one of: light blue, red|green": [("Colour", "red", "")],
    "the key must be a date as YYYY-MM-DD in a string": [("ByDay", {"today": 1}, ".today")],
    "must be a number": [("of-number", value, "") for value in ("1", False)],
    "must be true or false": [("of-boolean", 0, "")],
    "must be a date as YYYY-MM-DD in a string": [("of-date", "yesterday", "")],
    "must be an RFC 3339 date and time in a string": [("of-datetime", 0, "")],
}


@cases(("type_id", "value"), [(type_id, value) for type_id, values in ACCEPTED.items() for value in values])
def test_a_value_of_the_type_is_accepted(type_id: str, value: Any) -> None:
    assert mismatches(TYPES, type_id, value) == []


@cases(("type_id", "value", "path", "rule"), [(*row, rule) for rule, refused in REFUSED.items() for row in refused])
def test_a_value_of_another_type_is_refused(type_id: str, value: Any, path: str, rule: str) -> None:
    assert mismatches(TYPES, type_id, value) == [(path, rule)]


def test_a_hostile_pattern_is_not_run() -> None:
    types = {"T": {"definition": {"kind": "wrapper", "wraps": scalar("string"), "pattern": "^(?:(a+)+)$"}}}
    assert mismatches(types, "T", "a" * 50 + "!") == []


def test_every_mismatch_is_found_up_to_a_bound() -> None:
    assert mismatches(TYPES, "Order", {}) == [(".amount", REQUIRED), (".id", REQUIRED)]
    assert len(mismatches(TYPES, "Order", {**ORDER, "lines": [1] * 1000})) == MAX_MISMATCHES


def test_names_that_come_from_the_value_can_be_hidden() -> None:
    value = {"amount": "1", "id": "x", "labels": {"secret": "y"}, "other": 1, "known": 2}
    shown = mismatches(TYPES, "Order", value, shown={"known"})
    other = "is not a member of the type"
    assert shown == [(".id", "must be a UUID in a string"), (".labels{}", INTEGER), ("{}", other), (".known", other)]
    assert [rule for _, rule in shown] == [rule for _, rule in mismatches(TYPES, "Order", value)]
