"""The tree of commands that use the REST API."""

import io
import sys
from typing import Final

import typer

from coordinator.command_line import (
    alerts,
    audit,
    campaigns,
    executions,
    failures,
    gradual,
    keys,
    login,
    members,
    overview,
    pipelines,
    questions,
    releases,
    requests,
    workers,
)
from coordinator.command_line.apply import command as apply

HELP: Final = """Operate the releases and executions of a coordinator over its REST API.

`coordinator help` lists the commands that run on a host of the coordinator, such as `migrate`.
"""


def tree() -> typer.Typer:
    """Return the tree of commands."""
    root = typer.Typer(name="coordinator", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False)
    nouns = (
        releases,
        requests,
        gradual,
        executions,
        failures,
        campaigns,
        questions,
        workers,
        pipelines,
        keys,
        members,
        alerts,
        audit,
    )
    for each in nouns:
        root.add_typer(each.app)
    overview.add_to(root)
    login.add_to(root)
    apply.add_to(root)
    root.add_typer(login.app)
    return root


def main() -> None:
    """Run the command of the command line, and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that cannot show every character
    tree()(prog_name="coordinator")
