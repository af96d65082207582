"""`pipelines env sync` makes the environment that a release requires, with the real uv."""

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import DefinitionError
from pipelines.environment.environment import Required
from pipelines.environment.interpreter import Interpreter
from pipelines.environment.sync import sync
from tests.cases import cases
from tests.wheels import write_wheel

INSTALLED = """
import importlib.metadata, json, platform
found = {each.name: each.version for each in importlib.metadata.distributions()}
print(json.dumps([platform.python_version(), found]))
"""


def installed(target: Path) -> tuple[str, dict[str, str]]:
    done = subprocess.run([target / "bin/python", "-I", "-c", INSTALLED], capture_output=True, text=True, check=True)
    version, found = json.loads(done.stdout)
    return version, found


@pytest.fixture
def python() -> Interpreter:
    return Interpreter.current()


@pytest.fixture
def target(tmp_path: Path, uv: Path) -> Path:
    for version in ("1.0", "2.0"):
        write_wheel(uv, "alpha", version)
    write_wheel(uv, "beta", "1.0")
    return tmp_path / "made"


def test_it_makes_and_changes_an_environment_with_exactly_the_required_distributions(
    target: Path, python: Interpreter
) -> None:
    lock = 'alpha==1.0\nbeta==1.0\nwindows==1 ; sys_platform == "win32"\n'
    sync(Required(python, lock), target)
    assert installed(target) == (python.version, {"alpha": "1.0", "beta": "1.0"})
    sync(Required(python, "alpha==2.0\n"), target)
    assert installed(target)[1] == {"alpha": "2.0"}


@cases(
    ("lock", "version", "says"),
    [
        ("missing==1.0\n", "", "uv pip failed: .*missing"),
        ("", "3.11.999", "uv venv failed: .*3.11.999"),
        (f"alpha==1.0 --hash=sha256:{'0' * 64}\n", "", "uv pip failed: .*[Hh]ash"),
    ],
)
def test_what_uv_cannot_make_is_named(target: Path, python: Interpreter, lock: str, version: str, says: str) -> None:
    required = Required(replace(python, version=version or python.version), lock)
    with pytest.raises(DefinitionError, match=f"ENVIRONMENT_NOT_MADE: .*made: {says}"):
        sync(required, target)
