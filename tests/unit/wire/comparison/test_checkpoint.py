"""Whether a checkpoint of one release can continue on another is proven, or the differences are named."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import contract, field, named, record, step
from wire.comparison.checkpoint import checkpoint_differences, taken_type
from wire.documents.contract import Contract

Rows = list[tuple[str, str]]


def changes(before: Contract, after: Contract, step_index: int = 1) -> Rows:
    found = checkpoint_differences(before, after, step_index)
    assert all(each.reason for each in found)
    return [(each.impact.value, each.path) for each in found]


UNKNOWN = "unknown"
NAMELESS = {**A, "authoredName": None}


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
    # steps that cannot be told apart prove nothing
    ([NAMELESS, B], [NAMELESS, B, C], [(UNKNOWN, 'steps["step 0"]')]),
]


@cases(("before", "after", "expected"), STEPS)
def test_the_steps_up_to_the_checkpoint_must_be_the_same(before: Any, after: Any, expected: Rows) -> None:
    assert changes(contract(*before), contract(*after)) == expected


def typed(types: dict[str, dict[str, Any]], taken: str = "Order") -> Contract:
    return contract(A, {**B, "inputTypeId": taken}, types=types)


ORDER = record(field("id"))
OPAQUE = field("id", named("Opaque"))
TYPES: list[tuple[dict[str, Any], dict[str, Any], Rows]] = [
    (ORDER, record(field("id"), field("note", optional=True)), []),
    (record(field("id"), field("n")), ORDER, [(PARKED, "checkpoint.n")]),
    (ORDER, record(field("id", "integer")), [(PARKED, "checkpoint.id")]),
    (record(OPAQUE), record(OPAQUE, field("note", optional=True)), [(UNKNOWN, "checkpoint.id")]),
]


@cases(("before", "after", "expected"), TYPES)
def test_the_next_step_must_accept_every_value_that_may_be_stored(before: Any, after: Any, expected: Rows) -> None:
    assert changes(typed({"Order": before}), typed({"Order": after})) == expected


def test_a_type_that_is_not_defined_proves_nothing() -> None:
    name = "Unknown"
    before = contract({**A, "outputTypeId": name}, {**B, "inputTypeId": name})
    after = contract({**A, "outputTypeId": name}, {**B, "inputTypeId": name}, C)
    assert changes(before, after) == [(UNKNOWN, "checkpoint")]


def test_what_the_contract_does_not_explain_proves_nothing() -> None:
    assert changes(contract(A, B), contract(A, B, transport="grpc")) == [(UNKNOWN, "transport")]


def test_after_the_last_step_the_value_is_the_result() -> None:
    before, after = contract(A, B), contract(A, B, module=None, pluginHost=False)
    assert changes(before, after, 2) == []
    assert taken_type(after, 2) == "Order"
    assert changes(before, contract(A, {**B, "outputTypeId": "Receipt"}, types={"Receipt": record(field("no"))}), 2) != []
    assert changes(before, after, 3) == [(UNKNOWN, "steps")]


def test_before_the_first_step_the_value_is_an_input() -> None:
    assert changes(contract(A), contract(A, B), 0) == []
    wider = {"Order": record(field("id"), field("note"))}
    assert changes(contract(A), contract(A, types=wider), 0) == [(PARKED, "checkpoint.note")]
    assert taken_type(contract(A), 0) == "Order"
