"""Commands and results are read strictly: missing, unknown and misplaced members (wire protocol D.5, D.6)."""

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from executions.transports.rest.results import Sent, result_of
from foundation.http.exchange import Response
from tests.cases import cases
from tests.unit.wire.messages.test_vectors import COMMAND, COMPLETED, FAILED, WAITING
from wire.messages.celery_messages import Outcome
from wire.messages.payload_envelopes import ENCODING
from wire.messages.rest_messages import Malformed, TransitionCommand, TransitionResult, parse

STP = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"x"'}
OUTPUT = {"outputPayloads": [STP]}
FAILURE = {"failureClass": "X", "message": None}
SUSPENSION = json.loads(WAITING)["awaitSuspension"]
SENT = Sent(uuid.uuid4(), uuid.uuid4(), parse(TransitionCommand, COMMAND.encode()), 4)


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


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, here: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [here, *(path for key, member in inner for path in paths(member, (*here, key)))]


@given(st.sampled_from([COMPLETED, FAILED, WAITING]), st.data())
def test_any_response_of_a_worker_is_an_outcome(text: str, data: st.DataObject) -> None:
    """If any part of a valid response is replaced by anything, there is still an outcome to record, and no error."""
    document = json.loads(text)
    path = data.draw(st.sampled_from(paths(document)[1:]))
    value = data.draw(json_values)
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    found = result_of(SENT, Response(200, json.dumps(document).encode("utf-8", "surrogatepass"), complete=True))
    assert isinstance(found.outcome, Outcome)


@given(st.binary(max_size=200), st.integers(100, 599))
def test_any_bytes_are_an_outcome(body: bytes, status: int) -> None:
    found = result_of(SENT, Response(status, body, complete=True))
    assert found.outcome.outcome == "FAILED"
    assert found.outcome.failure is not None
    assert found.outcome.failure.retryable
