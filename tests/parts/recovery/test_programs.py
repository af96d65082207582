"""The programs of this folder run to their end, started as the documents show, outside of pytest."""

import os
import re
import subprocess

import pytest

from embedded.product import PROJECT

CAMPAIGN = ["make", "--old-file=setup", "recovery", "EXECUTIONS=40"]
OUTAGE = [".venv/bin/python", "-m", "tests.parts.recovery.outage", "--seconds", "5", "--rate", "2"]


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (CAMPAIGN, "no execution was lost, and nothing happened twice"),
        (OUTAGE, r"all ended \d+ s after the broker was restored"),
    ],
    ids=["make recovery", "outage"],
)
def test_a_program_runs_to_its_end(command: list[str], says: str) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(says, done.stdout), done.stdout
