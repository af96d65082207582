"""Secrets that a setting names."""

from pathlib import Path

import pytest

from foundation import secret_reference
from tests.cases import cases


def test_a_variable_or_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("in a file\n")
    monkeypatch.setenv("A_SECRET", "in a variable")
    assert secret_reference.read("env:A_SECRET") == "in a variable"
    assert secret_reference.read(f"file:{file}") == "in a file\n"


def test_what_cannot_be_read_is_none(tmp_path: Path) -> None:
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff")
    for reference in (
        "env:NO_SUCH_VARIABLE",
        f"file:{tmp_path}",
        f"file:{tmp_path}/absent",
        f"file:{binary}",
        "file:\0",
    ):
        assert secret_reference.read(reference) is None


@cases(
    ("text", "valid"),
    [
        ("env:NAME", True),
        ("env:_a1", True),
        ("file:/run/secrets/a b", True),
        ("", False),
        ("NAME", False),
        ("env:", False),
        ("env:1A", False),
        ("env:A=B", False),
        ("env:NAME\n", False),
        ("file:", False),
        ("file:/", False),
        ("file:relative", False),
        ("vault:/a", False),
    ],
)
def test_the_form_of_a_reference(text: str, valid: bool) -> None:
    assert secret_reference.is_reference(text) is valid
