"""Lock files of projects, as uv and pip write them."""

import sys
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.environment.lock_files import lock_from
from pipelines.environment.uv import run_uv
from tests.cases import cases
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


def pylock(*members: str, head: str = "") -> str:
    return "\n".join(
        ['lock-version = "1.0"', 'created-by = "tests"', "extras = ['x']", head, "[[packages]]", "name = 'a'", *members]
    )


DIGEST, OTHER, SOURCE = "ab" * 32, "cd" * 32, "ef" * 32


def file(name: str, digest: str) -> str:
    return f"{{name = '{name}', url = 'https://h/{name}', hashes = {{sha256 = '{digest}'}}}}"


WHEEL, OTHER_WHEEL = file("a-1.0-py3-none-any.whl", DIGEST), file("a-1.0-cp311-none-win_arm64.whl", OTHER)
VERSION = "version = '1.0'"


@cases(
    ("text", "lock"),
    {
        "hashes of all files, also of those for other machines": (
            pylock(VERSION, f"wheels = [{OTHER_WHEEL}, {WHEEL}]", f"sdist = {file('a-1.0.tar.gz', SOURCE)}"),
            f"a==1.0 --hash=sha256:{DIGEST} --hash=sha256:{OTHER} --hash=sha256:{SOURCE}\n",
        ),
        "a marker that does not apply": (
            pylock(VERSION, "marker = \"sys_platform == 'none'\"", f"wheels = [{WHEEL}]"),
            "",
        ),
        "an extra": (pylock(VERSION, "marker = \"'x' in extras\"", f"wheels = [{WHEEL}]"), ""),
        "an archive": (
            pylock(f"archive = {{url = 'https://h/a.zip', hashes = {{sha256 = '{DIGEST}'}}}}"),
            f"a @ https://h/a.zip --hash=sha256:{DIGEST}\n",
        ),
        "a folder, whose code is packed": (pylock("directory = {path = '.', editable = true}"), ""),
    }.values(),
)
def test_pylock_toml(tmp_path: Path, text: str, lock: str) -> None:
    (tmp_path / "pylock.orders.toml").write_text(text)
    assert lock_from(tmp_path / "pylock.orders.toml") == lock


@cases(
    ("text", "says"),
    {
        "a newer version": (pylock(VERSION, f"wheels = [{WHEEL}]").replace("1.0", "2.0", 1), "2.0"),
        "another interpreter": (pylock(VERSION, f"wheels = [{WHEEL}]", head="requires-python = '<3'"), "python"),
        "no version": (pylock(f"wheels = [{WHEEL}]"), "a has no exact version"),
        "no fitting file": (pylock(VERSION, f"wheels = [{OTHER_WHEEL}]"), "wheel"),
        "a local archive": (
            pylock(f"archive = {{path = 'a.zip', hashes = {{sha256 = '{DIGEST}'}}}}"),
            "other machines do not have",
        ),
    }.values(),
)
def test_an_unusable_pylock_toml_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(text)
    with pytest.raises(DefinitionError, match="INVALID_LOCK") as raised:
        lock_from(path)
    assert says in raised.value.message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    for name in ("nowhere.txt", "uv.lock", "binary.txt"):
        with pytest.raises(DefinitionError, match=f"INVALID_LOCK: .*{name}: it cannot be read"):
            lock_from(tmp_path / name)


def test_uv_is_needed_for_uv_lock_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "uv.lock").write_text("version = 1\n")
    with pytest.raises(DefinitionError, match=r"UV_NOT_FOUND: .*uv\.lock can be read with uv only"):
        lock_from(tmp_path / "uv.lock")
