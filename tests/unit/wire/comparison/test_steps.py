"""Differences of steps, and who is affected by them."""

from dataclasses import replace
from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import Row, contract, facts, step
from wire.comparison.comparison import compare
from wire.comparison.differences import MAX_DIFFERENCES
from wire.comparison.facts import Package, Provenance
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
    ([A, B], [A, C, B], [parked("added", '["C"]')]),
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


ENVIRONMENT = {"implementation": "CPython", "version": "3.12.1", "platform": "linux", "distributions": []}
SOURCE = Provenance("https://builder", "https://source@main", "gitCommit:1")


@cases(
    ("before", "after", "expected"),
    [
        ({"signers": ["eva"]}, {"signers": []}, [("removed", "unknown", "signatures")]),
        ({"signers": None}, {"signers": ["eva"]}, []),
        ({"checkpoints": False}, {"checkpoints": True}, [("added", COMPATIBLE, "checkpoints")]),
        ({"packages": [Package("b", "1")]}, {"packages": []}, [("removed", COMPATIBLE, 'packages["b"]')]),
        ({"packages": [Package("b", "1")]}, {"packages": None}, [("changed", "unknown", "packages")]),
        (
            {"provenance": [SOURCE]},
            {"provenance": [replace(SOURCE, commit="gitCommit:2")]},
            [("changed", COMPATIBLE, "provenance.commit")],
        ),
        ({"environments": {"app": ENVIRONMENT}}, {}, [("removed", "unknown", 'environments["app"]')]),
        (
            {"environments": {"app": ENVIRONMENT}},
            {"environments": {"app": {**ENVIRONMENT, "version": "3.13.0"}}},
            [("changed", COMPATIBLE, 'environments["app"].version')],
        ),
    ],
)
def test_evidence_and_environments_are_compared(before: Any, after: Any, expected: Any) -> None:
    found = compare(replace(facts(None), **before), replace(facts(None), **after))
    assert [(each.kind.value, each.impact.value, each.path) for each in found] == expected


def test_differences_are_bounded() -> None:
    packages = [Package(str(number)) for number in range(MAX_DIFFERENCES + 9)]
    found = compare(replace(facts(None), packages=[]), replace(facts(None), packages=packages))
    assert (len(found), found[-1].reason[:18]) == (MAX_DIFFERENCES + 1, "9 more differences")
