from dataclasses import replace
from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.comparison.releases import Row, contract, facts, field, named, record, scalar, step, wrapper
from wire.comparison import types
from wire.comparison.comparison import checkpoint_differences, compare, taken_type
from wire.comparison.differences import MAX_DIFFERENCES, Impact, Package, Provenance
from wire.documents.contract import Contract

CALLERS, PARKED, COMPATIBLE = "breaking-for-callers", "breaking-for-parked-work", "compatible"
SAME = {"inputTypeId": "Order", "outputTypeId": "Order"}
A, B, C, D = (step(name, **SAME) for name in "ABCD")
QUESTION = {"kind": "await", "awaitTransport": "interaction-api"}
ENVIRONMENT = {"implementation": "CPython", "version": "3.12.1", "platform": "linux", "distributions": []}
NEWER, BUILT = {**ENVIRONMENT, "version": "3.13.0"}, {"environments": {"app": ENVIRONMENT}}
SOURCE = Provenance("https://builder", "https://source@main", "gitCommit:1")
NEXT = replace(SOURCE, commit="gitCommit:2")
UNKNOWN = "unknown"
NAMELESS = {**A, "authoredName": None}
AWAITING = {**B, **QUESTION}
AWAITING_FIRST = {**A, **QUESTION}
BOTH = {**B, "takesRequest": True, "inputTypeId": "A#request-and-answer"}
OF_A_LIST, OF_MANY = {"cardinality": "MANY_TO_ONE"}, {"cardinality": "ONE_TO_MANY"}
Rows = list[tuple[str, str]]
ORDER = record(field("id"))
OPAQUE = field("id", named("Opaque"))
Found = list[tuple[str, str, str]]
ID = field("id")
UNION = {"kind": "union", "variants": [{"discriminator": "a", "payload": scalar("string")}]}
UNION_OF_TWO = {"kind": "union", "variants": [*UNION["variants"], {"discriminator": "b", "payload": scalar("string")}]}
CHOICE, CHOICE_OF_TWO = ({**union, "kind": "choice", "tag": "kind"} for union in (UNION, UNION_OF_TWO))
ADDED, REMOVED, CHANGED = "added", "removed", "changed"
N, OPTIONAL_N, INTEGER_N = field("n"), field("n", optional=True), field("n", "integer")


def rows(before: Contract, after: Contract) -> list[Row]:
    differences = compare(facts(before), facts(after))
    return [(change.area.value, change.kind.value, change.impact.value, change.path) for change in differences]


def parked(kind: str, path: str, area: str = "step") -> Row:
    return (area, kind, PARKED, f"steps{path}")


OTHER_CARDINALITY = parked("changed", '["A"].cardinality')
CASES: list[tuple[list[dict[str, Any]], list[dict[str, Any]], list[Row]]] = [
    ([A, B], [A, B], []),
    ([A], [A, B], [("step", "added", COMPATIBLE, 'steps["B"]')]),
    ([A], [B, A], [parked("added", '["B"]')]),
    ([A, B], [A, C, B], [parked("added", '["C"]')]),
    ([A, B], [A], [parked("removed", '["B"]')]),
    ([A, B, C, D], [B, C, D, A], [parked("moved", '["A"]')]),
    ([A, B], [A, AWAITING], [parked("added", '["B"].awaitTransport'), parked("changed", '["B"].kind')]),
    ([A], [{**A, **OF_A_LIST}], [("step", "changed", CALLERS, 'steps["A"].input'), OTHER_CARDINALITY]),
    ([{**A, **OF_MANY}, {**B, **OF_A_LIST}], [A, B], [OTHER_CARDINALITY, parked("changed", '["B"].cardinality')]),
    ([AWAITING_FIRST, BOTH], [AWAITING_FIRST, B], [parked("changed", '["B"].input')]),
    ([AWAITING_FIRST, BOTH], [AWAITING_FIRST, BOTH], []),
]


@cases(("before", "after", "expected"), CASES)
def test_steps_are_compared_by_name(before: Any, after: Any, expected: list[Row]) -> None:
    assert rows(contract(*before), contract(*after)) == expected


@cases(
    ("before", "after", "expected"),
    [
        ({"signers": ["eva"]}, {"signers": []}, [("removed", "unknown", "signatures")]),
        ({"signers": None}, {"signers": ["eva"]}, []),
        ({"checkpoints": False}, {"checkpoints": True}, [("added", COMPATIBLE, "checkpoints")]),
        ({"packages": [Package("b", "1")]}, {"packages": []}, [("removed", COMPATIBLE, 'packages["b"]')]),
        ({"packages": [Package("b", "1")]}, {"packages": None}, [("changed", "unknown", "packages")]),
        ({"provenance": [SOURCE]}, {"provenance": [NEXT]}, [("changed", COMPATIBLE, "provenance.commit")]),
        (BUILT, {}, [("removed", "unknown", 'environments["app"]')]),
        (BUILT, {"environments": {"app": NEWER}}, [("changed", COMPATIBLE, 'environments["app"].version')]),
    ],
)
def test_evidence_and_environments_are_compared(before: Any, after: Any, expected: Any) -> None:
    differences = compare(replace(facts(None), **before), replace(facts(None), **after))
    assert [(change.kind.value, change.impact.value, change.path) for change in differences] == expected


def test_differences_are_bounded() -> None:
    packages = [Package(str(number)) for number in range(MAX_DIFFERENCES + 9)]
    differences = compare(replace(facts(None), packages=[]), replace(facts(None), packages=packages))
    assert (len(differences), differences[-1].reason[:18]) == (MAX_DIFFERENCES + 1, "9 more differences")


def changes(before: Contract, after: Contract, step_index: int = 1) -> Rows:
    differences = checkpoint_differences(before, after, step_index)
    assert all(change.reason for change in differences)
    return [(change.impact.value, change.path) for change in differences]


def broken(*paths: str) -> Rows:
    return [(PARKED, f"steps{path}") for path in paths]


STEPS: list[tuple[list[dict[str, Any]], list[dict[str, Any]], Rows]] = [
    # what comes after the checkpoint, and classes of steps that have run, may change
    ([A, B, C], [A, B, C, D], []),
    ([A, B, C], [A, B, {**C, **QUESTION}], []),
    ([A, B], [{**A, "runtimeClass": "x:y"}, B], []),
    # the steps before it and the next one may not
    ([A, B, C], [B, C], broken('["A"]')),
    ([A, B], [B, A], broken('["B"]')),
    ([A, B], [{**A, **OF_MANY}, B], [(CALLERS, 'steps["B"].output'), *broken('["A"].cardinality')]),
    ([A, B], [A, {**B, **QUESTION}], broken('["B"].awaitTransport', '["B"].kind')),
    # steps that have the same name, or none, prove nothing
    ([NAMELESS, B], [NAMELESS, B, C], [(UNKNOWN, 'steps["step 1"]')]),
]


@cases(("before", "after", "expected"), STEPS)
def test_the_steps_up_to_the_checkpoint_must_be_the_same(before: Any, after: Any, expected: Rows) -> None:
    assert changes(contract(*before), contract(*after)) == expected


def typed(types: dict[str, dict[str, Any]], taken: str = "Order") -> Contract:
    return contract(A, {**B, "inputTypeId": taken}, types=types)


TYPES: list[tuple[dict[str, Any], dict[str, Any], Rows]] = [
    (ORDER, record(field("id"), field("note", optional=True)), []),
    (record(field("id"), field("n")), ORDER, [(PARKED, "checkpoint.n")]),
    (ORDER, record(field("id", "integer")), [(PARKED, "checkpoint.id")]),
    (record(OPAQUE), record(OPAQUE, field("note", optional=True)), [(UNKNOWN, "checkpoint.id")]),
]


@cases(("before", "after", "expected"), TYPES)
def test_the_next_step_must_accept_every_value_that_may_be_stored(before: Any, after: Any, expected: Rows) -> None:
    assert changes(typed({"Order": before}), typed({"Order": after})) == expected


def test_what_the_contract_does_not_explain_proves_nothing() -> None:
    name = "Unknown"
    before = contract({**A, "outputTypeId": name}, {**B, "inputTypeId": name})
    after = contract({**A, "outputTypeId": name}, {**B, "inputTypeId": name}, C)
    assert changes(before, after) == [(UNKNOWN, "checkpoint")]
    assert changes(contract(A, B), contract(A, B, transport="grpc")) == [(UNKNOWN, "transport")]


def test_before_the_first_step_the_value_is_an_input_and_after_the_last_the_result() -> None:
    before, after = contract(A, B), contract(A, B, module=None, pluginHost=False)
    assert changes(before, after, 2) == []
    assert taken_type(after, 2) == "Order"
    assert changes(before, contract(A, {**B, "outputTypeId": "T"}, types={"T": record(field("no"))}), 2) != []
    assert changes(before, after, 3) == [(UNKNOWN, "steps")]
    assert changes(contract(A), contract(A, B), 0) == []
    wider = {"Order": record(field("id"), field("note"))}
    assert changes(contract(A), contract(A, types=wider), 0) == [(PARKED, "checkpoint.note")]
    assert taken_type(contract(A), 0) == "Order"


def found_for(before: dict[str, Any], after: dict[str, Any], *, place: str = "input", **more: dict[str, Any]) -> Found:
    """Return the kinds, impacts and paths inside a type that is an input, a result, or between steps."""
    steps = {
        "input": [step("A", inputTypeId="T", outputTypeId="Receipt")],
        "output": [step("A", inputTypeId="Order", outputTypeId="T")],
        "between": [step("A", outputTypeId="T"), step("B", inputTypeId="T")],
    }[place]
    old, new = (contract(*steps, types={"T": definition, **more}) for definition in (before, after))
    differences = compare(facts(old), facts(new))
    prefix = {"input": 'steps["A"].input', "output": 'steps["A"].output', "between": 'steps["A"].output'}[place]
    assert {change.area.value for change in differences} <= {"type"}
    assert all(change.path.startswith(prefix) for change in differences)
    return [(change.kind.value, change.impact.value, change.path.removeprefix(prefix)) for change in differences]


def mapped(value: str, key: str = "string") -> dict[str, Any]:
    return record(field("by", {"kind": "map", "key": scalar(key), "value": scalar(value)}))


TYPES_CASES: list[tuple[str, str, str, str, dict[str, Any], dict[str, Any]]] = [
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
    (ADDED, ".b", COMPATIBLE, CALLERS, CHOICE, CHOICE_OF_TWO),
    (REMOVED, ".b", CALLERS, COMPATIBLE, CHOICE_OF_TWO, CHOICE),
    (CHANGED, "", UNKNOWN, UNKNOWN, CHOICE, {**CHOICE, "tag": "type"}),
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


@cases(("kind", "path", "inputs", "results", "before", "after"), TYPES_CASES)
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
    lines = [record(field("n", kind)) for kind in ("string", "uuid")]
    old, new = (contract(step("A"), types={"Order": order, "Line": line}) for line in lines)
    judged = {(change.impact, change.reason) for change in compare(facts(old), facts(new))}
    assert judged == {(Impact.UNKNOWN, "The type is too large to be compared further.")}


@cases(("transport", "impacts"), [("interaction-api", [CALLERS]), ("webhook", [CALLERS]), ("timer", [])])
def test_a_new_value_in_the_request_of_an_await_affects_its_readers(transport: str, impacts: list[str]) -> None:
    steps = [step("A", outputTypeId="T"), step("Ask", kind="await", awaitTransport=transport, inputTypeId="T")]
    for before, after in ((wrapper(pattern="^(?:a)$"), wrapper(pattern="^(?:a|b)$")), (record(N), record(OPTIONAL_N))):
        old, new = (contract(*steps, step("B"), types={"T": definition}) for definition in (before, after))
        judged = {
            (change.path, change.impact) for change in compare(facts(old), facts(new)) if "request" in change.path
        }
        assert [impact for _, impact in judged] == impacts
