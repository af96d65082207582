"""Statements: about the activation history of a pipeline, and the parts of an execution, derived from its events."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pipelines.release.provenance import verify
from tests import signing
from tests.cases import cases
from tests.unit.wire.documents import examples
from wire.documents import activation_statement as statements
from wire.documents.execution_runs import Event, runs_of
from wire.documents.execution_statement import PAYLOAD_TYPE
from wire.documents.json_writer import text
from wire.documents.signing import sign

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
ROWS = [
    ("activation", "1.0", None),
    ("activation", "2.0", "1.0"),
    ("activation", "2.0", "2.0"),
    ("rollback", "1.0", "2.0"),
]
GRADUAL = [
    ("activation", "1.0", None),
    ("gradual", "1.0", "1.0"),
    ("withdrawal", "1.0", "1.0"),
    ("gradual", "1.0", "1.0"),
    ("promotion", "2.0", "1.0"),
]
ACTIVATIONS, RELEASES = "predicate.activations", "predicate.releases"
OTHER_SUBJECTS = "the subjects are not the releases"
TOO_OLD = "2026-11-26T11:59:59.000000Z"


def built(rows: list[tuple[str, str, str | None]] | None = None) -> dict[str, Any]:
    revoked = statements.Revoked("user:eva", "leaks", NOW + timedelta(hours=1))
    releases = [
        statements.Known(version, "c", digit * 64, [("app", f"sha256:{digit * 64}")], revocation)
        for version, digit, revocation in (("1.0", "1", None), ("2.0", "2", revoked))
    ]
    activations = []
    for number, (kind, version, previous) in enumerate(ROWS if rows is None else rows, 1):
        when = NOW + timedelta(seconds=number)
        candidate = ("2.0", 12.5) if kind == "gradual" else (None, None)
        usual = statements.Activated(number, kind, version, previous, "user:ann", "why", when)
        activations.append(replace(usual, candidate_release_version=candidate[0], share=candidate[1]))
    return statements.build("acme", "org.example.orders", releases, activations, 0)


def requested(**changes: Any) -> dict[str, Any]:
    """Return the history whose second activation carries out a request, with changes of its only vote."""
    vote = statements.Voted("user:bob", "approve", "fine", NOW)
    document = built()
    request = statements.Requested("r-1", NOW, [vote])
    activated = statements.Activated(2, "activation", "2.0", "1.0", "user:ann", "why", NOW, request=request)
    [made] = statements.build("acme", "org.example.orders", [], [activated], 0)["predicate"]["activations"]
    made["request"]["votes"][0].update(changes)
    document["predicate"]["activations"][1]["request"] = made["request"]
    return document


def read(document: dict[str, Any]) -> statements.Statement:
    return statements.read(text(document).encode())


@cases("rows", [ROWS, GRADUAL])
def test_a_history_is_read_back_without_contradictions(rows: list[Any]) -> None:
    statement = read(built(rows))
    assert statement.contradictions() == []
    assert statement.normalised() == built(rows)


def changed(path: str, value: Any, rows: list[tuple[str, str, str | None]] | None = None) -> dict[str, Any]:
    return examples.changed(built(rows), path, value)


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
    found = read(changed(path, value, rows)).contradictions()
    assert any(problem in each for each in found), found


def test_the_votes_of_a_request_are_read_and_must_not_contradict_it() -> None:
    statement = read(requested())
    assert statement.contradictions() == []
    assert statement.normalised() == requested()
    [found] = read(requested(decision="refuse")).contradictions()
    assert "a request that was refused" in found
    [found] = read(requested(actor="user:ann")).contradictions()
    assert "its requester voted on" in found


def signed(folder: Path, document: dict[str, Any], name: str = "coordinator") -> Path:
    path = folder / "history.dsse.json"
    path.write_bytes(sign(text(document).encode(), PAYLOAD_TYPE, [signing.private_key(name)]))
    return path


def test_a_signed_history_is_verified_offline_and_only_with_its_key(tmp_path: Path) -> None:
    key = tmp_path / "coordinator.pub.pem"
    key.write_text(signing.public_pem("coordinator"))
    verified = verify(signed(tmp_path, built()), [key])
    assert (verified.problems, verified.facts["activations"]) == ([], built()["predicate"]["activations"])
    [problem] = verify(signed(tmp_path, built(), "stranger"), [key]).problems
    assert problem.startswith("PROVENANCE_NOT_SIGNED")
    [problem] = verify(signed(tmp_path, changed("predicate.activations[3].kind", "activation")), [key]).problems
    assert problem.startswith("PROVENANCE_CONTRADICTORY")


# --- parts of executions ---


PINNED = frozenset({"sha256:" + "a" * 64})


def event(sequence: int, kind: str, status: str, **data: Any) -> Event:
    return Event(sequence, kind, status, NOW + timedelta(seconds=sequence), data)


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
    found = runs_of([claim(1, step=2), expired, claim(3), restored, done], PINNED, None).entries
    assert [entry["outcome"] for entry in found] == ["LEASE_EXPIRED", "LEASE_RESTORED", "SUCCEEDED"]
    assert [entry["firstStepIndex"] for entry in found] == [2, 0, 2]
