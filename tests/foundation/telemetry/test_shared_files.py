"""The folders in which web processes count together."""

import os
import stat
from pathlib import Path

import pytest

from foundation.telemetry.shared_files import VARIABLE, share


@pytest.fixture
def variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Restore the environment after the test, so that later imports count alone."""
    monkeypatch.setenv(VARIABLE, "")


@pytest.mark.usefixtures("variable")
def test_each_parent_has_a_folder_that_only_its_user_can_read(tmp_path: Path) -> None:
    place = tmp_path / "metrics"
    share(place, os.getpid())
    own = Path(os.environ[VARIABLE])
    assert own.parent == place
    assert {stat.S_IMODE(folder.stat().st_mode) for folder in (place, own)} == {0o700}
    share(place, os.getpid())
    assert Path(os.environ[VARIABLE]) == own


@pytest.mark.usefixtures("variable")
def test_a_link_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "metrics").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        share(tmp_path / "metrics", os.getpid())
