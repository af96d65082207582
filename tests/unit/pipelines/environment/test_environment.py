"""The fingerprint of an environment, and how it differs from the one that an artifact requires."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.environment.distributions import Distribution
from pipelines.environment.environment import Environment, Required
from pipelines.environment.interpreter import Interpreter
from tests.cases import cases

PYTHON = Interpreter("cpython", "3.12.4", "linux-x86_64")
LOCK = "alpha==1.0\nbeta==2.0\n"


def distribution(folder: Path, name: str, version: str, record: str = "", *, editable: bool = False) -> Distribution:
    metadata = folder / f"{name}-{version}.dist-info"
    metadata.mkdir(parents=True, exist_ok=True)
    (metadata / "RECORD").write_text(record)
    (metadata / "direct_url.json").write_text(json.dumps({"url": "file:///x", "dir_info": {"editable": editable}}))
    return Distribution(name, version, metadata)


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    one, two = distribution(tmp_path, "alpha", "1.0", "alpha.py,sha256=a,1\n"), distribution(tmp_path, "beta", "2.0")
    return Environment(PYTHON, (one, two))


def test_an_environment_is_what_an_artifact_that_is_built_in_it_requires(environment: Environment) -> None:
    assert environment.required == Required(PYTHON, LOCK)
    current = Environment.current()
    for each in (environment, current):
        assert each.differences(each.required) == []
    assert current.fingerprint == Environment.current().fingerprint


def test_another_interpreter_is_a_difference_and_changes_the_fingerprint(environment: Environment) -> None:
    for change, difference in (
        ({"implementation": "pypy"}, "implementation is cpython, required is pypy"),
        ({"version": "3.12.5"}, "version is 3.12.4, required is 3.12.5"),
        ({"platform": "macosx-14.0-arm64"}, "platform is linux-x86_64, required is macosx-14.0-arm64"),
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
        "a missing one": (LOCK + "gamma==3\n", ["gamma is not installed, required is 3"]),
        "an additional one": ("alpha==1.0\n", ["beta 2.0 is installed, but not required"]),
        "a tool": (LOCK + "setuptools==80\n", []),
    }.values(),
)
def test_other_distributions_are_differences(environment: Environment, lock: str, differences: list[str]) -> None:
    assert environment.differences(Required(PYTHON, lock)) == differences


def test_tools_that_install_and_editable_distributions_are_not_compared(
    environment: Environment, tmp_path: Path
) -> None:
    """An artifact packs the code of editable ones, and a worker runs no other local code."""
    pip, edited = distribution(tmp_path, "pip", "26.0"), distribution(tmp_path, "edited", "1.0", editable=True)
    more = replace(environment, distributions=(*environment.distributions, pip, edited))
    assert more.required == environment.required
    assert more.differences(environment.required) == []
    assert more.fingerprint != environment.fingerprint
    assert more.differences(Required(PYTHON, LOCK + "edited==2.0\n")) == ["edited is 1.0, required is 2.0"]


@cases(
    ("lines", "same"),
    {
        "compiled files": ("__pycache__/alpha.cpython-312.pyc,,", True),
        "another module": ("b.py,sha256=b,1", False),
        "other bytes": ("alpha.py,sha256=b,1", False),
        "another plugin": ("alpha-1.0.dist-info/entry_points.txt,sha256=b,1", False),
    }.values(),
)
def test_the_fingerprint_covers_files_but_not_the_installer(tmp_path: Path, lines: str, same: bool) -> None:
    alpha = "alpha.py,sha256=a,1\n"
    more = "" if lines.startswith("alpha.py") else alpha
    before, after = (
        Environment(PYTHON, (distribution(tmp_path / name, "alpha", "1.0", record),))
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
    found = {environment.fingerprint}
    for name, changed in (("alpha.py", b"x = 2\n"), ("alpha/rates.csv", b"12\n"), ("alpha.py", None)):
        if changed is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(changed)
        found.add(environment.fingerprint)
    assert len(found) == 4


def test_the_folder_of_an_editable_distribution_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    links = ("_edited.pth", "__editable__.edited-1.0.pth", "__editable___edited_finder.py")
    fingerprints = {
        Environment(PYTHON, (distribution(tmp_path / folder, "edited", "1.0", record, editable=True),)).fingerprint
        for folder in ("here", "there")
        for record in ["".join(f"{name},sha256={folder},1\n" for name in links)]
    }
    assert len(fingerprints) == 1
