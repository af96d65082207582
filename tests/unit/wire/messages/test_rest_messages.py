"""Known members are read strictly, and unknown ones are accepted. A suspension matches its
command in every part. A signed request is accepted only if no signed part was changed."""

import json
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.cases import cases
from tests.interop.stored import VERSIONS, message, names, unread
from tests.raising import error_of
from wire.messages.payload_envelopes import ENCODING, SNAPSHOT, TypedPayload, read_snapshot
from wire.messages.rest_messages import (
    CAPABILITIES_PATH,
    EXECUTE_PATH,
    Capabilities,
    Malformed,
    TransitionCommand,
    TransitionResult,
    parse,
)
from wire.messages.suspension import Unanswerable, Unsettled, imported
from wire.messages.unknown_members import LONGEST_NAME, MOST_NAMES, NewNames, unknown_members
from wire.worker_keys import NONCE, SIGNATURE, TIMESTAMP, Refused, check_signature, signed_headers

STP = {"payloadTypeId": "java.lang.String", "payloadEncoding": ENCODING, "payload": '"x"'}
OUTPUT = {"outputPayloads": [STP]}
FAILURE = {"failureClass": "X", "message": None}
COMMAND, WAITING = message("august", "command"), message("august", "result-waiting")
SUSPENSION = WAITING["awaitSuspension"]
OTHER: dict[str, Any] = {"tenantId": "tenant-2", "executionId": "exec-2", "unitId": "unit-2", "stepIndex": 3}
PLACES = ["suspension", "unit", "interaction"]
NULLS = dict.fromkeys(["redriveCommandId", "redriveReason", "pageContext"])
PAGE = {"pageIndex": 0, "sourceIdentity": "s", "startCheckpoint": None, "maxRecords": 1, "suspendedCompletion": None}
RETRY = {"redriveIntent": "RETRY_FAILED_COMMAND", "redriveCommandId": "c"}
REISSUE = {"redriveIntent": "REISSUE_COMMAND", "redriveCommandId": "c", "redriveReason": "lost"}
CALLBACK = {"completionMode": "CONNECTOR_CALLBACK"}
MODELS: dict[str, Any] = {"command": TransitionCommand, "result": TransitionResult, "capabilities": Capabilities}
STORED = [(version, kind, name) for version in VERSIONS for kind in MODELS for name in names(version, kind)]
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TOLERANCE = timedelta(minutes=2)
BODY = b'{"a": 1}'
HEADERS = signed_headers("secret", "POST", EXECUTE_PATH, BODY, now=NOW)
SIGNED = HEADERS[SIGNATURE]


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
    None: [{}, {"outcome": "a secret"}],
    "COMPLETED": [
        {"failure": FAILURE},
        {"awaitSuspension": SUSPENSION},
        {"pageCompletion": {"consumedRecords": 1}},
        {"outputPayloads": [STP], "terminalInputPassthrough": True},
    ],
    "WAITING_EXTERNAL": [{}, *({"awaitSuspension": SUSPENSION, **more} for more in ({"failure": FAILURE}, OUTPUT))],
    "FAILED": [
        {},
        {"failure": {"message": "no class"}},
        {"failure": FAILURE, "awaitSuspension": SUSPENSION},
        {"failure": {**FAILURE, "failedStepIndex": -2}},
        {"failure": FAILURE, "pageCompletion": {"exhausted": True}},
    ],
}


@cases(("outcome", "members"), [(outcome, members) for outcome, wrong in BROKEN.items() for members in wrong])
def test_a_result_has_only_the_members_of_its_outcome(outcome: str | None, members: dict[str, Any]) -> None:
    refused = error_of(Malformed, result, **(members if outcome is None else {"outcome": outcome, **members}))
    assert "a secret" not in str(refused)


def test_a_command_without_a_stop_reads_as_nothing_to_run() -> None:
    document = {**COMMAND}
    del document["stopBeforeStepIndex"]
    assert parse(TransitionCommand, json.dumps(document).encode()).stop_before_step_index == 0
    document["currentStepIndex"] = 3
    error_of(Malformed, parse, TransitionCommand, json.dumps(document).encode())


def later(**members: Any) -> TransitionCommand:
    """Return a command with the members that are sent since 26.9, nulls included."""
    document = {**COMMAND, "currentStepIndex": 1, "redriveIntent": "REPLAY", "redriveStepIndex": -1, **NULLS}
    return parse(TransitionCommand, json.dumps(document | members).encode())


@cases(
    ("members", "is_replay"),
    [
        ({}, True),
        ({"redriveIntent": None, "stopBeforeStepIndex": -2}, True),
        ({"redriveCommandId": "", "redriveStepIndex": 0}, True),
        ({**RETRY, "redriveStepIndex": 1}, False),
        ({**RETRY, "redriveStepIndex": 2, "stopBeforeStepIndex": 3}, False),
        (REISSUE, False),
    ],
)
def test_a_later_command_says_whether_it_is_a_replay(members: dict[str, Any], is_replay: bool) -> None:
    command = later(**members)
    assert (command.is_replay, command.reads_failed_step) == (is_replay, True)
    assert not parse(TransitionCommand, json.dumps(COMMAND).encode()).reads_failed_step
    assert later(pageContext=PAGE).page_context is not None


@cases(
    "members",
    [
        {"redriveIntent": "REPEAT"},
        *({**RETRY, "redriveStepIndex": step} for step in (None, 0)),
        {**RETRY, "redriveStepIndex": 3, "stopBeforeStepIndex": 3},
        *({**RETRY, "redriveStepIndex": 1, "redriveCommandId": text} for text in (None, " ")),
        *({**REISSUE, name: text} for name in ("redriveCommandId", "redriveReason") for text in (None, " ")),
        *({"pageContext": {**PAGE, **wrong}} for wrong in ({"pageIndex": -1}, {"maxRecords": 0})),
        *({"pageContext": {**PAGE, name: " "}} for name in ("sourceIdentity", "startCheckpoint")),
        {"pageContext": {**PAGE, "suspendedCompletion": {"exhausted": False}}},
    ],
)
def test_a_later_command_that_contradicts_itself_is_malformed(members: dict[str, Any]) -> None:
    error_of(Malformed, later, **members)


def test_unknown_members_are_accepted_in_every_part_of_a_message() -> None:
    suspension = {**SUSPENSION, "b": 1, "pageCompletion": {"exhausted": True, "c": 1}}
    suspension["unit"], [interaction] = {**SUSPENSION["unit"], "d": 1}, SUSPENSION["interactions"]
    suspension["interactions"] = [{**interaction, "e": {"f": 1}}, {**interaction, "e": 2}]
    waiting = result(outcome="WAITING_EXTERNAL", awaitSuspension=suspension, a=1, decodedOutputItems=None)
    assert sorted(unknown_members(waiting)) == ["a", "b", "c", "d", "e", "e"]
    assert unknown_members(result(outcome="COMPLETED", outputPayloads=[STP, {**STP, "g": 1}])) == ["g"]
    assert unknown_members(result(outcome="FAILED", failure={**FAILURE, "failedCommandId": None, "h": 1})) == ["h"]
    assert sorted(unknown_members(later(pageContext={**PAGE, "i": 1}, j=1))) == ["i", "j"]
    hosted = {"protocolVersion": "1", "pipelineId": "p", "contractVersion": "c", "releaseVersion": "r", "k": 1}
    assert unknown_members(parse(Capabilities, json.dumps(hosted).encode())) == ["k"]


def test_each_unknown_name_is_logged_once_bounded_and_escaped() -> None:
    names = NewNames()
    assert names.among(["é\n", "é\n", "x" * 10**6]) == ["'\\xe9\\n'", f"'{'x' * LONGEST_NAME}'"]
    assert names.among(["é\n"]) == []
    assert len(names.among(map(str, range(1000)))) == MOST_NAMES - 2


def kept(document: dict[str, Any]) -> Any:
    suspension = parse(TransitionResult, json.dumps(document).encode()).await_suspension
    assert suspension is not None
    return imported(parse(TransitionCommand, json.dumps(COMMAND).encode()), suspension)


@cases(
    ("places", "member"),
    [
        *(([place], member) for place in PLACES for member in OTHER),
        *((PLACES, member) for member in ("tenantId", "executionId")),
    ],
)
def test_a_suspension_with_a_part_of_another_identity_is_unanswerable(places: list[str], member: str) -> None:
    document = deepcopy(WAITING)
    suspension = document["awaitSuspension"]
    parts = {"suspension": suspension, "unit": suspension["unit"], "interaction": suspension["interactions"][0]}
    for place in places:
        parts[place][member] = OTHER[member]
    error_of(Unanswerable, kept, document)


def itemized(**unit: Any) -> dict[str, Any]:
    """Return a suspension with requests for two items, in reverse order."""
    document: dict[str, Any] = deepcopy(WAITING)
    suspension = document["awaitSuspension"]
    suspension["unit"].update({"primaryInteractionId": None, "dispatchComplete": True, "expectedItemCount": 2} | unit)
    [interaction] = suspension["interactions"]
    items = [{"interactionId": f"int-{item}", "itemIndex": item, "requestPayload": item} for item in (1, 0)]
    suspension["interactions"] = [{**interaction, **item} for item in items]
    return document


@cases("expected", [2, None])
def test_items_are_imported_in_their_order(expected: int | None) -> None:
    made = kept(itemized(expectedItemCount=expected))
    assert (made.unit_name, made.step_index, made.requests) == ("{unitId}", 2, ["0", "1"])


@cases("unit", [{"dispatchComplete": False}, {"expectedItemCount": 3}])
def test_a_unit_without_exactly_one_request_per_item_is_unanswerable(unit: dict[str, Any]) -> None:
    """It would resume without the other responses."""
    with pytest.raises(Unanswerable, match="has not sent all of its requests"):
        kept(itemized(**unit))


@cases(
    ("status", "metadata", "expected"),
    [
        *((status, CALLBACK, Unsettled) for status in ("WAITING", "DISPATCHING", "COMPLETION_OBSERVED")),
        ("COMPLETION_OBSERVED", {}, Unsettled),
        ("COMPLETION_OBSERVED", {**CALLBACK, "commandSettlement": "RETRYABLE"}, Unsettled),
        *(
            (status, {**CALLBACK, "commandSettlement": settlement}, Unanswerable)
            for status in ("DISPATCHING", "COMPLETION_OBSERVED", "COMPLETED")
            for settlement in ("TERMINAL", "USER_ACTION_REQUIRED")
        ),
        *(
            (status, {**CALLBACK, "commandSettlement": settlement}, then)
            for status, then in (("DISPATCHING", "DISPATCHED"), ("COMPLETION_OBSERVED", "COMPLETED"))
            for settlement in ("SUCCEEDED", "AMBIGUOUS")
        ),
        *((status, CALLBACK, status) for status in ("DISPATCHED", "COMPLETED")),
        ("DISPATCHING", {"commandSettlement": "TERMINAL"}, "DISPATCHING"),
    ],
)
def test_an_answer_counts_once_its_command_is_accepted(status: str, metadata: dict[str, Any], expected: Any) -> None:
    document = deepcopy(WAITING)
    [interaction] = document["awaitSuspension"]["interactions"]
    interaction |= {"status": status, "transportMetadata": metadata, "responsePayload": {"paid": True}}
    if isinstance(expected, str):
        [made] = kept(document).interactions
        assert (made.status, made.response) == (expected, '{"paid": true}' if expected == "COMPLETED" else None)
    else:
        error_of(expected, kept, document)


def parsed(version: str, kind: str, name: str) -> Any:
    return parse(MODELS[kind], json.dumps(message(version, name)).encode())


@cases(("version", "kind", "name"), STORED)
def test_each_message_is_known_completely(version: str, kind: str, name: str) -> None:
    assert unknown_members(parsed(version, kind, name)) == []


@cases("version", VERSIONS)
def test_each_suspension_waits_for_its_answers(version: str) -> None:
    command = parsed(version, "command", "command")
    for name in names(version, "result-waiting"):
        suspension = parsed(version, "result", name).await_suspension
        if name == "result-waiting-observed":
            error_of(Unsettled, imported, command, suspension)
        else:
            assert len(imported(command, suspension).interactions) == 1 + name.endswith("items"), name


@cases("version", VERSIONS)
def test_each_version_reads_a_command(version: str) -> None:
    """A coordinator sends the members of August to all workers. Later versions have defaults for the others."""
    sent = json.loads(parsed("august", "command", "command").to_json())
    assert sent == message("august", "command")
    assert unread(version, "command", sent) == []
    for name in names(version, "snapshot"):
        text = json.dumps(message(version, name))
        read = read_snapshot(TypedPayload(payload_type_id=SNAPSHOT, payload_encoding=ENCODING, payload=text))
        assert unknown_members(read) == []
        assert read.document() == message("august", "snapshot")


def test_release_records_are_read_by_clients_of_their_time() -> None:
    old, new = (message(version, "answer-release") for version in ("august", "november"))
    step = ".contract.steps[]"
    assert unread("october", "answer-release", new) == []
    assert set(unread("november", "answer-release", old)) == {f"{step}.awaitTransport"}
    newer = {".descriptor.compiledTruthArtifactId", f"{step}.deferredCompletion"}
    assert set(unread("august", "answer-release", new)) >= newer


def checked(**changes: Any) -> tuple[str, datetime]:
    request: dict[str, Any] = {"secret": "secret", "method": "POST", "path": EXECUTE_PATH, "headers": HEADERS}
    return check_signature(**{**request, "body": BODY, "now": NOW, "tolerance": TOLERANCE, **changes})


def with_header(name: str, value: str) -> dict[str, Any]:
    return {"headers": {**HEADERS, name: value}}


@cases(
    "changes",
    [
        {"secret": "Secret"},
        {"method": "GET"},
        *({"path": path} for path in (CAPABILITIES_PATH, EXECUTE_PATH + "/")),
        *({"body": body} for body in (BODY + b" ", BODY.replace(b"1", b"2"), b"")),
        with_header(NONCE, HEADERS[NONCE][:-1]),
        with_header(TIMESTAMP, HEADERS[TIMESTAMP].replace("05.000Z", "05.001Z")),
        with_header(TIMESTAMP, HEADERS[TIMESTAMP].replace("Z", "+00:00")),
        *(with_header(SIGNATURE, wrong) for wrong in (SIGNED[:-1], SIGNED[:8], SIGNED.upper(), SIGNED + "0", "é")),
        # Text cannot move between signed parts.
        {"path": EXECUTE_PATH + "\n" + HEADERS[TIMESTAMP], **with_header(NONCE, HEADERS[NONCE] + "\n")},
    ],
)
def test_a_request_with_another_signed_part_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="signature is wrong"):
        checked(**changes)


@cases("name", [TIMESTAMP, NONCE, SIGNATURE])
@cases("value", [None, "", " "])
def test_a_request_without_one_of_its_headers_is_refused(name: str, value: str | None) -> None:
    headers = {key: held for key, held in HEADERS.items() if key != name} | ({} if value is None else {name: value})
    with pytest.raises(Refused, match="header is missing"):
        checked(headers=headers)


@cases("offset", [TOLERANCE, -TOLERANCE])
def test_an_unchanged_signed_request_within_the_tolerance_is_accepted(offset: timedelta) -> None:
    assert checked() == checked(now=NOW + offset) == (HEADERS[NONCE], NOW)
    with pytest.raises(Refused, match="too far from the present"):
        checked(now=NOW + offset * 1.001)
