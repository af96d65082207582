"""Each location of an artifact has exactly one spelling (profile `tpf-2026-10`, rules 2 to 4)."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.parts.clients.tpf_cli.descriptor import locate
from tests.parts.clients.tpf_cli.failures import BadRelease
from wire.documents.artifact_uri import (
    ArtifactUri,
    ArtifactUriError,
    FileUri,
    ImageUri,
    MavenUri,
    parse_artifact_uri,
)

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
    "/a": "file:///a",
    "/srv/app.jar": "file:///srv/app.jar",
    "/-": "file:///-",
    "/a b": "file:///a%20b",
    "/ a ": "file:///%20a%20",
    "/a%b": "file:///a%25b",
    "/a%20b": "file:///a%2520b",
    "/a;b": "file:///a;b",
    "/a:b@c&d=e+f$g,h": "file:///a:b@c&d=e+f$g,h",
    "/a?b#c": "file:///a%3Fb%23c",
    "/a[b]": "file:///a%5Bb%5D",
    "/a\\b": "file:///a%5Cb",
    "/a|b^c`d{e}": "file:///a%7Cb%5Ec%60d%7Be%7D",
    '/"<>"': "file:///%22%3C%3E%22",
    "/~home/!x*'()": "file:///~home/!x*'()",
    "/é/ü": "file:///%C3%A9/%C3%BC",
    "/e\u0301": "file:///e%CC%81",
    "/日本/\U0001f600": "file:///%E6%97%A5%E6%9C%AC/%F0%9F%98%80",
    "/\u00a0": "file:///%C2%A0",
    "/\x7f\n\t": "file:///%7F%0A%09",
    "/a..b/...": "file:///a..b/...",
    "/" + "".join(map(chr, range(1, 32))): "file:///" + "".join(f"%{byte:02X}" for byte in range(1, 32)),
    "/ !\"#$%&'()*+,-.0123456789:;<=>?@ABCDEFGHIJKLMNOPQRSTUVWXYZ[\\]^_`abcdefghijklmnopqrstuvwxyz{|}~\x7f": (
        "file:///%20!%22%23$%25&'()*+,-.0123456789:;%3C=%3E%3F@ABCDEFGHIJKLMNOPQRSTUVWXYZ%5B%5C%5D%5E_"
        "%60abcdefghijklmnopqrstuvwxyz%7B%7C%7D~%7F"
    ),
}
"""`Path.of(path).toUri()` of OpenJDK 17 on Linux, with UTF-8 as the encoding of names."""
JAVA_NORMALISED = {
    "/a/./b": "file:///a/b",
    "/a/../b": "file:///b",
    "/a//b/": "file:///a/b",
    "/..": "file:///",
    "/../a": "file:///a",
}
"""`Path.of(path).normalize().toUri()`, in the same place."""
MAVEN = {
    "maven:org.example:app:1.0": (
        MavenUri("org.example", "app", "1.0"),
        "org/example/app/1.0/app-1.0.jar",
    ),
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


@pytest.mark.parametrize(("path", "uri"), JAVA.items())
def test_a_file_is_escaped_as_java_does(path: str, uri: str) -> None:
    assert str(FileUri(path)) == uri
    assert parse_artifact_uri(uri) == FileUri(path)


@pytest.mark.parametrize(("path", "uri"), JAVA_NORMALISED.items())
def test_a_file_is_normalised_as_java_does(path: str, uri: str) -> None:
    code, message = refusal(f"file://{path}")
    assert (code, message) == (OTHER_SPELLING, f"the canonical form of the uri is {uri}")


@pytest.mark.parametrize(("text", "expected"), MAVEN.items())
def test_maven_coordinates_have_a_path_in_the_default_layout(text: str, expected: tuple[MavenUri, str]) -> None:
    uri, path = expected
    assert parse_artifact_uri(text) == uri
    assert str(uri) == text
    assert uri.path == path


@pytest.mark.parametrize(("text", "uri"), IMAGES.items())
def test_an_image_has_a_registry_a_repository_and_a_digest(text: str, uri: ImageUri) -> None:
    assert parse_artifact_uri(text) == uri
    assert str(uri) == text


@pytest.mark.parametrize(
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

NO_SCHEME = "the uri is not a file:, maven: or oci: URI"
NO_IMAGE = "an oci: URI is oci://registry/repository@sha256:<64 lower-case hex digits>"
ABSOLUTE = "a file: URI is absolute, and names no host"


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("", UNSUPPORTED, NO_SCHEME),
        ("/srv/app.jar", UNSUPPORTED, NO_SCHEME),
        ("app.jar", UNSUPPORTED, NO_SCHEME),
        ("https://example.org/app.jar", UNSUPPORTED, NO_SCHEME),
        ("FILE:///a", UNSUPPORTED, NO_SCHEME),
        ("Maven:g:a:1", UNSUPPORTED, NO_SCHEME),
        (f"OCI://r/a@{DIGEST}", UNSUPPORTED, NO_SCHEME),
        (" file:///a", UNSUPPORTED, NO_SCHEME),
        ("\tmaven:g:a:1", UNSUPPORTED, NO_SCHEME),
        ("mvn:g:a:1", UNSUPPORTED, NO_SCHEME),
        ("file", UNSUPPORTED, NO_SCHEME),
        ("file:", MALFORMED, ABSOLUTE),
        ("file://", MALFORMED, ABSOLUTE),
        ("file:a", MALFORMED, ABSOLUTE),
        ("file:./a", MALFORMED, ABSOLUTE),
        ("file://host/a", MALFORMED, ABSOLUTE),
        ("file://localhost/a", MALFORMED, ABSOLUTE),
        ("file://[::1]/a", MALFORMED, ABSOLUTE),
        ("file://[/a", MALFORMED, "the file: URI is malformed"),
        ("file:///\ud800", MALFORMED, "the file: URI is malformed"),
        ("file:///a?b", MALFORMED, "a file: URI has no query and no fragment"),
        ("file:///a?", MALFORMED, "a file: URI has no query and no fragment"),
        ("file:///a#b", MALFORMED, "a file: URI has no query and no fragment"),
        ("file:///a#", MALFORMED, "a file: URI has no query and no fragment"),
        ("file:///a%00b", MALFORMED, "the path of a file: URI contains a null character"),
        ("file:///a\0b", MALFORMED, "the path of a file: URI contains a null character"),
        ("file:///%FF", MALFORMED, "the path of a file: URI is not UTF-8"),
        ("file:///%C3", MALFORMED, "the path of a file: URI is not UTF-8"),
        ("file:///%C0%AE%C0%AE/a", MALFORMED, "the path of a file: URI is not UTF-8"),
        ("file:///%ED%A0%80", MALFORMED, "the path of a file: URI is not UTF-8"),
        ("file:/a", OTHER_SPELLING, "the canonical form of the uri is file:///a"),
        ("file:////a", OTHER_SPELLING, "the canonical form of the uri is file:///a"),
        ("file:///a/", OTHER_SPELLING, "the canonical form of the uri is file:///a"),
        ("file:///a//b", OTHER_SPELLING, "the canonical form of the uri is file:///a/b"),
        ("file:///a/.", OTHER_SPELLING, "the canonical form of the uri is file:///a"),
        ("file:///a/%2E%2E/b", OTHER_SPELLING, "the canonical form of the uri is file:///b"),
        ("file:///a%2Fb", OTHER_SPELLING, "the canonical form of the uri is file:///a/b"),
        ("file:///%61", OTHER_SPELLING, "the canonical form of the uri is file:///a"),
        ("file:///%c3%a9", OTHER_SPELLING, "the canonical form of the uri is file:///%C3%A9"),
        ("file:///é", OTHER_SPELLING, "the canonical form of the uri is file:///%C3%A9"),
        ("file:///a b", OTHER_SPELLING, "the canonical form of the uri is file:///a%20b"),
        ("file:///a\n", OTHER_SPELLING, "the canonical form of the uri is file:///a"),
        ("file:///a ", OTHER_SPELLING, "the canonical form of the uri is file:///a%20"),
        ("file:///a%", OTHER_SPELLING, "the canonical form of the uri is file:///a%25"),
        ("file:///a%zz", OTHER_SPELLING, "the canonical form of the uri is file:///a%25zz"),
        ("maven:", MALFORMED, f"a maven: URI is {PARTS}"),
        ("maven:g:a", MALFORMED, f"a maven: URI is {PARTS}"),
        ("maven:g:a:zip:x:1:2", MALFORMED, f"a maven: URI is {PARTS}"),
        ("maven://g:a:1", MALFORMED, f"a maven: URI has no //: {PARTS}"),
        ("maven:/g:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven::a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:.:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:..:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:org..x:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:.org:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:org.:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:org/x:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:é:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven: g:a:1", MALFORMED, "the groupId of the maven: URI is malformed"),
        ("maven:g::1", MALFORMED, "the artifactId of the maven: URI is malformed"),
        ("maven:g:..:1", MALFORMED, "the artifactId of the maven: URI is malformed"),
        ("maven:g:.:1", MALFORMED, "the artifactId of the maven: URI is malformed"),
        ("maven:g:a+b:1", MALFORMED, "the artifactId of the maven: URI is malformed"),
        ("maven:g:a%20b:1", MALFORMED, "the artifactId of the maven: URI is malformed"),
        ("maven:g:a::1", MALFORMED, "the extension of the maven: URI is malformed"),
        ("maven:g:a:z/p:1", MALFORMED, "the extension of the maven: URI is malformed"),
        ("maven:g:a:jar::1", MALFORMED, "the classifier of the maven: URI is malformed"),
        ("maven:g:a:zip::1", MALFORMED, "the classifier of the maven: URI is malformed"),
        ("maven:g:a:jar:x~y:1", MALFORMED, "the classifier of the maven: URI is malformed"),
        ("maven:g:a:", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:..", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:.", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:1/2", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:[1,2)", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:1?x=y", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:1#x", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:1 ", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:1\n", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:1\0", MALFORMED, "the version of the maven: URI is malformed"),
        ("maven:g:a:jar:1", OTHER_SPELLING, "the canonical form of the uri is maven:g:a:1"),
        (f"oci:r/a@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci:///a@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r/@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r /a@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r/a b@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://u@r/a@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://[::1]/a@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r/a:1@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r/a%2Fb@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r/a?x@{DIGEST}", MALFORMED, NO_IMAGE),
        (f"oci://r/a@{DIGEST}#x", MALFORMED, NO_IMAGE),
        (f"oci://r/a@{DIGEST}\n", MALFORMED, NO_IMAGE),
        ("oci://r/a", MALFORMED, NO_IMAGE),
        ("oci://r/a:1", MALFORMED, NO_IMAGE),
        (f"oci://r/a@{HEX}", MALFORMED, NO_IMAGE),
        (f"oci://r/a@sha256:{HEX.upper()}", MALFORMED, NO_IMAGE),
        (f"oci://r/a@SHA256:{HEX}", MALFORMED, NO_IMAGE),
        (f"oci://r/a@sha256:{HEX[:-1]}", MALFORMED, NO_IMAGE),
        (f"oci://r/a@sha256:{HEX}0", MALFORMED, NO_IMAGE),
        (f"oci://r/a@sha512:{HEX}{HEX}", MALFORMED, NO_IMAGE),
    ],
)
def test_any_other_text_is_refused(text: str, code: str, message: str) -> None:
    assert refusal(text) == (code, message)


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


@pytest.mark.parametrize("spelling", SPELLINGS)
@given(location=FILES | COORDINATES | PINNED, place=st.integers(0, 200))
def test_no_other_text_names_a_location(spelling: str, location: ArtifactUri, place: int) -> None:
    text = SPELLINGS[spelling](str(location), place)
    found = parsed(text)
    assert found is None or str(found) == text
    assert (found == location) is (text == str(location))


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


@settings(max_examples=1000)
@given(st.sampled_from(sorted(SPELLINGS)), FILES | COORDINATES | PINNED, st.integers(0, 200))
def test_a_second_reader_agrees(spelling: str, location: ArtifactUri, place: int) -> None:
    text = SPELLINGS[spelling](str(location), place)
    found, second = parsed(text), second_opinion(text)
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


@given(COORDINATES)
def test_the_path_of_coordinates_stays_in_the_repository(location: MavenUri) -> None:
    parts = location.path.split("/")
    assert not {"", ".", ".."} & set(parts)
    assert parts[-2] == location.version
    assert parts[-1].startswith(f"{location.artifact}-{location.version}")
