"""Commands and results are read strictly (wire protocol D.5, D.6). A suspension matches its command in every part."""

import json
from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.messages.test_vectors import COMMAND, WAITING
from wire.messages.payload_envelopes import ENCODING
from wire.messages.rest_messages import Malformed, TransitionCommand, TransitionResult, parse
from wire.messages.suspension import Unanswerable, imported

STP = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"x"'}
OUTPUT = {"outputPayloads": [STP]}
FAILURE = {"failureClass": "X", "message": None}
SUSPENSION = json.loads(WAITING)["awaitSuspension"]
OTHER: dict[str, Any] = {"tenantId": "tenant-2", "executionId": "exec-2", "unitId": "unit-2", "stepIndex": 3}
PLACES = ["suspension", "unit", "interaction"]


def result(**members: Any) -> TransitionResult:
    return parse(TransitionResult, json.dumps(members).encode())


def test_a_missing_or_null_member_has_its_default() -> None:
    assert result(outcome="COMPLETED").to_json() == (
        '{"outcome":"COMPLETED","outputPayloads":[],"awaitSuspension":null,"failure":null,'
        '"terminalOutputPublished":false,"terminalInputPassthrough":false}'
    )
    nulls = result(outcome="COMPLETED", outputPayloads=None, terminalOutputPublished=None)
    assert (nulls.output_payloads, nulls.terminal_output_published) == ([], False)
    assert result(outcome="COMPLETED", decodedOutputItems=[{"any": 1}]).output_payloads == []


BROKEN: dict[str | None, list[dict[str, Any]]] = {
    None: [{}, {"outcome": "DONE"}],
    "COMPLETED": [
        *({"surprise": 1}, {"failure": FAILURE}, {"awaitSuspension": SUSPENSION}),
        {"outputPayloads": [STP], "terminalInputPassthrough": True},
        {"outputPayloads": [{**STP, "more": 1}]},
    ],
    "WAITING_EXTERNAL": [{}, *({"awaitSuspension": SUSPENSION, **more} for more in ({"failure": FAILURE}, OUTPUT))],
    "FAILED": [{}, {"failure": {"message": "no class"}}, {"failure": FAILURE, "awaitSuspension": SUSPENSION}],
}


@cases(
    "members",
    [
        members if outcome is None else {"outcome": outcome, **members}
        for outcome, each in BROKEN.items()
        for members in each
    ],
)
def test_a_result_has_only_the_members_of_its_outcome(members: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        result(**members)


def test_a_command_without_a_stop_reads_as_nothing_to_run() -> None:
    document = json.loads(COMMAND)
    del document["stopBeforeStepIndex"]
    assert parse(TransitionCommand, json.dumps(document).encode()).stop_before_step_index == 0
    document["currentStepIndex"] = 3
    with pytest.raises(Malformed):
        parse(TransitionCommand, json.dumps(document).encode())


def test_the_error_of_a_malformed_message_contains_no_values() -> None:
    with pytest.raises(Malformed) as caught:
        parse(TransitionResult, b'{"outcome": "a secret"}')
    assert "secret" not in str(caught.value)


def kept(document: dict[str, Any]) -> Any:
    suspension = parse(TransitionResult, json.dumps(document).encode()).await_suspension
    assert suspension is not None
    return imported(parse(TransitionCommand, COMMAND.encode()), suspension)


def test_a_suspension_of_the_command_is_imported() -> None:
    made = kept(json.loads(WAITING))
    assert (made.unit_name, made.step_index, len(made.interactions)) == ("unit-1", 2, 1)


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
