"""Tenants use only the secrets that the installation gives them."""

from pathlib import Path

import pytest

from alerts.secrets import RULE, read_alert_secrets, secret
from tests.cases import cases

TEXT = " acme/slack=env:SLACK , acme/pager.1=file:/run/a=b,globex/slack=env:OTHER,"


def test_the_references_by_tenant_and_name() -> None:
    assert read_alert_secrets(TEXT) == {
        "acme": {"slack": "env:SLACK", "pager.1": "file:/run/a=b"},
        "globex": {"slack": "env:OTHER"},
    }
    assert read_alert_secrets("") == {}


@cases(
    "text",
    [
        *("acme", "acme/a", "acme/a=", "acme=env:A", "/a=env:A", "acme/=env:A", "acme/a=A", "acme/a=env:"),
        *("acme/a=file:x", "Acme/a=env:A", "acme/a/b=env:A", "acme/a=env:A,acme/a=env:B", "acme/a b=env:A"),
    ],
)
def test_other_texts_are_rejected_without_showing_them(text: str) -> None:
    with pytest.raises(ValueError, match="must be of the form") as caught:
        read_alert_secrets(text)
    assert str(caught.value) == RULE


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
