from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from alerts.texts import read_alert_secrets, secret
from foundation.env import Environment
from releases.registration.maven_repositories import Repository, read_repositories
from tests.cases import cases
from tests.raising import error_of
from tests.words import words

KNOWN = ["read", "releases:register"]
GRANTS = "tpf:deploy=releases:register, tpf:deploy=read\nx=y=read,"
CREDENTIALS = "r.example:5000=eva:p=a:ss, other.example=ci:word\n"
TEXT = " acme/slack=env:SLACK , acme/pager.1=file:/run/a=b,globex/slack=env:OTHER,"


@cases(
    ("read", "good", "expected"),
    [
        (lambda env: env.networks("X"), "10.0.0.0/8, fd00::/8,", [ip_network("10.0.0.0/8"), ip_network("fd00::/8")]),
        (lambda env: env.credentials("X"), CREDENTIALS, {"r.example:5000": "eva:p=a:ss", "other.example": "ci:word"}),
        (lambda env: env.grants("X", of=KNOWN), GRANTS, {"tpf:deploy": ["releases:register", "read"], "x=y": ["read"]}),
        (lambda env: env.tenant_prefixes("X"), "live=, eu west=eu-,,été=x", {"live": "", "eu west": "eu-", "été": "x"}),
    ],
)
def test_lists_are_read(read: Callable[[Environment], Any], good: str, expected: Any) -> None:
    """`test_settings.py` has the values that are refused."""
    env = Environment({"X": good})
    assert read(env) == expected
    assert read(Environment({"X": ""})) == read(Environment({})) == type(expected)()
    env.raise_problems()


def test_the_references_by_tenant_and_name() -> None:
    assert read_alert_secrets(TEXT) == {
        "acme": {"slack": "env:SLACK", "pager.1": "file:/run/a=b"},
        "globex": {"slack": "env:OTHER"},
    }
    assert read_alert_secrets("") == {}


def test_a_secret_is_read_when_it_is_needed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("from a file\n")
    known = read_alert_secrets(f"acme/a=env:A,acme/b=file:{file},acme/d=file:{file}.absent")
    assert secret(known, "acme", "a") is None
    monkeypatch.setenv("A", "from a variable")
    assert secret(known, "acme", "a") == "from a variable"
    assert secret(known, "acme", "b") == "from a file"
    file.write_text(" \n")
    assert secret(known, "acme", "b") is None
    file.write_bytes(b"\xff")
    assert [secret(known, *name) for name in (("acme", "b"), ("acme", "c"), ("acme", "d"))] == [None] * 3
    assert secret(known, "globex", "a") is None


WITHIN = words("com.acme com.acme.app com.acme.app.internal")
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


def test_a_document() -> None:
    acme, lab = read_repositories(COMPLETE)
    url, mirror = "https://maven.acme.example/releases", "https://mirror.example/acme"
    groups = ("com.acme.*", "org.acme")
    assert acme == Repository("acme-releases", url, groups, (mirror,), ("acme",), credentials="file:/run/secrets/maven")
    assert acme.urls == (url, mirror)
    assert read_repositories("") == ()
    assert lab == Repository("lab", "http://10.1.2.3:8081/maven", ("com.lab",), ("https://lab.example",))


@cases(
    ("text", "complaint"),
    [
        ("id = ]", "is not TOML (at line 1, column 6)"),
        ("a = 1", "must contain [[repositories]] entries, and nothing else"),
        (f"more = 1\n{entry()}", "must contain [[repositories]] entries, and nothing else"),
        ("repositories = [1]", "entry 1: must be a table"),
        (entry(id=""), "entry 1: id is required"),
        (entry(password='"x"'), "entry 1: may have no other members than "),
        (entry(id='"a b"'), "entry 1: id must be "),
        (entry() + entry(), "entry 2: id is that of an earlier entry"),
        (entry(url='"ftp://h"'), "entry 1: url must be "),
        (entry(url='"https://user:password@h"'), "entry 1: url must be "),
        (entry(url='"https://h?a=b"'), "entry 1: url must be "),
        (entry(mirrors='["https://a@h"]'), "entry 1: mirrors must be "),
        (entry(url='"http://h"'), "entry 1: url and mirrors must begin with https:// unless plain-http is true"),
        (entry(groups="[]"), "entry 1: groups must be "),
        *((entry(groups=f'["com.acme", "{group}"]'), "entry 1: groups must be ") for group in ("*", "")),
        *((entry(groups=f'["{group}"]'), "entry 1: groups must be ") for group in ("a.*.b", "a*")),
        (entry(tenants='["Acme"]'), "entry 1: tenants must be "),
        (entry(credentials='"user:password"'), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(credentials='"file:relative"'), "entry 1: credentials must be env:NAME or file:/path"),
        (entry(plain_http='"true"'), "entry 1: plain-http must be true or false"),
    ],
)
def test_an_invalid_document_is_reported_by_entry_and_rule(text: str, complaint: str) -> None:
    problem = str(error_of(ValueError, read_repositories, text))
    assert problem.startswith(complaint)
    assert "password@" not in problem


@cases(("pattern", "served"), [("com.acme", ["com.acme"]), ("com.acme.*", WITHIN)])
def test_groups_and_tenants(pattern: str, served: list[str]) -> None:
    for group in (*WITHIN, *words("com com.acmeevil com.acmeevil.app comXacme.app")):
        assert Repository("a", "https://h", (pattern,)).serves(group, "acme") is (group in served)
        limited = Repository("a", "https://h", ("net.other", pattern), tenants=("globex",))
        assert (limited.serves(group, "globex"), limited.serves(group, "acme")) == (group in served, False)
