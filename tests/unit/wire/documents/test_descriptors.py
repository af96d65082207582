"""Descriptors of both profiles, apart from their artifacts' bytes (wire protocol A.2, A.3 rules 4 to 10)."""

from typing import Any

from tests.cases import cases
from tests.unit.wire.documents.examples import (
    DELETED,
    DIGEST,
    HEX,
    LONG,
    NEWER,
    OLDER,
    Document,
    changed,
    encoded,
    findings_of,
    refused,
    rows,
)
from wire.documents.descriptor import (
    NAMES_PROFILE,
    Descriptor,
    Profile,
    descriptor_from_json,
    parse_descriptor,
    unpromotable,
)
from wire.findings import Severity

NAME = "pipeline-release.json"
CARRIER = "compiledTruthArtifactId"
WRONG_TYPE = "DESCRIPTOR_WRONG_TYPE"
FIRST, SECOND, THIRD = "artifacts[0]", "artifacts[1]", "artifacts[2]"


def parse(document: Document) -> Descriptor:
    """Return the descriptor, which is read back equal from its normalised form."""
    descriptor = parse_descriptor(encoded(document))
    assert descriptor_from_json(descriptor.normalised()) == descriptor
    return descriptor


@cases(("document", "profile"), [(OLDER, Profile.TPF_2026_08), (NEWER, Profile.TPF_2026_10)])
def test_a_descriptor_with_every_member_is_read_unchanged(document: Document, profile: Profile) -> None:
    descriptor = parse(document)
    assert (descriptor.profile, descriptor.normalised(), descriptor.warnings) == (profile, document, ())
    for absent in (None, DELETED):
        [first, *_] = parse(changed(document, f"{FIRST}.stepIds", absent)).normalised()["artifacts"]
        assert first["stepIds"] == []


IN_BOTH: list[tuple[str, Any, list[Any]]] = [
    ("DESCRIPTOR_UNKNOWN_MEMBER", ("owner", f"{FIRST}.scope", f"{SECOND}.runtime"), [1]),
    ("DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion", [DELETED, 0, 2]),
    (WRONG_TYPE, "schemaVersion", ["1"]),
    ("DESCRIPTOR_MISSING_MEMBER", ("pipelineId", "contractVersion", "releaseVersion"), [DELETED, None]),
    ("DESCRIPTOR_MISSING_MEMBER", tuple(f"{FIRST}.{name}" for name in ("artifactId", "kind", "uri", "digest")), [None]),
    ("DESCRIPTOR_BLANK_MEMBER", ("pipelineId", "releaseVersion", f"{FIRST}.artifactId", f"{FIRST}.digest"), ["", " "]),
    (WRONG_TYPE, ("releaseVersion", f"{FIRST}.kind", f"{FIRST}.stepIds[1]"), [1]),
    (WRONG_TYPE, ("artifacts", f"{FIRST}.stepIds"), [{}, "a"]),
    (WRONG_TYPE, f"{SECOND}", [None, "jar"]),
    ("DESCRIPTOR_NO_ARTIFACTS", "artifacts", [DELETED, None, []]),
    ("IDENTITY_TOO_LONG", ("releaseVersion", f"{SECOND}.artifactId", f"{SECOND}.digest"), [f"sha256:{LONG}"]),
    ("IDENTITY_MALFORMED", ("pipelineId", "releaseVersion"), ["a/b", "../1.0"]),
    ("IDENTITY_MALFORMED", f"{FIRST}.digest", [f"sha256:{HEX}\n"]),
    ("IDENTITY_MALFORMED", f"{FIRST}.stepIds[1]", [" "]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["War", "application_archive"]),
]
IN_THE_OLDER: list[tuple[str, Any, list[Any]]] = [
    ("DOCUMENT_BAD_CHARACTER", f"{FIRST}.uri", ["a\0"]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["application-archive", "compiled-truth"]),
    ("ARTIFACT_DIGEST_MALFORMED", f"{FIRST}.digest", ["md5:" + HEX, "sha256:0a", f"sha256:{HEX}0"]),
    ("ARTIFACT_DIGEST_UPPER_CASE", f"{FIRST}.digest", [f"sha256:{HEX.upper()}"]),
]
IN_THE_NEWER: list[tuple[str, Any, list[Any]]] = [
    ("DESCRIPTOR_MISSING_MEMBER", CARRIER, [None]),
    ("DESCRIPTOR_BLANK_MEMBER", CARRIER, [""]),
    (WRONG_TYPE, CARRIER, [1]),
    ("COMPILED_TRUTH_UNKNOWN", CARRIER, ["Truth"]),
    ("COMPILED_TRUTH_WRONG_KIND", CARRIER, ["image"]),
    ("ARTIFACT_ID_MALFORMED", f"{FIRST}.artifactId", ["a b", "a/b", "é"]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["JAR", "local-file"]),
    ("ARTIFACT_URI_SCHEME_UNSUPPORTED", f"{FIRST}.uri", ["build/app.jar"]),
    ("ARTIFACT_URI_NOT_CANONICAL", f"{FIRST}.uri", ["file:///{rule}{"]),
    ("ARTIFACT_URI_WRONG_SCHEME", f"{SECOND}.uri", ["maven:g:a:1", "file:///a"]),
    ("ARTIFACT_URI_WRONG_SCHEME", (f"{FIRST}.uri", f"{THIRD}.uri"), [f"oci://r/a@{DIGEST}"]),
    ("ARTIFACT_URI_OTHER_DIGEST", f"{SECOND}.digest", [DIGEST]),
    ("ARTIFACT_DIGEST_MALFORMED", (f"{FIRST}.digest", f"{SECOND}.digest"), [HEX, f"sha256:{HEX.upper()}", "md5:0a"]),
    ("ARTIFACT_ASSOCIATION_REPEATED", (f"{FIRST}.stepIds", f"{SECOND}.capabilities"), [["Ship", "Validate", "Ship"]]),
    ("ARTIFACT_ASSOCIATION_BLANK", (f"{FIRST}.stepIds", f"{FIRST}.capabilities"), [["Ship", ""]]),
    ("COMPILED_TRUTH_ASSOCIATED", (f"{THIRD}.stepIds", f"{THIRD}.capabilities"), [["Ship"]]),
]


@cases(
    ("document", "code", "field", "value"),
    [
        *((OLDER, *row) for row in rows([*IN_BOTH, *IN_THE_OLDER])),
        *((NEWER, *row) for row in rows([*IN_BOTH, *IN_THE_NEWER])),
    ],
)
def test_a_broken_descriptor_gets_exactly_its_finding(document: Document, code: str, field: str, value: Any) -> None:
    assert findings_of(parse_descriptor, changed(document, field, value)) == [(code, field)]
    messages = [finding.message for finding in refused(parse_descriptor, changed(document, field, value))]
    assert all(message.startswith(NAMES_PROFILE) is (CARRIER in document) for message in messages)


@cases("severity", Severity)
def test_files_and_snapshots_are_not_promotable(severity: Severity) -> None:
    descriptor = parse(changed(NEWER, f"{FIRST}.uri", "maven:g:a:1-snapshot"))
    found = unpromotable(descriptor, severity)
    assert [(each.code, each.field) for each in found] == [
        ("ARTIFACT_NOT_PROMOTABLE", f"{NAME}#{at}.uri") for at in (FIRST, THIRD)
    ]
    assert all(each.severity is severity and each.message.startswith(NAMES_PROFILE) for each in found)


def test_the_ids_of_artifacts_are_unique() -> None:
    twins = changed(NEWER, f"{SECOND}.artifactId", NEWER["artifacts"][0]["artifactId"])
    assert ("ARTIFACT_ID_REPEATED", f"{SECOND}.artifactId") in findings_of(parse_descriptor, twins)
