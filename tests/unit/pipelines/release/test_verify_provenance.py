"""`pipelines verify-provenance`: only a signed, unchanged document about the given artifacts and release is a proof."""

import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.release.provenance import Verified, verify
from tests import making, signing
from wire.documents import execution_statement, json_values
from wire.documents.descriptor import descriptor_from_json
from wire.documents.execution_runs import Event, runs_of
from wire.documents.json_writer import text
from wire.documents.signing import sign

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ARTIFACT, OTHER = b"the artifact", b"another artifact"
DESCRIPTOR = making.descriptor(making.contract(), ARTIFACT)
MS = int(NOW.timestamp() * 1000)


def event(sequence: int, kind: str, status: str, **data: Any) -> Event:
    return Event(sequence, kind, status, NOW + timedelta(seconds=sequence), data)


def reported(artifact: bytes = ARTIFACT, **changes: Any) -> dict[str, Any]:
    digest = making.digest_of(artifact) if artifact else ""
    members = {"worker": "worker-1", "artifactDigest": digest, "code": "artifact", "environment": "sha256:" + "e" * 64}
    return {**members, "steps": [[0, MS + 2000, MS + 2500]], "attempt": 0, **changes}


def built(*events: Event) -> dict[str, Any]:
    """Return a statement about an execution with these events."""
    digest = making.digest_of(ARTIFACT)
    execution = execution_statement.Execution(
        execution_id="01a21681-7945-7460-8cee-c9e98145da6d",
        tenant="acme",
        key="payments-monday",
        status="SUCCEEDED",
        events=len(events),
        submitted_at=NOW,
        finished_at=NOW + timedelta(seconds=9),
        input_digest=json_values.digest({"n": 1}),
        result_digest=json_values.digest({"n": 2}),
    )
    pin = execution_statement.Pin(
        pipeline_id=making.PIPELINE,
        contract_version=DESCRIPTOR["contractVersion"],
        release_version="1.0",
        release_digest=json_values.digest(descriptor_from_json(DESCRIPTOR).normalised()),
        artifacts=[("app", digest)],
    )
    return execution_statement.build(execution, pin, runs_of(events, pin.digests, ["Validate", "Approve"]), [])


CLAIMED = event(2, "CLAIMED", "RUNNING", attempt=0, stepIndex=0)


def usual() -> dict[str, Any]:
    """Return a statement about one part, which ran the pinned artifact."""
    return built(CLAIMED, event(3, "SUCCEEDED", "SUCCEEDED", **reported()))


class Desk:
    """The files of a verifier."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.document = folder / "provenance.dsse.json"
        self.key = self.file("coordinator.pub.pem", signing.public_pem("coordinator").encode())
        self.artifact = self.file("app.zip", ARTIFACT)
        self.release = self.file("pipeline-release.json", json.dumps(DESCRIPTOR).encode())
        self.put(usual())

    def file(self, name: str, content: bytes) -> Path:
        path = self.folder / name
        path.write_bytes(content)
        return path

    def put(
        self, statement: Any, name: str = "coordinator", payload_type: str = execution_statement.PAYLOAD_TYPE
    ) -> None:
        self.document.write_bytes(sign(text(statement).encode(), payload_type, [signing.private_key(name)]))

    def verified(self, *artifacts: Path) -> Verified:
        return verify(self.document, [self.key], artifacts or [self.artifact], self.release)

    def problems(self, *artifacts: Path) -> list[str]:
        """Return the codes of the problems."""
        return [problem.partition(":")[0] for problem in self.verified(*artifacts).problems]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_changed_statement_or_envelope_is_no_proof(desk: Desk) -> None:
    envelope = json.loads(desk.document.read_bytes())
    statement = usual()
    statement["predicate"]["runs"][0]["worker"] = "another"
    payload = base64.b64encode(text(statement).encode()).decode()
    for changed, code in (
        ({**envelope, "payload": payload}, "PROVENANCE_NOT_SIGNED"),
        ({**envelope, "signatures": []}, "PROVENANCE_INVALID"),
        ({**envelope, "payloadType": "text/plain"}, "PROVENANCE_NOT_SIGNED"),
        (usual(), "PROVENANCE_INVALID"),
    ):
        desk.document.write_text(json.dumps(changed))
        assert (desk.problems(), desk.verified().facts) == ([code], {})


def test_only_the_given_keys_are_believed_and_after_a_rotation_either_of_them(desk: Desk) -> None:
    envelope = json.loads(desk.document.read_bytes())
    envelope["signatures"][0]["keyid"] = "0" * 64
    desk.document.write_text(json.dumps(envelope))
    assert desk.verified().facts["keyId"] == [signing.key_id("coordinator")]
    newer = desk.file("newer.pub.pem", signing.public_pem("newer").encode())
    assert verify(desk.document, [newer, desk.key]).facts["keyId"] == [signing.key_id("coordinator")]
    desk.put(usual(), "newer")
    assert desk.problems() == ["PROVENANCE_NOT_SIGNED"]
    assert verify(desk.document, [newer, desk.key]).problems == []


def test_a_part_that_ran_another_artifact_is_noticed(desk: Desk) -> None:
    other = desk.file("other.zip", OTHER)
    assert desk.problems(desk.artifact, other) == ["ARTIFACT_DID_NOT_RUN"]
    retried = event(3, "RETRY_SCHEDULED", "WAIT_RETRY", **reported(OTHER))
    again = event(4, "CLAIMED", "RUNNING", attempt=1, stepIndex=0)
    desk.put(built(CLAIMED, retried, again, event(5, "SUCCEEDED", "SUCCEEDED", **reported(attempt=1))))
    assert desk.problems() == ["ARTIFACT_NOT_GIVEN"]
    assert desk.verified().facts["pinnedThroughout"] is False


def test_a_part_whose_code_is_unknown_is_noticed(desk: Desk) -> None:
    claimed = event(4, "CLAIMED", "RUNNING", attempt=0, stepIndex=0)
    for lost in (
        event(3, "LEASE_EXPIRED", "QUEUED", leaseOwner="worker:w", worker="w"),
        event(3, "RETRY_SCHEDULED", "WAIT_RETRY", **reported(code="source")),
    ):
        desk.put(built(CLAIMED, lost, claimed, event(5, "SUCCEEDED", "SUCCEEDED", **reported())))
        assert desk.problems() == ["ARTIFACT_UNKNOWN"]
        assert verify(desk.document, [desk.key]).problems == []


def test_another_release_is_not_the_pinned_one(desk: Desk) -> None:
    """The form of its file does not matter."""
    desk.file("pipeline-release.json", json.dumps(dict(reversed(DESCRIPTOR.items())), indent=4).encode())
    assert desk.problems() == []
    desk.file("pipeline-release.json", json.dumps({**DESCRIPTOR, "releaseVersion": "2.0"}).encode())
    assert desk.problems() == ["RELEASE_NOT_PINNED"]


def test_a_signed_statement_that_contradicts_itself_is_no_proof(desk: Desk) -> None:
    another_artifact, unpinned, another_subject = usual(), usual(), usual()
    another_artifact["predicate"]["runs"][0].update(artifactDigest=making.digest_of(OTHER))
    unpinned["predicate"].update(pinnedThroughout=False)
    another_subject["subject"][0].update(annotations={"pinned": False})
    for statement in (another_artifact, unpinned, another_subject):
        desk.put(statement)
        assert "PROVENANCE_CONTRADICTORY" in desk.problems()


def test_the_command_prints_facts_and_its_status_says_whether_the_document_is_a_proof(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["verify-provenance", str(desk.document), "--key", str(desk.key), "--release", str(desk.release)]
    assert main([*command, "--artifact", str(desk.artifact)]) == 0
    assert f"SUCCEEDED by worker-1, {making.digest_of(ARTIFACT)}, pinned" in capsys.readouterr().out
    assert main([*command, "--artifact", str(desk.artifact), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["verified"], printed["problems"], printed["pinnedThroughout"]) == (True, [], True)
    assert main([*command, "--artifact", str(desk.release)]) == 1
    assert "error: ARTIFACT_DID_NOT_RUN: " in capsys.readouterr().err
    desk.put(usual(), "somebody")
    assert main([*command, "--json"]) == 1
    refused = json.loads(capsys.readouterr().out)
    assert refused["verified"] is False
    assert "runs" not in refused
    assert main(["verify-provenance", str(desk.document), "--key", str(desk.artifact)]) == 2
