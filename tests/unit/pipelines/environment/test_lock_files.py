"""Lock files of projects, as uv and pip write them."""

import sys
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.environment.lock_files import lock_from
from pipelines.environment.uv import run_uv
from tests.wheels import write_wheel

PROJECT = """
[project]
name = "acme-orders"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["alpha>=1", "windows ; sys_platform == 'win32'", "edited", "vendored"]
optional-dependencies = { fast = ["optional"] }
[dependency-groups]
dev = ["testing"]
[tool.uv.sources]
edited = { path = "edited", editable = true }
vendored = { path = "vendored-3.0-py3-none-any.whl" }
"""


@pytest.fixture
def project(tmp_path: Path, uv: Path) -> Path:
    """A project that uv has locked: with a group, an extra, a marker, a local wheel and an editable library."""
    folder = tmp_path / "project"
    (folder / "edited").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "edited/pyproject.toml").write_text('[project]\nname = "edited"\nversion = "0.1"\n')
    write_wheel(folder, "vendored", "3.0")
    write_wheel(uv, "alpha", "1.5", requires=["beta[more]"])
    for name in ("beta", "windows", "optional", "testing"):
        write_wheel(uv, name, "2.0")
    run_uv("lock", "--project", str(folder), "--python", sys.executable)
    return folder


def test_the_lock_files_of_uv_give_the_dependencies_of_the_project(project: Path) -> None:
    lock = lock_from(project / "uv.lock")
    names = ["alpha==1.5", "beta==2.0", "vendored==3.0"]
    windows = 'windows==2.0 ; sys_platform == "win32"'
    assert [line.partition(" --hash")[0] for line in lock.splitlines()] == [*names, windows]
    assert "vendored==3.0 --hash=sha256:" in lock
    assert str(project) not in lock
    (project / "pylock.toml").write_text(
        run_uv("export", "--frozen", "--format=pylock.toml", "--no-default-groups", "--project", str(project))
    )
    lock = lock_from(project / "pylock.toml")
    assert [line.partition(" --hash")[0] for line in lock.splitlines()] == names
    (project / "uv.lock").write_text("version = 1\n")
    with pytest.raises(DefinitionError, match=r"INVALID_LOCK: .*uv\.lock: uv export failed: .*requires-python"):
        lock_from(project / "uv.lock")


def test_a_requirements_file_locks_each_distribution_once(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    path.write_text("a==1 ; os_name == 'none'\na==2 ; os_name != 'none'\n")
    assert lock_from(path) == 'a==1 ; os_name == "none"\na==2 ; os_name != "none"\n'
    path.write_text("a==1\nA==2\n")
    with pytest.raises(DefinitionError, match=r"INVALID_LOCK: .*locked: a is locked more than once"):
        lock_from(path)
