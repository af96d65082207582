"""Differences of steps, and who is affected by them."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import Row, contract, facts, step
from wire.comparison.comparison import compare
from wire.documents.contract import Contract

CALLERS, PARKED, COMPATIBLE = "breaking-for-callers", "breaking-for-parked-work", "compatible"
SAME = {"inputTypeId": "Order", "outputTypeId": "Order"}
A, B, C, D = (step(name, **SAME) for name in "ABCD")
QUESTION = {"kind": "await", "awaitTransport": "interaction-api"}


def rows(before: Contract, after: Contract) -> list[Row]:
    found = compare(facts(before), facts(after))
    return [(each.area.value, each.kind.value, each.impact.value, each.path) for each in found]


def parked(kind: str, path: str, area: str = "step") -> Row:
    return (area, kind, PARKED, f"steps{path}")


def for_callers(path: str) -> Row:
    return ("step", "changed", CALLERS, f"steps{path}")


AWAITING = {**B, **QUESTION}
OF_A_LIST, OF_MANY = {"cardinality": "MANY_TO_ONE"}, {"cardinality": "ONE_TO_MANY"}
CASES: list[tuple[list[dict[str, Any]], list[dict[str, Any]], list[Row]]] = [
    ([A, B], [A, B], []),
    ([A], [A, B], [("step", "added", COMPATIBLE, 'steps["B"]')]),
    ([A], [B, A], [parked("added", '["B"]')]),
    ([A, B], [A], [parked("removed", '["B"]')]),
    ([A, B, C, D], [B, C, D, A], [parked("moved", '["A"]')]),
    ([A, B], [A, AWAITING], [parked("added", '["B"].awaitTransport'), parked("changed", '["B"].kind')]),
    ([A], [{**A, **OF_A_LIST}], [for_callers('["A"].input'), parked("changed", '["A"].cardinality')]),
    (
        [{**A, **OF_MANY}, {**B, **OF_A_LIST}],
        [A, B],
        [parked("changed", '["A"].cardinality'), parked("changed", '["B"].cardinality')],
    ),
    ([A], [{**A, "runtimeClass": "org.x.New"}], [("step", "added", COMPATIBLE, 'steps["A"].runtimeClass')]),
]


@cases(("before", "after", "expected"), CASES)
def test_steps_are_compared_by_name(before: Any, after: Any, expected: list[Row]) -> None:
    assert rows(contract(*before), contract(*after)) == expected


def test_an_unknown_contract_cannot_be_compared() -> None:
    [found] = compare(facts(contract(A)), facts(None))
    assert (found.path, found.impact) == ("contract", "unknown")
    assert compare(facts(None), facts(None)) == ()
