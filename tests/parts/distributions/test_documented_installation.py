"""What README and docs/deployment.md say about the first installation."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embedded.product import PROJECT
from tests.parts.distributions import installing

pytestmark = pytest.mark.timeout(600)


def test_the_wheels_are_built_and_installed_as_documented(tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "deployment.md").read_text(encoding="utf-8")
    [build] = re.findall(r"^python3 -m pip wheel .*$", page, re.MULTILINE)
    [export] = re.findall(r"^export PIP_FIND_LINKS=.*$", page, re.MULTILINE)
    [install] = re.findall(r"&& /opt/coordinator/bin/(pip install \S+)$", page, re.MULTILINE)
    checkout = tmp_path / "checkout"
    installing.copy_checkout(checkout)
    # Only these two are installed: other tests install the requirements.
    script = f"{build}\n{export}\npython3 -m venv {tmp_path / 'opt'}\n{tmp_path / 'opt'}/bin/{install} --no-deps\n"
    script += f"{tmp_path / 'opt'}/bin/pip install durable-pipelines --no-deps\n"
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=checkout,
        env={**installing.environment(), "PATH": f"{Path(sys.base_prefix) / 'bin'}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path.name for path in (tmp_path / "opt" / "bin").iterdir()} >= {"coordinator", "pipelines"}


def test_the_demo_ends_without_a_terminal() -> None:
    """It then prints no address and no password, because nothing listens there any more."""
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        ["make", "--old-file=setup", "demo"],
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Executions and their releases" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("The demo is complete and stopped.")
    assert not re.search("password|Press Ctrl-C", done.stdout)
