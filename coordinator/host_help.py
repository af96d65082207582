"""`coordinator help`: the commands of the product that run on a host, each in one line, and those of Django."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

from django.core.management import BaseCommand, get_commands, load_command_class

from coordinator.run import PROCESSES

TITLES: Final = {
    "coordinator": "The installation",
    "tenancy": "Tenants and people",
    "executions": "Workers, messages and executions",
    "releases": "Artifacts",
}
"""What the commands of each package are about, in the order of the help."""
HEAD: Final = """\
Commands that run on a host of the coordinator. `coordinator COMMAND --help` explains one of them.
`coordinator --help` lists the commands that use the REST API, from any machine.
"""
DEV: Final = "start everything on this machine, for authors of pipelines"


def own_commands() -> dict[str, dict[str, BaseCommand]]:
    """Return the commands of each package of the product, by their names."""
    commands: dict[str, dict[str, BaseCommand]] = {package: {} for package in TITLES}
    for name, app in sorted(get_commands().items()):
        if app in commands:
            commands[app][name] = load_command_class(app, name)
    return commands


def text(*, has_all: bool) -> str:
    """Return the help. With `has_all`, it ends with the names of the other commands."""
    own = own_commands()
    processes = [*((f"run {name}", what) for name, what in PROCESSES.items()), ("dev", DEV)]
    parts = [HEAD, _section("Processes", processes)]
    for package, title in TITLES.items():
        lines = [(name, _first_sentence(command.help)) for name, command in own[package].items()]
        parts.append(_section(title, lines))
    if has_all:
        others = sorted(name for name, app in get_commands().items() if app not in own)
        parts.append("\n  ".join(["Commands of Django and of libraries", *others]) + "\n")
    else:
        parts.append("`coordinator help --all` also lists the commands of Django.\n")
    return "\n".join(parts)


def _section(title: str, commands: Iterable[tuple[str, str]]) -> str:
    return "\n".join([title, *_lines(commands), ""])


def _lines(commands: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, what in commands:
        yield f"  {name:<22} {what[0].upper()}{what[1:]}"


def _first_sentence(help_text: str) -> str:
    return re.split(r"(?<=\.) ", " ".join(help_text.split()), maxsplit=1)[0].removesuffix(".")
