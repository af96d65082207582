"""The imported identity of a suspension must match its command in every part."""

import json
from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.messages.test_vectors import COMMAND, WAITING
from wire.messages.rest_messages import TransitionCommand, TransitionResult, parse
from wire.messages.suspension import Unanswerable, imported

OTHER: dict[str, Any] = {"tenantId": "tenant-2", "executionId": "exec-2", "unitId": "unit-2", "stepIndex": 3}


def kept(document: dict[str, Any]) -> Any:
    suspension = parse(TransitionResult, json.dumps(document).encode()).await_suspension
    assert suspension is not None
    return imported(parse(TransitionCommand, COMMAND.encode()), suspension)


def test_a_suspension_of_the_command_is_imported() -> None:
    made = kept(json.loads(WAITING))
    assert (made.unit_name, made.step_index, len(made.interactions)) == ("unit-1", 2, 1)


PLACES = ["suspension", "unit", "interaction"]


@cases(
    ("places", "member"),
    [
        *(([place], member) for place in PLACES for member in OTHER),
        *((PLACES, member) for member in ("tenantId", "executionId")),
    ],
)
def test_a_suspension_with_a_part_of_another_identity_is_unanswerable(places: list[str], member: str) -> None:
    document = json.loads(WAITING)
    suspension = document["awaitSuspension"]
    parts = {"suspension": suspension, "unit": suspension["unit"], "interaction": suspension["interactions"][0]}
    for place in places:
        parts[place][member] = OTHER[member]
    with pytest.raises(Unanswerable):
        kept(document)


def itemized(**unit: Any) -> dict[str, Any]:
    """Return a suspension with requests for two items, in reverse order."""
    document: dict[str, Any] = json.loads(WAITING)
    suspension = document["awaitSuspension"]
    suspension["unit"].update({"primaryInteractionId": None, "dispatchComplete": True, "expectedItemCount": 2} | unit)
    [one] = suspension["interactions"]
    suspension["interactions"] = [
        {**one, "interactionId": f"int-{item}", "itemIndex": item, "requestPayload": item} for item in (1, 0)
    ]
    return document


@cases("expected", [2, None])
def test_items_are_imported_in_their_order(expected: int | None) -> None:
    assert kept(itemized(expectedItemCount=expected)).requests == ["0", "1"]


@cases("unit", [{"dispatchComplete": False}, {"expectedItemCount": 3}])
def test_a_unit_without_exactly_one_request_per_item_is_unanswerable(unit: dict[str, Any]) -> None:
    """It would resume without the other responses."""
    with pytest.raises(Unanswerable, match="has not sent all of its requests"):
        kept(itemized(**unit))
