"""Artifacts are verified against their descriptor (wire protocol A.3, rules 11 to 17)."""

from __future__ import annotations

import io
from pathlib import Path
from typing import BinaryIO

import pytest

from tests.cases import cases
from tests.unit.wire.release.releasing import (
    CONTRACT,
    NORMALISED,
    Store,
    altered,
    archive,
    artifact,
    codes,
    findings_of,
    older,
    sha,
    verified,
)
from wire.documents.contract import CONTRACT_ENTRY
from wire.documents.descriptor import ArtifactRef
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
@cases("body", [b"\x7fELF", b"", NOTHING])
def test_other_local_kinds_need_no_contract(kind: str, body: bytes) -> None:
    assert verified((artifact("app", kind, body), body)) == Verdict((), None, "app")


@cases("kind", ["container-image", "lambda-image", "external-endpoint"])
def test_remote_artifacts_are_not_opened_and_their_warnings_reject_nothing(kind: str) -> None:
    shelf = Store(b"x")
    assert verify(older(artifact("app", kind, b"x")), shelf) == Verdict((), None, "app")
    verdict = verify(older(artifact("app", kind, b"x", digest="sha256:latest")), shelf)
    assert (verdict.accepted, [each.code for each in verdict.findings]) == (True, ["ARTIFACT_DIGEST_UNUSUAL"])
    assert shelf.opened == []


@cases("kind", STORED_KINDS)
def test_a_missing_file_and_one_with_other_bytes_are_findings(kind: str) -> None:
    verdict = verify(older(artifact("app", kind, b"")), Store())
    local = "Release JAR artifact must point to a readable local file"
    message = local if kind == "jar" else "Release local artifact must point to a readable file"
    assert findings_of(verdict) == [("ARTIFACT_FILE_MISSING", AT, message)]
    verdict = verify(older(artifact("app", kind, b"other")), lambda _: io.BytesIO(archive()))
    message = "Release artifact digest does not match local file checksum"
    assert findings_of(verdict) == [("ARTIFACT_DIGEST_MISMATCH", f"{AT}.digest", message)]
    assert (verdict.accepted, verdict.contract) == (False, None)


@cases("body", [b"no zip", b"", NOTHING])
def test_a_jar_without_a_contract_is_a_finding(body: bytes) -> None:
    message = f"Release JAR artifact is missing {CONTRACT_ENTRY}"
    assert findings_of(verified((artifact("app", "jar", body), body))) == [("ARTIFACT_CONTRACT_MISSING", AT, message)]


INVALID = f"Invalid {CONTRACT_ENTRY} JSON: "
MISMATCH = "Release artifact {} does not match release descriptor"


@cases("kind", STORED_KINDS)
@cases(
    ("contract", "code", "field", "message"),
    [
        (altered(pipelineId="y"), "ARTIFACT_PIPELINE_MISMATCH", AT, MISMATCH.format("contract pipelineId")),
        (altered(contractVersion="v"), "ARTIFACT_CONTRACT_VERSION_MISMATCH", AT, MISMATCH.format("contractVersion")),
        (altered(scope=1), "CONTRACT_UNKNOWN_MEMBER", f"{INSIDE}#scope", f'{INVALID}Unrecognized field "scope"'),
        (b"{", "DOCUMENT_NOT_JSON", INSIDE, f"{INVALID}malformed JSON: "),
        (b"\xff", "DOCUMENT_NOT_UTF8", INSIDE, f"{INVALID}the document is not UTF-8: "),
    ],
)
def test_a_contract_must_be_valid_and_match_the_descriptor(
    kind: str, contract: bytes, code: str, field: str, message: str
) -> None:
    body = archive(contract)
    verdict = verified((artifact("app", kind, body), body))
    assert codes(verdict) == [(code, field)]
    assert findings_of(verdict)[-1][2].startswith(message)
    assert (verdict.accepted, verdict.contract) == (False, None)


def test_a_contract_whose_hash_is_wrong_is_accepted_with_a_warning() -> None:
    body = archive(altered(contractHash="beef"))
    verdict = verified((artifact("app", "jar", body), body))
    assert verdict.accepted
    assert codes(verdict, Severity.WARNING) == [("CONTRACT_HASH_MISMATCH", f"{INSIDE}#contractHash")]


def test_an_unsafe_archive_is_a_finding_that_names_the_entry() -> None:
    body = archive(None, {"../evil": ""})
    message = "Failed to inspect release artifact: an entry's name points outside of the archive"
    assert findings_of(verified((artifact("app", "lambda-zip", body), body))) == [
        ("ARCHIVE_NAME_CLIMBS_OUT", f"{AT}!../evil", message)
    ]


def test_a_failed_read_gives_no_verdict() -> None:
    def open_artifact(_: ArtifactRef) -> BinaryIO | None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        verify(older(artifact("app", "jar", b"")), open_artifact)


def test_equal_digests_are_read_once_and_checked_for_each_artifact() -> None:
    shelf = Store(NOTHING)
    kinds = {"a": "jar", "b": "native-binary", "c": "jar"}
    verdict = verify(older(*(artifact(name, kind, NOTHING) for name, kind in kinds.items())), shelf)
    assert shelf.opened == ["a"]
    assert codes(verdict) == [("ARTIFACT_CONTRACT_MISSING", AT), ("ARTIFACT_CONTRACT_MISSING", "artifacts[2]")]


def test_every_finding_of_every_artifact_is_kept() -> None:
    bad = archive(altered(pipelineId="org.y", contractVersion="v2"))
    artifacts = (
        artifact("gone", "jar", b""),
        artifact("image", "lambda-image", b"", digest="sha256:"),
        artifact("app", "jar", bad),
        artifact("x", "jar", b"x"),
    )
    verdict = verify(older(*artifacts), Store(bad, b"x"))
    assert [(code, field) for code, field, _ in findings_of(verdict)] == [
        ("ARTIFACT_DIGEST_UNUSUAL", "artifacts[1].digest"),
        ("ARTIFACT_FILE_MISSING", AT),
        ("CONTRACT_HASH_MISMATCH", "artifacts[2]!pipeline-contract.json#contractHash"),
        ("ARTIFACT_PIPELINE_MISMATCH", "artifacts[2]"),
        ("ARTIFACT_CONTRACT_VERSION_MISMATCH", "artifacts[2]"),
        ("ARTIFACT_CONTRACT_MISSING", "artifacts[3]"),
    ]


FIRST, OTHER = archive(), archive(entries={"x": ""})


@cases(
    ("artifacts", "primary"),
    [
        ([("a", "local-file", b"a"), ("b", "local-file", b"b")], "a"),
        ([("a", "local-file", b"a"), ("b", "jar", FIRST)], "b"),
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
