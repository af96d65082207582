"""The examples of docs/pipelines.md, as an author copies them into files: the tests among them pass."""

import re
import subprocess
import sys
from pathlib import Path

from tests.docs.commands import FENCE, ROOT, text_of

FILE = re.compile(r"# (\w+\.py)(, continued)?\n")


def test_the_tests_in_the_examples_pass(tmp_path: Path) -> None:
    names = set()
    for language, block in FENCE.findall(text_of("docs/pipelines.md")):
        if language == "python" and (named := FILE.match(block)):
            with (tmp_path / named[1]).open("a" if named[2] else "x") as file:
                file.write(block)
            names.add(named[1])
    assert {"test_orders.py", "test_compatible.py"} <= names
    pipelines = (sys.executable, "-m", "pipelines")
    for command in (
        (*pipelines, "build", "acme_orders:pipeline", "--out", "built"),
        (*pipelines, "release", "--out", "built", "--release-version", "1.0"),
    ):
        run(tmp_path, *command)
    [descriptor] = (tmp_path / "built").rglob("pipeline-release.json")
    (tmp_path / "dist").mkdir()
    descriptor.parent.rename(tmp_path / "dist/1.0")
    assert re.search(
        r"^[6-9] passed", run(tmp_path, sys.executable, "-m", "pytest", "-q", *sorted(names)), re.MULTILINE
    )


def run(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
