"""Differences of steps, and who is affected by them."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.comparison.releases import Row, contract, facts, step
from tests.unit.wire.documents.examples import definition, node
from wire.comparison.comparison import compare
from wire.documents.contract import Contract

CALLERS, PARKED, COMPATIBLE = "breaking-for-callers", "breaking-for-parked-work", "compatible"
SAME = {"inputTypeId": "Order", "outputTypeId": "Order"}
A, B, C, D = (step(name, **SAME) for name in "ABCD")
QUESTION = {"kind": "await", "awaitTransport": "interaction-api"}


def rows(before: Contract, after: Contract) -> list[Row]:
    found = compare(facts(before), facts(after))
    return [(each.area.value, each.kind.value, each.impact.value, each.path) for each in found]


CASES: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]], list[Row]]] = {
    "equal": ([A, B], [A, B], []),
    "added at the end": ([A], [A, B], [("step", "added", COMPATIBLE, 'steps["B"]')]),
    "added at the beginning": ([A], [B, A], [("step", "added", PARKED, 'steps["B"]')]),
    "added in between": ([A, B], [A, C, B], [("step", "added", PARKED, 'steps["C"]')]),
    "removed": ([A, B], [A], [("step", "removed", PARKED, 'steps["B"]')]),
    "renamed": ([A], [B], [("step", "removed", PARKED, 'steps["A"]'), ("step", "added", PARKED, 'steps["B"]')]),
    "moved to the beginning": ([A, B, C], [C, A, B], [("step", "moved", PARKED, 'steps["C"]')]),
    "moved to the end": ([A, B, C, D], [B, C, D, A], [("step", "moved", PARKED, 'steps["A"]')]),
    "kind": ([A, B], [A, {**B, "kind": "query"}], [("step", "changed", PARKED, 'steps["B"].kind')]),
    "an await from now on": (
        [A, B],
        [A, {**B, **QUESTION}],
        [("step", "added", PARKED, 'steps["B"].awaitTransport'), ("step", "changed", PARKED, 'steps["B"].kind')],
    ),
    "transport": (
        [A, {**B, **QUESTION}],
        [A, {**B, **QUESTION, "awaitTransport": "webhook"}],
        [("step", "changed", PARKED, 'steps["B"].awaitTransport')],
    ),
    "deferred completion": (
        [{**A, "deferredCompletion": {"timeout": "PT1H", "mode": "x"}}],
        [{**A, "deferredCompletion": {"timeout": "PT2H", "group": "y"}}],
        [
            ("policy", "added", PARKED, 'steps["A"].deferredCompletion.group'),
            ("policy", "removed", PARKED, 'steps["A"].deferredCompletion.mode'),
            ("policy", "changed", PARKED, 'steps["A"].deferredCompletion.timeout'),
        ],
    ),
    "the first step takes a list": (
        [A],
        [{**A, "cardinality": "MANY_TO_ONE"}],
        [("step", "changed", CALLERS, 'steps["A"].input'), ("step", "changed", PARKED, 'steps["A"].cardinality')],
    ),
    "the result becomes a list": (
        [A, B],
        [A, {**B, "cardinality": "ONE_TO_MANY"}],
        [("step", "changed", CALLERS, 'steps["B"].output'), ("step", "changed", PARKED, 'steps["B"].cardinality')],
    ),
    "streams in between": (
        [{**A, "cardinality": "ONE_TO_MANY"}, {**B, "cardinality": "MANY_TO_ONE"}],
        [A, {**B, "cardinality": "ONE_TO_ONE"}],
        [("step", "changed", PARKED, 'steps["A"].cardinality'), ("step", "changed", PARKED, 'steps["B"].cardinality')],
    ),
    "class": ([A], [{**A, "runtimeClass": "org.x.New"}], [("step", "added", COMPATIBLE, 'steps["A"].runtimeClass')]),
}


@cases("case", CASES)
def test_steps_are_compared_by_name(case: str) -> None:
    before, after, expected = CASES[case]
    assert rows(contract(*before), contract(*after)) == expected


def test_steps_without_a_name_or_with_the_same_are_distinguished_by_position() -> None:
    nameless = {key: value for key, value in A.items() if key != "authoredName"}
    assert rows(contract(A, A, nameless), contract(A, A, nameless)) == []
    assert rows(contract(A), contract(A, A)) == [("step", "added", COMPATIBLE, 'steps["A (1)"]')]


def test_a_contract_without_steps_parks_no_work() -> None:
    before = contract().model_copy(update={"steps": ()})
    assert rows(before, contract(A)) == [("step", "added", COMPATIBLE, 'steps["A"]')]
    assert rows(before, before) == []


def composed(fingerprint: str) -> Contract:
    root = {**definition("root", [node(0)], "ROOT_TERMINAL"), "definitionFingerprint": fingerprint}
    return contract(A, schemaVersion=3, composition={"rootDefinitionId": "root", "definitions": [root]})


def test_compositions_are_compared_by_definition() -> None:
    before, after = composed("1"), composed("2")
    assert rows(before, after) == [("step", "changed", PARKED, 'composition.definitions["root"]')]
    assert rows(contract(A), after) == [
        ("step", "added", PARKED, 'composition.definitions["root"]'),
        ("step", "added", PARKED, "composition.rootDefinitionId"),
    ]


def test_what_workers_need_is_a_capability() -> None:
    protocols = {"localTransitionExecution": True, "transitionWorkerProtocols": ["local", "rest"]}
    fewer = {"localTransitionExecution": False, "transitionWorkerProtocols": ["local"]}
    before, after = contract(A, capabilities=protocols), contract(A, capabilities=fewer, transport="GRPC")
    assert rows(before, after) == [
        ("capability", "added", "unknown", "transport"),
        ("capability", "changed", COMPATIBLE, "capabilities.localTransitionExecution"),
        ("capability", "removed", COMPATIBLE, "capabilities.transitionWorkerProtocols"),
    ]


def test_an_unknown_contract_cannot_be_compared() -> None:
    [found] = compare(facts(contract(A)), facts(None))
    assert (found.path, found.impact) == ("contract", "unknown")
    assert compare(facts(None), facts(None)) == ()
