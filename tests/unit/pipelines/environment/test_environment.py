import hashlib
import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from embedded.product import PROJECT
from pipelines import DefinitionError
from pipelines.environment import Distribution, Environment, Interpreter, Required, locked
from pipelines.lock_files import lock_from, lock_in_requirements, run_uv
from tests.cases import cases
from tests.raising import error_of
from tests.wheels import write_wheel

PYTHON = Interpreter("cpython", "3.12.4", "linux-x86_64")
LOCK = "alpha==1.0\nbeta==2.0\n"
NO_GAMMA, TOO_MUCH = "gamma is not installed, required is 3", "is installed, but not required"
LIBRARY = "durable-pipelines is 0.2.0"
HASH = "sha256:" + "ab" * 32
OTHER = "sha256:" + "cd" * 32


def distribution(folder: Path, name: str, version: str, record: str = "", *, editable: bool = False) -> Distribution:
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "RECORD").write_text(record)
    (metadata / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": editable}}))
    return Distribution(name, version, metadata)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    alpha, beta = distribution(tmp_path, "alpha", "1.0", "alpha.py,sha256=a,1\n"), distribution(tmp_path, "beta", "2.0")
    return Environment(PYTHON, (alpha, beta))


def test_an_environment_is_what_an_artifact_that_is_built_in_it_requires(environment: Environment) -> None:
    assert environment.required == Required(PYTHON, LOCK)
    current = Environment.current()
    for checked in (environment, current):
        assert checked.differences(checked.required) == []
    assert current.fingerprint == Environment.current().fingerprint


def test_another_interpreter_is_a_difference_and_changes_the_fingerprint(environment: Environment) -> None:
    for change, difference in (
        ({"implementation": "pypy"}, "the implementation of Python is cpython, required is pypy"),
        ({"version": "3.12.5"}, "Python is 3.12.4, required is 3.12.5"),
        ({"platform": "macosx-14.0-arm64"}, "the platform is linux-x86_64, required is macosx-14.0-arm64"),
    ):
        other = replace(PYTHON, **change)
        assert environment.differences(Required(other, LOCK)) == [difference]
        assert replace(environment, interpreter=other).fingerprint != environment.fingerprint


@cases(
    ("lock", "differences"),
    {
        "the same": ("beta==2.0\nalpha==1.0\n", []),
        "the same, with hashes": (f"alpha==1.0 --hash=sha256:{'a' * 64}\nbeta==2.0\n", []),
        "an older one": ("alpha==1.1\nbeta==2.0\n", ["alpha is 1.0, required is 1.1"]),
        "a missing one": (LOCK + "gamma==3\n", [NO_GAMMA]),
        "all kinds": ("beta==3\ngamma==3\n", [NO_GAMMA, "beta is 2.0, required is 3", f"alpha 1.0 {TOO_MUCH}"]),
        "an additional one": ("alpha==1.0\n", [f"beta 2.0 {TOO_MUCH}"]),
        "a tool": (LOCK + "setuptools==80\n", []),
        "the library": (LOCK + "durable-pipelines==0.2.0\ncelery==5.7\n", []),
        "an earlier library": (LOCK + f"durable-pipelines[tracing]==0.1.0 --hash={HASH}\n", []),
        "a later library": (LOCK + "durable-pipelines==0.10\n", [f"{LIBRARY}, required is 0.10 or later"]),
        "what the library requires": (LOCK + "celery==5.6\n", ["celery is 5.7, required is 5.6"]),
    }.values(),
)
def test_other_distributions_are_differences(
    environment: Environment, tmp_path: Path, lock: str, differences: list[str]
) -> None:
    """Except for a library that is later than the required one, and for what it requires."""
    library, celery, vine = (
        distribution(tmp_path, *named) for named in (("durable-pipelines", "0.2.0"), ("celery", "5.7"), ("vine", "5"))
    )
    (library.metadata / "METADATA").write_text("Requires-Dist: celery[redis]>=5.6 ; extra == 'all'\n")
    (celery.metadata / "METADATA").write_text("Requires-Dist: vine\n")
    more = replace(environment, distributions=(*environment.distributions, library, celery, vine))
    assert more.differences(Required(PYTHON, lock)) == differences


def test_installers_and_editable_distributions_are_not_compared(environment: Environment, tmp_path: Path) -> None:
    """An artifact packs the code of editable ones, and a worker runs no other local code."""
    pip, edited = distribution(tmp_path, "pip", "26.0"), distribution(tmp_path, "edited", "1.0", editable=True)
    more = replace(environment, distributions=(*environment.distributions, pip, edited))
    assert more.required == environment.required
    assert more.differences(environment.required) == []
    assert more.fingerprint != environment.fingerprint
    assert more.differences(Required(PYTHON, LOCK + "edited==2.0\n")) == ["edited is 1.0, required is 2.0"]


COMPILED = "__pycache__/alpha.cpython-312.pyc,,"
CHANGED = ("b.py", "alpha.py", "alpha-1.0.dist-info/entry_points.txt")
LINKS = ("_alpha.pth", "__editable__.alpha-1.0.pth", "__editable___alpha_finder.py")


@cases(
    ("lines", "editable", "same"),
    [
        (COMPILED, False, True),
        *((f"{name},sha256=b,1", False, False) for name in (*CHANGED, *LINKS)),
        *((f"{name},sha256=b,1", True, True) for name in LINKS),
    ],
)
def test_the_fingerprint_covers_files_but_neither_the_installer_nor_the_folder_of_an_editable_distribution(
    tmp_path: Path, lines: str, editable: bool, same: bool
) -> None:
    alpha = "alpha.py,sha256=a,1\n"
    more = "" if lines.startswith("alpha.py") else alpha
    before, after = (
        Environment(PYTHON, (distribution(tmp_path / name, "alpha", "1.0", record, editable=editable),))
        for name, record in (("before", alpha), ("after", f"{lines}\n{more}"))
    )
    assert (before.fingerprint == after.fingerprint) is same
    assert before.required == after.required


def test_a_file_that_was_changed_after_its_installation_changes_the_fingerprint(tmp_path: Path) -> None:
    files = {"alpha.py": b"x = 1\n", "alpha/rates.csv": b"1\n"}
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    record = "".join(f"{name},sha256={hashlib.sha256(data).hexdigest()},{len(data)}\n" for name, data in files.items())
    environment = Environment(PYTHON, (distribution(tmp_path, "alpha", "1.0", record),))
    fingerprints = {environment.fingerprint}
    for name, changed in (("alpha.py", b"x = 2\n"), ("alpha/rates.csv", b"12\n"), ("alpha.py", None)):
        if changed is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(changed)
        fingerprints.add(environment.fingerprint)
    assert len(fingerprints) == 4


MANIFEST = """
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
def uv(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put the real uv on PATH, cut off from indexes and the user's settings. Return its folder of wheels."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    monkeypatch.setenv("PATH", f"{PROJECT / '.boot/bin'}{os.pathsep}{os.environ['PATH']}")
    places = {"FIND_LINKS": str(wheels), "PYTHON_DOWNLOADS": "never", "CACHE_DIR": str(tmp_path / "cache")}
    for name, value in {"NO_CONFIG": "1", "OFFLINE": "1", "NO_INDEX": "1", **places}.items():
        monkeypatch.setenv(f"UV_{name}", value)
    monkeypatch.delenv("VIRTUAL_ENV", raising=False)
    return wheels


@pytest.fixture
def project(tmp_path: Path, uv: Path) -> Path:
    """A project that uv has locked: with a group, an extra, a marker, a local wheel and an editable library."""
    folder = tmp_path / "project"
    (folder / "edited").mkdir(parents=True)
    (folder / "pyproject.toml").write_text(MANIFEST)
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
        "a marker": ("colorama==0.4 ; sys_platform=='win32'", 'colorama==0.4 ; sys_platform == "win32"'),
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
    expected = f"{lock}\n"
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
    error = error_of(DefinitionError, lock_in_requirements, text, "folder/r.txt")
    assert error.code == "INVALID_LOCK"
    assert error.message.startswith(f"folder/r.txt, line {line}: ")
    assert says in error.message
    assert "secret" not in str(error)


def test_a_lock_is_read_for_this_interpreter() -> None:
    lock = f'a==1 --hash={HASH}\nb[x]==2 ; os_name == "none"\nc @ https://h/c ; python_version >= "3"\nd===1.0+x\n'
    assert list(locked(lock)) == [("a", "1"), ("c", ""), ("d", "1.0+x")]
    assert list(locked("Ab_c==1\n")) == [("ab-c", "1")]
