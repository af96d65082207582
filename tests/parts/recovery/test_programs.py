"""The recovery campaign runs to its end, started as the documents show, outside of pytest."""

import os
import subprocess

from embedded.product import PROJECT


def test_the_campaign_runs_to_its_end() -> None:
    command = ["make", "--old-file=setup", "recovery", "EXECUTIONS=40"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(command, cwd=PROJECT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no execution was lost, and nothing happened twice" in done.stdout
