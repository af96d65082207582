"""Whether a checkpoint of one release can continue on another is proven, or the differences are named."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import contract, field, named, record, step
from wire.comparison.checkpoint import checkpoint_differences, taken_type
from wire.documents.contract import Contract

SAME = {"inputTypeId": "Order", "outputTypeId": "Order"}
A, B, C, D, X = (step(name, **SAME) for name in "ABCDX")
QUESTION = {"kind": "await", "awaitTransport": "interaction-api"}
Rows = list[tuple[str, str]]


def rows(before: Contract, after: Contract, step_index: int = 1) -> Rows:
    found = checkpoint_differences(before, after, step_index)
    assert all(each.reason for each in found)
    return [(each.impact.value, each.path) for each in found]


PARKED, UNKNOWN = "breaking-for-parked-work", "unknown"
STEPS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], Rows]] = {
    "the step that runs next and all before are the same": ([A, B, C], [A, B, C, D], []),
    "another step after the checkpoint": ([A, B, C], [A, B, D], []),
    "a step after the checkpoint is removed": ([A, B, C], [A, B], []),
    "a step after the checkpoint changes": ([A, B, C], [A, B, {**C, **QUESTION}], []),
    "the class of a step that has run": ([A, B], [{**A, "runtimeClass": "x:y"}, B], []),
    "a step before the checkpoint is removed": ([A, B, C], [B, C], [(PARKED, 'steps["A"]')]),
    "the next step is another one": ([A, B], [A, C], [(PARKED, 'steps["B"]')]),
    "a new step before the checkpoint": ([A, B], [X, A, B], [(PARKED, 'steps["B"]'), (PARKED, 'steps["X"]')]),
    "another order": ([A, B], [B, A], [(PARKED, 'steps["B"]')]),
    "fewer steps than have run": ([A, B], [A], [(PARKED, 'steps["B"]')]),
    "no steps": ([A, B], [], [(PARKED, 'steps["A"]'), (PARKED, 'steps["B"]')]),
    "the next step takes a list": (
        [A, B],
        [A, {**B, "cardinality": "MANY_TO_ONE"}],
        [(PARKED, 'steps["B"].cardinality')],
    ),
    "a step that has run returned one value": (
        [A, B],
        [{**A, "cardinality": "ONE_TO_MANY"}, B],
        [("breaking-for-callers", 'steps["B"].output'), (PARKED, 'steps["A"].cardinality')],
    ),
    "the next step is an await now": (
        [A, B],
        [A, {**B, **QUESTION}],
        [(PARKED, 'steps["B"].awaitTransport'), (PARKED, 'steps["B"].kind')],
    ),
    "steps without names": (
        [{**A, "authoredName": None}, B],
        [{**A, "authoredName": None}, B, C],
        [(UNKNOWN, 'steps["step 0"]')],
    ),
    "two steps of one name": ([A, A], [A, A, B], [(UNKNOWN, 'steps["A"]')]),
}


@cases("case", STEPS)
def test_the_steps_up_to_the_checkpoint_must_be_the_same(case: str) -> None:
    before, after, expected = STEPS[case]
    old, new = contract(*before), contract(*after)
    if case == "no steps":
        new = new.model_copy(update={"steps": ()})
    assert rows(old, new) == expected


def typed(types: dict[str, dict[str, Any]], taken: str = "Order") -> Contract:
    return contract(A, {**B, "inputTypeId": taken}, types=types)


ORDER = record(field("id"))
TYPES: dict[str, tuple[dict[str, Any], dict[str, Any], Rows]] = {
    "a new optional field": (ORDER, record(field("id"), field("note", optional=True)), []),
    "a new required field": (ORDER, record(field("id"), field("note")), [(PARKED, "checkpoint.note")]),
    "a removed field": (record(field("id"), field("n")), ORDER, [(PARKED, "checkpoint.n")]),
    "another scalar": (ORDER, record(field("id", "integer")), [(PARKED, "checkpoint.id")]),
    "a field of a type without a definition": (
        record(field("id", named("Opaque"))),
        record(field("id", named("Opaque")), field("note", optional=True)),
        [(UNKNOWN, "checkpoint.id")],
    ),
}


@cases("case", TYPES)
def test_the_next_step_must_accept_every_value_that_may_be_stored(case: str) -> None:
    before, after, expected = TYPES[case]
    assert rows(typed({"Order": before}), typed({"Order": after})) == expected


def test_types_of_other_steps_may_change() -> None:
    before = contract(A, B, C, types={"Receipt": record(field("id"))})
    after = contract(
        {**A, "inputTypeId": "Receipt"}, B, {**C, "outputTypeId": "Receipt"}, types={"Receipt": record(field("no"))}
    )
    assert rows(before, after) == []


def test_a_type_with_another_name_may_accept_the_same_values() -> None:
    after = typed({"Renamed": ORDER}, taken="Renamed")
    assert rows(typed({}), after) == []
    assert rows(typed({}), typed({"Renamed": record(field("no"))}, taken="Renamed")) != []


@cases("name", [None, "Unknown"])
def test_a_type_that_is_not_defined_proves_nothing(name: str | None) -> None:
    before = contract({**A, "outputTypeId": name}, {**B, "inputTypeId": name})
    after = contract({**A, "outputTypeId": name}, {**B, "inputTypeId": name}, C)
    assert rows(before, after) == [(UNKNOWN, "checkpoint")]


def test_equal_contracts_have_no_differences_even_if_nothing_is_defined() -> None:
    described = contract({**A, "authoredName": None, "outputTypeId": None}, B)
    assert rows(described, described.model_copy(deep=True)) == []


@cases("changes", [{"transport": "grpc"}, {"platform": "jvm"}, {"module": "orders"}])
def test_what_the_contract_does_not_explain_proves_nothing(changes: dict[str, Any]) -> None:
    assert rows(contract(A, B), contract(A, B, **changes)) == [(UNKNOWN, *changes)]


def test_after_the_last_step_the_value_is_the_result() -> None:
    before, after = contract(A, B), contract(A, B, module=None, pluginHost=False, types={"Other": ORDER})
    assert rows(before, after, 2) == []
    assert taken_type(after, 2) == "Order"
    assert rows(before, contract(A, {**B, "outputTypeId": "Receipt"}, types={"Receipt": record(field("no"))}), 2) != []
    assert rows(before, after, 3) == [(UNKNOWN, "steps")]


def test_before_the_first_step_the_value_is_an_input() -> None:
    assert rows(contract(A), contract(A, B), 0) == []
    wider = {"Order": record(field("id"), field("note"))}
    assert rows(contract(A), contract(A, types=wider), 0) == [(PARKED, "checkpoint.note")]
    assert taken_type(contract(A), 0) == "Order"
