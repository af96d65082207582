"""Descriptors of both profiles, apart from their artifacts' bytes.

Each location of an artifact has exactly one spelling in the profile `tpf-2026-10`."""

from typing import Any

from tests.cases import cases
from tests.raising import error_of
from tests.unit.wire.documents import examples
from wire.documents.artifact_uri import ArtifactUriError, FileUri, ImageUri, MavenUri, parse_artifact_uri
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
UPPER_CASE = f"sha256:{examples.HEX.upper()}"
WRONG_TYPE = "DESCRIPTOR_WRONG_TYPE"
FIRST, SECOND, THIRD = "artifacts[0]", "artifacts[1]", "artifacts[2]"
MALFORMED, OTHER_SPELLING = "ARTIFACT_URI_MALFORMED", "ARTIFACT_URI_NOT_CANONICAL"
UNSUPPORTED = "ARTIFACT_URI_SCHEME_UNSUPPORTED"
PARTS = "maven:groupId:artifactId[:extension[:classifier]]:version"
QUERY, NOT_UTF8 = "a file: URI has no query and no fragment", "the path of a file: URI is not UTF-8"


def parse(document: examples.Document) -> Descriptor:
    """Return the descriptor, which is read back equal from its normalised form."""
    descriptor = parse_descriptor(examples.encoded(document))
    assert descriptor_from_json(descriptor.normalised()) == descriptor
    return descriptor


@cases(("document", "profile"), [(examples.OLDER, Profile.TPF_2026_08), (examples.NEWER, Profile.TPF_2026_10)])
def test_a_descriptor_with_every_member_is_read_unchanged(document: examples.Document, profile: Profile) -> None:
    descriptor = parse(document)
    assert (descriptor.profile, descriptor.normalised(), descriptor.warnings) == (profile, document, ())
    for absent in (None, examples.DELETED):
        [first, *_] = parse(examples.changed(document, f"{FIRST}.stepIds", absent)).normalised()["artifacts"]
        assert first["stepIds"] == []


IN_BOTH: list[tuple[str, Any, list[Any]]] = [
    ("DESCRIPTOR_UNKNOWN_MEMBER", ("owner", f"{FIRST}.scope", f"{SECOND}.runtime"), [1]),
    ("DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion", [examples.DELETED, 0, 2]),
    (WRONG_TYPE, "schemaVersion", ["1"]),
    ("DESCRIPTOR_MISSING_MEMBER", ("pipelineId", "contractVersion", "releaseVersion"), [examples.DELETED, None]),
    ("DESCRIPTOR_MISSING_MEMBER", tuple(f"{FIRST}.{name}" for name in ("artifactId", "kind", "uri", "digest")), [None]),
    ("DESCRIPTOR_BLANK_MEMBER", ("pipelineId", "releaseVersion", f"{FIRST}.artifactId", f"{FIRST}.digest"), ["", " "]),
    (WRONG_TYPE, ("releaseVersion", f"{FIRST}.kind", f"{FIRST}.stepIds[1]"), [1]),
    (WRONG_TYPE, ("artifacts", f"{FIRST}.stepIds"), [{}, "a"]),
    (WRONG_TYPE, f"{SECOND}", [None, "jar"]),
    ("DESCRIPTOR_NO_ARTIFACTS", "artifacts", [examples.DELETED, None, []]),
    ("IDENTITY_TOO_LONG", ("releaseVersion", f"{SECOND}.artifactId", f"{SECOND}.digest"), [f"sha256:{examples.LONG}"]),
    ("IDENTITY_MALFORMED", ("pipelineId", "releaseVersion"), ["a/b", "../1.0"]),
    ("IDENTITY_MALFORMED", f"{FIRST}.digest", [f"sha256:{examples.HEX}\n"]),
    ("IDENTITY_MALFORMED", f"{FIRST}.stepIds[1]", [" "]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["War", "application_archive"]),
]
IN_THE_OLDER: list[tuple[str, Any, list[Any]]] = [
    ("DOCUMENT_BAD_CHARACTER", f"{FIRST}.uri", ["a\0"]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["application-archive", "compiled-truth"]),
    ("ARTIFACT_DIGEST_MALFORMED", f"{FIRST}.digest", ["md5:" + examples.HEX, "sha256:0a", f"sha256:{examples.HEX}0"]),
    ("ARTIFACT_DIGEST_UPPER_CASE", f"{FIRST}.digest", [UPPER_CASE]),
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
    ("ARTIFACT_URI_WRONG_SCHEME", (f"{FIRST}.uri", f"{THIRD}.uri"), [f"oci://r/a@{examples.DIGEST}"]),
    ("ARTIFACT_URI_OTHER_DIGEST", f"{SECOND}.digest", [examples.DIGEST]),
    ("ARTIFACT_DIGEST_MALFORMED", (f"{FIRST}.digest", f"{SECOND}.digest"), [examples.HEX, UPPER_CASE, "md5:0a"]),
    ("ARTIFACT_ASSOCIATION_REPEATED", (f"{FIRST}.stepIds", f"{SECOND}.capabilities"), [["Ship", "Validate", "Ship"]]),
    ("ARTIFACT_ASSOCIATION_BLANK", (f"{FIRST}.stepIds", f"{FIRST}.capabilities"), [["Ship", ""]]),
    ("COMPILED_TRUTH_ASSOCIATED", (f"{THIRD}.stepIds", f"{THIRD}.capabilities"), [["Ship"]]),
]


@cases(
    ("document", "code", "field", "value"),
    [
        *((examples.OLDER, *row) for row in examples.rows([*IN_BOTH, *IN_THE_OLDER])),
        *((examples.NEWER, *row) for row in examples.rows([*IN_BOTH, *IN_THE_NEWER])),
    ],
)
def test_a_broken_descriptor_gets_its_finding(document: examples.Document, code: str, field: str, value: Any) -> None:
    assert examples.findings_of(parse_descriptor, examples.changed(document, field, value)) == [(code, field)]
    findings = examples.refused(parse_descriptor, examples.changed(document, field, value))
    assert all(finding.message.startswith(NAMES_PROFILE) is (CARRIER in document) for finding in findings)


@cases("severity", Severity)
def test_files_and_snapshots_are_not_promotable(severity: Severity) -> None:
    descriptor = parse(examples.changed(examples.NEWER, f"{FIRST}.uri", "maven:g:a:1-snapshot"))
    findings = unpromotable(descriptor, severity)
    assert [(finding.code, finding.field) for finding in findings] == [
        ("ARTIFACT_NOT_PROMOTABLE", f"{NAME}#{at}.uri") for at in (FIRST, THIRD)
    ]
    assert all(finding.severity is severity and finding.message.startswith(NAMES_PROFILE) for finding in findings)


def test_the_ids_of_artifacts_are_unique() -> None:
    twins = examples.changed(examples.NEWER, f"{SECOND}.artifactId", examples.NEWER["artifacts"][0]["artifactId"])
    assert ("ARTIFACT_ID_REPEATED", f"{SECOND}.artifactId") in examples.findings_of(parse_descriptor, twins)


def refusal(text: str) -> tuple[str, str]:
    refused = error_of(ArtifactUriError, parse_artifact_uri, text)
    return refused.code, str(refused)


JAVA = {
    "/": "file:///",
    "/srv/app.jar": "file:///srv/app.jar",
    "/ a%b%20c ": "file:///%20a%25b%2520c%20",
    "/é/ü/e\u0301": "file:///%C3%A9/%C3%BC/e%CC%81",
    "/ !\"#$%&'()*+,-.0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f": (
        "file:///%20!%22%23$%25&'()*+,-.0123456789:;%3C=%3E%3F@ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_"
        "%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~%7F"
    ),
}
"""`Path.of(path).toUri()` of OpenJDK 17 on Linux, with UTF-8 as the encoding of names."""
MAVEN = {
    "maven:org.example:app:1.0": MavenUri("org.example", "app", "1.0"),
    "maven:g:a:zip:1": MavenUri("g", "a", "1", "zip"),
    "maven:g:a:tar.gz:linux-x64:1": MavenUri("g", "a", "1", "tar.gz", "linux-x64"),
}
URIS = {
    **MAVEN,
    **{uri: FileUri(path) for path, uri in JAVA.items()},
    f"oci://ghcr.io/acme/app@{examples.DIGEST}": ImageUri("ghcr.io", "acme/app", examples.DIGEST),
    f"oci://Reg_1.x-y/a/b/C._~-d@{examples.DIGEST}": ImageUri("Reg_1.x-y", "a/b/C._~-d", examples.DIGEST),
}


@cases(("text", "uri"), URIS.items())
def test_a_location_is_read_and_written(text: str, uri: FileUri | MavenUri | ImageUri) -> None:
    """A file is escaped as Java does."""
    assert (parse_artifact_uri(text), str(uri)) == (uri, text)


def test_maven_coordinates_have_a_path_in_the_default_layout() -> None:
    paths = ["org/example/app/1.0/app-1.0.jar", "g/a/1/a-1.zip", "g/a/1/a-1-linux-x64.tar.gz"]
    assert [uri.path for uri in MAVEN.values()] == paths


REFUSED: dict[tuple[str, str], list[str]] = {
    (UNSUPPORTED, "the uri is not a file:, maven: or oci: URI"): [
        *("", "/srv/app.jar", "https://example.org/app.jar", "FILE:///a", " file:///a"),
    ],
    (MALFORMED, "a file: URI is absolute, and names no host"): ["file:", "file:a", "file://localhost/a"],
    (MALFORMED, "the file: URI is malformed"): ["file://[/a", "file:///\ud800"],
    (MALFORMED, QUERY): ["file:///a?", "file:///a#"],
    (MALFORMED, "the path of a file: URI contains a null character"): ["file:///a%00b"],
    (MALFORMED, NOT_UTF8): ["file:///%FF", "file:///%C0%AE%C0%AE/a"],
    (MALFORMED, f"a maven: URI is {PARTS}"): ["maven:g:a", "maven:g:a:zip:x:1:2"],
    (MALFORMED, f"a maven: URI has no //: {PARTS}"): ["maven://g:a:1"],
    **{
        (MALFORMED, f"the {part} of the maven: URI is malformed"): [f"maven:{uri}" for uri in uris]
        for part, uris in {
            "groupId": [f"{group}:a:1" for group in ("", "..", "org..x", ".org", "org/x")],
            "artifactId": [f"g:{artifact}:1" for artifact in ("", "..", "a+b")],
            "extension": ["g:a::1"],
            "classifier": ["g:a:jar::1", "g:a:jar:x~y:1"],
            "version": [f"g:a:{version}" for version in ("", "..", "1/2", "1\n")],
        }.items()
    },
    (MALFORMED, "an oci: URI is oci://registry/repository@sha256:<64 lower-case hex digits>"): [
        *(f"oci{rest}@{examples.DIGEST}" for rest in (":r/a", "://r", "://u@r/a", "://r/a:1")),
        "oci://r/a",
        f"oci://r/a@{examples.DIGEST}\n",
        f"oci://r/a@sha256:{examples.HEX.upper()}",
        f"oci://r/a@sha512:{examples.HEX}{examples.HEX}",
    ],
}
OTHER_SPELLINGS = {
    "maven:g:a:1": ["maven:g:a:jar:1"],
    "file:///a": ["file:/a", "file:////a", "file:///a/", "file:///a/.", "file:///%61", "file:///a\n"],
    "file:///a/b": ["file:///a//b", "file:///a%2Fb"],
    "file:///b": ["file:///a/../b", "file:///a/%2E%2E/b"],
    "file:///": ["file:///.."],
    "file:///%C3%A9": ["file:///%c3%a9", "file:///é"],
    "file:///a%20": ["file:///a "],
    "file:///a%25": ["file:///a%"],
}


@cases(("text", "expected"), [(text, expected) for expected, texts in REFUSED.items() for text in texts])
def test_any_other_text_is_refused(text: str, expected: tuple[str, str]) -> None:
    assert refusal(text) == expected


@cases(("text", "uri"), [(text, uri) for uri, texts in OTHER_SPELLINGS.items() for text in texts])
def test_another_spelling_of_a_location_is_refused_with_the_canonical_one(text: str, uri: str) -> None:
    assert refusal(text) == (OTHER_SPELLING, f"the canonical form of the uri is {uri}")
