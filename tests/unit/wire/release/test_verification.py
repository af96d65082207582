"""Artifacts are verified against their descriptor (wire protocol A.3, rules 11 to 17)."""

from __future__ import annotations

import io
from pathlib import Path

from tests.cases import cases
from tests.unit.wire.release.releasing import (
    CONTRACT,
    NORMALISED,
    Store,
    altered,
    archive,
    artifact,
    codes,
    older,
    sha,
    verified,
)
from wire.findings import Severity
from wire.release.content import digest_of
from wire.release.verification import Verdict, verify

AT = "artifacts[0]"
INSIDE = f"{AT}!pipeline-contract.json"
NOTHING = archive(None, {"app.py": ""})
STORED_KINDS = ["jar", "local-file", "native-binary", "lambda-zip"]


def test_a_valid_jar_is_accepted_with_its_contract() -> None:
    body = archive()
    shelf = Store(body)
    assert verify(older(artifact("app", "jar", body)), shelf) == Verdict((), NORMALISED, "app")
    assert [file.closed for file in shelf.files] == [True]


@cases("kind", STORED_KINDS[1:])
@cases("body", [b"\x7fELF", NOTHING])
def test_other_local_kinds_need_no_contract(kind: str, body: bytes) -> None:
    assert verified((artifact("app", kind, body), body)) == Verdict((), None, "app")


def test_remote_artifacts_are_not_opened_and_their_warnings_reject_nothing() -> None:
    kind = "container-image"
    shelf = Store(b"x")
    assert verify(older(artifact("app", kind, b"x")), shelf) == Verdict((), None, "app")
    verdict = verify(older(artifact("app", kind, b"x", digest="sha256:latest")), shelf)
    assert (verdict.accepted, [each.code for each in verdict.findings]) == (True, ["ARTIFACT_DIGEST_UNUSUAL"])
    assert shelf.opened == []


@cases("kind", STORED_KINDS)
def test_a_missing_file_and_one_with_other_bytes_are_findings(kind: str) -> None:
    verdict = verify(older(artifact("app", kind, b"")), Store())
    assert codes(verdict) == [("ARTIFACT_FILE_MISSING", AT)]
    verdict = verify(older(artifact("app", kind, b"other")), lambda _: io.BytesIO(archive()))
    assert codes(verdict) == [("ARTIFACT_DIGEST_MISMATCH", f"{AT}.digest")]
    assert (verdict.accepted, verdict.contract) == (False, None)


@cases("body", [b"no zip", NOTHING])
def test_a_jar_without_a_contract_is_a_finding(body: bytes) -> None:
    assert codes(verified((artifact("app", "jar", body), body))) == [("ARTIFACT_CONTRACT_MISSING", AT)]


@cases("kind", STORED_KINDS)
@cases(
    ("contract", "code", "field"),
    [
        (altered(pipelineId="y"), "ARTIFACT_PIPELINE_MISMATCH", AT),
        (altered(contractVersion="v"), "ARTIFACT_CONTRACT_VERSION_MISMATCH", AT),
        (altered(scope=1), "CONTRACT_UNKNOWN_MEMBER", f"{INSIDE}#scope"),
        (b"{", "DOCUMENT_NOT_JSON", INSIDE),
    ],
)
def test_a_contract_must_be_valid_and_match_the_descriptor(kind: str, contract: bytes, code: str, field: str) -> None:
    body = archive(contract)
    verdict = verified((artifact("app", kind, body), body))
    assert codes(verdict) == [(code, field)]
    assert (verdict.accepted, verdict.contract) == (False, None)


def test_equal_digests_are_read_once_and_checked_for_each_artifact() -> None:
    shelf = Store(NOTHING)
    kinds = {"a": "jar", "b": "native-binary", "c": "jar"}
    verdict = verify(older(*(artifact(name, kind, NOTHING) for name, kind in kinds.items())), shelf)
    assert shelf.opened == ["a"]
    assert codes(verdict) == [("ARTIFACT_CONTRACT_MISSING", AT), ("ARTIFACT_CONTRACT_MISSING", "artifacts[2]")]


FIRST, OTHER = archive(), archive(entries={"x": ""})


@cases(
    ("artifacts", "primary"),
    [
        ([("a", "local-file", b"a"), ("b", "local-file", b"b")], "a"),
        ([("a", "jar", FIRST), ("b", "local-file", b"b")], "a"),
        ([("a", "jar", FIRST), ("b", "lambda-zip", OTHER), ("c", "local-file", b"c")], "b"),
        ([("a", "container-image", b""), ("b", "local-file", b"b")], "a"),
    ],
)
def test_the_primary_artifact_is_the_last_with_a_contract_or_else_the_first(
    artifacts: list[tuple[str, str, bytes]], primary: str
) -> None:
    verdict = verified(*((artifact(*each), each[2]) for each in artifacts))
    assert (verdict.accepted, verdict.primary_artifact_id) == (True, primary)


def test_different_contracts_of_one_version_are_a_warning_and_the_last_is_used() -> None:
    second = archive(altered(platform="FUNCTION"))
    verdict = verified((artifact("a", "jar", FIRST), FIRST), (artifact("b", "jar", second), second))
    assert verdict.contract is not None
    assert verdict.contract["platform"] == "FUNCTION" != CONTRACT.get("platform")
    assert "CONTRACT_DIFFERS_BETWEEN_ARTIFACTS" in [code for code, _ in codes(verdict, Severity.WARNING)]


def test_a_digest_covers_the_complete_file_from_any_position(tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    path = tmp_path / "artifact"
    path.write_bytes(body)
    with path.open("rb") as file:
        file.seek(77)
        assert digest_of(file) == sha(body)
