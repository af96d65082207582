"""The commands of authors and worker hosts: ``pipelines build``, ``publish``, ``worker`` and others."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pkgutil import resolve_name
from typing import Final

from coordinator_client.errors import ClientError
from coordinator_client.standard_output import until_its_reader_ends
from pipelines.errors import DefinitionError

COMMANDS: Final = {
    "new": ("new:add", "write the project of a new pipeline"),
    "run": ("run:add", "run a pipeline here, without any server"),
    "dev": ("dev:add", "release a pipeline on each save, host it and follow its executions"),
    "build": ("releases:add_build", "compile a pipeline and pack its artifact"),
    "key": ("releases:add_key", "create a key that signs releases"),
    "release": ("releases:add_release", "build and release a pipeline: write the folder of the release"),
    "verify-release": ("checking:add_verify_release", "check a release offline, before it is published"),
    "diff": ("checking:add_diff", "compare two releases: what breaks for callers and for parked work"),
    "publish": ("releases:add_publish", "upload a release, wait for its verification, activate it"),
    "activate": ("releases:add_activate", "activate a registered release, or say what would happen"),
    "env": ("releases:add_env", "make the environment that a release requires"),
    "worker": ("worker:add", "run a worker for one release, downloaded if it is not here"),
    "verify-provenance": (
        "checking:add_verify_provenance",
        "check offline which code ran an execution, or which releases were active",
    ),
}
"""The function in `pipelines.commands` that adds the arguments of each command, and what the command does."""


@until_its_reader_ends()
def main(argv: Sequence[str] | None = None, program: str = "pipelines") -> int:
    """Run one command and return its exit status.

    A mistake of the author is printed to stderr as ``error: CODE: message``, one line each, and gives status 2.
    ``program`` is the name that the usage line shows.
    """
    given = sys.argv[1:] if argv is None else argv
    arguments = parser_of(program, given[0] if given else "").parse_args(given)
    try:
        return int(arguments.run(arguments))
    except DefinitionError as error:
        for problem in error.errors:
            print(f"error: {problem}", file=sys.stderr)
        return 2
    except ClientError as error:
        from pipelines.release.publish import of_client

        print(f"error: {of_client(error)}", file=sys.stderr)
        return 2


def parser_of(program: str, command: str) -> argparse.ArgumentParser:
    """Return the parser. Only the arguments of ``command`` are added, so that no other command is imported."""
    parser = argparse.ArgumentParser(prog=program, description="Write, run, build and release pipelines.")
    commands = parser.add_subparsers(title="commands", required=True, metavar=" | ".join(COMMANDS))
    for name, (function, text) in COMMANDS.items():
        added = commands.add_parser(name, help=text)
        if name == command:
            resolve_name(f"pipelines.commands.{function}")(added)
    return parser
