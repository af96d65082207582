"""The command `coordinator`: commands that use the REST API, `coordinator run`, and Django's management commands."""

import os
import secrets
import sys
from collections.abc import MutableMapping, Sequence
from typing import Final

from coordinator_client.standard_output import until_its_reader_ends

NOUNS: Final = (
    "releases recoveries requests gradual executions failures campaigns schedules questions workers pipelines keys "
    "members invitations alerts"
)
VERBS: Final = "status fleet stranded drift holds quotas provenance-key apply login"
WORDS: Final = frozenset(f"{NOUNS} audit profiles {VERBS} --help --install-completion --show-completion".split())
"""The first words of the commands in `coordinator.command_line`, which is not imported for any other command."""


@until_its_reader_ends()
def main() -> None:
    """Run a command. Those of `coordinator.command_line` load neither Django nor the coordinator's settings."""
    if (sys.argv[1:2] and sys.argv[1] in WORDS) or "_COORDINATOR_COMPLETE" in os.environ:
        from coordinator.command_line.app import main as run_command

        run_command()
        return
    if sys.argv[1:2] == ["dev"]:
        from embedded.dev import main as run_dev  # with Django's settings only in its children

        sys.exit(run_dev(sys.argv[2:]))
    fill_in(sys.argv[1:])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "coordinator.settings")
    if sys.argv[1:2] == ["run"]:
        from coordinator.run import run  # needs Django's settings

        run(sys.argv[2:])
    if sys.argv[1:] in HELPS:
        _print_help()
        return
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)


HELPS: Final[tuple[list[str], ...]] = ([], ["help"], ["help", "--all"])


def _print_help() -> None:
    import django

    django.setup()
    from coordinator import host_help  # needs Django's apps

    sys.stdout.write(host_help.text(has_all=sys.argv[1:] == ["help", "--all"]))


CONNECTION: Final = "DATABASE_URL"
DATABASE_COMMANDS: Final = frozenset({"setup_database", "migrate", "broker_acl"})
"""The commands that use the database, but neither sign nor encrypt nor connect to the broker."""
UNCONNECTED_COMMANDS: Final = frozenset({"help", "collectstatic", "makemigrations", "list_settings"})
"""The commands that need no server and no secret."""
HELP: Final = frozenset({"-h", "--help"})


def fill_in(arguments: Sequence[str], environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the required variables that the command of `arguments` does not use and that are absent.

    The secrets are random and the servers do not exist, so that nothing could be signed or sent with them by mistake.
    """
    command = arguments[0] if arguments else "help"
    if command in UNCONNECTED_COMMANDS or HELP.intersection(arguments):
        unused = _placeholders()
    elif command in DATABASE_COMMANDS:
        unused = {name: value for name, value in _placeholders().items() if name != CONNECTION}
    else:
        return
    for name, value in unused.items():
        if not (environment.get(name) or environment.get(f"{name}_FILE")):
            environment[name] = value


def _placeholders() -> dict[str, str]:
    return {
        "SECRET_KEY": secrets.token_urlsafe(48),
        "WORKER_SECRET": secrets.token_urlsafe(48),
        CONNECTION: "postgresql://nobody@127.0.0.1:1/nothing",
        "REDIS_URL": "redis://127.0.0.1:1/0",
    }
