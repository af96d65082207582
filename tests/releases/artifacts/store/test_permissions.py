"""Other accounts of the host cannot access artifacts, regardless of the umask."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.checks import run_checks

from releases.artifacts.store.local import LocalArtifactStore
from releases.artifacts.store.staging import staging_folder
from tests.making import digest_of


@pytest.fixture
def no_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def modes(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): stat.S_IMODE(path.stat().st_mode) for path in [root, *root.rglob("*")]}


def test_only_the_coordinators_account_may_use_folders_and_files(tmp_path: Path, no_umask: None) -> None:
    root = tmp_path / "data" / "artifacts"
    store = LocalArtifactStore(root)
    store.set_up()
    for data in (b"kept", b"bad"):
        staged = store.stage(limit=10)
        staged.write(data)
        staged.keep()
    store.quarantine(digest_of(b"bad"))
    growing = store.stage(limit=10)
    found = modes(tmp_path / "data")
    assert {path for path in found if (tmp_path / "data" / path).is_dir()} >= {"artifacts/sha256", "artifacts/staging"}
    for path, mode in found.items():
        expected = {0o700} if (tmp_path / "data" / path).is_dir() else {0o600, 0o400}
        assert mode in expected, path
    growing.discard()
    staging_folder(tmp_path / "scratch" / "staging")
    assert set(modes(tmp_path / "scratch").values()) == {0o700}


def test_a_store_that_others_may_enter_is_reported(settings: Any) -> None:
    for mode in (0o710, 0o701):
        settings.ARTIFACT_ROOT.chmod(mode)
        assert [found.id for found in run_checks(tags=["security"])] == ["releases.W001"]
    settings.ARTIFACT_ROOT.chmod(0o700)
    assert run_checks(tags=["security"]) == []
