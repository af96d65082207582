"""Messages of three versions of the founding framework are known completely, and each version reads what is sent."""

import json
from typing import Any

import pytest

from tests.cases import cases
from tests.interop.stored import VERSIONS, message, names, unread
from wire.messages.payload_envelopes import ENCODING, SNAPSHOT, TypedPayload, read_snapshot
from wire.messages.rest_messages import Capabilities, TransitionCommand, TransitionResult, parse
from wire.messages.suspension import Unsettled, imported
from wire.messages.unknown_members import unknown_members

MODELS: dict[str, Any] = {"command": TransitionCommand, "result": TransitionResult, "capabilities": Capabilities}
STORED = [(version, kind, name) for version in VERSIONS for kind in MODELS for name in names(version, kind)]


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
            with pytest.raises(Unsettled):
                imported(command, suspension)
        else:
            assert len(imported(command, suspension).interactions) == 1 + name.endswith("items"), name


@cases("version", VERSIONS)
def test_each_version_reads_a_command(version: str) -> None:
    """A coordinator sends the members of August to all workers. Later versions have defaults for the others."""
    sent = json.loads(parsed("august", "command", "command").to_json())
    assert sent == message("august", "command")
    assert unread(version, "command", sent) == []
    for name in names(version, "snapshot"):
        given = TypedPayload(
            payload_type_id=SNAPSHOT, payload_encoding=ENCODING, payload=json.dumps(message(version, name))
        )
        read = read_snapshot(given)
        assert unknown_members(read) == []
        assert read.document() == message("august", "snapshot")


def test_release_records_are_read_by_clients_of_their_time() -> None:
    old, new = (message(version, "answer-release") for version in ("august", "november"))
    step = ".contract.steps[]"
    assert unread("october", "answer-release", new) == []
    assert set(unread("november", "answer-release", old)) == {f"{step}.awaitTransport"}
    newer = {".descriptor.compiledTruthArtifactId", f"{step}.deferredCompletion"}
    assert set(unread("august", "answer-release", new)) >= newer
