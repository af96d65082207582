"""Descriptors of both profiles, apart from their artifacts' bytes (wire protocol A.2, A.3 rules 4 to 10)."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.cases import cases
from tests.unit.wire.documents.examples import (
    DELETED,
    DIGEST,
    HEX,
    LONG,
    NEWER,
    OLDER,
    OTHER_DIGEST,
    Document,
    artifact,
    changed,
    encoded,
    findings_of,
    refused,
    rows,
)
from wire.documents.artifact_uri import FileUri, ImageUri, MavenUri
from wire.documents.descriptor import (
    KINDS,
    NAMES_PROFILE,
    ArtifactKind,
    CarrierDescriptor,
    Descriptor,
    Profile,
    descriptor_from_json,
    parse_descriptor,
    profile_of,
    unpromotable,
)
from wire.documents.json_reader import MAX_FINDINGS
from wire.findings import Finding, Severity
from wire.identifying import RULE, SEGMENT_RULE

NAME = "pipeline-release.json"
CARRIER = "compiledTruthArtifactId"
FIRST, SECOND, THIRD = "artifacts[0]", "artifacts[1]", "artifacts[2]"


def parse(document: Document) -> Descriptor:
    """Return the descriptor, which is read back equal from its normalised form."""
    descriptor = parse_descriptor(encoded(document))
    assert descriptor_from_json(descriptor.normalised()) == descriptor
    return descriptor


def carried(document: Document) -> CarrierDescriptor:
    descriptor = parse(document)
    assert isinstance(descriptor, CarrierDescriptor)
    return descriptor


# --- accepted ---


@cases(("document", "profile"), [(OLDER, Profile.TPF_2026_08), (NEWER, Profile.TPF_2026_10)])
def test_a_descriptor_with_every_member_is_read_unchanged(document: Document, profile: Profile) -> None:
    descriptor = parse(document)
    assert (descriptor.profile, descriptor.normalised(), descriptor.warnings) == (profile, document, ())
    for member in ("stepIds", "capabilities"):
        for absent in (None, DELETED):
            lists = [
                each[member] for each in parse(changed(document, f"{FIRST}.{member}", absent)).normalised()["artifacts"]
            ]
            assert lists[0] == []


@cases("value", [None, "", "app", 1, [], {}])
def test_one_member_decides_the_profile_whatever_its_value(value: Any) -> None:
    assert profile_of({CARRIER: value}) is Profile.TPF_2026_10
    assert profile_of({CARRIER.lower(): value, "schemaVersion": 2}) is Profile.TPF_2026_08


def test_artifacts_of_the_newer_profile_have_locations_and_one_of_them_is_the_carrier() -> None:
    descriptor = carried(NEWER)
    assert descriptor.carrier is descriptor.artifacts[2]
    assert [artifact.location for artifact in descriptor.artifacts] == [
        MavenUri("org.x", "app", "1.0"),
        ImageUri("ghcr.io", "acme/app", OTHER_DIGEST),
        FileUri("/srv/truth.zip"),
    ]


KIND_RULES = {
    "jar": "stored deployable carrier",
    "native-binary": "stored deployable",
    "lambda-zip": "stored deployable carrier",
    "container-image": "image deployable",
    "lambda-image": "image deployable",
    "application-archive": "stored deployable carrier",
    "compiled-truth": "stored carrier",
}


def test_the_kinds_of_the_profiles() -> None:
    properties = {
        "stored": "is_stored",
        "image": "is_image",
        "deployable": "is_deployable",
        "carrier": "may_carry_contract",
    }
    for kind in KINDS[Profile.TPF_2026_10]:
        assert {name for name, rule in properties.items() if getattr(kind, rule)} == set(KIND_RULES[kind].split()), kind
    assert [kind.value for kind in KINDS[Profile.TPF_2026_10]] == list(KIND_RULES)
    older = KINDS[Profile.TPF_2026_08]
    assert set(older) == {*list(KIND_RULES)[:5], "local-file", "external-endpoint"}
    assert [kind.value for kind in older if kind.is_stored] == ["jar", "local-file", "native-binary", "lambda-zip"]


@cases("kind", KINDS[Profile.TPF_2026_08])
def test_the_older_profile_reads_kinds_in_any_case_and_keeps_them_in_lower_case(kind: ArtifactKind) -> None:
    descriptor = parse(changed(OLDER, f"{FIRST}.kind", kind.upper()))
    assert descriptor.artifacts[0].kind is kind
    assert descriptor.normalised()["artifacts"][0]["kind"] == kind.value


@cases("digest", ["sha256:", "sha256:latest", "sha256:" + HEX.upper()])
@cases("kind", [kind for kind in KINDS[Profile.TPF_2026_08] if not kind.is_stored])
def test_an_odd_digest_of_a_remote_artifact_is_a_warning(kind: ArtifactKind, digest: str) -> None:
    descriptor = parse(changed(changed(OLDER, f"{SECOND}.kind", kind.value), f"{SECOND}.digest", digest))
    [warning] = descriptor.warnings
    assert (warning.code, warning.severity) == ("ARTIFACT_DIGEST_UNUSUAL", Severity.WARNING)
    assert warning.field == f"{NAME}#{SECOND}.digest"
    assert Finding.from_json(warning.to_json()) == warning
    assert "warnings" not in descriptor.normalised()


def test_the_older_profile_accepts_what_the_newer_one_does_not() -> None:
    first = artifact("the app/1", "JAR", "build/../app.jar", DIGEST, ["a", "a", ""])
    second = artifact("the app/1", "container-image", "registry/app:1", f"sha256:{HEX.upper()}")
    document = {**OLDER, "artifacts": [first, second, {**first, "kind": "external-endpoint", "uri": "http://x"}]}
    assert type(parse(document)) is Descriptor
    assert {code for code, _ in findings_of(parse_descriptor, {**document, CARRIER: "the app/1"})} == {
        "ARTIFACT_ID_MALFORMED",
        "ARTIFACT_KIND_UNSUPPORTED",
        "ARTIFACT_URI_SCHEME_UNSUPPORTED",
        "ARTIFACT_DIGEST_MALFORMED",
        "ARTIFACT_ASSOCIATION_BLANK",
    }


@cases("artifact_id", ["a", "A.b_c-1", "...", "-", "x" * 500, "Image"])
def test_the_characters_of_an_artifact_id(artifact_id: str) -> None:
    document = changed(changed(NEWER, f"{THIRD}.artifactId", artifact_id), CARRIER, artifact_id)
    assert carried(document).carrier.artifact_id == artifact_id


# --- refused ---

SHAPE = "Invalid pipeline release descriptor JSON: "
VERBATIM = {
    *("DESCRIPTOR_BLANK_MEMBER", "DESCRIPTOR_NO_ARTIFACTS"),
    *("ARTIFACT_KIND_UNSUPPORTED", "ARTIFACT_DIGEST_MALFORMED", "ARTIFACT_DIGEST_UPPER_CASE"),
}
"""The codes of the older profile whose messages have no preamble."""
WRONG_TYPE, MALFORMED = "DESCRIPTOR_WRONG_TYPE", "IDENTITY_MALFORMED"
MESSAGES = {
    "DESCRIPTOR_UNKNOWN_MEMBER": 'Unrecognized field "{name}"',
    "DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED": "Unsupported pipeline release schemaVersion {value}",
    "DESCRIPTOR_MISSING_MEMBER": "{name} is required",
    "DESCRIPTOR_BLANK_MEMBER": "{name} is required",
    "DESCRIPTOR_NO_ARTIFACTS": "Release descriptor must contain at least one artifact",
    "IDENTITY_TOO_LONG": "{name} is longer than 500 characters",
    "ARTIFACT_KIND_UNSUPPORTED": "Unsupported release artifact kind {value}",
    "DOCUMENT_BAD_CHARACTER": "U+0000 and lone surrogates cannot be stored",
    "ARTIFACT_DIGEST_MALFORMED": "Release artifact digest must use sha256:<hex>",
    "ARTIFACT_DIGEST_UPPER_CASE": (
        "Release artifact digest must be in lower case: an upper-case digest matches no file"
    ),
    "ARTIFACT_ID_MALFORMED": "artifactId may only have letters, digits, . _ and -",
    "ARTIFACT_URI_WRONG_SCHEME": (
        "the uri of an image is an oci: URI, and that of any other artifact a file: or maven: URI"
    ),
    "ARTIFACT_URI_OTHER_DIGEST": "digest differs from the digest in the uri",
    "ARTIFACT_ASSOCIATION_REPEATED": "{name} has an entry twice",
    "ARTIFACT_ASSOCIATION_BLANK": "{name} has a blank entry",
    "COMPILED_TRUTH_ASSOCIATED": "an artifact of kind compiled-truth has no {name}",
    "COMPILED_TRUTH_UNKNOWN": f"{CARRIER} names none of the artifacts",
}
"""By code. `name` is the last member of the field, `value` the value there."""
IN_BOTH: list[tuple[str, Any, list[Any]]] = [
    ("DESCRIPTOR_UNKNOWN_MEMBER", ("owner", f"{FIRST}.scope", f"{SECOND}.runtime"), [1]),
    ("DESCRIPTOR_SCHEMA_VERSION_UNSUPPORTED", "schemaVersion", [DELETED, 0, 2]),
    (f"{WRONG_TYPE}: an integer", "schemaVersion", ["1"]),
    (
        "DESCRIPTOR_MISSING_MEMBER",
        (
            *("pipelineId", "contractVersion", "releaseVersion"),
            *(f"{FIRST}.{name}" for name in ("artifactId", "kind", "uri", "digest")),
        ),
        [DELETED, None],
    ),
    ("DESCRIPTOR_BLANK_MEMBER", ("pipelineId", "contractVersion", "releaseVersion"), ["", " ", "\n"]),
    ("DESCRIPTOR_BLANK_MEMBER", (f"{FIRST}.artifactId", f"{FIRST}.kind", f"{SECOND}.uri", f"{FIRST}.digest"), [""]),
    (f"{WRONG_TYPE}: a string", ("pipelineId", "releaseVersion", f"{FIRST}.kind"), [{}, 1.0]),
    (f"{WRONG_TYPE}: a string", (f"{FIRST}.stepIds[1]", f"{FIRST}.capabilities[0]"), [None, 1]),
    (f"{WRONG_TYPE}: an array", ("artifacts", f"{FIRST}.stepIds"), [{}, "a"]),
    (f"{WRONG_TYPE}: an object", f"{SECOND}", [None, "jar"]),
    ("DESCRIPTOR_NO_ARTIFACTS", "artifacts", [DELETED, None, []]),
    ("IDENTITY_TOO_LONG", ("releaseVersion", f"{SECOND}.artifactId"), [LONG]),
    ("IDENTITY_TOO_LONG", f"{SECOND}.digest", ["sha256:" + LONG]),
    (f"{MALFORMED}: {SEGMENT_RULE}", ("pipelineId", "releaseVersion"), ["a/b", "../1.0"]),
    (f"{MALFORMED}: {RULE}", f"{FIRST}.digest", [f"sha256:{HEX}\n"]),
    (f"{MALFORMED}: {RULE}", f"{FIRST}.stepIds[1]", [" "]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["War", "{kind}{", "application_archive"]),
]
IN_THE_OLDER: list[tuple[str, Any, list[Any]]] = [
    ("DOCUMENT_BAD_CHARACTER", f"{FIRST}.uri", ["a\0"]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["application-archive", "compiled-truth"]),
    ("ARTIFACT_DIGEST_MALFORMED", f"{FIRST}.digest", ["md5:" + HEX, "SHA256:" + HEX, "sha256:0a", f"sha256:{HEX}0"]),
    ("ARTIFACT_DIGEST_MALFORMED", f"{SECOND}.digest", [HEX]),
    ("ARTIFACT_DIGEST_UPPER_CASE", f"{FIRST}.digest", [f"sha256:{HEX.upper()}"]),
]
IN_THE_NEWER: list[tuple[str, Any, list[Any]]] = [
    ("DESCRIPTOR_MISSING_MEMBER", CARRIER, [None]),
    ("DESCRIPTOR_BLANK_MEMBER", CARRIER, [""]),
    (f"{WRONG_TYPE}: a string", CARRIER, [1]),
    ("COMPILED_TRUTH_UNKNOWN", CARRIER, ["Truth"]),
    ("COMPILED_TRUTH_WRONG_KIND: an artifact of kind container-image cannot carry the contract", CARRIER, ["image"]),
    ("ARTIFACT_ID_MALFORMED", f"{FIRST}.artifactId", ["a b", "a/b", "a:b", "é", "a+b"]),
    ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind", ["JAR", "Jar", "local-file", "external-endpoint"]),
    ("ARTIFACT_URI_SCHEME_UNSUPPORTED: the uri is not a file:, maven: or oci: URI", f"{FIRST}.uri", ["build/app.jar"]),
    (
        "ARTIFACT_URI_NOT_CANONICAL: the canonical form of the uri is file:///%7Brule%7D%7B",
        f"{FIRST}.uri",
        ["file:///{rule}{"],
    ),
    ("ARTIFACT_URI_WRONG_SCHEME", f"{SECOND}.uri", ["maven:g:a:1", "file:///a"]),
    ("ARTIFACT_URI_WRONG_SCHEME", (f"{FIRST}.uri", f"{THIRD}.uri"), [f"oci://r/a@{DIGEST}"]),
    ("ARTIFACT_URI_OTHER_DIGEST", f"{SECOND}.digest", [DIGEST]),
    (
        "ARTIFACT_DIGEST_MALFORMED: digest must be sha256: and 64 lower-case hex digits",
        (f"{FIRST}.digest", f"{SECOND}.digest"),
        [HEX, f"SHA256:{HEX}", f"sha256:{HEX.upper()}", f"sha256:{HEX[:-1]}", f"sha256:{HEX}0", "md5:0a"],
    ),
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
    code, _, text = code.partition(": ")
    name = re.split(r"\.|artifacts(?=\[)", field)[-1] if field != SECOND else SECOND
    if code == WRONG_TYPE:
        text = f"{name} must be {text}"
    elif code == MALFORMED:
        text = f"{name} {text}"
    text = text or MESSAGES[code].format(name=name, value=0 if value is DELETED else value)
    preamble = NAMES_PROFILE if CARRIER in document else "" if code in VERBATIM else SHAPE
    found = refused(parse_descriptor, changed(document, field, value))
    assert found == (Finding(code, f"{NAME}#{field}", preamble + text),)


def test_a_native_binary_cannot_be_the_carrier() -> None:
    document = changed(NEWER, f"{THIRD}.kind", "native-binary")
    assert findings_of(parse_descriptor, document) == [("COMPILED_TRUTH_WRONG_KIND", CARRIER)]


def test_a_repeated_artifact_id_is_reported_for_each_artifact() -> None:
    assert findings_of(parse_descriptor, changed(NEWER, f"{FIRST}.artifactId", "image")) == [
        ("ARTIFACT_ID_REPEATED", f"{FIRST}.artifactId"),
        ("ARTIFACT_ID_REPEATED", f"{SECOND}.artifactId"),
    ]


def test_a_descriptor_gets_every_finding_at_once_and_those_of_its_shape_first() -> None:
    document = changed(OLDER, "contractVersion", "")
    document["artifacts"][0].update(kind="war", digest="md5:1", scope="x")
    document["artifacts"][1]["uri"] = "\0"
    del document["artifacts"][1]["artifactId"]
    assert findings_of(parse_descriptor, document) == [
        ("DOCUMENT_BAD_CHARACTER", f"{SECOND}.uri"),
        ("DESCRIPTOR_UNKNOWN_MEMBER", f"{FIRST}.scope"),
        ("DESCRIPTOR_MISSING_MEMBER", f"{SECOND}.artifactId"),
        ("DESCRIPTOR_BLANK_MEMBER", "contractVersion"),
        ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind"),
        ("ARTIFACT_DIGEST_MALFORMED", f"{FIRST}.digest"),
    ]


def test_a_descriptor_of_the_newer_profile_gets_every_finding_at_once() -> None:
    document = changed(NEWER, CARRIER, " ")
    document["artifacts"][0].update(kind="war", uri="a", digest="b", stepIds=["", ""], scope=1)
    document["artifacts"][1]["digest"] = DIGEST
    document["artifacts"][2]["stepIds"] = ["x"]
    assert set(findings_of(parse_descriptor, document)) == {
        ("ARTIFACT_ASSOCIATION_BLANK", f"{FIRST}.stepIds"),
        ("ARTIFACT_DIGEST_MALFORMED", f"{FIRST}.digest"),
        ("ARTIFACT_KIND_UNSUPPORTED", f"{FIRST}.kind"),
        ("ARTIFACT_URI_OTHER_DIGEST", f"{SECOND}.digest"),
        ("ARTIFACT_URI_SCHEME_UNSUPPORTED", f"{FIRST}.uri"),
        ("COMPILED_TRUTH_ASSOCIATED", f"{THIRD}.stepIds"),
        ("DESCRIPTOR_BLANK_MEMBER", CARRIER),
        ("DESCRIPTOR_UNKNOWN_MEMBER", f"{FIRST}.scope"),
    }
    assert all(finding.message.startswith(NAMES_PROFILE) for finding in refused(parse_descriptor, document))


def test_faults_of_the_text_name_the_profile() -> None:
    [finding] = refused(parse_descriptor, encoded(NEWER)[:-1] + b', "compiledTruthArtifactId": "truth"}')
    assert (finding.code, finding.field) == ("DOCUMENT_DUPLICATE_KEY", f"{NAME}#{CARRIER}")
    assert finding.message.startswith(NAMES_PROFILE)


def test_the_number_of_findings_is_limited() -> None:
    found = findings_of(parse_descriptor, {**NEWER, "artifacts": NEWER["artifacts"][:1] * (MAX_FINDINGS + 10)})
    assert len(found) == MAX_FINDINGS + 1
    assert found[-1][0] == "DOCUMENT_TOO_MANY_FINDINGS"


# --- promotion ---


@cases("severity", Severity)
def test_files_and_snapshots_are_not_promotable(severity: Severity) -> None:
    descriptor = parse(changed(NEWER, f"{FIRST}.uri", "maven:g:a:1-snapshot"))
    found = unpromotable(descriptor, severity)
    assert [(each.code, each.field) for each in found] == [
        ("ARTIFACT_NOT_PROMOTABLE", f"{NAME}#{at}.uri") for at in (FIRST, THIRD)
    ]
    assert all(each.severity is severity and each.message.startswith(NAMES_PROFILE) for each in found)


@cases("document", [changed(NEWER, f"{THIRD}.uri", "maven:org.x:app:zip:truth:1.0"), OLDER])
def test_releases_in_repositories_and_those_of_the_older_profile_are_promotable(document: Document) -> None:
    assert unpromotable(parse(document), Severity.ERROR) == []


# --- properties ---

NAMES = st.lists(
    st.text("abcXYZ0189 -_", min_size=1, max_size=9).filter(lambda name: name == name.strip()), unique=True
)
IDS = st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True).filter(lambda text: text not in {".", ".."})
HEXES = st.binary(min_size=32, max_size=32).map(bytes.hex)


def _artifact(kind: str, digest: str, names: tuple[list[str], list[str]], location: str) -> Document:
    uri = f"oci://r/a@sha256:{digest}" if kind.endswith("-image") else location
    steps, capabilities = ([], []) if kind == "compiled-truth" else names
    return artifact("", kind, uri, f"sha256:{digest}", steps, *capabilities)


LOCATIONS = IDS.map(lambda file: str(FileUri(f"/{file}"))) | st.just("maven:g:a:1")
ARTIFACTS = st.builds(_artifact, st.sampled_from(sorted(KIND_RULES)), HEXES, st.tuples(NAMES, NAMES), LOCATIONS)


@given(st.lists(IDS, min_size=1, max_size=4, unique=True), st.data())
def test_a_normalised_descriptor_of_the_newer_profile_parses_to_itself(ids: list[str], data: st.DataObject) -> None:
    artifacts = [{**data.draw(ARTIFACTS), "artifactId": name} for name in ids]
    document = {**NEWER, "artifacts": artifacts, CARRIER: ids[0]}
    if "carrier" not in KIND_RULES[artifacts[0]["kind"]]:
        assert findings_of(parse_descriptor, document) == [("COMPILED_TRUTH_WRONG_KIND", CARRIER)]
        return
    assert carried(document).normalised() == document
    assert parse(document).warnings == ()
