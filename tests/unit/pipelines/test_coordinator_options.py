"""The options that name a coordinator, which `publish` and `worker --fetch` share."""

import argparse
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.release.connection import Target, target_of
from tests.cases import cases

URL = "https://coordinator.example"


def options(**changes: object) -> argparse.Namespace:
    return argparse.Namespace(**{"url": URL, "tenant": "acme", "token_file": None, **changes})


def test_the_token_comes_from_a_file_or_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINES_TOKEN", "dc_environment")
    assert target_of(options()) == Target(URL, "acme", "dc_environment")
    file = tmp_path / "token"
    file.write_text("dc_file\n")
    assert target_of(options(token_file=file)) == Target(URL, "acme", "dc_file")
    assert target_of(options(token="dc_option")) == Target(URL, "acme", "dc_option")


@cases("missing", ["url", "tenant", "token", "token_file"])
def test_a_missing_option_is_named(missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if missing == "token":
        monkeypatch.delenv("PIPELINES_TOKEN", raising=False)
    else:
        monkeypatch.setenv("PIPELINES_TOKEN", "dc_environment")
    value = tmp_path / "nowhere" if missing == "token_file" else None
    with pytest.raises(DefinitionError) as caught:
        target_of(options(**{missing: value}))
    assert caught.value.code == "MISSING_OPTION"
    assert f"--{missing.partition('_')[0]}" in str(caught.value)
