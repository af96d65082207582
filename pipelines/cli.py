"""The commands of authors and worker hosts: ``pipelines build | key | release | verify-release | diff | publish
| activate | env | worker | verify-provenance``."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from coordinator_client.errors import ClientError
from pipelines.commands import activate, building, checking, publish, worker
from pipelines.errors import DefinitionError


def main(argv: Sequence[str] | None = None, program: str = "pipelines") -> int:
    """Run one command and return its exit status.

    A mistake of the author is printed to stderr as ``error: CODE: message``, one line each, and gives status 2.
    ``program`` is the name that the usage line shows.
    """
    arguments = _parser(program).parse_args(argv)
    try:
        return int(arguments.run(arguments))
    except DefinitionError as error:
        for each in error.errors:
            print(f"error: {each}", file=sys.stderr)
        return 2
    except ClientError as error:
        from pipelines.release.connection import of_client

        print(f"error: {of_client(error)}", file=sys.stderr)
        return 2


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=program, description="Build, release and run pipelines.")
    commands = parser.add_subparsers(
        title="commands",
        required=True,
        metavar="build | key | release | verify-release | diff | publish | activate | env | worker | verify-provenance",
    )
    building.add_build(commands.add_parser("build", help="compile a pipeline and pack its artifact"))
    building.add_key(commands.add_parser("key", help="create a key that signs releases"))
    building.add_release(commands.add_parser("release", help="write pipeline-release.json for built artifacts"))
    checking.add_verify_release(
        commands.add_parser("verify-release", help="check a release offline, before it is published")
    )
    checking.add_diff(
        commands.add_parser("diff", help="compare two releases: what breaks for callers and for parked work")
    )
    publish.add(commands.add_parser("publish", help="upload a release, wait for its verification, activate it"))
    activate.add(commands.add_parser("activate", help="activate a registered release, or say what would happen"))
    building.add_env(commands.add_parser("env", help="make the environment that a release requires"))
    checking.add_verify_provenance(
        commands.add_parser(
            "verify-provenance", help="check offline which code ran an execution, or which releases were active"
        )
    )
    worker.add(commands.add_parser("worker", help="run a transition worker for one release"))
    return parser
