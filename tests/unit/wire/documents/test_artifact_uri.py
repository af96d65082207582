"""Each location of an artifact has exactly one spelling (profile `tpf-2026-10`, rules 2 to 4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.cases import cases
from tests.parts.clients.tpf_client.descriptor import locate
from tests.parts.clients.tpf_client.failures import BadRelease
from wire.documents.artifact_uri import ArtifactUri, ArtifactUriError, FileUri, ImageUri, MavenUri, parse_artifact_uri

HEX = "0a" * 32
DIGEST = f"sha256:{HEX}"
MALFORMED, OTHER_SPELLING = "ARTIFACT_URI_MALFORMED", "ARTIFACT_URI_NOT_CANONICAL"
UNSUPPORTED = "ARTIFACT_URI_SCHEME_UNSUPPORTED"
PARTS = "maven:groupId:artifactId[:extension[:classifier]]:version"


def refusal(text: str) -> tuple[str, str]:
    with pytest.raises(ArtifactUriError) as caught:
        parse_artifact_uri(text)
    return caught.value.code, str(caught.value)


# --- accepted ---

JAVA = {
    "/": "file:///",
    "/srv/app.jar": "file:///srv/app.jar",
    "/ a%b%20c ": "file:///%20a%25b%2520c%20",
    "/é/ü/e\u0301": "file:///%C3%A9/%C3%BC/e%CC%81",
    "/日本/\U0001f600/\u00a0": "file:///%E6%97%A5%E6%9C%AC/%F0%9F%98%80/%C2%A0",
    "/a..b/...": "file:///a..b/...",
    "/" + "".join(map(chr, range(1, 32))): "file:///" + "".join(f"%{byte:02X}" for byte in range(1, 32)),
    "/ !\"#$%&'()*+,-.0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f": (
        "file:///%20!%22%23$%25&'()*+,-.0123456789:;%3C=%3E%3F@ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_"
        "%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~%7F"
    ),
}
"""`Path.of(path).toUri()` of OpenJDK 17 on Linux, with UTF-8 as the encoding of names."""
JAVA_NORMALISED = {
    "file:///a/b": ["/a/./b", "/a//b/"],
    "file:///b": ["/a/../b"],
    "file:///": ["/.."],
    "file:///a": ["/../a"],
}
"""`Path.of(path).normalize().toUri()`, in the same place."""
MAVEN = {
    "maven:org.example:app:1.0": (MavenUri("org.example", "app", "1.0"), "org/example/app/1.0/app-1.0.jar"),
    "maven:g:a:zip:1": (MavenUri("g", "a", "1", "zip"), "g/a/1/a-1.zip"),
    "maven:g:a:jar:sources:1": (MavenUri("g", "a", "1", "jar", "sources"), "g/a/1/a-1-sources.jar"),
    "maven:g:a:tar.gz:linux-x86_64:1": (
        MavenUri("g", "a", "1", "tar.gz", "linux-x86_64"),
        "g/a/1/a-1-linux-x86_64.tar.gz",
    ),
    "maven:com.acme_1.x-y:a.b_c-d:1.0+build~2-rc.1": (
        MavenUri("com.acme_1.x-y", "a.b_c-d", "1.0+build~2-rc.1"),
        "com/acme_1/x-y/a.b_c-d/1.0+build~2-rc.1/a.b_c-d-1.0+build~2-rc.1.jar",
    ),
    "maven:g:a:1-SNAPSHOT": (MavenUri("g", "a", "1-SNAPSHOT"), "g/a/1-SNAPSHOT/a-1-SNAPSHOT.jar"),
}
IMAGES = {
    f"oci://ghcr.io/acme/app@{DIGEST}": ImageUri("ghcr.io", "acme/app", DIGEST),
    f"oci://localhost:5000/app@{DIGEST}": ImageUri("localhost:5000", "app", DIGEST),
    f"oci://Reg_1.x-y/a/b/C._~-d@{DIGEST}": ImageUri("Reg_1.x-y", "a/b/C._~-d", DIGEST),
}


@cases(("path", "uri"), JAVA.items())
def test_a_file_is_escaped_as_java_does(path: str, uri: str) -> None:
    assert str(FileUri(path)) == uri
    assert parse_artifact_uri(uri) == FileUri(path)


@cases(("text", "expected"), MAVEN.items())
def test_maven_coordinates_have_a_path_in_the_default_layout(text: str, expected: tuple[MavenUri, str]) -> None:
    uri, path = expected
    assert parse_artifact_uri(text) == uri
    assert str(uri) == text
    assert uri.path == path


@cases(("text", "uri"), IMAGES.items())
def test_an_image_has_a_registry_a_repository_and_a_digest(text: str, uri: ImageUri) -> None:
    assert parse_artifact_uri(text) == uri
    assert str(uri) == text


@cases(
    ("text", "promotable"),
    [
        ("file:///a", False),
        ("maven:g:a:1", True),
        ("maven:g:a:1-SNAPSHOT", False),
        ("maven:g:a:1-snapshot", False),
        ("maven:g:a:zip:x:1-Snapshot", False),
        ("maven:g:a:1-SNAPSHOT.1", True),
        ("maven:g:a:SNAPSHOT", True),
        ("maven:g-SNAPSHOT:a-SNAPSHOT:zip-SNAPSHOT:x-SNAPSHOT:1", True),
        (f"oci://r/a@{DIGEST}", True),
    ],
)
def test_files_and_snapshots_are_not_promotable(text: str, promotable: bool) -> None:
    assert parse_artifact_uri(text).is_promotable is promotable


# --- refused ---

QUERY, NOT_UTF8 = "a file: URI has no query and no fragment", "the path of a file: URI is not UTF-8"
REFUSED: dict[tuple[str, str], list[str]] = {
    (UNSUPPORTED, "the uri is not a file:, maven: or oci: URI"): [
        *("", "/srv/app.jar", "app.jar", "https://example.org/app.jar", "FILE:///a", "Maven:g:a:1", "mvn:g:a:1"),
        *(f"OCI://r/a@{DIGEST}", " file:///a", "\tmaven:g:a:1", "file"),
    ],
    (MALFORMED, "a file: URI is absolute, and names no host"): [
        *("file:", "file://", "file:a", "file:./a", "file://host/a", "file://localhost/a", "file://[::1]/a")
    ],
    (MALFORMED, "the file: URI is malformed"): ["file://[/a", "file:///\ud800"],
    (MALFORMED, QUERY): ["file:///a?b", "file:///a?", "file:///a#b", "file:///a#"],
    (MALFORMED, "the path of a file: URI contains a null character"): ["file:///a%00b", "file:///a\0b"],
    (MALFORMED, NOT_UTF8): ["file:///%FF", "file:///%C3", "file:///%C0%AE%C0%AE/a", "file:///%ED%A0%80"],
    (MALFORMED, f"a maven: URI is {PARTS}"): ["maven:", "maven:g:a", "maven:g:a:zip:x:1:2"],
    (MALFORMED, f"a maven: URI has no //: {PARTS}"): ["maven://g:a:1"],
    **{
        (MALFORMED, f"the {part} of the maven: URI is malformed"): [f"maven:{uri}" for uri in uris]
        for part, uris in {
            "groupId": [
                f"{group}:a:1" for group in ("/g", "", ".", "..", "org..x", ".org", "org.", "org/x", "é", " g")
            ],
            "artifactId": [f"g:{artifact}:1" for artifact in ("", "..", ".", "a+b", "a%20b")],
            "extension": ["g:a::1", "g:a:z/p:1"],
            "classifier": ["g:a:jar::1", "g:a:zip::1", "g:a:jar:x~y:1"],
            "version": [
                f"g:a:{version}" for version in ("", "..", ".", "1/2", "[1,2)", "1?x=y", "1#x", "1 ", "1\n", "1\0")
            ],
        }.items()
    },
    (MALFORMED, "an oci: URI is oci://registry/repository@sha256:<64 lower-case hex digits>"): [
        *(f"oci{rest}@{DIGEST}" for rest in (":r/a", ":///a", "://r", "://r/", "://r /a", "://r/a b", "://u@r/a")),
        *(f"oci{rest}@{DIGEST}" for rest in ("://[::1]/a", "://r/a:1", "://r/a%2Fb", "://r/a?x")),
        *("oci://r/a", "oci://r/a:1", f"oci://r/a@{DIGEST}#x", f"oci://r/a@{DIGEST}\n", f"oci://r/a@{HEX}"),
        *(f"oci://r/a@sha256:{digest}" for digest in (HEX.upper(), HEX[:-1], f"{HEX}0")),
        *(f"oci://r/a@SHA256:{HEX}", f"oci://r/a@sha512:{HEX}{HEX}"),
    ],
}
OTHER_SPELLINGS = {
    "maven:g:a:1": ["maven:g:a:jar:1"],
    "file:///a": ["file:/a", "file:////a", "file:///a/", "file:///a/.", "file:///%61", "file:///a\n"],
    "file:///a/b": ["file:///a//b", "file:///a%2Fb"],
    "file:///b": ["file:///a/%2E%2E/b"],
    "file:///%C3%A9": ["file:///%c3%a9", "file:///é"],
    "file:///a%20b": ["file:///a b"],
    "file:///a%20": ["file:///a "],
    "file:///a%25": ["file:///a%"],
    "file:///a%25zz": ["file:///a%zz"],
    **{uri: [f"file://{path}" for path in paths] for uri, paths in JAVA_NORMALISED.items()},
}


@cases(("text", "expected"), [(text, expected) for expected, texts in REFUSED.items() for text in texts])
def test_any_other_text_is_refused(text: str, expected: tuple[str, str]) -> None:
    assert refusal(text) == expected


@cases(("text", "uri"), [(text, uri) for uri, texts in OTHER_SPELLINGS.items() for text in texts])
def test_another_spelling_of_a_location_is_refused_with_the_canonical_one(text: str, uri: str) -> None:
    assert refusal(text) == (OTHER_SPELLING, f"the canonical form of the uri is {uri}")


def test_a_long_canonical_form_is_shortened() -> None:
    code, message = refusal("file:///" + "é" * 100_000)
    assert code == OTHER_SPELLING
    assert len(message) < 300


# --- one spelling for each location ---

TOKENS = st.from_regex(r"[A-Za-z0-9_.-]+", fullmatch=True).filter(lambda text: text not in {".", ".."})
VERSIONS = st.from_regex(r"[A-Za-z0-9_.+~-]+", fullmatch=True).filter(lambda text: text not in {".", ".."})
SEGMENTS = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="/\0") | st.sampled_from("%;+. ~?#\\\n"), min_size=1
).filter(lambda text: text not in {".", ".."})
FILES = st.lists(SEGMENTS, min_size=1, max_size=4).map(lambda parts: FileUri("/" + "/".join(parts)))
COORDINATES = st.builds(
    MavenUri,
    st.lists(st.from_regex(r"[A-Za-z0-9_-]+", fullmatch=True), min_size=1, max_size=3).map(".".join),
    TOKENS,
    VERSIONS,
    st.just("jar") | TOKENS,
    st.just("") | TOKENS,
)
PINNED = st.builds(
    ImageUri,
    st.from_regex(r"[A-Za-z0-9._:-]+", fullmatch=True),
    st.from_regex(r"[A-Za-z0-9._~/-]+", fullmatch=True),
    st.binary(min_size=32, max_size=32).map(lambda digest: f"sha256:{digest.hex()}"),
)


@given(FILES | COORDINATES | PINNED)
def test_every_location_prints_to_a_text_that_parses_to_itself(location: ArtifactUri) -> None:
    assert parse_artifact_uri(str(location)) == location
    assert str(location).isascii()
    if isinstance(location, MavenUri):
        *folders, version, file = location.path.split("/")
        assert not {"", ".", ".."} & {*folders, version, file}, "the path stays in the repository"
        assert version == location.version
        assert file.startswith(f"{location.artifact}-{location.version}")


def _escaped_at(text: str, place: int) -> str:
    at = place % len(text)
    return f"{text[:at]}%{ord(text[at]):02X}{text[at + 1 :]}"


def _inserted(piece: str) -> Callable[[str, int], str]:
    return lambda text, place: f"{text[: place % (len(text) + 1)]}{piece}{text[place % (len(text) + 1) :]}"


SPELLINGS: dict[str, Callable[[str, int], str]] = {
    "a percent-encoded character": _escaped_at,
    "escapes in lower case": lambda text, _: re.sub("%..", lambda escape: escape.group().lower(), text),
    "all in upper case": lambda text, _: text.upper(),
    "the scheme in upper case": lambda text, _: text.partition(":")[0].upper() + ":" + text.partition(":")[2],
    "a trailing slash": lambda text, _: text + "/",
    "a trailing dot": lambda text, _: text + "/.",
    "a way up and down": lambda text, _: text.replace("/", "/x/../"),
    "jar written out": lambda text, _: ":jar:".join(text.rsplit(":", 1)),
    "a slash more": _inserted("/"),
    "a space": _inserted(" "),
    "a line break": _inserted("\n"),
    "a null character": _inserted("\0"),
    "an escaped null character": _inserted("%00"),
    "an escape that is not UTF-8": _inserted("%FF"),
    "a query": _inserted("?"),
    "a fragment": _inserted("#"),
    "a dot": _inserted("."),
    "a way up": _inserted("/../"),
}


def parsed(text: str) -> ArtifactUri | None:
    """Return the location that `text` names, None if it is refused."""
    try:
        return parse_artifact_uri(text)
    except ArtifactUriError:
        return None


@given(st.sampled_from(["file:", "file:///", "maven:", "maven:g:", "oci://"]), st.text(max_size=40))
def test_any_text_is_parsed_or_refused(scheme: str, rest: str) -> None:
    found = parsed(scheme + rest)
    assert found is None or str(found) == scheme + rest


def second_opinion(text: str) -> tuple[str, bool] | None:
    """Return the path that the double of the deployment command line finds, and whether it may be promoted."""
    try:
        location = locate(text)
    except BadRelease:
        return None
    return location.path, location.promotable


@settings(max_examples=300)
@given(st.sampled_from(sorted(SPELLINGS)), FILES | COORDINATES | PINNED, st.integers(0, 200))
def test_no_other_text_names_a_location_and_a_second_reader_agrees(
    spelling: str, location: ArtifactUri, place: int
) -> None:
    text = SPELLINGS[spelling](str(location), place)
    found, second = parsed(text), second_opinion(text)
    assert found is None or str(found) == text
    assert (found == location) is (text == str(location))
    if isinstance(found, FileUri | MavenUri):
        assert second == (found.path, found.is_promotable)
    elif isinstance(found, ImageUri):
        assert second == (f"/v2/{found.repository}/manifests/{found.digest}", True)
    else:
        assert second is None or is_refused_here_only(text)


def is_refused_here_only(text: str) -> bool:
    """True for paths that are not UTF-8, and for parts of coordinates that could lead out of a repository."""
    try:
        unquote_to_bytes(text).decode()
    except UnicodeDecodeError:
        return True
    return bool({".", ".."} & set(text.split(":")))
