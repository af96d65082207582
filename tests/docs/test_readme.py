"""The pipeline of the README can be built and released with the commands that it shows."""

import os
import re
import subprocess
from pathlib import Path

from embedded.product import BIN
from tests.docs.pages import text_of

README = text_of("README.md")


def test_the_pipeline_of_the_readme_is_built_and_released(tmp_path: Path) -> None:
    [source] = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    [file] = re.findall(r"as `(\w+/\w+\.py)`", README)
    (tmp_path / file).parent.mkdir()
    (tmp_path / file).write_text(source)
    commands = re.findall(r"^\$ (.*pipelines (?:build|release) .*)$", README, re.MULTILINE)
    assert len(commands) == 2
    path = f"{BIN}:{os.environ['PATH']}"
    for command in commands:
        done = subprocess.run(
            command,
            shell=True,
            cwd=tmp_path,
            env={"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert {path.name for path in (tmp_path / "dist").iterdir()} == {"org.example.orders.zip", "pipeline-release.json"}
