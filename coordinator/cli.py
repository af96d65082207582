"""The command `coordinator`: commands that use the REST API, `coordinator run`, and Django's management commands."""

import os
import sys
from typing import Final

from coordinator.command_settings import fill_in

WORDS: Final = frozenset(
    {
        *("releases", "requests", "gradual", "executions", "failures", "campaigns", "questions", "workers"),
        *("pipelines", "keys", "members", "alerts", "audit"),
        *("status", "stranded", "drift", "holds", "quotas", "apply", "login", "profiles"),
        *("--help", "--install-completion", "--show-completion"),
    }
)
"""The first words of the commands in `coordinator.command_line`, which is not imported for any other command."""


def main() -> None:
    """Run a command. Those of `coordinator.command_line` load neither Django nor the coordinator's settings."""
    if (sys.argv[1:2] and sys.argv[1] in WORDS) or "_COORDINATOR_COMPLETE" in os.environ:
        from coordinator.command_line.app import main as run_command

        run_command()
        return
    from django.core.management import execute_from_command_line

    fill_in(sys.argv[1:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
    if sys.argv[1:2] == ["run"]:
        from coordinator.run import run  # needs Django's settings

        run(sys.argv[2:])
    execute_from_command_line(sys.argv)
