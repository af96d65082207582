"""The tree of commands that use the REST API."""

import io
import os
import sys

import typer

from coordinator.command_line import apply, campaigns, executions, login, releases, tenant
from coordinator.command_line.commands import root

root.changing("apply")(apply.apply)
NOUNS = (
    releases.releases,
    releases.requests,
    releases.gradual,
    executions.executions,
    executions.failures,
    campaigns.campaigns,
    executions.questions,
    campaigns.workers,
    releases.pipelines,
    tenant.keys,
    tenant.members,
    tenant.alerts,
    tenant.audit,
    login.stored,
)
for each in NOUNS:
    root.app.add_typer(each.app)


def tree() -> typer.Typer:
    """Return the tree of commands."""
    return root.app


def main() -> None:
    """Run the command of the command line, and exit with its status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that cannot show every character
    if "_COORDINATOR_COMPLETE" not in os.environ:  # which looks at all commands
        for noun in NOUNS:
            if noun.app.info.name not in sys.argv[1:2]:
                noun.app.registered_commands = []  # typer would build them, which takes longer than most commands
    tree()(prog_name="coordinator")
