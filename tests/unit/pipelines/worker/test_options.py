"""A worker reads its key from a file or the environment, and refuses a malformed one."""

from pathlib import Path

import pytest

from pipelines.errors import DefinitionError
from pipelines.worker.options import worker_key
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
