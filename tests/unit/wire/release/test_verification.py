"""Artifacts are verified against their descriptor (wire protocol A.3, rules 11 to 17)."""

import io

from tests.cases import cases
from tests.unit.wire.release.releasing import (
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


def test_a_digest_covers_the_complete_file_from_any_position() -> None:
    file = io.BytesIO(b"some bytes")
    file.seek(5)
    assert digest_of(file) == sha(b"some bytes")


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
