"""Differences of types, field by field, and who is affected by them."""

from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.comparison.releases import contract, facts, field, named, record, scalar, step, wrapper
from wire.comparison import types
from wire.comparison.comparison import compare
from wire.comparison.differences import Impact

CALLERS, PARKED, COMPATIBLE, UNKNOWN = "breaking-for-callers", "breaking-for-parked-work", "compatible", "unknown"
Found = list[tuple[str, str, str]]
ID = field("id")
UNION = {"kind": "union", "variants": [{"discriminator": "a", "payload": scalar("string")}]}
UNION_OF_TWO = {"kind": "union", "variants": [*UNION["variants"], {"discriminator": "b", "payload": scalar("string")}]}


def found_for(before: dict[str, Any], after: dict[str, Any], *, place: str = "input", **more: dict[str, Any]) -> Found:
    """Return the kinds, impacts and paths inside a type that is an input, a result, or between steps."""
    steps = {
        "input": [step("A", inputTypeId="T", outputTypeId="Receipt")],
        "output": [step("A", inputTypeId="Order", outputTypeId="T")],
        "between": [step("A", outputTypeId="T"), step("B", inputTypeId="T")],
    }[place]
    old, new = (contract(*steps, types={"T": each, **more}) for each in (before, after))
    found = compare(facts(old), facts(new))
    prefix = {"input": 'steps["A"].input', "output": 'steps["A"].output', "between": 'steps["A"].output'}[place]
    assert {each.area.value for each in found} <= {"type"}
    assert all(each.path.startswith(prefix) for each in found)
    return [(each.kind.value, each.impact.value, each.path.removeprefix(prefix)) for each in found]


def mapped(value: str, key: str = "string") -> dict[str, Any]:
    return record(field("by", {"kind": "map", "key": scalar(key), "value": scalar(value)}))


ADDED, REMOVED, CHANGED = "added", "removed", "changed"
N, OPTIONAL_N, INTEGER_N = field("n"), field("n", optional=True), field("n", "integer")
CASES: list[tuple[str, str, str, str, dict[str, Any], dict[str, Any]]] = [
    (ADDED, ".n", CALLERS, COMPATIBLE, record(ID), record(ID, N)),
    (ADDED, ".n", COMPATIBLE, COMPATIBLE, record(ID), record(ID, OPTIONAL_N)),
    (REMOVED, ".n", CALLERS, CALLERS, record(ID, N), record(ID)),
    (REMOVED, ".n", CALLERS, COMPATIBLE, record(ID, OPTIONAL_N), record(ID)),
    (CHANGED, ".n", CALLERS, COMPATIBLE, record(OPTIONAL_N), record(N)),
    (CHANGED, ".n", CALLERS, CALLERS, record(N), record(field("n", repeated=True))),
    (CHANGED, ".n", COMPATIBLE, CALLERS, record(INTEGER_N), record(field("n", "number"))),
    (CHANGED, ".n[]", CALLERS, CALLERS, record({**INTEGER_N, "repeated": True}), record(field("n", repeated=True))),
    (ADDED, ".b", COMPATIBLE, CALLERS, UNION, UNION_OF_TWO),
    (REMOVED, ".b", CALLERS, COMPATIBLE, UNION_OF_TWO, UNION),
    (CHANGED, ".by{}", CALLERS, CALLERS, mapped("string"), mapped("integer")),
    (CHANGED, ".by{}", COMPATIBLE, CALLERS, mapped("string", "date"), mapped("string")),
    (CHANGED, ".n", CALLERS, CALLERS, record(field("n", named("Order"))), record(N)),
    (CHANGED, ".n", CALLERS, COMPATIBLE, record(OPTIONAL_N), record({**OPTIONAL_N, "nullable": False})),
    (CHANGED, ".n", CALLERS, COMPATIBLE, record({**N, "nullable": True}), record(N)),
    # What the coordinator does not check, or which has no definition.
    (CHANGED, "", UNKNOWN, UNKNOWN, wrapper(pattern="^a+$"), wrapper(pattern="^b+$")),
    (CHANGED, "", UNKNOWN, UNKNOWN, wrapper(allowedValues=[0]), wrapper(allowedValues=[False])),
    (CHANGED, ".n", UNKNOWN, UNKNOWN, record(field("n", named("java.A"))), record(field("n", named("java.B")))),
    *(
        (CHANGED, place, UNKNOWN, UNKNOWN, *pair)
        for place, pair in (
            ("", (wrapper(rules=["code 1"]), wrapper())),
            ("", (record(ID), record(ID) | {"rules": ["code 1"]})),
            (".n", (record(N), record(N | {"rules": ["code 1"]}))),
            (".n", (record(N | {"repeated": True}), record(N | {"repeated": True, "minItems": 1}))),
        )
    ),
]


@cases(("kind", "path", "inputs", "results", "before", "after"), CASES)
def test_inputs_must_still_be_accepted_and_results_have_the_older_type(
    kind: str, path: str, inputs: str, results: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    assert found_for(before, after) == [(kind, inputs, path)]
    assert found_for(before, after, place="output") == [(kind, results, path)]
    between = PARKED if inputs == CALLERS else inputs
    assert found_for(before, after, place="between") == [(kind, between, path)], "only parked work is concerned"


# A wrapper, and another one that accepts more.
WIDER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "choices": (wrapper(pattern="^(?:a|b)$"), wrapper(pattern="^(?:a|b|c)$")),
    "no choices": (wrapper(pattern="^(?:a|b)$"), wrapper()),
    "shortest": (wrapper(minLength=3), wrapper(minLength=2)),
    "minimum": (wrapper("integer", minimum=2), wrapper("integer", minimum=1)),
    "maximum": (wrapper("number", maximum=1), wrapper("number", maximum=1.5)),
    "strict minimum": (wrapper("number", minimumExclusive=1), wrapper("number", minimum=1)),
    "strict maximum": (wrapper("decimal", maximum=1, maximumExclusive=True), wrapper("decimal", maximum=1)),
    "lengths of numbers": (wrapper("integer", minimum=1), wrapper("integer", maxLength=1)),
}


@cases("case", WIDER)
def test_a_wider_constraint_is_compatible_and_a_narrower_one_breaks_callers(case: str) -> None:
    narrow, wide = WIDER[case]
    assert found_for(narrow, wide) == [("changed", COMPATIBLE, "")]
    if case != "lengths of numbers":
        assert found_for(wide, narrow) == [("changed", CALLERS, "")]


def test_recursive_types_are_compared_once() -> None:
    tree = record(field("left", named("T"), optional=True), field("right", named("T"), optional=True), ID)
    larger = record(*tree["fields"], field("n"))
    assert found_for(tree, tree) == []
    assert found_for(tree, larger) == [("added", CALLERS, ".n")]


def test_types_are_compared_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(types, "MAX_COMPARED", 1)
    order = record(field("line", named("Line")))
    old, new = (
        contract(step("A"), types={"Order": order, "Line": record(field("n", kind))}) for kind in ("string", "uuid")
    )
    found = {(each.impact, each.reason) for each in compare(facts(old), facts(new))}
    assert found == {(Impact.UNKNOWN, "The type is too large to be compared further.")}


@cases(("transport", "impacts"), [("interaction-api", [CALLERS]), ("webhook", [CALLERS]), ("timer", [])])
def test_a_new_value_in_the_request_of_an_await_is_seen_by_those_who_read_it(
    transport: str, impacts: list[str]
) -> None:
    steps = [step("A", outputTypeId="T"), step("Ask", kind="await", awaitTransport=transport, inputTypeId="T")]
    for before, after in ((wrapper(pattern="^(?:a)$"), wrapper(pattern="^(?:a|b)$")), (record(N), record(OPTIONAL_N))):
        old, new = (contract(*steps, step("B"), types={"T": each}) for each in (before, after))
        found = {(each.path, each.impact) for each in compare(facts(old), facts(new)) if "request" in each.path}
        assert [impact for _, impact in found] == impacts
