"""Commands and results are read strictly: missing, unknown and misplaced members (wire protocol D.5, D.6)."""

import json
from typing import Any

import pytest

from tests.cases import cases
from tests.unit.wire.messages.test_vectors import COMMAND, WAITING
from wire.messages.payload_envelopes import ENCODING
from wire.messages.rest_messages import Malformed, TransitionCommand, TransitionResult, parse

STP = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"x"'}
OUTPUT = {"outputPayloads": [STP]}
FAILURE = {"failureClass": "X", "message": None}
SUSPENSION = json.loads(WAITING)["awaitSuspension"]


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
