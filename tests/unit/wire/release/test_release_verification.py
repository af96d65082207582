"""Artifacts are verified against their descriptor (wire protocol A.3, rules 11 to 17)."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from tests.cases import cases
from wire.documents.contract import CONTRACT_ENTRY, parse_contract, publish
from wire.documents.descriptor import ArtifactRef, Descriptor, descriptor_from_json
from wire.findings import Severity
from wire.release.content import digest_of
from wire.release.verification import Verdict, verify

AT = "pipeline-release.json#artifacts[0]"
CONTRACT: dict[str, Any] = publish({"schemaVersion": 1, "pipelineId": "org.x", "platform": "COMPUTE"})


def jar(contract: Mapping[str, Any] | bytes | None, *, filler: bytes = b"") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("app.py", filler)
        if contract is not None:
            file.writestr(CONTRACT_ENTRY, contract if isinstance(contract, bytes) else json.dumps(contract))
    return buffer.getvalue()


def descriptor(*artifacts: tuple[str, str, bytes | str], **members: Any) -> Descriptor:
    """Return a descriptor with artifacts of (artifactId, kind, bytes or digest)."""
    return descriptor_from_json(
        {
            "schemaVersion": 1,
            "pipelineId": "org.x",
            "contractVersion": CONTRACT["contractVersion"],
            "releaseVersion": "1",
            "artifacts": [
                {"artifactId": name, "kind": kind, "uri": "x", "digest": body if isinstance(body, str) else sha(body)}
                for name, kind, body in artifacts
            ],
            **members,
        }
    )


def sha(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


class Shelf:
    """Stored artifacts by their id. Records which were opened and which are still open."""

    def __init__(self, **bodies: bytes) -> None:
        self.bodies = bodies
        self.opened: list[BinaryIO] = []

    def __call__(self, artifact: ArtifactRef) -> BinaryIO | None:
        body = self.bodies.get(artifact.artifact_id)
        if body is None:
            return None
        self.opened.append(io.BytesIO(body))
        return self.opened[-1]


def findings_of(verdict: Verdict) -> list[tuple[str, str, str]]:
    return [(finding.code, finding.field, finding.message) for finding in verdict.findings]


def test_a_valid_jar_is_accepted_with_its_contract() -> None:
    body, shelf = jar(CONTRACT), Shelf(app=jar(CONTRACT))
    verdict = verify(descriptor(("app", "jar", body)), shelf)
    assert verdict == Verdict((), parse_contract(json.dumps(CONTRACT).encode()).normalised(), "app")
    assert verdict.accepted
    assert [file.closed for file in shelf.opened] == [True]


@cases("kind", ["local-file", "native-binary", "lambda-zip"])
@cases("body", [b"\x7fELF", b"", jar(None)])
def test_other_local_kinds_need_no_contract(kind: str, body: bytes) -> None:
    assert verify(descriptor(("app", kind, body)), Shelf(app=body)) == Verdict((), None, "app")


@cases("kind", ["container-image", "lambda-image", "external-endpoint"])
def test_remote_artifacts_are_not_opened(kind: str) -> None:
    shelf = Shelf(app=b"x")
    assert verify(descriptor(("app", kind, sha(b"y"))), shelf) == Verdict((), None, "app")
    assert shelf.opened == []


def test_warnings_of_the_descriptor_are_kept_and_reject_nothing() -> None:
    verdict = verify(descriptor(("app", "container-image", "sha256:latest")), Shelf())
    assert verdict.accepted
    assert [finding.code for finding in verdict.findings] == ["ARTIFACT_DIGEST_UNUSUAL"]


@cases(
    ("kind", "message"),
    [
        ("jar", "Release JAR artifact must point to a readable local file"),
        ("local-file", "Release local artifact must point to a readable file"),
        ("native-binary", "Release local artifact must point to a readable file"),
        ("lambda-zip", "Release local artifact must point to a readable file"),
    ],
)
def test_a_missing_file_is_a_finding(kind: str, message: str) -> None:
    verdict = verify(descriptor(("app", kind, b"")), Shelf())
    assert findings_of(verdict) == [("ARTIFACT_FILE_MISSING", AT, message)]
    assert not verdict.accepted


DIGEST = "Release artifact digest does not match local file checksum"
MISSING = f"Release JAR artifact is missing {CONTRACT_ENTRY}"
INVALID = f"Invalid {CONTRACT_ENTRY} JSON: "
INSIDE = f"{AT}!pipeline-contract.json"


@cases("kind", ["jar", "local-file"])
def test_a_different_digest_is_a_finding(kind: str) -> None:
    verdict = verify(descriptor(("app", kind, b"other")), Shelf(app=jar(CONTRACT)))
    assert findings_of(verdict) == [("ARTIFACT_DIGEST_MISMATCH", f"{AT}.digest", DIGEST)]
    assert verdict.contract is None


@cases("body", [b"no zip", b"", jar(None)])
def test_a_jar_without_a_contract_is_a_finding(body: bytes) -> None:
    verdict = verify(descriptor(("app", "jar", body)), Shelf(app=body))
    assert findings_of(verdict) == [("ARTIFACT_CONTRACT_MISSING", AT, MISSING)]


@cases("kind", ["jar", "local-file", "native-binary", "lambda-zip"])
@cases(
    ("contract", "expected"),
    [
        (
            {**CONTRACT, "pipelineId": "org.y"},
            [
                (
                    "ARTIFACT_PIPELINE_MISMATCH",
                    AT,
                    "Release artifact contract pipelineId does not match release descriptor",
                )
            ],
        ),
        (
            {**CONTRACT, "contractVersion": "v2"},
            [
                (
                    "ARTIFACT_CONTRACT_VERSION_MISMATCH",
                    AT,
                    "Release artifact contractVersion does not match release descriptor",
                )
            ],
        ),
        (
            {**CONTRACT, "scope": 1},
            [("CONTRACT_UNKNOWN_MEMBER", f"{INSIDE}#scope", f'{INVALID}Unrecognized field "scope"')],
        ),
        (
            {**CONTRACT, "schemaVersion": 9},
            [
                (
                    "CONTRACT_SCHEMA_VERSION_UNSUPPORTED",
                    f"{INSIDE}#schemaVersion",
                    f"{INVALID}Unsupported pipeline contract schemaVersion 9",
                )
            ],
        ),
        (
            b"{",
            [
                (
                    "DOCUMENT_NOT_JSON",
                    INSIDE,
                    f"{INVALID}malformed JSON: Expecting property name enclosed in double quotes, line 1 column 2",
                )
            ],
        ),
        (b"\xff", [("DOCUMENT_NOT_UTF8", INSIDE, f"{INVALID}the document is not UTF-8: byte 0 invalid start byte")]),
    ],
)
def test_a_contract_must_be_valid_and_match_the_descriptor(
    kind: str, contract: Mapping[str, Any] | bytes, expected: list[tuple[str, str, str]]
) -> None:
    body = jar(contract)
    verdict = verify(descriptor(("app", kind, body)), Shelf(app=body))
    errors = [finding for finding in verdict.findings if finding.severity is Severity.ERROR]
    assert [(finding.code, finding.field, finding.message) for finding in errors] == expected
    assert not verdict.accepted
    assert verdict.contract is None


def test_a_contract_whose_hash_is_wrong_is_accepted_with_a_warning() -> None:
    body = jar({**CONTRACT, "contractHash": "beef"})
    verdict = verify(descriptor(("app", "jar", body)), Shelf(app=body))
    assert verdict.accepted
    assert [(finding.code, finding.field) for finding in verdict.findings] == [
        ("CONTRACT_HASH_MISMATCH", f"{INSIDE}#contractHash")
    ]


def test_an_unsafe_archive_is_a_finding_that_names_the_entry() -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        file.writestr("../evil", b"")
    verdict = verify(descriptor(("app", "lambda-zip", buffer.getvalue())), Shelf(app=buffer.getvalue()))
    message = "Failed to inspect release artifact: an entry's name points outside of the archive"
    assert findings_of(verdict) == [("ARCHIVE_NAME_CLIMBS_OUT", f"{AT}!../evil", message)]


def test_a_failed_read_gives_no_verdict() -> None:
    def open_artifact(artifact: ArtifactRef) -> BinaryIO | None:
        raise PermissionError(13, "Permission denied")

    with pytest.raises(PermissionError):
        verify(descriptor(("app", "jar", b"")), open_artifact)


def test_equal_digests_are_read_once_and_checked_for_each_artifact() -> None:
    body, opened = jar(None), []

    def open_artifact(artifact: ArtifactRef) -> BinaryIO | None:
        opened.append(artifact.artifact_id)
        return io.BytesIO(body)

    verdict = verify(descriptor(("a", "jar", body), ("b", "native-binary", body), ("c", "jar", body)), open_artifact)
    assert opened == ["a"]
    assert [(finding.code, finding.field) for finding in verdict.findings] == [
        ("ARTIFACT_CONTRACT_MISSING", AT),
        ("ARTIFACT_CONTRACT_MISSING", "pipeline-release.json#artifacts[2]"),
    ]


def test_every_finding_of_every_artifact_is_kept() -> None:
    bad = jar({**CONTRACT, "pipelineId": "org.y", "contractVersion": "v2"})
    wanted = descriptor(
        ("gone", "jar", b""), ("image", "lambda-image", "sha256:"), ("app", "jar", b"else"), ("x", "jar", b"x")
    )
    verdict = verify(wanted, Shelf(app=bad, x=b"x"))
    assert [(finding.code, finding.field.partition("#")[2]) for finding in verdict.findings] == [
        ("ARTIFACT_DIGEST_UNUSUAL", "artifacts[1].digest"),
        ("ARTIFACT_FILE_MISSING", "artifacts[0]"),
        ("ARTIFACT_DIGEST_MISMATCH", "artifacts[2].digest"),
        ("CONTRACT_HASH_MISMATCH", "artifacts[2]!pipeline-contract.json#contractHash"),
        ("ARTIFACT_PIPELINE_MISMATCH", "artifacts[2]"),
        ("ARTIFACT_CONTRACT_VERSION_MISMATCH", "artifacts[2]"),
        ("ARTIFACT_CONTRACT_MISSING", "artifacts[3]"),
    ]


@cases(
    ("artifacts", "primary"),
    [
        ([("a", "local-file", b"a"), ("b", "local-file", b"b")], "a"),
        ([("a", "local-file", b"a"), ("b", "jar", jar(CONTRACT))], "b"),
        ([("a", "jar", jar(CONTRACT)), ("b", "local-file", b"b")], "a"),
        (
            [("a", "jar", jar(CONTRACT)), ("b", "lambda-zip", jar(CONTRACT, filler=b"x")), ("c", "local-file", b"c")],
            "b",
        ),
        ([("a", "container-image", sha(b"")), ("b", "local-file", b"b")], "a"),
    ],
)
def test_the_primary_artifact_is_the_last_with_a_contract_or_else_the_first(
    artifacts: list[tuple[str, str, bytes]], primary: str
) -> None:
    shelf = Shelf(**{name: body for name, kind, body in artifacts if isinstance(body, bytes)})
    verdict = verify(descriptor(*artifacts), shelf)
    assert verdict.accepted
    assert verdict.primary_artifact_id == primary


def test_different_contracts_of_one_version_are_a_warning_and_the_last_is_used() -> None:
    first, second = jar(CONTRACT), jar({**CONTRACT, "platform": "FUNCTION"})
    verdict = verify(descriptor(("a", "jar", first), ("b", "jar", second)), Shelf(a=first, b=second))
    assert verdict.accepted
    assert verdict.contract is not None
    assert verdict.contract["platform"] == "FUNCTION"
    assert "CONTRACT_DIFFERS_BETWEEN_ARTIFACTS" in [finding.code for finding in verdict.findings]


def test_a_digest_covers_the_complete_file_from_any_position(tmp_path: Path) -> None:
    body = bytes(range(256)) * 20_000
    path = tmp_path / "artifact"
    path.write_bytes(body)
    with path.open("rb") as file:
        file.seek(77)
        assert digest_of(file) == sha(body)
