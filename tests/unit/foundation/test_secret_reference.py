"""Secrets that a setting names."""

from pathlib import Path

import pytest

from foundation import secret_reference


def test_a_variable_or_a_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "secret"
    file.write_text("in a file\n")
    monkeypatch.setenv("A_SECRET", "in a variable")
    assert secret_reference.read("env:A_SECRET") == "in a variable"
    assert secret_reference.read(f"file:{file}") == "in a file\n"

    file.write_bytes(b"\xff")
    for reference in ("env:NO_SUCH_VARIABLE", f"file:{tmp_path}/absent", f"file:{file}"):
        assert secret_reference.read(reference) is None
