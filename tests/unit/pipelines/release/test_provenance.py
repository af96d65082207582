import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.cli import main
from pipelines.release.provenance import Verified, verify
from tests import making, signing
from tests.cases import cases
from tests.unit.wire.documents import examples
from wire.documents import activation_statement as statements
from wire.documents import execution_statement, json_writer
from wire.documents.descriptor import descriptor_from_json
from wire.documents.execution_runs import Event, instant, runs_of
from wire.documents.execution_statement import Digest, PinnedArtifact
from wire.documents.signing import sign

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ARTIFACT, OTHER = b"the artifact", b"another artifact"
DESCRIPTOR = making.descriptor(making.contract(), ARTIFACT)
MS = int(NOW.timestamp() * 1000)
ACTIVATIONS, RELEASES = "predicate.activations", "predicate.releases"
OTHER_SUBJECTS = "the subjects are not the releases"
TOO_OLD = "2026-11-26T11:59:59.000000Z"
PINNED = frozenset({"sha256:" + "a" * 64})


def event(sequence: int, kind: str, status: str, **data: Any) -> Event:
    return Event(sequence, kind, status, NOW + timedelta(seconds=sequence), data)


def reported(artifact: bytes = ARTIFACT, **changes: Any) -> dict[str, Any]:
    digest = making.digest_of(artifact) if artifact else ""
    members = {"worker": "worker-1", "artifactDigest": digest, "code": "artifact", "environment": "sha256:" + "e" * 64}
    return {**members, "steps": [[0, MS + 2000, MS + 2500]], "attempt": 0, **changes}


def hashed(value: Any) -> Digest:
    return Digest(sha256=json_writer.digest(value))


def pinned(digest: str) -> tuple[PinnedArtifact]:
    return (PinnedArtifact(artifact_id="app", digest=digest),)


def built(*events: Event) -> dict[str, Any]:
    execution = execution_statement.AboutExecution(
        execution_id="01a21681-7945-7460-8cee-c9e98145da6d", tenant="acme", idempotency_key_digest=hashed("key"),
        status="SUCCEEDED", finished=True, event_count=len(events), submitted_at=instant(NOW),
        finished_at=instant(NOW + timedelta(seconds=9)), input_digest=hashed({"n": 1}), result_digest=hashed({"n": 2}),
    )  # fmt: skip
    pin = execution_statement.AboutPin(
        pipeline_id=making.PIPELINE, contract_version=DESCRIPTOR["contractVersion"], release_version="1.0",
        release_digest=hashed(descriptor_from_json(DESCRIPTOR).normalised()),
        artifacts=pinned(making.digest_of(ARTIFACT)),
    )  # fmt: skip
    acted = {"actor": "token:ci", "person": "eva", "reason": "faster"}
    approval = execution_statement.Approval(actor="user:ann", person="ann", comment="", approved_at=instant(NOW))
    request = execution_statement.Request(
        **acted, request_id="r", requested_at=instant(NOW), approvals=(approval,)
    )  # fmt: skip
    activation = execution_statement.Activation(
        **acted, sequence=7, kind="activation", activated_at=instant(NOW), override=False, request=request
    )
    runs = runs_of(events, pin.digests, ["Validate", "Approve"])
    submitter = execution_statement.Acted(actor="token:shop", person="zoe")
    return execution_statement.build(execution, pin, runs, [], submitter, activation)


CLAIMED = event(2, "CLAIMED", "RUNNING", attempt=0, stepIndex=0)


def usual() -> dict[str, Any]:
    return built(CLAIMED, event(3, "SUCCEEDED", "SUCCEEDED", **reported()))


class Desk:
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

    def put(self, statement: Any, name: str = "coordinator") -> None:
        text = json_writer.text(statement).encode()
        self.document.write_bytes(sign(text, execution_statement.PAYLOAD_TYPE, [signing.private_key(name)]))

    def verified(self, *artifacts: Path) -> Verified:
        return verify(self.document, [self.key], artifacts or [self.artifact], self.release)

    def problems(self, *artifacts: Path) -> list[str]:
        return [problem.partition(":")[0] for problem in self.verified(*artifacts).problems]


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_changed_statement_or_envelope_is_no_proof(desk: Desk) -> None:
    envelope = json.loads(desk.document.read_bytes())
    statement = usual()
    statement["predicate"]["runs"][0]["worker"] = "another"
    payload = base64.b64encode(json_writer.text(statement).encode()).decode()
    for changed, code in (
        ({**envelope, "payload": payload}, "PROVENANCE_NOT_SIGNED"),
        ({**envelope, "signatures": []}, "PROVENANCE_INVALID"),
        ({**envelope, "payloadType": "text/plain"}, "PROVENANCE_NOT_SIGNED"),
        (usual(), "PROVENANCE_INVALID"),
    ):
        desk.document.write_text(json.dumps(changed))
        assert (desk.problems(), desk.verified().facts) == ([code], {})


def test_only_the_named_keys_are_believed_and_after_a_rotation_either_of_them(desk: Desk) -> None:
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


def test_the_command_prints_facts_and_its_status_is_the_verdict(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["verify-provenance", str(desk.document), "--key", str(desk.key), "--release", str(desk.release)]
    assert main([*command, "--artifact", str(desk.artifact)]) == 0
    lines = capsys.readouterr().out
    assert f"SUCCEEDED by worker-1, {making.digest_of(ARTIFACT)}, pinned" in lines
    assert "submitted by     token:shop (zoe)\n" in lines
    assert "activation 7 by token:ci (eva), requested by token:ci (eva), approved by user:ann\n" in lines
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


FIRST = ("activation", "1.0", None)
ROWS = [FIRST, ("activation", "2.0", "1.0"), ("activation", "2.0", "2.0"), ("rollback", "1.0", "2.0")]
BEGUN = ("gradual", "1.0", "1.0")
GRADUAL = [FIRST, BEGUN, ("withdrawal", "1.0", "1.0"), BEGUN, ("promotion", "2.0", "1.0")]


def history(rows: list[tuple[str, str, str | None]] | None = None) -> dict[str, Any]:
    revoked = statements.Revocation(actor="user:eva", reason="leaks", revoked_at=instant(NOW + timedelta(hours=1)))
    releases = []
    for version, digit, revocation in (("1.0", "1", None), ("2.0", "2", revoked)):
        code, digest = pinned(f"sha256:{digit * 64}"), Digest(sha256=digit * 64)
        members: dict[str, Any] = {"release_version": version, "contract_version": "c", "descriptor_digest": digest}
        releases.append(statements.Release(**members, artifacts=code, revocation=revocation))
    activations = [activated(number, *row) for number, row in enumerate(ROWS if rows is None else rows, 1)]
    return statements.build("acme", "org.example.orders", releases, activations, 0)


def activated(number: int, kind: str, version: str, previous: str | None, **more: Any) -> statements.Activation:
    candidate = statements.Candidate(release_version="2.0", share=12.5) if kind == "gradual" else None
    return statements.Activation(
        sequence=number, kind=kind, release_version=version, previous_release_version=previous, candidate=candidate,
        actor="user:ann", reason="why", activated_at=instant(NOW + timedelta(seconds=number)), **more,
    )  # fmt: skip


def requested(**changes: Any) -> dict[str, Any]:
    """Return the history whose second activation carries out a request, with changes of its only vote."""
    vote = statements.Vote(actor="user:bob", decision="approve", comment="fine", voted_at=instant(NOW))
    document = history()
    request = statements.Request(request_id="r-1", requested_at=instant(NOW), votes=(vote,))
    made = activated(2, "activation", "2.0", "1.0", request=request).normalised()
    made["request"]["votes"][0].update(changes)
    document["predicate"]["activations"][1]["request"] = made["request"]
    return document


def read(document: dict[str, Any]) -> statements.Statement:
    return statements.read(json_writer.text(document).encode())


@cases("rows", [ROWS, GRADUAL])
def test_a_history_is_read_back_without_contradictions(rows: list[Any]) -> None:
    statement = read(history(rows))
    assert statement.contradictions() == []
    assert statement.normalised() == history(rows)


@cases(
    ("rows", "path", "value", "problem"),
    [
        *(
            (GRADUAL, f"{ACTIVATIONS}[{place}].kind", kind, "contradicts")
            for place, kind in ((1, "activation"), (0, "gradual"), (1, "withdrawal"), (2, "promotion"), (4, "rollback"))
        ),
        (GRADUAL, f"{ACTIVATIONS}[1].candidate", {"releaseVersion": "3.0", "share": 1}, "is not listed"),
        (ROWS, f"{ACTIVATIONS}[1].sequence", 3, "has the place 2"),
        (ROWS, f"{ACTIVATIONS}[1].previousReleaseVersion", "2.0", "does not replace the release"),
        (ROWS, f"{ACTIVATIONS}[0].previousReleaseVersion", "2.0", "unless it is the first one"),
        (ROWS, f"{ACTIVATIONS}[2].activatedAt", TOO_OLD, "is older"),
        (ROWS, f"{ACTIVATIONS}[3].kind", "activation", "which the history contradicts"),
        (ROWS, f"{ACTIVATIONS}[3].reason", " ", "rollback without a reason"),
        (ROWS, f"{ACTIVATIONS}[3].releaseVersion", "3.0", "is not listed"),
        (ROWS, f"{RELEASES}[0].descriptorDigest.sha256", "3" * 64, OTHER_SUBJECTS),
    ],
)
def test_contradictions_are_found(rows: Any, path: str, value: Any, problem: str) -> None:
    contradictions = read(examples.changed(history(rows), path, value)).contradictions()
    assert any(problem in contradiction for contradiction in contradictions), contradictions


def test_the_votes_of_a_request_are_read_and_must_not_contradict_it() -> None:
    statement = read(requested())
    assert statement.contradictions() == []
    assert statement.normalised() == requested()
    [contradiction] = read(requested(decision="refuse")).contradictions()
    assert "a request that was refused" in contradiction
    [contradiction] = read(requested(actor="user:ann")).contradictions()
    assert "its requester voted on" in contradiction


def test_a_signed_history_is_verified_offline_and_only_with_its_key(desk: Desk) -> None:
    desk.put(history())
    verified = verify(desk.document, [desk.key])
    assert (verified.problems, verified.facts["activations"]) == ([], history()["predicate"]["activations"])
    contradictory = examples.changed(history(), f"{ACTIVATIONS}[3].kind", "activation")
    for document, name, code in (
        (history(), "stranger", "PROVENANCE_NOT_SIGNED"),
        (contradictory, "coordinator", "PROVENANCE_CONTRADICTORY"),
    ):
        desk.put(document, name)
        [problem] = verify(desk.document, [desk.key]).problems
        assert problem.startswith(code)


def claim(sequence: int, step: int = 0, attempt: int = 0) -> Event:
    return event(sequence, "CLAIMED", "RUNNING", stepIndex=step, attempt=attempt)


def outcomes(*events: Event) -> list[str]:
    return [entry["outcome"] for entry in runs_of(events, PINNED, None).entries]


def test_only_a_claimed_part_can_be_lost_and_what_the_coordinator_failed_is_no_part() -> None:
    assert outcomes(event(1, "CANCELLED", "CANCELLED")) == []
    assert outcomes(claim(1), event(2, "CANCELLED", "CANCELLED")) == ["CANCELLED"]
    assert outcomes(claim(1), event(2, "RELEASE_REVOKED", "FAILED")) == ["RELEASE_REVOKED"]
    assert outcomes(claim(1), event(2, "DISPATCH_FAILED", "QUEUED"), event(3, "CANCELLED", "CANCELLED")) == []
    assert outcomes(claim(1), event(2, "FAILED", "FAILED", errorCode="PAYLOAD_TOO_LARGE")) == []
    assert outcomes(claim(1), event(2, "LEASES_LOST", "DLQ", leaseOwner="w")) == ["LEASES_LOST"]


def test_a_lease_that_comes_back_ends_the_claim_that_followed_and_continues_its_own() -> None:
    expired, restored = event(2, "LEASE_EXPIRED", "QUEUED"), event(4, "LEASE_RESTORED", "RUNNING")
    done = event(5, "SUCCEEDED", "SUCCEEDED", worker="w", attempt=0)
    assert outcomes(claim(1), expired, restored, done) == ["LEASE_EXPIRED", "SUCCEEDED"]
    entries = runs_of([claim(1, step=2), expired, claim(3), restored, done], PINNED, None).entries
    assert [entry["outcome"] for entry in entries] == ["LEASE_EXPIRED", "LEASE_RESTORED", "SUCCEEDED"]
    assert [entry["firstStepIndex"] for entry in entries] == [2, 0, 2]
