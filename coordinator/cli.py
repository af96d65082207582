"""The command `coordinator`: Django's management commands with the coordinator's settings."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
    execute_from_command_line(sys.argv)
