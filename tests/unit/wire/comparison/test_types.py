"""Differences of types, field by field, and who is affected by them."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import contract, facts, field, named, record, scalar, step, wrapper
from wire.comparison.comparison import compare

CALLERS, PARKED, COMPATIBLE, UNKNOWN = "breaking-for-callers", "breaking-for-parked-work", "compatible", "unknown"
Found = list[tuple[str, str, str]]
ID = field("id")


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


UNION = {"kind": "union", "variants": [{"discriminator": "a", "payload": scalar("string")}]}
UNION_OF_TWO = {"kind": "union", "variants": [*UNION["variants"], {"discriminator": "b", "payload": scalar("string")}]}


def mapped(value: str, key: str = "string") -> dict[str, Any]:
    return record(field("by", {"kind": "map", "key": scalar(key), "value": scalar(value)}))


# The older type, the newer type, and what happens to inputs and to results.
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], Found, Found]] = {
    "required field added": (
        record(ID),
        record(ID, field("n")),
        [("added", CALLERS, ".n")],
        [("added", COMPATIBLE, ".n")],
    ),
    "optional field added": (
        record(ID),
        record(ID, field("n", optional=True)),
        [("added", COMPATIBLE, ".n")],
        [("added", COMPATIBLE, ".n")],
    ),
    "required field removed": (
        record(ID, field("n")),
        record(ID),
        [("removed", CALLERS, ".n")],
        [("removed", CALLERS, ".n")],
    ),
    "optional field removed": (
        record(ID, field("n", optional=True)),
        record(ID),
        [("removed", CALLERS, ".n")],
        [("removed", COMPATIBLE, ".n")],
    ),
    "became required": (
        record(field("n", optional=True)),
        record(field("n")),
        [("changed", CALLERS, ".n")],
        [("changed", COMPATIBLE, ".n")],
    ),
    "repeated": (
        record(field("n")),
        record(field("n", repeated=True)),
        [("changed", CALLERS, ".n")],
        [("changed", CALLERS, ".n")],
    ),
    "wider scalar": (
        record(field("n", "integer")),
        record(field("n", "number")),
        [("changed", COMPATIBLE, ".n")],
        [("changed", CALLERS, ".n")],
    ),
    "other scalar": (
        record(field("n", "integer", repeated=True)),
        record(field("n", "string", repeated=True)),
        [("changed", CALLERS, ".n[]")],
        [("changed", CALLERS, ".n[]")],
    ),
    "variant added": (UNION, UNION_OF_TWO, [("added", COMPATIBLE, ".b")], [("added", CALLERS, ".b")]),
    "variant removed": (UNION_OF_TWO, UNION, [("removed", CALLERS, ".b")], [("removed", COMPATIBLE, ".b")]),
    "values of a map": (
        mapped("string"),
        mapped("integer"),
        [("changed", CALLERS, ".by{}")],
        [("changed", CALLERS, ".by{}")],
    ),
    "keys of a map": (
        mapped("string", "date"),
        mapped("string"),
        [("changed", COMPATIBLE, ".by{}")],
        [("changed", CALLERS, ".by{}")],
    ),
    "a record and a scalar": (
        record(field("n", named("Order"))),
        record(field("n")),
        [("changed", CALLERS, ".n")],
        [("changed", CALLERS, ".n")],
    ),
    "pattern in another dialect": (
        wrapper(pattern="^a+$"),
        wrapper(pattern="^b+$"),
        [("changed", UNKNOWN, "")],
        [("changed", UNKNOWN, "")],
    ),
    "format": (wrapper(format="iban"), wrapper(format="bic"), [("changed", UNKNOWN, "")], [("changed", UNKNOWN, "")]),
    "allowed values that Python calls equal": (
        wrapper(allowedValues=[0]),
        wrapper(allowedValues=[False]),
        [("changed", UNKNOWN, "")],
        [("changed", UNKNOWN, "")],
    ),
    "constraint of a field that the coordinator does not check": (
        record(field("n", repeated=True, minItems=1)),
        record(field("n", repeated=True, minItems=2)),
        [("changed", UNKNOWN, ".n")],
        [("changed", UNKNOWN, ".n")],
    ),
    "a type without a definition": (
        record(field("n", named("java.lang.Object"))),
        record(field("n", named("java.lang.Number"))),
        [("changed", UNKNOWN, ".n")],
        [("changed", UNKNOWN, ".n")],
    ),
    "any JSON from now on": (
        record(field("n", "integer")),
        record(field("n", "json")),
        [("changed", COMPATIBLE, ".n")],
        [("changed", CALLERS, ".n")],
    ),
}


@cases("case", CASES)
def test_inputs_must_still_be_accepted(case: str) -> None:
    before, after, expected, _ = CASES[case]
    assert found_for(before, after) == expected


@cases("case", CASES)
def test_results_must_still_have_the_older_type(case: str) -> None:
    before, after, _, expected = CASES[case]
    assert found_for(before, after, place="output") == expected


@cases("case", CASES)
def test_types_between_steps_concern_parked_work_only(case: str) -> None:
    before, after, of_inputs, _ = CASES[case]
    expected = [(kind, PARKED if impact == CALLERS else impact, path) for kind, impact, path in of_inputs]
    assert found_for(before, after, place="between") == expected


# A wrapper, and another one that accepts more.
WIDER: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "choices": (wrapper(pattern="^(?:a|b)$"), wrapper(pattern="^(?:a|b|c)$")),
    "no choices": (wrapper(pattern="^(?:a|b)$"), wrapper()),
    "longest": (wrapper(maxLength=3), wrapper(maxLength=4)),
    "no longest": (wrapper(maxLength=3), wrapper()),
    "shortest": (wrapper(minLength=3), wrapper(minLength=2)),
    "minimum": (wrapper("integer", minimum=2), wrapper("integer", minimum=1)),
    "no minimum": (wrapper("decimal", minimum="0.5"), wrapper("decimal")),
    "maximum": (wrapper("number", maximum=1), wrapper("number", maximum=1.5)),
    "strict minimum": (wrapper("number", minimumExclusive=1), wrapper("number", minimum=1)),
    "strict maximum": (wrapper("decimal", maximum=1, maximumExclusive=True), wrapper("decimal", maximum=1)),
    "zero is not false": (wrapper("decimal", maximumExclusive=0), wrapper("decimal", maximumExclusive=False)),
    "choices that are long enough": (wrapper(pattern="^(?:aa|bb)$"), wrapper(minLength=1)),
    "lengths of numbers": (wrapper("integer", minimum=1), wrapper("integer", maxLength=1)),
}


@cases("case", WIDER)
def test_a_wider_constraint_is_compatible_and_a_narrower_one_breaks_callers(case: str) -> None:
    narrow, wide = WIDER[case]
    assert found_for(narrow, wide) == [("changed", COMPATIBLE, "")]
    if case != "lengths of numbers":
        assert found_for(wide, narrow) == [("changed", CALLERS, "")]


def test_a_difference_names_both_values_and_the_reason() -> None:
    steps = step("A", inputTypeId="T")
    old, new = contract(steps, types={"T": wrapper(maxLength=4)}), contract(steps, types={"T": wrapper(maxLength=3)})
    [found] = compare(facts(old), facts(new))
    assert (found.before, found.after) == ("T (string), at most 4 characters", "T (string), at most 3 characters")
    assert found.reason == "Some inputs that were accepted are refused."
    assert found.to_json()["impact"] == CALLERS


def test_fields_are_found_at_any_depth() -> None:
    order = record(field("lines", named("Line"), repeated=True))
    line, dearer = record(field("price", named("Price"))), record(field("price", named("Price")), field("tax"))
    old, new = (
        contract(
            step("Validate", inputTypeId="T"),
            types={"T": order, "Line": each, "Price": wrapper("decimal", minimum=bound)},
        )
        for each, bound in ((line, "0"), (dearer, "1"))
    )
    assert [each.path for each in compare(facts(old), facts(new))] == [
        'steps["Validate"].input.lines[].price',
        'steps["Validate"].input.lines[].tax',
    ]


def test_recursive_types_are_compared_once() -> None:
    tree = record(field("left", named("T"), optional=True), field("right", named("T"), optional=True), ID)
    larger = record(*tree["fields"], field("n"))
    assert found_for(tree, tree) == []
    assert found_for(tree, larger) == [("added", CALLERS, ".n")]


def test_a_type_of_which_there_is_no_value_breaks_nobody() -> None:
    endless = record(field("next", named("T")))
    assert found_for(endless, record(*endless["fields"], field("n"))) == [("added", UNKNOWN, ".n")]


def test_another_name_of_an_equal_type_is_compatible() -> None:
    old, new = (
        contract(step("A", inputTypeId=name), types={"Order": record(ID), "T": record(ID)}) for name in ("Order", "T")
    )
    [found] = compare(facts(old), facts(new))
    assert (found.path, found.impact, found.before, found.after) == ('steps["A"].input', COMPATIBLE, "Order", "T")


def test_the_input_of_the_first_step_counts_whatever_its_name_is() -> None:
    old = contract(step("A", inputTypeId="T"), types={"T": record(ID)})
    new = contract(step("B", inputTypeId="T"), types={"T": record(ID, field("n"))})
    assert (CALLERS, 'steps["B"].input.n') in [
        (each.impact.value, each.path) for each in compare(facts(old), facts(new))
    ]
