"""Lock files of projects, as uv and pip write them. They become locks: exact, portable and without secrets."""

import os
import sys
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.environment.lock import Locked, locked
from pipelines.environment.lock_files import lock_from
from pipelines.environment.requirements_file import lock_in_requirements
from pipelines.environment.uv import run_uv
from tests.cases import cases
from tests.wheels import write_wheel

REPOSITORY = Path(__file__).resolve().parents[4]
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
HASH = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


@pytest.fixture
def uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put the real uv on PATH, cut off from indexes and the user's settings. Return its folder of wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PATH", f"{REPOSITORY / '.boot/bin'}{os.pathsep}{os.environ['PATH']}")
    for name, value in {
        "UV_NO_CONFIG": "1",
        "UV_OFFLINE": "1",
        "UV_NO_INDEX": "1",
        "UV_FIND_LINKS": str(wheels),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_CACHE_DIR": str(tmp_path / "cache"),
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return wheels


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


@cases(
    ("text", "lock"),
    {
        "spaces": ("  idna == 3.10  ", "idna==3.10"),
        "a name that is not normalised": ("Ruamel_YAML.clib==1", "ruamel-yaml-clib==1"),
        "extras": ("celery[sqs, redis]==5.7", "celery[redis,sqs]==5.7"),
        "a marker": (
            "colorama==0.4 ; sys_platform=='win32'",
            'colorama==0.4 ; sys_platform == "win32"',
        ),
        "hashes in further lines": (
            f"a==1 \\\n    --hash={HASH} \\\n    --hash={OTHER}",
            f"a==1 --hash={HASH} --hash={OTHER}",
        ),
        "comments": ("# made on /home/me\n\na==1  # via b\n    # via c\n", "a==1"),
        "a comment after a continuation": (f"a==1 \\\n  --hash={HASH}  # via b", f"a==1 --hash={HASH}"),
        "an editable distribution": ("-e .\n--editable=./lib\n-e git+https://host/x#egg=x\na==1", "a==1"),
        "options about the installation": (
            "--index-url https://me:secret@host/simple\n-f /home/me/wheels\n--require-hashes\n--no-binary=:all:\na==1",
            "a==1",
        ),
        "a URL": ("a @ https://host/a-1.tar.gz", "a @ https://host/a-1.tar.gz"),
        "a local wheel": ("./wheels/Some_thing-1.0-py3-none-any.whl", "some-thing==1.0"),
        "any order and line ends": ("b==2\r\na==1\r\n", "a==1\nb==2"),
    }.values(),
)
def test_a_requirement_becomes_one_line_that_can_be_read_again(text: str, lock: str) -> None:
    expected = f"{lock}\n" if lock else ""
    assert lock_in_requirements(text, "r.txt") == expected
    assert lock_in_requirements(expected, "requirements.lock") == expected
    assert list(locked(expected)) is not None


@cases(
    ("text", "line", "says"),
    {
        "no version": ("a==1\nb", 2, "'b' does not lock one distribution: it has no exact version"),
        "a prefix": ("a==1.*", 1, "no exact version"),
        "a wrong marker": ("a==1 ; colour == 'red'", 1, "a==1 ; colour"),
        "a line after a continued one": (f"a==1 \\\n --hash={HASH}\nb", 3, "'b'"),
        "another file": ("-r other.txt", 1, "write all requirements into one file"),
        "a wrong hash": ("a==1 --hash=md5", 1, "--hash is not supported"),
        "a local folder with a name": ("a @ file:///home/me/a", 1, "other machines do not have this local file"),
        "a password": ("a @ https://me:secret@host/a-1.tar.gz", 1, "contains a password"),
    }.values(),
)
def test_what_is_not_exact_and_portable_is_refused_with_its_line(text: str, line: int, says: str) -> None:
    with pytest.raises(DefinitionError) as raised:
        lock_in_requirements(text, "folder/r.txt")
    assert raised.value.code == "INVALID_LOCK"
    assert raised.value.message.startswith(f"folder/r.txt, line {line}: ")
    assert says in raised.value.message
    assert "secret" not in str(raised.value)
    assert "token" not in str(raised.value)


def test_a_lock_is_read_for_this_interpreter() -> None:
    lock = f'a==1 --hash={HASH}\nb[x]==2 ; os_name == "none"\nc @ https://h/c ; python_version >= "3"\nd===1.0+x\n'
    assert [(each.name, each.version) for each in locked(lock)] == [("a", "1"), ("c", ""), ("d", "1.0+x")]
    assert next(iter(locked("Ab_c==1\n"))) == Locked("Ab_c==1", "ab-c", "1")
