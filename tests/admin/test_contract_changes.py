"""The comparison of two contracts on the activation page."""

from typing import Any

import pytest

from releases.admin.contract_changes import Change, changes
from tests import making
from wire.documents.contract import Contract, contract_from_json


def contract(*steps: dict[str, Any]) -> Contract:
    return contract_from_json(making.contract(steps=[{**step, "index": index} for index, step in enumerate(steps)]))


def step(name: str, **more: Any) -> dict[str, Any]:
    return {**making.STEP, "authoredName": name, **more}


A, B, C = step("A"), step("B"), step("C")


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ([A, B], [A, B], []),
        ([A], [A, B], [Change("B", "added", "Order → Order, ONE_TO_ONE")]),
        ([A, B], [A], [Change("B", "removed", "Order → Order, ONE_TO_ONE")]),
        ([A], [step("A", outputTypeId="Receipt")], [Change("A", "changed", "output Order → Receipt")]),
        ([A], [step("A", cardinality="ONE_TO_MANY")], [Change("A", "changed", "cardinality ONE_TO_ONE → ONE_TO_MANY")]),
        ([A, B], [B, A], [Change("B", "moved", "from place 2 to 1"), Change("A", "moved", "from place 1 to 2")]),
        ([A, B], [C, A, B], [Change("C", "added", "Order → Order, ONE_TO_ONE")]),
        ([step("A", awaitTransport="webhook")], [A], [Change("A", "changed", "awaits over webhook → none")]),
    ],
)
def test_steps_are_compared_by_their_names(
    before: list[dict[str, Any]], after: list[dict[str, Any]], expected: list[Change]
) -> None:
    assert changes(contract(*before), contract(*after)) == expected


def test_steps_without_a_name_or_with_the_same_are_distinguished_by_position() -> None:
    nameless = {key: value for key, value in making.STEP.items() if key != "authoredName"}
    assert changes(contract(A, A, nameless), contract(A, A, nameless)) == []
    assert [change.kind for change in changes(contract(A), contract(A, A))] == ["added"]
