"""Lock files of projects, as uv and pip write them."""

import sys
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.environment.lock_files import lock_from, missing_in
from pipelines.environment.uv import run_uv
from tests.cases import cases
from tests.wheels import write_wheel

PROJECT = """
[project]
name = "acme-orders"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["alpha>=1", "windows ; sys_platform == 'win32'", "member", "edited", "vendored"]
optional-dependencies = { fast = ["optional"] }
[dependency-groups]
dev = ["testing"]
docs = ["testing"]
[tool.uv]
default-groups = ["dev", "docs"]
[tool.uv.workspace]
members = ["member"]
[tool.uv.sources]
member = { workspace = true }
edited = { path = "edited", editable = true }
vendored = { path = "vendored-3.0-py3-none-any.whl" }
"""


def write_project(folder: Path, name: str, text: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    default = f'[project]\nname = "{name}"\nversion = "0.1"\nrequires-python = ">=3.11"\n'
    (folder / "pyproject.toml").write_text(text or default)


@pytest.fixture
def project(tmp_path: Path, uv: Path) -> Path:
    """A project that uv has locked: with a member, groups, extras, markers, a local wheel and an editable library."""
    folder = tmp_path / "project"
    write_project(folder, "acme-orders", PROJECT)
    write_project(folder / "member", "member")
    write_project(folder / "edited", "edited")
    write_wheel(folder, "vendored", "3.0")
    write_wheel(uv, "alpha", "1.5", requires=["beta[more]"])
    for name in ("beta", "windows", "optional", "testing"):
        write_wheel(uv, name, "2.0")
    run_uv("lock", "--project", str(folder), "--python", sys.executable)
    return folder


def test_uv_lock_gives_the_dependencies_of_the_project(project: Path) -> None:
    lock = lock_from(project / "uv.lock")
    assert [line.partition(" --hash")[0] for line in lock.splitlines()] == [
        "alpha==1.5",
        "beta==2.0",
        "vendored==3.0",
        'windows==2.0 ; sys_platform == "win32"',
    ]
    assert str(project) not in lock
    lines = dict(line.split(" --hash=") for line in lock.splitlines() if "--hash" in line)
    assert lines["vendored==3.0"].startswith("sha256:")


def test_pylock_toml_gives_the_dependencies_for_this_interpreter(project: Path) -> None:
    (project / "pylock.toml").write_text(
        run_uv("export", "--frozen", "--format=pylock.toml", "--no-default-groups", "--project", str(project))
    )
    lock = lock_from(project / "pylock.toml")
    assert [line.partition(" --hash")[0] for line in lock.splitlines()] == ["alpha==1.5", "beta==2.0", "vendored==3.0"]


def test_a_requirements_file_may_have_any_other_name_and_locks_each_distribution_once(tmp_path: Path) -> None:
    path = tmp_path / "locked"
    for text, lock in (
        ("b==2\na==1\n", "a==1\nb==2\n"),
        (
            "a==1 ; os_name == 'none'\na==2 ; os_name != 'none'\n",
            'a==1 ; os_name == "none"\na==2 ; os_name != "none"\n',
        ),
    ):
        path.write_text(text)
        assert lock_from(path) == lock
    path.write_text("a==1\nA==2\n")
    with pytest.raises(DefinitionError, match=r"INVALID_LOCK: .*locked: a is locked more than once"):
        lock_from(path)


def package(name: str, *members: str) -> str:
    return "\n".join(["[[packages]]", f'name = "{name}"', *members, ""])


def pylock(*packages: str, **members: str) -> str:
    head = {"lock-version": '"1.0"', "created-by": '"tests"'} | {key.replace("_", "-"): v for key, v in members.items()}
    return "\n".join([*(f"{name} = {value}" for name, value in head.items()), *packages])


DIGEST = "ab" * 32
WHEEL = (
    f"{{name = 'a-1.0-py3-none-any.whl', url = 'https://h/a-1.0-py3-none-any.whl', hashes = {{sha256 = '{DIGEST}'}}}}"
)
OTHER_WHEEL = WHEEL.replace("py3-none-any", "cp311-none-win_arm64").replace("ab", "cd")
SDIST = f"sdist = {{name = 'a-1.0.tar.gz', url = 'https://h/a-1.0.tar.gz', hashes = {{sha256 = '{'ef' * 32}'}}}}"
VERSION = "version = '1.0'"


@cases(
    ("text", "lock"),
    {
        "no package": (pylock(packages="[]"), ""),
        "a wheel": (pylock(package("a", VERSION, f"wheels = [{WHEEL}]")), f"a==1.0 --hash=sha256:{DIGEST}\n"),
        "hashes of all files, also of those for other machines": (
            pylock(package("a", VERSION, f"wheels = [{OTHER_WHEEL}, {WHEEL}]", SDIST)),
            f"a==1.0 --hash=sha256:{DIGEST} --hash=sha256:{'cd' * 32} --hash=sha256:{'ef' * 32}\n",
        ),
        "a marker that applies": (
            pylock(package("a", VERSION, "marker = \"python_version > '3'\"", f"wheels = [{WHEEL}]")),
            f"a==1.0 --hash=sha256:{DIGEST}\n",
        ),
        "a marker that does not apply": (
            pylock(package("a", VERSION, "marker = \"sys_platform == 'none'\"", f"wheels = [{WHEEL}]")),
            "",
        ),
        "an extra": (
            pylock(package("a", VERSION, "marker = \"'x' in extras\"", f"wheels = [{WHEEL}]"), extras="['x']"),
            "",
        ),
        "an archive": (
            pylock(package("a", f"archive = {{url = 'https://h/a.zip', hashes = {{sha256 = '{DIGEST}'}}}}")),
            f"a @ https://h/a.zip --hash=sha256:{DIGEST}\n",
        ),
        "a commit": (
            pylock(package("a", "vcs = {type = 'git', url = 'https://h/a', commit-id = '4f5e'}")),
            "a @ git+https://h/a@4f5e\n",
        ),
        "a folder, whose code is packed": (pylock(package("a", "directory = {path = '.', editable = true}")), ""),
    }.values(),
)
def test_pylock_toml(tmp_path: Path, text: str, lock: str) -> None:
    (tmp_path / "pylock.orders.toml").write_text(text)
    assert lock_from(tmp_path / "pylock.orders.toml") == lock


@cases(
    ("text", "says"),
    {
        "no TOML": ("{", "line 1"),
        "another document": ("[project]", "lock-version"),
        "a newer version": (pylock(packages="[]").replace("1.0", "2.0"), "2.0"),
        "another interpreter": (pylock(packages="[]", requires_python="'<3'"), "python"),
        "no version": (pylock(package("a", f"wheels = [{WHEEL}]")), "a has no exact version"),
        "no fitting file": (pylock(package("a", VERSION, f"wheels = [{OTHER_WHEEL}]")), "wheel"),
        "a local archive": (
            pylock(package("a", f"archive = {{path = 'a.zip', hashes = {{sha256 = '{DIGEST}'}}}}")),
            "other machines do not have",
        ),
    }.values(),
)
def test_an_unusable_pylock_toml_is_refused(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pylock.toml"
    path.write_text(text)
    with pytest.raises(DefinitionError) as raised:
        lock_from(path)
    assert raised.value.code == "INVALID_LOCK"
    assert raised.value.message.startswith(f"{path}: ")
    assert says in raised.value.message


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe")
    for name in ("nowhere.txt", "uv.lock", "binary.txt"):
        with pytest.raises(DefinitionError, match=f"INVALID_LOCK: .*{name}: it cannot be read"):
            lock_from(tmp_path / name)


def test_a_uv_lock_that_uv_refuses_gives_its_message_in_one_line(project: Path) -> None:
    (project / "uv.lock").write_text("version = 1\n")
    with pytest.raises(
        DefinitionError, match=r"INVALID_LOCK: .*uv\.lock: uv export failed: .*requires-python"
    ) as raised:
        lock_from(project / "uv.lock")
    assert "\n" not in str(raised.value)


def test_uv_is_needed_for_uv_lock_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    (tmp_path / "uv.lock").write_text("version = 1\n")
    with pytest.raises(DefinitionError, match=r"UV_NOT_FOUND: .*uv\.lock can be read with uv only"):
        lock_from(tmp_path / "uv.lock")


def test_a_lock_without_durable_pipelines_gives_a_warning() -> None:
    assert "does not name durable-pipelines" in missing_in("a==1\n")
    assert missing_in("a==1\ndurable_pipelines==0.1\n") == ""
