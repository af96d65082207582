"""Who can reach a folder, by owner, group and mode."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedded.children import Account
from embedded.shared_place import reachable

STRANGER = Account(uid=os.getuid() + 4321, gid=os.getgid() + 4321)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everyone can reach; the one of pytest is closed."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder


def test_a_stranger_reaches_what_everyone_may_read_if_each_folder_is_open(open_folder: Path) -> None:
    inner = open_folder / "outer" / "inner"
    inner.mkdir(parents=True)
    for mode in (0o700, 0o711, 0o750, 0o755):
        inner.chmod(mode)
        assert reachable(inner, STRANGER) is (mode == 0o755)
    inner.parent.chmod(0o700)
    assert not reachable(inner, STRANGER)
    assert reachable(inner, Account(os.getuid(), os.getgid()))
