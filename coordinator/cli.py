"""The command `coordinator`: Django's management commands with the coordinator's settings, and `coordinator run`."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
    if sys.argv[1:2] == ["run"]:
        from coordinator.run import run  # needs Django's settings

        run(sys.argv[2:])
    execute_from_command_line(sys.argv)
