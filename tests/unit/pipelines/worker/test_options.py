"""A worker reads its key from a file or the environment, and refuses a malformed one."""

from pathlib import Path

import pytest

from pipelines.errors import DefinitionError
from pipelines.worker.options import rest_secret, worker_key
from tests.cases import cases
from wire.worker_keys import worker_key as derived

KEY = derived("a secret", "acme")


def test_the_key_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY.text}\n")
    assert worker_key(file) == KEY
    monkeypatch.setenv("PIPELINES_WORKER_KEY", KEY.text)
    assert worker_key(None) == KEY


def test_a_malformed_key_is_refused_without_showing_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_WORKER_KEY", KEY.text[:-1])
    with pytest.raises(DefinitionError, match="MALFORMED_WORKER_KEY") as caught:
        worker_key(None)
    assert KEY.text[:-1] not in str(caught.value)


@cases("secret", ["x" * 15, "env:REST_WORKER_SECRET", "file:/run/secrets/key"])
def test_a_rest_worker_refuses_a_short_secret_and_a_reference(monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("PIPELINES_WORKER_KEY", "x" * 16)
    assert rest_secret(None) == "x" * 16
    monkeypatch.setenv("PIPELINES_WORKER_KEY", secret)
    with pytest.raises(DefinitionError, match="MALFORMED_WORKER_KEY"):
        rest_secret(None)
