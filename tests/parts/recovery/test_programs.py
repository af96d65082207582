"""The recovery campaign runs to its end, started as the documents show, outside of pytest."""

import os

from tests.programs import output_of


def test_the_campaign_runs_to_its_end() -> None:
    command = ["make", "--old-file=setup", "recovery", "EXECUTIONS=40"]
    environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    assert "no execution was lost, and nothing happened twice" in output_of(command, env=environment)
