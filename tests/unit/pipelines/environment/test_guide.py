"""The example in the guide's section about the environment."""

import re
import shlex
import sys
from pathlib import Path

import pytest

from pipelines.cli import main
from pipelines.environment.uv import run_uv
from tests.unit.pipelines.conftest import Author
from tests.wheels import write_wheel

REPOSITORY = Path(__file__).resolve().parents[4]
GUIDE = (REPOSITORY / "docs/pipelines.md").read_text(encoding="utf-8")
PROJECT = """
[project]
name = "acme-orders"
version = "1.0"
requires-python = ">=3.11"
dependencies = ["alpha"]
"""


def test_the_commands_make_the_environment_of_a_uv_project(
    author: Author, uv: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_wheel(uv, "alpha", "1.0")
    author.write("pyproject.toml", PROJECT)
    [source, *_] = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    (author.folder / "acme_orders.py").write_text(source)
    run_uv("lock", "--project", str(author.folder), "--python", sys.executable)
    monkeypatch.chdir(author.folder)
    [commands] = re.findall(r"## The environment\n.*?```sh\n(.*?)```", GUIDE, re.DOTALL)
    for command in commands.splitlines():
        program, *arguments = shlex.split(command)
        assert (program, main(arguments)) == ("pipelines", 0)
    assert len(list(author.folder.glob("worker-env/lib/python3*/site-packages/alpha-1.0.dist-info"))) == 1
    assert capsys.readouterr().err.count("warning: the lock does not name durable-pipelines") == 2
