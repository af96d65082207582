"""The TOML document that configures Maven repositories, and which artifacts each of them serves."""

from urllib.parse import urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from releases.repositories.configuration import Repository, read_repositories
from tests.cases import cases
from wire.documents.artifact_uri import ArtifactUriError, MavenUri, parse_artifact_uri

COMPLETE = """
[[repositories]]
id = "acme-releases"
url = "https://maven.acme.example/releases/"
mirrors = ["https://mirror.example/acme"]
groups = ["com.acme.*", "org.acme"]
tenants = ["acme"]
credentials = "file:/run/secrets/maven"

[[repositories]]
id = "lab"
url = "http://10.1.2.3:8081/maven"
mirrors = ["https://lab.example"]
groups = ["com.lab"]
plain-http = true
"""


def entry(**members: str) -> str:
    """A document with one entry. `members` are TOML values; an empty one removes the member."""
    chosen = {"id": '"a"', "url": '"https://h"', "groups": '["com.acme"]', **members}
    lines = [f"{name.replace('_', '-')} = {value}" for name, value in chosen.items() if value]
    return "\n".join(["[[repositories]]", *lines, ""])


def problem(text: str) -> str:
    with pytest.raises(ValueError, match=r"^[a-z]") as error:
        read_repositories(text)
    return str(error.value)


def test_a_document() -> None:
    acme, lab = read_repositories(COMPLETE)
    assert acme == Repository(
        id="acme-releases",
        url="https://maven.acme.example/releases",
        groups=("com.acme.*", "org.acme"),
        mirrors=("https://mirror.example/acme",),
        tenants=("acme",),
        credentials="file:/run/secrets/maven",
    )
    assert acme.urls == ("https://maven.acme.example/releases", "https://mirror.example/acme")
    assert read_repositories("") == ()
    assert lab == Repository("lab", "http://10.1.2.3:8081/maven", ("com.lab",), ("https://lab.example",))


@cases(
    ("text", "complaint"),
    [
        ("id = ]", "is not TOML (at line 1, column 6)"),
        ('a = "', "is not TOML (at end of document)"),
        ("a = 1", "must contain [[repositories]] entries, and nothing else"),
        ("# nothing", "must contain [[repositories]] entries, and nothing else"),
        ("repositories = []", "must contain [[repositories]] entries, and nothing else"),
        ("[repositories]\nid = 'a'", "must contain [[repositories]] entries, and nothing else"),
        (f"more = 1\n{entry()}", "must contain [[repositories]] entries, and nothing else"),
        ("repositories = [1]", "entry 1: must be a table"),
        (entry(id=""), "entry 1: id is required"),
        (entry(url=""), "entry 1: url is required"),
        (entry(groups=""), "entry 1: groups is required"),
        (entry(password='"x"'), "entry 1: may have no other members than "),
        (entry(id="1"), "entry 1: id must be "),
        (entry(id='"a b"'), "entry 1: id must be "),
        (entry(id='""'), "entry 1: id must be "),
        (entry() + entry(), "entry 2: id is that of an earlier entry"),
        (entry(url='"h"'), "entry 1: url must be "),
        (entry(url='"ftp://h"'), "entry 1: url must be "),
        (entry(url='"https://user:password@h"'), "entry 1: url must be "),
        (entry(url='"https://h?a=b"'), "entry 1: url must be "),
        (entry(url='["https://h"]'), "entry 1: url must be "),
        (entry(mirrors='"https://h"'), "entry 1: mirrors must be "),
        (entry(mirrors="[]"), "entry 1: mirrors must be "),
        (entry(mirrors='["https://a@h"]'), "entry 1: mirrors must be "),
        (entry(url='"http://h"'), "entry 1: url and mirrors must begin with https:// unless plain-http is true"),
        (entry(url='"http://h"', plain_http="false"), "entry 1: url and mirrors must begin with https:// "),
        (entry(mirrors='["http://h"]'), "entry 1: url and mirrors must begin with https:// "),
        (entry(groups="[]"), "entry 1: groups must be "),
        (entry(groups='"com.acme"'), "entry 1: groups must be "),
        *((entry(groups=f'["com.acme", "{group}"]'), "entry 1: groups must be ") for group in ("*", ".*", "", "a..b")),
        *((entry(groups=f'["{group}"]'), "entry 1: groups must be ") for group in ("a.*.b", "a*", "a.", "a.**", "a/b")),
        (entry(groups="[1]"), "entry 1: groups must be "),
        (entry(tenants="[]"), "entry 1: tenants must be "),
        (entry(tenants='["Acme"]'), "entry 1: tenants must be "),
        (entry(credentials='"user:password"'), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(credentials='"env:"'), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(credentials='"env:A B"'), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(credentials='"file:relative"'), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(credentials="1"), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(plain_http='"true"'), "entry 1: plain-http must be true or false"),
    ],
)
def test_an_invalid_document_is_reported_by_entry_and_rule(text: str, complaint: str) -> None:
    assert problem(text).startswith(complaint)
    assert "password@" not in problem(text)


def test_all_problems_are_reported_at_once() -> None:
    text = entry(id="1", url="2") + entry() + entry(groups="", tenants="3")
    assert [part.split(" must")[0] for part in problem(text).split("; ")] == [
        "entry 1: id",
        "entry 1: url",
        "entry 3: groups is required",
        "entry 3: tenants",
        "entry 3: id is that of an earlier entry",
    ]


@cases(
    ("pattern", "served", "others"),
    [
        ("com.acme", ["com.acme"], ["com.acme.app", "com", "com.acmeevil", "COM.ACME"]),
        (
            "com.acme.*",
            ["com.acme", "com.acme.app", "com.acme.app.internal"],
            ["com.acmeevil", "com.acmeevil.app", "com.acme-evil", "comXacme.app", "org.com.acme.app", "com"],
        ),
        ("com.*", ["com.acme"], ["comx"]),
    ],
)
def test_groups(pattern: str, served: list[str], others: list[str]) -> None:
    for group in (*served, *others):
        assert Repository("a", "https://h", (pattern,)).serves(group, "acme") is (group in served)
        assert Repository("a", "https://h", ("net.other", pattern)).serves(group, "acme") is (group in served)


@cases(
    ("tenants", "tenant", "serves"),
    [((), "acme", True), (("acme",), "acme", True), (("acme",), "globex", False), (("acme", "globex"), "globex", True)],
)
def test_tenants(tenants: tuple[str, ...], tenant: str, serves: bool) -> None:
    assert Repository("a", "https://h", ("com.acme",), tenants=tenants).serves("com.acme", tenant) is serves


_TOKENS = st.text(alphabet="aB1.-_", min_size=1, max_size=8)


@given(parts=st.lists(_TOKENS, min_size=2, max_size=4), version=st.text(alphabet="a1.-_+~", min_size=1, max_size=8))
def test_no_uri_leaves_the_folder_of_its_artifact(parts: list[str], version: str) -> None:
    try:
        uri = parse_artifact_uri(":".join(["maven", *parts, version]))
    except ArtifactUriError:
        assume(False)
        raise
    assert isinstance(uri, MavenUri)
    path = urlsplit(f"https://h/base/{uri.path}").path
    assert path == f"/base/{uri.path}"
    segments = path.split("/")
    assert not {"", ".", ".."} & set(segments[1:])


@cases(
    "text",
    [
        *("maven:com/../evil:app:1", "maven:..:app:1", "maven:com..acme:app:1", "maven:com.acme:..:1"),
        *("maven:com.acme:app:..", "maven:com.acme:app:1/../../2", "maven:com.acme:app:%2e%2e"),
        *("maven:com.acme:app:jar:../x:1", "maven:com.acme:app:j/ar:1", "maven:com.acme:app\\..:1"),
    ],
)
def test_a_uri_that_would_leave_its_folder_is_refused(text: str) -> None:
    with pytest.raises(ArtifactUriError):
        parse_artifact_uri(text)
